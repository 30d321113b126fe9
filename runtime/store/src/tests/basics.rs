use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use galley_types::{Classify, ErrorKind, EventTime, KeyType, ScalarType, ValueType};

use super::support::{
    Model, apply, batch, check, config, install, key, model_apply, number_schema, schema, unpack,
    write,
};
use crate::commit::TICKETS_KEPT;
use crate::open::FileOpener;
use crate::space::{Probe, Space};
use crate::{
    Error, Group, IndexState, OutboxChange, Row, Store, StoreConfig, TableSpec, TicketState, Write,
};

fn open(path: &Path) -> Store {
    Store::open(path, config(), &mut |_| {}).unwrap()
}

fn reopen(store: Store, path: &Path) -> Store {
    drop(store);
    open(path)
}

#[test]
fn rows_written_are_read_from_index_and_file_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = open(&path);
    let table = install(&store, "trips");
    let rows: Vec<_> = (0..1000).map(|i| (i * 7 % 1000, i, None, i)).collect();
    let mut model = Model::new();
    let expect = model_apply(&mut model, &rows);
    assert_eq!(apply(&store, &[write(&table, &rows)]), [expect]);
    check(&store, table.table, &model);
    assert_eq!(store.stats().tables[0].index, IndexState::Ready);

    let store = reopen(store, &path);
    assert_eq!(install(&store, "trips"), table);
    assert_eq!(store.stats().tables[0].index, IndexState::Pending);
    check(&store, table.table, &model);
    store.build_index().unwrap();
    assert!(store.stats().index_ready);
    check(&store, table.table, &model);
    let later = [(3, 5000, Some(1), 42), (2000, 1, None, 1), (4, -1, None, 9)];
    let expect = model_apply(&mut model, &later);
    assert_eq!(apply(&store, &[write(&table, &later)]), [expect]);
    check(&store, table.table, &model);
}

#[test]
fn appending_and_inserting_make_the_same_table() {
    let rows: Vec<_> = (0..3000).map(|i| (i, i, None, i)).collect();
    let mut digests = Vec::new();
    for split in [0, 1, 1500, 3000] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("store.redb"));
        let table = install(&store, "trips");
        // The second half first: the first half can then not be appended.
        apply(&store, &[write(&table, &rows[split..])]);
        apply(&store, &[write(&table, &rows[..split])]);
        let mut model = Model::new();
        model_apply(&mut model, &rows);
        check(&store, table.table, &model);
        digests.push(store.stats().tables[0].digest);
    }
    assert!(
        digests.iter().all(|digest| *digest == digests[0]),
        "{digests:?}"
    );
}

#[test]
fn a_group_is_one_commit_and_counts_each_write_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store.redb"));
    let (a, b) = (install(&store, "a"), install(&store, "b"));
    let before = store.stats();
    let first = Write {
        batches: vec![
            batch(&a, &[(1, 10, None, 1), (1, 9, None, 2)]),
            batch(&b, &[(1, 1, None, 3)]),
        ],
        watermark: Some(("a".to_owned(), EventTime(7))),
        ..Write::default()
    };
    let second = write(&a, &[(1, 10, None, 4), (2, 1, None, 5)]);
    let outcomes = apply(&store, &[first, second]);
    assert_eq!(
        outcomes
            .iter()
            .map(|o| (o.written, o.superseded))
            .collect::<Vec<_>>(),
        [(2, 1), (2, 0)]
    );
    let after = store.stats();
    assert_eq!(
        (after.commit.0, after.commits),
        (before.commit.0 + 1, before.commits + 1)
    );
    let snapshot = store.load();
    assert_eq!(
        unpack(&snapshot.get(a.table, &key(1)).unwrap().unwrap()).2,
        4
    );
    assert_eq!(snapshot.watermark("a").unwrap(), Some(EventTime(7)));
    assert_eq!(snapshot.watermark("b").unwrap(), None);
    let back = Write {
        batches: Vec::new(),
        watermark: Some(("a".to_owned(), EventTime(6))),
        ..Write::default()
    };
    apply(&store, &[back]);
    assert_eq!(
        store.load().watermark("a").unwrap(),
        Some(EventTime(7)),
        "never moves back"
    );
}

#[test]
fn an_unknown_table_refuses_the_whole_group() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store.redb"));
    let table = install(&store, "a");
    let mut unknown = table.clone();
    unknown.table.0 = 99;
    let writes = [
        write(&table, &[(1, 1, None, 1)]),
        write(&unknown, &[(1, 1, None, 1)]),
    ];
    for group in [
        Group {
            writes: &writes,
            ..Group::default()
        },
        Group {
            enqueue: &writes,
            ..Group::default()
        },
    ] {
        let error = store.apply(&group).unwrap_err();
        assert!(matches!(error, Error::UnknownTable { .. }), "{error}");
    }
    assert_eq!(store.stats().queued, 0);
    check(&store, table.table, &Model::new());
    assert!(store.stats().healthy);
    assert!(matches!(
        store.load().get(unknown.table, b""),
        Err(Error::UnknownTable { .. })
    ));
}

#[test]
fn queued_writes_survive_a_restart_and_apply_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = open(&path);
    let table = install(&store, "a");
    let enqueue: Vec<Write> = (0..5)
        .map(|i| write(&table, &[(1, 1, None, i), (i, 2, None, i)]))
        .collect();
    let applied = store
        .apply(&Group {
            enqueue: &enqueue,
            ..Group::default()
        })
        .unwrap();
    assert_eq!(
        (applied.tickets.as_slice(), applied.queued),
        ([1, 2, 3, 4, 5].as_slice(), 5)
    );
    let store = reopen(store, &path);
    assert_eq!(store.stats().queued, 5);
    assert_eq!(store.load().ticket(1).unwrap(), Some(TicketState::Pending));
    assert_eq!(store.load().ticket(6).unwrap(), None);
    let direct = [write(&table, &[(1, 2, None, 100)])];
    let group = Group {
        writes: &direct,
        enqueue: &enqueue[..1],
        drain_max: 3,
    };
    let applied = store.apply(&group).unwrap();
    assert_eq!(
        (applied.drained, applied.queued, applied.tickets.as_slice()),
        (3, 3, [6].as_slice())
    );
    let state = store.load().ticket(2).unwrap();
    assert_eq!(
        state,
        Some(TicketState::Applied {
            written: 2,
            superseded: 0
        })
    );
    assert_eq!(
        store.load().ticket(3).unwrap(),
        Some(TicketState::Applied {
            written: 1,
            superseded: 1
        })
    );
    let applied = store
        .apply(&Group {
            drain_max: 100,
            ..Group::default()
        })
        .unwrap();
    assert_eq!((applied.drained, applied.queued), (3, 0));
    let mut model = Model::new();
    for rows in [(0, 3), (100, 0), (3, 5), (0, 1)] {
        if rows.0 == 100 {
            model_apply(&mut model, &[(1, 2, None, 100)]);
        } else {
            for i in rows.0..rows.1 {
                model_apply(&mut model, &[(1, 1, None, i), (i, 2, None, i)]);
            }
        }
    }
    check(&store, table.table, &model);
}

#[test]
fn the_outcomes_of_the_last_queued_writes_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store.redb"));
    let forgotten = 5;
    let writes = vec![Write::default(); (TICKETS_KEPT + forgotten) as usize];
    let group = Group {
        enqueue: &writes,
        ..Group::default()
    };
    assert_eq!(store.apply(&group).unwrap().tickets.len(), writes.len());
    for drain_max in [1000, 20_000] {
        let group = Group {
            drain_max,
            ..Group::default()
        };
        store.apply(&group).unwrap();
    }
    let snapshot = store.load();
    let done = TicketState::Applied {
        written: 0,
        superseded: 0,
    };
    assert_eq!(snapshot.queued(), 0);
    assert_eq!(snapshot.ticket(forgotten).unwrap(), None);
    assert_eq!(snapshot.ticket(forgotten + 1).unwrap(), Some(done));
    assert_eq!(
        snapshot.ticket(TICKETS_KEPT + forgotten).unwrap(),
        Some(done)
    );
}

#[test]
fn a_new_schema_keeps_rows_and_an_old_one_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = open(&path);
    let first = install(&store, "a");
    apply(&store, &[write(&first, &[(1, 1, None, 5)])]);
    let wider = schema(&[
        ("other", ValueType::List(ScalarType::Double)),
        ("value", ValueType::Scalar(ScalarType::Int64)),
    ]);
    let spec = |keys, schema| TableSpec {
        name: "a",
        keys,
        schema,
    };
    let second = store
        .install(&[spec(&[KeyType::Int64], &wider)])
        .unwrap()
        .remove(0);
    assert_eq!((second.table, second.schema.0), (first.table, 2));
    assert_eq!(second.schemas.len(), 2);
    let store = reopen(store, &path);
    let bytes = store
        .load()
        .get(first.table, &key(1))
        .unwrap()
        .unwrap()
        .to_vec();
    assert_eq!(Row::parse(&bytes).unwrap().schema(), first.schema);
    let old = number_schema();
    let back = store
        .install(&[spec(&[KeyType::Int64], &old)])
        .unwrap()
        .remove(0);
    assert_eq!(
        (back.schema, back.schemas.len()),
        (first.schema, 2),
        "an old schema comes back"
    );
    let commit = store.stats().commit;
    store.install(&[spec(&[KeyType::Int64], &old)]).unwrap();
    assert_eq!(store.stats().commit, commit, "nothing to do is no commit");
}

#[test]
fn new_key_types_start_over_and_retire_the_old_table() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store.redb"));
    let first = install(&store, "a");
    apply(&store, &[write(&first, &[(1, 1, None, 5)])]);
    let queued = [write(&first, &[(2, 1, None, 5)])];
    let group = Group {
        enqueue: &queued,
        ..Group::default()
    };
    store.apply(&group).unwrap();
    let schema = number_schema();
    let spec = TableSpec {
        name: "a",
        keys: &[KeyType::String],
        schema: &schema,
    };
    let moved = store.install(&[spec]).unwrap().remove(0);
    assert_ne!(moved.table, first.table);
    assert!(store.load().get(moved.table, &key(1)).unwrap().is_none());
    let stats = store.stats();
    assert_eq!((stats.tables[0].live, stats.tables[1].epoch), (false, 2));
    let refused = store.apply(&Group {
        writes: &queued,
        ..Group::default()
    });
    assert!(matches!(refused, Err(Error::UnknownTable { .. })));
    let applied = store
        .apply(&Group {
            drain_max: 9,
            ..Group::default()
        })
        .unwrap();
    assert_eq!(applied.drained, 1);
    let state = store.load().ticket(1).unwrap();
    assert_eq!(
        state,
        Some(TicketState::Applied {
            written: 0,
            superseded: 0
        })
    );
}

#[test]
fn a_second_open_is_refused_and_foreign_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = open(&path);
    let error = Store::open(&path, config(), &mut |_| {}).unwrap_err();
    assert!(matches!(&error, Error::InUse { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    drop(store);
    open(&path);
    for content in [b"".as_slice(), b"hello", &[7; 100_000]] {
        let path = folder.path().join("other");
        std::fs::write(&path, content).unwrap();
        let error = Store::open(&path, config(), &mut |_| {}).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_table_over_the_memory_bound_is_read_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let small = StoreConfig {
        index_bytes_max: 50_000,
        ..config()
    };
    let store = Store::open(&path, small.clone(), &mut |_| {}).unwrap();
    let table = install(&store, "a");
    let rows: Vec<_> = (0..100).map(|i| (i, i, None, i)).collect();
    apply(&store, &[write(&table, &rows)]);
    assert_eq!(store.stats().tables[0].index, IndexState::Ready);
    let more: Vec<_> = (0..2000).map(|i| (i, i, None, i)).collect();
    apply(&store, &[write(&table, &more)]);
    assert_eq!(store.stats().tables[0].index, IndexState::OverBound);
    let mut model = Model::new();
    model_apply(&mut model, &more);
    check(&store, table.table, &model);
    drop(store);
    let store = Store::open(&path, small, &mut |_| {}).unwrap();
    store.build_index().unwrap();
    assert_eq!(store.stats().tables[0].index, IndexState::OverBound);
    assert!(store.stats().index_ready);
    check(&store, table.table, &model);
}

#[test]
fn a_nearly_full_disk_refuses_writes_until_there_is_space_again() {
    static FREE: AtomicU64 = AtomicU64::new(1 << 40);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let config = StoreConfig {
        free_space_min_bytes: 1 << 30,
        ..config()
    };
    let probe: Probe = |_| Some((FREE.load(Ordering::SeqCst), 1 << 40));
    let space = Space::with_probe(&path, &config, probe);
    let opener = FileOpener {
        path: path.clone(),
        cache_bytes: config.cache_bytes,
    };
    let store = Store::with(Box::new(opener), path, (config, Some(space)), &mut |_| {}).unwrap();
    let table = install(&store, "a");
    let wait = || std::thread::sleep(Duration::from_millis(510));
    FREE.store(1 << 29, Ordering::SeqCst);
    wait();
    let writes = [write(&table, &[(1, 1, None, 1)])];
    let group = Group {
        writes: &writes,
        ..Group::default()
    };
    let error = store.apply(&group).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(store.stats().healthy);
    assert!(store.load().get(table.table, &key(1)).unwrap().is_none());
    // What leaves the outbox makes room: that goes on.
    let relief = Write {
        outbox: OutboxChange {
            remove_up_to: Some(1),
            ..OutboxChange::default()
        },
        ..Write::default()
    };
    let relief = [relief];
    let relief = Group {
        writes: &relief,
        ..Group::default()
    };
    store.apply(&relief).unwrap();
    FREE.store(1 << 40, Ordering::SeqCst);
    wait();
    store.apply(&group).unwrap();
    assert!(store.load().get(table.table, &key(1)).unwrap().is_some());
}

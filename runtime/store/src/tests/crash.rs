use std::collections::BTreeMap;

use galley_types::{EventTime, KeyType};

use super::disk::{Disk, Random};
use super::support::{
    Model, Plain, batch, config, key, model_apply, number_schema, stored, unpack,
};
use crate::{
    Error, Flight, Group, Installed, OutboxChange, OutboxEntry, OutboxItem, OutboxKind,
    OutboxStats, Park, ParkedPart, Result, Snapshot, Store, TableSpec, TicketState, Write,
};

/// Everything a reader can know of the store.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    tables: BTreeMap<String, Model>,
    watermark: Option<EventTime>,
    queued: u64,
    tickets: BTreeMap<u64, TicketState>,
    outbox: OutboxStats,
    outgoing: Vec<OutboxItem>,
    parked: Vec<(ParkedPart, Vec<OutboxItem>)>,
}

/// One step of the scripted workload.
#[derive(Clone, Debug)]
enum Step {
    Install(&'static str, KeyType),
    Apply {
        rows: Vec<(&'static str, Vec<Plain>)>,
        enqueue: Vec<Vec<Plain>>,
        drain: usize,
    },
    /// The outbox's entries up to this one are on their way.
    Send(u64),
    /// They have arrived.
    Arrived(u64),
    /// These are set aside.
    Park(Vec<u64>),
    /// What was set aside first is to be sent again.
    Due(u64),
    /// It is gone.
    Unpark(u64),
}

fn rows(from: i64, count: i64, time: i64) -> Vec<Plain> {
    (from..from + count)
        .map(|id| (id * 37 % 5000, time + id % 3, None, time))
        .collect()
}

fn script() -> Vec<Step> {
    let apply = |rows, enqueue, drain| Step::Apply {
        rows,
        enqueue,
        drain,
    };
    vec![
        Step::Install("a", KeyType::Int64),
        apply(vec![("a", rows(0, 300, 10))], vec![], 0),
        apply(
            vec![("a", rows(100, 20, 20)), ("a", rows(100, 5, 5))],
            vec![],
            0,
        ),
        Step::Install("b", KeyType::Int64),
        apply(
            vec![("b", rows(0, 3, 1)), ("a", rows(7, 1, 30))],
            vec![rows(0, 4, 40), rows(2, 4, 2)],
            0,
        ),
        Step::Send(3),
        apply(vec![("a", rows(500, 200, 7))], vec![rows(1, 1, 50)], 1),
        Step::Arrived(3),
        Step::Park(vec![4, 6]),
        Step::Due(4),
        Step::Park(vec![5]),
        Step::Unpark(5),
        Step::Install("b", KeyType::UnixTimestamp),
        apply(vec![("b", rows(0, 50, 3))], vec![], 10),
        apply(
            vec![("a", rows(0, 100, 60)), ("b", rows(10, 10, 9))],
            vec![],
            0,
        ),
    ]
}

fn spec_of(store: &Store, name: &'static str, key: KeyType) -> Result<Installed> {
    let schema = number_schema();
    let spec = TableSpec {
        name,
        keys: &[key],
        schema: &schema,
    };
    store
        .install(&[spec])
        .map(|mut installed| installed.remove(0))
}

fn run(store: &Store, tables: &mut BTreeMap<&'static str, Installed>, step: &Step) -> Result<()> {
    match step {
        Step::Install(name, key) => {
            tables.insert(name, spec_of(store, name, *key)?);
        }
        Step::Apply {
            rows,
            enqueue,
            drain,
        } => {
            let write = |name: &str, rows: &[Plain]| Write {
                batches: vec![batch(&tables[name], rows)],
                watermark: Some(("a".to_owned(), EventTime(rows[0].1))),
                outbox: OutboxChange {
                    add: vec![outgoing(name, rows)],
                    ..OutboxChange::default()
                },
            };
            let writes: Vec<Write> = rows.iter().map(|(name, rows)| write(name, rows)).collect();
            let enqueue: Vec<Write> = enqueue.iter().map(|rows| write("a", rows)).collect();
            let group = Group {
                writes: &writes,
                enqueue: &enqueue,
                drain_max: *drain,
            };
            store.apply(&group)?;
        }
        Step::Send(last) => change(
            store,
            OutboxChange {
                flight: Some(Flight {
                    last: *last,
                    parts_done: 1,
                }),
                producer: Some(u128::from(*last) << 70 | 5),
                ..OutboxChange::default()
            },
        )?,
        Step::Arrived(last) => change(
            store,
            OutboxChange {
                remove_up_to: Some(*last),
                ..OutboxChange::default()
            },
        )?,
        Step::Park(sequences) => change(
            store,
            OutboxChange {
                park: Some(park(sequences)),
                ..OutboxChange::default()
            },
        )?,
        Step::Due(first) => change(
            store,
            OutboxChange {
                due: vec![*first],
                ..OutboxChange::default()
            },
        )?,
        Step::Unpark(first) => change(
            store,
            OutboxChange {
                unpark: vec![*first],
                ..OutboxChange::default()
            },
        )?,
    }
    Ok(())
}

fn outgoing(name: &str, rows: &[Plain]) -> OutboxEntry {
    OutboxEntry {
        kind: OutboxKind::Rows,
        target: name.to_owned(),
        accepted: EventTime(rows[0].1),
        payload: vec![7; rows.len()],
    }
}

fn park(sequences: &[u64]) -> Park {
    Park {
        kind: OutboxKind::Rows,
        target: "a".to_owned(),
        producer: 3,
        range: (sequences[0], 99),
        sequences: sequences.to_vec(),
        bytes: 1,
        attempts: 5,
        reason: "refused".to_owned(),
        at: EventTime(1),
    }
}

fn change(store: &Store, outbox: OutboxChange) -> Result<()> {
    let write = Write {
        outbox,
        ..Write::default()
    };
    let writes = &[write];
    store
        .apply(&Group {
            writes,
            ..Group::default()
        })
        .map(drop)
}

fn see(store: &Store) -> Seen {
    let snapshot = store.load();
    let live = |table: &&crate::TableStats| table.live;
    let mut tables = BTreeMap::new();
    for table in store.stats().tables.iter().filter(live) {
        let rows = stored(&snapshot, table.table);
        for (id, row) in &rows {
            let bytes = snapshot
                .get(table.table, &key(*id))
                .unwrap()
                .expect("a row");
            assert_eq!(&unpack(&bytes), row, "look-up and scan disagree");
        }
        tables.insert(table.name.clone(), rows);
    }
    Seen {
        tables,
        watermark: snapshot.watermark("a").unwrap(),
        queued: snapshot.queued(),
        tickets: (1..10)
            .filter_map(|id| Some((id, ticket(&snapshot, id)?)))
            .collect(),
        outbox: snapshot.outbox(),
        outgoing: snapshot
            .outbox_peek((usize::MAX, u64::MAX), u64::MAX)
            .unwrap(),
        parked: snapshot
            .parked_parts(0, usize::MAX)
            .unwrap()
            .into_iter()
            .map(|part| (part.clone(), snapshot.parked_items(part.first).unwrap()))
            .collect(),
    }
}

fn ticket(snapshot: &Snapshot, id: u64) -> Option<TicketState> {
    snapshot.ticket(id).unwrap()
}

/// What is there after each number of steps, from a run in which nothing fails; and the model.
fn history() -> Vec<Seen> {
    let store = Store::with_backend(Disk::default(), config()).unwrap();
    let mut tables = BTreeMap::new();
    let mut history = vec![see(&store)];
    for step in script() {
        run(&store, &mut tables, &step).unwrap();
        history.push(see(&store));
    }
    let mut model = Model::new();
    for step in script() {
        let Step::Apply { rows, .. } = step else {
            continue;
        };
        for (_, rows) in rows.iter().filter(|(name, _)| *name == "a") {
            model_apply(&mut model, rows);
        }
    }
    for rows in [rows(0, 4, 40), rows(2, 4, 2), rows(1, 1, 50)] {
        model_apply(&mut model, &rows);
    }
    let last = history.last().unwrap();
    assert_eq!(last.tables["a"].len(), model.len());
    // One entry for each write, queued or not, less the three that arrived and the three parked.
    let numbers: Vec<u64> = last.outgoing.iter().map(|item| item.sequence).collect();
    assert_eq!(numbers, (7..=12).collect::<Vec<u64>>());
    assert_eq!(last.outbox.entries, 6);
    let parked = last.outbox.parked;
    assert_eq!((parked.parts, parked.due, parked.entries), (1, 1, 2));
    let items = last.parked[0].1.iter().map(|item| item.sequence);
    assert_eq!(items.collect::<Vec<_>>(), [4, 6]);
    assert_eq!(last.outbox.producer, Some(3 << 70 | 5));
    let written = history
        .iter()
        .find(|seen| !seen.outgoing.is_empty())
        .unwrap();
    assert!(!written.tables["a"].is_empty(), "rows and entry together");
    history
}

#[test]
fn a_power_cut_at_every_write_loses_nothing_acknowledged() {
    let history = history();
    let whole = Disk::default();
    let start = {
        let store = Store::with_backend(whole.clone(), config()).unwrap();
        let start = whole.calls();
        let mut tables = BTreeMap::new();
        for step in script() {
            run(&store, &mut tables, &step).unwrap();
        }
        start
    };
    let end = whole.calls();
    assert!(end - start > 60, "{start} {end}");
    for cut in start..=end {
        for seed in 0..2 {
            let mut random = Random(cut * 31 + seed);
            let disk = Disk::default();
            let store = Store::with_backend(disk.clone(), config()).unwrap();
            disk.cut_at(cut);
            let mut tables = BTreeMap::new();
            let acknowledged = script()
                .iter()
                .take_while(|step| run(&store, &mut tables, step).is_ok())
                .count();
            drop(store);
            assert!(disk.is_cut());
            // The power goes again while the file is repaired, twice.
            let mut disk = disk.after_power_cut(&mut random);
            for _ in 0..2 {
                disk.cut_at(random.below(12));
                let _ = Store::with_backend(disk.clone(), config());
                disk = disk.after_power_cut(&mut random);
            }
            let store = Store::with_backend(disk, config())
                .unwrap_or_else(|error| panic!("cut {cut} seed {seed}: {error}"));
            let seen = see(&store);
            assert!(store.check().unwrap().is_whole(), "cut {cut} seed {seed}");
            assert!(
                history[acknowledged..]
                    .iter()
                    .take(2)
                    .any(|state| *state == seen),
                "cut {cut} seed {seed}: {acknowledged} steps acknowledged"
            );
            store.build_index().unwrap();
            assert!(store.stats().index_ready);
        }
    }
}

/// The harness must be able to see a loss: on a disk that lies about syncs it does.
#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let history = history();
    let mut random = Random(1);
    let mut lost = 0;
    for _ in 0..20 {
        let disk = Disk::default();
        let store = Store::with_backend(disk.clone(), config()).unwrap();
        disk.lie();
        let mut tables = BTreeMap::new();
        for step in script() {
            run(&store, &mut tables, &step).unwrap();
        }
        disk.cut_at(0);
        drop(store);
        let disk = disk.after_power_cut(&mut random);
        let seen = Store::with_backend(disk, config()).map(|store| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| see(&store))).ok()
        });
        if !seen.is_ok_and(|seen| seen.as_ref() == history.last()) {
            lost += 1;
        }
    }
    assert!(lost > 5, "{lost}");
}

#[test]
fn each_failing_call_is_an_error_that_recovery_mends() {
    let history = history();
    let script = script();
    let count = {
        let disk = Disk::default();
        let store = Store::with_backend(disk.clone(), config()).unwrap();
        disk.count_all();
        let mut tables = BTreeMap::new();
        let start = disk.calls();
        for step in &script {
            run(&store, &mut tables, step).unwrap();
        }
        start..disk.calls()
    };
    let mut recovered = 0;
    for call in count {
        let disk = Disk::default();
        let again = disk.clone();
        let store = Store::with_backends(move || Some(again.clone()), config()).unwrap();
        disk.count_all();
        disk.fail_at(call + 1);
        let mut tables = BTreeMap::new();
        for (done, step) in script.iter().enumerate() {
            if let Err(error) = run(&store, &mut tables, step) {
                assert!(
                    matches!(error, Error::Io { .. } | Error::Poisoned { .. }),
                    "{error}"
                );
                assert!(!store.stats().healthy);
                assert!(
                    run(&store, &mut tables, step).is_err(),
                    "refused until it is reopened"
                );
                store.recover().unwrap();
                recovered += 1;
                let seen = see(&store);
                if seen == history[done] {
                    run(&store, &mut tables, step).unwrap();
                } else {
                    assert_eq!(seen, history[done + 1], "call {call}");
                    if let Step::Install(name, key) = step {
                        tables.insert(name, spec_of(&store, name, *key).unwrap());
                    }
                }
            } else if !store.stats().healthy {
                // The commit stood, reading it back did not.
                store.recover().unwrap();
                recovered += 1;
            }
            assert!(store.stats().healthy);
            assert_eq!(see(&store), history[done + 1], "call {call}");
        }
        assert!(store.check().unwrap().is_whole());
    }
    assert!(recovered > 60, "{recovered}");
}

#[test]
fn indexed_tables_are_served_while_the_file_is_away() {
    let disk = Disk::default();
    let again = disk.clone();
    let store = Store::with_backends(move || Some(again.clone()), config()).unwrap();
    let mut tables = BTreeMap::new();
    for step in &script()[..3] {
        run(&store, &mut tables, step).unwrap();
    }
    let before = see(&store);
    disk.cut_at(disk.calls());
    let step = Step::Apply {
        rows: vec![("a", rows(0, 300, 99))],
        enqueue: vec![],
        drain: 0,
    };
    assert!(matches!(
        run(&store, &mut tables, &step),
        Err(Error::Io { .. })
    ));
    assert!(store.recover().is_err(), "the disk is still away");
    let snapshot = store.load();
    for id in before.tables["a"].keys() {
        assert!(
            snapshot
                .get(tables["a"].table, &key(*id))
                .unwrap()
                .is_some()
        );
    }
    assert!(matches!(
        snapshot.watermark("a"),
        Err(Error::Poisoned { .. })
    ));
    drop(snapshot);
    disk.cut_at(u64::MAX);
    store.recover().unwrap();
    assert!(store.stats().healthy);
    run(&store, &mut tables, &step).unwrap();
    assert!(store.check().unwrap().is_whole());
}

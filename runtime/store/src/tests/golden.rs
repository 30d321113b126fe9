//! The file that version 1 of the format wrote must be read for ever.

use std::path::{Path, PathBuf};

use galley_types::EventTime;
use redb::{Database, ReadableDatabase, TableDefinition};

use super::support::{Model, apply, batch, check, config, install, model_apply, write};
use crate::layout::{FORMAT, META, META_FORMAT};
use crate::{Error, Group, Store, TicketState, Write};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store-v1.redb")
}

fn model() -> (Model, [Vec<super::support::Plain>; 3]) {
    let rows = [
        vec![(1, 100, None, 1), (2, 100, Some(5), 2), (-3, -7, None, 3)],
        vec![(1, 99, None, 9), (2, 100, Some(6), 13)],
        vec![(4, 1, None, 4)],
    ];
    let mut model = Model::new();
    for rows in &rows[..2] {
        model_apply(&mut model, rows);
    }
    (model, rows)
}

fn make(path: &Path) {
    let store = Store::open(path, config(), &mut |_| {}).unwrap();
    let table = install(&store, "driver_stats");
    let (_, rows) = model();
    let first = Write {
        batches: vec![batch(&table, &rows[0])],
        watermark: Some(("driver_stats".to_owned(), EventTime(1234))),
        ..Write::default()
    };
    apply(&store, &[first]);
    let queued = [write(&table, &rows[1]), write(&table, &rows[2])];
    store
        .apply(&Group {
            enqueue: &queued,
            ..Group::default()
        })
        .unwrap();
    store
        .apply(&Group {
            drain_max: 1,
            ..Group::default()
        })
        .unwrap();
}

#[test]
fn a_file_of_format_1_opens_and_reads_back() {
    let golden = golden();
    #[expect(
        clippy::disallowed_methods,
        reason = "the switch that rewrites golden files"
    )]
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&golden);
        make(&golden);
        Database::open(&golden).unwrap().compact().unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    std::fs::copy(&golden, &path).unwrap();
    let store = Store::open(&path, config(), &mut |_| {}).unwrap();
    let table = install(&store, "driver_stats");
    let (mut expect, rows) = model();
    check(&store, table.table, &expect);
    store.build_index().unwrap();
    check(&store, table.table, &expect);
    let stats = store.stats();
    assert_eq!((stats.commit.0, stats.queued), (4, 1));
    let snapshot = store.load_full();
    assert_eq!(
        snapshot.watermark("driver_stats").unwrap(),
        Some(EventTime(1234))
    );
    let applied = TicketState::Applied {
        written: 1,
        superseded: 1,
    };
    assert_eq!(snapshot.ticket(1).unwrap(), Some(applied));
    assert_eq!(snapshot.ticket(2).unwrap(), Some(TicketState::Pending));
    store
        .apply(&Group {
            drain_max: 1,
            ..Group::default()
        })
        .unwrap();
    model_apply(&mut expect, &rows[2]);
    check(&store, table.table, &expect);
}

#[test]
fn a_file_of_a_later_format_or_another_program_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let later = folder.path().join("later.redb");
    make(&later);
    {
        let database = Database::open(&later).unwrap();
        let txn = database.begin_write().unwrap();
        let format = (FORMAT + 1).to_le_bytes();
        txn.open_table(META)
            .unwrap()
            .insert(META_FORMAT, format.as_slice())
            .unwrap();
        txn.commit().unwrap();
    }
    let foreign = folder.path().join("foreign.redb");
    {
        let database = Database::create(&foreign).unwrap();
        let txn = database.begin_write().unwrap();
        let other = TableDefinition::<u64, u64>::new("other");
        txn.open_table(other).unwrap().insert(1, 2).unwrap();
        txn.commit().unwrap();
        assert!(database.begin_read().is_ok());
    }
    for path in [later, foreign] {
        let before = std::fs::read(&path).unwrap();
        let error = Store::open(&path, config(), &mut |_| {}).unwrap_err();
        assert!(
            matches!(
                error,
                Error::FormatTooNew {
                    found: 2,
                    supported: 1,
                    ..
                } | Error::Damaged { .. }
            ),
            "{error}"
        );
        assert!(
            std::fs::read(&path).unwrap() == before,
            "{} was changed",
            path.display()
        );
    }
}

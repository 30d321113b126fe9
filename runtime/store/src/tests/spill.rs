//! Rows of a release that wait on the disk: seen with the rest of it or not at all.

use super::disk::{Disk, Random};
use super::release::{holds, of_release, rows, spill, stage};
use super::support::{Model, apply, config, install, write};
use crate::{Error, IndexState, Installed, Release, Spill, Store, StoreConfig};

/// A store with an index and three rows, and a release of rows some of which wait on the disk.
fn begun(store: &Store) -> Installed {
    let table = install(store, "p/v");
    let plain = [(1, 10, None, 1), (2, 10, None, 2), (3, 90, None, 3)];
    apply(store, &[write(&table, &plain)]);
    table
}

/// Rows as a release brings them: key, event time, value.
type Rows = Vec<(i64, i64, i64)>;

/// Some in memory, then those on the disk: one row twice, one too old, many new.
fn more() -> (Rows, Rows) {
    let held = vec![(1, 20, 11), (4, 20, 14)];
    let mut spilled = vec![(1, 30, 21), (2, 20, 12), (3, 20, 13)];
    spilled.extend((100..140).map(|id| (id, 20, id)));
    (held, spilled)
}

fn before() -> Model {
    rows(&[(1, 10, 1), (2, 10, 2), (3, 90, 3)])
}

fn after() -> Model {
    let mut after = rows(&[(1, 30, 21), (2, 20, 12), (3, 90, 3), (4, 20, 14)]);
    after.extend((100..140).map(|id| (id, (20, None, id))));
    after
}

fn release(store: &Store, table: &Installed) -> crate::Result<Spill> {
    let (held, spilled) = more();
    let spills = [spill(store, table, &spilled)];
    let writes = [of_release(table, &held)];
    let release = Release {
        writes: &writes,
        spills: &spills,
        records: &[("feed", Some(b"v1"))],
        ..Release::default()
    };
    let released = store.release(&release, &mut |_| {})?;
    let outcomes: Vec<_> = released.outcomes.iter().map(|it| it.written).collect();
    assert_eq!(outcomes, [2, 42]);
    Ok(spills[0])
}

#[test]
fn spilled_rows_are_seen_with_their_release_and_taken_back_with_it() {
    let store = Store::with_backend(Disk::default(), config()).unwrap();
    let table = begun(&store);
    let (_, spilled) = more();
    spill(&store, &table, &spilled);
    holds(&store, "p/v", &before());
    let gone = release(&store, &table).unwrap();
    holds(&store, "p/v", &after());
    assert!(store.stats().index_ready);
    let tables = store.stats().tables;
    assert!(
        tables.iter().all(|it| it.table != gone.from),
        "the spill is gone"
    );

    // Somebody else writes over one of them, and it stays.
    apply(&store, &[write(&table, &[(100, 50, None, 5)])]);
    store.take_back(&Release::default(), &mut |_| {}).unwrap();
    let mut expect = before();
    expect.insert(100, (50, None, 5));
    store.build_index().unwrap();
    holds(&store, "p/v", &expect);
}

#[test]
fn an_index_that_grows_past_its_bound_gives_way_to_the_file() {
    let config = StoreConfig {
        index_bytes_max: 2000,
        ..config()
    };
    let store = Store::with_backend(Disk::default(), config).unwrap();
    let table = begun(&store);
    release(&store, &table).unwrap();
    holds(&store, "p/v", &after());
    let stats = store.stats();
    let found = stats.tables.iter().find(|it| it.table == table.table);
    assert_eq!(found.unwrap().index, IndexState::OverBound);
}

#[test]
fn a_release_whose_spill_is_for_no_live_table_changes_nothing() {
    let store = Store::with_backend(Disk::default(), config()).unwrap();
    let table = begun(&store);
    let other = stage(&store, "p/other");
    let mut wrong = spill(&store, &table, &more().1);
    wrong.into = other.table;
    let refused = Release {
        spills: &[wrong],
        records: &[("feed", Some(b"v1"))],
        ..Release::default()
    };
    let error = store.release(&refused, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::UnknownTable { .. }), "{error}");
    holds(&store, "p/v", &before());
    assert_eq!(store.load().record("feed").unwrap(), None);
}

#[test]
fn a_power_cut_leaves_all_of_a_spilled_release_or_nothing() {
    let whole = Disk::default();
    let start = {
        let store = Store::with_backend(whole.clone(), config()).unwrap();
        let table = begun(&store);
        let start = whole.calls();
        release(&store, &table).unwrap();
        start
    };
    let end = whole.calls();
    let (mut old, mut new) = (0, 0);
    for cut in (start..=end).step_by(3) {
        let mut random = Random(cut);
        let disk = Disk::default();
        let store = Store::with_backend(disk.clone(), config()).unwrap();
        let table = begun(&store);
        disk.cut_at(cut);
        let done =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| release(&store, &table)));
        drop(store);
        let disk = disk.after_power_cut(&mut random);
        let store = Store::with_backend(disk, config()).unwrap();
        let released = store.load().record("feed").unwrap().is_some();
        assert!(released || !matches!(done, Ok(Ok(_))), "cut {cut}");
        holds(&store, "p/v", &if released { after() } else { before() });
        if released {
            new += 1;
            store.take_back(&Release::default(), &mut |_| {}).unwrap();
            holds(&store, "p/v", &before());
        } else {
            old += 1;
            // What is left of the spill is in nobody's way.
            let table = install(&store, "p/v");
            release(&store, &table).unwrap();
            holds(&store, "p/v", &after());
        }
    }
    println!("{old} cuts before, {new} after");
    assert!(old > 10 && new > 0, "{old} {new}");
}

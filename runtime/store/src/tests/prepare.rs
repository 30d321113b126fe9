//! Read indexes made from rows on their way.

use super::disk::Disk;
use super::release::{holds, of_release, rows, stage};
use super::support::{apply, config};
use crate::{IndexState, Installed, Release, Store, StoreConfig};

fn state(store: &Store, table: &Installed) -> IndexState {
    let snapshot = store.load();
    snapshot.view(table.table).unwrap().state
}

/// Fills a staged table with `stored` in batches of two, of which the index is shown `shown`.
fn filled(
    store: &Store,
    shown: &[(i64, i64, i64)],
    stored: &[(i64, i64, i64)],
) -> (Installed, IndexState) {
    let staged = stage(store, "p/v");
    let mut prepared = store.prepare_index(staged.table, shown.len() as u64);
    for rows in shown.chunks(2) {
        store.show_rows(&mut prepared, &of_release(&staged, rows).batches[0]);
    }
    for rows in stored.chunks(2) {
        apply(store, &[of_release(&staged, rows)]);
    }
    store.adopt_index(prepared);
    let state = state(store, &staged);
    (staged, state)
}

fn released(store: &Store, staged: &Installed) {
    let release = Release {
        promote: &[staged.table],
        ..Release::default()
    };
    store.release(&release, &mut |_| {}).unwrap();
}

#[test]
fn rows_that_come_in_order_need_no_second_reading() {
    let store = Store::with_backend(Disk::default(), config()).unwrap();
    let sorted: Vec<_> = (0..500).map(|id| (id, 10 + id % 3, id * 7)).collect();
    let (staged, state) = filled(&store, &sorted, &sorted);
    assert_eq!(state, IndexState::Ready);
    released(&store, &staged);
    holds(&store, "p/v", &rows(&sorted));
    // What is written afterwards joins it.
    let more = [(3, 99, 1), (900, 99, 2)];
    apply(&store, &[of_release(&staged, &more)]);
    let mut expected = rows(&sorted);
    expected.extend(rows(&more));
    holds(&store, "p/v", &expected);
}

#[test]
fn what_is_not_what_the_table_holds_is_not_used() {
    let sorted = [(1, 10, 1), (2, 10, 2), (3, 10, 3)];
    let cases: [(&str, &[_], &[_]); 5] = [
        (
            "out of order",
            &[(2, 10, 2), (1, 10, 1), (3, 10, 3)],
            &sorted,
        ),
        (
            "one twice",
            &[(1, 10, 1), (1, 10, 1), (2, 10, 2), (3, 10, 3)],
            &sorted,
        ),
        ("one not stored", &sorted, &[(1, 10, 1), (2, 10, 2)]),
        ("one not shown", &[(1, 10, 1), (3, 10, 3)], &sorted),
        (
            "one was newer",
            &sorted,
            &[(1, 10, 1), (2, 11, 9), (2, 10, 2), (3, 10, 3)],
        ),
    ];
    for (case, shown, stored) in cases {
        let store = Store::with_backend(Disk::default(), config()).unwrap();
        let (staged, state) = filled(&store, shown, stored);
        assert_eq!(state, IndexState::Pending, "{case}");
        store.index_staged(&[staged.table]).unwrap();
        released(&store, &staged);
        // Of two rows of one key the newer one.
        let expected = stored
            .iter()
            .filter(|row| **row != (2, 10, 2) || case != "one was newer");
        let expected: Vec<_> = expected.copied().collect();
        holds(&store, "p/v", &rows(&expected));
    }
}

#[test]
fn an_index_that_passes_its_bound_is_not_begun_or_given_up() {
    let sorted: Vec<_> = (0..500).map(|id| (id, 10, id)).collect();
    for index_bytes_max in [100, 20_000] {
        let config = StoreConfig {
            index_bytes_max,
            ..config()
        };
        let store = Store::with_backend(Disk::default(), config).unwrap();
        let (staged, state) = filled(&store, &sorted, &sorted);
        assert_eq!(state, IndexState::Pending);
        store.index_staged(&[staged.table]).unwrap();
        released(&store, &staged);
        holds(&store, "p/v", &rows(&sorted));
    }
}

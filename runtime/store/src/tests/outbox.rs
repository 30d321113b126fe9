use galley_types::EventTime;
use redb::{Database, ReadableDatabase as _};

use super::support::config;
use crate::layout::OUTBOX;
use crate::{Flight, Group, OutboxChange, OutboxEntry, OutboxKind, Store, Write};

fn entry(target: &str, bytes: usize) -> OutboxEntry {
    OutboxEntry {
        kind: OutboxKind::Log,
        target: target.to_owned(),
        accepted: EventTime(bytes as i64),
        payload: vec![1; bytes],
    }
}

fn apply(store: &Store, outbox: OutboxChange) {
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
        .unwrap();
}

fn add(store: &Store, add: Vec<OutboxEntry>) {
    apply(
        store,
        OutboxChange {
            add,
            ..OutboxChange::default()
        },
    );
}

fn sequences(store: &Store, bounds: (usize, u64), up_to: u64) -> Vec<u64> {
    let items = store.load().outbox_peek(bounds, up_to).unwrap();
    items.iter().map(|item| item.sequence).collect()
}

#[test]
fn entries_leave_in_their_order_within_the_bounds_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, config(), &mut |_| {}).unwrap();
    assert_eq!(sequences(&store, (9, 9), 9), [0; 0]);
    add(
        &store,
        vec![entry("a", 1000), entry("b", 10), entry("a", 20)],
    );
    assert_eq!(sequences(&store, (9, 1), u64::MAX), [1], "always the first");
    assert_eq!(sequences(&store, (2, u64::MAX), u64::MAX), [1, 2]);
    assert_eq!(sequences(&store, (9, u64::MAX), 2), [1, 2]);
    assert_eq!(sequences(&store, (9, 1200), u64::MAX), [1, 2, 3]);
    let items = store.load().outbox_peek((1, 1), 1).unwrap();
    assert_eq!(items[0].entry, Some(entry("a", 1000)));

    let flight = Some(Flight {
        last: 2,
        parts_done: 1,
    });
    apply(
        &store,
        OutboxChange {
            flight,
            producer: Some(7),
            ..OutboxChange::default()
        },
    );
    drop(store);
    let store = Store::open(&path, config(), &mut |_| {}).unwrap();
    let stats = store.stats().outbox;
    assert_eq!((stats.flight, stats.producer), (flight, Some(7)));
    assert_eq!((stats.entries, stats.next_sequence), (3, 4));
    assert_eq!(stats.oldest, Some(EventTime(1000)));
    apply(
        &store,
        OutboxChange {
            remove_up_to: Some(2),
            producer: Some(8),
            ..OutboxChange::default()
        },
    );
    let stats = store.stats().outbox;
    assert_eq!((stats.flight, stats.producer), (None, Some(7)));
    assert_eq!((stats.entries, stats.oldest), (1, Some(EventTime(20))));
    apply(
        &store,
        OutboxChange {
            remove_up_to: Some(100),
            ..OutboxChange::default()
        },
    );
    let stats = store.stats().outbox;
    assert_eq!((stats.entries, stats.bytes, stats.oldest), (0, 0, None));
    assert_eq!(stats.next_sequence, 4, "a sequence is never given twice");
}

#[test]
fn a_damaged_entry_is_named_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, config(), &mut |_| {}).unwrap();
    add(&store, vec![entry("a", 5), entry("b", 6)]);
    drop(store);
    let database = Database::open(&path).unwrap();
    let bytes = database
        .begin_read()
        .unwrap()
        .open_table(OUTBOX)
        .unwrap()
        .get(1)
        .unwrap()
        .unwrap()
        .value()
        .to_vec();
    let txn = database.begin_write().unwrap();
    txn.open_table(OUTBOX)
        .unwrap()
        // The second entry's place: what is sound elsewhere is not sound here.
        .insert(2, bytes.as_slice())
        .unwrap();
    txn.commit().unwrap();
    drop(database);
    let store = Store::open(&path, config(), &mut |_| {}).unwrap();
    let items = store.load().outbox_peek((9, u64::MAX), 9).unwrap();
    assert_eq!(items[0].entry, Some(entry("a", 5)));
    assert_eq!(items[1].entry, None);
    let report = store.check().unwrap();
    assert_eq!(
        (report.outbox.entries, report.outbox.entries_damaged),
        (2, 1)
    );
    assert!(!report.is_whole());
}

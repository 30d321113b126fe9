use galley_types::EventTime;
use redb::{Database, ReadableDatabase as _};

use super::support::config;
use crate::codec::{self, Kind};
use crate::layout::{META, META_OUTBOX, OUTBOX};
use crate::{
    Flight, Group, OutboxChange, OutboxEntry, OutboxKind, Park, ParkedStats, Refusal, Store,
    StoreConfig, Write,
};

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

fn park(range: (u64, u64), sequences: &[u64]) -> OutboxChange {
    let park = Park {
        kind: OutboxKind::Log,
        target: "a".to_owned(),
        producer: 7 << 64 | 9,
        range,
        sequences: sequences.to_vec(),
        bytes: 10,
        attempts: 5,
        reason: "no such service".to_owned(),
        at: EventTime(5_000),
    };
    OutboxChange {
        park: Some(park),
        ..OutboxChange::default()
    }
}

#[test]
fn what_is_parked_leaves_the_order_keeps_its_name_and_survives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, config(), &mut |_| {}).unwrap();
    let entries = [("a", 30), ("b", 40), ("a", 50), ("c", 60)];
    add(
        &store,
        entries.map(|(name, bytes)| entry(name, bytes)).to_vec(),
    );
    let before = store.stats().outbox.bytes;
    apply(&store, park((1, 3), &[1, 3]));
    let stats = store.stats().outbox;
    assert_eq!(sequences(&store, (9, u64::MAX), u64::MAX), [2, 4]);
    assert_eq!((stats.entries, stats.oldest), (2, Some(EventTime(40))));
    assert_eq!(stats.bytes + stats.parked.bytes, before);
    assert_eq!((stats.parked.parts, stats.parked.entries), (1, 2));
    assert_eq!(stats.parked.oldest, Some(EventTime(30)));
    // The last part of a range goes with it.
    let rest = OutboxChange {
        remove_up_to: Some(4),
        ..park((4, 4), &[4])
    };
    apply(&store, rest);
    drop(store);
    let store = Store::open(&path, config(), &mut |_| {}).unwrap();
    assert_eq!(store.stats().outbox.entries, 0);
    assert!(store.check().unwrap().is_whole());
    let parts = store.load().parked_parts(0, 9).unwrap();
    let names: Vec<_> = parts.iter().map(|it| (it.first, it.last)).collect();
    assert_eq!(names, [(1, 3), (4, 4)]);
    assert_eq!((parts[0].producer, parts[0].attempts), (7 << 64 | 9, 5));
    assert_eq!(parts[0].reason, "no such service");
    let items = store.load().parked_items(1).unwrap();
    let found: Vec<_> = items
        .iter()
        .map(|it| (it.sequence, it.entry.clone()))
        .collect();
    assert_eq!(
        found,
        [(1, Some(entry("a", 30))), (3, Some(entry("a", 50)))]
    );
    assert_eq!(store.load().parked_parts(1, 9).unwrap().len(), 1, "after");
}

#[test]
fn a_parked_part_is_made_due_refused_again_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, config(), &mut |_| {}).unwrap();
    add(&store, vec![entry("a", 30), entry("a", 40)]);
    apply(&store, park((1, 1), &[1]));
    apply(&store, park((2, 2), &[2]));
    let due = OutboxChange {
        due: vec![1, 2, 3, 1],
        ..OutboxChange::default()
    };
    apply(&store, due);
    assert_eq!(store.stats().outbox.parked.due, 2, "each once");
    let refused = Refusal {
        first: 1,
        reason: "\u{e9}".repeat(1_000),
        at: EventTime(9_000),
    };
    let refused = OutboxChange {
        refused: Some(refused),
        ..OutboxChange::default()
    };
    apply(&store, refused);
    let part = store.load().parked_parts(0, 1).unwrap().remove(0);
    assert_eq!((part.due, part.attempts), (false, 6));
    assert_eq!(
        (part.parked, part.tried),
        (EventTime(5_000), EventTime(9_000))
    );
    assert_eq!(part.reason, "\u{e9}".repeat(512), "cut between characters");
    let gone = |unpark: &[u64]| OutboxChange {
        unpark: unpark.to_vec(),
        ..OutboxChange::default()
    };
    apply(&store, gone(&[1, 77]));
    let stats = store.stats().outbox.parked;
    assert_eq!((stats.parts, stats.due, stats.entries), (1, 1, 1));
    assert_eq!(stats.oldest, Some(EventTime(40)));
    apply(&store, gone(&[2]));
    assert_eq!(store.stats().outbox.parked, ParkedStats::default());
    assert_eq!(store.load().parked_items(2).unwrap(), []);
    assert!(store.check().unwrap().is_whole());
}

/// Opens the store in `path` as the opening with this producer.
fn opened_by(path: &std::path::Path, producer: u128) -> Store {
    let config = StoreConfig {
        producer: Some(producer),
        ..config()
    };
    Store::open(path, config, &mut |_| {}).unwrap()
}

#[test]
fn copies_of_a_store_send_what_both_hold_under_one_name_and_what_is_new_under_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let store = opened_by(&path("one"), 1);
    add(&store, vec![entry("a", 10), entry("a", 20)]);
    drop(store);
    std::fs::copy(path("one"), path("two")).unwrap();
    let whole = (9, u64::MAX);
    for (name, producer, new) in [("one", 11, 3), ("two", 22, 1)] {
        let store = opened_by(&path(name), producer);
        let stats = store.stats().outbox;
        assert_eq!((stats.producer, stats.producer_last), (Some(1), None));
        add(&store, vec![entry(name, 5); new]);
        let stats = store.stats().outbox;
        assert_eq!((stats.producer, stats.producer_last), (Some(1), Some(2)));
        assert_eq!(sequences(&store, whole, u64::MAX), [1, 2], "{name}");
        // Killed before anything was sent: what was accepted keeps its producer.
        drop(store);
        let store = opened_by(&path(name), producer + 1);
        add(&store, vec![entry(name, 6)]);
        let arrived = |last| OutboxChange {
            remove_up_to: Some(last),
            ..OutboxChange::default()
        };
        apply(&store, arrived(2));
        let stats = store.stats().outbox;
        assert_eq!(stats.producer, Some(producer), "{name}");
        let last = 2 + new as u64;
        assert_eq!(stats.producer_last, Some(last));
        assert_eq!(sequences(&store, whole, u64::MAX).len(), new);
        apply(&store, arrived(last));
        let stats = store.stats().outbox;
        assert_eq!(
            (stats.producer, stats.producer_last),
            (Some(producer + 1), None)
        );
        assert_eq!(sequences(&store, whole, u64::MAX), [last + 1]);
    }
}

#[test]
fn entries_of_a_store_that_knew_one_producer_keep_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    drop(Store::open(&path, config(), &mut |_| {}).unwrap());
    // As it was written before there was a table of producers.
    let database = Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    let totals = codec::OutboxTotals {
        next: 5,
        entries: 1,
        producer_low: 77,
        ..codec::OutboxTotals::NEW
    };
    let record = codec::encode(Kind::OutboxTotals, META_OUTBOX.as_bytes(), &totals).unwrap();
    let mut meta = txn.open_table(META).unwrap();
    meta.insert(META_OUTBOX, record.as_slice()).unwrap();
    drop(meta);
    let outgoing = codec::Outgoing {
        kind: 2,
        target: "a",
        accepted: 3,
        payload: &[1; 3],
    };
    let record = codec::encode(Kind::Outgoing, &4_u64.to_le_bytes(), &outgoing).unwrap();
    let mut outbox = txn.open_table(OUTBOX).unwrap();
    outbox.insert(4, record.as_slice()).unwrap();
    drop(outbox);
    txn.commit().unwrap();
    drop(database);
    let store = opened_by(&path, 1);
    assert_eq!(store.stats().outbox.producer, Some(77));
    add(&store, vec![entry("a", 1)]);
    let stats = store.stats().outbox;
    assert_eq!((stats.producer, stats.producer_last), (Some(77), Some(4)));
    assert_eq!(sequences(&store, (9, u64::MAX), u64::MAX), [4]);
}

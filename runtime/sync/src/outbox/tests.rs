use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use galley_node::Sending;
use galley_node::store::{
    Flight, OutboxChange, OutboxEntry, OutboxItem, OutboxKind, OutboxStats, ParkedPart,
    ParkedStats, RowBatch, RowWriter, SchemaId, TableId,
};
use galley_types::{EventTime, Field, RowSchema, ScalarType, Value, ValueType};

use super::landing::segment;
use super::{Centre, Drain, DrainConfig, Landing, OutboxSource, Shipment, Undelivered};
use crate::remote::{Folder, RemoteError, RemoteErrorKind, RemoteStore as _};

/// xorshift, seeded.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A parcel with one column of numbers, as the node seals them.
fn payload(column: &str, numbers: &[i64]) -> Vec<u8> {
    let schema = RowSchema {
        fields: vec![Field {
            name: column.to_owned(),
            value_type: ValueType::Scalar(ScalarType::Int64),
        }],
    };
    let mut writer = RowWriter::new(&schema, SchemaId(0));
    let mut batch = RowBatch::new(TableId(0));
    for number in numbers {
        writer.begin(EventTime(*number), None);
        writer.set(0, &Value::Int64(*number)).unwrap();
        batch.push(b"", &mut writer).unwrap();
    }
    let mut bytes = vec![1, 1, 0, 3, 0, 0, 4, 0, 0, 0, column.len() as u8, 0];
    bytes.extend_from_slice(column.as_bytes());
    bytes.extend_from_slice(batch.as_bytes());
    bytes
}

/// An outbox whose commits can be made to fail.
#[derive(Default)]
struct Memory {
    state: Mutex<State>,
    now: AtomicI64,
    sending: Sending,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<u64, OutboxEntry>,
    last: u64,
    flight: Option<Flight>,
    producer: Option<u128>,
    parked: BTreeMap<u64, (ParkedPart, Vec<OutboxItem>)>,
    /// Changes until one fails.
    fails_in: Option<u64>,
}

impl Memory {
    fn add(&self, target: &str, column: &str, numbers: &[i64]) {
        let mut state = self.state.lock().unwrap();
        state.last += 1;
        let entry = OutboxEntry {
            kind: OutboxKind::Rows,
            target: target.to_owned(),
            accepted: EventTime(self.now.load(Ordering::Relaxed)),
            payload: payload(column, numbers),
        };
        let sequence = state.last;
        state.entries.insert(sequence, entry);
    }
}

impl OutboxSource for Memory {
    fn stats(&self) -> OutboxStats {
        let state = self.state.lock().unwrap();
        OutboxStats {
            entries: state.entries.len() as u64,
            bytes: state
                .entries
                .values()
                .map(|it| it.payload.len() as u64)
                .sum(),
            oldest: state.entries.values().next().map(|it| it.accepted),
            next_sequence: state.last + 1,
            flight: state.flight,
            producer: state.producer,
            producer_last: None,
            parked: ParkedStats {
                parts: state.parked.len() as u64,
                due: state.parked.values().filter(|it| it.0.due).count() as u64,
                entries: state.parked.values().map(|it| it.0.entries).sum(),
                bytes: 0,
                oldest: None,
            },
        }
    }

    fn parked_parts(&self, after: u64, max: usize) -> Result<Vec<ParkedPart>, galley_node::Error> {
        let state = self.state.lock().unwrap();
        let parts = state.parked.range(after + 1..).take(max);
        Ok(parts.map(|(_, (part, _))| part.clone()).collect())
    }

    fn parked_items(&self, first: u64) -> Result<Vec<OutboxItem>, galley_node::Error> {
        let state = self.state.lock().unwrap();
        Ok(state
            .parked
            .get(&first)
            .map_or_else(Vec::new, |it| it.1.clone()))
    }

    fn peek(
        &self,
        (entries, bytes): (usize, u64),
        up_to: u64,
    ) -> Result<Vec<OutboxItem>, galley_node::Error> {
        let state = self.state.lock().unwrap();
        let mut total = 0;
        let fits = |entry: &OutboxEntry| {
            total += entry.payload.len() as u64;
            total <= bytes
        };
        let mut fits = fits;
        Ok(state
            .entries
            .range(..=up_to)
            .take(entries)
            .take_while(|(_, entry)| fits(entry))
            .map(|(sequence, entry)| OutboxItem {
                sequence: *sequence,
                entry: Some(entry.clone()),
            })
            .collect())
    }

    fn change(&self, change: OutboxChange) -> Result<(), galley_node::Error> {
        let mut state = self.state.lock().unwrap();
        if let Some(left) = &mut state.fails_in {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Err(galley_node::Error::Closed);
            }
        }
        if let Some(flight) = change.flight {
            state.flight = Some(flight);
        }
        if state.producer.is_none() {
            state.producer = change.producer;
        }
        if let Some(park) = change.park {
            let taken = park.sequences.iter().map(|sequence| OutboxItem {
                sequence: *sequence,
                entry: state.entries.remove(sequence),
            });
            let items: Vec<OutboxItem> = taken.collect();
            let (first, last) = park.range;
            let part = ParkedPart {
                kind: park.kind,
                target: park.target,
                producer: park.producer,
                first,
                last,
                entries: items.len() as u64,
                bytes: 0,
                oldest: park.at,
                parked: park.at,
                tried: park.at,
                attempts: park.attempts,
                due: false,
                reason: park.reason,
            };
            state.parked.insert(first, (part, items));
        }
        if let Some(refusal) = change.refused {
            let (part, _) = state.parked.get_mut(&refusal.first).unwrap();
            (part.due, part.reason) = (false, refusal.reason);
            part.attempts += 1;
        }
        for first in change.due {
            state.parked.get_mut(&first).unwrap().0.due = true;
        }
        for first in change.unpark {
            state.parked.remove(&first);
        }
        if let Some(last) = change.remove_up_to {
            state.entries = state.entries.split_off(&(last + 1));
            if state.flight.is_some_and(|flight| flight.last <= last) {
                state.flight = None;
            }
        }
        Ok(())
    }

    fn now(&self) -> EventTime {
        EventTime(self.now.load(Ordering::Relaxed))
    }

    fn sending(&self) -> &Sending {
        &self.sending
    }
}

/// A centre that keeps what comes by name, and fails before or after it did.
#[derive(Debug, Default)]
struct Shaky {
    taken: Mutex<BTreeMap<String, Vec<i64>>>,
    /// How often each came.
    times: Mutex<BTreeMap<String, u32>>,
    /// What the next deliveries come to: 0 done, 1 cut, 2 done but the answer is lost.
    script: Mutex<Vec<u64>>,
    /// The targets it does not know.
    unknown: Mutex<Vec<&'static str>>,
}

fn numbers(shipment: &Shipment<'_>) -> Vec<i64> {
    shipment
        .rows
        .column(0)
        .as_primitive::<Int64Type>()
        .values()
        .to_vec()
}

impl Centre for Shaky {
    fn deliver(&self, shipment: &Shipment<'_>) -> Result<(), Undelivered> {
        if self.unknown.lock().unwrap().contains(&shipment.target) {
            let refused = RemoteError::new(RemoteErrorKind::NotFound, "centre", "no such view");
            return Err(Undelivered::Refused(refused));
        }
        let name = format!(
            "{} {} {:x} {} {}",
            shipment.target,
            shipment.rows.schema().field(0).name(),
            shipment.producer,
            shipment.first,
            shipment.last
        );
        let lost = RemoteError::new(RemoteErrorKind::Unreachable, "centre", "cut");
        let lost = Undelivered::Later(lost);
        let outcome = self.script.lock().unwrap().pop().unwrap_or(0);
        if outcome == 1 {
            return Err(lost);
        }
        let before = self
            .taken
            .lock()
            .unwrap()
            .insert(name.clone(), numbers(shipment));
        assert!(
            before.is_none_or(|it| it == numbers(shipment)),
            "{name} changed"
        );
        *self.times.lock().unwrap().entry(name).or_default() += 1;
        if outcome == 2 { Err(lost) } else { Ok(()) }
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}

fn config() -> DrainConfig {
    DrainConfig {
        entries_max: 7,
        bytes_max: 2_000,
        wait_max: Duration::from_secs(5),
        park_after: 2,
        ..DrainConfig::default()
    }
}

#[test]
fn whatever_fails_each_row_arrives_once_and_in_its_shape() {
    let mut parked = 0;
    for seed in 1..=1_000_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let memory = Arc::new(Memory::default());
        let centre = Arc::new(Shaky::default());
        let new = || {
            Drain::new(
                Arc::clone(&memory) as Arc<dyn OutboxSource>,
                Arc::clone(&centre) as Arc<dyn Centre>,
                config(),
                seed,
            )
        };
        let mut drain = new();
        let mut sent: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut next = 0;
        for _ in 0..60 {
            for _ in 0..random.below(4) {
                let target = ["a", "b"][random.below(2) as usize];
                let column = ["x", "x", "y"][random.below(3) as usize];
                let rows: Vec<i64> = (next..next + 1 + random.below(3) as i64).collect();
                next += rows.len() as i64;
                memory.add(target, column, &rows);
                sent.entry(format!("{target} {column}"))
                    .or_default()
                    .extend(rows);
            }
            *centre.unknown.lock().unwrap() = match random.below(4) {
                0 => vec!["a"],
                _ => vec![],
            };
            if random.below(5) == 0 {
                // Somebody wants everything that is parked sent again.
                let mut state = memory.state.lock().unwrap();
                state.parked.values_mut().for_each(|it| it.0.due = true);
            }
            let script = (0..4).map(|_| random.below(3)).collect();
            *centre.script.lock().unwrap() = if random.below(2) == 0 { script } else { vec![] };
            let fails = (random.below(3) == 0).then(|| 1 + random.below(4));
            memory.state.lock().unwrap().fails_in = fails;
            memory.now.fetch_add(4_000_000, Ordering::Relaxed);
            drain.round();
            if random.below(4) == 0 {
                drain = new();
            }
        }
        memory.state.lock().unwrap().fails_in = None;
        centre.script.lock().unwrap().clear();
        centre.unknown.lock().unwrap().clear();
        memory.now.fetch_add(10_000_000, Ordering::Relaxed);
        parked += memory.stats().parked.parts;
        for it in memory.state.lock().unwrap().parked.values_mut() {
            it.0.due = true;
        }
        while memory.stats().entries > 0 || memory.stats().parked.parts > 0 {
            drain.round();
        }
        let mut arrived: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (name, rows) in centre.taken.lock().unwrap().iter() {
            let target = name.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
            arrived.entry(target).or_default().extend(rows);
        }
        for rows in arrived.values_mut() {
            rows.sort_unstable();
        }
        assert_eq!(arrived, sent, "seed {seed}");
    }
    assert!(parked > 100, "{parked}: parking was hardly met");
}

#[test]
fn what_the_centre_refuses_is_parked_after_some_attempts_and_the_rest_goes_on() {
    let memory = Arc::new(Memory::default());
    let centre = Arc::new(Shaky::default());
    for (target, number) in [("a", 1), ("gone", 2), ("b", 3), ("gone", 4)] {
        memory.add(target, "x", &[number]);
    }
    centre.unknown.lock().unwrap().push("gone");
    memory.now.fetch_add(10_000_000, Ordering::Relaxed);
    let source = Arc::clone(&memory) as Arc<dyn OutboxSource>;
    let config = DrainConfig {
        park_after: 3,
        ..config()
    };
    let mut drain = Drain::new(source, Arc::clone(&centre) as Arc<dyn Centre>, config, 7);
    for attempt in 1..3 {
        assert!(drain.round() > Duration::ZERO, "attempt {attempt}");
        assert_eq!(memory.stats().parked.parts, 0, "attempt {attempt}");
        assert_eq!(centre.taken.lock().unwrap().len(), 1, "b waits behind it");
    }
    assert_eq!(drain.round(), Duration::ZERO);
    let stats = memory.stats();
    assert_eq!((stats.entries, stats.flight), (0, None));
    let parked = memory.parked_parts(0, 9).unwrap();
    let part = &parked[0];
    assert_eq!((parked.len(), part.first, part.last), (1, 2, 4));
    assert_eq!((part.entries, part.attempts), (2, 3));
    assert_eq!(part.reason, "centre: no such view");
    assert_eq!(centre.taken.lock().unwrap().len(), 2, "a and b");
    // It is known by now: what follows waits for no further attempt.
    memory.add("gone", "x", &[5]);
    memory.now.fetch_add(10_000_000, Ordering::Relaxed);
    assert_eq!(drain.round(), Duration::ZERO);
    assert_eq!(
        (memory.stats().entries, memory.stats().parked.parts),
        (0, 2)
    );
    // Sent again, it is refused again, and stays.
    let again = |firsts: &[u64]| {
        let due = firsts.to_vec();
        let change = OutboxChange {
            due,
            ..OutboxChange::default()
        };
        memory.change(change).unwrap();
    };
    again(&[2, 5]);
    drain.round();
    drain.round();
    let parked = memory.parked_parts(0, 9).unwrap();
    let attempts: Vec<_> = parked.iter().map(|it| (it.due, it.attempts)).collect();
    assert_eq!(attempts, [(false, 4), (false, 2)]);
    // Set right, the centre gets it under the names it had, whoever sends by now.
    centre.unknown.lock().unwrap().clear();
    let producer = memory.state.lock().unwrap().producer.replace(99).unwrap();
    again(&[2]);
    drain.round();
    assert_eq!(memory.stats().parked.parts, 1, "only what was asked for");
    let taken = centre.taken.lock().unwrap();
    assert_eq!(taken[&format!("gone x {producer:x} 2 4")], [2, 4]);
}

#[test]
fn a_centre_that_is_away_parks_nothing_however_often_it_is_asked() {
    let memory = Arc::new(Memory::default());
    let centre = Arc::new(Shaky::default());
    memory.add("a", "x", &[1]);
    memory.now.fetch_add(10_000_000, Ordering::Relaxed);
    *centre.script.lock().unwrap() = vec![1; 50];
    let source = Arc::clone(&memory) as Arc<dyn OutboxSource>;
    let mut drain = Drain::new(source, Arc::clone(&centre) as Arc<dyn Centre>, config(), 7);
    for _ in 0..50 {
        drain.round();
    }
    let stats = memory.stats();
    assert_eq!((stats.entries, stats.parked.parts), (1, 0));
    drain.round();
    assert_eq!(memory.stats().entries, 0);
}

#[test]
fn a_landing_refuses_a_name_that_no_folder_can_have_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let landing = Landing::new(Arc::new(Folder::new(folder.path())));
    let rows = super::batch::of(OutboxKind::Rows, &[]).unwrap();
    let long = "v".repeat(300);
    let shipment = |target| Shipment {
        kind: OutboxKind::Rows,
        target,
        producer: 1,
        first: 1,
        last: 1,
        again: false,
        rows: rows.clone(),
    };
    let error = landing.deliver(&shipment(&long)).unwrap_err();
    assert!(matches!(error, Undelivered::Refused(_)), "{error}");
    std::fs::write(folder.path().join("views"), "").unwrap();
    let error = landing.deliver(&shipment("v")).unwrap_err();
    assert!(matches!(error, Undelivered::Later(_)), "{error}");
}

#[test]
fn an_answer_that_is_lost_costs_one_part_sent_again_and_no_other() {
    let memory = Arc::new(Memory::default());
    let centre = Arc::new(Shaky::default());
    for (target, number) in [("a", 1), ("b", 2), ("c", 3)] {
        memory.add(target, "x", &[number]);
    }
    memory.now.fetch_add(10_000_000, Ordering::Relaxed);
    *centre.script.lock().unwrap() = vec![2, 0];
    let new = || {
        Drain::new(
            Arc::clone(&memory) as Arc<dyn OutboxSource>,
            Arc::clone(&centre) as Arc<dyn Centre>,
            config(),
            7,
        )
    };
    let wait = new().round();
    assert!(wait >= Duration::from_millis(500) && wait <= Duration::from_secs(1));
    assert_eq!(memory.stats().flight.map(|it| it.parts_done), Some(1));
    new().round();
    assert_eq!(memory.stats().entries, 0);
    let times: Vec<u32> = centre.times.lock().unwrap().values().copied().collect();
    assert_eq!(times, [1, 2, 1]);
}

#[test]
fn failures_back_off_to_a_bound_and_entries_are_gathered_for_a_while() {
    let memory = Arc::new(Memory::default());
    let centre = Arc::new(Shaky::default());
    let source = Arc::clone(&memory) as Arc<dyn OutboxSource>;
    let mut drain = Drain::new(source, Arc::clone(&centre) as Arc<dyn Centre>, config(), 3);
    memory.add("a", "x", &[1]);
    drain.round();
    assert_eq!(centre.taken.lock().unwrap().len(), 0, "more may come");
    memory.now.store(-1_000_000, Ordering::Relaxed);
    *centre.script.lock().unwrap() = vec![1; 12];
    let waits: Vec<Duration> = (0..12).map(|_| drain.round()).collect();
    assert!(waits[0] <= Duration::from_secs(1), "{waits:?}");
    assert!(waits[11] >= Duration::from_secs(150), "{waits:?}");
    assert!(
        waits.iter().all(|it| *it <= Duration::from_secs(300)),
        "{waits:?}"
    );
    drain.round();
    assert_eq!(memory.stats().entries, 0);
}

#[test]
fn a_landing_takes_each_shipment_once_even_when_its_file_was_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let place = Folder::new(folder.path());
    let landing: Arc<dyn Centre> = Arc::new(Landing::new(Arc::new(place.clone())));
    let memory = Arc::new(Memory::default());
    memory.add("driver stats", "x", &[1, 2]);
    memory.add("driver stats", "x", &[3]);
    memory.now.fetch_add(10_000_000, Ordering::Relaxed);
    let source = Arc::clone(&memory) as Arc<dyn OutboxSource>;
    // Sent, but the removal fails: the third change, after producer and flight.
    memory.state.lock().unwrap().fails_in = Some(3);
    Drain::new(Arc::clone(&source), Arc::clone(&landing), config(), 1).round();
    let files = place.list("views").unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(
        files[0].path.starts_with("views/driver=20stats/"),
        "{files:?}"
    );
    assert!(
        files[0]
            .path
            .ends_with("-00000000000000000001-00000000000000000002.parquet")
    );
    let bytes = std::fs::read(folder.path().join(&files[0].path)).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
        bytes::Bytes::from(bytes),
    );
    let rows: Vec<_> = reader
        .unwrap()
        .build()
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(
        rows[0].column(0).as_primitive::<Int64Type>().values(),
        &[1, 2, 3]
    );
    assert_eq!(place.list("_galley").unwrap().len(), 1);
    place.delete(&files[0].path).unwrap();
    memory.state.lock().unwrap().fails_in = None;
    Drain::new(source, landing, config(), 1).round();
    assert_eq!(memory.stats().entries, 0);
    assert_eq!(place.list("views").unwrap(), [], "not put again");
}

#[test]
fn what_a_copy_of_the_outbox_has_sent_is_not_put_again() {
    let folder = tempfile::tempdir().unwrap();
    let place = Folder::new(folder.path());
    let landing: Arc<dyn Centre> = Arc::new(Landing::new(Arc::new(place.clone())));
    for copy in 0..2 {
        let memory = Arc::new(Memory::default());
        memory.add("a", "x", &[1]);
        memory.state.lock().unwrap().producer = Some(7);
        memory.now.fetch_add(10_000_000, Ordering::Relaxed);
        let source = Arc::clone(&memory) as Arc<dyn OutboxSource>;
        Drain::new(source, Arc::clone(&landing), config(), 1).round();
        assert_eq!(memory.stats().entries, 0);
        let files = place.list("views").unwrap();
        assert_eq!(files.len(), 1 - copy, "{files:?}");
        // Somebody moves away what has landed.
        for file in files {
            place.delete(&file.path).unwrap();
        }
    }
}

#[test]
fn names_become_plain_segments_that_readers_do_not_pass_over() {
    for (name, expect) in [
        ("driver_stats", "driver_stats"),
        ("_hidden", "=5fhidden"),
        (".x", "=2ex"),
        ("../a", "=2e.=2fa"),
        ("caf\u{e9}=1", "caf=c3=a9=3d1"),
    ] {
        assert_eq!(segment(name), expect);
        assert!(crate::remote::is_plain(&segment(name)));
    }
}

/// A parcel of one row with a column of each of the types given, as the node seals them.
fn payload_of(columns: &[(ValueType, Value)]) -> Vec<u8> {
    let name = |index: usize| format!("c{index}");
    let fields = columns
        .iter()
        .enumerate()
        .map(|(index, (value_type, _))| Field {
            name: name(index),
            value_type: *value_type,
        });
    let schema = RowSchema {
        fields: fields.collect(),
    };
    let mut writer = RowWriter::new(&schema, SchemaId(0));
    let mut batch = RowBatch::new(TableId(0));
    writer.begin(EventTime(86_400_000_000 + 7), None);
    for (slot, (_, value)) in columns.iter().enumerate() {
        writer.set(slot, value).unwrap();
    }
    batch.push(b"", &mut writer).unwrap();
    let mut bytes = vec![1];
    bytes.extend_from_slice(&(columns.len() as u16 + 2).to_le_bytes());
    let mut column = |role: u8, place: usize, value_type: ValueType, name: &str| {
        bytes.push(role);
        bytes.extend_from_slice(&(place as u16).to_le_bytes());
        bytes.extend_from_slice(&value_type.feast().to_le_bytes());
        bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
    };
    for (index, (value_type, _)) in columns.iter().enumerate() {
        column(3, index, *value_type, &name(index));
    }
    let time = ValueType::Scalar(ScalarType::UnixTimestamp);
    column(1, 0, time, "when");
    column(4, 0, time, "day");
    bytes.extend_from_slice(batch.as_bytes());
    bytes
}

#[test]
fn every_kind_of_value_has_an_arrow_column_and_every_column_may_be_null() {
    use galley_types::{ListBuilder, ScalarType as S, ValueType as T};
    let mut list = ListBuilder::new(S::Int64);
    list.push(galley_types::ListItem::Int64(3)).unwrap();
    list.push(galley_types::ListItem::Int64(4)).unwrap();
    let zoned = Value::Zoned {
        micros: 0,
        zone: "America/New_York".to_owned(),
    };
    let map = Value::Map(vec![("k".to_owned(), Value::Int64(1))]);
    let values = [
        (T::Scalar(S::Int64), Value::Int64(-1), "Int64"),
        (T::Scalar(S::Int32), Value::Int32(-2), "Int32"),
        (T::Scalar(S::Double), Value::Double(0.5), "Float64"),
        (T::Scalar(S::Float), Value::Float(0.25), "Float32"),
        (T::Scalar(S::Bool), Value::Bool(true), "Boolean"),
        (T::Scalar(S::String), Value::Text("t".to_owned()), "Utf8"),
        (T::Scalar(S::Bytes), Value::Bytes(vec![7]), "Binary"),
        (
            T::Scalar(S::UnixTimestamp),
            Value::UnixTimestamp(1),
            "Timestamp",
        ),
        (T::Scalar(S::ZonedTimestamp), zoned, "Utf8"),
        (T::List(S::Int64), Value::List(list.finish()), "List"),
        (T::Map, map, "Utf8"),
    ];
    let given: Vec<_> = values.iter().map(|it| (it.0, it.1.clone())).collect();
    let nulls: Vec<_> = values.iter().map(|it| (it.0, Value::Null)).collect();
    let (given, nulls) = (payload_of(&given), payload_of(&nulls));
    let parcels = [&given, &nulls].map(|bytes| galley_node::Parcel::open(bytes).unwrap());
    let batch = super::batch::of(OutboxKind::Rows, &parcels).unwrap();
    assert_eq!(batch.num_rows(), 2);
    for (index, (_, _, expect)) in values.iter().enumerate() {
        let column = batch.column(index);
        let name = column.data_type().to_string();
        assert!(name.starts_with(expect), "{name} {expect}");
        assert!(column.is_valid(0) && column.is_null(1), "{name}");
    }
    let text = |index: usize| batch.column(index).as_string::<i32>().value(0);
    assert_eq!(text(8), "1969-12-31T19:00:00-05:00[America/New_York]");
    assert_eq!(text(10), r#"{"k":1}"#);
    let list = batch.column(9).as_list::<i32>().value(0);
    assert_eq!(list.as_primitive::<Int64Type>().values(), &[3, 4]);
    use arrow_array::types::{Date32Type, TimestampMicrosecondType, TimestampMillisecondType};
    let when = batch.column_by_name("when").unwrap();
    let micros = when.as_primitive::<TimestampMicrosecondType>().value(0);
    assert_eq!(micros, 86_400_000_007);
    let day = batch.column_by_name("day").unwrap();
    assert_eq!(day.as_primitive::<Date32Type>().value(0), 1);
    let logs = super::batch::of(OutboxKind::Log, &parcels).unwrap();
    let seconds = logs.column(7).as_primitive::<TimestampMillisecondType>();
    assert_eq!(seconds.value(0), 0, "whole seconds");
}

//! Messages of a server that means harm: refused, by their own reason, without a panic and without
//! memory for what they claim.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, Float32Array, Int32Array, Int64Array, NullArray, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow_flight::FlightData;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::{Field, Schema};
use futures_util::{StreamExt as _, stream};
use galley_node::Sink;
use galley_types::EventTime;

use super::materialize::take;
use super::{checked, next};
use crate::error::{Result, chain};
use crate::rows::{Collect, MaterializeConfig, Staging, Taker, ViewPlan, Window, batch_source};
use crate::testing::Rides;

const VIEW: &str = "driver_hourly_stats";
/// An odd number, so that it can be found again among the bytes.
const ROWS: usize = 77;
const NOW: i64 = 1_790_000_000_000_000;

type Columns = Vec<(String, ArrayRef)>;

/// Counts rows and forgets them.
#[derive(Default)]
struct Count(u64);

impl Taker for Count {
    fn read(&mut self, rows: u64) -> Result<()> {
        self.0 += rows;
        Ok(())
    }

    fn take(&mut self, staged: &mut Staging, _last: bool) -> Result<()> {
        staged.clear();
        Ok(())
    }
}

fn sink() -> Sink {
    static SINK: OnceLock<Sink> = OnceLock::new();
    SINK.get_or_init(|| Rides::installed().node.sink(VIEW).unwrap().unwrap())
        .clone()
}

fn instants(value: i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![value; ROWS]).with_timezone("UTC"))
}

fn good() -> Columns {
    let ids: Vec<i64> = (0..ROWS as i64).collect();
    let columns: [(&str, ArrayRef); 6] = [
        ("event_timestamp", instants(NOW)),
        ("created", instants(NOW + 1)),
        ("driver_id", Arc::new(Int64Array::from(ids))),
        ("conv_rate", Arc::new(Float32Array::from(vec![0.5; ROWS]))),
        ("acc_rate", Arc::new(Float32Array::from(vec![0.5; ROWS]))),
        ("avg_daily_trips", Arc::new(Int32Array::from(vec![7; ROWS]))),
    ];
    let named = columns.into_iter();
    named
        .map(|(name, array)| (name.to_owned(), array))
        .collect()
}

fn with(name: &str, array: ArrayRef) -> Columns {
    let mut columns = good();
    let place = columns.iter_mut().find(|(it, _)| it == name).unwrap();
    place.1 = array;
    columns
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

/// The messages of a table, as a server sends them.
fn messages(columns: &Columns, options: IpcWriteOptions) -> Vec<FlightData> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(name, array.data_type().clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
    let batch = RecordBatch::try_new(schema, arrays).unwrap();
    let encoded = FlightDataEncoderBuilder::new()
        .with_options(options)
        .with_dictionary_handling(DictionaryHandling::Resend)
        .build(stream::iter([Ok(batch)]));
    block_on(encoded.map(|message| message.unwrap()).collect())
}

fn plain(columns: &Columns) -> Vec<FlightData> {
    messages(columns, IpcWriteOptions::default())
}

/// What the node makes of messages: the rows, or the reason.
fn decode(messages: Vec<FlightData>) -> std::result::Result<u64, String> {
    let sink = sink();
    let source = batch_source(&sink.view).unwrap();
    let plan = ViewPlan::new(VIEW, source, &sink.view.join_keys, &sink.view.schema);
    let window = Window {
        start: None,
        end: EventTime(i64::MAX),
    };
    let (config, mut count) = (MaterializeConfig::default(), Count::default());
    let mut collect = Collect::new(&sink.view, &plan, window, &config, &mut count);
    let items = messages.into_iter().map(Ok::<_, FlightError>);
    let mut batches = checked(stream::iter(items));
    while let Some(batch) = block_on(next(&mut batches)) {
        let batch = batch.map_err(|error| chain(&error))?;
        take(&mut collect, &batch, (Path::new("grpc://x"), 0)).map_err(|error| chain(&error))?;
    }
    collect.finish().map_err(|error| chain(&error))?;
    Ok(count.0)
}

/// The messages, with `other` in the place of each `number` of 8 bytes in a header.
fn patched(number: i64, other: i64) -> Vec<Vec<FlightData>> {
    let sound = plain(&good());
    let mut found = Vec::new();
    for (index, message) in sound.iter().enumerate() {
        let places = message.data_header.windows(8).enumerate();
        for (at, _) in places.filter(|(_, window)| *window == number.to_le_bytes()) {
            let mut header = message.data_header.to_vec();
            header[at..at + 8].copy_from_slice(&other.to_le_bytes());
            let mut copy = sound.clone();
            copy[index].data_header = header.into();
            found.push(copy);
        }
    }
    assert!(!found.is_empty(), "{number} is nowhere");
    found
}

fn deep(levels: usize) -> ArrayRef {
    let mut deep: ArrayRef = Arc::new(Int64Array::from(vec![1; ROWS]));
    for _ in 0..levels {
        let field = Arc::new(Field::new("x", deep.data_type().clone(), true));
        deep = Arc::new(StructArray::from(vec![(field, deep)]));
    }
    deep
}

/// Tables that cannot be the view's, each with a part of the reason.
fn tables() -> Vec<(&'static str, &'static str, Columns)> {
    let mut twice = good();
    twice.push(twice[3].clone());
    let mut fewer = good();
    fewer.remove(2);
    let nulls = |name: &str| with(name, Arc::new(NullArray::new(ROWS)));
    let number = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value; ROWS])) };
    let second = TimestampSecondArray::from(vec![i64::MAX; ROWS]);
    vec![
        ("a column twice", "stands there twice", twice),
        ("a column missing", "no column driver_id", fewer),
        ("no keys", "driver_id", nulls("driver_id")),
        ("no times", "event_timestamp", nulls("event_timestamp")),
        (
            "times beyond all",
            "out of range",
            with("event_timestamp", instants(i64::MAX)),
        ),
        (
            "times before all",
            "out of range",
            with("event_timestamp", instants(i64::MIN)),
        ),
        (
            "created beyond all",
            "out of range",
            with("created", instants(i64::MAX)),
        ),
        (
            "times that overflow",
            "out of range",
            with("event_timestamp", Arc::new(second)),
        ),
        (
            "times that are none",
            "event_timestamp",
            with("event_timestamp", number(7)),
        ),
        (
            "a text for a rate",
            "conv_rate",
            with("conv_rate", Arc::new(StringArray::from(vec!["x"; ROWS]))),
        ),
        (
            "too large a number",
            "avg_daily_trips",
            with(
                "avg_daily_trips",
                Arc::new(UInt64Array::from(vec![u64::MAX; ROWS])),
            ),
        ),
        (
            "a structure 20 deep",
            "conv_rate",
            with("conv_rate", deep(20)),
        ),
    ]
}

#[test]
fn a_good_table_is_taken() {
    assert_eq!(decode(plain(&good())), Ok(ROWS as u64));
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    for _ in 0..ROWS {
        words.append("one huge word".repeat(10_000)).unwrap();
    }
    let mut more = good();
    more.push(("not asked for".to_owned(), Arc::new(words.finish())));
    assert_eq!(decode(plain(&more)), Ok(ROWS as u64));
}

#[test]
fn tables_that_cannot_be_are_refused_by_their_own_reason() {
    let mut wrong = Vec::new();
    for (name, reason, columns) in tables() {
        match decode(plain(&columns)) {
            Err(error) if error.contains(reason) => {}
            other => wrong.push(format!("{name}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn columns_a_thousand_deep_are_refused_before_they_are_descended_into() {
    // Whoever makes them needs the stack for it; whoever reads them must not.
    let maker = std::thread::Builder::new().stack_size(1 << 30);
    let maker = maker.spawn(|| plain(&with("conv_rate", deep(1000))));
    let error = decode(maker.unwrap().join().unwrap()).unwrap_err();
    assert!(error.contains("without a header"), "{error}");
}

#[test]
fn messages_that_claim_what_they_have_not_are_refused() {
    let rows = ROWS as i64;
    let mut cases = Vec::new();
    for claim in [1 << 40, i64::MAX, -1] {
        cases.extend(patched(rows, claim));
        // Lengths of buffers, and where the second of them begins.
        cases.extend(patched(rows * 8, claim));
        cases.extend(patched(rows * 4, claim));
    }
    let lz4 = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME));
    cases.push(messages(&good(), lz4.unwrap()));
    let sound = plain(&good());
    let changed = |change: &dyn Fn(&mut Vec<FlightData>)| {
        let mut copy = sound.clone();
        change(&mut copy);
        copy
    };
    cases.push(changed(&|it| {
        it[1].data_body = it[1].data_body.slice(..100);
    }));
    cases.push(changed(&|it| it[1].data_body = bytes::Bytes::new()));
    cases.push(changed(&|it| {
        it[1].data_header = it[1].data_header.slice(..20);
    }));
    cases.push(changed(&|it| it[0].data_header = vec![0xff; 999].into()));
    cases.push(changed(&|it| drop(it.remove(0))));
    cases.push(changed(&|it| it.swap(0, 1)));
    let mut wrong = Vec::new();
    for (number, case) in cases.into_iter().enumerate() {
        if let Ok(taken) = decode(case) {
            wrong.push((number, taken));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn buffers_that_lie_upon_each_other_are_refused() {
    // The buffers of the event times and of the created times begin at one place.
    let reasons: Vec<String> = patched(640, 0)
        .into_iter()
        .filter_map(|case| decode(case).err())
        .collect();
    let found = reasons.iter().any(|it| it.contains("lies upon another"));
    assert!(found, "{reasons:?}");
}

#[test]
fn a_flipped_bit_never_makes_more_rows_or_a_panic() {
    let sound = plain(&good());
    for (index, message) in sound.iter().enumerate() {
        for at in 0..message.data_header.len() {
            let mut header = message.data_header.to_vec();
            header[at] ^= 1 << (at % 8);
            let mut copy = sound.clone();
            copy[index].data_header = header.into();
            if let Ok(rows) = decode(copy) {
                assert!(
                    rows <= ROWS as u64,
                    "message {index}, byte {at}: {rows} rows"
                );
            }
        }
    }
}

#[test]
fn changed_bytes_never_make_more_rows() {
    let sound = plain(&good());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let mut refused = 0;
    for round in 0..2000 {
        let mut copy = sound.clone();
        for _ in 0..=random(4) {
            let index = random(copy.len());
            let mut header = copy[index].data_header.to_vec();
            let at = random(header.len());
            let end = (at + 1 + random(8)).min(header.len());
            header[at..end].fill([0, 1, 0x7f, 0x80, 0xff][random(5)]);
            copy[index].data_header = header.into();
        }
        match decode(copy) {
            Ok(rows) => assert!(rows <= ROWS as u64, "round {round}: {rows} rows"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 500, "{refused}");
}

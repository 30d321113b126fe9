//! Parts that are not what they should be: refused, by their own reason, without a panic and without
//! memory for what they claim.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder, StringDictionaryBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, LargeStringArray,
    RecordBatch, StringArray, StructArray, TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, Schema};
use galley_node::Sink;
use galley_node::store::RowBatch;

use super::super::FeedError;
use super::super::release::PART_BYTES_MAX;
use super::*;
use crate::testing::Rides;

const VIEW: &str = "driver_hourly_stats";
/// An odd number, so that it can be found again among the bytes.
const ROWS: usize = 77;
const NOW: i64 = 1_790_000_000_000_000;

/// The columns of a good part, by their names.
fn good() -> Vec<(String, ArrayRef)> {
    let times = |value: i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(vec![value; ROWS]).with_timezone("UTC"))
    };
    let ids: Vec<i64> = (0..ROWS as i64).collect();
    let mut columns = vec![
        ("event_timestamp".to_owned(), times(NOW)),
        ("created".to_owned(), times(NOW + 1)),
        (
            "driver_id".to_owned(),
            Arc::new(Int64Array::from(ids)) as ArrayRef,
        ),
    ];
    for feature in sink().view.schema.fields {
        let array: ArrayRef = match column(feature.value_type) {
            DataType::Float32 => Arc::new(Float32Array::from(vec![0.5; ROWS])),
            DataType::Int64 => Arc::new(Int64Array::from(vec![7; ROWS])),
            DataType::Int32 => Arc::new(Int32Array::from(vec![7; ROWS])),
            DataType::Float64 => Arc::new(Float64Array::from(vec![0.5; ROWS])),
            other => panic!("the sample has no {other}"),
        };
        columns.push((feature.name, array));
    }
    columns
}

fn sink() -> Sink {
    static RIDES: std::sync::OnceLock<Sink> = std::sync::OnceLock::new();
    RIDES
        .get_or_init(|| Rides::installed().node.sink(VIEW).unwrap().unwrap())
        .clone()
}

fn stream(columns: &[(String, ArrayRef)], options: IpcWriteOptions, batches: usize) -> Vec<u8> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(name, array.data_type().clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
    for _ in 0..batches {
        writer.write(&batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn plain(columns: &[(String, ArrayRef)]) -> Vec<u8> {
    stream(columns, IpcWriteOptions::default(), 1)
}

fn decode(bytes: &[u8]) -> Result<u64, FeedError> {
    let sink = sink();
    decode_part(bytes, &sink, &mut RowBatch::new(sink.table))
}

/// A good part with one column in another's place.
fn with(name: &str, array: ArrayRef) -> Vec<u8> {
    let mut columns = good();
    let place = columns.iter_mut().find(|(it, _)| it == name).unwrap();
    place.1 = array;
    plain(&columns)
}

/// Every place where `number` stands in 8 bytes, with `other` in its stead.
fn patched(bytes: &[u8], number: i64, other: i64) -> Vec<Vec<u8>> {
    let places = bytes.windows(8).enumerate();
    places
        .filter(|(_, window)| *window == number.to_le_bytes())
        .map(|(at, _)| {
            let mut copy = bytes.to_vec();
            copy[at..at + 8].copy_from_slice(&other.to_le_bytes());
            copy
        })
        .collect()
}

fn instants(value: i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![value; ROWS]).with_timezone("UTC"))
}

fn some_null() -> Vec<Option<i64>> {
    let mut values = vec![Some(NOW); ROWS];
    values[5] = None;
    values
}

/// Columns of other types than the view's.
fn strange_columns() -> Vec<(&'static str, ArrayRef)> {
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    let mut lists = ListBuilder::new(Int64Builder::new());
    for _ in 0..ROWS {
        words.append("one huge word".repeat(1000)).unwrap();
        lists.append(true);
    }
    let words: ArrayRef = Arc::new(words.finish());
    let mut deep: ArrayRef = Arc::new(Int64Array::from(vec![1; ROWS]));
    for _ in 0..40 {
        let field = Arc::new(Field::new("x", deep.data_type().clone(), true));
        deep = Arc::new(StructArray::from(vec![(field, deep)]));
    }
    let texts = vec!["7"; ROWS];
    vec![
        ("conv_rate", Arc::new(Float64Array::from(vec![0.5; ROWS]))),
        ("conv_rate", Arc::new(StringArray::from(texts.clone()))),
        ("conv_rate", words),
        ("conv_rate", Arc::new(lists.finish())),
        ("conv_rate", deep),
        ("driver_id", Arc::new(Int32Array::from(vec![7; ROWS]))),
        ("driver_id", Arc::new(LargeStringArray::from(texts))),
        ("driver_id", Arc::new(Int64Array::from(some_null()))),
        (
            "event_timestamp",
            Arc::new(Int64Array::from(vec![NOW; ROWS])),
        ),
        (
            "event_timestamp",
            Arc::new(TimestampNanosecondArray::from(vec![NOW; ROWS]).with_timezone("UTC")),
        ),
        (
            "event_timestamp",
            Arc::new(TimestampMicrosecondArray::from(vec![NOW; ROWS])),
        ),
        (
            "event_timestamp",
            Arc::new(TimestampMicrosecondArray::from(some_null()).with_timezone("UTC")),
        ),
        ("event_timestamp", instants(i64::MAX)),
        ("event_timestamp", instants(i64::MIN)),
        ("created", instants(i64::MAX)),
        ("created", instants(-62_135_596_800_000_001)),
    ]
}

/// Bytes that are no part, each with what it is.
fn bad_files() -> Vec<(String, Vec<u8>)> {
    let good = plain(&good());
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| files.push((name.to_owned(), bytes));
    add("nothing", Vec::new());
    add("zeros", vec![0; 4096]);
    add("ones", vec![0xff; 4096]);
    add("text", b"<html>not found</html>".repeat(20));
    add("an Arrow file", [b"ARROW1\0\0".as_slice(), &good].concat());
    add("no end", good[..good.len() - 8].to_vec());
    add("more after the end", [good.as_slice(), b"more"].concat());
    add("twice", [good.as_slice(), &good].concat());
    add(
        "larger than a part",
        vec![0; usize::try_from(PART_BYTES_MAX).unwrap() + 1],
    );
    let mut long = good.clone();
    long[4..8].copy_from_slice(&i32::MAX.to_le_bytes());
    add("a header of two gigabytes", long);
    let mut negative = good.clone();
    negative[4..8].copy_from_slice(&(-8_i32).to_le_bytes());
    add("a header of less than nothing", negative);
    let mut columns = self::good();
    columns.swap(1, 2);
    add("columns in another order", plain(&columns));
    let mut columns = self::good();
    columns.push(columns[3].clone());
    add("a column twice", plain(&columns));
    let mut columns = self::good();
    columns[3].0 = columns[4].0.clone();
    add("a name twice", plain(&columns));
    let mut columns = self::good();
    columns.pop();
    add("a column less", plain(&columns));
    let many = stream(&self::good(), IpcWriteOptions::default(), 1100);
    add("too many messages", many);
    let lz4 = IpcWriteOptions::default();
    let lz4 = lz4
        .try_with_compression(Some(CompressionType::LZ4_FRAME))
        .unwrap();
    add("compressed", stream(&self::good(), lz4, 1));
    for (name, array) in strange_columns() {
        let title = format!("{name} as {}", array.data_type());
        add(
            &title.chars().take(80).collect::<String>(),
            with(name, array),
        );
    }
    let rows = i64::try_from(ROWS).unwrap();
    for claim in [1 << 40, i64::MAX, -1] {
        for bytes in patched(&good, rows, claim) {
            add(&format!("{claim} rows"), bytes);
        }
        for bytes in patched(&good, rows * 8, claim) {
            add(&format!("a buffer of {claim} bytes"), bytes);
        }
    }
    files
}

#[test]
fn a_good_part_is_decoded() {
    assert_eq!(decode(&plain(&good())).unwrap(), ROWS as u64);
    let twice = stream(&good(), IpcWriteOptions::default(), 2);
    assert_eq!(decode(&twice).unwrap(), 2 * ROWS as u64);
    // Not a number is a number like others.
    let nan = Arc::new(Float32Array::from(vec![f32::NAN; ROWS]));
    assert_eq!(decode(&with("conv_rate", nan)).unwrap(), ROWS as u64);
}

#[test]
fn bad_parts_are_refused_one_and_all() {
    let files = bad_files();
    assert!(files.len() >= 40, "{}", files.len());
    let mut wrong = Vec::new();
    for (name, bytes) in files {
        match decode(&bytes) {
            Ok(rows) => wrong.push(format!("{name}: {rows} rows were taken")),
            Err(error) => {
                let known = ["bad_part", "bad_value", "too_large"];
                assert!(known.contains(&error.code()), "{name}: {error}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn buffers_that_lie_upon_each_other_are_refused() {
    // The second column's where the first one's is: one text could be as many as there are columns.
    let reasons: Vec<String> = patched(&plain(&good()), 640, 0)
        .into_iter()
        .filter_map(|bytes| decode(&bytes).err())
        .map(|error| error.to_string())
        .collect();
    let found = reasons.iter().any(|it| it.contains("lies upon another"));
    assert!(found, "{reasons:?}");
}

#[test]
fn no_part_of_a_part_is_one() {
    let good = plain(&good());
    for end in (0..good.len()).step_by(7) {
        assert!(
            decode(&good[..end]).is_err(),
            "{end} bytes of {}",
            good.len()
        );
    }
}

#[test]
fn a_flipped_bit_never_makes_more_rows_or_a_panic() {
    let good = plain(&good());
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        if let Ok(rows) = decode(&bad) {
            assert!(rows <= ROWS as u64, "byte {at}: {rows} rows");
        }
    }
}

#[test]
fn changed_bytes_never_make_more_rows_or_a_panic() {
    let sound = plain(&good());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let mut refused = 0;
    for round in 0..5000 {
        let mut bad = sound.clone();
        for _ in 0..=random(4) {
            // Most of what can be wrong is in front of the rows.
            let within = bad.len() / (1 + 2 * random(2));
            let at = random(within);
            let end = (at + 1 + random(8)).min(bad.len());
            bad[at..end].fill([0, 1, 0x7f, 0x80, 0xff][random(5)]);
        }
        match decode(&bad) {
            Ok(rows) => assert!(rows <= ROWS as u64, "round {round}: {rows} rows"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 1000, "{refused}");
}

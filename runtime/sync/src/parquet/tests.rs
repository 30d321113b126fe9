#[expect(clippy::too_many_lines, reason = "lists of files, each a few lines")]
mod bombs;

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow_array::builder::{Int64Builder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::*;
use arrow_schema::{DataType, Field, Schema};
use galley_node::store::{Row, RowBatch, RowWriter};
use galley_node::{JobState, JobStatus, MaterializeRequest};
use galley_types::{
    ErrorKind, EventTime, KeyType, KeyValue, RowSchema, ScalarType, Value, ValueType,
};

use super::reader::{BatchBounds, ParquetFile, Step};
use super::*;
use crate::remote::testing::Server;
use crate::rows::fold::{self, Bad, Scratch};
use crate::rows::{ViewPlan, Window};
use crate::testing::{Rides, Stored};

const T0: i64 = 1_772_323_200_000_000;
const HOUR: i64 = 3_600_000_000;

fn materialize(
    rides: &Rides,
    config: MaterializeConfig,
    request: &MaterializeRequest,
) -> JobStatus {
    run(
        rides,
        ParquetMaterializer::new(rides.dir.path(), config),
        request,
    )
}

fn run(
    rides: &Rides,
    materializer: ParquetMaterializer,
    request: &MaterializeRequest,
) -> JobStatus {
    rides.node.set_materializer(Arc::new(materializer));
    let id = rides.node.materialize(request).unwrap();
    loop {
        let status = rides.node.job(id).unwrap();
        if status.state != JobState::Running {
            return status;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn window(views: &[&str], start: i64, end: i64) -> MaterializeRequest {
    MaterializeRequest {
        start: Some(EventTime(start)),
        end: Some(EventTime(end)),
        views: Some(views.iter().map(|view| (*view).to_owned()).collect()),
        ..MaterializeRequest::default()
    }
}

#[test]
fn every_view_of_a_feast_repo_is_materialised() {
    let rides = Rides::installed();
    let request = MaterializeRequest {
        start: Some(EventTime(0)),
        end: Some(EventTime(T0 + 72 * HOUR)),
        ..MaterializeRequest::default()
    };
    // The views that can be: an on-demand view with rows is not computed from files.
    let names = [
        "driver_hourly_stats",
        "driver_hourly_stats_fresh",
        "driver_trips_fresh",
        "driver_stream",
        "customer_profile",
        "trip_pair_stats",
        "location_weather",
        "city_totals",
        "device_types",
        "device_complex",
        "zone_events",
    ];
    let request = MaterializeRequest {
        views: Some(names.map(str::to_owned).to_vec()),
        ..request
    };
    let status = materialize(&rides, MaterializeConfig::default(), &request);
    assert_eq!(
        (status.error.as_deref(), status.state),
        (None, JobState::Succeeded)
    );
    assert_eq!(status.rows_total, Some(status.rows_read));
    let row = |view: &str, key: &[KeyValue<'_>]| rides.row(view, key).unwrap();
    // Of equal event times the later created wins.
    assert_eq!(
        row("driver_hourly_stats", &[KeyValue::Int64(1001)]),
        Stored {
            event_time: EventTime(T0 + 11 * HOUR),
            created: Some(EventTime(T0 + 11 * HOUR + HOUR / 2)),
            values: vec![Value::Float(0.5), Value::Float(0.25), Value::Int64(777)],
        }
    );
    let beaten = row("driver_hourly_stats", &[KeyValue::Int64(1002)]);
    assert_eq!(beaten.created, Some(EventTime(T0 + 11 * HOUR + HOUR / 60)));
    assert_eq!(rides.rows("driver_hourly_stats"), 5);
    // Field mapping, a time column of another name, a 32-bit key.
    assert_eq!(
        row("location_weather", &[KeyValue::Int32(2)]).values,
        [Value::Float(-3.25), Value::Text("snow".into())]
    );
    assert_eq!(
        row("location_weather", &[KeyValue::Int32(4)]).values[0],
        Value::Null
    );
    // Without entities: the newest row.
    assert_eq!(
        row("city_totals", &[]).values,
        [Value::Int64(120), Value::Double(1.5)]
    );
    assert_eq!(
        row(
            "trip_pair_stats",
            &[KeyValue::String("C002"), KeyValue::Int64(1003)]
        )
        .values[1],
        Value::Double(4.309)
    );
}

#[test]
fn files_of_a_bucket_are_materialised_as_those_of_a_disk() {
    let rides = Rides::new();
    let server = Server::bucket("b");
    let remote = RemoteConfig {
        s3_endpoint: Some(server.url()),
        ..RemoteConfig::default()
    };
    let place = crate::remote::open("s3://b", &remote).unwrap();
    let bytes = std::fs::read(rides.dir.path().join("data/driver_stats.parquet")).unwrap();
    // One source is a file, another a folder of files.
    place.put("iver_stats.parquet", &bytes).unwrap();
    let bytes = std::fs::read(rides.dir.path().join("data/city_totals.parquet")).unwrap();
    place
        .put("ty_totals.parquet/day=1/0.parquet", &bytes)
        .unwrap();
    place
        .put("ty_totals.parquet/_tmp/1.parquet", b"no Parquet")
        .unwrap();
    // Of one length, so that the messages around them need no change.
    let mut registry = std::fs::read(rides.repo.registry_file().unwrap()).unwrap();
    for (from, to) in [
        ("data/driver_stats.parquet", "s3://b/iver_stats.parquet"),
        ("data/city_totals.parquet", "s3://b/ty_totals.parquet"),
    ] {
        let mut at = 0;
        while at + from.len() <= registry.len() {
            if registry[at..].starts_with(from.as_bytes()) {
                registry[at..at + from.len()].copy_from_slice(to.as_bytes());
            }
            at += 1;
        }
    }
    std::fs::write(rides.repo.registry_file().unwrap(), registry).unwrap();
    rides
        .node
        .install(rides.repo.read_registry().unwrap())
        .unwrap();
    let folder = rides.dir.path().join("downloads");
    let materializer = ParquetMaterializer::new(rides.dir.path(), MaterializeConfig::default())
        .with_remote(&remote, &folder);
    let request = window(&["driver_hourly_stats", "city_totals"], 0, T0 + 72 * HOUR);
    let status = run(&rides, materializer, &request);
    assert_eq!(status.state, JobState::Succeeded, "{:?}", status.error);
    let local = Rides::installed();
    materialize(&local, MaterializeConfig::default(), &request);
    assert_eq!(rides.row("city_totals", &[]), local.row("city_totals", &[]));
    assert_eq!(rides.rows("driver_hourly_stats"), 5);
    for key in 1001..1006 {
        let key = [KeyValue::Int64(key)];
        let (here, there) = (&rides, &local);
        let view = "driver_hourly_stats";
        assert_eq!(here.row(view, &key), there.row(view, &key));
    }
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
}

#[test]
fn values_of_every_type_are_kept_exactly() {
    let rides = Rides::installed();
    let status = materialize(
        &rides,
        MaterializeConfig::default(),
        &window(&["customer_profile", "device_types"], 0, T0 + 72 * HOUR),
    );
    assert_eq!(status.state, JobState::Succeeded, "{:?}", status.error);
    // Exact integers beside nulls, NaN stays NaN.
    let customer = |id, feature| rides.value("customer_profile", &[KeyValue::String(id)], feature);
    assert_eq!(
        customer("C004", "lifetime_value"),
        Value::Int64(9_007_199_254_740_993)
    );
    assert_eq!(customer("C005", "lifetime_value"), Value::Int64(-i64::MAX));
    assert_eq!(customer("C003", "lifetime_value"), Value::Null);
    assert!(matches!(customer("C002", "balance"), Value::Double(nan) if nan.is_nan()));
    assert_eq!(
        customer("C007", "tier"),
        Value::Text("h\u{e4}agen-\u{65e5}\u{672c}".into())
    );
    assert_eq!(
        customer("C002", "signup_ts"),
        Value::UnixTimestamp(T0 - 24 * HOUR - 1_000_000)
    );
    let device = |id, feature| rides.value("device_types", &[KeyValue::String(id)], feature);
    assert_eq!(
        device("dev-a", "f_bytes"),
        Value::Bytes(vec![0, 1, 0xfe, 0xff])
    );
    assert_eq!(
        device("dev-b", "f_ts"),
        Value::UnixTimestamp(T0 + 999_999),
        "microseconds are kept"
    );
    assert_eq!(
        device("dev-b", "f_uuid"),
        Value::Text("00000000-0000-0000-0000-000000000007".into())
    );
    assert_eq!(device("dev-c", "l_ts"), Value::Null);
    let Value::List(list) = device("dev-a", "l_ts") else {
        panic!()
    };
    assert_eq!(list.as_ref().len(), 2);
    let Value::List(list) = device("dev-a", "l_float32") else {
        panic!()
    };
    assert_eq!(
        list.payload(),
        [
            2_u32.to_le_bytes(),
            0.1_f32.to_le_bytes(),
            0.2_f32.to_le_bytes()
        ]
        .concat()
    );
    let Value::List(list) = device("dev-empty", "l_bytes") else {
        panic!()
    };
    assert!(list.as_ref().is_empty());
    assert_eq!(
        rides.row("device_types", &[KeyValue::String("dev-d")]),
        None
    );
}

#[test]
fn the_window_is_inclusive_and_the_watermark_moves() {
    let rides = Rides::installed();
    let two_days = T0 + 48 * HOUR;
    let status = materialize(
        &rides,
        MaterializeConfig::default(),
        &window(&["zone_events"], T0, two_days),
    );
    assert_eq!((status.rows_read, status.rows_written), (4, 2));
    assert!(
        rides.row("zone_events", &[KeyValue::Int64(20)]).is_some(),
        "start is included"
    );
    assert!(
        rides.row("zone_events", &[KeyValue::Int64(30)]).is_some(),
        "end is included"
    );
    let mark = rides
        .node
        .status()
        .views
        .iter()
        .find(|view| view.name == "zone_events")
        .unwrap()
        .watermark;
    assert_eq!(mark, Some(EventTime(two_days)));
    // A row group outside the window is not even decoded, and still counted.
    let status = materialize(
        &rides,
        MaterializeConfig::default(),
        &window(&["zone_events"], two_days + 1, two_days + 2),
    );
    assert_eq!(
        (status.rows_read, status.rows_written, status.state),
        (4, 0, JobState::Succeeded)
    );
}

#[test]
fn a_broken_source_fails_before_anything_is_written() {
    let rides = Rides::installed();
    let path = rides.dir.path().join("data/zone_events.parquet");
    std::fs::write(&path, b"PAR1 this is not parquet PAR1").unwrap();
    let status = materialize(
        &rides,
        MaterializeConfig::default(),
        &window(&["city_totals", "zone_events"], 0, T0 * 2),
    );
    assert_eq!(
        (status.state, status.error_kind),
        (JobState::Failed, Some(ErrorKind::Corrupt))
    );
    assert!(
        status
            .error
            .unwrap()
            .contains("zone_events.parquet: not a readable Parquet file")
    );
    assert_eq!(rides.rows("city_totals"), 0);
    std::fs::remove_file(&path).unwrap();
    let status = materialize(
        &rides,
        MaterializeConfig::default(),
        &window(&["zone_events"], 0, T0 * 2),
    );
    assert_eq!(
        status.error_kind,
        Some(ErrorKind::NotFound),
        "{:?}",
        status.error
    );
}

#[test]
fn damaged_files_are_refused_without_a_panic() {
    let rides = Rides::installed();
    let path = rides.dir.path().join("data/device_types.parquet");
    let sound = std::fs::read(&path).unwrap();
    let request = window(&["device_types"], 0, T0 * 2);
    let mut refused = 0;
    for at in (0..sound.len()).step_by(61) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x5a;
        std::fs::write(&path, &damaged).unwrap();
        let status = materialize(&rides, MaterializeConfig::default(), &request);
        let message = status.error.unwrap_or_default();
        assert!(!message.contains("panicked"), "byte {at}: {message}");
        assert!(
            message.is_empty() || message.contains("device_types"),
            "byte {at}: {message}"
        );
        refused += u32::from(status.state == JobState::Failed);
    }
    assert!(refused > 20, "{refused}");
    std::fs::write(&path, &sound[..sound.len() / 2]).unwrap();
    assert_eq!(
        materialize(&rides, MaterializeConfig::default(), &request).state,
        JobState::Failed
    );
}

#[test]
fn little_memory_gives_the_same_rows() {
    let rides = Rides::installed();
    let config = MaterializeConfig {
        memory_max: 1,
        batch_rows_max: 16,
        batch_bytes_max: 64,
        ..MaterializeConfig::default()
    };
    let status = materialize(&rides, config, &window(&["driver_hourly_stats"], 0, T0 * 2));
    assert_eq!(status.state, JobState::Succeeded, "{:?}", status.error);
    assert_eq!(rides.rows("driver_hourly_stats"), 5);
    let row = rides
        .row("driver_hourly_stats", &[KeyValue::Int64(1001)])
        .unwrap();
    assert_eq!(
        row.values,
        [Value::Float(0.5), Value::Float(0.25), Value::Int64(777)]
    );
}

// === single columns ===

/// Writes one column beside keys and times, folds the file and gives the values back.
fn fold_column(array: ArrayRef, value_type: ValueType) -> std::result::Result<Vec<Value>, Bad> {
    let rows = array.len() as i64;
    let times = TimestampMillisecondArray::from_iter_values((0..rows).map(|row| T0 / 1000 + row))
        .with_timezone("+02:00");
    let batch = RecordBatch::try_new(
        Arc::new(Schema::new(vec![
            Field::new("extra", DataType::Int64, true),
            Field::new("ts", times.data_type().clone(), true),
            Field::new("k", DataType::Int64, true),
            Field::new("f", array.data_type().clone(), true),
        ])),
        vec![
            Arc::new(Int64Array::from_iter_values(0..rows)),
            Arc::new(times),
            Arc::new(Int64Array::from_iter_values(0..rows)),
            array,
        ],
    )
    .unwrap();
    fold_batch(
        &batch,
        &plan(vec![("k".into(), KeyType::Int64)], value_type),
    )
    .map(|rows| rows.into_iter().map(|(_, _, value)| value).collect())
}

fn plan(keys: Vec<(String, KeyType)>, value_type: ValueType) -> ViewPlan {
    ViewPlan {
        view: "v".into(),
        timestamp: "ts".into(),
        created: None,
        keys,
        features: vec![("f".into(), value_type)],
    }
}

fn write(batch: &RecordBatch) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(4))
        .build();
    let mut writer =
        ArrowWriter::try_new(file.reopen().unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    file
}

/// Folds a file with the feature `f`: keys, event times and values, sorted by key.
fn fold_batch(
    batch: &RecordBatch,
    plan: &ViewPlan,
) -> std::result::Result<Vec<(Vec<u8>, i64, Value)>, Bad> {
    let file = write(batch);
    let opened = ParquetFile::open(file.path(), file.path()).unwrap();
    let laid = plan.over(file.path(), opened.schema()).unwrap();
    let schema = RowSchema {
        fields: vec![galley_types::Field {
            name: "f".into(),
            value_type: plan.features[0].1,
        }],
    };
    let mut staging = Staging::new(&schema);
    let mut scratch = Scratch::default();
    let all = Window {
        start: None,
        end: EventTime(i64::MAX),
    };
    let mut bad = None;
    let bounds = BatchBounds {
        rows: 8192,
        bytes: 1 << 20,
        pages_bytes: 1 << 28,
    };
    opened
        .read((&laid.roots, "ts"), all, bounds, &mut |step| {
            if let Step::Batch { batch, .. } = step
                && bad.is_none()
            {
                bad = fold::batch(&mut staging, batch, (plan, &laid), all, &mut scratch).err();
            }
            Ok(())
        })
        .unwrap();
    if let Some(bad) = bad {
        return Err(bad);
    }
    let mut rows = RowBatch::new(galley_node::store::TableId(1));
    let mut writer = RowWriter::new(&schema, galley_node::store::SchemaId(0));
    staging.drain_into(&mut rows, &mut writer).unwrap();
    assert_eq!((staging.len(), staging.bytes()), (0, 0));
    let mut found: Vec<_> = rows
        .iter()
        .map(|(key, row)| {
            let row = Row::parse(row).unwrap();
            let value = row.cell(0, plan.features[0].1).unwrap().to_value();
            (key.to_vec(), row.event_time().0, value)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn check(array: impl Array + 'static, scalar: ScalarType, expect: &[Value]) {
    let got = fold_column(Arc::new(array), ValueType::Scalar(scalar)).unwrap();
    assert_eq!(got, expect, "{scalar}");
}

fn refused(array: impl Array + 'static, value_type: ValueType) -> String {
    let bad = fold_column(Arc::new(array), value_type).unwrap_err();
    format!("{} {}: {} / {}", bad.column, bad.row, bad.expected, bad.got)
}

#[test]
fn numbers_convert_when_nothing_is_lost() {
    use ScalarType as S;
    check(
        Int32Array::from(vec![Some(1), None]),
        S::Int64,
        &[Value::Int64(1), Value::Null],
    );
    check(
        Int64Array::from(vec![i64::from(i32::MAX)]),
        S::Int32,
        &[Value::Int32(i32::MAX)],
    );
    check(UInt8Array::from(vec![255]), S::Int32, &[Value::Int32(255)]);
    check(
        UInt64Array::from(vec![1 << 62]),
        S::Int64,
        &[Value::Int64(1 << 62)],
    );
    check(
        Float64Array::from(vec![Some(12.0), None]),
        S::Int64,
        &[Value::Int64(12), Value::Null],
    );
    check(
        Float64Array::from(vec![1.5]),
        S::Float,
        &[Value::Float(1.5)],
    );
    check(
        Float32Array::from(vec![0.1]),
        S::Double,
        &[Value::Double(f64::from(0.1_f32))],
    );
    check(Int64Array::from(vec![3]), S::Double, &[Value::Double(3.0)]);
    check(
        BooleanArray::from(vec![Some(true), None]),
        S::Bool,
        &[Value::Bool(true), Value::Null],
    );
    check(
        Int8Array::from(vec![0, 1]),
        S::Bool,
        &[Value::Bool(false), Value::Bool(true)],
    );
    check(
        Int64Array::from(vec![1_700_000_000]),
        S::UnixTimestamp,
        &[Value::UnixTimestamp(1_700_000_000_000_000)],
    );
    check(
        Date32Array::from(vec![1]),
        S::UnixTimestamp,
        &[Value::UnixTimestamp(24 * HOUR)],
    );
    check(
        TimestampNanosecondArray::from(vec![1_001, -1]),
        S::UnixTimestamp,
        &[Value::UnixTimestamp(1), Value::UnixTimestamp(-1)],
    );
    check(
        Float64Array::from(vec![f64::NAN, 2.0]),
        S::Int64,
        &[Value::Null, Value::Int64(2)],
    );
}

#[test]
fn numbers_that_lose_something_are_refused() {
    let int = |scalar| ValueType::Scalar(scalar);
    assert_eq!(
        refused(Float64Array::from(vec![1.0, 12.75]), int(ScalarType::Int64)),
        "f 1: INT64 (a whole number of 64 bits) / 12.75"
    );
    assert!(
        refused(Int64Array::from(vec![1 << 40]), int(ScalarType::Int32))
            .contains("/ 1099511627776")
    );
    assert!(
        refused(UInt64Array::from(vec![u64::MAX]), int(ScalarType::Int64))
            .contains("/ 18446744073709551615")
    );
    assert!(
        refused(Float64Array::from(vec![1e300]), int(ScalarType::Float)).contains("FLOAT / 1e300")
    );
    assert!(
        refused(StringArray::from(vec!["12"]), int(ScalarType::Int64)).contains("the text '12'")
    );
    assert!(refused(Int64Array::from(vec![5]), int(ScalarType::String)).contains("STRING / 5"));
    assert!(
        refused(
            TimestampSecondArray::from(vec![i64::MAX]),
            int(ScalarType::UnixTimestamp)
        )
        .contains("out of range")
    );
    assert!(refused(Int64Array::from(vec![2]), int(ScalarType::Bool)).contains("BOOL / 2"));
}

#[test]
fn text_comes_in_every_encoding() {
    let text = |text: &str| Value::Text(text.to_owned());
    let string = ScalarType::String;
    check(
        StringArray::from(vec![Some("a"), None]),
        string,
        &[text("a"), Value::Null],
    );
    check(
        LargeStringArray::from(vec!["\u{e9}"]),
        string,
        &[text("\u{e9}")],
    );
    check(
        StringViewArray::from(vec!["a string of more than twelve bytes"]),
        string,
        &[text("a string of more than twelve bytes")],
    );
    let dictionary: DictionaryArray<Int32Type> =
        vec![Some("x"), None, Some("x")].into_iter().collect();
    check(dictionary, string, &[text("x"), Value::Null, text("x")]);
    check(
        StringArray::from(vec!["{\"a\":1}"]),
        ScalarType::Json,
        &[text("{\"a\":1}")],
    );
}

#[test]
fn ids_decimals_and_zones_come_from_text_or_bytes() {
    let text = |text: &str| Value::Text(text.to_owned());
    let id = "0B9F3B2E-0000-1000-8000-00805f9b34fb";
    check(
        StringArray::from(vec![id]),
        ScalarType::Uuid,
        &[text(&id.to_lowercase())],
    );
    let bytes = FixedSizeBinaryArray::try_from_iter(
        [[
            0x0b_u8, 0x9f, 0x3b, 0x2e, 0, 0, 0x10, 0, 0x80, 0, 0, 0x80, 0x5f, 0x9b, 0x34, 0xfb,
        ]]
        .into_iter(),
    )
    .unwrap();
    check(bytes, ScalarType::Uuid, &[text(&id.to_lowercase())]);
    assert!(
        refused(
            StringArray::from(vec!["nope"]),
            ValueType::Scalar(ScalarType::Uuid)
        )
        .contains("UUID / the text 'nope'")
    );
    let decimal = Decimal128Array::from(vec![12_300, -1])
        .with_precision_and_scale(10, 4)
        .unwrap();
    check(
        decimal,
        ScalarType::Decimal,
        &[text("1.2300"), text("-0.0001")],
    );
    check(
        LargeBinaryArray::from_vec(vec![b"\xff\x00"]),
        ScalarType::Bytes,
        &[Value::Bytes(vec![0xff, 0])],
    );
    let zoned = TimestampMicrosecondArray::from(vec![T0]).with_timezone("Asia/Kolkata");
    check(
        zoned,
        ScalarType::ZonedTimestamp,
        &[Value::Zoned {
            micros: T0,
            zone: "Asia/Kolkata".into(),
        }],
    );
    check(
        StringArray::from(vec!["2026-03-01T05:30:00+05:30"]),
        ScalarType::ZonedTimestamp,
        &[Value::Zoned {
            micros: T0,
            zone: "+05:30".into(),
        }],
    );
}

#[test]
fn lists_sets_and_trees_come_from_arrow_or_json() {
    let mut lists = ListBuilder::new(Int64Builder::new());
    lists.append_value([Some(3), Some(3), Some(1)]);
    lists.append_null();
    let lists: ArrayRef = Arc::new(lists.finish());
    let items = |value: &Value| match value {
        Value::List(list) => list.as_ref().iter().collect::<Vec<_>>().len(),
        _ => 99,
    };
    let got = fold_column(Arc::clone(&lists), ValueType::List(ScalarType::Int64)).unwrap();
    assert_eq!((items(&got[0]), &got[1]), (3, &Value::Null));
    let got = fold_column(Arc::clone(&lists), ValueType::Set(ScalarType::Int32)).unwrap();
    assert_eq!(items(&got[0]), 2, "a set holds each value once");
    assert!(fold_column(lists, ValueType::List(ScalarType::String)).is_err());

    let structs = StructArray::from(vec![
        (
            Arc::new(Field::new("a", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![Some("x"), None])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("b", DataType::Int64, true)),
            Arc::new(Int64Array::from(vec![5, 6])) as ArrayRef,
        ),
    ]);
    let got = fold_column(Arc::new(structs), ValueType::Struct).unwrap();
    assert_eq!(
        got[1],
        Value::Map(vec![
            ("a".into(), Value::Null),
            ("b".into(), Value::Int64(6))
        ])
    );

    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    maps.keys().append_value("k");
    maps.values().append_value(1);
    maps.append(true).unwrap();
    let got = fold_column(Arc::new(maps.finish()), ValueType::Map).unwrap();
    assert_eq!(got, [Value::Map(vec![("k".into(), Value::Int64(1))])]);

    let json = StringArray::from(vec![r#"{"n": 1, "x": [1.5]}"#]);
    let got = fold_column(Arc::new(json), ValueType::Map).unwrap();
    let Value::Map(entries) = &got[0] else {
        panic!()
    };
    assert_eq!(entries[0], ("n".into(), Value::Int64(1)));
    assert!(refused(StringArray::from(vec!["[1"]), ValueType::Map).contains("the text '[1'"));
    let nested = fold_column(
        Arc::new(StringArray::from(vec!["[[1, 2], []]"])),
        ValueType::ValueList,
    )
    .unwrap();
    assert!(matches!(&nested[0], Value::Values(values) if values.len() == 2));
}

#[test]
fn the_newest_row_wins_and_of_equals_the_later() {
    let batch = RecordBatch::try_from_iter(vec![
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(vec![5, 9, 7, 9, 1, 1, 2])) as ArrayRef,
        ),
        (
            "k",
            Arc::new(StringArray::from(vec!["a", "a", "a", "a", "b", "c", "c"])),
        ),
        (
            "f",
            Arc::new(StringArray::from(vec![
                Some("old"),
                Some("first"),
                Some("late"),
                Some("second"),
                Some("b"),
                Some("c"),
                None,
            ])),
        ),
    ])
    .unwrap();
    let plan = plan(
        vec![("k".into(), KeyType::String)],
        ValueType::Scalar(ScalarType::String),
    );
    let rows = fold_batch(&batch, &plan).unwrap();
    assert_eq!(
        rows,
        [
            (b"a".to_vec(), 9, Value::Text("second".into())),
            (b"b".to_vec(), 1, Value::Text("b".into())),
            (b"c".to_vec(), 2, Value::Null),
        ]
    );
}

#[test]
fn null_times_and_keys_are_refused_by_place() {
    let batch = |times: Vec<Option<i64>>, keys: Vec<Option<i64>>| {
        let values = Int64Array::from_iter_values(0..times.len() as i64);
        RecordBatch::try_from_iter_with_nullable(vec![
            (
                "ts",
                Arc::new(TimestampMicrosecondArray::from(times)) as ArrayRef,
                true,
            ),
            ("k", Arc::new(Int64Array::from(keys)), true),
            ("f", Arc::new(values), true),
        ])
        .unwrap()
    };
    let plan = plan(
        vec![("k".into(), KeyType::Int64)],
        ValueType::Scalar(ScalarType::Int64),
    );
    let bad = fold_batch(&batch(vec![Some(1), None], vec![Some(1), Some(2)]), &plan).unwrap_err();
    assert_eq!(
        (bad.row, bad.column.as_str(), bad.got.as_str()),
        (1, "ts", "null")
    );
    let bad = fold_batch(&batch(vec![Some(1), Some(2)], vec![None, Some(2)]), &plan).unwrap_err();
    assert_eq!(
        (bad.row, bad.column.as_str(), bad.got.as_str()),
        (0, "k", "null")
    );
}

#[test]
fn what_does_not_fit_is_named_by_file_and_place() {
    let rides = Rides::installed();
    let path = rides.dir.path().join("data/zone_events.parquet");
    let zone_events = |values: ArrayRef| {
        let times = TimestampMicrosecondArray::from(vec![T0; values.len()]);
        let zones = Int64Array::from_iter_values(0..values.len() as i64);
        RecordBatch::try_from_iter(vec![
            ("event_timestamp", Arc::new(times) as ArrayRef),
            ("zone_id", Arc::new(zones)),
            ("n_events", values),
        ])
        .unwrap()
    };
    let run = |batch: &RecordBatch| {
        std::fs::copy(write(batch).path(), &path).unwrap();
        let request = window(&["zone_events"], 0, T0 * 2);
        let status = materialize(&rides, MaterializeConfig::default(), &request);
        (status.error_kind, status.error.unwrap_or_default())
    };
    let whole = [0.0, 1.0, 2.0, 3.0, 4.0, 5.5];
    let (kind, message) = run(&zone_events(Arc::new(Float64Array::from(whole.to_vec()))));
    assert_eq!(kind, Some(ErrorKind::Invalid));
    let expect = "zone_events.parquet: row group 1, row 5, column n_events: feature view zone_events \
                  expects INT64 (a whole number of 64 bits), got 5.5";
    assert!(message.ends_with(expect), "{message}");
    assert_eq!(
        rides.rows("zone_events"),
        0,
        "nothing is written of a view that fails"
    );
    let batch = zone_events(Arc::new(Int64Array::from(vec![1])));
    let (_, message) = run(&batch.project(&[0, 1]).unwrap());
    let expect = "no column n_events, which feature view zone_events needs as its feature of type \
                  INT64; the columns are event_timestamp, zone_id";
    assert!(message.ends_with(expect), "{message}");
    assert_eq!(run(&batch).1, "");
    assert_eq!(rides.rows("zone_events"), 1);
}

// === bombs ===

/// Peak of the process's memory since it was last asked to forget it, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() << 10
}

fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn defuse(rides: &Rides, bomb: &bombs::Bomb) -> Option<String> {
    let path = rides.dir.path().join(format!("data/{}.parquet", bomb.view));
    std::fs::write(&path, &bomb.bytes).unwrap();
    let request = window(&[bomb.view], 0, T0 * 2);
    let status = materialize(rides, MaterializeConfig::default(), &request);
    assert_ne!(status.state, JobState::Running);
    status.error
}

/// What a bomb may take beside what the process has: the pages of a batch, the batch, the rows.
const BOMB_BYTES_MAX: u64 = 640 << 20;
/// What the address space of the process is held to: what is only reserved counts as well.
const BOMB_ADDRESSES_KIB: u64 = 3 << 20;
const CHILD: &str = "GALLEY_TEST_BOMBS";

#[test]
fn bombs_are_refused_by_their_own_reason_within_memory() {
    if std::env::var_os(CHILD).is_none() {
        let program = std::env::current_exe().unwrap();
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!(
                "ulimit -v {BOMB_ADDRESSES_KIB}; exec \"$0\" \"$@\""
            ))
            .arg(program)
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg("parquet::tests::bombs_are_refused_by_their_own_reason_within_memory")
            .env(CHILD, "1")
            .env("MALLOC_ARENA_MAX", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let more = String::from_utf8_lossy(&output.stderr);
        println!("{said}");
        assert!(
            output.status.success(),
            "{}:\n{said}\n{more}",
            output.status
        );
        assert!(said.contains("bombs are refused"), "{said}");
        assert!(!more.contains("panicked"), "{more}");
        return;
    }
    let rides = Rides::installed();
    let bombs = bombs::bombs();
    let (mut wrong, mut refused, mut largest) = (Vec::new(), 0, 0);
    for bomb in &bombs {
        forget_peak();
        let before = peak();
        let begun = std::time::Instant::now();
        let error = defuse(&rides, bomb);
        let (took, grown) = (begun.elapsed(), peak().saturating_sub(before));
        largest = largest.max(grown);
        println!(
            "{:>6} ms {:>5} MiB {}: {}",
            took.as_millis(),
            grown >> 20,
            bomb.name,
            error.as_deref().unwrap_or("read")
        );
        let well = match &error {
            None => bomb.reason.is_empty(),
            Some(error) => {
                !bomb.reason.is_empty() && error.contains(bomb.reason) && error.contains(bomb.view)
            }
        };
        refused += usize::from(error.is_some());
        if !well || grown > BOMB_BYTES_MAX || took.as_secs() >= 60 {
            wrong.push(bomb.name);
        }
    }
    println!(
        "{refused} of {} bombs are refused, {largest} bytes at most",
        bombs.len()
    );
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn changed_bytes_never_end_the_process_or_swell_it() {
    let rides = Rides::installed();
    let path = rides.dir.path().join("data/device_types.parquet");
    let sound: Vec<Vec<u8>> = vec![
        std::fs::read(&path).unwrap(),
        bombs::bombs()
            .into_iter()
            .find(|bomb| bomb.name == "a good list")
            .unwrap()
            .bytes,
    ];
    let sink = rides.node.sink("device_types").unwrap().unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    forget_peak();
    let before = peak();
    let (mut refused, mut read) = (0, 0);
    let begun = std::time::Instant::now();
    while refused + read < 3000 && begun.elapsed().as_secs() < 30 {
        let mut bytes = sound[random(sound.len())].clone();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes[at] ^= 1 << random(8),
                2 => bytes[at] = [0, 0x7f, 0x80, 0xff][random(4)],
                _ => {
                    // A number of many bits where there was one of few.
                    let end = (at + 5).min(bytes.len());
                    bytes[at..end].fill(0xff);
                }
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        match read_all(&rides, &sink.view) {
            Ok(()) => read += 1,
            Err(error) => {
                assert!(error.contains("device_types"), "{error}");
                refused += 1;
            }
        }
    }
    let grown = peak().saturating_sub(before);
    println!(
        "{refused} refused, {read} read, {grown} bytes, {:?}",
        begun.elapsed()
    );
    assert!(refused > 500 && read > 0, "{refused} {read}");
    assert!(grown < BOMB_BYTES_MAX, "{grown}");
}

/// Takes rows and forgets them.
struct Nobody;

impl Taker for Nobody {
    fn read(&mut self, _rows: u64) -> Result<()> {
        Ok(())
    }

    fn take(&mut self, staged: &mut Staging, _last: bool) -> Result<()> {
        staged.clear();
        Ok(())
    }
}

fn read_all(rides: &Rides, view: &galley_registry::StoredView) -> std::result::Result<(), String> {
    let all = (None, EventTime(i64::MAX));
    ViewFiles::open(rides.dir.path(), view)
        .and_then(|files| files.collect(view, all, &MaterializeConfig::default(), &mut Nobody))
        .map_err(|error| chain(&error))
}

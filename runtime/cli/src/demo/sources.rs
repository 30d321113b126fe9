//! The sample repo's Parquet files: the same numbers on every machine.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow_array::builder::{Float32Builder, Int64Builder, ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use galley_types::EventTime;
use parquet::arrow::ArrowWriter;

/// Drivers and customers in the files.
const PEOPLE: i64 = 10_000;

/// 2026-01-01T00:00:00Z, in microseconds.
const START: i64 = 1_767_225_600_000_000;

const SECOND: i64 = 1_000_000;

const ZONES: [&str; 6] = [
    "airport", "harbour", "market", "old town", "park", "station",
];

/// Writes the drivers' file anew: `more` trips for each, known since `now`.
pub(super) fn write_trips(folder: &Path, more: i64, now: EventTime) -> Result<()> {
    let columns = driver_activity().into_iter().map(|(name, column)| {
        let ids = || 1..=PEOPLE;
        let column = match name {
            "trips_today" => integers(ids().map(|id| small(id + 2, 30) + more)),
            "event_timestamp" | "created" => times(ids().map(|_| now.0)),
            _ => column,
        };
        (name, column)
    });
    write_file(folder, "driver_activity", columns.collect()).map(|_rows| ())
}

/// Writes every file into `folder`; returns the rows written.
pub(super) fn write(folder: &Path) -> Result<usize> {
    let files = [
        ("driver_activity", driver_activity()),
        ("customer_profile", customer_profile()),
        ("pair_history", pair_history()),
        ("zone_weather", zone_weather()),
        ("city_pulse", city_pulse()),
        ("driver_quality", driver_quality()),
        ("customer_taste", customer_taste()),
    ];
    let mut rows = 0;
    for (name, columns) in files {
        rows += write_file(folder, name, columns)?;
    }
    Ok(rows)
}

fn write_file(folder: &Path, name: &str, columns: Columns) -> Result<usize> {
    let path = folder.join(format!("{name}.parquet"));
    let named = || format!("write {}", path.display());
    let batch = RecordBatch::try_from_iter(columns).with_context(named)?;
    let file = File::create(&path).with_context(named)?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).with_context(named)?;
    writer.write(&batch).with_context(named)?;
    writer.close().with_context(named)?;
    Ok(batch.num_rows())
}

type Columns = Vec<(&'static str, ArrayRef)>;

/// A number in 0..bound that looks random and never changes (a Weyl sequence, then a mix).
fn noise(seed: i64, bound: u64) -> u64 {
    let mut x = seed.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 31;
    x = x.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (x ^ (x >> 32)) % bound
}

fn share(seed: i64) -> f64 {
    f64::from(u32::try_from(noise(seed, 10_000)).unwrap_or(0)) / 10_000.0
}

fn integers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn doubles(values: impl Iterator<Item = f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

fn small(seed: i64, bound: u64) -> i64 {
    i64::try_from(noise(seed, bound)).unwrap_or(0)
}

fn pick<'a>(from: &[&'a str], seed: i64) -> &'a str {
    let count = from.len() as u64;
    usize::try_from(noise(seed, count))
        .ok()
        .and_then(|index| from.get(index))
        .unwrap_or(&"")
}

fn driver_activity() -> Columns {
    let ids = || 1..=PEOPLE;
    let mut zones = ListBuilder::new(StringBuilder::new());
    for id in ids() {
        for step in 0..small(id, 4) {
            zones.values().append_value(pick(&ZONES, id * 7 + step));
        }
        zones.append(true);
    }
    vec![
        ("driver_id", integers(ids())),
        ("acceptance_rate", doubles(ids().map(|id| share(id + 1)))),
        ("trips_today", integers(ids().map(|id| small(id + 2, 30)))),
        (
            "is_online",
            Arc::new(BooleanArray::from_iter(
                ids().map(|id| Some(noise(id, 3) > 0)),
            )),
        ),
        (
            "vehicle",
            texts(ids().map(|id| pick(&["bike", "car", "van"], id + 3))),
        ),
        ("recent_zones", Arc::new(zones.finish())),
        (
            "last_ping",
            times(ids().map(|id| START + small(id + 4, 3600) * SECOND)),
        ),
        (
            "event_timestamp",
            times(ids().map(|id| START + small(id + 5, 3600) * SECOND)),
        ),
        ("created", times(ids().map(|_| START + 3600 * SECOND))),
    ]
}

fn customer_profile() -> Columns {
    let ids = || 1..=PEOPLE;
    let mut hours = ListBuilder::new(Int64Builder::new());
    for id in ids() {
        hours.values().append_value(small(id + 6, 24));
        hours.values().append_value(small(id + 7, 24));
        hours.append(true);
    }
    vec![
        ("customer_id", texts(ids().map(|id| format!("C{id:04}")))),
        (
            "tier",
            texts(ids().map(|id| pick(&["bronze", "silver", "gold"], id + 8))),
        ),
        ("rides_total", integers(ids().map(|id| small(id + 9, 500)))),
        (
            "rating",
            doubles(ids().map(|id| 3.0 + 2.0 * share(id + 10))),
        ),
        ("favourite_hours", Arc::new(hours.finish())),
        (
            "member_since",
            times(ids().map(|id| START - small(id + 11, 2000) * 86_400 * SECOND)),
        ),
        ("event_timestamp", times(ids().map(|_| START))),
    ]
}

fn pair_history() -> Columns {
    let ids = || 1..=PEOPLE;
    vec![
        ("customer_id", texts(ids().map(|id| format!("C{id:04}")))),
        ("driver_id", integers(ids())),
        (
            "rides_together",
            integers(ids().map(|id| 1 + small(id + 12, 20))),
        ),
        (
            "last_rating",
            doubles(ids().map(|id| 1.0 + 4.0 * share(id + 13))),
        ),
        ("event_timestamp", times(ids().map(|_| START))),
    ]
}

fn zone_weather() -> Columns {
    let zones = || 0_i64..;
    vec![
        ("zone", texts(ZONES.iter())),
        (
            "degrees",
            doubles(
                zones()
                    .take(ZONES.len())
                    .map(|zone| 30.0 * share(zone + 14)),
            ),
        ),
        (
            "summary",
            texts(
                zones()
                    .take(ZONES.len())
                    .map(|zone| pick(&["rain", "sun", "fog"], zone + 15)),
            ),
        ),
        ("measured_at", times(ZONES.iter().map(|_| START))),
    ]
}

fn city_pulse() -> Columns {
    vec![
        ("active_drivers", integers(std::iter::once(4_211))),
        ("surge", doubles(std::iter::once(1.25))),
        ("event_timestamp", times(std::iter::once(START))),
    ]
}

fn driver_quality() -> Columns {
    let ids = || 1..=PEOPLE;
    vec![
        ("driver_id", integers(ids())),
        ("conv_rate", doubles(ids().map(|id| share(id + 16)))),
        (
            "last_event",
            times(ids().map(|id| START + small(id + 17, 86_400) * SECOND)),
        ),
        ("event_timestamp", times(ids().map(|_| START))),
    ]
}

/// What customers said last, of the ways people write.
const NOTES: [&str; 4] = [
    "Please ring TWICE!",
    "  back door,   not the front -- thanks ",
    "Zum Bahnhof, schnell...",
    "",
];

/// Numbers of an embedding.
const DIMENSIONS: i64 = 8;

fn customer_taste() -> Columns {
    let ids = || 1..=PEOPLE;
    let mut embeddings = ListBuilder::new(Float32Builder::new());
    for id in ids() {
        for dimension in 0..DIMENSIONS {
            // Hundredths have a short form as singles too.
            let hundredths = u8::try_from(noise(id * DIMENSIONS + dimension, 200)).unwrap_or(0);
            embeddings
                .values()
                .append_value((f32::from(hundredths) - 100.0) / 100.0);
        }
        embeddings.append(true);
    }
    vec![
        ("customer_id", texts(ids().map(|id| format!("C{id:04}")))),
        (
            "home_lat",
            doubles(ids().map(|id| 52.4 + 0.2 * share(id + 18))),
        ),
        (
            "home_lon",
            doubles(ids().map(|id| 13.2 + 0.4 * share(id + 19))),
        ),
        ("text", texts(ids().map(|id| pick(&NOTES, id + 20)))),
        ("user_embedding", Arc::new(embeddings.finish())),
        ("event_timestamp", times(ids().map(|_| START))),
    ]
}

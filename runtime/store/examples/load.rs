//! Measures loading, look-ups and small commits: `load FOLDER [ROWS...]`.
//!
//! Rows are 10 doubles under one 64-bit key. Each line says what was done once; the commit lines
//! are medians of 200. Give a folder on a real disk for loads and one in memory (`/dev/shm`) to see
//! the commits without the disk's sync. Not measured: readers beside a writer.
#![expect(clippy::print_stdout, reason = "a command that prints its figures")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use galley_store::{Group, Installed, RowBatch, RowWriter, Store, StoreConfig, TableSpec, Write};
use galley_types::{
    EntityKey, EventTime, Field, KeyType, KeyValue, RowSchema, ScalarType, ValueType,
};

const FEATURES: usize = 10;
const LOOKUPS: u64 = 2_000_000;
const COMMITS: u64 = 200;
const COMMIT_ROWS: u64 = 64;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

fn key(id: u64, key: &mut EntityKey) -> Result<(), Box<dyn Error>> {
    key.clear();
    Ok(key.push(KeyValue::Int64(id.cast_signed()), true)?)
}

fn write(
    schema: &RowSchema,
    table: &Installed,
    ids: impl Iterator<Item = u64>,
    time: i64,
) -> Result<Write, Box<dyn Error>> {
    let mut row = RowWriter::new(schema, table.schema);
    let mut batch = RowBatch::new(table.table);
    let mut entity = EntityKey::new();
    for id in ids {
        key(id, &mut entity)?;
        row.begin(EventTime(time), None);
        for slot in 0..FEATURES {
            row.set_slot(slot, (id.wrapping_mul(slot as u64 + 1)).to_le_bytes())?;
        }
        batch.push(entity.as_bytes(), &mut row)?;
    }
    Ok(Write {
        batches: vec![batch],
        ..Write::default()
    })
}

fn timed<T>(what: &str, rows: u64, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{what}: {seconds:.3} s, {:.0} rows/s",
        rows as f64 / seconds
    );
    result
}

fn commits(
    store: &Store,
    schema: &RowSchema,
    table: &Installed,
    rows: u64,
    what: &str,
) -> Result<(), Box<dyn Error>> {
    let mut random = Random(7);
    let mut micros = Vec::new();
    for round in 0..COMMITS {
        let ids: Vec<u64> = (0..COMMIT_ROWS).map(|_| random.below(rows)).collect();
        let writes = [write(
            schema,
            table,
            ids.into_iter(),
            100 + round.cast_signed(),
        )?];
        let start = Instant::now();
        store.apply(&Group {
            writes: &writes,
            ..Group::default()
        })?;
        micros.push(start.elapsed().as_micros());
    }
    micros.sort_unstable();
    let at = |share: usize| {
        micros
            .get(micros.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    println!("{what}: p50 {} us, p90 {} us", at(50), at(90));
    Ok(())
}

fn measure(folder: &Path, rows: u64) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir_in(folder)?;
    let path = folder.path().join("store.redb");
    let schema = RowSchema {
        fields: (0..FEATURES)
            .map(|i| Field {
                name: format!("f{i}"),
                value_type: ValueType::Scalar(ScalarType::Double),
            })
            .collect(),
    };
    let spec = TableSpec {
        name: "t",
        keys: &[KeyType::Int64],
        schema: &schema,
    };
    println!("== {rows} rows of {FEATURES} doubles");
    let store = Store::open(&path, StoreConfig::default(), &mut |_| {})?;
    let table = store.install(&[spec])?.pop().ok_or("no table")?;
    let first = timed("encode", rows, || write(&schema, &table, 0..rows, 1))?;
    let bytes = first.bytes();
    let writes = [first];
    let group = Group {
        writes: &writes,
        ..Group::default()
    };
    timed("load into an empty table", rows, || store.apply(&group))?;
    let newer = [write(&schema, &table, 0..rows, 2)?];
    let group = Group {
        writes: &newer,
        ..Group::default()
    };
    timed("merge into a full table, in key order", rows, || {
        store.apply(&group)
    })?;
    let mut random = Random(3);
    let shuffled = (0..rows)
        .map(|_| random.below(rows))
        .collect::<Vec<_>>()
        .into_iter();
    let newer = [write(&schema, &table, shuffled, 3)?];
    let group = Group {
        writes: &newer,
        ..Group::default()
    };
    timed("merge into a full table, random keys", rows, || {
        store.apply(&group)
    })?;
    commits(&store, &schema, &table, rows, "64-row commit, indexed")?;
    drop(store);
    reads(&path, &schema, &table, (rows, bytes))
}

fn reads(
    path: &Path,
    schema: &RowSchema,
    table: &Installed,
    (rows, bytes): (u64, usize),
) -> Result<(), Box<dyn Error>> {
    let none = StoreConfig {
        index_bytes_max: 0,
        ..StoreConfig::default()
    };
    let store = timed("open", rows, || Store::open(path, none, &mut |_| {}))?;
    commits(&store, schema, table, rows, "64-row commit, not indexed")?;
    let found = lookups(&store, table, rows, LOOKUPS / 10, "look-up in the file")?;
    drop(store);
    let store = Store::open(path, StoreConfig::default(), &mut |_| {})?;
    timed("build the index", rows, || store.build_index())?;
    let stats = store.stats();
    let index = stats.tables.first().map_or(0, |table| table.index_bytes);
    println!(
        "index {index} bytes, {:.3} of rows and keys",
        index as f64 / (bytes as f64 - 6.0 * rows as f64)
    );
    let more = lookups(&store, table, rows, LOOKUPS, "look-up in the index")?;
    let hot = lookups(
        &store,
        table,
        1000,
        LOOKUPS,
        "look-up in the index, 1000 hot rows",
    )?;
    timed("check", rows, || store.check())?;
    println!(
        "found {}, file {} bytes",
        found + more + hot,
        stats.file_bytes
    );
    Ok(())
}

fn lookups(
    store: &Store,
    table: &Installed,
    rows: u64,
    count: u64,
    what: &str,
) -> Result<u64, Box<dyn Error>> {
    let mut random = Random(11);
    let mut entity = EntityKey::new();
    let mut sum = 0;
    let start = Instant::now();
    let mut snapshot = store.load();
    for round in 0..count {
        if round % 64 == 0 {
            // As a request of 64 look-ups would.
            snapshot = store.load();
        }
        key(random.below(rows), &mut entity)?;
        if let Some(row) = snapshot.get(table.table, entity.as_bytes())? {
            sum += u64::from(row.last().is_some());
        }
    }
    let nanos = start.elapsed().as_nanos() as f64 / count as f64;
    println!("{what}: {nanos:.0} ns");
    Ok(sum)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: load FOLDER [ROWS...]")?;
    let sizes: Vec<u64> = arguments
        .map(|rows| rows.parse())
        .collect::<Result<_, _>>()?;
    let sizes = if sizes.is_empty() {
        vec![100_000, 1_000_000]
    } else {
        sizes
    };
    for rows in sizes {
        measure(Path::new(&folder), rows)?;
    }
    Ok(())
}

//! What a call costs.
//!
//! One transformation of five numeric inputs and two outputs, called from one thread: cost = cost
//! of a call + cost of a row * rows. Fresh is a call with an instance of its own, pooled one that
//! meets a kept instance. Medians of batches; the columns are there already, what is measured is
//! from borrowed columns to checked ones. Loading is from the folder of compiled code, digest and
//! keyed digest included. Not measured: several threads, interpreted guests, text.
//!
//! `cargo run --release -p galley-transform --example call [COMPONENT..]` measures the given
//! components with made-up inputs instead.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]

#[path = "../tests/guest/mod.rs"]
mod guest;

use std::time::{Duration, Instant};

use galley_transform::{
    Batch, Cache, CallContext, ColumnBuilder, ColumnRef, DataType, Engine, EngineConfig, Isolation,
    Kind, Limits, ScalarsRef, Transform, TransformConfig, ValuesRef, Worker,
};
use galley_types::{Cell, EventTime, ListBuilder, ListItem, ScalarType};
use guest::{Guest, signature};

const APPLY: &str = r"
    (local $a i32) (local $b i32) (local $c i32) (local $d i32) (local $e i32)
    (local $x i32) (local $y i32)
    (local.set $a (i32.load offset=8 (local.get $columns)))
    (local.set $b (i32.load offset=52 (local.get $columns)))
    (local.set $c (i32.load offset=96 (local.get $columns)))
    (local.set $d (i32.load offset=140 (local.get $columns)))
    (local.set $e (i32.load offset=184 (local.get $columns)))
    (local.set $x (call $realloc (i32.const 0) (i32.const 0) (i32.const 8)
      (i32.shl (local.get $rows) (i32.const 3))))
    (local.set $y (call $realloc (i32.const 0) (i32.const 0) (i32.const 8)
      (i32.shl (local.get $rows) (i32.const 3))))
    (local.set $j (i32.shl (local.get $rows) (i32.const 3)))
    (loop $next
      (f64.store (i32.add (local.get $x) (local.get $i))
        (f64.add
          (f64.mul (f64.load (i32.add (local.get $a) (local.get $i)))
                   (f64.load (i32.add (local.get $b) (local.get $i))))
          (f64.load (i32.add (local.get $c) (local.get $i)))))
      (f64.store (i32.add (local.get $y) (local.get $i))
        (f64.div
          (f64.convert_i64_s (i64.add (i64.load (i32.add (local.get $d) (local.get $i)))
                                      (i64.load (i32.add (local.get $e) (local.get $i)))))
          (f64.add (f64.load (i32.add (local.get $a) (local.get $i))) (f64.const 1))))
      (local.set $i (i32.add (local.get $i) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $i) (local.get $j))))
    (i32.store (i32.const 64) (i32.const 0)) (i32.store (i32.const 68) (i32.const 4))
    (i32.store (i32.const 72) (local.get $x)) (i32.store (i32.const 76) (local.get $rows))
    (i32.store (i32.const 108) (i32.const 0)) (i32.store (i32.const 112) (i32.const 4))
    (i32.store (i32.const 116) (local.get $y)) (i32.store (i32.const 120) (local.get $rows))
    (global.set $next (i32.const 32768))
    (i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (local.get $rows))
    (i32.store (i32.const 24) (i32.const 64)) (i32.store (i32.const 28) (i32.const 2))
    (i32.const 16)";

fn main() {
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let paths: Vec<_> = std::env::args().skip(1).collect();
    if paths.is_empty() {
        measure_own(&engine);
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("code"), Worker::InProcess).unwrap();
    for path in paths {
        let component = std::fs::read(&path).unwrap();
        println!("{path}: {} bytes", component.len());
        measure_given(&engine, &cache, &component);
    }
}

/// Measures a component with rows of the same made-up values.
fn measure_given(engine: &Engine, cache: &Cache, component: &[u8]) {
    let load = || {
        cache
            .load(engine, component, "bench", &Limits::interpreted())
            .unwrap()
    };
    let started = Instant::now();
    let loaded = load();
    println!("  {:?}", loaded.inspection());
    println!("  compile and load: {:?}", started.elapsed());
    println!("  load from the folder: {:?}", median(5, || drop(load())));
    for isolation in [Isolation::Fresh, Isolation::pooled()] {
        let mut config = TransformConfig::suited("bench", &loaded);
        config.isolation = Some(isolation);
        let started = Instant::now();
        let transform = Transform::load(engine, &loaded, config).unwrap();
        println!("  link and describe: {:?}", started.elapsed());
        for rows in [1, 100, 1_000] {
            let columns: Vec<ColumnBuilder> = transform
                .signature()
                .inputs
                .iter()
                .map(|field| made_up(field.data_type, rows))
                .collect();
            let columns: Vec<ColumnRef<'_>> = columns.iter().map(ColumnBuilder::column).collect();
            let batch = Batch {
                rows,
                columns: &columns,
            };
            match transform.call(&CONTEXT, batch) {
                Ok(_) => {}
                Err(error) => {
                    println!("  {rows} rows: {error}");
                    continue;
                }
            }
            let calls = 1_000_000 / (rows.max(20) * 100).max(1) / 20 + 1;
            let time = median(50, || {
                for _ in 0..calls {
                    drop(transform.call(&CONTEXT, batch).unwrap());
                }
            }) / calls;
            println!("  {rows:>5} rows: {time:?}");
        }
        println!("  {:?}", transform.stats());
    }
}

fn made_up(data_type: DataType, rows: u32) -> ColumnBuilder {
    let mut column = ColumnBuilder::new(data_type);
    let item = match data_type.kind() {
        Kind::Boolean => ListItem::Bool(true),
        Kind::Int32 => ListItem::Int32(7),
        Kind::Int64 => ListItem::Int64(7),
        Kind::Float32 => ListItem::Float(1.5),
        Kind::Float64 => ListItem::Double(1.5),
        Kind::Utf8 => ListItem::Text("Some Text "),
        Kind::Binary => ListItem::Bytes(b"bytes"),
        Kind::TimestampMicros => ListItem::UnixTimestamp(1_000_000),
    };
    let element = ScalarType::ALL
        .into_iter()
        .find(|scalar| Kind::of(*scalar) == data_type.kind())
        .unwrap();
    let mut list = ListBuilder::new(element);
    for _ in 0..8 {
        list.push(item).unwrap();
    }
    let list = list.finish();
    let cell = match (data_type, item) {
        (DataType::Array(_), _) => Cell::List(list.as_ref()),
        (_, ListItem::Bool(value)) => Cell::Bool(value),
        (_, ListItem::Int32(value)) => Cell::Int32(value),
        (_, ListItem::Int64(value)) => Cell::Int64(value),
        (_, ListItem::Float(value)) => Cell::Float(value),
        (_, ListItem::Double(value)) => Cell::Double(value),
        (_, ListItem::Text(value)) => Cell::Text(value),
        (_, ListItem::Bytes(value)) => Cell::Bytes(value),
        (_, ListItem::UnixTimestamp(value) | ListItem::Zoned(value, _)) => {
            Cell::UnixTimestamp(value)
        }
    };
    for _ in 0..rows {
        column.push(&cell).unwrap();
    }
    column
}

const CONTEXT: CallContext = CallContext {
    now: EventTime(1_772_366_400_000_000),
    seed: 1,
};

fn measure_own(engine: &Engine) {
    let float = DataType::Scalar(Kind::Float64);
    let int = DataType::Scalar(Kind::Int64);
    let mut guest = Guest::echo(signature(&[float, float, float, int, int], &[float, float]));
    APPLY.clone_into(&mut guest.apply);
    let component = guest.build();
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("code"), Worker::InProcess).unwrap();
    let load = || {
        cache
            .load(engine, &component, "bench", &Limits::default())
            .unwrap()
    };
    let started = Instant::now();
    let loaded = load();
    println!("compile and load: {:?}", started.elapsed());
    println!("load from the folder: {:?}", median(20, || drop(load())));
    let transform = |isolation| {
        let mut config = TransformConfig::suited("bench", &loaded);
        config.isolation = Some(isolation);
        Transform::load(engine, &loaded, config).unwrap()
    };
    println!(
        "link and describe: {:?}",
        median(20, || drop(transform(Isolation::Fresh)))
    );
    for (name, isolation) in [("fresh", Isolation::Fresh), ("pooled", Isolation::pooled())] {
        let transform = transform(isolation);
        for rows in [1, 10, 100, 1_000] {
            let time = measure(&transform, rows);
            println!("{name:>6} {rows:>5} rows: {time:?}");
        }
        let stats = transform.stats();
        println!("{name:>6} p50 {:?} p99 {:?}", stats.p50, stats.p99);
    }
}

fn measure(transform: &Transform, rows: usize) -> Duration {
    let floats = vec![1.5; rows];
    let ints = vec![7; rows];
    let column = |scalars| ColumnRef {
        values: ValuesRef::Scalar(scalars),
        validity: None,
    };
    let float = column(ScalarsRef::Float64(&floats));
    let int = column(ScalarsRef::Int64(&ints));
    let batch = Batch {
        rows: u32::try_from(rows).unwrap(),
        columns: &[float, float, float, int, int],
    };
    let calls = 200;
    median(200, || {
        for _ in 0..calls {
            transform.call(&CONTEXT, batch).unwrap();
        }
    }) / calls
}

fn median(rounds: usize, mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times.get(rounds / 2).copied().unwrap_or_default()
}

//! What a call costs.
//!
//! One transformation of five numeric inputs and two outputs, called from one thread: cost = cost
//! of a call + cost of a row * rows. Fresh is a call with an instance of its own, pooled one that
//! meets a kept instance. Medians of batches; the columns are there already, what is measured is
//! from borrowed columns to checked ones. Loading is from the folder of compiled code, digest and
//! keyed digest included. Not measured: several threads, interpreted guests, text.
//!
//! `cargo run --release -p galley-transform --example call`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]

#[path = "../tests/guest/mod.rs"]
mod guest;

use std::time::{Duration, Instant};

use galley_transform::{
    Batch, Cache, CallContext, ColumnRef, DataType, Engine, EngineConfig, Isolation, Kind, Limits,
    ScalarsRef, Transform, TransformConfig, ValuesRef, Worker,
};
use galley_types::EventTime;
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
    let float = DataType::Scalar(Kind::Float64);
    let int = DataType::Scalar(Kind::Int64);
    let mut guest = Guest::echo(signature(&[float, float, float, int, int], &[float, float]));
    APPLY.clone_into(&mut guest.apply);
    let component = guest.build();
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("code"), Worker::InProcess).unwrap();
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let load = || {
        cache
            .load(&engine, &component, "bench", &Limits::default())
            .unwrap()
    };
    let started = Instant::now();
    let loaded = load();
    println!("compile and load: {:?}", started.elapsed());
    println!("load from the folder: {:?}", median(20, || drop(load())));
    let transform = |isolation| {
        let mut config = TransformConfig::suited("bench", &loaded);
        config.isolation = Some(isolation);
        Transform::load(&engine, &loaded, config).unwrap()
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
    let context = CallContext {
        now: EventTime(0),
        seed: 1,
    };
    let calls = 200;
    median(200, || {
        for _ in 0..calls {
            transform.call(&context, batch).unwrap();
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

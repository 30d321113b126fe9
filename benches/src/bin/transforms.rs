//! What a transformation costs: calls, loading, memory.
//!
//! usage: transforms COMPONENT FOLDER [PYTHON_COMPONENT]
//! Prints figures as JSON; `cargo xtask bench` runs it pinned to a core and shows them.
//!
//! COMPONENT is the example `fare_quote`: five numbers in, two out, written with the Rust SDK. A call
//! is measured from borrowed columns to checked ones. Cost model: cost of a call + cost of a row *
//! rows; a fresh call makes an instance, pooled ones share one. Loading is everything between the
//! component's bytes and code that can be linked, with the folder of compiled code filled.
//! Batch sizes: 2000 calls (300 of 1000 rows or in Python) timed together, median of 30 batches. Times
//! are processor time of the calling thread: what else the machine does counts less.
//!
//! Not measured: several threads, text and lists, write-time views, the first compilation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use galley_allocator::{Allocator, give_back};
use galley_benches::Result;
use galley_transform::{
    Batch, Cache, CallContext, ColumnRef, Engine, EngineConfig, Isolation, Kind, Limits,
    ScalarsRef, Transform, TransformConfig, ValuesRef, Worker,
};
use galley_types::EventTime;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// The binary's own allocator: what a call costs depends on it.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const BATCHES: usize = 30;
/// Components that are loaded together to see what one keeps in memory.
const LOADED: u32 = 100;

const CONTEXT: CallContext = CallContext {
    now: EventTime(1_772_366_400_000_000),
    seed: 1,
};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [component, folder] => figures(component.as_ref(), folder.as_ref(), None),
        [flag, component, folder] if flag == "--load" => load_many(component, folder.as_ref()),
        [component, folder, python] => {
            figures(component.as_ref(), folder.as_ref(), Some(python.as_ref()))
        }
        _ => Err("usage: transforms COMPONENT FOLDER [PYTHON_COMPONENT]".into()),
    }
}

fn figures(component: &Path, folder: &Path, python: Option<&Path>) -> Result<()> {
    let mut figures = Vec::new();
    let mut figure = |what: &str, (value, unit): (f64, &str), max: f64, note: String| {
        figures.push(json!({
            "what": what, "value": value, "unit": unit, "good": value <= max, "note": note,
        }));
    };
    let host = Host::open(folder)?;
    let bytes = fs::read(component)?;
    host.load(&bytes)?;
    let loading = median(|| host.load(&bytes).map(drop), 1)?;
    let size = format!("{} byte component; at most 1000", bytes.len());
    figure(
        "load from the cache",
        (micros(loading), "us"),
        1_000.0,
        size,
    );

    let of = |isolation| host.transform(&bytes, Some(isolation));
    let cases = [
        ("call of one row, fresh", Isolation::Fresh, 1, 12.0),
        ("call of one row, pooled", Isolation::pooled(), 1, 1.2),
        ("call of 1000 rows, fresh", Isolation::Fresh, 1_000, 20.0),
    ];
    for (what, isolation, rows, max) in cases {
        let took = micros(call(&of(isolation)?, rows)?);
        figure(what, (took, "us"), max, format!("at most {max}"));
    }
    if let Some(python) = python {
        let bytes = fs::read(python)?;
        let transform = host.transform(&bytes, None)?;
        let took = micros(call(&transform, 1)?);
        let note = format!("{} MiB component; at most 40", bytes.len() >> 20);
        figure("Python, one row, pooled", (took, "us"), 40.0, note);
    }
    let resident = loaded_mib(component, folder)?;
    figure(
        "100 loaded Rust transforms",
        (resident * 1.048_576, "MB"),
        20.0,
        "at most 20; engine and freed memory not counted".to_owned(),
    );
    println!("{}", Value::from(figures));
    Ok(())
}

struct Host {
    engine: Engine,
    cache: Cache,
}

impl Host {
    fn open(folder: &Path) -> Result<Self> {
        Ok(Self {
            engine: Engine::new(EngineConfig::default())?,
            cache: Cache::open(&folder.join("compiled"), Worker::InProcess)?,
        })
    }

    fn load(&self, component: &[u8]) -> Result<galley_transform::Loaded> {
        let limits = Limits::interpreted();
        Ok(self.cache.load(&self.engine, component, "bench", &limits)?)
    }

    fn transform(&self, component: &[u8], isolation: Option<Isolation>) -> Result<Transform> {
        let loaded = self.load(component)?;
        let mut config = TransformConfig::suited("bench", &loaded);
        config.isolation = isolation;
        Ok(Transform::load(&self.engine, &loaded, config)?)
    }
}

/// What a call of `rows` rows takes.
fn call(transform: &Transform, rows: usize) -> Result<Duration> {
    let (floats, ints) = (vec![1.5; rows], vec![2_500; rows]);
    let mut columns = Vec::new();
    for field in &transform.signature().inputs {
        let scalars = match field.data_type.kind() {
            Kind::Float64 => ScalarsRef::Float64(&floats),
            Kind::Int64 => ScalarsRef::Int64(&ints),
            other => return Err(format!("input {} is of {other:?}", field.name).into()),
        };
        columns.push(ColumnRef {
            values: ValuesRef::Scalar(scalars),
            validity: None,
        });
    }
    let batch = Batch {
        rows: u32::try_from(rows)?,
        columns: &columns,
    };
    let begun = processor_time();
    transform.call(&CONTEXT, batch)?;
    let is_short = rows == 1 && processor_time() - begun < Duration::from_micros(500);
    let calls = if is_short { 2_000 } else { 300 };
    let call = || {
        transform.call(&CONTEXT, batch)?;
        Ok(())
    };
    median(call, calls)
}

/// The median of batches of `count` times `work`, for one time.
fn median(mut work: impl FnMut() -> Result<()>, count: u32) -> Result<Duration> {
    let mut times = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let begun = processor_time();
        for _ in 0..count {
            work()?;
        }
        times.push((processor_time() - begun) / count);
    }
    times.sort_unstable();
    Ok(times[BATCHES / 2])
}

/// Processor time this thread has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

// === memory ===

/// Memory that many loaded components hold, in a process of their own that finds them compiled.
fn loaded_mib(component: &Path, folder: &Path) -> Result<f64> {
    let mut answer = Value::Null;
    for _ in 0..2 {
        let output = Command::new(std::env::current_exe()?)
            .arg("--load")
            .args([component, folder])
            .output()?;
        answer = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    }
    answer["mib"].as_f64().ok_or_else(|| "no figure".into())
}

fn load_many(component: &str, folder: &Path) -> Result<()> {
    let host = Host::open(folder)?;
    let original = fs::read(component)?;
    let variant = |number: u32| {
        let mut bytes = original.clone();
        // A custom section: name of one letter, four bytes of content.
        bytes.extend([0, 6, 1, b'n']);
        bytes.extend(number.to_le_bytes());
        bytes
    };
    let first = host.transform(&variant(LOADED), None)?;
    let before = resident_mib()?;
    // As the server does, on a thread that ends.
    let loading = || -> std::result::Result<Vec<_>, String> {
        let load = |number| host.transform(&variant(number), None);
        let loaded = (0..LOADED).map(|number| load(number).map_err(|error| error.to_string()));
        loaded.collect()
    };
    let loaded = std::thread::scope(|scope| scope.spawn(loading).join());
    let loaded = loaded.map_err(|_| "the thread that loads has panicked")??;
    let after = resident_mib()?;
    println!("{}", json!({"mib": after - before}));
    drop((first, loaded));
    Ok(())
}

/// How often, and how many times, the allocator is asked to give freed memory back.
const GIVES_BACK: (Duration, u32) = (Duration::from_secs(2), 3);

/// What is resident once freed memory was given back, as the server sees to every two seconds.
fn resident_mib() -> Result<f64> {
    let (every, times) = GIVES_BACK;
    for _ in 0..times {
        std::thread::sleep(every);
        give_back();
    }
    let status = fs::read_to_string(PathBuf::from("/proc/self/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.ok_or("no VmRSS")?.parse::<f64>()? / 1024.0)
}

//! What a transformation costs: calls, loading, memory.
//!
//! usage: transforms COMPONENT FOLDER [PYTHON_COMPONENT]
//! Prints figures as JSON; `cargo xtask bench` runs it pinned to a core and shows them.
//!
//! COMPONENT is the example `fare_quote`: five numbers in, two out, written with the Rust SDK. A call
//! is measured from borrowed columns to checked ones. Cost model: cost of a call + cost of a row *
//! rows; a fresh call makes an instance, pooled ones share one. Loading is everything between the
//! component's bytes and code that can be linked, with the folder of compiled code filled.
//! Batch sizes: 1000 calls timed together, or one loading; the cases take turns for 150 batches each,
//! and the least of a case counts, in processor time of the calling thread. Work of others on the same
//! processor only ever adds, up to twice as much for minutes, and no bar is about that.
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

/// Batches of each case.
const BATCHES: usize = 150;
/// Calls of a batch. Pooled instances serve as many: every batch makes at least one.
const CALLS: u32 = 1_000;
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
    let host = Host::open(folder)?;
    let bytes = fs::read(component)?;
    host.load(&bytes)?;
    let fresh = host.transform(&bytes, Some(Isolation::Fresh))?;
    let pooled = host.transform(&bytes, Some(Isolation::pooled()))?;
    let python = match python {
        Some(path) => Some(host.transform(&fs::read(path)?, None)?),
        None => None,
    };
    let (one, many) = (Inputs::of(1), Inputs::of(1_000));
    let mut cases = vec![
        Case::new("load from the cache", 1_000.0, 1, || {
            host.load(&bytes).map(drop)
        }),
        Case::new("call of one row, fresh", 12.0, CALLS, one.call(&fresh)?),
        Case::new("call of one row, pooled", 1.2, CALLS, one.call(&pooled)?),
        Case::new("call of 1000 rows, fresh", 20.0, CALLS, many.call(&fresh)?),
    ];
    if let Some(python) = &python {
        let work = one.call(python)?;
        cases.push(Case::new("Python, one row, pooled", 40.0, CALLS, work));
    }
    for _ in 0..BATCHES {
        for case in &mut cases {
            case.batch()?;
        }
    }
    let mut figures: Vec<Value> = cases.iter().map(Case::figure).collect();
    let resident = loaded_mib(component, folder)? * 1.048_576;
    figures.push(json!({
        "what": "100 loaded Rust transforms", "value": resident, "unit": "MB",
        "good": resident <= 20.0,
        "note": "at most 20; engine and freed memory not counted",
    }));
    println!("{}", Value::from(figures));
    Ok(())
}

/// Something that takes microseconds, and the least it took.
struct Case<'a> {
    what: &'static str,
    max_us: f64,
    count: u32,
    work: Box<dyn FnMut() -> Result<()> + 'a>,
    least: Duration,
}

impl<'a> Case<'a> {
    fn new(
        what: &'static str,
        max_us: f64,
        count: u32,
        work: impl FnMut() -> Result<()> + 'a,
    ) -> Self {
        Self {
            what,
            max_us,
            count,
            work: Box::new(work),
            least: Duration::MAX,
        }
    }

    fn batch(&mut self) -> Result<()> {
        let begun = processor_time();
        for _ in 0..self.count {
            (self.work)()?;
        }
        let took = (processor_time() - begun) / self.count;
        self.least = self.least.min(took);
        Ok(())
    }

    fn figure(&self) -> Value {
        let took = self.least.as_secs_f64() * 1e6;
        json!({
            "what": self.what, "value": took, "unit": "us", "good": took <= self.max_us,
            "note": format!("at most {}", self.max_us),
        })
    }
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

/// A column of each type that the components measured take.
struct Inputs {
    floats: Vec<f64>,
    ints: Vec<i64>,
}

impl Inputs {
    fn of(rows: usize) -> Self {
        Self {
            floats: vec![1.5; rows],
            ints: vec![2_500; rows],
        }
    }

    /// A call with these.
    fn call<'a>(
        &'a self,
        transform: &'a Transform,
    ) -> Result<impl FnMut() -> Result<()> + use<'a>> {
        let mut columns = Vec::new();
        for field in &transform.signature().inputs {
            let scalars = match field.data_type.kind() {
                Kind::Float64 => ScalarsRef::Float64(&self.floats),
                Kind::Int64 => ScalarsRef::Int64(&self.ints),
                other => return Err(format!("input {} is of {other:?}", field.name).into()),
            };
            columns.push(ColumnRef {
                values: ValuesRef::Scalar(scalars),
                validity: None,
            });
        }
        let rows = u32::try_from(self.ints.len())?;
        Ok(move || {
            let columns = &columns;
            transform.call(&CONTEXT, Batch { rows, columns })?;
            Ok(())
        })
    }
}

/// Processor time this thread has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
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

//! The compile worker. This program is its own worker, so it has a `main` and runs its tests itself.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests may fail loudly, and this one is its own harness"
)]

mod guest;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use galley_transform::{
    COMPILE_WORKER, Cache, Engine, EngineConfig, Error, Limit, Limits, Transform, TransformConfig,
    Worker, compile_worker_main,
};
use galley_types::{Classify, ErrorKind};
use guest::{Guest, doubles};

/// The argument by which this program is asked to have a component compiled.
const HAVE_COMPILED: &str = "have-compiled";

struct Case {
    cache: Cache,
    engine: Engine,
    folder: tempfile::TempDir,
}

fn case() -> Case {
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::this_program();
    Case {
        cache: Cache::open(&folder.path().join("code"), worker).unwrap(),
        engine: Engine::new(EngineConfig {
            instances_max: 8,
            ..EngineConfig::default()
        })
        .unwrap(),
        folder,
    }
}

impl Case {
    fn refusal(&self, component: &[u8], limits: &Limits) -> Error {
        let error = self
            .cache
            .load(&self.engine, component, "a_view", limits)
            .unwrap_err();
        let left: Vec<_> = fs::read_dir(self.folder.path().join("code"))
            .unwrap()
            .map(|file| file.unwrap().file_name())
            .collect();
        assert_eq!(left, ["key"], "nothing is left over");
        error
    }
}

fn a_worker_compiles_code_that_runs() {
    let case = case();
    let component = Guest::echo(doubles()).build();
    let limits = Limits::default();
    let loaded = case
        .cache
        .load(&case.engine, &component, "a_view", &limits)
        .unwrap();
    assert!(loaded.was_compiled());
    let config = TransformConfig::suited("a_view", &loaded);
    let transform = Transform::load(&case.engine, &loaded, config).unwrap();
    assert_eq!(transform.signature(), &doubles());
}

fn a_worker_says_what_is_wrong_with_a_component() {
    let case = case();
    // Sound in structure, but adding up a number and nothing.
    let mut guest = Guest::echo(doubles());
    guest.extra = "(func $odd (result i32) (i32.const 1))".to_owned();
    let mut component = guest.build();
    let body = [2_u8, 0, 0x41, 1, 0x0b];
    let at = component
        .windows(4)
        .position(|window| window == [4, 0, 0x41, 1])
        .unwrap();
    assert_eq!(body.len(), 5);
    *component.get_mut(at + 2).unwrap() = 0x6a;
    let error = case.refusal(&component, &Limits::default());
    assert!(
        matches!(&error, Error::Compile { reason } if reason.contains("invalid") || reason.contains("type mismatch") || reason.contains("expected")),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

fn a_worker_that_takes_too_long_is_ended() {
    let case = case();
    let mut limits = Limits::default();
    limits.compile.wall = Duration::from_millis(1);
    let error = case.refusal(&Guest::echo(doubles()).build(), &limits);
    assert_eq!(
        error.to_string(),
        "transform 'a_view' was stopped while it was loaded: the limit on time to compile \
         (max-compile-time = 1ms) was reached; where it needs more, set `max-compile-time = \
         \"2ms\"` under its [[trigger.galley]] in spin.toml"
    );
}

/// One function of a million operations, and time for it.
fn long_to_compile() -> (Vec<u8>, Limits) {
    let mut guest = Guest::echo(doubles());
    let steps = "(local.set 0 (i64.add (local.get 0) (i64.const 1)))".repeat(200_000);
    guest.extra = format!("(func $long (param i64) (result i64) {steps} (local.get 0))");
    let mut limits = Limits::default();
    limits.compile.wall = Duration::from_secs(120);
    (guest.build(), limits)
}

/// What this program does when it is asked to: it has a worker compile for long.
fn have_compiled() {
    let (component, limits) = long_to_compile();
    let case = case();
    drop(case.cache.load(&case.engine, &component, "a_view", &limits));
}

fn a_worker_ends_with_the_process_that_asked() {
    const PATIENCE: Duration = Duration::from_secs(30);
    let wait_for = |what: &str, found: &dyn Fn() -> Option<u32>| {
        let begun = Instant::now();
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .arg(HAVE_COMPILED)
        .spawn()
        .unwrap();
    // It has begun when it stands back behind others, which it does last of all before it compiles.
    let worker = wait_for("no worker began", &|| {
        processes()
            .find_map(|(id, stat)| (stat.parent == parent.id() && stat.nice > 0).then_some(id))
    });
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_for("the worker goes on", &|| {
        let goes_on = processes().any(|(id, stat)| id == worker && stat.state != "Z");
        (!goes_on).then_some(worker)
    });
}

struct Stat {
    state: String,
    parent: u32,
    nice: i32,
}

/// All processes, as /proc shows them.
fn processes() -> impl Iterator<Item = (u32, Stat)> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let id = entry.file_name().to_str()?.parse().ok()?;
        let text = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name before may hold spaces.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let stat = Stat {
            state: (*fields.first()?).to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            nice: fields.get(16)?.parse().ok()?,
        };
        Some((id, stat))
    })
}

fn a_worker_that_takes_too_much_memory_is_ended() {
    let case = case();
    let (component, mut limits) = long_to_compile();
    limits.compile.memory_bytes_max = 96 << 20;
    let error = case.refusal(&component, &limits);
    assert!(
        matches!(
            error,
            Error::Limit {
                limit: Limit::CompileMemory,
                ..
            }
        ),
        "{error}"
    );
}

fn code_that_is_too_large_is_not_kept() {
    let case = case();
    let mut limits = Limits::default();
    limits.compile.code_bytes_max = 1_000;
    let error = case.refusal(&Guest::echo(doubles()).build(), &limits);
    assert!(
        matches!(
            error,
            Error::Limit {
                limit: Limit::Compiled,
                ..
            }
        ),
        "{error}"
    );
}

fn a_program_that_is_no_worker_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let engine = case().engine;
    for (program, expect) in [
        (
            "/nowhere/galley",
            "the compile worker '/nowhere/galley' could not be run",
        ),
        (
            "/bin/false",
            "the compile worker '/bin/false' could not be run",
        ),
    ] {
        let worker = Worker::Process {
            program: program.into(),
            arguments: Vec::new(),
        };
        let cache = Cache::open(&folder.path().join("code"), worker).unwrap();
        let component = Guest::echo(doubles()).build();
        let error = cache
            .load(&engine, &component, "a_view", &Limits::default())
            .unwrap_err();
        assert_eq!(error.to_string(), expect);
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|first| first == COMPILE_WORKER)
    {
        return compile_worker_main(arguments);
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == HAVE_COMPILED)
    {
        have_compiled();
        return ExitCode::SUCCESS;
    }
    let tests: [(&str, fn()); 7] = [
        (
            "a_worker_compiles_code_that_runs",
            a_worker_compiles_code_that_runs,
        ),
        (
            "a_worker_says_what_is_wrong_with_a_component",
            a_worker_says_what_is_wrong_with_a_component,
        ),
        (
            "a_worker_that_takes_too_long_is_ended",
            a_worker_that_takes_too_long_is_ended,
        ),
        (
            "a_worker_that_takes_too_much_memory_is_ended",
            a_worker_that_takes_too_much_memory_is_ended,
        ),
        (
            "a_worker_ends_with_the_process_that_asked",
            a_worker_ends_with_the_process_that_asked,
        ),
        (
            "code_that_is_too_large_is_not_kept",
            code_that_is_too_large_is_not_kept,
        ),
        (
            "a_program_that_is_no_worker_is_named",
            a_program_that_is_no_worker_is_named,
        ),
    ];
    assert!(Path::new("/bin/false").is_file());
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

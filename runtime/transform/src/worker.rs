//! Compiling in a process of its own, whose time and memory are bounded: what compiling a hostile
//! component costs is the component's to choose.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};

use crate::cache::{Temporary, create};
use crate::error::{Error, Result};
use crate::limits::{CompileLimits, Limit};
use crate::target::Target;

/// The argument by which a program is asked to be the compile worker.
pub const COMPILE_WORKER: &str = "compile-worker";

/// How often the worker is looked after.
const POLL: Duration = Duration::from_millis(5);
/// Bytes read of what the worker says.
const REPORT_BYTES_MAX: u64 = 4 << 10;
/// How much the worker stands back behind what serves.
const NICE: i32 = 10;
/// How many times the limit may pass on the clock while the worker was given less processor time than
/// that: it stands back behind what serves, and on a busy machine waits for longer than it works.
const WAITS_MAX: u32 = 12;
/// The worker compiled it.
const EXIT_DONE: u8 = 0;
/// The component is at fault; standard error says why.
const EXIT_REFUSED: u8 = 3;
/// The worker was called wrongly or could not set its limits.
const EXIT_USAGE: u8 = 4;

/// Whether compilations are broken off.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Breaks off what is being compiled by other processes, and lets nothing be compiled from now on: this
/// process is about to end, and a compilation may take longer than anybody waits for that.
pub fn end_compiling() {
    ENDING.store(true, Ordering::Relaxed);
}

/// Who compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Worker {
    /// A program that calls [`compile_worker_main`] when its first argument after `arguments` is
    /// [`COMPILE_WORKER`].
    Process {
        /// The program.
        program: PathBuf,
        /// What stands before the worker's own arguments.
        arguments: Vec<OsString>,
    },
    /// This process, without any bound: for components one trusts, such as one's own while they
    /// are written.
    InProcess,
}

/// One compilation.
pub(crate) struct Job<'a> {
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [OsString],
    pub(crate) target: Target,
    pub(crate) limits: &'a CompileLimits,
    pub(crate) input: PathBuf,
    pub(crate) output: PathBuf,
    pub(crate) report: PathBuf,
}

/// How a compilation ended.
pub(crate) enum Outcome {
    Code(Vec<u8>),
    Refused(String),
    Limit(Limit),
}

impl Worker {
    /// The running program, even where its file has been replaced by another version since: code
    /// compiled by that one would not fit this engine.
    #[must_use]
    pub fn this_program() -> Self {
        Self::Process {
            program: PathBuf::from("/proc/self/exe"),
            arguments: Vec::new(),
        }
    }
}

impl Job<'_> {
    /// Runs the worker on `component`. Files instead of pipes: neither side can block the other.
    pub(crate) fn run(&self, component: &[u8]) -> Result<Outcome> {
        let fail = |source| Error::Worker {
            program: self.program.to_owned(),
            source,
        };
        let guards = [&self.input, &self.output, &self.report].map(|path| Temporary(path));
        let mut child = self.start(component).map_err(fail)?;
        let ended = wait(&mut child, self.limits.wall).map_err(fail)?;
        let report = read_bounded(&self.report, REPORT_BYTES_MAX).map_err(fail)?;
        let report = String::from_utf8_lossy(&report);
        let outcome = match ended {
            None => Outcome::Limit(Limit::CompileTime),
            Some(status) if status.code() == Some(i32::from(EXIT_DONE)) => {
                let size = fs::metadata(&self.output).map_err(fail)?.len();
                if size > self.limits.code_bytes_max {
                    Outcome::Limit(Limit::Compiled)
                } else {
                    Outcome::Code(fs::read(&self.output).map_err(fail)?)
                }
            }
            Some(status) => self.judge(status, &report).map_err(fail)?,
        };
        drop(guards);
        Ok(outcome)
    }

    fn start(&self, component: &[u8]) -> io::Result<Child> {
        create(&self.input, 0o600)?.write_all(component)?;
        Command::new(self.program)
            .args(self.arguments)
            .arg(COMPILE_WORKER)
            .arg(self.target.to_string())
            .arg(self.limits.memory_bytes_max.to_string())
            .arg(self.limits.wall.as_secs().saturating_add(1).to_string())
            .arg(self.limits.code_bytes_max.to_string())
            .env_clear()
            // 64 MiB at a time: mimalloc, where the program has it, else asks for 1 GiB of address
            // space at once, which passes the limit before anything is compiled.
            .env("MIMALLOC_ARENA_RESERVE", "65536")
            .stdin(File::open(&self.input)?)
            .stdout(create(&self.output, 0o600)?)
            .stderr(create(&self.report, 0o600)?)
            .current_dir("/")
            .spawn()
    }

    /// What an end other than success means.
    fn judge(&self, status: ExitStatus, report: &str) -> io::Result<Outcome> {
        // The numbers are those of every Linux.
        const ABORT: i32 = 6;
        const KILL: i32 = 9;
        const SEGMENT: i32 = 11;
        const CPU: i32 = 24;
        const FILE_SIZE: i32 = 25;
        if report.contains("memory allocation of") || report.contains("Cannot allocate memory") {
            return Ok(Outcome::Limit(Limit::CompileMemory));
        }
        match (status.code(), status.signal()) {
            (Some(code), _) if code == i32::from(EXIT_REFUSED) => {
                Ok(Outcome::Refused(report.trim().to_owned()))
            }
            (_, Some(CPU)) => Ok(Outcome::Limit(Limit::CompileTime)),
            (_, Some(FILE_SIZE)) => Ok(Outcome::Limit(Limit::Compiled)),
            (_, Some(KILL)) => Ok(Outcome::Limit(Limit::CompileMemory)),
            (_, Some(ABORT | SEGMENT)) => Ok(Outcome::Refused(format!(
                "the compiler crashed ({status}): {}",
                report.trim()
            ))),
            _ => Err(io::Error::other(format!(
                "it ended with {status}: {}",
                report.trim()
            ))),
        }
    }
}

/// Waits for the worker; `None` when it had to be killed, as it worked for `wall`.
fn wait(child: &mut Child, wall: Duration) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let is_ending = ENDING.load(Ordering::Relaxed);
        let elapsed = started.elapsed();
        let is_late = elapsed >= wall
            && (elapsed >= wall.saturating_mul(WAITS_MAX) || worked(child.id()) >= wall);
        if is_ending || is_late {
            child.kill()?;
            child.wait()?;
            if is_ending {
                return Err(io::Error::other(
                    "it was broken off, this process is ending",
                ));
            }
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// The processor time that the first thread of the process `id` was given; without end where the kernel
/// does not tell, so that only the clock counts there. What all threads may take together the worker's
/// own limit says.
fn worked(id: u32) -> Duration {
    fs::read_to_string(format!("/proc/{id}/schedstat"))
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .map_or(Duration::MAX, Duration::from_nanos)
}

fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The compile worker: reads a component from standard input and writes its code to standard
/// output, as `arguments` (what stands behind [`COMPILE_WORKER`]) say: the engine it is for, and the
/// limits, which are bytes of address space, seconds of processor time and bytes of code. To be called first thing by the program
/// that [`Worker::Process`] names; nothing else of the program should run.
#[must_use]
pub fn compile_worker_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (code, message) = match work(arguments) {
        Ok(()) => (EXIT_DONE, String::new()),
        Err((code, message)) => (code, message),
    };
    // Standard error is a file; there is nobody to tell should it be full.
    drop(io::stderr().write_all(message.as_bytes()));
    ExitCode::from(code)
}

/// Bytes of address space this process has.
fn address_space() -> io::Result<u64> {
    let pages = fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> = pages
        .split_whitespace()
        .next()
        .and_then(|text| text.parse().ok());
    let pages = pages.ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

fn work(arguments: impl IntoIterator<Item = OsString>) -> std::result::Result<(), (u8, String)> {
    let usage = |what: &dyn std::fmt::Display| (EXIT_USAGE, what.to_string());
    let mut arguments = arguments.into_iter();
    let target = arguments.next();
    let target: Option<Target> = target
        .as_deref()
        .and_then(OsStr::to_str)
        .and_then(|text| text.parse().ok());
    let numbers: Option<Vec<u64>> = arguments
        .map(|argument| OsStr::to_str(&argument).and_then(|text| text.parse().ok()))
        .collect();
    let numbers = numbers.as_deref().and_then(<[u64]>::as_array);
    let (Some(target), Some([memory, seconds, code])) = (target, numbers) else {
        return Err(usage(
            &"expected a target and three numbers: memory, seconds, code",
        ));
    };
    // Nobody waits for the code once whoever asked is gone, be it by SIGKILL. The thread that asked
    // waits, so that it ends with its process.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| usage(&error))?;
    let mut component = Vec::new();
    io::stdin()
        .read_to_end(&mut component)
        .map_err(|error| usage(&error))?;
    // What the process has before it begins does not count: where its allocator reserves address
    // space ahead, a smaller limit would leave no room even for the stack to grow.
    let memory = memory.saturating_add(address_space().map_err(|error| usage(&error))?);
    for (resource, bound) in [
        (Resource::As, memory),
        (Resource::Cpu, *seconds),
        (Resource::Fsize, *code),
        (Resource::Core, 0),
    ] {
        let limit = Rlimit {
            current: Some(bound),
            maximum: Some(bound),
        };
        setrlimit(resource, limit).map_err(|error| usage(&error))?;
    }
    // Where it may not stand back it compiles as it is.
    let _ = nice(NICE);
    let code = target
        .compile(&component)
        .map_err(|reason| (EXIT_REFUSED, reason))?;
    io::stdout()
        .write_all(&code)
        .and_then(|()| io::stdout().flush())
        .map_err(|error| usage(&error))
}

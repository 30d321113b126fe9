//! Every parser of bytes from outside as a function of those bytes: what the product does with them,
//! and what must hold of it, however they look.
//!
//! The fuzzers in `tests/fuzz` feed these functions with what they make up; the test of this package
//! feeds them with what the fuzzers kept. None may panic, take more memory than its bound, or run on.

mod bodies;
mod components;
mod files;
#[path = "../../../runtime/transform/tests/guest/mod.rs"]
mod guest;
mod memory;
mod rides;
mod rows;
mod seeds;
mod stored;
mod texts;

use std::panic;
use std::sync::{Mutex, Once, PoisonError};

pub use memory::Counting;

const MIB: usize = 1 << 20;

/// A parser, or several that read the same.
#[derive(Debug)]
pub struct Target {
    /// The name of its corpus and of its fuzzer.
    pub name: &'static str,
    /// What is done with the bytes.
    run: fn(&[u8]),
    /// Bytes that it may have of the allocator's at a time.
    memory_max: usize,
    /// Bytes of an input, where longer ones teach nothing.
    pub input_max: usize,
    ready: Once,
}

/// All there are.
pub static TARGETS: [Target; 13] = [
    // Pages within 1 MiB and 2 MiB a column, twice, of a view of 31 columns.
    Target::new("parquet", rows::parquet, 192 * MIB, 16 << 10),
    Target::new("flight", rows::flight, 32 * MIB, 16 << 10),
    Target::new("part", rows::part, 16 * MIB, 16 << 10),
    Target::new("registry", files::registry, 32 * MIB, 48 << 10),
    // A short body may stand for two million values.
    Target::new("push", bodies::push, 256 * MIB, 4 << 10),
    Target::new("look_up", bodies::look_up, 64 * MIB, 4 << 10),
    Target::new("metadata", files::metadata, 16 * MIB, 16 << 10),
    Target::new("repo", files::repo, 64 * MIB, 4 << 10),
    Target::new("manifest", files::manifest, 64 * MIB, 4 << 10),
    Target::new("stored", stored::stored, 16 * MIB, 4 << 10),
    Target::new("texts", texts::texts, 16 * MIB, 1 << 10),
    Target::new("component", components::component, 128 * MIB, 8 << 10),
    Target::new("answer", components::answer, 64 * MIB, 8 << 10),
];

// === impl Target ===

impl Target {
    const fn new(name: &'static str, run: fn(&[u8]), memory_max: usize, input_max: usize) -> Self {
        Self {
            name,
            run,
            memory_max,
            input_max,
            ready: Once::new(),
        }
    }

    /// The one called `name`.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Runs it on `bytes`.
    ///
    /// # Panics
    /// A promise is broken.
    pub fn run(&self, bytes: &[u8]) {
        // What is made once for all runs counts for none.
        self.ready.call_once(|| (self.run)(&[]));
        let peak = memory::peak_of(|| (self.run)(bytes));
        assert!(
            peak <= self.memory_max,
            "{}: {} bytes take {peak} of memory, more than {}",
            self.name,
            bytes.len(),
            self.memory_max
        );
    }
}

/// Small sound components, which no text editor writes: the first inputs of the target `component`.
#[must_use]
pub fn sample_components() -> Vec<Vec<u8>> {
    components::samples()
}

/// Keeps panics that the product catches off the terminal, where thousands of them would hide the one
/// that matters.
pub fn quiet_panics() {
    panic::set_hook(Box::new(|panic| {
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
}

/// Runs `target`; a panic that comes through is the reason. To be called once panics are quiet.
///
/// # Errors
/// The promise that is broken.
pub fn try_run(target: &Target, bytes: &[u8]) -> Result<(), String> {
    panic::catch_unwind(|| target.run(bytes)).map_err(|_| {
        let reason = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{}: {reason}", target.name)
    })
}

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

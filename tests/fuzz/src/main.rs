//! The fuzzers: libFuzzer around the functions of `tests/parsers`. Run by `cargo xtask fuzz`, which
//! names one of them in `GALLEY_FUZZ`: a target of that package, or `guest`, which makes sound guests
//! up and gives them to the target `component`.

#![no_main]

mod guests;

use std::sync::OnceLock;
use std::{env, fs, process};

use galley_parsers::{Counting, TARGETS, Target, quiet_panics, try_run};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The fuzzer that makes guests up.
const GUEST: &str = "guest";
/// Names the file that the guest an input stands for is written to, so that it can be kept.
const GUEST_TO: &str = "GALLEY_FUZZ_GUEST_TO";

static FUZZER: OnceLock<Fuzzer> = OnceLock::new();

enum Fuzzer {
    Bytes(&'static Target),
    Guests(&'static Target),
}

// === impl Fuzzer ===

impl Fuzzer {
    fn named() -> Self {
        let name = env::var("GALLEY_FUZZ").unwrap_or_default();
        let found = match name.as_str() {
            GUEST => Target::find("component").map(Self::Guests),
            name => Target::find(name).map(Self::Bytes),
        };
        found.unwrap_or_else(|| {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            let names = names.join(", ");
            eprintln!("GALLEY_FUZZ names no fuzzer; there are {names} and {GUEST}");
            process::exit(2);
        })
    }

    fn run(&self, bytes: &[u8]) {
        match self {
            Self::Bytes(target) => or_abort(try_run(target, bytes)),
            Self::Guests(target) => {
                if let Some(guest) = guests::guest(bytes) {
                    if let Some(path) = env::var_os(GUEST_TO) {
                        fs::write(path, &guest).expect("the guest can be written");
                    }
                    or_abort(try_run(target, &guest));
                }
            }
        }
    }
}

/// Ends the process with the reason, for libFuzzer to keep the input.
fn or_abort(done: Result<(), String>) {
    if let Err(reason) = done {
        eprintln!("{reason}");
        process::abort();
    }
}

fuzz_target!(
    init: {
        // What the product catches is no finding: only a panic that comes through ends the run.
        quiet_panics();
    },
    |bytes: &[u8]| {
        FUZZER.get_or_init(Fuzzer::named).run(bytes);
    }
);

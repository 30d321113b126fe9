//! The fuzzers: a build with coverage, a run of each, and the corpus it leaves behind.
//!
//! No tool has to be installed: libFuzzer comes with a crate, and its instrumentation with stable rustc.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, cargo, root, run, target};

/// What makes rustc count edges and watch comparisons for libFuzzer.
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// What one corpus keeps: its share of what the test of all of them allows.
const FILES_MAX: usize = 190;
const BYTES_MAX: u64 = 78 << 10;
/// Makes sound guests up, which are inputs of the fuzzer `component`.
const GUEST: &str = "guest";
const SECONDS: &str = "60";
/// How long one input may take, in seconds.
const INPUT_SECONDS_MAX: u32 = 10;
/// Memory of the whole fuzzer in MiB; what an input may take is counted within it.
const MEMORY_MIB_MAX: u32 = 3072;

/// What is asked for.
struct Asked {
    targets: Vec<String>,
    seconds: String,
    /// Whether the corpora are made anew of the inputs that reach something the others do not.
    minimise: bool,
}

/// Builds the fuzzers and runs those that are asked for, one after the other.
pub(crate) fn fuzz(arguments: &[String]) -> Result<()> {
    let asked = Asked::of(arguments)?;
    let fuzzer = build()?;
    for name in &asked.targets {
        let kept = corpora().join(name);
        let work = target().join("fuzz").join(name);
        make(&work)?;
        println!("xtask: {name} for {} s", asked.seconds);
        let time = format!("-max_total_time={}", asked.seconds);
        let mut fuzz = command(&fuzzer, name)?;
        // What is new goes to the first folder; others are read.
        fuzz.arg(time).arg(&work);
        if name != GUEST {
            fuzz.arg(&kept);
        }
        run(&mut fuzz)?;
        if asked.minimise && name != GUEST {
            minimise(&fuzzer, name, (&kept, &work))?;
        }
    }
    Ok(())
}

// === impl Asked ===

impl Asked {
    fn of(arguments: &[String]) -> Result<Self> {
        let mut asked = Self {
            targets: Vec::new(),
            seconds: SECONDS.to_owned(),
            minimise: false,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seconds" => {
                    let seconds = arguments.next().filter(|text| text.parse::<u32>().is_ok());
                    asked.seconds = seconds
                        .ok_or("--seconds takes a number of seconds for each fuzzer")?
                        .clone();
                }
                "--minimise" => asked.minimise = true,
                name if !name.starts_with('-') => asked.targets.push(name.to_owned()),
                other => return Err(format!("no option {other:?} of fuzz")),
            }
        }
        let known = names()?;
        if asked.targets.is_empty() {
            asked.targets.clone_from(&known);
        }
        match asked.targets.iter().find(|name| !known.contains(name)) {
            None => Ok(asked),
            Some(name) => Err(format!(
                "no fuzzer {name:?}; there are {}",
                known.join(", ")
            )),
        }
    }
}

/// The fuzzers: each has a corpus but the one that makes its inputs up.
fn names() -> Result<Vec<String>> {
    let folder = corpora();
    let listed =
        fs::read_dir(&folder).map_err(|error| format!("list {}: {error}", folder.display()))?;
    let mut names: Vec<String> = listed
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.push(GUEST.to_owned());
    names.sort();
    Ok(names)
}

fn corpora() -> PathBuf {
    root().join("tests/fuzz/corpus")
}

fn build() -> Result<PathBuf> {
    let platform = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    // With a platform named, build scripts and macros are built without the flags.
    let mut build = cargo(["build", "--release", "--locked", "--target"]);
    build
        .arg(&platform)
        .current_dir(root().join("tests/fuzz"))
        .env("CARGO_TARGET_DIR", target().join("fuzz-build"))
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    run(&mut build)?;
    Ok(target()
        .join("fuzz-build")
        .join(platform)
        .join("release/galley-fuzz"))
}

fn command(fuzzer: &Path, name: &str) -> Result<Command> {
    let found = target().join("fuzz");
    make(&found)?;
    let mut command = Command::new(fuzzer);
    command
        .env("GALLEY_FUZZ", name)
        .current_dir(root())
        .arg(format!("-artifact_prefix={}/{name}-", found.display()))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg("-print_final_stats=1");
    Ok(command)
}

/// Keeps of both folders what reaches something that the others do not, the shortest first, within the
/// bounds. Inputs that somebody gave a name stay as they are; libFuzzer names the others by a digest.
fn minimise(fuzzer: &Path, name: &str, (kept, work): (&Path, &Path)) -> Result<()> {
    let fewest = target().join("fuzz").join(format!("{name}-fewest"));
    // A folder that a run left behind would count as wanted.
    let _ = fs::remove_dir_all(&fewest);
    make(&fewest)?;
    run(command(fuzzer, name)?
        .arg("-set_cover_merge=1")
        .args([fewest.as_path(), kept, work]))?;
    let wrong = |error| format!("copy {} to {}: {error}", fewest.display(), kept.display());
    let (mut files, mut bytes) = (0, 0);
    for (length, path) in inputs(kept).map_err(wrong)? {
        if is_digest(&path) {
            fs::remove_file(&path).map_err(wrong)?;
        } else {
            files += 1;
            bytes += length;
        }
    }
    for (length, path) in inputs(&fewest).map_err(wrong)? {
        files += 1;
        bytes += length;
        if files > FILES_MAX || bytes > BYTES_MAX {
            break;
        }
        fs::copy(&path, kept.join(path.file_name().unwrap_or_default())).map_err(wrong)?;
    }
    Ok(())
}

/// The files of a corpus with their lengths, the shortest first.
fn inputs(folder: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found.push((entry.metadata()?.len(), entry.path()));
    }
    found.sort();
    Ok(found)
}

fn is_digest(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| format!("make {}: {error}", folder.display()))
}

//! What the fuzzers kept, once more: no input that ever did harm does it again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use galley_parsers::{Counting, TARGETS, Target, quiet_panics, sample_components, try_run};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How long one input may take, in a build without optimisation on a busy machine.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);
/// Files of one corpus, and bytes of all of them.
const FILES_MAX: usize = 200;
const BYTES_MAX: usize = 1 << 20;

fn corpus(target: &Target) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target.name);
    let listed = std::fs::read_dir(&folder).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; run `cargo xtask fuzz {}`",
            folder.display(),
            target.name
        )
    });
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_that_was_kept_is_read_or_refused_within_memory_and_time() {
    let mut wrong = Vec::new();
    // What the product catches is not told: telling it, with its backtrace, takes memory too.
    quiet_panics();
    for target in &TARGETS {
        let (begun, files) = (Instant::now(), corpus(target));
        for file in &files {
            let bytes = std::fs::read(file).unwrap_or_default();
            let begun = Instant::now();
            let done = try_run(target, &bytes);
            let took = begun.elapsed();
            if done.is_err() || took > INPUT_TIME_MAX {
                wrong.push(format!("{}: {took:?}, {done:?}", file.display()));
            }
        }
        println!(
            "{}: {} inputs, {:?}",
            target.name,
            files.len(),
            begun.elapsed()
        );
        if files.is_empty() {
            wrong.push(format!("{} has no corpus", target.name));
        }
    }
    drop(std::panic::take_hook());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sample_components_are_among_the_inputs() {
    let component = Target::find("component").unwrap();
    let kept: Vec<Vec<u8>> = corpus(component)
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (number, sample) in sample_components().iter().enumerate() {
        let path = folder.join(format!("sample-{number}"));
        std::fs::write(&path, sample).unwrap();
        let path = path.display();
        assert!(
            kept.contains(sample),
            "copy {path} into the corpus of component"
        );
    }
}

#[test]
fn the_corpora_stay_small() {
    let mut bytes = 0;
    for target in &TARGETS {
        let files = corpus(target);
        assert!(files.len() <= FILES_MAX, "{}: {}", target.name, files.len());
        for file in files {
            let size = usize::try_from(file.metadata().unwrap().len()).unwrap();
            assert!(size <= target.input_max, "{}", file.display());
            bytes += size;
        }
    }
    assert!(bytes <= BYTES_MAX, "{bytes}");
}

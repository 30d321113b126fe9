//! The components that are committed, and their sources.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::process::{Output, clean, galley};
use crate::support::root;

/// Examples whose components are committed.
fn examples() -> Vec<(String, PathBuf)> {
    let folder = root().join("guest-transforms/examples");
    let mut found: Vec<(String, PathBuf)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect();
    found.sort();
    assert!(found.len() >= 5, "{found:?}");
    found
}

fn committed(name: &str) -> PathBuf {
    root().join(format!("guest-transforms/components/{name}.wasm"))
}

fn transform(args: &[&str], path: &Path) -> Output {
    let output = clean(galley())
        .arg("transform")
        .args(args)
        .arg(path)
        .current_dir(root())
        .env("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn passes_golden_rows(component: &Path, project: &Path) {
    let golden = project.join("golden.jsonl");
    transform(&["test", "--golden", golden.to_str().unwrap()], component).ok();
}

fn signature(component: &Path) -> Value {
    let inspected = transform(&["inspect", "--json"], component).ok().json();
    inspected["components"][0]["signature"].clone()
}

#[test]
fn committed_components_pass_their_golden_rows() {
    for (name, project) in examples() {
        passes_golden_rows(&committed(&name), &project);
    }
}

/// The first Linux that tells which pages a process wrote, without which nothing is put back.
const PUTS_BACK_SINCE: (u32, u32) = (6, 7);

/// The version of the kernel, as far as it has two numbers.
fn kernel() -> Option<(u32, u32)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[test]
fn committed_components_are_put_back_between_calls_instead_of_made_anew() {
    if kernel() < Some(PUTS_BACK_SINCE) {
        println!("not tested, this kernel does not tell which pages were written");
        return;
    }
    for (name, project) in examples() {
        let golden = std::fs::read_to_string(project.join("golden.jsonl")).unwrap();
        let row: Value = serde_json::from_str(golden.lines().next().unwrap()).unwrap();
        let row = row["input"].to_string();
        let args = [
            "bench",
            "--input",
            &row,
            "--seconds",
            "0.05",
            "--rows",
            "1",
            "--json",
        ];
        let measured = transform(&args, &committed(&name)).ok().json();
        assert_eq!(measured["puts_back"], true, "{name}: {measured}");
        let figures = measured["figures"].as_array().unwrap();
        let fresh = figures.iter().find(|figure| figure["isolation"] == "fresh");
        let fresh = fresh.unwrap();
        let (calls, made) = (fresh["calls"].as_u64(), fresh["instances"].as_u64());
        // One after the other, all calls meet the same instance, but for one now and then that
        // could not be put back.
        assert!(made.unwrap() <= 1 + calls.unwrap() / 100, "{name}: {fresh}");
    }
}

#[test]
fn committed_components_are_what_their_sources_say() {
    let out = tempfile::tempdir().unwrap();
    for (name, project) in examples() {
        let component = out.path().join(format!("{name}.wasm"));
        let output = component.to_str().unwrap();
        let built = transform(&["build", "--no-install", "--output", output], &project);
        if !built.status.success() && built.stderr.contains("Rust compiler for wasm32") {
            println!("not tested, {}", built.stderr.trim());
            return;
        }
        built.ok();
        assert_eq!(
            signature(&component),
            signature(&committed(&name)),
            "{name}: run `cargo xtask guests`"
        );
        passes_golden_rows(&component, &project);
    }
}

#[test]
fn the_manifest_in_the_root_binds_every_committed_component_but_the_measured_one() {
    let manifest = std::fs::read_to_string(root().join("spin.toml")).unwrap();
    for (name, _) in examples() {
        let is_bound = manifest.contains(&format!("components/{name}.wasm"));
        assert_eq!(is_bound, name != "fare_quote", "{name}");
    }
}

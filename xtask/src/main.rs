//! Developer commands: `cargo xtask --help`.
//!
//! Only the standard library: it must build at once on a fresh machine.

mod feast;
mod fuzz;

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

const HELP: &str = "\
Developer commands of Galley

Usage: cargo xtask COMMAND [ARGUMENTS]

Commands:
  test [ARGS]   Everything: builds the galley binary, prepares Feast's own SDK, runs
                `cargo test --workspace` with both; ARGS go to cargo test:
                  cargo xtask test -p galley-store
                  cargo xtask test -p galley-tests -- crash --nocapture
  check         What a change has to pass, each step also by its own name:
                  fmt      cargo fmt --check
                  tidy     names, sizes, arrows between rooms, links
                  clippy   all targets, warnings are errors
                  doc      rustdoc, warnings are errors
                  deny     licences, bans, sources (where cargo-deny is installed)
                  test     as above
  bench [ARGS]  Builds in release mode and measures galley side by side with a bare server:
                  cargo xtask bench --help
  guests        Rebuilds the components in guest-transforms/components from their sources
  fuzz [TARGET] [--seconds N] [--minimise]
                Fuzzes the parsers of bytes from outside, each for N seconds [default: 60], from
                the corpora in tests/fuzz/corpus; --minimise puts what was found into them
  feast         Only prepares Feast's SDK (target/feast-venv)

Environment:
  CARGO_TARGET_DIR   where everything is built [default: target]
  GALLEY_BIN         the binary under test, instead of building one
  GALLEY_FEAST_VENV  a Python environment with feast==0.67.0, instead of making one
  GALLEY_TUF_VENV    a Python environment with tuf==7.0.1, instead of making one
  GALLEY_PLACES_VENV a Python environment with moto[s3]==5.2.5 and more, instead of making one
  GALLEY_LONG=1      long loops: hundreds of kills, thousands of bit flips
  GALLEY_SEED=N      another walk of the seeded tests";

type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("--help", &[][..]),
    };
    let done = match command {
        "test" => test(rest),
        "check" => check(),
        "fmt" => fmt(),
        "tidy" => tidy(),
        "clippy" => clippy(),
        "doc" => doc(),
        "deny" => deny(),
        "bench" => bench(rest),
        "guests" => guests(),
        "fuzz" => fuzz::fuzz(rest),
        "feast" => feast::venv(&target()).map(|path| println!("{}", path.display())),
        "--help" | "-h" | "help" => {
            println!("{HELP}");
            Ok(())
        }
        other => Err(format!("no command {other:?}\n\n{HELP}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

// === commands ===

fn test(args: &[String]) -> Result<()> {
    let galley = match env::var_os("GALLEY_BIN") {
        Some(path) => PathBuf::from(path),
        None => build_galley("dev", "debug")?,
    };
    let venv = feast::venv(&target())?;
    let tuf_venv = feast::tuf_venv(&target())?;
    let places_venv = feast::places_venv(&target())?;
    let azurite = feast::azurite(&target())?;
    let narrowed = args
        .iter()
        .any(|arg| arg == "-p" || arg.starts_with("--package"));
    let mut tests = cargo(["test"]);
    if !narrowed {
        tests.arg("--workspace");
    }
    tests
        .args(args)
        .env("GALLEY_BIN", galley)
        .env("GALLEY_FEAST_VENV", venv)
        .env("GALLEY_TUF_VENV", tuf_venv)
        .env("GALLEY_PLACES_VENV", places_venv);
    if let Some(azurite) = azurite {
        tests.env("GALLEY_AZURITE", azurite);
    }
    run(&mut tests)
}

fn check() -> Result<()> {
    let begun = Instant::now();
    fmt()?;
    clippy()?;
    tidy()?;
    doc()?;
    deny()?;
    test(&[])?;
    println!("xtask: all checks passed in {:.0?}", begun.elapsed());
    Ok(())
}

fn fmt() -> Result<()> {
    run(&mut cargo(["fmt", "--all", "--check"]))
}

fn tidy() -> Result<()> {
    run(&mut cargo([
        "test",
        "--quiet",
        "--package",
        "galley-tests",
        "--test",
        "it",
        "tidy::",
    ]))
}

fn clippy() -> Result<()> {
    run(&mut cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn doc() -> Result<()> {
    let mut doc = cargo([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny() -> Result<()> {
    let installed = Command::new("cargo-deny").arg("--version").output().is_ok();
    if !installed {
        println!(
            "xtask: cargo-deny is not installed; `cargo install cargo-deny` to check licences and bans"
        );
        return Ok(());
    }
    // The advisory database needs the network; licences, bans and sources do not.
    run(&mut cargo(["deny", "check", "bans", "licenses", "sources"]))
}

fn bench(args: &[String]) -> Result<()> {
    let asks_for_help = args.iter().any(|arg| arg == "--help" || arg == "-h");
    run(&mut cargo([
        "build",
        "--release",
        "--package",
        "galley-benches",
    ]))?;
    let release = target().join("release");
    let mut bench = Command::new(release.join("side_by_side"));
    bench.args(args);
    if !asks_for_help {
        let galley = match env::var_os("GALLEY_BIN") {
            Some(path) => PathBuf::from(path),
            None => build_galley("release", "release")?,
        };
        bench.env("GALLEY_BIN", galley);
    }
    run(bench.current_dir(root()))
}

/// Builds every Rust example with `galley transform build`; what comes out is committed, so that
/// the demo needs no toolchain.
fn guests() -> Result<()> {
    let galley = match env::var_os("GALLEY_BIN") {
        Some(path) => PathBuf::from(path),
        None => build_galley("dev", "debug")?,
    };
    let guests = root().join("guest-transforms");
    let examples = guests.join("examples");
    let listed = std::fs::read_dir(&examples)
        .map_err(|error| format!("list {}: {error}", examples.display()))?;
    let mut projects: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    projects.retain(|project| project.join("Cargo.toml").is_file());
    projects.push(guests.join("http/score"));
    projects.sort();
    for project in projects {
        let name = project.file_name().unwrap_or_default().to_string_lossy();
        let component = guests.join("components").join(format!("{name}.wasm"));
        let mut build = Command::new(&galley);
        build
            .args(["transform", "build", "--output"])
            .args([&component, &project])
            .env("RUSTFLAGS", without_places())
            .env("CARGO_TARGET_DIR", target().join("guests"));
        run(&mut build)?;
    }
    Ok(())
}

/// Flags that keep the folders of this machine out of what is built.
fn without_places() -> String {
    let home = env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    format!(
        "--remap-path-prefix={}=/source --remap-path-prefix={}=/cargo",
        root().display(),
        home.display()
    )
}

// === helpers ===

/// Builds the product's binary in a profile and says where it is.
fn build_galley(profile: &str, folder: &str) -> Result<PathBuf> {
    run(&mut cargo([
        "build",
        "--package",
        "galley-cli",
        "--profile",
        profile,
    ]))?;
    Ok(target().join(folder).join("galley"))
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

fn target() -> PathBuf {
    let dir =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    root().join(dir)
}

fn cargo<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

/// Runs a command; its failure is an error that repeats the command.
fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command
        .status()
        .map_err(|error| format!("start {shown}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{shown}: {status}"))
    }
}

//! Rust projects.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::component::{self, BuiltComponent};
use crate::run::{Step, ask};
use crate::{Error, Result, Workshop, embedded, files};

const TARGET: &str = "wasm32-unknown-unknown";
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld"];
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/Cargo.toml";

/// A way to compile Rust for the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RustToolchain {
    /// Cargo, with the target's standard library installed.
    WithTarget,
    /// Debian's compiler, which builds the standard library from its source (once per project).
    BuildStd {
        /// The linker for WebAssembly.
        linker: PathBuf,
    },
}

/// Finds a way to compile Rust for the sandbox: the installed target, else rustup's, else
/// Debian's packages. Installs what is missing when the workshop may.
///
/// # Errors
///
/// [`Error::ToolMissing`] with the command that brings it.
pub fn find_or_install_rust(workshop: &Workshop<'_>) -> Result<RustToolchain> {
    if has_target() {
        return Ok(RustToolchain::WithTarget);
    }
    if workshop.may_install && ask("rustup", &["--version"]).is_some() {
        workshop.say("installing Rust's target wasm32-unknown-unknown (once)");
        let mut command = Command::new("rustup");
        command.args(["target", "add", TARGET]);
        // Without a network, or with a toolchain that rustup does not manage, Debian may still help.
        let added = Step::new(command, "adding the target", "").run(workshop);
        if added.is_ok() && has_target() {
            return Ok(RustToolchain::WithTarget);
        }
    }
    if let Some(toolchain) = debian()? {
        return Ok(toolchain);
    }
    install_debian(workshop)?;
    debian()?.ok_or_else(no_rust)
}

/// Whether the compiler that plain `cargo` uses has the target's standard library.
fn has_target() -> bool {
    let asked = ask("rustc", &["--print", "target-libdir", "--target", TARGET]);
    let has_std = |libdir: String| {
        let entries = std::fs::read_dir(libdir).ok()?;
        let mut names = entries.flatten().map(|entry| entry.file_name());
        Some(names.any(|name| name.to_string_lossy().starts_with("libstd-")))
    };
    asked.and_then(has_std).unwrap_or(false) && ask("cargo", &["--version"]).is_some()
}

fn debian() -> Result<Option<RustToolchain>> {
    for file in [DEBIAN_CARGO, DEBIAN_RUSTC, DEBIAN_SOURCE] {
        if !files::is_there(Path::new(file))? {
            return Ok(None);
        }
    }
    Ok(linker()?.map(|linker| RustToolchain::BuildStd { linker }))
}

/// LLVM's linker: the one of a rustup toolchain, else Debian's.
fn linker() -> Result<Option<PathBuf>> {
    let sysroot = ask("rustc", &["--print", "sysroot"]);
    let host = ask("rustc", &["--print", "host-tuple"]);
    let mut places = Vec::new();
    if let (Some(sysroot), Some(host)) = (sysroot, host) {
        places.push(
            Path::new(&sysroot)
                .join("lib/rustlib")
                .join(host)
                .join("bin/rust-lld"),
        );
    }
    places.push(PathBuf::from("/usr/bin/rust-lld"));
    places.push(PathBuf::from("/usr/bin/wasm-ld"));
    for place in places {
        if files::is_there(&place)? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

fn install_debian(workshop: &Workshop<'_>) -> Result<()> {
    let can = workshop.may_install
        && rustix::process::geteuid().is_root()
        && ask("apt-get", &["--version"]).is_some();
    if !can {
        return Err(no_rust());
    }
    workshop.say("installing Debian's Rust compiler for WebAssembly (once)");
    let mut command = Command::new("apt-get");
    command
        .args(["install", "-y", "--no-install-recommends"])
        .args(DEBIAN_PACKAGES)
        .env("DEBIAN_FRONTEND", "noninteractive");
    let way_out = "Run 'apt-get update' first when the packages are not found";
    Step::new(command, "installing Debian's Rust compiler", way_out).run(workshop)?;
    Ok(())
}

fn no_rust() -> Error {
    let packages = DEBIAN_PACKAGES.join(" ");
    Error::ToolMissing {
        tool: format!("a Rust compiler for {TARGET}"),
        step: "building a Rust transformation".to_owned(),
        way_out: format!(
            "Run 'rustup target add {TARGET}' (rustup comes from https://rustup.rs), \
             or on Debian 'sudo apt-get install {packages}'"
        ),
    }
}

/// Builds the project at `dir`; its component goes to `out_dir`.
pub(crate) fn build(workshop: &Workshop<'_>, dir: &Path, out_dir: &Path) -> Result<BuiltComponent> {
    let toolchain = find_or_install_rust(workshop)?;
    let mut command = cargo(&toolchain, dir);
    command.current_dir(dir).args([
        "build",
        "--quiet",
        "--release",
        "--lib",
        "--target",
        TARGET,
        "--message-format=json-render-diagnostics",
    ]);
    if let Some(patch) = sdk_patch(workshop, dir)? {
        command.arg("--config").arg(patch);
    }
    workshop.say("compiling with cargo");
    let way_out = "Correct what the compiler names; 'cargo test' runs the function by itself";
    let messages = Step::new(command, "compiling the transformation", way_out).run(workshop)?;
    let module_path = artifact(&messages).ok_or_else(|| Error::Project {
        path: dir.to_owned(),
        reason: "it builds no WebAssembly module: Cargo.toml needs [lib] crate-type = [\"cdylib\"]"
            .to_owned(),
    })?;
    let module = files::read(&module_path)?;
    let component = component::from_core_module(&module, &module_path)?;
    let name = module_path.file_name().unwrap_or_default();
    component::deliver(workshop, &out_dir.join(name), component)
}

fn cargo(toolchain: &RustToolchain, dir: &Path) -> Command {
    match toolchain {
        RustToolchain::WithTarget => Command::new("cargo"),
        RustToolchain::BuildStd { linker } => {
            let mut command = Command::new(DEBIAN_CARGO);
            command
                // Debian's cargo must find Debian's compiler, not rustup's stand-ins.
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1")
                .env_remove("RUSTUP_TOOLCHAIN")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                // Another compiler than the one that the author's own builds use.
                .args(["-Zbuild-std=std,panic_abort"])
                .current_dir(dir);
            command
        }
    }
}

/// The module that cargo says it made for the last library.
fn artifact(messages: &[u8]) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(messages);
    let mut found = None;
    for line in text.lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        let is_artifact = message
            .get("reason")
            .is_some_and(|reason| reason == "compiler-artifact");
        let Some(names) = message.get("filenames").and_then(|names| names.as_array()) else {
            continue;
        };
        let mut names = names.iter().filter_map(|name| name.as_str());
        if let (true, Some(name)) = (is_artifact, names.find(|name| name.ends_with(".wasm"))) {
            found = Some(PathBuf::from(name));
        }
    }
    found
}

/// The setting that makes cargo use the SDK this program carries, for projects that name no place.
fn sdk_patch(workshop: &Workshop<'_>, dir: &Path) -> Result<Option<String>> {
    let path = dir.join("Cargo.toml");
    let manifest: toml::Table =
        files::read_text(&path)?
            .parse()
            .map_err(|error: toml::de::Error| Error::Project {
                path: path.clone(),
                reason: error.message().to_owned(),
            })?;
    let dependency = manifest
        .get("dependencies")
        .and_then(|dependencies| dependencies.get(embedded::SDK));
    let has_place = |dependency: &toml::Value| {
        ["path", "git", "workspace"]
            .iter()
            .any(|key| dependency.get(key).is_some())
    };
    if dependency.is_none_or(has_place) {
        return Ok(None);
    }
    let sdk = embedded::unpack_sdk(workshop)?;
    let place = toml::Value::String(sdk.display().to_string());
    Ok(Some(format!(
        "patch.crates-io.{}.path={place}",
        embedded::SDK
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_the_one_that_cargo_names() {
        let messages = br#"{"reason":"compiler-artifact","filenames":["/t/libdep.rlib"]}
not json
{"reason":"compiler-artifact","filenames":["/t/librate.rlib","/t/rate.wasm"]}
{"reason":"build-finished","success":true}"#;
        assert_eq!(artifact(messages), Some(PathBuf::from("/t/rate.wasm")));
        assert_eq!(artifact(b"{\"reason\":\"build-finished\"}"), None);
    }
}

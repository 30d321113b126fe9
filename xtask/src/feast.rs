//! Others' own clients from PyPI, each in a Python environment under the target folder.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, run};

/// The release whose behaviour the tests hold the server against.
const FEAST: &str = "feast[grpcio]==0.67.0";
/// The client of The Update Framework that feeds are verified with.
const TUF: &str = "tuf==7.0.1 securesystemslib[crypto]==1.6.0";

/// A server that speaks S3's protocol, with boto3, by which Feast reads and writes registries in
/// buckets, and cryptography, by which it checks tokens.
const PLACES: &str = "moto[s3]==5.2.5 flask==3.1.3 flask-cors==6.0.5 cryptography==50.0.2";

/// The emulator of Azure's buckets, by its makers.
const AZURITE: &str = "azurite@3.37.0";

/// The environment with Feast in it: `GALLEY_FEAST_VENV`, else made once and kept.
pub(crate) fn venv(target: &Path) -> Result<PathBuf> {
    environment(target.join("feast-venv"), "GALLEY_FEAST_VENV", FEAST)
}

/// The environment with the framework's client in it: `GALLEY_TUF_VENV`, else made once and kept.
pub(crate) fn tuf_venv(target: &Path) -> Result<PathBuf> {
    environment(target.join("tuf-venv"), "GALLEY_TUF_VENV", TUF)
}

/// The environment with buckets in it: `GALLEY_PLACES_VENV`, else made once and kept.
pub(crate) fn places_venv(target: &Path) -> Result<PathBuf> {
    environment(target.join("places-venv"), "GALLEY_PLACES_VENV", PLACES)
}

/// The folder with Azurite in it: `GALLEY_AZURITE`, else made once and kept. Nothing where there is no
/// npm: the test that needs it says that it was skipped.
pub(crate) fn azurite(target: &Path) -> Result<Option<PathBuf>> {
    if let Some(path) = env::var_os("GALLEY_AZURITE") {
        return Ok(Some(path.into()));
    }
    let dir = target.join("azurite");
    let stamp = dir.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == AZURITE) {
        return Ok(Some(dir));
    }
    if Command::new("npm").arg("--version").output().is_err() {
        println!("xtask: no npm, so nothing is tested against {AZURITE}");
        return Ok(None);
    }
    println!(
        "xtask: installing {AZURITE} into {} (once, a minute)",
        dir.display()
    );
    let npm = [
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--omit=dev",
        "--omit=optional",
        "--prefix",
    ];
    fs::create_dir_all(&dir).map_err(|error| format!("make {}: {error}", dir.display()))?;
    run(Command::new("npm").args(npm).arg(&dir).arg(AZURITE))?;
    fs::write(&stamp, AZURITE).map_err(|error| format!("write {}: {error}", stamp.display()))?;
    Ok(Some(dir))
}

/// An environment with `packages` in it: the one that a variable names, else `dir`.
fn environment(dir: PathBuf, variable: &str, packages: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        return Ok(path.into());
    }
    let stamp = dir.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == packages) {
        return Ok(dir);
    }
    ensure_python()?;
    println!(
        "xtask: installing {packages} into {} (once, a few minutes)",
        dir.display()
    );
    if let Err(error) = fs::remove_dir_all(&dir)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(format!("remove {}: {error}", dir.display()));
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--prefer-binary",
    ];
    run(Command::new(dir.join("bin/python"))
        .args(pip)
        .args(packages.split(' ')))?;
    fs::write(&stamp, packages).map_err(|error| format!("write {}: {error}", stamp.display()))?;
    Ok(dir)
}

/// Debian ships `venv` in a package of its own: installs it where that is ours to do.
fn ensure_python() -> Result<()> {
    let has_venv = || {
        Command::new("python3")
            .args(["-c", "import ensurepip, venv"])
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if has_venv() {
        return Ok(());
    }
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|o| o.stdout.trim_ascii() == b"0");
    let apt = Command::new("apt-get").arg("--version").output().is_ok();
    if root && apt {
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        let install = [
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            "python3",
            "python3-venv",
        ];
        run(Command::new("apt-get")
            .args(install)
            .env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    if has_venv() {
        return Ok(());
    }
    Err(
        "the tests need python3 with its venv module (Debian: apt-get install python3-venv)"
            .to_owned(),
    )
}

//! Files, with their names in the errors.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

pub(crate) fn failed(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(failed("read", path))
}

pub(crate) fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(failed("read", path))
}

/// Writes a file and the directories above it.
pub(crate) fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    fs::write(path, contents).map_err(failed("write", path))
}

pub(crate) fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(failed("create", path))
}

pub(crate) fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().map_err(failed("look for", path))
}

/// Puts `bytes` in the place of `path` at once, so that a reader never meets half a file.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    write(&part, bytes)?;
    fs::rename(&part, path).map_err(failed("replace", path))
}

/// A directory that goes away with the value.
pub(crate) fn stage(cache: &Path) -> Result<tempfile::TempDir> {
    let parent = cache.join("stage");
    make_dir(&parent)?;
    tempfile::Builder::new()
        .prefix("build-")
        .tempdir_in(&parent)
        .map_err(failed("create a directory in", &parent))
}

/// An absolute path without symbolic links.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(failed("find", path))
}

//! Files of a key folder.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Files of a key folder that are looked at.
const FILES_MAX: usize = 4096;

/// The files of a folder, sorted.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(io("list the folder", dir))? {
        paths.push(entry.map_err(io("list the folder", dir))?.path());
        if paths.len() > FILES_MAX {
            let reason = format!("more than {FILES_MAX} files are no folder of keys");
            return Err(keys_error(dir, reason));
        }
    }
    paths.sort();
    Ok(paths)
}

/// The folder, open to its owner only where it is new.
pub(super) fn make_private(dir: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(io("make the folder", dir))
}

/// Roots are for everybody; a temporary file is its owner's alone.
fn open_to_all(file: &tempfile::NamedTempFile) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

pub(super) fn keys_error(path: &Path, reason: String) -> Error {
    Error::Keys {
        path: path.to_owned(),
        reason,
    }
}

pub(super) fn io(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path: path.clone(),
        source,
    }
}

/// Writes a private key to a new file, open to its owner only.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(io("write", path))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(io("write", path))
}

/// Writes what everybody may read, in one step.
pub(super) fn write_public(dir: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(io("write", path))?;
    file.write_all(bytes).map_err(io("write", path))?;
    file.as_file().sync_all().map_err(io("write", path))?;
    open_to_all(&file).map_err(io("write", path))?;
    file.persist(path)
        .map_err(|error| io("write", path)(error.error))?;
    Ok(())
}

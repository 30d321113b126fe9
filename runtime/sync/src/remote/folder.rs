//! A folder of this machine, or of one that is mounted.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use galley_types::EventTime;

use super::{
    Ask, Body, Fetched, Listed, Remote, RemoteError, RemoteErrorKind, RemoteStore, is_plain,
};

/// Objects of one listing.
const LISTED_MAX: usize = 1_000_000;
/// Folders within folders that are listed.
const DEPTH_MAX: usize = 16;

/// A folder as a place of objects.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

// === impl Folder ===

impl Folder {
    /// The folder `root`; it is made at the first put.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, path: &str) -> Result<PathBuf, RemoteError> {
        if !is_plain(path) {
            let location = self.location();
            let detail = format!("{path:?} is no path below it");
            return Err(RemoteError::new(RemoteErrorKind::Invalid, location, detail));
        }
        Ok(self.root.join(path))
    }

    fn walk(&self, folder: &Path, depth: usize, found: &mut Vec<Listed>) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            let path = entry.path();
            if kind.is_dir() && depth < DEPTH_MAX {
                self.walk(&path, depth + 1, found)?;
            } else if kind.is_file() && found.len() < LISTED_MAX {
                let below = path.strip_prefix(&self.root).unwrap_or(&path);
                if let Some(path) = below.to_str().filter(|path| is_plain(path)) {
                    let metadata = entry.metadata()?;
                    found.push(Listed {
                        path: path.to_owned(),
                        size: metadata.len(),
                        modified: modified_of(&metadata),
                    });
                }
            }
        }
        Ok(())
    }
}

impl Remote for Folder {
    fn read(&self, path: &str, ask: &Ask) -> Result<Fetched, RemoteError> {
        read_file(&self.path(path)?, ask)
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }
}

impl Folder {
    /// Puts a file whole; where it must be `fresh`, whether none was there.
    fn place(&self, path: &Path, bytes: &[u8], fresh: bool) -> Result<bool, RemoteError> {
        let failed = |error: io::Error| failed(path, &error);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(failed)?;
        let mut file = tempfile::Builder::new()
            .prefix(".put-")
            .tempfile_in(folder)
            .map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        // Others read it: a temporary file is its owner's alone.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let open = fs::Permissions::from_mode(0o644);
            file.as_file().set_permissions(open).map_err(failed)?;
        }
        let placed = if fresh {
            file.persist_noclobber(path)
        } else {
            file.persist(path)
        };
        match placed {
            Err(error) if fresh && error.error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(false);
            }
            placed => drop(placed.map_err(|error| failed(error.error))?),
        }
        // The name too must last.
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
        Ok(true)
    }
}

impl RemoteStore for Folder {
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), RemoteError> {
        self.place(&self.path(path)?, bytes, false).map(drop)
    }

    fn swap(&self, path: &str, bytes: &[u8], before: Option<&[u8]>) -> Result<bool, RemoteError> {
        let path = self.path(path)?;
        let there = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            there => Some(there.map_err(|error| failed(&path, &error))?),
        };
        match there.as_deref() {
            there if there == Some(bytes) => Ok(true),
            there if there == before => self.place(&path, bytes, there.is_none()),
            _ => Ok(false),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, RemoteError> {
        let folder = match prefix {
            "" => self.root.clone(),
            prefix => self.path(prefix)?,
        };
        let mut found = Vec::new();
        self.walk(&folder, 0, &mut found)
            .map_err(|error| failed(&folder, &error))?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn delete(&self, path: &str) -> Result<(), RemoteError> {
        let path = self.path(path)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome.map_err(|error| failed(&path, &error)),
        }
    }
}

/// Reads the file at `path`.
pub(super) fn read_file(path: &Path, ask: &Ask) -> Result<Fetched, RemoteError> {
    let failed = |error: io::Error| failed(path, &error);
    // A pipe without a writer, as a folder of somebody else's may hold, is never opened to an end.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(RemoteError::new(
            RemoteErrorKind::Invalid,
            path.display().to_string(),
            "not a file",
        ));
    }
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let tag = tag_of(&metadata);
    if tag.is_some() && tag == ask.unless {
        return Ok(Fetched::Unchanged);
    }
    file.seek(SeekFrom::Start(ask.from)).map_err(failed)?;
    Ok(Fetched::Body(Body {
        tag,
        from: ask.from,
        size: Some(metadata.len()),
        bytes: Box::new(file),
    }))
}

fn modified_of(metadata: &fs::Metadata) -> Option<EventTime> {
    let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok().map(EventTime)
}

/// What changes when a file is replaced: its inode, its size, its time.
fn tag_of(metadata: &fs::Metadata) -> Option<String> {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = 0;
    let modified = metadata.modified().ok()?;
    let since = modified.duration_since(UNIX_EPOCH).ok()?;
    Some(format!(
        "{inode:x}-{:x}-{:x}",
        metadata.len(),
        since.as_nanos()
    ))
}

fn failed(path: &Path, error: &io::Error) -> RemoteError {
    use RemoteErrorKind as K;
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => K::NotFound,
        io::ErrorKind::PermissionDenied => K::Denied,
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => K::Invalid,
        _ => K::Unreachable,
    };
    RemoteError::new(kind, path.display().to_string(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fetched: Fetched) -> (Option<String>, String) {
        let Fetched::Body(mut body) = fetched else {
            panic!("unchanged");
        };
        let mut text = String::new();
        io::Read::read_to_string(&mut body.bytes, &mut text).unwrap();
        (body.tag, text)
    }

    #[test]
    fn an_object_is_put_read_from_an_offset_listed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let place = Folder::new(folder.path().join("not/there/yet"));
        assert_eq!(place.list("").unwrap(), []);
        place.put("a/b.txt", b"one").unwrap();
        let (tag, whole) = text(place.read("a/b.txt", &Ask::default()).unwrap());
        assert_eq!(whole, "one");
        let ask = Ask {
            unless: tag,
            from: 0,
        };
        assert!(matches!(
            place.read("a/b.txt", &ask).unwrap(),
            Fetched::Unchanged
        ));
        place.put("a/b.txt", b"another").unwrap();
        let ask = Ask { from: 3, ..ask };
        assert_eq!(text(place.read("a/b.txt", &ask).unwrap()).1, "ther");
        let listed = place.list("a").unwrap();
        let put = fs::metadata(folder.path().join("not/there/yet/a/b.txt")).unwrap();
        let expect = Listed {
            path: "a/b.txt".to_owned(),
            size: 7,
            modified: modified_of(&put),
        };
        assert!(expect.modified.is_some());
        assert_eq!(listed, [expect]);
        place.delete("a/b.txt").unwrap();
        place.delete("a/b.txt").unwrap();
        crate::remote::tests::swaps_only_what_it_knows(&place);
        let error = place.read("a/b.txt", &Ask::default()).unwrap_err();
        assert_eq!(error.kind, RemoteErrorKind::NotFound);
        assert_eq!(
            place.put("../b.txt", b"x").unwrap_err().kind,
            RemoteErrorKind::Invalid
        );
    }

    #[test]
    fn a_pipe_and_an_endless_device_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe.json");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("zero.json")).unwrap();
        let place = Folder::new(folder.path());
        for path in ["pipe.json", "zero.json"] {
            let error = place.read(path, &Ask::default()).unwrap_err();
            assert_eq!(error.kind, RemoteErrorKind::Invalid, "{error}");
            assert!(error.to_string().ends_with("not a file"), "{error}");
        }
    }
}

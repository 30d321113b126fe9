//! Where tools are kept, and whom to tell.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Result, files};

/// See [`Workshop::sign`].
pub type Sign<'a> = dyn Fn(&[u8]) -> std::result::Result<Vec<u8>, String> + 'a;

/// What every build needs to know about the machine it runs on.
#[derive(Clone)]
pub struct Workshop<'a> {
    /// A directory of the user's for downloaded tools and unpacked SDKs, shared by all projects.
    pub cache_dir: PathBuf,
    /// The longest that one step may take.
    pub step_max: Duration,
    /// Whether missing tools may be installed.
    pub may_install: bool,
    /// Puts into a component what it says of itself, or says why it cannot be asked; `None` leaves
    /// components as the compilers make them.
    pub sign: Option<&'a Sign<'a>>,
    /// Told about steps that take seconds, before they begin.
    pub progress: &'a dyn Fn(&str),
}

impl<'a> Workshop<'a> {
    /// The longest that one step may take, unless it is set otherwise.
    pub const STEP_MAX: Duration = Duration::from_secs(1_200);

    /// A workshop that keeps its tools in `cache_dir` and may install what is missing.
    pub fn new(cache_dir: impl Into<PathBuf>, progress: &'a dyn Fn(&str)) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            step_max: Self::STEP_MAX,
            may_install: true,
            sign: None,
            progress,
        }
    }

    pub(crate) fn say(&self, text: &str) {
        (self.progress)(text);
    }

    /// Holds `directory` against other builds on this machine that would set it up at the same time.
    pub(crate) fn lock(&self, directory: &Path) -> Result<File> {
        files::make_dir(directory)?;
        // Beside it: what sets the directory up may empty it first, and a lock with it.
        let mut name = directory.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let path = directory.with_file_name(name);
        let file = File::create(&path).map_err(files::failed("create", &path))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|errno| files::failed("lock", &path)(errno.into()))?;
        Ok(file)
    }
}

impl fmt::Debug for Workshop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workshop")
            .field("cache_dir", &self.cache_dir)
            .field("step_max", &self.step_max)
            .field("may_install", &self.may_install)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_emptied_stays_locked() {
        let cache = tempfile::tempdir().unwrap();
        let directory = cache.path().join("tool-1.0");
        let workshop = Workshop::new(cache.path(), &|_| {});
        let held = workshop.lock(&directory).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        let path = cache.path().join("tool-1.0.lock");
        let other = File::open(path).unwrap();
        let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        assert!(rustix::fs::flock(&other, operation).is_err());
        drop(held);
        assert!(rustix::fs::flock(&other, operation).is_ok());
    }
}

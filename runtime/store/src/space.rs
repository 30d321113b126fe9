//! The reserve of free disk space below which nothing is written.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Error, Result, StoreConfig};

/// How long a reading of the free space is trusted.
const AGE_MAX: Duration = Duration::from_millis(500);
/// The reserve never takes more of a small file system than one part in this many.
const SHARE_MAX: u64 = 4;
const PAGE: u64 = 4096;

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    free: u64,
    total: u64,
}

/// Watches the file system of the store.
#[derive(Debug)]
pub(crate) struct Space {
    path: PathBuf,
    bytes: u64,
    percent: u8,
    probe: Probe,
    last: Mutex<Option<Reading>>,
}

/// The free and total bytes of the file system that holds a path.
pub(crate) type Probe = fn(&Path) -> Option<(u64, u64)>;

fn file_system(path: &Path) -> Option<(u64, u64)> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let stat = rustix::fs::statvfs(folder.unwrap_or(Path::new("."))).ok()?;
    Some((
        stat.f_bavail.saturating_mul(stat.f_frsize),
        stat.f_blocks.saturating_mul(stat.f_frsize),
    ))
}

impl Space {
    pub(crate) fn new(path: &Path, config: &StoreConfig) -> Self {
        Self::with_probe(path, config, file_system)
    }

    pub(crate) fn with_probe(path: &Path, config: &StoreConfig, probe: Probe) -> Self {
        Self {
            path: path.to_owned(),
            bytes: config.free_space_min_bytes,
            percent: config.free_space_min_percent,
            probe,
            last: Mutex::new(None),
        }
    }

    fn read(&self) -> Option<Reading> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = *last
            && reading.at.elapsed() < AGE_MAX
        {
            return Some(reading);
        }
        // An answer that cannot be had must not stop writes; a full disk then shows as an I/O error.
        let (free, total) = (self.probe)(&self.path)?;
        let reading = Reading {
            at: Instant::now(),
            free,
            total,
        };
        *last = Some(reading);
        Some(reading)
    }

    /// Bytes free for this process.
    pub(crate) fn free(&self) -> Option<u64> {
        Some(self.read()?.free)
    }

    /// Refuses a write of `rows` rows and `bytes` bytes that could eat into the reserve.
    pub(crate) fn check(&self, rows: u64, bytes: u64) -> Result<()> {
        let Some(reading) = self.read() else {
            return Ok(());
        };
        let percent = reading.total / 100 * u64::from(self.percent);
        let reserve = percent.max(self.bytes).min(reading.total / SHARE_MAX);
        // Each row may copy the page it lies in, but never more than the file.
        let file = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
        let pages = rows.saturating_mul(PAGE).min(file);
        let needed = reserve
            .saturating_add(bytes.saturating_mul(2))
            .saturating_add(pages);
        if reading.free < needed {
            let path = self.path.clone();
            return Err(Error::StorageFull {
                path,
                free: reading.free,
                needed,
            });
        }
        Ok(())
    }

    /// Forgets the last reading after a write that may have changed it much.
    pub(crate) fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const GIB: u64 = 1 << 30;
    static FREE: AtomicU64 = AtomicU64::new(0);

    /// Whether a write of `bytes` is taken with so much free of `total`.
    fn check(free: u64, bytes: u64, (min, percent): (u64, u8)) -> bool {
        FREE.store(free, Ordering::SeqCst);
        let config = StoreConfig {
            free_space_min_bytes: min,
            free_space_min_percent: percent,
            ..StoreConfig::default()
        };
        let probe: Probe = |_| Some((FREE.load(Ordering::SeqCst), 100 * GIB));
        let space = Space::with_probe(Path::new("/nowhere/store.redb"), &config, probe);
        let result = space.check(1, bytes);
        if let Err(error) = &result {
            let Error::StorageFull {
                free: seen, needed, ..
            } = error
            else {
                panic!("{error}");
            };
            assert!(*seen == free && *needed > free, "{error}");
        }
        // A reading is trusted for a while, and forgotten when told so.
        FREE.store(if result.is_ok() { 0 } else { 100 * GIB }, Ordering::SeqCst);
        assert_eq!(space.check(1, bytes).is_ok(), result.is_ok());
        space.forget();
        assert_ne!(space.check(1, bytes).is_ok(), result.is_ok());
        result.is_ok()
    }

    #[test]
    fn the_reserve_is_the_larger_of_both_but_a_quarter_at_most() {
        assert!(check(6 * GIB, 0, (GIB, 5)));
        assert!(!check(4 * GIB, 0, (GIB, 5)), "five percent");
        assert!(!check(4 * GIB, 0, (5 * GIB, 1)), "five gigabytes");
        assert!(
            check(26 * GIB, 0, (u64::MAX, 5)),
            "never more than a quarter"
        );
        assert!(!check(24 * GIB, 0, (u64::MAX, 5)));
        assert!(
            !check(6 * GIB, GIB, (GIB, 5)),
            "the write itself counts twice"
        );
    }
}

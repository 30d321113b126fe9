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
    last: Mutex<Option<Reading>>,
}

impl Space {
    pub(crate) fn new(path: &Path, config: &StoreConfig) -> Self {
        Self {
            path: path.to_owned(),
            bytes: config.free_space_min_bytes,
            percent: config.free_space_min_percent,
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
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        // An answer that cannot be had must not stop writes; a full disk then shows as an I/O error.
        let stat = rustix::fs::statvfs(folder.unwrap_or(Path::new("."))).ok()?;
        let reading = Reading {
            at: Instant::now(),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
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

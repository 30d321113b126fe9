//! A storage backend that keeps back what is written until the file has proved to be a sound store.
//!
//! redb marks, repairs and, on closing, completes a file it opens. A file that turns out damaged,
//! foreign or too new must stay as it was, so during an open every change is only noted. When the
//! store is accepted the changes are made in their order, syncs included; when it is refused they
//! are forgotten.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, Database, StorageBackend};

/// Bytes of changes kept back; a repair that needs more is let through.
const NOTED_BYTES_MAX: usize = 64 << 20;

enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

struct Noted {
    changes: Vec<Change>,
    bytes: usize,
    /// Length of the file when it was opened.
    stored: u64,
    /// Its length with the changes.
    length: u64,
}

struct Inner<B> {
    backend: B,
    noted: Mutex<Option<Noted>>,
    /// Set once nothing is kept back any more.
    through: AtomicBool,
}

/// A backend whose changes are kept back until [`Staged::accept`]. Clones are the same backend.
pub(crate) struct Staged<B>(Arc<Inner<B>>);

/// A database whose closing cannot bring the process down: redb closes a damaged file with
/// assertions.
pub(crate) struct Held(Option<Database>);

impl<B> Clone for Staged<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: fmt::Debug> fmt::Debug for Staged<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.backend.fmt(f)
    }
}

// === impl Held ===

impl Held {
    pub(crate) fn new(database: Database) -> Self {
        Self(Some(database))
    }

    pub(crate) fn get(&self) -> Option<&Database> {
        self.0.as_ref()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let database = self.0.take();
        if catch_unwind(AssertUnwindSafe(move || drop(database))).is_err() {
            tracing::error!("closing the store ended in a panic, the next start verifies the file");
        }
    }
}

// === impl Noted ===

impl Noted {
    /// Brings bytes read from the file at `offset` up to date.
    fn overlay(&self, offset: u64, out: &mut [u8]) {
        for change in &self.changes {
            match change {
                Change::Write(start, data) => {
                    let skip = usize::try_from(offset.saturating_sub(*start)).unwrap_or(usize::MAX);
                    let at = usize::try_from(start.saturating_sub(offset)).unwrap_or(usize::MAX);
                    let to = out.get_mut(at..).unwrap_or_default();
                    for (to, from) in to.iter_mut().zip(data.get(skip..).unwrap_or_default()) {
                        *to = *from;
                    }
                }
                Change::Length(length) => {
                    let kept = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
                    out.get_mut(kept..).unwrap_or_default().fill(0);
                }
                Change::Sync => {}
            }
        }
    }
}

// === impl Staged ===

impl<B: StorageBackend> Staged<B> {
    pub(crate) fn new(backend: B) -> io::Result<Self> {
        let stored = backend.len()?;
        let noted = Noted {
            changes: Vec::new(),
            bytes: 0,
            stored,
            length: stored,
        };
        Ok(Self(Arc::new(Inner {
            backend,
            noted: Mutex::new(Some(noted)),
            through: AtomicBool::new(false),
        })))
    }

    /// Makes the changes that were kept back, and keeps back none from now on.
    pub(crate) fn accept(&self) -> io::Result<()> {
        self.make(&mut self.noted())
    }

    fn make(&self, noted: &mut Option<Noted>) -> io::Result<()> {
        for change in noted.take().into_iter().flat_map(|noted| noted.changes) {
            match change {
                Change::Write(offset, data) => self.0.backend.write(offset, &data)?,
                Change::Length(length) => self.0.backend.set_len(length)?,
                Change::Sync => self.0.backend.sync_data()?,
            }
        }
        self.0.through.store(true, Ordering::Release);
        Ok(())
    }

    fn noted(&self) -> MutexGuard<'_, Option<Noted>> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a change; false when changes are to be made at once.
    fn note(&self, change: impl FnOnce() -> Change) -> io::Result<bool> {
        if self.0.through.load(Ordering::Acquire) {
            return Ok(false);
        }
        let mut guard = self.noted();
        let Some(noted) = guard.as_mut() else {
            return Ok(false);
        };
        let change = change();
        match &change {
            Change::Write(offset, data) => {
                noted.bytes += data.len();
                noted.length = noted.length.max(offset.saturating_add(data.len() as u64));
            }
            Change::Length(length) => noted.length = *length,
            Change::Sync => {}
        }
        noted.changes.push(change);
        if noted.bytes > NOTED_BYTES_MAX {
            self.make(&mut guard)?;
        }
        Ok(true)
    }
}

impl<B: StorageBackend> StorageBackend for Staged<B> {
    fn len(&self) -> io::Result<u64> {
        match &*self.noted() {
            Some(noted) => Ok(noted.length),
            None => self.0.backend.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.0.through.load(Ordering::Acquire) {
            return self.0.backend.read(offset, out);
        }
        let guard = self.noted();
        let Some(noted) = guard.as_ref() else {
            return self.0.backend.read(offset, out);
        };
        if offset.saturating_add(out.len() as u64) > noted.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let stored = usize::try_from(noted.stored.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (stored, grown) = out.split_at_mut(stored.min(out.len()));
        if !stored.is_empty() {
            self.0.backend.read(offset, stored)?;
        }
        grown.fill(0);
        noted.overlay(offset, out);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match self.note(|| Change::Length(len))? {
            true => Ok(()),
            false => self.0.backend.set_len(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.note(|| Change::Sync)? {
            true => Ok(()),
            false => self.0.backend.sync_data(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.note(|| Change::Write(offset, data.to_vec()))? {
            true => Ok(()),
            false => self.0.backend.write(offset, data),
        }
    }

    fn close(&self) -> io::Result<()> {
        self.0.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.backend.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::disk::{Disk, Random};

    #[test]
    fn changes_are_seen_at_once_and_made_only_when_accepted() {
        let mut random = Random(5);
        for round in 0..50 {
            let disk = Disk::of((0..200).collect());
            let model = Disk::of((0..200).collect());
            let staged = Staged::new(disk.clone()).unwrap();
            for _ in 0..20 {
                let offset = random.below(300);
                if random.below(4) == 0 {
                    staged.set_len(offset).unwrap();
                    model.set_len(offset).unwrap();
                } else {
                    let data = vec![round; random.below(60) as usize];
                    staged.write(offset, &data).unwrap();
                    model.write(offset, &data).unwrap();
                }
                let expect = model.image();
                assert_eq!(staged.len().unwrap(), expect.len() as u64);
                let start = random.below(expect.len() as u64 + 1) as usize;
                let mut out = vec![9; expect.len() - start];
                staged.read(start as u64, &mut out).unwrap();
                assert_eq!(out, expect[start..]);
                assert!(staged.read(expect.len() as u64, &mut [0]).is_err());
            }
            assert_eq!(disk.image(), (0..200).collect::<Vec<u8>>());
            staged.accept().unwrap();
            assert_eq!(disk.image(), model.image());
            staged.write(0, &[1, 2]).unwrap();
            assert_eq!(disk.image()[..2], [1, 2]);
        }
    }
}

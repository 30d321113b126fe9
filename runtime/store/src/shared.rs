//! What the store and its snapshots share: the path, the health of the handle, and how redb's
//! errors and panics become ours.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::index::KeyHasher;
use crate::{Error, Result};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) hasher: KeyHasher,
    poisoned: AtomicBool,
    opened: AtomicU64,
    pub(crate) commits: AtomicU64,
}

impl Shared {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            hasher: KeyHasher::default(),
            poisoned: AtomicBool::new(false),
            opened: AtomicU64::new(0),
            commits: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn poisoned_error(&self) -> Error {
        Error::Poisoned {
            path: self.path.clone(),
        }
    }

    pub(crate) fn damaged(&self, reason: String) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            reason,
        }
    }

    /// How often the file was opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Acquire)
    }

    /// A new handle is in use: the failures of older ones say nothing any more.
    pub(crate) fn reopened(&self) {
        self.opened.fetch_add(1, Ordering::AcqRel);
        self.poisoned.store(false, Ordering::Release);
    }

    /// Notes that the handle is of no use any more. redb refuses everything after an I/O error,
    /// reads included; after damage or a panic nobody knows what it holds in memory.
    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// For `map_err`: what a redb error during `action` means.
    pub(crate) fn fail<E: Into<redb::Error>>(
        &self,
        action: &'static str,
    ) -> impl FnOnce(E) -> Error {
        move |error| match error.into() {
            redb::Error::Io(source) => Error::Io {
                path: self.path.clone(),
                action,
                source,
            },
            redb::Error::PreviousIo
            | redb::Error::DatabaseClosed
            | redb::Error::LockPoisoned(_) => self.poisoned_error(),
            redb::Error::Corrupted(reason) => self.damaged(reason),
            redb::Error::TableDoesNotExist(name) => {
                self.damaged(format!("the internal table {name} is missing"))
            }
            redb::Error::TableTypeMismatch { table, .. } => {
                self.damaged(format!("the internal table {table} has other types"))
            }
            other => Error::Internal {
                what: format!("{action}: {other}"),
            },
        }
    }

    /// Runs `body`, in which redb reads pages that may be damaged: a panic of its is damage.
    pub(crate) fn guard<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        catch_unwind(AssertUnwindSafe(body))
            .unwrap_or_else(|panic| Err(self.damaged(panic_text(&*panic))))
    }
}

/// The message of a caught panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown");
    format!("reading it ended in a panic: {text}")
}

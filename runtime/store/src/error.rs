//! The one error type of the store.

use std::path::PathBuf;

use galley_types::{Classify, ErrorKind, ValueError};

use crate::TableId;

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process, or another handle of this one, holds the store file.
    #[error("the store '{}' is in use: stop the process that serves it, or talk to that process", path.display())]
    InUse {
        /// The store file.
        path: PathBuf,
    },
    /// The file cannot be used; it has not been changed.
    #[error("the store '{}' is damaged: {reason}; move the file aside and start again from a backup or the sources", path.display())]
    Damaged {
        /// The store file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file was written by a later version; it has not been changed.
    #[error("the store '{}' has format {found}, this version reads up to {supported}: use a newer galley", path.display())]
    FormatTooNew {
        /// The store file.
        path: PathBuf,
        /// The format stamped in the file.
        found: u32,
        /// The newest format this version reads.
        supported: u32,
    },
    /// A stored row fails its checksum or cannot be read; it is never answered.
    #[error("a row of table '{table}' is damaged: write it again, or run a check of the store")]
    DamagedRow {
        /// The table's name.
        table: String,
    },
    /// Bytes that should be a row are none.
    #[error("malformed row: {what}")]
    MalformedRow {
        /// What is wrong with them.
        what: &'static str,
    },
    /// No such table is installed.
    #[error("table {} is not installed in the store", table.0)]
    UnknownTable {
        /// The table asked for.
        table: TableId,
    },
    /// No release is left to take back.
    #[error("there is nothing to roll back to: no release was installed since the last rollback")]
    NothingToTakeBack,
    /// The schema of a row writer has no such slot, or the slot holds another kind of value.
    #[error("slot {slot} does not exist or does not hold values of this width")]
    BadSlot {
        /// The position in the row's schema.
        slot: usize,
    },
    /// A value does not fit its slot.
    #[error("value of slot {slot}")]
    Value {
        /// The position in the row's schema.
        slot: usize,
        /// Why it does not fit.
        source: ValueError,
    },
    /// The disk is nearly full: nothing was written.
    #[error("the disk of '{}' is nearly full: {free} bytes free, {needed} needed; free some space, writes resume by themselves", path.display())]
    StorageFull {
        /// The store file.
        path: PathBuf,
        /// Bytes free for this process.
        free: u64,
        /// Bytes that must be free for this write, the reserve included.
        needed: u64,
    },
    /// An earlier I/O error made the file unusable until it is reopened.
    #[error("the store '{}' is waiting to be reopened after an I/O error", path.display())]
    Poisoned {
        /// The store file.
        path: PathBuf,
    },
    /// Reading or writing the file failed.
    #[error("{action} of the store '{}' failed", path.display())]
    Io {
        /// The store file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// A bound was passed.
    #[error("{what} of {size} is over the limit of {limit}")]
    TooLarge {
        /// The thing that is too large, with its unit.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// A bug of ours.
    #[error("internal error of the store: {what}")]
    Internal {
        /// What should not have happened.
        what: String,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } | Self::NothingToTakeBack => ErrorKind::Conflict,
            Self::Damaged { .. } | Self::DamagedRow { .. } | Self::MalformedRow { .. } => {
                ErrorKind::Corrupt
            }
            Self::FormatTooNew { .. } => ErrorKind::Unsupported,
            Self::UnknownTable { .. } => ErrorKind::NotFound,
            Self::BadSlot { .. } | Self::Internal { .. } => ErrorKind::Internal,
            Self::Value { .. } => ErrorKind::Invalid,
            Self::StorageFull { .. } => ErrorKind::StorageFull,
            Self::Poisoned { .. } | Self::Io { .. } => ErrorKind::Unavailable,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
        }
    }
}

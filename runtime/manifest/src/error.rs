//! Why a manifest was not read or written.

use std::path::PathBuf;

use galley_types::{Classify, ErrorKind};

/// The result of this room.
pub type Result<T> = std::result::Result<T, Error>;

/// What is wrong, where in which file, and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is larger than any manifest.
    #[error("{}: {bytes} bytes, more than the {bytes_max} a manifest may have", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, in bytes.
        bytes: u64,
        /// The bound, in bytes.
        bytes_max: u64,
    },
    /// The text is no TOML.
    #[error("{}:{line}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// A key nobody knows.
    #[error(
        "{}:{line}: {table} has no key '{key}'{}",
        path.display(),
        nearest.as_ref().map(|near| format!("; did you mean '{near}'?")).unwrap_or_default()
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The table the key stands in.
        table: String,
        /// The key.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A key that has to be there is not.
    #[error("{}:{line}: {table} lacks '{key}', for example {example}", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The line of the table, from 1.
        line: usize,
        /// The table.
        table: String,
        /// The key.
        key: &'static str,
        /// How it could be written.
        example: &'static str,
    },
    /// A value of another kind than its key takes.
    #[error("{}:{line}: {key} in {table}: expected {expected}, got {got}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The table the key stands in.
        table: Box<str>,
        /// The key.
        key: Box<str>,
        /// What it takes.
        expected: Box<str>,
        /// What it was given.
        got: Box<str>,
    },
    /// Entries that are fine each by itself do not go together.
    #[error("{}:{line}: {table}: {reason}", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The table.
        table: String,
        /// What does not go together, and the way out.
        reason: String,
    },
    /// A `{{ variable }}` has no value.
    #[error("{}: {place}: {reason}", path.display())]
    Variable {
        /// The file.
        path: PathBuf,
        /// Where it is used.
        place: String,
        /// What is missing, and the way out. Never holds a value.
        reason: String,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Syntax { .. }
            | Self::UnknownKey { .. }
            | Self::MissingKey { .. }
            | Self::Value { .. }
            | Self::Contradiction { .. }
            | Self::Variable { .. } => ErrorKind::Invalid,
        }
    }
}

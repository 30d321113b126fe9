//! The one error type of the room.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use galley_types::{Classify, ErrorKind};

use crate::limits::{Limit, LimitValue};

/// Result of an operation of this room.
pub type Result<T> = std::result::Result<T, Error>;

/// What a transformation was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Being read and compiled.
    Load,
    /// Being instantiated.
    Instantiate,
    /// Saying what it is.
    Describe,
    /// Transforming a batch, argument passing and clean-up included.
    Apply,
}

/// Why a transformation could not be loaded or called. Text that came from a guest is cut and has
/// no control characters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine cannot run on this machine or with this configuration.
    #[error("the WebAssembly engine cannot be set up: {reason}")]
    Engine {
        /// Why.
        reason: String,
    },
    /// The bytes are not a component.
    #[error("this is not a WebAssembly component: {reason}")]
    NotAComponent {
        /// What they are.
        reason: String,
    },
    /// The component wants something a transformation does not get.
    #[error(
        "the component imports '{name}', which a transformation does not get: it may import only \
         galley:transform/request and galley:transform/log at 0.1; build Rust for \
         wasm32-unknown-unknown, Python with --stub-wasi, JavaScript with all features disabled"
    )]
    ForbiddenImport {
        /// The import.
        name: String,
    },
    /// The component lacks an export, or has it with another type.
    #[error(
        "the component does not implement the world galley:transform/transform@0.1.0: {reason}"
    )]
    WrongWorld {
        /// What is missing or other.
        reason: String,
    },
    /// The component is valid in form but cannot be compiled.
    #[error("the component cannot be compiled: {reason}")]
    Compile {
        /// Why.
        reason: String,
    },
    /// The compile worker could not be run.
    #[error("the compile worker '{}' could not be run", program.display())]
    Worker {
        /// The program.
        program: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The folder of compiled code cannot be used.
    #[error("{action} in the folder of compiled transforms '{}'", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// The folder of compiled code is open to others.
    #[error("the folder of compiled transforms '{}' is not safe to run code from: {reason}", path.display())]
    CacheUnsafe {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// What the component says of itself makes no sense.
    #[error("the signature of the component makes no sense: {what}")]
    Signature {
        /// What is wrong with it.
        what: String,
    },
    /// A limit was reached.
    #[error(
        "transform '{transform}' was stopped {}: the limit on {limit} ({} = {value}) was reached; \
         where it needs more, set `{} = {}` under {} in spin.toml",
        during.place(), limit.setting(), limit.setting(), value.doubled().toml(), limit.table()
    )]
    Limit {
        /// The transformation.
        transform: Arc<str>,
        /// What it was doing.
        during: Phase,
        /// The limit.
        limit: Limit,
        /// Its value.
        value: LimitValue,
    },
    /// The guest's code failed.
    #[error("transform '{transform}' failed {}: {what}", during.place())]
    Trap {
        /// The transformation.
        transform: Arc<str>,
        /// What it was doing.
        during: Phase,
        /// How it failed.
        what: String,
    },
    /// The guest's answer is not what its signature says.
    #[error("transform '{transform}' gave an answer that cannot be used: {what}")]
    BadResult {
        /// The transformation.
        transform: Arc<str>,
        /// What is wrong with it.
        what: String,
    },
    /// The author's code refuses the data.
    #[error("transform '{transform}' refuses the data{}: {message}", at_row(*row))]
    Rejected {
        /// The transformation.
        transform: Arc<str>,
        /// The first row refused, counted within the batch of the call.
        row: Option<u32>,
        /// What is wrong with it.
        message: String,
    },
    /// The author's code says it failed.
    #[error("transform '{transform}' says it failed: {message}")]
    Failed {
        /// The transformation.
        transform: Arc<str>,
        /// How.
        message: String,
    },
    /// The batch is not as the signature says.
    #[error("the batch for transform '{transform}' does not fit its signature: {what}")]
    BadInput {
        /// The transformation.
        transform: Arc<str>,
        /// What is wrong with it.
        what: String,
    },
    /// All places are taken.
    #[error(
        "transform '{transform}' is busy: the limit on {limit} ({} = {value}) was reached; try \
         again, or set `{} = {}` under {} in spin.toml",
        limit.setting(), limit.setting(), value.doubled().toml(), limit.table()
    )]
    Busy {
        /// The transformation.
        transform: Arc<str>,
        /// The limit.
        limit: Limit,
        /// Its value.
        value: LimitValue,
    },
    /// It failed too often and is left alone for a while.
    #[error(
        "transform '{transform}' is not called because it failed too often; the next try is in {} ms",
        retry_after.as_millis()
    )]
    BreakerOpen {
        /// The transformation.
        transform: Arc<str>,
        /// When the next call will be tried.
        retry_after: Duration,
    },
    /// A value does not fit a column.
    #[error("a value of row {row} does not fit a column of {expected}")]
    Value {
        /// The row.
        row: u32,
        /// The type of the column.
        expected: crate::DataType,
    },
}

fn at_row(row: Option<u32>) -> String {
    row.map_or_else(String::new, |row| format!(" of row {row}"))
}

impl Phase {
    fn place(self) -> &'static str {
        match self {
            Self::Load => "while it was loaded",
            Self::Instantiate => "while it was instantiated",
            Self::Describe => "in describe",
            Self::Apply => "in apply",
        }
    }
}

impl Error {
    /// Whether the guest's code is to blame: what the breaker counts.
    #[must_use]
    pub fn is_guest_fault(&self) -> bool {
        match self {
            Self::Limit { limit, .. } => {
                !matches!(limit, Limit::Rows | Limit::Concurrency | Limit::Instances)
            }
            Self::Trap { .. } | Self::BadResult { .. } | Self::Failed { .. } => true,
            _ => false,
        }
    }

    /// Whether there is no answer for other reasons than the data: the guest failed, or it was not
    /// called for its failures or for want of a place.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        let not_called = matches!(self, Self::Busy { .. } | Self::BreakerOpen { .. });
        not_called || self.is_guest_fault()
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAComponent { .. }
            | Self::ForbiddenImport { .. }
            | Self::WrongWorld { .. }
            | Self::Compile { .. }
            | Self::Signature { .. } => ErrorKind::Unsupported,
            Self::Rejected { .. } | Self::Value { .. } => ErrorKind::Invalid,
            Self::Limit {
                limit: Limit::Rows, ..
            } => ErrorKind::TooLarge,
            Self::Limit { .. }
            | Self::Trap { .. }
            | Self::BadResult { .. }
            | Self::Failed { .. }
            | Self::BreakerOpen { .. }
            | Self::Worker { .. } => ErrorKind::Unavailable,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Cache { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                ErrorKind::StorageFull
            }
            Self::Cache { .. } | Self::CacheUnsafe { .. } => ErrorKind::Unavailable,
            Self::Engine { .. } | Self::BadInput { .. } => ErrorKind::Internal,
        }
    }
}

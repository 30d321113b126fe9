//! What can go wrong in a node.

use galley_types::{Classify, ErrorKind};

use crate::JobId;

/// A specialised result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry refused: a name is unknown, or a plan cannot be made.
    #[error(transparent)]
    Registry(#[from] galley_registry::Error),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] galley_store::Error),
    /// A transformation failed, refused the data or was not called.
    #[error(transparent)]
    Transform(#[from] galley_transform::Error),
    /// A look-up needs a transformation that may hold it up, where it must not wait.
    #[error("the look-up needs a transformation that is slow or busy")]
    WouldWait,
    /// An on-demand feature view was asked for and nothing computes it.
    #[error(
        "On demand feature view {view} has no transform on this node: its Python function is not \
         run here. Bind a WebAssembly component to it in spin.toml ([[trigger.galley]] with \
         on-demand-feature-view = \"{view}\"); 'galley transform wrap' makes one from the function"
    )]
    TransformMissing {
        /// The view.
        view: String,
    },
    /// The component bound to an on-demand feature view is not used.
    #[error(
        "On demand feature view {view} is out of service: its component '{component}' is \
         quarantined: {reasons}. Build a component that fits and it is taken up"
    )]
    TransformQuarantined {
        /// The view.
        view: String,
        /// The component's name in spin.toml.
        component: String,
        /// Why.
        reasons: String,
    },
    /// A look-up lacks request data.
    #[error(
        "Required request data source features {missing:?} not found in the entity rows, but \
         required by feature views {views:?}"
    )]
    MissingRequestData {
        /// The columns.
        missing: Vec<String>,
        /// The on-demand feature views asked for.
        views: Vec<String>,
    },
    /// A transformation's output is not of its feature's type.
    #[error(
        "transform '{view}' gave row {row} of '{feature}' a value that cannot be used: {reason}"
    )]
    Output {
        /// The view.
        view: String,
        /// The feature.
        feature: String,
        /// The row.
        row: usize,
        /// What is wrong.
        reason: String,
    },
    /// No registry is installed yet.
    #[error("no registry is installed yet: the node is starting")]
    NotReady,
    /// The text of a selection is no list of strings.
    #[error("'features' is no list of feature references")]
    SelectionText,
    /// The columns a look-up needs were not sent.
    #[error(
        "missing entity columns {missing:?}, needed by {view}; sent: {sent:?}. Send one list of \
         values for each"
    )]
    MissingKeys {
        /// Join keys or their aliases.
        missing: Vec<String>,
        /// The view that needs them.
        view: String,
        /// The columns that came.
        sent: Vec<String>,
    },
    /// A look-up without entity rows.
    #[error(
        "no entity rows: 'entities' holds no values; send at least one value in each of {needed:?}"
    )]
    NoRows {
        /// Columns the look-up needs.
        needed: Vec<String>,
    },
    /// Columns of a request differ in length.
    #[error(
        "All entity rows must have the same columns: '{column}' has {got} values, '{other}' has \
         {expected}"
    )]
    Ragged {
        /// The column that differs.
        column: String,
        /// Its length.
        got: usize,
        /// The column it was compared with.
        other: String,
        /// Its length.
        expected: usize,
    },
    /// A value is not of its column's type.
    #[error("row {row}, column '{column}': expected {expected}, got {got}")]
    WrongType {
        /// Row of the request, from 0.
        row: usize,
        /// The column.
        column: String,
        /// What is needed.
        expected: String,
        /// What came.
        got: String,
    },
    /// A push lacks a column.
    #[error("column '{column}' is missing, needed by feature view '{view}'; sent: {sent:?}")]
    MissingColumn {
        /// The column.
        column: String,
        /// The view.
        view: String,
        /// The columns that came.
        sent: Vec<String>,
    },
    /// More is asked than a bound allows.
    #[error("{what}: {got} is over the limit of {limit} ({setting}); send it in smaller requests")]
    OverLimit {
        /// What is counted.
        what: &'static str,
        /// How many came.
        got: usize,
        /// How many may.
        limit: usize,
        /// The setting that bounds it.
        setting: &'static str,
    },
    /// An entity key is too long.
    #[error("row {row}: the entity key of view '{view}' is longer than {limit} bytes")]
    KeyTooLong {
        /// Row of the request, from 0.
        row: usize,
        /// The view.
        view: String,
        /// The bound.
        limit: usize,
    },
    /// A stored value could not be stored as it came.
    #[error("row {row}, feature '{feature}': {source}")]
    Value {
        /// Row of the request, from 0.
        row: usize,
        /// The feature.
        feature: String,
        /// Why.
        source: galley_types::ValueError,
    },
    /// The view cannot be served or written.
    #[error("feature view '{view}' cannot be served: {reason}")]
    NotServable {
        /// The view.
        view: String,
        /// Why, and what to change.
        reason: String,
    },
    /// Something this node is not set up for.
    #[error("{what}: {way_out}")]
    Unsupported {
        /// What was asked.
        what: String,
        /// What to do about it.
        way_out: &'static str,
    },
    /// A queue is full.
    #[error("{what} is full ({limit} waiting, {setting}); try again later")]
    Busy {
        /// The queue.
        what: &'static str,
        /// Its bound.
        limit: u64,
        /// The setting that bounds it.
        setting: &'static str,
    },
    /// As many bytes wait for the centre as may.
    #[error(
        "the outbox is full: {bytes} bytes wait for the centre, {parked} of them parked because it \
         refused them, {more} more would pass the limit of {limit} (outbox.bytes_max); pushes to the \
         offline store are taken again when the centre has taken what waits or parked entries were \
         dropped, pushes with \"to\": \"online\" go on; galley outbox says why they wait"
    )]
    OutboxFull {
        /// Bytes that wait.
        bytes: u64,
        /// Bytes of them that are parked.
        parked: u64,
        /// Bytes of this push.
        more: u64,
        /// The bound.
        limit: u64,
    },
    /// What waits for the centre has waited too long.
    #[error(
        "the outbox is stuck: its oldest entry{} has waited for {seconds} s, more than {limit_seconds} \
         s (outbox.age_max); pushes to the offline store are taken again when the centre has taken it \
         or it was dropped, pushes with \"to\": \"online\" go on; galley outbox says why it waits",
        if *parked { ", which is parked because the centre refused it," } else { "" }
    )]
    OutboxOld {
        /// How long.
        seconds: u64,
        /// How long it may.
        limit_seconds: u64,
        /// Whether it is a parked one.
        parked: bool,
    },
    /// Nothing of the name given is parked.
    #[error(
        "nothing of '{target}' is parked in the outbox; parked are: {}",
        if parked.is_empty() { "none".to_owned() } else { parked.join(", ") }
    )]
    NotParked {
        /// The name.
        target: String,
        /// Views and services of which something is parked, some of them.
        parked: Vec<String>,
    },
    /// Views are being materialised already.
    #[error(
        "job {} is already materialising {views:?}: wait for it, cancel it, or force a second one",
        job.0
    )]
    AlreadyRunning {
        /// The views.
        views: Vec<String>,
        /// The first of the jobs that work on them.
        job: JobId,
    },
    /// A schedule means no view that can be materialised.
    #[error("nothing to materialise: {reason}")]
    NothingToDo {
        /// Why.
        reason: String,
    },
    /// A key that makes requests safe to repeat came with another request.
    #[error(
        "Idempotency-Key '{key}' was sent before with another request, which job {} answers: \
         send a new key with a new request",
        job.0
    )]
    KeyReused {
        /// The key.
        key: String,
        /// The job of the request it came with first.
        job: JobId,
    },
    /// The name of a file to import is not a plain one.
    #[error(
        "'{file}' is no plain file name: an import names a file in the data folder's imports \
         folder, in letters, digits, '-', '_' and '.'"
    )]
    ImportName {
        /// The name, cut.
        file: String,
    },
    /// A materialisation's window cannot be used.
    #[error("{0}")]
    Window(String),
    /// A job failed; the text is the materialiser's.
    #[error("{message}")]
    Job {
        /// Its kind.
        kind: ErrorKind,
        /// What went wrong, where.
        message: String,
    },
    /// The writer was lost or the node is shutting down.
    #[error("the node is shutting down: the write was not accepted")]
    Closed,
    /// The commit that held this write failed.
    #[error("the write was not committed: {message}")]
    Commit {
        /// The kind of the store's error.
        kind: ErrorKind,
        /// The store's error with its causes.
        message: String,
    },
    /// A thread could not be started.
    #[error("start {what}")]
    Spawn {
        /// The thread.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Transform(error) => error.kind(),
            Self::TransformMissing { .. } | Self::TransformQuarantined { .. } => {
                ErrorKind::Unsupported
            }
            Self::MissingRequestData { .. } | Self::NothingToDo { .. } | Self::NotParked { .. } => {
                ErrorKind::NotFound
            }
            Self::NotReady | Self::WouldWait | Self::Output { .. } => ErrorKind::Unavailable,
            Self::SelectionText
            | Self::MissingKeys { .. }
            | Self::NoRows { .. }
            | Self::Ragged { .. }
            | Self::WrongType { .. }
            | Self::MissingColumn { .. }
            | Self::KeyTooLong { .. }
            | Self::Value { .. }
            | Self::Window(_)
            | Self::ImportName { .. }
            | Self::NotServable { .. } => ErrorKind::Invalid,
            Self::OverLimit { .. } => ErrorKind::TooLarge,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::OutboxFull { .. } | Self::OutboxOld { .. } => ErrorKind::StorageFull,
            Self::AlreadyRunning { .. } | Self::KeyReused { .. } => ErrorKind::Conflict,
            Self::Job { kind, .. } | Self::Commit { kind, .. } => *kind,
            Self::Closed => ErrorKind::Closed,
            Self::Spawn { .. } => ErrorKind::Internal,
        }
    }

    fn feast_class(&self) -> Option<&'static str> {
        match self {
            Self::Registry(error) => error.feast_class(),
            Self::MissingKeys { .. } | Self::MissingColumn { .. } => {
                Some("FeastEntityDFMissingColumnsError")
            }
            Self::MissingRequestData { .. } => Some("RequestDataNotFoundInEntityRowsException"),
            _ => None,
        }
    }
}

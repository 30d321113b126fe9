//! What can go wrong on the way from the outside to a node.

use std::path::PathBuf;

use galley_types::{Classify, ErrorKind};

use crate::remote::{RemoteError, RemoteErrorKind};

/// The result of this room.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something from outside could not be taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no `feature_store.yaml` in the folder.
    #[error(
        "no feature_store.yaml in {}: name the folder of a Feast repo with --repo", .dir.display()
    )]
    RepoMissing {
        /// The folder.
        dir: PathBuf,
    },
    /// `feature_store.yaml` cannot be understood.
    #[error("{}:{line}: {key}: {reason}", .file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// Line, from 1; 0 when not known.
        line: u64,
        /// The key at fault.
        key: &'static str,
        /// What is wrong and how to put it right.
        reason: String,
    },
    /// A setting in use needs an environment variable that is not set.
    #[error(
        "{}:{line}: {key}: the environment variable {variable} is not set: set it, or write the value itself", .file.display()
    )]
    VariableUnset {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// The key whose value names the variable.
        key: &'static str,
        /// The variable.
        variable: String,
    },
    /// The registry lives where this node cannot read it.
    #[error(
        "{}:{line}: registry: {found} cannot be followed by this node: run 'feast serve_registry' where it is and give 'registry_type: remote' with 'path: host:6570', or give a registry file on disk, a bucket or a web server", .file.display()
    )]
    RegistryUnsupported {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What stands there.
        found: String,
    },
    /// The registry file is not there.
    #[error("no registry at {}: run 'feast apply' in the repo first", .path.display())]
    RegistryMissing {
        /// The path.
        path: PathBuf,
    },
    /// The registry is elsewhere and could not be read.
    #[error("read the registry{}", way_out(source))]
    RegistryAway {
        /// Where, and why not.
        #[source]
        source: RemoteError,
    },
    /// The registry was read and refused.
    #[error("the registry {location} is refused")]
    Registry {
        /// Where it is.
        location: String,
        /// Why.
        #[source]
        source: galley_registry::Error,
    },
    /// A file passes the size that is read.
    #[error("{} has {bytes} bytes, more than the {max} that are read", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// The file system refused.
    #[error("{action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A view's batch source is of a kind that is not read here.
    #[error(
        "feature view {view}: {found} cannot be materialised by this node: it reads Parquet files of disks, buckets and web servers, and asks Feast's offline server ('feast serve_offline') where the repo has 'offline_store: {{type: remote, host: ...}}'"
    )]
    SourceUnsupported {
        /// The view.
        view: String,
        /// What its batch source is.
        found: String,
    },
    /// A Parquet file is damaged or not Parquet.
    #[error("{}: not a readable Parquet file{}: {reason}", .path.display(), place(.row_group))]
    ParquetDamaged {
        /// The file.
        path: PathBuf,
        /// The row group, from 0, when reading had come that far.
        row_group: Option<usize>,
        /// What the decoder says.
        reason: String,
    },
    /// A Parquet file does not have a column the view needs.
    #[error(transparent)]
    ColumnMissing(Box<MissingColumn>),
    /// A source has a column more than once, and a view needs it.
    #[error(
        "{}: column {column}, which feature view {view} needs, stands there twice: give one of them another name, and map it with field_mapping", .path.display()
    )]
    ColumnTwice {
        /// The file.
        path: PathBuf,
        /// The view.
        view: String,
        /// The column.
        column: String,
    },
    /// What a source holds once comes to far more than it weighs.
    #[error(
        "{}: its texts come to more than {max} bytes, far more than the {bytes} it has, as one long text stands for too many rows: store a short code in its place, or leave its column out of the view", .path.display()
    )]
    SourceSwells {
        /// The file, or where else the rows came from.
        path: PathBuf,
        /// Its bytes so far.
        bytes: u64,
        /// What its texts may come to.
        max: u64,
    },
    /// A value of a Parquet file does not fit.
    #[error(transparent)]
    ValueRefused(Box<RefusedValue>),
    /// A batch source is elsewhere and could not be read.
    #[error("feature view {view}: read its batch source")]
    SourceAway {
        /// The view.
        view: String,
        /// Where, and why not.
        #[source]
        source: RemoteError,
    },
    /// The repo's offline store makes no sense, or is one that only Feast speaks with.
    #[error("{reason}")]
    OfflineStore {
        /// Which, and the way out.
        reason: String,
    },
    /// A schedule cannot be kept.
    #[error("schedule '{name}': {reason}")]
    Schedule {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The job was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// SQLite refused.
    #[error("{action} {}", .path.display())]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
    /// A cell of a Feast SQLite store cannot be taken over.
    #[error("{}: table {table}{}: {reason}", .path.display(), feature_of(.feature))]
    Import {
        /// The database.
        path: PathBuf,
        /// The table.
        table: String,
        /// The feature, when it is one cell that is at fault.
        feature: Option<String>,
        /// What was expected and what is there.
        reason: String,
    },
    /// The node refused.
    #[error("hand over to the node")]
    Node(#[from] galley_node::Error),
    /// The store refused a row.
    #[error("feature view {view}: build a row")]
    Row {
        /// The view.
        view: String,
        /// Why not.
        #[source]
        source: galley_node::store::Error,
    },
    /// A feed was refused.
    #[error("the feed is refused")]
    Feed(#[from] crate::feed::FeedError),
    /// A folder of keys cannot do what was asked of it.
    #[error("{}: {reason}", .path.display())]
    Keys {
        /// The folder, or a file in it.
        path: PathBuf,
        /// Why not, and what to do about it.
        reason: String,
    },
    /// A release cannot be published.
    #[error("publish {what}: {reason}")]
    Publish {
        /// What of it.
        what: String,
        /// Why not, and what to do about it.
        reason: String,
    },
    /// A thread could not be started.
    #[error("start the thread {name}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: is its random device there?")]
    Random,
}

/// A column that a view needs and a Parquet file does not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: no column {column}, which feature view {view} needs as its {role}; the columns are {}",
    .path.display(), .have.join(", ")
)]
pub struct MissingColumn {
    /// The file.
    pub path: PathBuf,
    /// The view.
    pub view: String,
    /// The column looked for.
    pub column: String,
    /// What it is for: `join key`, `feature of type INT64`, ...
    pub role: String,
    /// The columns of the file, at most the first 50.
    pub have: Vec<String>,
}

/// A value of a Parquet file that does not fit the view.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}:{} row {row}, column {column}: feature view {view} expects {expected}, got {got}",
    .path.display(), group(.row_group)
)]
pub struct RefusedValue {
    /// The file, or where else the value came from.
    pub path: PathBuf,
    /// The view.
    pub view: String,
    /// The row group, from 0, where there is one.
    pub row_group: Option<usize>,
    /// The row, from 0 in the file.
    pub row: u64,
    /// The column.
    pub column: String,
    /// What fits.
    pub expected: String,
    /// What is there.
    pub got: String,
}

/// What to do where a registry cannot be read.
fn way_out(error: &RemoteError) -> &'static str {
    match error.kind {
        RemoteErrorKind::NotFound => " (run 'feast apply' first, or look at its path)",
        RemoteErrorKind::Denied if error.location.starts_with("grpc") => "",
        RemoteErrorKind::Denied => " (set feast.token, or the credentials of the bucket)",
        RemoteErrorKind::Unreachable => " (is the server up, and the network?)",
        _ => "",
    }
}

/// The reaction that a failure of another place asks for.
pub(crate) fn remote_kind(error: &RemoteError) -> ErrorKind {
    match error.kind {
        RemoteErrorKind::NotFound => ErrorKind::NotFound,
        RemoteErrorKind::Denied | RemoteErrorKind::Unreachable => ErrorKind::Unavailable,
        RemoteErrorKind::Invalid => ErrorKind::Corrupt,
        RemoteErrorKind::Unsupported => ErrorKind::Unsupported,
    }
}

fn place(row_group: &Option<usize>) -> String {
    row_group.map_or_else(String::new, |group| format!(" (row group {group})"))
}

fn group(row_group: &Option<usize>) -> String {
    row_group.map_or_else(String::new, |group| format!(" row group {group},"))
}

fn feature_of(feature: &Option<String>) -> String {
    feature
        .as_ref()
        .map_or_else(String::new, |feature| format!(", feature {feature}"))
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::RepoMissing { .. } | Self::RegistryMissing { .. } => ErrorKind::NotFound,
            Self::Config { .. }
            | Self::VariableUnset { .. }
            | Self::OfflineStore { .. }
            | Self::Keys { .. }
            | Self::Publish { .. }
            | Self::ColumnMissing(_)
            | Self::ColumnTwice { .. }
            | Self::ValueRefused(_) => ErrorKind::Invalid,
            Self::RegistryUnsupported { .. } | Self::SourceUnsupported { .. } => {
                ErrorKind::Unsupported
            }
            Self::Registry { source, .. } => source.kind(),
            Self::RegistryAway { source } | Self::SourceAway { source, .. } => remote_kind(source),
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Self::Io { .. } | Self::Thread { .. } | Self::Random => ErrorKind::Unavailable,
            Self::ParquetDamaged { .. }
            | Self::SourceSwells { .. }
            | Self::Sqlite { .. }
            | Self::Import { .. } => ErrorKind::Corrupt,
            Self::Schedule { .. } => ErrorKind::Invalid,
            Self::Cancelled => ErrorKind::Closed,
            Self::Node(source) => source.kind(),
            Self::Feed(source) => source.kind(),
            Self::Row { source, .. } => source.kind(),
        }
    }
}

/// `error` and everything beneath it, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Errors of others may end with what their cause says.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

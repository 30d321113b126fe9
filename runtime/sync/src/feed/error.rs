//! Why a feed is refused: one reason for each way in which it can be wrong.

use galley_types::{Classify, ErrorKind, EventTime};

use crate::remote::{RemoteError, RemoteErrorKind};

/// Why a feed, or something of it, is refused. Whatever the reason, nothing was changed: what was
/// installed before goes on being served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The place did not give a file.
    #[error("read the feed")]
    Remote(#[from] RemoteError),
    /// A file that the feed's own metadata names is not there.
    #[error(
        "{path} is named by the feed and not there: publish again, or look for what removed it"
    )]
    MissingFile {
        /// The file.
        path: String,
    },
    /// A file goes on beyond what may be read of it.
    #[error("{path} has more than the {max} bytes that are read of it")]
    TooLarge {
        /// The file.
        path: String,
        /// The bound.
        max: u64,
    },
    /// A file is shorter or longer than the signed metadata says.
    #[error("{path} has {got} bytes, its signed length is {expected}")]
    WrongLength {
        /// The file.
        path: String,
        /// Bytes it should have.
        expected: u64,
        /// Bytes that were read.
        got: u64,
    },
    /// A file is another than the one the signed metadata names.
    #[error("{path} does not have the SHA-256 that was signed for it")]
    WrongHash {
        /// The file.
        path: String,
    },
    /// A file is not the JSON that metadata is made of.
    #[error("{path} is not JSON of signed metadata: {reason}")]
    BadJson {
        /// The file.
        path: String,
        /// What the parser says.
        reason: String,
    },
    /// Metadata of one role stands where another is expected.
    #[error("{path} says it is '{got}', expected '{expected}'")]
    WrongType {
        /// The file.
        path: String,
        /// The role.
        expected: &'static str,
        /// What it says it is.
        got: String,
    },
    /// Metadata of another major version of The Update Framework, or of this feed's own format.
    #[error(
        "{path} is of version '{got}' of {format}, this node reads {expected}: upgrade the node"
    )]
    SpecVersion {
        /// The file.
        path: String,
        /// Of which specification.
        format: &'static str,
        /// The version that is read.
        expected: &'static str,
        /// The version that is there.
        got: String,
    },
    /// Signed metadata with a field that makes no sense.
    #[error("{path}: {field}: {reason}")]
    BadField {
        /// The file.
        path: String,
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// None of the signatures is by a key of the role.
    #[error(
        "{path} is signed by no key that this node trusts for {role}; if the feed was made anew or moved, \
         bring its 1.root.json here and run `galley sync --once --forget`"
    )]
    UnknownKey {
        /// The file.
        path: String,
        /// The role.
        role: &'static str,
    },
    /// Too few of the signatures by the role's keys are right.
    #[error("{path} has {valid} right signatures by keys of {role}, {threshold} are needed")]
    BadSignature {
        /// The file.
        path: String,
        /// The role.
        role: &'static str,
        /// Keys that signed rightly.
        valid: u32,
        /// How many are needed.
        threshold: u32,
    },
    /// Files of different releases: a version is not the one that was signed for.
    #[error(
        "{path} is version {got}, version {expected} was signed for: files of two releases are mixed"
    )]
    VersionMismatch {
        /// The file.
        path: String,
        /// The version that was signed for.
        expected: u64,
        /// The version that is there.
        got: u64,
    },
    /// Older metadata than this node has already seen.
    #[error(
        "the feed offers version {got} of {role}, version {seen} was seen before: it was rolled back; only \
         if you made the feed anew yourself, run `galley sync --once --forget`"
    )]
    Rollback {
        /// The role.
        role: &'static str,
        /// The newest version seen.
        seen: u64,
        /// The version offered.
        got: u64,
    },
    /// Metadata past its time: the publisher has stopped, or somebody holds back what is new.
    #[error(
        "{role} of the feed expired at {expired} (it is {now}): publish again, or find what holds the feed back"
    )]
    Frozen {
        /// The role.
        role: &'static str,
        /// When it expired.
        expired: EventTime,
        /// The time it was compared with.
        now: EventTime,
    },
    /// Metadata that this node's clock finds fresh, and that is past its time by a later time which
    /// was signed.
    #[error(
        "{role} of the feed expired at {expired}, before {floor} which was signed; the clock of this node says {now}: set it right"
    )]
    ClockBehind {
        /// The role.
        role: &'static str,
        /// When it expired.
        expired: EventTime,
        /// The newest signed time.
        floor: EventTime,
        /// What the clock says.
        now: EventTime,
    },
    /// A root does not follow from the one before it.
    #[error("{path} does not follow from the root this node trusts: {reason}")]
    RootChain {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// More roots than are followed at once.
    #[error(
        "the feed has more than {max} roots beyond version {from}: bring its newest root here as \
         sync.root and run `galley sync --once --forget`"
    )]
    RootChainLong {
        /// The version this node trusts.
        from: u64,
        /// How many are followed.
        max: u64,
    },
    /// The release lacks something every release has.
    #[error("the release does not name {what}")]
    MissingTarget {
        /// What is missing.
        what: &'static str,
    },
    /// A name that is no name of a file of the feed.
    #[error("the feed names a file '{path}', which is no path of plain names")]
    EvilPath {
        /// The name, shortened and escaped.
        path: String,
    },
    /// More of something than is taken.
    #[error("the feed has {count} {what}, at most {max} are taken")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: u64,
        /// The bound.
        max: u64,
    },
    /// A view's batches do not make a chain that can be applied.
    #[error("batches of feature view {view}: {reason}")]
    BadBatch {
        /// The view.
        view: String,
        /// Why not.
        reason: String,
    },
    /// A part of a batch is not an Arrow stream as it should be.
    #[error("a part of a batch of feature view {view} is refused: {reason}")]
    BadPart {
        /// The view.
        view: String,
        /// Why.
        reason: String,
    },
    /// A part of a batch has a value that does not fit.
    #[error("a part of a batch of feature view {view}: row {row}, column {column}: {reason}")]
    BadValue {
        /// The view.
        view: String,
        /// The row, from 0 in the part.
        row: u64,
        /// The column.
        column: String,
        /// What is wrong with it.
        reason: String,
    },
}

// === impl FeedError ===

impl FeedError {
    /// A stable name of the reason, for metrics, logs and whoever decides by it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Remote(error) => match error.kind {
                RemoteErrorKind::NotFound => "feed_missing",
                RemoteErrorKind::Denied => "feed_denied",
                RemoteErrorKind::Unreachable => "feed_unreachable",
                RemoteErrorKind::Unsupported => "feed_unsupported",
                _ => "feed_invalid",
            },
            Self::MissingFile { .. } => "missing_file",
            Self::TooLarge { .. } => "too_large",
            Self::WrongLength { .. } => "wrong_length",
            Self::WrongHash { .. } => "wrong_hash",
            Self::BadJson { .. } => "bad_json",
            Self::WrongType { .. } => "wrong_type",
            Self::SpecVersion { .. } => "spec_version",
            Self::BadField { .. } => "bad_field",
            Self::UnknownKey { .. } => "unknown_key",
            Self::BadSignature { .. } => "bad_signature",
            Self::VersionMismatch { .. } => "version_mismatch",
            Self::Rollback { .. } => "rollback",
            Self::Frozen { .. } => "frozen",
            Self::ClockBehind { .. } => "clock_behind",
            Self::RootChain { .. } => "root_chain",
            Self::RootChainLong { .. } => "root_chain_long",
            Self::MissingTarget { .. } => "missing_target",
            Self::EvilPath { .. } => "evil_path",
            Self::TooMany { .. } => "too_many",
            Self::BadBatch { .. } => "bad_batch",
            Self::BadPart { .. } => "bad_part",
            Self::BadValue { .. } => "bad_value",
        }
    }

    pub(super) fn field(path: &str, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::BadField {
            path: path.to_owned(),
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// A name from the feed as it can be shown.
    pub(super) fn evil(path: &str) -> Self {
        const SHOWN_MAX: usize = 80;
        Self::EvilPath {
            path: path
                .chars()
                .take(SHOWN_MAX)
                .flat_map(char::escape_default)
                .collect(),
        }
    }
}

impl Classify for FeedError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => match error.kind {
                RemoteErrorKind::NotFound => ErrorKind::NotFound,
                RemoteErrorKind::Unsupported => ErrorKind::Unsupported,
                RemoteErrorKind::Invalid => ErrorKind::Invalid,
                _ => ErrorKind::Unavailable,
            },
            Self::MissingFile { .. } | Self::Frozen { .. } | Self::ClockBehind { .. } => {
                ErrorKind::Unavailable
            }
            Self::TooLarge { .. } | Self::TooMany { .. } => ErrorKind::TooLarge,
            Self::SpecVersion { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Corrupt,
        }
    }
}

//! Why a round of the agent came to nothing.

use std::io;
use std::path::{Path, PathBuf};

use crate::feed::FeedError;
use crate::remote::RemoteError;

/// Why a release was not installed. What serves goes on serving.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The feed is not to be believed, or cannot be read.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// A file cannot be read from the feed's place.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A transfer broke off.
    #[error("{path}: the transfer broke off")]
    Transfer {
        /// The file's path in the feed.
        path: String,
        /// What happened.
        source: io::Error,
    },
    /// A file ended early.
    #[error("{path} ended after {got} of {expected} bytes")]
    Short {
        /// The file's path in the feed.
        path: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that were signed for.
        expected: u64,
    },
    /// A file has the right length and is not the one that was signed.
    #[error(
        "{path} does not have the SHA-256 that was signed for it: the place sends something else"
    )]
    WrongDigest {
        /// The file's path in the feed.
        path: String,
    },
    /// The place answers what makes no sense.
    #[error("{path}: {reason}")]
    Odd {
        /// The file's path in the feed.
        path: String,
        /// What it answers.
        reason: &'static str,
    },
    /// The release's registry cannot be used.
    #[error("the registry of release {version} cannot be used: {reason}")]
    Registry {
        /// The release.
        version: u64,
        /// Why.
        reason: String,
    },
    /// The release's manifest cannot be used.
    #[error("the manifest of release {version} cannot be used: {reason}")]
    Manifest {
        /// The release.
        version: u64,
        /// Why.
        reason: String,
    },
    /// Rows of a view cannot be taken.
    #[error("rows of feature view {view} in release {version}: {reason}")]
    Rows {
        /// The release.
        version: u64,
        /// The feature view.
        view: String,
        /// Why.
        reason: String,
    },
    /// There is nothing before the release that serves.
    #[error("there is no release to roll back to")]
    NothingBefore,
    /// The node or its store refused.
    #[error(transparent)]
    Node(#[from] galley_node::Error),
    /// What was kept of the feed cannot be read.
    #[error(
        "the record '{name}' of the feed cannot be read: {reason}; it is begun anew by `galley sync --once --forget`"
    )]
    Record {
        /// The record.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// A file of this machine.
    #[error("{action} {path}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The agent was asked to stop.
    #[error("the agent stops")]
    Stopped,
    /// A round ended for a rollback that waited.
    #[error("a rollback was asked for meanwhile: look at the feed again when it is done")]
    GaveWay,
}

impl AgentError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether trying the same transfer again at once is pointless.
    pub(super) fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::Transfer { .. } | Self::Short { .. } | Self::WrongDigest { .. }
        )
    }

    /// A stable name of the reason, for metrics and programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Feed(error) => error.code(),
            Self::Remote(_) | Self::Transfer { .. } => "feed_unreachable",
            Self::Short { .. } => "short_file",
            Self::WrongDigest { .. } => "wrong_digest",
            Self::Odd { .. } => "odd_answer",
            Self::Registry { .. } => "registry",
            Self::Manifest { .. } => "manifest",
            Self::Rows { .. } => "rows",
            Self::NothingBefore => "nothing_before",
            Self::Node(_) => "store",
            Self::Record { .. } => "record",
            Self::Io { .. } => "disk",
            Self::Stopped => "stopped",
            Self::GaveWay => "gave_way",
        }
    }
}

//! What the store remembers of the feed: written in the transaction that installs what it names.

use std::collections::BTreeMap;

use galley_node::Node;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::AgentError;
use super::content::{digest_of, name_of};
use crate::feed::{Batch, Content, Release, Trusted};

/// The metadata that was verified last, newer or not than what is installed.
pub(super) const TRUSTED: &str = "feed/trusted";
/// What is installed.
pub(super) const CURRENT: &str = "feed/current";
/// The bytes of its registry.
pub(super) const REGISTRY: &str = "feed/registry";
/// What was installed before, for a rollback.
pub(super) const PREVIOUS: &str = "feed/previous";
/// The bytes of its registry.
pub(super) const PREVIOUS_REGISTRY: &str = "feed/previous-registry";
/// The release that was rolled back and is not installed again.
pub(super) const HELD: &str = "feed/held";

/// An installed release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledRelease {
    /// Its version.
    pub version: u64,
    /// When it was published, in microseconds since the epoch, by the publisher's clock.
    pub published_at: i64,
    /// When it was installed, in microseconds since the epoch.
    pub installed_at: i64,
    /// The Feast project.
    pub project: Option<String>,
    /// Digest of the registry, in hexadecimal.
    #[serde(default)]
    pub registry: String,
    /// Digest of the manifest, in hexadecimal.
    pub manifest: Option<String>,
    /// Names of the components and their digests.
    pub components: BTreeMap<String, String>,
    /// The last batch of each feature view: its epoch and sequence.
    pub batches: BTreeMap<String, (u64, u64)>,
    /// What tells those batches from others at the same place, in hexadecimal: epochs begin anew
    /// with a view that was gone for a while, and with a feed that was made anew.
    #[serde(default)]
    pub digests: BTreeMap<String, String>,
    /// Digest of the targets metadata, in hexadecimal: what tells this release from another of its
    /// version. Empty in what older nodes wrote.
    #[serde(default)]
    pub targets: String,
}

/// A release that was rolled back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Held {
    /// As older nodes wrote it: any release of this version.
    Version(u64),
    /// One release.
    Release {
        /// Its version.
        version: u64,
        /// Digest of its targets metadata, in hexadecimal.
        targets: String,
    },
}

// === impl Held ===

impl Held {
    pub(super) fn version(&self) -> u64 {
        match self {
            Self::Version(version) | Self::Release { version, .. } => *version,
        }
    }

    /// Whether the release of this version and targets metadata is the one.
    pub(super) fn is(&self, version: u64, targets: &str) -> bool {
        self.version() == version
            && match self {
                Self::Version(_) => true,
                Self::Release { targets: held, .. } => held.is_empty() || held == targets,
            }
    }
}

// === impl InstalledRelease ===

impl InstalledRelease {
    pub(super) fn of(release: &Release, targets: String, installed_at: i64) -> Self {
        let digest = |content: &Content| name_of(&content.sha256);
        Self {
            version: release.version,
            published_at: release.published_at.0,
            installed_at,
            project: release.project.clone(),
            registry: digest(&release.registry),
            manifest: release.manifest.as_ref().map(digest),
            components: release
                .components
                .iter()
                .map(|(name, content)| (name.clone(), digest(content)))
                .collect(),
            batches: BTreeMap::new(),
            digests: BTreeMap::new(),
            targets,
        }
    }

    /// The same, as nothing of the feed that is followed from now on.
    pub(super) fn of_another_feed(self) -> Self {
        Self {
            batches: BTreeMap::new(),
            digests: BTreeMap::new(),
            targets: "another feed".to_owned(),
            ..self
        }
    }

    /// Whether this is the release of that version and targets metadata.
    pub(super) fn is(&self, version: u64, targets: &str) -> bool {
        self.version == version && (self.targets.is_empty() || self.targets == targets)
    }

    /// The place in `chain`, a view's batches in order, up to which its rows are here; `None` when
    /// what is here is of another chain.
    pub(super) fn applied(&self, view: &str, chain: &[&Batch]) -> Option<(u64, u64)> {
        let place = *self.batches.get(view)?;
        let at = chain
            .iter()
            .position(|batch| (batch.epoch, batch.sequence) == place)?;
        let applied = chain.get(..=at)?;
        match self.digests.get(view) {
            Some(digest) if *digest != identity(applied) => None,
            _ => Some(place),
        }
    }

    /// Digests of the files that the next release may share.
    pub(super) fn digests(&self) -> impl Iterator<Item = &String> {
        let rest = self.manifest.iter().chain(self.components.values());
        std::iter::once(&self.registry).chain(rest)
    }
}

/// What tells batches that follow each other from others at the same places: a digest of those of
/// their parts, in hexadecimal.
pub(super) fn identity(batches: &[&Batch]) -> String {
    let parts = batches.iter().flat_map(|batch| &batch.parts);
    let parts = parts.flat_map(|part| part.content.sha256);
    name_of(&digest_of(&parts.collect::<Vec<u8>>()))
}

/// A record of JSON.
pub(super) fn load<T: DeserializeOwned>(
    node: &Node,
    name: &'static str,
) -> Result<Option<T>, AgentError> {
    let Some(bytes) = node.record(name)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| AgentError::Record {
            name,
            reason: error.to_string(),
        })
}

/// The bytes of a record of JSON.
pub(super) fn save<T: Serialize>(name: &'static str, value: &T) -> Result<Vec<u8>, AgentError> {
    serde_json::to_vec(value).map_err(|error| AgentError::Record {
        name,
        reason: error.to_string(),
    })
}

/// What was verified last; what `root` vouches for when nothing was.
pub(super) fn trusted(node: &Node, root: &[u8]) -> Result<Trusted, AgentError> {
    match load(node, TRUSTED)? {
        Some(trusted) => Ok(trusted),
        None => Ok(Trusted::new(root.to_vec())?),
    }
}

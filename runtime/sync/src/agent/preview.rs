//! What a feed offers, before anything of it is installed.

use galley_node::{DecodeOptions, Registry};
use galley_types::EventTime;

use super::content::{Contents, Transfer};
use super::{AgentConfig, AgentError, Stop};
use crate::error::chain;
use crate::feed::{self, Poll, Release, Trusted};
use crate::remote::Remote;

/// What the feed in `remote` offers to a node that trusts nothing but `root`: its release and its
/// registry. Nothing is kept.
///
/// # Errors
/// As [`Agent::round`].
pub fn preview(
    remote: &dyn Remote,
    root: &[u8],
    config: &AgentConfig,
    now: EventTime,
) -> Result<Option<(Release, Registry)>, AgentError> {
    let Poll::Changed { release, .. } = feed::poll(remote, &Trusted::new(root.to_vec())?, now)?
    else {
        return Ok(None);
    };
    let folder = std::env::temp_dir();
    let folder = tempfile::tempdir_in(&folder)
        .map_err(|source| AgentError::io("make a folder in", &folder, source))?;
    let contents = Contents::new(
        folder.path().to_owned(),
        config.bandwidth_max,
        Stop::default(),
    );
    let bytes = contents.fetch(remote, &release.registry, &mut Transfer::default())?;
    let project = config.project.as_deref().or(release.project.as_deref());
    let registry = decode(&bytes, (project, config.versioning), release.version)?;
    Ok(Some((release, registry)))
}

/// Decodes the registry of a release.
pub(super) fn decode(
    bytes: &[u8],
    (project, versioning): (Option<&str>, bool),
    version: u64,
) -> Result<Registry, AgentError> {
    let options = DecodeOptions {
        project,
        versioning,
    };
    Registry::decode(bytes, &options).map_err(|error| AgentError::Registry {
        version,
        reason: chain(&error),
    })
}

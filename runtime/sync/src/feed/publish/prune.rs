//! Removing what only releases name that are no longer kept.

use std::collections::BTreeSet;

use super::state::list;
use crate::error::{Error, Result};
use crate::feed::key::from_hex;
use crate::feed::metadata::{Envelope, Role};
use crate::feed::poll::{metadata_bytes, path_of};
use crate::feed::release::content_path;
use crate::remote::{RemoteStore, is_plain};

/// Releases removed at a time: the rest is for the next time.
const RELEASES_MAX: usize = 256;

/// Keeps the newest `keep` releases up to the one just published; how many files were removed. Only
/// content that a removed release names is removed, so that nothing of somebody else's is.
pub(super) fn prune(
    store: &dyn RemoteStore,
    keep: u64,
    (targets, snapshot): (u64, u64),
) -> Result<u64> {
    let listed = list(store)?;
    let of = |role: Role, newest: u64| {
        let mut versions: Vec<u64> = listed
            .iter()
            .filter(|(it, version)| *it == role && *version <= newest)
            .map(|(_, version)| *version)
            .collect();
        versions.sort_unstable_by(|one, other| other.cmp(one));
        let kept = usize::try_from(keep.max(1))
            .unwrap_or(usize::MAX)
            .min(versions.len());
        let removed: Vec<u64> = versions.split_off(kept);
        (versions, removed)
    };
    let (kept, mut removed) = of(Role::Targets, targets);
    if removed.is_empty() {
        return Ok(0);
    }
    // The oldest first, so that a run that breaks off leaves no gap.
    removed.reverse();
    removed.truncate(RELEASES_MAX);
    let mut named = BTreeSet::new();
    for version in kept {
        named.extend(content_of(store, version)?);
    }
    let remove = |path: &str| {
        let removed = store.delete(path);
        removed.map_err(|error| Error::Feed(error.into()))
    };
    let mut count = 0;
    for version in removed {
        for path in content_of(store, version)?.difference(&named) {
            remove(path)?;
            count += 1;
        }
        remove(&path_of(Role::Targets, version))?;
        count += 1;
    }
    for version in of(Role::Snapshot, snapshot).1 {
        remove(&path_of(Role::Snapshot, version))?;
        count += 1;
    }
    Ok(count)
}

/// The paths of the content that a release names. Its signatures do not matter: content can only be
/// named by its digest, and a name that is none is passed over.
fn content_of(store: &dyn RemoteStore, version: u64) -> Result<BTreeSet<String>> {
    let path = path_of(Role::Targets, version);
    let Some(bytes) = metadata_bytes(store, &path)? else {
        return Ok(BTreeSet::new());
    };
    let targets = Envelope::parse(&path, &bytes)?.targets()?;
    let paths = targets.targets.iter().filter_map(|(name, target)| {
        let digest = from_hex(&target.hashes.sha256)?;
        is_plain(name).then(|| content_path(name, &digest))
    });
    Ok(paths.collect())
}

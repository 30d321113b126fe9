//! Removing what only releases name that are no longer kept, and what no release names at all.

use std::collections::BTreeSet;
use std::time::Duration;

use galley_types::EventTime;

use super::state::list;
use crate::error::{Error, Result};
use crate::feed::key::from_hex;
use crate::feed::metadata::{Envelope, Role};
use crate::feed::poll::{metadata_bytes, path_of};
use crate::feed::release::content_path;
use crate::remote::{RemoteStore, is_plain};

/// Releases removed at a time: the rest is for the next time.
const RELEASES_MAX: usize = 256;
/// Files removed at a time that no release names.
const ORPHANS_MAX: usize = 10_000;
/// Where content lies.
const CONTENT: &str = "targets";

/// What is removed.
pub(super) struct Policy {
    /// Releases kept, the one just published among them.
    pub(super) keep: u64,
    /// How long content may lie there that no release names: it may be somebody's who is about to
    /// publish it. Without it such content stays.
    pub(super) orphans_after: Option<Duration>,
    /// This machine's clock.
    pub(super) now: EventTime,
    /// Count, and remove nothing.
    pub(super) dry_run: bool,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pruned {
    /// Files of releases that are not kept.
    pub(super) files: u64,
    /// Files that no release names.
    pub(super) orphans: u64,
    /// Their bytes.
    pub(super) orphan_bytes: u64,
}

/// A feed that is being tidied.
struct Pruning<'a> {
    store: &'a dyn RemoteStore,
    policy: &'a Policy,
    pruned: Pruned,
    /// What was removed, or would have been.
    gone: BTreeSet<String>,
}

/// Keeps the newest releases up to the one just published, whose metadata have the versions
/// `(targets, snapshot)` and whose content is `published`. Of content that no removed release names
/// only what has lain there for long is removed, so that nothing of somebody else's is.
pub(super) fn prune(
    store: &dyn RemoteStore,
    policy: &Policy,
    (targets, snapshot): (u64, u64),
    published: &BTreeSet<String>,
) -> Result<Pruned> {
    let listed = list(store)?;
    let of = |role: Role, newest: u64| {
        let mut versions: BTreeSet<u64> = listed
            .iter()
            .filter(|(it, version)| *it == role && *version <= newest)
            .map(|(_, version)| *version)
            .collect();
        // In a dry run it is not there.
        versions.insert(newest);
        let kept = usize::try_from(policy.keep.max(1)).unwrap_or(usize::MAX);
        let removed = versions.len().saturating_sub(kept);
        // The oldest first, so that a run that breaks off leaves no gap.
        versions.into_iter().take(removed).collect::<Vec<u64>>()
    };
    let mut removed = of(Role::Targets, targets);
    removed.truncate(RELEASES_MAX);
    let mut pruning = Pruning {
        store,
        policy,
        pruned: Pruned::default(),
        gone: BTreeSet::new(),
    };
    if removed.is_empty() && policy.orphans_after.is_none() {
        return Ok(pruning.pruned);
    }
    let stay = |it: &&(Role, u64)| it.0 == Role::Targets && !removed.contains(&it.1);
    let mut named = published.clone();
    for (_, version) in listed.iter().filter(stay) {
        named.extend(content_of(store, *version)?);
    }
    for version in &removed {
        for path in content_of(store, *version)?.difference(&named) {
            pruning.remove(path)?;
        }
        pruning.remove(&path_of(Role::Targets, *version))?;
    }
    if !removed.is_empty() {
        for version in of(Role::Snapshot, snapshot) {
            pruning.remove(&path_of(Role::Snapshot, version))?;
        }
    }
    pruning.pruned.files = pruning.gone.len() as u64;
    if let Some(age) = policy.orphans_after {
        pruning.orphans(age, &named, &listed)?;
    }
    Ok(pruning.pruned)
}

impl Pruning<'_> {
    fn remove(&mut self, path: &str) -> Result<()> {
        if !self.policy.dry_run {
            let removed = self.store.delete(path);
            removed.map_err(|error| Error::Feed(error.into()))?;
        }
        self.gone.insert(path.to_owned());
        Ok(())
    }

    /// Removes content that is not `named` and older than `age`. `listed` is the metadata that the
    /// names were read from.
    fn orphans(
        &mut self,
        age: Duration,
        named: &BTreeSet<String>,
        listed: &[(Role, u64)],
    ) -> Result<()> {
        let failed = |error| Error::Feed(crate::feed::FeedError::from(error));
        let content = self.store.list(CONTENT).map_err(failed)?;
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let before = self.clock()?.0.saturating_sub(age);
        let found: Vec<_> = content
            .into_iter()
            .filter(|it| is_content(&it.path) && !named.contains(&it.path))
            .filter(|it| !self.gone.contains(&it.path))
            .filter(|it| it.modified.is_some_and(|modified| modified.0 < before))
            .take(ORPHANS_MAX)
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        // A release that came meanwhile may name some of it.
        let known = |it: &(Role, u64)| it.0 != Role::Targets || listed.contains(it);
        if !list(self.store)?.iter().all(known) {
            tracing::info!("somebody publishes: what no release names is left for the next time");
            return Ok(());
        }
        for object in found {
            self.remove(&object.path)?;
            self.pruned.orphans += 1;
            self.pruned.orphan_bytes += object.size;
        }
        Ok(())
    }

    /// The clock that content's times come from: that of the place, which has just dated the
    /// timestamp, or this machine's where it is behind.
    fn clock(&self) -> Result<EventTime> {
        let now = self.policy.now;
        if self.policy.dry_run {
            return Ok(now);
        }
        let metadata = self.store.list("metadata");
        let metadata = metadata.map_err(|error| Error::Feed(error.into()))?;
        let newest = metadata.iter().filter_map(|it| it.modified).max();
        Ok(newest.map_or(now, |newest| newest.min(now)))
    }
}

/// Whether a path is one that content is put under: by its SHA-256.
fn is_content(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let digest = name.split_once('.').map(|(digest, _)| digest);
    path.starts_with("targets/") && digest.is_some_and(|digest| from_hex::<32>(digest).is_some())
}

/// The content that a release's files, as targets metadata has them, are put under.
pub(super) fn content_names(
    files: &serde_json::Map<String, serde_json::Value>,
) -> BTreeSet<String> {
    let path = |(name, file): (&String, &serde_json::Value)| {
        let digest = file.pointer("/hashes/sha256")?.as_str()?;
        Some(content_path(name, &from_hex(digest)?))
    };
    files.iter().filter_map(path).collect()
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

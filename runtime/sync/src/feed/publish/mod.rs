//! Publishing: a registry, components and rows as one signed release.
//!
//! Content goes first, then roots, targets and snapshot, and the timestamp last: whoever follows
//! sees the release before or this one. What was uploaded by a run that broke off is not named by
//! anything; a later run removes it when it has lain there for long.

mod batches;
mod content;
mod prune;
mod state;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use galley_types::EventTime;
use serde_json::{Map, Value, json};

use super::key::sha256;
use super::keyring::Keyring;
use super::metadata::Role;
use super::poll::{METADATA_BYTES_MAX, path_of, timestamp_bytes};
use super::release::{Mode, TARGETS_MAX, content_path};
use super::sign::{self, Stamp};
use crate::error::{Error, Result};
use crate::parquet::MaterializeConfig;
use crate::remote::RemoteStore;
use crate::repo::Repo;
use state::State;

/// Which rows are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// None: what is published of them stays.
    Keep,
    /// What is new since each view's last window.
    New {
        /// The newest event time, inclusive.
        end: EventTime,
    },
    /// A window of them, added to what is there.
    Window {
        /// The oldest event time, inclusive.
        start: EventTime,
        /// The newest event time, inclusive.
        end: EventTime,
    },
    /// All of them, in place of what is there.
    Full {
        /// The newest event time, inclusive.
        end: EventTime,
    },
}

/// What is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing but a timestamp that says that the feed is still looked after.
    Timestamp,
    /// Registry, manifest, components, and rows of these views; of all that can be where there is
    /// no list.
    Release(Rows, Option<Vec<String>>),
}

/// How long metadata is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// The timestamp: publish again before it has passed.
    pub timestamp: Duration,
    /// Snapshot and targets.
    pub release: Duration,
}

/// Where a release comes from and where it goes.
#[derive(Debug)]
pub struct Publisher<'a> {
    /// The feed.
    pub store: &'a dyn RemoteStore,
    /// Who signs.
    pub keyring: &'a Keyring,
    /// The Feast repo.
    pub repo: &'a Repo,
    /// The manifest, where there is one.
    pub manifest: &'a Path,
    /// A folder for components that are fetched.
    pub scratch: &'a Path,
    /// Bounds on reading rows.
    pub rows: MaterializeConfig,
    /// How long metadata is good for.
    pub lives: Lives,
    /// Releases kept, the new one among them; what only older ones name is removed.
    pub keep: u64,
    /// How long content may lie in the feed that no release names, as a publication that broke off
    /// leaves it, before it is removed. It must be longer than a publication takes.
    pub orphans_after: Duration,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The release's version.
    pub version: u64,
    /// Whether it is a new one; otherwise only signatures are.
    pub changed: bool,
    /// When the timestamp expires.
    pub expires_at: EventTime,
    /// Batches that are new.
    pub batches: Vec<PublishedBatch>,
    /// Views without new rows, and why.
    pub skipped: Vec<(String, String)>,
    /// Files that were put, metadata aside.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of older releases that were removed.
    pub pruned: u64,
    /// Files that no release names and that were removed.
    pub orphans: u64,
    /// Their bytes.
    pub orphan_bytes: u64,
    /// Whether nothing of this was done.
    pub dry_run: bool,
}

/// A batch that is new in a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedBatch {
    /// The feature view.
    pub view: String,
    /// What it does to the rows that are there.
    pub mode: Mode,
    /// Its epoch.
    pub epoch: u64,
    /// Its number in the epoch.
    pub sequence: u64,
    /// Its rows.
    pub rows: u64,
    /// Its parts.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The window that was read.
    pub window: (Option<EventTime>, EventTime),
}

/// How far it is: the view whose rows are read, rows read, and rows there are.
pub type Progress<'a> = dyn FnMut(&str, u64, u64) + 'a;

/// A release in the making.
struct Draft<'a> {
    publisher: &'a Publisher<'a>,
    state: Option<&'a State>,
    /// The files by their names, as targets metadata has them.
    files: Map<String, Value>,
    report: Published,
}

// === impl Lives ===

impl Default for Lives {
    fn default() -> Self {
        Self {
            timestamp: Duration::from_hours(24),
            release: Duration::from_hours(7 * 24),
        }
    }
}

// === impl Publisher ===

/// How long content that no release names stays by default: longer than any publication.
pub const ORPHANS_AFTER: Duration = Duration::from_hours(24);

impl Publisher<'_> {
    /// Publishes. `now` is this machine's clock.
    ///
    /// # Errors
    /// [`Error::Publish`], [`Error::Keys`], [`Error::Feed`], and those of the repo and its sources.
    pub fn publish(
        &self,
        what: &What,
        now: EventTime,
        progress: &mut Progress<'_>,
    ) -> Result<Published> {
        self.keyring.complete()?;
        let before = timestamp_bytes(self.store)?;
        let state = State::read(self.store, self.keyring, now)?;
        if state.is_none() && before.is_some() {
            return Err(error(
                self.store.location(),
                "there is a feed whose roots are not of these keys: publish elsewhere, or use its keys",
            ));
        }
        let mut draft = Draft {
            publisher: self,
            state: state.as_ref(),
            files: state.as_ref().map_or_else(Map::new, |it| it.files.clone()),
            report: Published {
                version: state.as_ref().map_or(0, |it| it.release.version),
                changed: false,
                expires_at: EventTime(now.0.saturating_add(micros(self.lives.timestamp))),
                batches: Vec::new(),
                skipped: Vec::new(),
                files: 0,
                bytes: 0,
                pruned: 0,
                orphans: 0,
                orphan_bytes: 0,
                dry_run: self.dry_run,
            },
        };
        let project = match (what, &state) {
            (What::Release(rows, views), _) => {
                let registry = draft.content()?;
                draft.batches(&registry, (rows, views.as_deref()), progress)?;
                Some(registry.project().to_owned())
            }
            (What::Timestamp, Some(state)) => state.release.project.clone(),
            (What::Timestamp, None) => {
                return Err(error(
                    self.store.location(),
                    "there is no feed yet whose timestamp could be signed: publish a release first",
                ));
            }
        };
        draft.sign(what, project.as_deref(), (now, before))
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        self.store
            .put(path, bytes)
            .map_err(|error| Error::Feed(error.into()))
    }

    /// Puts metadata in place of what was read when this publication began. Of two that publish at once
    /// one is refused, and none changes what the other has put.
    fn swap(&self, path: &str, bytes: &[u8], before: Option<&[u8]>) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        match self.store.swap(path, bytes, before) {
            Ok(true) => Ok(()),
            Ok(false) => Err(error(
                self.store.location(),
                &format!(
                    "somebody else has published meanwhile, {path} is not what it was: look at what \
                     they did, then publish again"
                ),
            )),
            Err(error) => Err(Error::Feed(error.into())),
        }
    }
}

// === impl Draft ===

impl Draft<'_> {
    /// Adds a file, and puts it where it is not there already.
    fn add(&mut self, name: &str, bytes: &[u8], galley: &Value) -> Result<()> {
        let digest = sha256(bytes);
        let file = sign::target((bytes.len() as u64, &digest), galley);
        let path = content_path(name, &digest);
        let same = |it: &Value| it.get("hashes") == file.get("hashes");
        let there = self.state.and_then(|state| state.files.get(name));
        if !there.is_some_and(same) {
            self.publisher.put(&path, bytes)?;
            self.report.files += 1;
            self.report.bytes += bytes.len() as u64;
        }
        self.files.insert(name.to_owned(), file);
        Ok(())
    }

    /// Signs what changed, and the timestamp last.
    fn sign(
        mut self,
        what: &What,
        project: Option<&str>,
        (now, before): (EventTime, Option<Vec<u8>>),
    ) -> Result<Published> {
        if self.files.len() > TARGETS_MAX {
            return Err(too_much(&format!(
                "it has {} files, at most {TARGETS_MAX} are taken",
                self.files.len()
            )));
        }
        let publisher = self.publisher;
        let old = self.state;
        let changed = old.is_none_or(|old| old.files != self.files);
        let whole = *what != What::Timestamp;
        let renew = changed || old.is_none_or(|old| old.needs_targets(whole, now));
        let resign = renew || old.is_none_or(|old| old.needs_snapshot(whole, now));
        let mut versions = state::Versions::after(publisher.store, old)?;
        for (version, root) in publisher.keyring.roots() {
            if old.is_none_or(|old| version > old.root_version) {
                publisher.put(&path_of(Role::Root, version), root)?;
            }
        }
        let published = prune::content_names(&self.files);
        let life = EventTime(now.0.saturating_add(micros(publisher.lives.release)));
        let targets = match old {
            Some(old) if !renew => (old.release.version, old.targets.clone()),
            _ => {
                let stamp = Stamp {
                    version: versions.next(Role::Targets)?,
                    expires: life,
                };
                let galley = galley(project, now);
                let body = sign::targets(stamp, galley, std::mem::take(&mut self.files));
                self.put(Role::Targets, stamp.version, &body, None)?
            }
        };
        let snapshot = match old {
            Some(old) if !resign => (old.snapshot_version, old.snapshot.clone()),
            _ => {
                let stamp = Stamp {
                    version: versions.next(Role::Snapshot)?,
                    expires: life,
                };
                let body = sign::snapshot(stamp, (targets.0, &targets.1));
                self.put(Role::Snapshot, stamp.version, &body, None)?
            }
        };
        let stamp = Stamp {
            version: versions.next(Role::Timestamp)?,
            expires: self.report.expires_at,
        };
        let body = sign::timestamp(stamp, now, (snapshot.0, &snapshot.1));
        self.put(Role::Timestamp, stamp.version, &body, before.as_deref())?;
        self.report.version = targets.0;
        self.report.changed = changed;
        let policy = prune::Policy {
            keep: publisher.keep,
            orphans_after: whole.then_some(publisher.orphans_after),
            now,
            dry_run: publisher.dry_run,
        };
        let versions = (targets.0, snapshot.0);
        let pruned = prune::prune(publisher.store, &policy, versions, &published)?;
        self.report.pruned = pruned.files;
        self.report.orphans = pruned.orphans;
        self.report.orphan_bytes = pruned.orphan_bytes;
        Ok(self.report)
    }

    /// Signs metadata and puts it in place of `before`; its version and bytes.
    fn put(
        &self,
        role: Role,
        version: u64,
        body: &Value,
        before: Option<&[u8]>,
    ) -> Result<(u64, Vec<u8>)> {
        let keys = self.publisher.keyring.signers(role)?;
        let bytes = sign::signed(body, &keys)
            .map_err(|reason| error(format!("{} metadata", role.name()), &reason))?;
        if bytes.len() as u64 > METADATA_BYTES_MAX {
            return Err(too_much(&format!(
                "its {} metadata has {} bytes, at most {METADATA_BYTES_MAX} are read",
                role.name(),
                bytes.len()
            )));
        }
        let path = path_of(role, version);
        self.publisher.swap(&path, &bytes, before)?;
        Ok((version, bytes))
    }
}

fn galley(project: Option<&str>, now: EventTime) -> Value {
    json!({
        "format": super::FORMAT,
        "published_at": sign::seconds(now),
        "project": project,
    })
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn too_much(reason: &str) -> Error {
    error(
        "a release",
        &format!("{reason}: publish with --full, which starts every view's batches anew"),
    )
}

fn error(what: impl Into<String>, reason: &str) -> Error {
    Error::Publish {
        what: what.into(),
        reason: reason.to_owned(),
    }
}

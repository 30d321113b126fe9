//! What the feed holds before something is published.

use galley_types::EventTime;
use serde_json::{Map, Value};

use super::error;
use crate::error::{Error, Result};
use crate::feed::error::FeedError;
use crate::feed::keyring::Keyring;
use crate::feed::metadata::{Envelope, Head, Role};
use crate::feed::poll::{current, metadata_bytes, path_of};
use crate::feed::release::Release;
use crate::remote::RemoteStore;

/// How far this machine's clock may be behind the one that signed last.
const CLOCK_LAG_MAX: i64 = 300_000_000;

/// The release that is there.
pub(super) struct State {
    pub(super) release: Release,
    /// Its files, as its targets metadata has them.
    pub(super) files: Map<String, Value>,
    pub(super) targets: Vec<u8>,
    pub(super) snapshot: Vec<u8>,
    pub(super) snapshot_version: u64,
    /// The newest root in the feed.
    pub(super) root_version: u64,
    timestamp_version: u64,
    targets_life: Life,
    snapshot_life: Life,
}

/// Whether metadata is good for longer.
struct Life {
    /// The newest root trusts who signed it.
    trusted: bool,
    expires: EventTime,
}

/// Versions that are not taken.
pub(super) struct Versions {
    targets: u64,
    snapshot: u64,
    timestamp: u64,
}

// === impl State ===

impl State {
    /// Reads what is there, and makes sure that it is ours.
    pub(super) fn read(
        store: &dyn RemoteStore,
        keyring: &Keyring,
        now: EventTime,
    ) -> Result<Option<Self>> {
        let Some(root_version) = shared_roots(store, keyring)? else {
            return Ok(None);
        };
        // A run that broke off may have left a root that nothing is signed by yet.
        let mut found = Err(None);
        for (version, bytes) in keyring.roots().collect::<Vec<_>>().into_iter().rev() {
            let root = Envelope::parse(&path_of(Role::Root, version), bytes)?.root()?;
            match current(store, (bytes, &root)) {
                Ok(state) => {
                    found = Ok(state);
                    break;
                }
                Err(error) => {
                    found = found.map_err(|first: Option<FeedError>| first.or(Some(error)));
                }
            }
        }
        let found = found.map_err(|first| match first {
            Some(error) => Error::Feed(error),
            None => error("the feed", "there is no root to read it by"),
        })?;
        let Some((trusted, release)) = found else {
            return Ok(None);
        };
        let view = trusted.view()?;
        let signed_at = view.timestamp.as_ref().and_then(|it| it.signed_at);
        let newest = keyring.root()?;
        let same_key = !view.root.drops_key(newest, Role::Timestamp);
        if let Some(signed_at) = signed_at
            && same_key
            && now.0.saturating_add(CLOCK_LAG_MAX) < signed_at.0
        {
            return Err(error(
                store.location(),
                &format!(
                    "the feed was signed at {signed_at}, and this machine's clock says {now}: set it \
                     right"
                ),
            ));
        }
        let targets = trusted.targets.unwrap_or_default();
        let snapshot = trusted.snapshot.unwrap_or_default();
        let wire: Value = serde_json::from_slice(&targets).unwrap_or_default();
        let files = wire.pointer("/signed/targets").and_then(Value::as_object);
        let life = |role: Role, bytes: &[u8], expires: Option<EventTime>| -> Result<Life> {
            let envelope = Envelope::parse(role.name(), bytes)?;
            Ok(Life {
                trusted: envelope.verify(newest.keys(role)?, role).is_ok(),
                expires: expires.unwrap_or(EventTime(i64::MIN)),
            })
        };
        let ends = |head: Option<Head>| head.map(|head| head.expires);
        let targets_head = view.targets.as_ref().map(|it| it.head);
        let snapshot_head = view.snapshot.as_ref().map(|it| it.head);
        Ok(Some(Self {
            files: files.cloned().unwrap_or_default(),
            targets_life: life(Role::Targets, &targets, ends(targets_head))?,
            snapshot_life: life(Role::Snapshot, &snapshot, ends(snapshot_head))?,
            snapshot_version: snapshot_head.map_or(0, |head| head.version),
            timestamp_version: view.timestamp.as_ref().map_or(0, |it| it.head.version),
            release,
            targets,
            snapshot,
            root_version,
        }))
    }

    /// Whether the targets must be signed again although their files are the same.
    pub(super) fn needs_targets(&self, whole: bool, now: EventTime) -> bool {
        self.targets_life.is_short(whole, now)
    }

    /// Whether the snapshot must be.
    pub(super) fn needs_snapshot(&self, whole: bool, now: EventTime) -> bool {
        self.snapshot_life.is_short(whole, now)
    }
}

// === impl Life ===

impl Life {
    /// Whether it would not last, or is signed by a key that is no longer trusted. `whole` is a
    /// publication with all keys at hand: it renews early.
    fn is_short(&self, whole: bool, now: EventTime) -> bool {
        const EARLY: i64 = 3 * 24 * 3_600_000_000;
        let margin = if whole { EARLY } else { 0 };
        !self.trusted || self.expires.0 <= now.0.saturating_add(margin)
    }
}

// === impl Versions ===

impl Versions {
    /// After what the feed holds, and after what a run that broke off may have left.
    pub(super) fn after(store: &dyn RemoteStore, state: Option<&State>) -> Result<Self> {
        let listed = list(store)?;
        let newest = |role: Role, known: u64| {
            let versions = listed.iter().filter(|(it, _)| *it == role);
            versions.map(|(_, version)| *version).fold(known, u64::max)
        };
        let known = |of: fn(&State) -> u64| state.map_or(0, of);
        Ok(Self {
            targets: newest(Role::Targets, known(|it| it.release.version)),
            snapshot: newest(Role::Snapshot, known(|it| it.snapshot_version)),
            timestamp: known(|it| it.timestamp_version),
        })
    }

    pub(super) fn next(&mut self, role: Role) -> Result<u64> {
        let version = match role {
            Role::Targets => &mut self.targets,
            Role::Snapshot => &mut self.snapshot,
            _ => &mut self.timestamp,
        };
        *version = version.checked_add(1).ok_or_else(|| {
            let reason = "its versions are used up: begin a new feed";
            error(format!("{} metadata", role.name()), reason)
        })?;
        Ok(*version)
    }
}

/// Versions of metadata that lie in the feed.
pub(super) fn list(store: &dyn RemoteStore) -> Result<Vec<(Role, u64)>> {
    let listed = store
        .list("metadata")
        .map_err(|error| Error::Feed(error.into()))?;
    let parse = |path: &str| {
        let name = path.strip_prefix("metadata/")?.strip_suffix(".json")?;
        let (version, role) = name.split_once('.')?;
        let role = Role::ALL.into_iter().find(|it| it.name() == role)?;
        Some((role, version.parse().ok()?))
    };
    Ok(listed.iter().filter_map(|it| parse(&it.path)).collect())
}

/// The newest root in the feed, when all that are there are the keyring's; `None` in an empty feed.
fn shared_roots(store: &dyn RemoteStore, keyring: &Keyring) -> Result<Option<u64>> {
    let mut newest = None;
    for (version, ours) in keyring.roots() {
        let path = path_of(Role::Root, version);
        let Some(theirs) = metadata_bytes(store, &path)? else {
            return Ok(newest);
        };
        if body(&theirs) != body(ours) {
            return Err(error(
                store.location(),
                &format!(
                    "its {path} is not of these keys: it is another feed, or these are other keys"
                ),
            ));
        }
        newest = Some(version);
    }
    let next = path_of(Role::Root, newest.unwrap_or(0).saturating_add(1));
    if metadata_bytes(store, &next)?.is_some() {
        return Err(error(
            store.location(),
            &format!(
                "its {next} is newer than the roots of these \
                 keys: copy it to them, or use the keys it was made with"
            ),
        ));
    }
    Ok(newest)
}

/// What was signed, whoever signed it.
fn body(bytes: &[u8]) -> Option<Value> {
    let wire: Value = serde_json::from_slice(bytes).ok()?;
    wire.get("signed").cloned()
}

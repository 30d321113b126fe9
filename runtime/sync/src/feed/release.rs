//! What a release holds, checked as a whole before any of it is fetched.

use std::collections::{BTreeMap, BTreeSet};

use galley_types::{EventTime, Limits};
use serde::Deserialize;

use super::error::FeedError;
use super::key::{from_hex, hex};
use super::metadata::{TargetWire, Targets};
use crate::remote::is_plain;

/// Files of a release.
pub const TARGETS_MAX: usize = 16_384;
/// Bytes of the registry.
pub const REGISTRY_BYTES_MAX: u64 = 64 << 20;
/// Bytes of the manifest.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a component.
pub const COMPONENT_BYTES_MAX: u64 = 32 << 20;
/// Bytes of one part of a batch.
pub const PART_BYTES_MAX: u64 = 16 << 20;
/// Rows of one part of a batch.
pub const PART_ROWS_MAX: u64 = 4 << 20;
/// The registry's name among the files of a release.
pub(super) const REGISTRY: &str = "registry.pb";
/// The manifest's.
pub(super) const MANIFEST: &str = "spin.toml";
/// Bytes of a file's path in the feed.
const PATH_BYTES_MAX: usize = 512;

/// A release of a feed: all that a node needs to serve what the centre serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The version of its targets metadata: grows with each release.
    pub version: u64,
    /// When it was published, by the publisher's clock.
    pub published_at: EventTime,
    /// When the first of what vouches for it expires.
    pub expires_at: EventTime,
    /// The Feast project of the registry.
    pub project: Option<String>,
    /// The registry, at most [`REGISTRY_BYTES_MAX`].
    pub registry: Content,
    /// The manifest; its components' sources are `components/<name>.wasm`.
    pub manifest: Option<Content>,
    /// Components by their names in the manifest, sorted.
    pub components: Vec<(String, Content)>,
    /// Batches, those of one view together and in the order in which they are applied: first one
    /// that replaces the view's rows, then those that add to them.
    pub batches: Vec<Batch>,
}

/// A file of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its path from the feed's root.
    pub path: String,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// Its bytes.
    pub size: u64,
}

/// Rows for one feature view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The Feast project.
    pub project: String,
    /// The feature view.
    pub view: String,
    /// Grows whenever the view's rows are replaced.
    pub epoch: u64,
    /// Grows from batch to batch of an epoch.
    pub sequence: u64,
    /// What becomes of the rows that are there.
    pub mode: Mode,
    /// Rows of all its parts.
    pub rows: u64,
    /// The oldest event time (`None` has no beginning) and the newest that were looked for, both
    /// inclusive.
    pub window: (Option<EventTime>, EventTime),
    /// Its parts in order.
    pub parts: Vec<Part>,
}

/// A part of a batch: an Arrow stream of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The file, at most [`PART_BYTES_MAX`].
    pub content: Content,
    /// Its rows.
    pub rows: u64,
}

/// What a batch does to the rows that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Rows are added, each where it is not older than the one under its key.
    Upsert,
    /// All rows of the view make room for these.
    Replace,
}

/// The `galley` object of a file's `custom` field.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Kind {
    Registry,
    Manifest,
    Component { name: String },
    Batch(BatchWire),
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct BatchWire {
    pub(super) project: String,
    pub(super) view: String,
    pub(super) epoch: u64,
    pub(super) sequence: u64,
    pub(super) mode: Mode,
    pub(super) part: u64,
    pub(super) parts: u64,
    pub(super) rows: u64,
    /// Microseconds since the epoch.
    pub(super) start: Option<i64>,
    /// Microseconds since the epoch.
    pub(super) end: i64,
}

/// A batch's place: project, view, epoch, sequence.
type Place = (String, String, u64, u64);

// === impl Mode ===

impl Mode {
    /// Its name in metadata.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Replace => "replace",
        }
    }
}

// === impl Release ===

impl Release {
    /// What verified targets metadata holds.
    pub(super) fn of(
        path: &str,
        targets: &Targets,
        expires_at: EventTime,
    ) -> Result<Self, FeedError> {
        if targets.targets.len() > TARGETS_MAX {
            return Err(FeedError::TooMany {
                what: "files in a release",
                count: targets.targets.len() as u64,
                max: TARGETS_MAX as u64,
            });
        }
        let published_at = EventTime::parse(&targets.galley.published_at)
            .map_err(|error| FeedError::field(path, "galley.published_at", error.to_string()))?;
        let mut registry = None;
        let mut manifest = None;
        let mut components = Vec::new();
        let mut batches: BTreeMap<Place, Vec<(BatchWire, Content)>> = BTreeMap::new();
        for (name, target) in &targets.targets {
            let content = content(path, name, target)?;
            // Files of other kinds are for others.
            let Some(kind) = kind(path, name, target)? else {
                continue;
            };
            match kind {
                Kind::Registry if name == REGISTRY => {
                    registry = Some(at_most(content, REGISTRY_BYTES_MAX)?);
                }
                Kind::Manifest if name == MANIFEST => {
                    manifest = Some(at_most(content, MANIFEST_BYTES_MAX)?);
                }
                Kind::Registry | Kind::Manifest => return Err(FeedError::evil(name)),
                Kind::Component { name: component } => {
                    if *name != component_path(&component) || component.contains('/') {
                        return Err(FeedError::evil(name));
                    }
                    components.push((component, at_most(content, COMPONENT_BYTES_MAX)?));
                }
                Kind::Batch(batch) => {
                    let content = at_most(content, PART_BYTES_MAX)?;
                    let place = (
                        batch.project.clone(),
                        batch.view.clone(),
                        batch.epoch,
                        batch.sequence,
                    );
                    batches.entry(place).or_default().push((batch, content));
                }
            }
        }
        Ok(Self {
            version: targets.head.version,
            published_at,
            expires_at,
            project: targets.galley.project.clone(),
            registry: registry.ok_or(FeedError::MissingTarget { what: "a registry" })?,
            manifest,
            components,
            batches: chains(batches)?,
        })
    }
}

/// Where a component lies among the files of a release.
pub(super) fn component_path(name: &str) -> String {
    format!("components/{name}.wasm")
}

/// Where a file of this name and content lies from the feed's root.
pub(super) fn content_path(name: &str, sha256: &[u8; 32]) -> String {
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    let slash = if folder.is_empty() { "" } else { "/" };
    format!("targets/{folder}{slash}{}.{file}", hex(sha256))
}

fn content(path: &str, name: &str, target: &TargetWire) -> Result<Content, FeedError> {
    if name.len() > PATH_BYTES_MAX || !is_plain(name) {
        return Err(FeedError::evil(name));
    }
    let sha256 = from_hex(&target.hashes.sha256)
        .ok_or_else(|| FeedError::field(path, name, "a SHA-256 in hexadecimal is expected"))?;
    Ok(Content {
        path: content_path(name, &sha256),
        sha256,
        size: target.length,
    })
}

/// What a file is for; `None` when that is not known here.
fn kind(path: &str, name: &str, target: &TargetWire) -> Result<Option<Kind>, FeedError> {
    const KINDS: [&str; 4] = ["registry", "manifest", "component", "batch"];
    let galley = target
        .custom
        .as_ref()
        .and_then(|custom| custom.get("galley"));
    let Some(galley) = galley else {
        return Ok(None);
    };
    let known = galley.get("kind").and_then(serde_json::Value::as_str);
    if !known.is_some_and(|known| KINDS.contains(&known)) {
        return Ok(None);
    }
    Kind::deserialize(galley)
        .map(Some)
        .map_err(|error| FeedError::field(path, name, error.to_string()))
}

fn at_most(content: Content, max: u64) -> Result<Content, FeedError> {
    if content.size > max {
        return Err(FeedError::TooLarge {
            path: content.path,
            max,
        });
    }
    Ok(content)
}

/// Puts parts together to batches and checks that each view's batches are one chain.
fn chains(found: BTreeMap<Place, Vec<(BatchWire, Content)>>) -> Result<Vec<Batch>, FeedError> {
    let mut batches: Vec<Batch> = Vec::with_capacity(found.len());
    for parts in found.into_values() {
        let batch = batch(parts)?;
        let bad = |reason: &str| FeedError::BadBatch {
            view: batch.view.clone(),
            reason: reason.to_owned(),
        };
        let before = batches
            .last()
            .filter(|before| before.view == batch.view && before.project == batch.project);
        match (before, batch.mode) {
            (None, Mode::Replace) => {}
            (None, Mode::Upsert) => return Err(bad("the first of them does not replace")),
            (Some(before), _) if before.epoch != batch.epoch => {
                return Err(bad("they are of two epochs"));
            }
            (Some(_), Mode::Replace) => return Err(bad("one after the first replaces")),
            (Some(_), Mode::Upsert) => {}
        }
        batches.push(batch);
    }
    Ok(batches)
}

fn batch(mut parts: Vec<(BatchWire, Content)>) -> Result<Batch, FeedError> {
    parts.sort_by_key(|(wire, _)| wire.part);
    let Some((first, _)) = parts.first().cloned() else {
        return Err(FeedError::MissingTarget {
            what: "a part of a batch",
        });
    };
    let named = |name: &str| !name.is_empty() && name.len() <= Limits::NAME_BYTES_MAX;
    let view: String = first.view.chars().take(Limits::NAME_BYTES_MAX).collect();
    let bad = |reason: &str| FeedError::BadBatch {
        view: view.clone(),
        reason: reason.to_owned(),
    };
    if !named(&first.view) || !named(&first.project) {
        return Err(bad("a name is empty or too long"));
    }
    if first.epoch == 0 {
        return Err(bad("epochs begin with 1"));
    }
    let mut seen = BTreeSet::new();
    let mut rows = 0_u64;
    for (wire, _) in &parts {
        let same = (wire.mode, wire.parts, wire.start, wire.end)
            == (first.mode, first.parts, first.start, first.end);
        if !same {
            return Err(bad("the parts of one batch contradict each other"));
        }
        if wire.rows > PART_ROWS_MAX {
            return Err(bad("a part claims too many rows"));
        }
        seen.insert(wire.part);
        rows = rows.saturating_add(wire.rows);
    }
    let whole = seen.len() == parts.len()
        && parts.len() as u64 == first.parts
        && seen.last().is_some_and(|last| *last == first.parts - 1);
    if !whole {
        return Err(bad("parts are missing, or there twice"));
    }
    Ok(Batch {
        project: first.project,
        view,
        epoch: first.epoch,
        sequence: first.sequence,
        mode: first.mode,
        rows,
        window: (first.start.map(EventTime), EventTime(first.end)),
        parts: parts
            .into_iter()
            .map(|(wire, content)| Part {
                content,
                rows: wire.rows,
            })
            .collect(),
    })
}

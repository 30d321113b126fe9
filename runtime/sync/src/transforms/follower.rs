//! Keeps a node's transformations at what the manifest and the components' files say.
//!
//! A manifest that cannot be read leaves the transformations that serve; a component that cannot be
//! loaded takes only its own view out of service, and is tried again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use galley_manifest::Manifest;
use galley_node::Node;

use super::loader::TransformLoader;
use crate::error::{Result, chain};
use crate::follow::{Follow, Stamp};

/// How long components that could not be loaded are left alone before they are tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// Follows a manifest until it is dropped.
#[derive(Debug)]
pub struct TransformFollower(Follow);

struct Follower {
    node: Arc<Node>,
    loader: TransformLoader,
    manifest: PathBuf,
    interval: Duration,
    /// The manifest and the components' files as they were when they were last dealt with.
    seen: Vec<(PathBuf, Option<Stamp>)>,
    again_at: Option<Instant>,
}

impl TransformFollower {
    /// Loads what `manifest` binds and gives it to the node; then looks every `interval` whether the
    /// manifest or a component changed. No manifest at all is as good as an empty one.
    ///
    /// # Errors
    /// [`crate::Error::Thread`]. What cannot be loaded is in the node's status.
    pub fn start(
        node: Arc<Node>,
        loader: TransformLoader,
        manifest: PathBuf,
        interval: Duration,
    ) -> Result<Self> {
        let mut follower = Follower {
            node,
            loader,
            manifest: manifest.clone(),
            interval: interval.max(Duration::from_millis(10)),
            seen: Vec::new(),
            again_at: None,
        };
        // Here, not on the thread: who is told that the node is ready finds its transformations.
        follower.install();
        let follow = Follow::start("galley-transforms", Some(manifest), move |_| {
            follower.look();
            follower.interval
        })?;
        Ok(Self(follow))
    }

    /// Looks at the files now, without waiting for the watch or the clock.
    pub fn poke(&self) {
        self.0.poke();
    }
}

impl Follower {
    fn look(&mut self) {
        self.node.release_idle();
        let due = self.again_at.is_some_and(|at| Instant::now() >= at);
        let changed = self
            .seen
            .iter()
            .any(|(path, stamp)| *stamp != Stamp::of(path));
        if changed || due {
            self.install();
        }
    }

    /// Reads the manifest and installs what it binds.
    fn install(&mut self) {
        self.again_at = None;
        // Stamped before they are read: what changes in between is seen the next time.
        self.seen = vec![stamped(&self.manifest)];
        let is_there = self.seen.iter().any(|(_, stamp)| stamp.is_some());
        let offers = if is_there {
            let manifest = match Manifest::read(&self.manifest) {
                Ok(manifest) => manifest,
                Err(error) => return self.node.refuse_transforms(Some(chain(&error))),
            };
            for warning in &manifest.warnings {
                tracing::warn!(path = %self.manifest.display(), %warning, "manifest");
            }
            let bound = manifest.transforms.iter();
            let components = bound.filter_map(|it| manifest.components.get(&it.component));
            let files = components.filter_map(|component| manifest.file_of(component));
            self.seen.extend(files.map(|file| stamped(&file)));
            self.loader.load(&manifest)
        } else {
            Vec::new()
        };
        if offers.iter().any(|offer| offer.transform.is_err()) {
            self.again_at = Some(Instant::now() + AGAIN);
        }
        match self.node.install_transforms(offers) {
            Ok(()) => self.node.refuse_transforms(None),
            Err(error) => self.node.refuse_transforms(Some(chain(&error))),
        }
    }
}

fn stamped(path: &Path) -> (PathBuf, Option<Stamp>) {
    (path.to_owned(), Stamp::of(path))
}

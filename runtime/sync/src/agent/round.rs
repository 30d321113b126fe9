//! One round of the agent, and its return.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use galley_manifest::{Manifest, Source};
use galley_node::{FeedState, Node, Registry, ReleaseInstall, TransformOffer};
use galley_types::EventTime;

use super::content::{Contents, Transfer};
use super::preview::decode;
use super::releases::{MANIFEST_FILE, Releases, lay};
use super::rows::{Intake, Rows};
use super::state::{
    CURRENT, HELD, InstalledRelease, PREVIOUS, PREVIOUS_REGISTRY, REGISTRY, TRUSTED, load, save,
    trusted,
};
use super::{AgentConfig, AgentError, AgentState, AgentStatus, Outcome, Progress, Stop};
use crate::error::chain;
use crate::feed::{self, FeedError, Poll, Release, Trusted};
use crate::remote::Remote;
use crate::transforms::TransformLoader;

/// Folder of fetched files.
const CONTENT_FOLDER: &str = "content";
/// Keeps a node at what a feed says, a round at a time.
pub struct Agent {
    node: Arc<Node>,
    remote: Arc<dyn Remote>,
    loader: Option<TransformLoader>,
    config: AgentConfig,
    contents: Contents,
    releases: Releases,
    trusted: Trusted,
    /// When the newest signed time was seen.
    floor_seen: Instant,
    release: Option<Release>,
    current: Option<InstalledRelease>,
    held: Option<u64>,
    progress: Progress,
    stop: Stop,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("location", &self.remote.location())
            .finish_non_exhaustive()
    }
}

// === impl Agent ===

impl Agent {
    /// An agent that keeps `node` at the feed in `remote`. `root` is the metadata that it trusts to
    /// begin with. What was installed last serves from now on, without a look at the feed; `loader`
    /// loads its components, without one it has none.
    ///
    /// # Errors
    /// [`AgentError::Feed`] when `root` is no root, [`AgentError::Record`] and
    /// [`AgentError::Node`] when what the store remembers cannot be read.
    pub fn open(
        node: Arc<Node>,
        remote: Arc<dyn Remote>,
        root: &[u8],
        loader: Option<TransformLoader>,
        config: AgentConfig,
    ) -> Result<Self, AgentError> {
        let contents = Contents::new(config.folder.join(CONTENT_FOLDER), config.bandwidth_max);
        let releases = Releases::new(&config.folder);
        let trusted = trusted(&node, root)?;
        let mut agent = Self {
            release: trusted.release()?,
            current: load(&node, CURRENT)?,
            held: load(&node, HELD)?,
            trusted,
            floor_seen: Instant::now(),
            contents,
            releases,
            progress: Progress::default(),
            stop: Stop::default(),
            node,
            remote,
            loader,
            config,
        };
        agent.serve_installed()?;
        agent.tell();
        Ok(agent)
    }

    /// Looks at the feed, and installs what is new.
    ///
    /// # Errors
    /// [`AgentError`]: what serves goes on serving, what was fetched is kept.
    pub fn round(&mut self) -> Result<Outcome, AgentError> {
        let outcome = self.try_round();
        let now = self.node.now();
        self.tell();
        let state = self.progress.change(|status| {
            status.state = AgentState::Waiting;
            status.view = None;
            status.polls += 1;
            match &outcome {
                Ok(outcome) => {
                    // What has expired vouches for nothing, though it is what it was.
                    if !status.frozen {
                        status.checked_at = Some(now);
                    }
                    status.error = None;
                    status.failures = 0;
                    status.installs += u64::from(matches!(outcome, Outcome::Installed { .. }));
                }
                Err(error) => {
                    let code = error.code();
                    status.error = Some((code, chain(error)));
                    status.failures = status.failures.saturating_add(1);
                    status.refused += u64::from(!matches!(code, "feed_unreachable" | "stopped"));
                }
            }
            FeedState {
                confirmed: status.checked_at,
                frozen: status.frozen,
                problem: status.error.as_ref().map(|(_, problem)| problem.clone()),
            }
        });
        if outcome.is_ok() && self.current.is_some() && !state.frozen {
            self.node.confirm_snapshot();
        }
        self.node.set_feed_state(Some(state));
        outcome
    }

    fn try_round(&mut self) -> Result<Outcome, AgentError> {
        self.progress.at(AgentState::Looking);
        let now = self.believed_now();
        match feed::poll(self.remote.as_ref(), &self.trusted, now)? {
            Poll::Unchanged { .. } => {}
            Poll::Changed { trusted, release } => {
                // Remembered before it is installed: an older one is refused from now on, whatever
                // becomes of this one.
                let record = save(TRUSTED, &trusted)?;
                self.node.set_records(&[(TRUSTED, Some(&record))])?;
                if trusted.floor > self.trusted.floor {
                    self.floor_seen = Instant::now();
                }
                self.trusted = trusted;
                self.release = Some(release);
            }
        }
        let Some(release) = self.release.clone() else {
            return Ok(Outcome::Nothing);
        };
        let installed = self.current.as_ref().map(|current| current.version);
        let (version, frozen) = (release.version, release.expires_at <= now);
        if installed == Some(version) || self.held == Some(version) {
            return Ok(match frozen {
                true => Outcome::Frozen { version },
                false => Outcome::Unchanged { version },
            });
        }
        if frozen {
            // It was verified when it was fresh, and could not be installed since.
            return Err(AgentError::Feed(FeedError::Frozen {
                role: "metadata",
                expired: release.expires_at,
                now,
            }));
        }
        self.install(&release)
    }

    fn install(&mut self, release: &Release) -> Result<Outcome, AgentError> {
        self.progress.at(AgentState::Fetching);
        let mut transfer = Transfer::default();
        let bytes = self
            .contents
            .fetch(self.remote.as_ref(), &release.registry, &mut transfer)?;
        let registry = self.decode(&bytes, release.project.as_deref(), release.version)?;
        let mut offers = self.components(release, &mut transfer)?;
        self.progress.bytes(transfer.bytes);
        let rows = self.rows(release, &registry)?;
        self.stop.check()?;
        self.progress.at(AgentState::Installing);
        self.node.index_staged(&rows.promote)?;
        let mut next = InstalledRelease::of(release, self.node.now().0);
        next.batches.clone_from(&rows.batches);
        let mut records = vec![
            (TRUSTED.to_owned(), Some(save(TRUSTED, &self.trusted)?)),
            (CURRENT.to_owned(), Some(save(CURRENT, &next)?)),
            (HELD.to_owned(), None),
        ];
        records.push((
            PREVIOUS.to_owned(),
            match &self.current {
                Some(current) => Some(save(PREVIOUS, current)?),
                None => None,
            },
        ));
        records.push((PREVIOUS_REGISTRY.to_owned(), self.node.record(REGISTRY)?));
        records.push((REGISTRY.to_owned(), Some(bytes)));
        self.keep_components(&mut offers);
        let receipt = self.node.install_release(ReleaseInstall {
            registry,
            offers,
            promote: rows.promote,
            writes: rows.writes,
            spills: rows.spills,
            records,
        })?;
        self.releases.link(release.version);
        let former = self.current.replace(next);
        self.held = None;
        let kept: Vec<&InstalledRelease> = self.current.iter().chain(&former).collect();
        let digests: Vec<String> = kept
            .iter()
            .flat_map(|release| release.digests().cloned())
            .collect();
        self.contents.prune(&digests);
        let versions: Vec<u64> = kept.iter().map(|release| release.version).collect();
        self.releases.prune(&versions);
        tracing::info!(
            version = release.version,
            generation = receipt.generation,
            rows = rows.rows,
            "release of the feed installed"
        );
        Ok(Outcome::Installed {
            version: release.version,
            rows: rows.rows,
        })
    }

    /// Goes back to the release before, and stays there until a newer one is published.
    ///
    /// # Errors
    /// [`AgentError::NothingBefore`], [`AgentError::Node`]: nothing changed.
    pub fn roll_back(&mut self) -> Result<u64, AgentError> {
        let previous: InstalledRelease =
            load(&self.node, PREVIOUS)?.ok_or(AgentError::NothingBefore)?;
        let bytes = self
            .node
            .record(PREVIOUS_REGISTRY)?
            .ok_or(AgentError::NothingBefore)?;
        let registry = self.decode(&bytes, previous.project.as_deref(), previous.version)?;
        let offers = self.load_manifest(previous.version, previous.manifest.is_some())?;
        let held = self.current.as_ref().map(|current| current.version);
        let records = vec![
            (CURRENT.to_owned(), Some(save(CURRENT, &previous)?)),
            (REGISTRY.to_owned(), Some(bytes)),
            (PREVIOUS.to_owned(), None),
            (PREVIOUS_REGISTRY.to_owned(), None),
            (HELD.to_owned(), Some(save(HELD, &held)?)),
        ];
        self.node.take_back(ReleaseInstall {
            registry,
            offers,
            promote: Vec::new(),
            writes: Vec::new(),
            spills: Vec::new(),
            records,
        })?;
        let version = previous.version;
        self.releases.link(version);
        self.current = Some(previous);
        self.held = held;
        self.tell();
        tracing::warn!(version, held, "rolled back to the release before");
        Ok(version)
    }

    /// What the agent says of itself.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        self.progress.read()
    }

    /// The manifest of the release that serves, for what else follows it.
    #[must_use]
    pub fn manifest_path(folder: &Path) -> PathBuf {
        Releases::new(folder).current()
    }

    pub(super) fn handles(&self) -> (Progress, Stop) {
        (self.progress.clone(), self.stop.clone())
    }

    pub(super) fn config(&self) -> &AgentConfig {
        &self.config
    }

    /// This machine's time of day, but not less than the newest signed time and what has passed
    /// since it was seen: a clock that was set back does not revive what had expired.
    fn believed_now(&self) -> EventTime {
        let passed = self.floor_seen.elapsed().as_micros();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        let least = self.trusted.floor.saturating_add(passed);
        self.node.now().max(EventTime(least))
    }

    pub(super) fn now(&self) -> EventTime {
        self.node.now()
    }

    /// Serves what the store says is installed.
    fn serve_installed(&mut self) -> Result<(), AgentError> {
        let Some(current) = self.current.clone() else {
            return Ok(());
        };
        let Some(bytes) = self.node.record(REGISTRY)? else {
            return Ok(());
        };
        let registry = self.decode(&bytes, current.project.as_deref(), current.version)?;
        self.node.install(registry)?;
        match self.load_manifest(current.version, current.manifest.is_some()) {
            Ok(offers) => self.node.install_transforms(offers)?,
            Err(error) => self.node.refuse_transforms(Some(chain(&error))),
        }
        Ok(())
    }

    fn decode(
        &self,
        bytes: &[u8],
        project: Option<&str>,
        version: u64,
    ) -> Result<Registry, AgentError> {
        let project = self.config.project.as_deref().or(project);
        decode(bytes, (project, self.config.versioning), version)
    }

    /// Fetches the manifest and the components, lays them out as the manifest names them, and
    /// loads them.
    fn components(
        &mut self,
        release: &Release,
        transfer: &mut Transfer,
    ) -> Result<Vec<TransformOffer>, AgentError> {
        let Some(manifest) = &release.manifest else {
            return Ok(Vec::new());
        };
        let folder = self.releases.folder(release.version);
        let beside = folder.join("components");
        std::fs::create_dir_all(&beside)
            .map_err(|source| AgentError::io("make", &beside, source))?;
        let bytes = self
            .contents
            .fetch(self.remote.as_ref(), manifest, transfer)?;
        lay(&folder.join(MANIFEST_FILE), &bytes)?;
        for (name, content) in &release.components {
            self.stop.check()?;
            let bytes = self
                .contents
                .fetch(self.remote.as_ref(), content, transfer)?;
            lay(&beside.join(format!("{name}.wasm")), &bytes)?;
        }
        self.load_manifest(release.version, true)
    }

    fn load_manifest(
        &mut self,
        version: u64,
        is_there: bool,
    ) -> Result<Vec<TransformOffer>, AgentError> {
        let path = self.releases.folder(version).join(MANIFEST_FILE);
        if !is_there {
            return Ok(Vec::new());
        }
        let refused = |reason: String| AgentError::Manifest { version, reason };
        let manifest = Manifest::read(&path).map_err(|error| refused(chain(&error)))?;
        // What a release says must not lead anywhere else: neither to hosts nor to other files.
        for (name, component) in &manifest.components {
            let expected = format!("components/{name}.wasm");
            match &component.source {
                Source::File(path) if *path == *expected => {}
                _ => {
                    return Err(refused(format!(
                        "the source of [component.{name}] is not {expected} of the release"
                    )));
                }
            }
        }
        let loader = self.loader.as_mut();
        Ok(loader
            .map(|loader| loader.load(&manifest))
            .unwrap_or_default())
    }

    /// Components that could not be loaded here take only their own views out of service: the
    /// release as a whole is sound.
    fn keep_components(&self, offers: &mut [TransformOffer]) {
        for offer in offers {
            if let Err(reason) = &offer.transform {
                tracing::warn!(view = %offer.view, %reason, "component of the release not loaded");
            }
        }
    }

    fn rows(&self, release: &Release, registry: &Registry) -> Result<Rows, AgentError> {
        let applied = self
            .current
            .as_ref()
            .map(|current| current.batches.clone())
            .unwrap_or_default();
        let wanted = self.wanted(registry);
        let mut transfer = Transfer::default();
        let intake = Intake {
            node: &self.node,
            remote: self.remote.as_ref(),
            contents: &self.contents,
            registry,
            release,
            stop: &self.stop,
            progress: &self.progress,
            memory_max: self.config.memory_max,
        };
        let all = |view: &str| wanted.as_ref().is_none_or(|wanted| wanted.contains(view));
        intake.take(&applied, &all, &mut transfer)
    }

    /// The views whose rows are wanted; `None` for all.
    fn wanted(&self, registry: &Registry) -> Option<BTreeSet<String>> {
        let AgentConfig {
            views,
            services,
            tags,
            ..
        } = &self.config;
        if views.is_empty() && services.is_empty() && tags.is_empty() {
            return None;
        }
        let mut wanted: BTreeSet<String> = views.iter().cloned().collect();
        for service in services {
            match registry.views_of_service(service) {
                Some(views) => wanted.extend(views),
                None => tracing::warn!(%service, "sync.services names no service of the registry"),
            }
        }
        for view in registry.views() {
            let tagged = view
                .tags
                .iter()
                .any(|(key, value)| tags.iter().any(|tag| *tag == format!("{key}={value}")));
            if tagged {
                wanted.insert(view.name.clone());
            }
        }
        Some(wanted)
    }

    /// Brings the status up to date with what the agent knows.
    fn tell(&self) {
        let previous: Option<InstalledRelease> = load(&self.node, PREVIOUS).unwrap_or_default();
        let now = self.believed_now();
        self.progress.change(|status| {
            status.location = self.remote.location();
            status.installed.clone_from(&self.current);
            status.previous = previous.map(|previous| previous.version);
            status.held = self.held;
            let release = self.release.as_ref();
            status.seen = release.map(|release| release.version);
            status.expires_at = release.map(|release| release.expires_at);
            status.frozen = release.is_some_and(|release| release.expires_at <= now);
        });
    }
}

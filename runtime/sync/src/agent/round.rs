//! One round of the agent, and its return.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use galley_node::{FeedState, Node, Registry, ReleaseInstall};
use galley_types::EventTime;

use super::components::tell_unloaded;
use super::content::{Contents, Transfer, digest_of, name_of};
use super::preview::decode;
use super::releases::Releases;
use super::rows::{Intake, Rows};
use super::state::{
    CURRENT, HELD, Held, InstalledRelease, PREVIOUS, PREVIOUS_REGISTRY, REGISTRY, TRUSTED, load,
    save, trusted,
};
use super::subscription::{wanted, widened};
use super::watched::Watched;
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
    pub(super) remote: Arc<dyn Remote>,
    pub(super) loader: Option<TransformLoader>,
    config: AgentConfig,
    pub(super) contents: Contents,
    pub(super) releases: Releases,
    trusted: Trusted,
    /// When the newest signed time was seen.
    floor_seen: Instant,
    release: Option<Release>,
    current: Option<InstalledRelease>,
    held: Option<Held>,
    /// Whether all rows that are wanted of the release that serves are here.
    is_covered: bool,
    progress: Progress,
    pub(super) stop: Stop,
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
        let stop = Stop::default();
        let contents = Contents::new(
            config.folder.join(CONTENT_FOLDER),
            config.bandwidth_max,
            stop.clone(),
        );
        let releases = Releases::new(&config.folder);
        let trusted = trusted(&node, root)?;
        let mut agent = Self {
            release: trusted.release()?,
            current: load(&node, CURRENT)?,
            held: load(&node, HELD)?,
            is_covered: false,
            trusted,
            floor_seen: Instant::now(),
            contents,
            releases,
            progress: Progress::default(),
            stop,
            node,
            remote,
            loader,
            config,
        };
        agent.serve_installed()?;
        agent.tell();
        Ok(agent)
    }

    /// Forgets what was seen of a feed: the next agent begins with `root`, and takes the newest release
    /// whole. What serves goes on serving.
    ///
    /// # Errors
    /// [`AgentError::Feed`] when `root` is no root, [`AgentError::Node`]: nothing changed.
    pub fn forget(node: &Node, root: &[u8]) -> Result<(), AgentError> {
        Trusted::new(root.to_vec())?;
        let current = match load::<InstalledRelease>(node, CURRENT) {
            Ok(Some(current)) => Some(save(CURRENT, &current.of_another_feed())?),
            // What cannot be read is of no use either.
            Ok(None) | Err(AgentError::Record { .. }) => None,
            Err(error) => return Err(error),
        };
        node.set_records(&[(TRUSTED, None), (HELD, None), (CURRENT, current.as_deref())])?;
        Ok(())
    }

    /// Looks at the feed, and installs what is new.
    ///
    /// # Errors
    /// [`AgentError`]: what serves goes on serving, what was fetched is kept.
    pub fn round(&mut self) -> Result<Outcome, AgentError> {
        let outcome = self.try_round().map_err(|error| {
            // Reads that end because they were asked to know no better.
            self.stop.check().err().unwrap_or(error)
        });
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
                // It looks again at once when the rollback is done, if that is wanted.
                Err(AgentError::GaveWay) => {}
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
        let place = Watched::looking(self.remote.as_ref(), &self.stop);
        match feed::poll(&place, &self.trusted, now)? {
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
        let (version, frozen) = (release.version, release.expires_at <= now);
        let targets = self.targets();
        let current = self.current.as_ref();
        let is_current = current.is_some_and(|it| it.is(version, &targets));
        let held = self.held.as_ref();
        let is_held = held.is_some_and(|it| it.is(version, &targets));
        if is_held || (is_current && !self.is_widened(&release)?) {
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
        let place = Watched::new(self.remote.as_ref(), &self.stop);
        let bytes = self
            .contents
            .fetch(&place, &release.registry, &mut transfer)?;
        let registry = self.decode(&bytes, release.project.as_deref(), release.version)?;
        let offers = self.components(release, &mut transfer)?;
        self.progress.bytes(transfer.bytes);
        let rows = self.rows(release, &registry)?;
        self.stop.check()?;
        self.progress.at(AgentState::Installing);
        self.node.index_staged(&rows.promote)?;
        let mut next = InstalledRelease::of(release, self.targets(), self.node.now().0);
        next.batches.clone_from(&rows.batches);
        next.digests.clone_from(&rows.digests);
        let mut records = vec![
            (TRUSTED.to_owned(), Some(save(TRUSTED, &self.trusted)?)),
            (CURRENT.to_owned(), Some(save(CURRENT, &next)?)),
            (HELD.to_owned(), None),
        ];
        // The same release with more of its rows leaves nothing to go back to: the tables of the one
        // before make room for those it replaced itself.
        let before = self.current.as_ref();
        let before = before.filter(|it| !it.is(release.version, &next.targets));
        let before_registry = match before {
            Some(_) => self.node.record(REGISTRY)?,
            None => None,
        };
        let before = before.map(|it| save(PREVIOUS, it)).transpose()?;
        records.push((PREVIOUS.to_owned(), before));
        records.push((PREVIOUS_REGISTRY.to_owned(), before_registry));
        records.push((REGISTRY.to_owned(), Some(bytes)));
        tell_unloaded(&offers);
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
        self.is_covered = true;
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
        let held = self.current.as_ref().map(|current| Held::Release {
            version: current.version,
            targets: current.targets.clone(),
        });
        let held_record = match &held {
            Some(held) => Some(save(HELD, held)?),
            None => None,
        };
        let records = vec![
            (CURRENT.to_owned(), Some(save(CURRENT, &previous)?)),
            (REGISTRY.to_owned(), Some(bytes)),
            (PREVIOUS.to_owned(), None),
            (PREVIOUS_REGISTRY.to_owned(), None),
            (HELD.to_owned(), held_record),
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
        let held = self.held.as_ref().map(Held::version);
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

    /// Whether the release that serves has rows that are wanted since this start and are not here.
    fn is_widened(&mut self, release: &Release) -> Result<bool, AgentError> {
        let (Some(current), false) = (&self.current, self.is_covered) else {
            return Ok(false);
        };
        let bytes = self.node.record(REGISTRY)?.unwrap_or_default();
        let registry = self.decode(&bytes, current.project.as_deref(), current.version)?;
        let widened = widened(&self.config, (release, &registry), current);
        self.is_covered = !widened;
        Ok(widened)
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

    fn rows(&self, release: &Release, registry: &Registry) -> Result<Rows, AgentError> {
        let wanted = wanted(&self.config, registry);
        let mut transfer = Transfer::default();
        let place = Watched::new(self.remote.as_ref(), &self.stop);
        let intake = Intake {
            node: &self.node,
            remote: &place,
            contents: &self.contents,
            registry,
            release,
            stop: &self.stop,
            progress: &self.progress,
            memory_max: self.config.memory_max,
        };
        let all = |view: &str| wanted.as_ref().is_none_or(|wanted| wanted.contains(view));
        intake.take(self.current.as_ref(), &all, &mut transfer)
    }

    /// What tells the newest release that was seen from another of its version.
    fn targets(&self) -> String {
        let bytes = self.trusted.targets.as_deref();
        bytes.map_or_else(String::new, |bytes| name_of(&digest_of(bytes)))
    }

    /// Brings the status up to date with what the agent knows.
    fn tell(&self) {
        let previous: Option<InstalledRelease> = load(&self.node, PREVIOUS).unwrap_or_default();
        let now = self.believed_now();
        self.progress.change(|status| {
            status.location = self.remote.location();
            status.installed.clone_from(&self.current);
            status.previous = previous.map(|previous| previous.version);
            status.held = self.held.as_ref().map(Held::version);
            let release = self.release.as_ref();
            status.seen = release.map(|release| release.version);
            status.expires_at = release.map(|release| release.expires_at);
            status.frozen = release.is_some_and(|release| release.expires_at <= now);
        });
    }
}

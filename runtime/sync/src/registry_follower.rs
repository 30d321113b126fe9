//! Keeps a node's registry at what its file, bucket or server says.
//!
//! Feast rewrites the file in place, other tools replace it by a rename, network folders say
//! nothing at all: so the folder is watched and the file is looked at every few seconds besides.
//! What is installed is known by the hash of its bytes; a registry that is refused is reported
//! once, tried again with growing waits, and never disturbs the one that serves. A registry that is
//! elsewhere is asked for with what was last seen of it, so that one that did not change costs little.

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use galley_node::{Node, Registry};
use galley_types::{Classify as _, ErrorKind};

use crate::error::{Error, Result, chain};
use crate::follow::Follow;
use crate::registry_source::RegistrySource;
use crate::repo::Repo;

/// Reads of a file that does not decode before it is called broken: it may be half written.
const TRIES: u32 = 3;
/// The wait between those reads.
const TRY_AGAIN: Duration = Duration::from_millis(300);
/// The first and the longest wait before a refused registry is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The longest wait before a registry that is elsewhere, and was read and refused, is read again.
const BACKOFF_CONTENT: Duration = Duration::from_secs(300);
/// A registry that is elsewhere is asked for at most this part of the time.
const SHARE: u32 = 20;

/// Follows the registry of a repo until it is dropped.
#[derive(Debug)]
pub struct RegistryFollower(Follow);

struct Follower {
    node: Arc<Node>,
    repo: Repo,
    source: Box<dyn RegistrySource>,
    interval: Duration,
    /// How long the last read took.
    took: Duration,
    installed: Option<u64>,
    refused: Option<Refused>,
    hasher: foldhash::fast::RandomState,
    /// Looks so far: what makes each wait differ from the last.
    looks: u64,
}

/// The last content that was refused.
struct Refused {
    /// Hash of its bytes, or of the reason when there were none.
    content: u64,
    backoff: Duration,
    again_at: Instant,
}

// === impl RegistryFollower ===

impl RegistryFollower {
    /// Starts to follow. `interval` is the time between looks at the registry when no watch says
    /// anything. It is read at once; if the node already has that very content installed nothing
    /// but a swap to an equal registry happens.
    ///
    /// # Errors
    /// [`Error::Thread`], [`Error::RegistryAway`].
    pub fn start(node: Arc<Node>, repo: Repo, interval: Duration) -> Result<Self> {
        let mut follower = Follower {
            node,
            source: repo.registry_source()?,
            repo,
            interval: interval.max(Duration::from_millis(10)),
            took: Duration::ZERO,
            installed: None,
            refused: None,
            hasher: foldhash::fast::RandomState::default(),
            looks: 0,
        };
        let file = follower.source.file().map(ToOwned::to_owned);
        let follow = Follow::start("galley-registry", file, move |told| {
            follower.look(told);
            follower.wait()
        })?;
        Ok(Self(follow))
    }

    /// Looks at the registry now, without waiting for the watch or the clock.
    pub fn poke(&self) {
        self.0.poke();
    }

    /// Stops and waits for the thread.
    pub fn shutdown(self) {
        drop(self);
    }
}

// === impl Follower ===

impl Follower {
    fn is_elsewhere(&self) -> bool {
        self.source.file().is_none()
    }

    fn wait(&self) -> Duration {
        let left = self.refused.as_ref().map(|refused| {
            let now = Instant::now();
            refused.again_at.saturating_duration_since(now)
        });
        if !self.is_elsewhere() {
            return left.map_or(self.interval, |left| left.min(self.interval));
        }
        let wait = left.unwrap_or_else(|| self.interval.max(self.took.saturating_mul(SHARE)));
        // Up to an eighth more, so that nodes that were started together do not ask together.
        wait + wait / 8 * u32::try_from(self.hasher.hash_one(self.looks) % 64).unwrap_or(0) / 64
    }

    /// Reads the registry if it changed (or `told` says so, or a refused one is due again).
    fn look(&mut self, told: bool) {
        self.looks += 1;
        let due = self
            .refused
            .as_ref()
            .is_some_and(|refused| Instant::now() >= refused.again_at);
        let again = due || (told && !self.is_elsewhere());
        if self.is_elsewhere() && self.refused.is_some() && !due && !told {
            return;
        }
        let started = Instant::now();
        let mut outcome = self.offer(again);
        self.took = started.elapsed();
        for _ in 1..TRIES {
            match &outcome {
                // What was refused before is not half written.
                Err((content, _)) if !self.is_elsewhere() && !self.known_bad(*content) => {
                    std::thread::sleep(TRY_AGAIN);
                    outcome = self.offer(true);
                }
                _ => break,
            }
        }
        match outcome {
            Ok(None) => {
                if self.refused.is_none() {
                    self.node.confirm_snapshot();
                }
            }
            Ok(Some(content)) => {
                self.installed = Some(content);
                self.refused = None;
                self.node.confirm_snapshot();
            }
            Err((content, error)) => self.refuse(content, &error),
        }
    }

    /// Reads, decodes and installs; the hash of the content either way, and nothing when it is
    /// what it was.
    fn offer(&mut self, again: bool) -> std::result::Result<Option<u64>, (u64, Error)> {
        let read = self.source.read(again);
        let read = read.map_err(|error| (self.hash_of(&error), error))?;
        let Some(bytes) = read else {
            return Ok(None);
        };
        let content = self.hash(&bytes);
        // After a refusal the same content is installed again: that takes the refusal back.
        if self.installed == Some(content) && self.refused.is_none() {
            return Ok(Some(content));
        }
        let registry = self
            .repo
            .decode_registry(&bytes)
            .map_err(|error| (content, error))?;
        let serves = self.installed.is_none() && self.refused.is_none() && self.serves(&registry);
        if !serves {
            self.node
                .install(registry)
                .map_err(|error| (content, Error::Node(error)))?;
        }
        if let Err(error) = self.repo.keep_last_good(&bytes) {
            // The copy only serves a start at which the registry cannot be read.
            tracing::warn!(error = %chain(&error), "copy of the last good registry not written");
        }
        Ok(Some(content))
    }

    /// Stands for the content where there is none. What another place says of its failure differs
    /// from time to time, by ports and durations.
    fn hash_of(&self, error: &Error) -> u64 {
        match error {
            Error::RegistryAway { source } => self.hash(format!("{:?}", source.kind).as_bytes()),
            error => self.hash(chain(error).as_bytes()),
        }
    }

    /// Whether the node was given this very registry before the follower started: Feast gives each
    /// registry it writes a new version id.
    fn serves(&self, registry: &Registry) -> bool {
        !registry.version_id().is_empty()
            && self.node.registry().is_some_and(|running| {
                running.version_id() == registry.version_id()
                    && running.last_updated() == registry.last_updated()
                    && running.project() == registry.project()
            })
    }

    fn refuse(&mut self, content: u64, error: &Error) {
        let (first, mut longest) = BACKOFF;
        if self.is_elsewhere() && error.kind() != ErrorKind::Unavailable {
            longest = BACKOFF_CONTENT;
        }
        let backoff = match &self.refused {
            Some(refused) if refused.content == content => (refused.backoff * 2).min(longest),
            _ => {
                self.node.refuse(chain(error));
                first
            }
        };
        let again_at = Instant::now() + backoff;
        self.refused = Some(Refused {
            content,
            backoff,
            again_at,
        });
    }

    fn known_bad(&self, content: u64) -> bool {
        self.refused
            .as_ref()
            .is_some_and(|refused| refused.content == content)
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rides;

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        for _ in 0..500 {
            if done() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{what} did not come to pass");
    }

    #[test]
    fn a_registry_is_installed_refused_and_replaced() {
        let rides = Rides::new();
        let path = rides.repo.registry_file().unwrap().to_owned();
        let sound = std::fs::read(&path).unwrap();
        let follower = RegistryFollower::start(
            Arc::clone(&rides.node),
            rides.repo.clone(),
            Duration::from_secs(60),
        )
        .unwrap();
        until("the first install", || rides.node.status().generation == 1);

        // Rewritten in place with nonsense: told once, the old one serves.
        std::fs::write(&path, b"\xff\xff\xff nonsense").unwrap();
        until("the refusal", || rides.node.status().registry_refusals == 1);
        let status = rides.node.status();
        assert_eq!(status.generation, 1);
        assert!(status.registry_refused.unwrap().contains("registry.db"));

        // The same registry again takes the refusal back.
        std::fs::write(&path, &sound).unwrap();
        until("the recovery", || {
            rides.node.status().registry_refused.is_none()
        });

        // Replaced by a rename, with other bytes.
        let mut other = sound.clone();
        other.extend_from_slice(&[0x22, 0x02, b'v', b'2']);
        let beside = path.with_extension("new");
        std::fs::write(&beside, &other).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        until("the new version", || {
            rides.node.status().registry_version.as_deref() == Some("v2")
        });

        let generation = rides.node.status().generation;
        std::fs::remove_file(&path).unwrap();
        until("the news of the loss", || {
            rides.node.status().registry_refusals == 2
        });
        assert!(
            rides
                .node
                .status()
                .registry_refused
                .unwrap()
                .contains("feast apply")
        );
        assert_eq!(rides.node.status().generation, generation);
        follower.shutdown();
    }

    #[test]
    fn polling_alone_finds_a_change() {
        let rides = Rides::installed();
        let mut follower = Follower {
            node: Arc::clone(&rides.node),
            repo: rides.repo.clone(),
            interval: Duration::from_secs(5),
            took: Duration::ZERO,
            looks: 0,
            source: rides.repo.registry_source().unwrap(),
            installed: None,
            refused: None,
            hasher: foldhash::fast::RandomState::default(),
        };
        follower.look(false);
        assert_eq!(
            rides.node.status().generation,
            1,
            "the same registry is not installed twice"
        );
        let mut other = std::fs::read(rides.repo.registry_file().unwrap()).unwrap();
        other.extend_from_slice(&[0x22, 0x02, b'v', b'2']);
        std::fs::write(rides.repo.registry_file().unwrap(), other).unwrap();
        follower.look(false);
        assert_eq!(rides.node.status().generation, 2);
        follower.look(false);
        assert_eq!(rides.node.status().generation, 2);
    }
}

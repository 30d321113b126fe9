//! Keeps a node's registry at what the file says.
//!
//! Feast rewrites the file in place, other tools replace it by a rename, network folders say
//! nothing at all: so the folder is watched and the file is looked at every few seconds besides.
//! What is installed is known by the hash of its bytes; a registry that is refused is reported
//! once, tried again with growing waits, and never disturbs the one that serves.

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use galley_node::{Node, Registry};

use crate::error::{Error, Result, chain};
use crate::follow::{Follow, Stamp};
use crate::repo::Repo;

/// Reads of a file that does not decode before it is called broken: it may be half written.
const TRIES: u32 = 3;
/// The wait between those reads.
const TRY_AGAIN: Duration = Duration::from_millis(300);
/// The first and the longest wait before a refused registry is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Follows the registry file of a repo until it is dropped.
#[derive(Debug)]
pub struct RegistryFollower(Follow);

struct Follower {
    node: Arc<Node>,
    repo: Repo,
    interval: Duration,
    /// What the file looked like when it was last dealt with; `None` when it was not there.
    seen: Option<Option<Stamp>>,
    installed: Option<u64>,
    refused: Option<Refused>,
    hasher: foldhash::fast::RandomState,
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
    /// Starts to follow. `interval` is the time between looks at the file when the watch says
    /// nothing. The file is read at once; if the node already has that very content installed
    /// nothing but a swap to an equal registry happens.
    ///
    /// # Errors
    /// [`Error::Thread`].
    pub fn start(node: Arc<Node>, repo: Repo, interval: Duration) -> Result<Self> {
        let interval = interval.max(Duration::from_millis(10));
        let mut follower = Follower {
            node,
            repo,
            interval,
            seen: None,
            installed: None,
            refused: None,
            hasher: foldhash::fast::RandomState::default(),
        };
        let file = follower.repo.registry_path().to_owned();
        let follow = Follow::start("galley-registry", file, move |told| {
            follower.look(told);
            follower.wait()
        })?;
        Ok(Self(follow))
    }

    /// Looks at the file now, without waiting for the watch or the clock.
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
    fn wait(&self) -> Duration {
        self.refused.as_ref().map_or(self.interval, |refused| {
            let left = refused.again_at.saturating_duration_since(Instant::now());
            left.min(self.interval)
        })
    }

    /// Reads the file if it changed (or `told` says so, or a refused one is due again).
    fn look(&mut self, told: bool) {
        let stamp = Stamp::of(self.repo.registry_path());
        let due = self
            .refused
            .as_ref()
            .is_some_and(|refused| Instant::now() >= refused.again_at);
        if !told && !due && self.seen.as_ref() == Some(&stamp) {
            if self.refused.is_none() && stamp.is_some() {
                self.node.confirm_snapshot();
            }
            return;
        }
        self.seen = Some(stamp);
        let mut outcome = self.offer();
        for _ in 1..TRIES {
            match &outcome {
                // What was refused before is not half written.
                Err((content, _)) if !self.known_bad(*content) => {
                    std::thread::sleep(TRY_AGAIN);
                    self.seen = Some(Stamp::of(self.repo.registry_path()));
                    outcome = self.offer();
                }
                _ => break,
            }
        }
        match outcome {
            Ok(content) => {
                self.installed = Some(content);
                self.refused = None;
                self.node.confirm_snapshot();
            }
            Err((content, error)) => self.refuse(content, &error),
        }
    }

    /// Reads, decodes and installs; the hash of the content either way.
    fn offer(&self) -> std::result::Result<u64, (u64, Error)> {
        let bytes = self
            .repo
            .read_registry_bytes()
            .map_err(|error| (self.hash(chain(&error).as_bytes()), error))?;
        let content = self.hash(&bytes);
        // After a refusal the same content is installed again: that takes the refusal back.
        if self.installed == Some(content) && self.refused.is_none() {
            return Ok(content);
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
            // The copy only serves a start at which the file is broken.
            tracing::warn!(error = %chain(&error), "copy of the last good registry not written");
        }
        Ok(content)
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
        let (first, longest) = BACKOFF;
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
        let path = rides.repo.registry_path().to_owned();
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
            seen: None,
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
        let mut other = std::fs::read(rides.repo.registry_path()).unwrap();
        other.extend_from_slice(&[0x22, 0x02, b'v', b'2']);
        std::fs::write(rides.repo.registry_path(), other).unwrap();
        follower.look(false);
        assert_eq!(rides.node.status().generation, 2);
        follower.look(false);
        assert_eq!(rides.node.status().generation, 2);
    }
}

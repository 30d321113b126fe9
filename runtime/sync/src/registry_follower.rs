//! Keeps a node's registry at what the file says.
//!
//! Feast rewrites the file in place, other tools replace it by a rename, network folders say
//! nothing at all: so the folder is watched and the file is looked at every few seconds besides.
//! What is installed is known by the hash of its bytes; a registry that is refused is reported
//! once, tried again with growing waits, and never disturbs the one that serves.

use std::hash::BuildHasher as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use galley_node::{Node, Registry};
use notify::{RecursiveMode, Watcher as _};

use crate::error::{Error, Result, chain};
use crate::repo::Repo;

/// How long the file must be quiet before it is read after a change was noticed.
const QUIET: Duration = Duration::from_millis(100);
/// Reads of a file that does not decode before it is called broken: it may be half written.
const TRIES: u32 = 3;
/// The wait between those reads.
const TRY_AGAIN: Duration = Duration::from_millis(300);
/// The first and the longest wait before a refused registry is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Wake-ups that may wait for the thread: one says all.
const WAKE_MAX: usize = 1;

/// Follows the registry file of a repo until it is dropped.
#[derive(Debug)]
pub struct RegistryFollower {
    wake: Option<SyncSender<Wake>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Wake {
    Changed,
    Stop,
}

/// What the file system says of the file: enough to see that it may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

struct Follower {
    node: Arc<Node>,
    repo: Repo,
    interval: Duration,
    receiver: Receiver<Wake>,
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
        const NAME: &str = "galley-registry";
        let (sender, receiver) = sync_channel(WAKE_MAX);
        let follower = Follower {
            node,
            repo,
            interval: interval.max(Duration::from_millis(10)),
            receiver,
            seen: None,
            installed: None,
            refused: None,
            hasher: foldhash::fast::RandomState::default(),
        };
        let watch = sender.clone();
        let thread = std::thread::Builder::new()
            .name(NAME.to_owned())
            .spawn(move || follower.run(&watch))
            .map_err(|source| Error::Thread { name: NAME, source })?;
        Ok(Self {
            wake: Some(sender),
            thread: Some(thread),
        })
    }

    /// Looks at the file now, without waiting for the watch or the clock.
    pub fn poke(&self) {
        if let Some(wake) = &self.wake {
            // A full channel means that a look is due anyway.
            let _ = wake.try_send(Wake::Changed);
        }
    }

    /// Stops and waits for the thread.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(wake) = self.wake.take() {
            // Blocks only while the thread is busy with the wake-up before; it then goes.
            let _ = wake.send(Wake::Stop);
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that follows the registry had panicked");
        }
    }
}

impl Drop for RegistryFollower {
    fn drop(&mut self) {
        self.stop();
    }
}

// === impl Follower ===

impl Follower {
    fn run(mut self, wake: &SyncSender<Wake>) {
        let watcher = watch(self.repo.registry_path(), wake.clone());
        if let Err(error) = &watcher {
            tracing::warn!(%error, "the registry's folder cannot be watched, polling only");
        }
        self.look(true);
        loop {
            match self.receiver.recv_timeout(self.wait()) {
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Wake::Changed) => {
                    if !self.settle() {
                        return;
                    }
                    self.look(true);
                }
                Err(RecvTimeoutError::Timeout) => self.look(false),
            }
        }
    }

    fn wait(&self) -> Duration {
        self.refused.as_ref().map_or(self.interval, |refused| {
            let left = refused.again_at.saturating_duration_since(Instant::now());
            left.min(self.interval)
        })
    }

    /// Waits until the file has been quiet for a moment; `false` when it is time to stop.
    fn settle(&self) -> bool {
        // At most this many events are waited out, so a file that never rests is read all the same.
        for _ in 0..10 {
            match self.receiver.recv_timeout(QUIET) {
                Ok(Wake::Changed) => {}
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
        true
    }

    /// Reads the file if it changed (or `told` says so, or a refused one is due again).
    fn look(&mut self, told: bool) {
        let stamp = stamp(self.repo.registry_path());
        let due = self
            .refused
            .as_ref()
            .is_some_and(|refused| Instant::now() >= refused.again_at);
        if !told && !due && self.seen.as_ref() == Some(&stamp) {
            return;
        }
        self.seen = Some(stamp);
        let mut outcome = self.offer();
        for _ in 1..TRIES {
            match &outcome {
                // What was refused before is not half written.
                Err((content, _)) if !self.known_bad(*content) => {
                    std::thread::sleep(TRY_AGAIN);
                    self.seen = Some(self::stamp(self.repo.registry_path()));
                    outcome = self.offer();
                }
                _ => break,
            }
        }
        match outcome {
            Ok(content) => {
                self.installed = Some(content);
                self.refused = None;
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

/// Watches the folder: the file itself may be replaced by another with its name.
fn watch(file: &Path, wake: SyncSender<Wake>) -> notify::Result<notify::RecommendedWatcher> {
    let name = file.file_name().map(ToOwned::to_owned);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let ours = event.is_ok_and(|event| {
            !event.kind.is_access()
                && event
                    .paths
                    .iter()
                    .any(|path| path.file_name() == name.as_deref())
        });
        if ours {
            let _ = wake.try_send(Wake::Changed);
        }
    })?;
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
        inode: metadata.ino(),
    })
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
        let (_sender, receiver) = sync_channel(WAKE_MAX);
        let mut follower = Follower {
            node: Arc::clone(&rides.node),
            repo: rides.repo.clone(),
            interval: Duration::from_secs(5),
            receiver,
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

//! One look at a feed: what is new is fetched in the order of The Update Framework's client
//! workflow (section 5 of its specification) and believed only when all of it is right.

use std::io::Read as _;

use galley_types::EventTime;

use super::error::FeedError;
use super::key::sha256;
use super::metadata::{Envelope, Head, Named, Naming, Role, Root, Targets};
use super::release::Release;
use super::trusted::{Trusted, View};
use crate::remote::{Ask, Body, Fetched, Remote, RemoteErrorKind};

/// Where the one file lies that changes.
pub const TIMESTAMP: &str = "metadata/timestamp.json";
/// Bytes of the timestamp.
pub const TIMESTAMP_BYTES_MAX: u64 = 16 << 10;
/// Bytes of any other metadata.
pub const METADATA_BYTES_MAX: u64 = 4 << 20;
/// Roots that are followed in one poll.
pub const ROOTS_MAX: u64 = 64;

/// What a look at a feed found.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is made in a poll, and taken apart at once"
)]
pub enum Poll {
    /// Nothing new.
    Unchanged {
        /// Whether what is trusted is past its time: it goes on being served, and somebody should
        /// know.
        expired: bool,
    },
    /// Something new: a release, or new signatures of the same one.
    Changed {
        /// What to remember once the release is installed.
        trusted: Trusted,
        /// The release.
        release: Release,
    },
}

/// The time as far as it can be believed.
#[derive(Clone, Copy, Debug)]
struct Time {
    now: EventTime,
    floor: EventTime,
    /// Whoever publishes anew may do so on top of what has expired.
    forgives: bool,
}

/// A file of metadata, and what its tag is.
struct Read {
    bytes: Vec<u8>,
    tag: Option<String>,
}

/// Looks whether the feed has something that `trusted` has not: one conditional read when it has
/// not. `now` is this machine's clock.
///
/// # Errors
/// [`FeedError`]; `trusted` stays as good as it was.
pub fn poll(remote: &dyn Remote, trusted: &Trusted, now: EventTime) -> Result<Poll, FeedError> {
    let view = trusted.view()?;
    let mut time = Time {
        now,
        floor: EventTime(trusted.floor),
        forgives: false,
    };
    let expired = time.is_past(view.expires_at());
    let found = timestamp(remote, trusted.tag.as_deref())?;
    let found = found.filter(|found| Some(&found.bytes) != trusted.timestamp.as_ref());
    if found.is_none() && !expired {
        return Ok(Poll::Unchanged { expired });
    }
    let (root_bytes, root) = roots(remote, trusted, &view.root)?;
    let moved = root.head.version != view.root.head.version;
    // A root comes before what it lets sign: what was read before it may be of yesterday.
    let found = match found {
        found if !moved => found,
        _ => timestamp(remote, None)?,
    };
    let Some(found) = found else {
        return Ok(Poll::Unchanged { expired });
    };
    let seen = Seen::after(&view, &root);
    if seen.forgets_time {
        time.floor = EventTime(i64::MIN);
    }
    time.check(Role::Root, root.head)?;
    let newer = Newer {
        remote,
        root: &root,
        time,
    };
    newer.follow(trusted, &view, (root_bytes, found), &seen)
}

/// What a feed holds now, signed as `root` has it, whether it has expired or not; `None` where there
/// is no feed yet.
pub(super) fn current(
    remote: &dyn Remote,
    root: (&[u8], &Root),
) -> Result<Option<(Trusted, Release)>, FeedError> {
    let Some(found) = read(remote, TIMESTAMP, (None, TIMESTAMP_BYTES_MAX))? else {
        return Ok(None);
    };
    let (bytes, root) = root;
    let newer = Newer {
        remote,
        root,
        time: Time {
            now: EventTime(i64::MIN),
            floor: EventTime(i64::MIN),
            forgives: true,
        },
    };
    let view = View {
        root: root.clone(),
        timestamp: None,
        snapshot: None,
        targets: None,
    };
    let seen = Seen::after(&view, root);
    let trusted = Trusted::default();
    match newer.follow(&trusted, &view, (bytes.to_vec(), found), &seen)? {
        Poll::Changed { trusted, release } => Ok(Some((trusted, release))),
        Poll::Unchanged { .. } => Ok(None),
    }
}

/// What must not go backwards.
struct Seen<'a> {
    timestamp: Option<&'a Naming>,
    snapshot: Option<&'a Naming>,
    /// The keys that signed times have changed: so may the newest of them.
    forgets_time: bool,
}

/// The way from a timestamp to a release.
struct Newer<'a> {
    remote: &'a dyn Remote,
    root: &'a Root,
    time: Time,
}

// === impl Seen ===

impl<'a> Seen<'a> {
    /// After somebody signed versions up to the last number with keys that were stolen, only new
    /// keys get a feed going again: versions that old keys signed are then forgotten (5.3.11).
    fn after(view: &'a View, root: &Root) -> Self {
        let timestamp = view.root.drops_key(root, Role::Timestamp);
        let snapshot = view.root.drops_key(root, Role::Snapshot);
        let keep = !(timestamp || snapshot);
        Self {
            timestamp: view.timestamp.as_ref().filter(|_| keep),
            snapshot: view.snapshot.as_ref().filter(|_| keep),
            forgets_time: timestamp,
        }
    }
}

// === impl Newer ===

impl Newer<'_> {
    fn follow(
        &self,
        trusted: &Trusted,
        view: &View,
        (root, found): (Vec<u8>, Read),
        seen: &Seen<'_>,
    ) -> Result<Poll, FeedError> {
        let envelope = Envelope::parse(TIMESTAMP, &found.bytes)?;
        envelope.verify(self.root.keys(Role::Timestamp)?, Role::Timestamp)?;
        let timestamp = envelope.naming(Role::Timestamp)?;
        if let Some(seen) = seen.timestamp {
            not_older(Role::Timestamp, seen.head.version, timestamp.head.version)?;
            not_older(Role::Snapshot, seen.named.version, timestamp.named.version)?;
            if seen.head.version == timestamp.head.version {
                // As the specification has it, the one that is known stays.
                return Ok(Poll::Unchanged {
                    expired: self.time.is_past(view.expires_at()),
                });
            }
        }
        let time = self.time.with(timestamp.signed_at);
        time.check(Role::Timestamp, timestamp.head)?;
        let kept = trusted.snapshot.as_deref();
        let bytes = self.named(Role::Snapshot, timestamp.named, kept)?;
        let snapshot = self.snapshot(&bytes, timestamp.named, time)?;
        if let Some(seen) = seen.snapshot {
            not_older(Role::Targets, seen.named.version, snapshot.named.version)?;
        }
        let kept = trusted.targets.as_deref();
        let targets_bytes = self.named(Role::Targets, snapshot.named, kept)?;
        let targets = self.targets(&targets_bytes, snapshot.named, time)?;
        let view = View {
            root: self.root.clone(),
            timestamp: Some(timestamp),
            snapshot: Some(snapshot),
            targets: None,
        };
        let expires_at = view.expires_at().min(targets.head.expires);
        let path = path_of(Role::Targets, targets.head.version);
        let release = Release::of(&path, &targets, expires_at)?;
        Ok(Poll::Changed {
            trusted: Trusted {
                root,
                timestamp: Some(found.bytes),
                snapshot: Some(bytes),
                targets: Some(targets_bytes),
                tag: found.tag,
                floor: time.floor.0,
            },
            release,
        })
    }

    fn snapshot(&self, bytes: &[u8], named: Named, time: Time) -> Result<Naming, FeedError> {
        let path = path_of(Role::Snapshot, named.version);
        let envelope = Envelope::parse(&path, bytes)?;
        envelope.verify(self.root.keys(Role::Snapshot)?, Role::Snapshot)?;
        let snapshot = envelope.naming(Role::Snapshot)?;
        same_version(&path, named, snapshot.head)?;
        time.check(Role::Snapshot, snapshot.head)?;
        Ok(snapshot)
    }

    fn targets(&self, bytes: &[u8], named: Named, time: Time) -> Result<Targets, FeedError> {
        let path = path_of(Role::Targets, named.version);
        let envelope = Envelope::parse(&path, bytes)?;
        envelope.verify(self.root.keys(Role::Targets)?, Role::Targets)?;
        let targets = envelope.targets()?;
        same_version(&path, named, targets.head)?;
        time.check(Role::Targets, targets.head)?;
        Ok(targets)
    }

    /// The bytes of metadata that other metadata names; those that are here when they are the same.
    fn named(&self, role: Role, named: Named, kept: Option<&[u8]>) -> Result<Vec<u8>, FeedError> {
        let path = path_of(role, named.version);
        if named.length > METADATA_BYTES_MAX {
            return Err(FeedError::TooLarge {
                path,
                max: METADATA_BYTES_MAX,
            });
        }
        if let Some(kept) = kept
            && kept.len() as u64 == named.length
            && sha256(kept) == named.sha256
        {
            return Ok(kept.to_vec());
        }
        let Some(read) = read(self.remote, &path, (None, named.length))? else {
            return Err(FeedError::MissingFile { path });
        };
        let got = read.bytes.len() as u64;
        if got != named.length {
            return Err(FeedError::WrongLength {
                path,
                expected: named.length,
                got,
            });
        }
        if sha256(&read.bytes) != named.sha256 {
            return Err(FeedError::WrongHash { path });
        }
        Ok(read.bytes)
    }
}

// === impl Time ===

impl Time {
    /// The later of the clock and the newest signed time.
    fn known(self) -> EventTime {
        self.now.max(self.floor)
    }

    fn is_past(self, expires: EventTime) -> bool {
        self.known() >= expires
    }

    fn with(self, signed_at: Option<EventTime>) -> Self {
        Self {
            floor: signed_at.map_or(self.floor, |signed_at| self.floor.max(signed_at)),
            ..self
        }
    }

    fn check(self, role: Role, head: Head) -> Result<(), FeedError> {
        if self.forgives || !self.is_past(head.expires) {
            return Ok(());
        }
        Err(if self.now >= head.expires {
            FeedError::Frozen {
                role: role.name(),
                expired: head.expires,
                now: self.now,
            }
        } else {
            FeedError::ClockBehind {
                role: role.name(),
                expired: head.expires,
                floor: self.floor,
                now: self.now,
            }
        })
    }
}

/// The path of a version of metadata.
#[must_use]
pub fn path_of(role: Role, version: u64) -> String {
    match role {
        Role::Timestamp => TIMESTAMP.to_owned(),
        role => format!("metadata/{version}.{}.json", role.name()),
    }
}

/// Follows the roots from the trusted one to the newest. Those in between may have expired.
fn roots(
    remote: &dyn Remote,
    trusted: &Trusted,
    from: &Root,
) -> Result<(Vec<u8>, Root), FeedError> {
    let mut bytes = trusted.root.clone();
    let mut root = from.clone();
    for step in 0..=ROOTS_MAX {
        let version = root.head.version.saturating_add(1);
        let path = path_of(Role::Root, version);
        let Some(next) = read(remote, &path, (None, METADATA_BYTES_MAX))? else {
            return Ok((bytes, root));
        };
        if step == ROOTS_MAX {
            break;
        }
        root = successor(&path, &root, &next.bytes)?;
        bytes = next.bytes;
    }
    Err(FeedError::RootChainLong {
        from: from.head.version,
        max: ROOTS_MAX,
    })
}

/// The root in `bytes`, when it is the one that follows `root`.
pub(super) fn successor(path: &str, root: &Root, bytes: &[u8]) -> Result<Root, FeedError> {
    let broken = |error: FeedError| match error {
        FeedError::UnknownKey { .. } | FeedError::BadSignature { .. } => FeedError::RootChain {
            path: path.to_owned(),
            reason: format!("{error}; the root before it and it itself must both be satisfied"),
        },
        error => error,
    };
    let envelope = Envelope::parse(path, bytes)?;
    let keys = root.keys(Role::Root)?;
    envelope.verify(keys, Role::Root).map_err(broken)?;
    let next = envelope.root()?;
    envelope
        .verify(next.keys(Role::Root)?, Role::Root)
        .map_err(broken)?;
    if Some(next.head.version) != root.head.version.checked_add(1) {
        return Err(FeedError::RootChain {
            path: path.to_owned(),
            reason: format!(
                "it is version {}, expected is {}",
                next.head.version,
                root.head.version.saturating_add(1)
            ),
        });
    }
    Ok(next)
}

fn not_older(role: Role, seen: u64, got: u64) -> Result<(), FeedError> {
    if got < seen {
        return Err(FeedError::Rollback {
            role: role.name(),
            seen,
            got,
        });
    }
    Ok(())
}

fn same_version(path: &str, named: Named, head: Head) -> Result<(), FeedError> {
    if named.version != head.version {
        return Err(FeedError::VersionMismatch {
            path: path.to_owned(),
            expected: named.version,
            got: head.version,
        });
    }
    Ok(())
}

/// The timestamp; `None` when it still has this tag.
fn timestamp(remote: &dyn Remote, unless: Option<&str>) -> Result<Option<Read>, FeedError> {
    let ask = Ask {
        unless: unless.map(str::to_owned),
        from: 0,
    };
    match remote.read(TIMESTAMP, &ask)? {
        Fetched::Unchanged => Ok(None),
        Fetched::Body(body) => take(TIMESTAMP, body, TIMESTAMP_BYTES_MAX).map(Some),
    }
}

/// The bytes of the timestamp as it lies there now.
pub(super) fn timestamp_bytes(remote: &dyn Remote) -> Result<Option<Vec<u8>>, FeedError> {
    let found = read(remote, TIMESTAMP, (None, TIMESTAMP_BYTES_MAX))?;
    Ok(found.map(|found| found.bytes))
}

/// Metadata at a path, whatever it says; `None` when there is none.
pub(super) fn metadata_bytes(
    remote: &dyn Remote,
    path: &str,
) -> Result<Option<Vec<u8>>, FeedError> {
    let found = read(remote, path, (None, METADATA_BYTES_MAX))?;
    Ok(found.map(|found| found.bytes))
}

/// A whole file of at most `max` bytes; `None` when there is none.
fn read(
    remote: &dyn Remote,
    path: &str,
    (unless, max): (Option<String>, u64),
) -> Result<Option<Read>, FeedError> {
    match remote.read(path, &Ask { unless, from: 0 }) {
        Ok(Fetched::Body(body)) => take(path, body, max).map(Some),
        Ok(Fetched::Unchanged) => Ok(None),
        Err(error) if error.kind == RemoteErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reads a body to its end, and no further than one byte beyond `max`.
fn take(path: &str, body: Body, max: u64) -> Result<Read, FeedError> {
    let too_large = || FeedError::TooLarge {
        path: path.to_owned(),
        max,
    };
    if body.size.is_some_and(|size| size > max) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let read = body
        .bytes
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes);
    read.map_err(|error| {
        crate::remote::RemoteError::new(RemoteErrorKind::Unreachable, path, error.to_string())
    })?;
    if bytes.len() as u64 > max {
        return Err(too_large());
    }
    Ok(Read {
        bytes,
        tag: body.tag,
    })
}

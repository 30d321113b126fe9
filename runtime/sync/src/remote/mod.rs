//! Files of the centre, wherever they are: a folder, a web server, a bucket.
//!
//! What reads them works on one small trait of blocking calls: it can be run against a real bucket,
//! and against a centre that exists only in memory, stalls, lies and comes back.

mod folder;

use std::io::Read;

pub use folder::Folder;

/// What one read asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Do not send the object if it still has this tag.
    pub unless: Option<String>,
    /// The first byte wanted; what lies before is already here.
    pub from: u64,
}

/// What one read brings.
pub enum Fetched {
    /// The object still has the tag of [`Ask::unless`].
    Unchanged,
    /// Its bytes.
    Body(Body),
}

/// The bytes of an object on their way here. What sends them is not trusted: whoever reads bounds
/// what it takes.
pub struct Body {
    /// What tells this content from another at the same path; absent where the place has none.
    pub tag: Option<String>,
    /// The offset of the first byte: [`Ask::from`], or 0 where ranges are not understood.
    pub from: u64,
    /// Bytes of the whole object, where the place says so.
    pub size: Option<u64>,
    /// The bytes.
    pub bytes: Box<dyn Read + Send>,
}

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path from the place's root.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A place objects are read from by paths of plain segments joined by `/`.
pub trait Remote: Send + Sync + std::fmt::Debug {
    /// Reads an object.
    ///
    /// # Errors
    /// [`RemoteError`]; reading the bytes may fail later on its own.
    fn read(&self, path: &str, ask: &Ask) -> Result<Fetched, RemoteError>;

    /// Where this is, for messages: without credentials.
    fn location(&self) -> String;
}

/// A place objects are also put to.
pub trait RemoteStore: Remote {
    /// Puts an object whole: readers see the old one or the new one, never a part.
    ///
    /// # Errors
    /// [`RemoteError`].
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), RemoteError>;

    /// The objects whose paths begin with the folder `prefix`; empty for all.
    ///
    /// # Errors
    /// [`RemoteError`].
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, RemoteError>;

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// [`RemoteError`].
    fn delete(&self, path: &str) -> Result<(), RemoteError>;
}

/// Why a place did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {detail}")]
pub struct RemoteError {
    /// What kind of failure.
    pub kind: RemoteErrorKind,
    /// The object or place.
    pub location: String,
    /// What happened, as the place or the system says it.
    pub detail: String,
}

/// Kinds of [`RemoteError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteErrorKind {
    /// There is no such object.
    NotFound,
    /// The place wants other credentials, or none will do.
    Denied,
    /// The place cannot be reached, gave up or was too slow: it may work later.
    Unreachable,
    /// The path, the URL or the place's answer makes no sense.
    Invalid,
    /// The place does not do this.
    Unsupported,
}

// === impl RemoteError ===

impl RemoteError {
    /// A failure of `kind` at `location`.
    pub fn new(
        kind: RemoteErrorKind,
        location: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            location: location.into(),
            detail: detail.into(),
        }
    }
}

// === impl Fetched ===

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unchanged => f.write_str("Unchanged"),
            Self::Body(body) => body.fmt(f),
        }
    }
}

// === impl Body ===

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("tag", &self.tag)
            .field("from", &self.from)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Bytes of a path.
const PATH_BYTES_MAX: usize = 1024;

/// Whether `path` can only name something below a place's root: plain segments of visible
/// characters, none of them special to a file system or a URL.
#[must_use]
pub fn is_plain(path: &str) -> bool {
    let plain = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.=@+".contains(&byte))
    };
    path.len() <= PATH_BYTES_MAX && path.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn paths_stay_below_their_root() {
        for good in [
            "a",
            "metadata/1.root.json",
            "targets/ab12.registry.pb",
            "v=1/a-b_c",
        ] {
            assert!(is_plain(good), "{good}");
        }
        let long = "a".repeat(2000);
        for evil in [
            "",
            "/",
            "/etc/passwd",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "./a",
            "a\\b",
            "a\0",
            "a b",
            "%2e%2e/a",
            "http://h/x",
            "a?b",
            "a#b",
            "a\n",
            "é",
            "a:b",
            "~/x",
            long.as_str(),
        ] {
            assert!(!is_plain(evil), "{evil}");
        }
    }
}

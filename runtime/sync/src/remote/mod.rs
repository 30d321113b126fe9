//! Files of the centre, wherever they are: a folder, a web server, a bucket.
//!
//! What reads them works on one small trait of blocking calls: it can be run against a real bucket,
//! and against a centre that exists only in memory, stalls, lies and comes back.

mod bucket;
mod config;
mod folder;
mod kinds;
mod stream;
#[cfg(test)]
#[expect(dead_code, reason = "the tests of the whole program use more of it")]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod web;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use galley_types::EventTime;
use url::Url;

pub use bucket::Bucket;
pub use config::RemoteConfig;
pub use folder::Folder;
pub(crate) use stream::Blocking;
pub use web::Web;

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
    /// When it was put, by the place's own clock; absent where the place does not say.
    pub modified: Option<EventTime>,
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

    /// Puts an object in place of the one with the bytes `before`, or where there is none yet. Whether
    /// that was so: if something else lies there, it stays. An object that has the new bytes already is
    /// taken for one that this very call put.
    ///
    /// Nobody comes between looking and putting where the place itself can see to that: buckets, and
    /// new files of folders.
    ///
    /// # Errors
    /// [`RemoteError`].
    fn swap(&self, path: &str, bytes: &[u8], before: Option<&[u8]>) -> Result<bool, RemoteError>;

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

/// One object, wherever it is and whatever its name.
#[derive(Clone, Debug)]
pub struct RemoteFile(Kind);

#[derive(Clone, Debug)]
enum Kind {
    File(PathBuf),
    Web(Web),
    Bucket(Bucket),
}

/// An object that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What tells this content from another.
    pub tag: Option<String>,
}

/// Opens a place of objects: a path or `file://` URL, an `http(s)://` URL, or the URL of a bucket
/// (`s3://`, `gs://`, `az://`, `abfss://`) with a prefix. Nothing is asked of the place yet.
///
/// # Errors
/// [`RemoteErrorKind::Invalid`], [`RemoteErrorKind::Unsupported`].
pub fn open(location: &str, config: &RemoteConfig) -> Result<Arc<dyn RemoteStore>, RemoteError> {
    Ok(match kind_of(location, config)? {
        Kind::File(path) => Arc::new(Folder::new(path)),
        Kind::Web(web) => Arc::new(web),
        Kind::Bucket(bucket) => Arc::new(bucket),
    })
}

/// Whether `location` is an URL that leads off this machine's file system.
#[must_use]
pub fn is_remote(location: &str) -> bool {
    location
        .split_once("://")
        .is_some_and(|(scheme, _)| !scheme.eq_ignore_ascii_case("file"))
}

fn kind_of(location: &str, config: &RemoteConfig) -> Result<Kind, RemoteError> {
    if !is_remote(location) {
        let path = crate::files::local_path(Path::new(""), location);
        return Ok(Kind::File(path.unwrap_or_else(|| PathBuf::from(location))));
    }
    // What follows the scheme may hold a password.
    let scheme = location.split_once("://").map_or("", |(scheme, _)| scheme);
    let error = |kind, detail: String| RemoteError::new(kind, format!("{scheme}://"), detail);
    let url = Url::parse(location)
        .map_err(|reason| error(RemoteErrorKind::Invalid, format!("not a URL: {reason}")))?;
    if Bucket::is_one(&url) {
        return Bucket::new(&url, config).map(Kind::Bucket);
    }
    match url.scheme() {
        "http" | "https" => Web::new(&url, config).map(Kind::Web),
        _ => Err(error(
            RemoteErrorKind::Unsupported,
            "no such kind of place: a path, https://, s3://, gs:// and abfss:// are known"
                .to_owned(),
        )),
    }
}

// === impl RemoteFile ===

impl RemoteFile {
    /// The object `location` names, as [`open`] reads it. Nothing is asked of the place yet.
    ///
    /// # Errors
    /// [`RemoteErrorKind::Invalid`], [`RemoteErrorKind::Unsupported`].
    pub fn open(location: &str, config: &RemoteConfig) -> Result<Self, RemoteError> {
        kind_of(location, config).map(Self)
    }

    /// Reads the object.
    ///
    /// # Errors
    /// [`RemoteError`]; reading the bytes may fail later on its own.
    pub fn read(&self, ask: &Ask) -> Result<Fetched, RemoteError> {
        match &self.0 {
            Kind::File(path) => folder::read_file(path, ask),
            Kind::Web(web) => web.read_base(ask),
            Kind::Bucket(bucket) => bucket.read_prefix(ask),
        }
    }

    /// Reads the whole object, which may have at most `max` bytes, with its tag; `None` when it
    /// still has the tag `unless`.
    ///
    /// # Errors
    /// [`RemoteError`]; [`RemoteErrorKind::Invalid`] for an object beyond the bound.
    pub fn read_whole(&self, unless: Option<&str>, max: u64) -> Result<Option<Whole>, RemoteError> {
        let ask = Ask {
            unless: unless.map(ToOwned::to_owned),
            from: 0,
        };
        let body = match self.read(&ask)? {
            Fetched::Unchanged => return Ok(None),
            Fetched::Body(body) => body,
        };
        let location = || self.location();
        let too_large = || {
            let detail = format!("more than the {max} bytes that are read");
            RemoteError::new(RemoteErrorKind::Invalid, location(), detail)
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
            let detail = format!("cut off after {} bytes: {error}", bytes.len());
            RemoteError::new(RemoteErrorKind::Unreachable, location(), detail)
        })?;
        if bytes.len() as u64 > max {
            return Err(too_large());
        }
        Ok(Some(Whole {
            bytes,
            tag: body.tag,
        }))
    }

    /// The objects below this one as if it were a folder, by their paths below it, in order; none
    /// where there is no listing. It has at most `max`.
    pub(crate) fn below(&self, max: usize) -> Result<Vec<(String, Self)>, RemoteError> {
        match &self.0 {
            Kind::Bucket(bucket) => {
                let mut found: Vec<_> = bucket
                    .below(max)?
                    .into_iter()
                    .map(|(path, bucket)| (path, Self(Kind::Bucket(bucket))))
                    .collect();
                found.sort_by(|a, b| a.0.cmp(&b.0));
                Ok(found)
            }
            Kind::File(_) | Kind::Web(_) => Ok(Vec::new()),
        }
    }

    /// Where it is, for messages: without credentials.
    #[must_use]
    pub fn location(&self) -> String {
        match &self.0 {
            Kind::File(path) => path.display().to_string(),
            Kind::Web(web) => web.location(),
            Kind::Bucket(bucket) => bucket.location(),
        }
    }
}

/// `text` with the queries of its URLs cut off: they may hold signatures.
fn scrub(text: &str) -> String {
    let word = |word: &str| match word.split_once('?') {
        Some((before, after)) if before.contains("://") => {
            // What closes the word belongs to the sentence, not to the query.
            let closing = after.trim_end_matches([')', '"', '\'', ',', ':', ';']);
            format!("{before}?...{}", after.strip_prefix(closing).unwrap_or(""))
        }
        _ => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// A location as it may be shown: without the credentials that its URL may hold.
#[must_use]
pub fn shown(location: &str) -> String {
    let Some((scheme, rest)) = location.split_once("://") else {
        return location.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let secret = authority.rfind('@').map_or(0, |at| at + 1);
    let hidden = if secret > 0 { "***@" } else { "" };
    scrub(&format!(
        "{scheme}://{hidden}{}",
        rest.get(secret..).unwrap_or_default()
    ))
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

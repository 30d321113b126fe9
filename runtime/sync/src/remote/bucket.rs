//! A bucket of S3 (and what speaks its protocol), Google Cloud Storage or Azure Blob Storage.

use std::sync::Arc;

use futures_util::StreamExt as _;
use galley_types::EventTime;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    UpdateVersion,
};
use url::Url;

use super::kinds::{azure, gcs, s3};
use super::stream::{Blocking, StreamBody};
use super::{
    Ask, Body, Fetched, Listed, Remote, RemoteConfig, RemoteError, RemoteErrorKind, RemoteStore,
    is_plain, scrub,
};

/// Objects of one listing.
const LISTED_MAX: usize = 1_000_000;
/// Bytes of an object that is compared before it is replaced.
const SWAPPED_MAX: u64 = 16 << 20;

/// Objects below a prefix of a bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The URL it was opened by.
    location: String,
    blocking: Blocking,
}

// === impl Bucket ===

impl Bucket {
    /// Whether `url` is one of a bucket.
    pub(super) fn is_one(url: &Url) -> bool {
        matches!(
            url.scheme(),
            "s3" | "s3a" | "gs" | "gcs" | "az" | "azure" | "abfs" | "abfss" | "adl"
        ) || Self::is_azure_account(url)
    }

    /// Feast names Azure's registries by their account's own address. One that carries a signature
    /// needs nothing else.
    fn is_azure_account(url: &Url) -> bool {
        let azure = |host: &str| {
            host.ends_with(".blob.core.windows.net") || host.ends_with(".dfs.core.windows.net")
        };
        url.scheme() == "https" && url.query().is_none() && url.host_str().is_some_and(azure)
    }

    /// The place `url` names.
    ///
    /// # Errors
    /// [`RemoteErrorKind::Invalid`], [`RemoteErrorKind::Unsupported`].
    pub fn new(url: &Url, config: &RemoteConfig) -> Result<Self, RemoteError> {
        // Azure's URLs have the container where others have a user's name.
        let container = match (url.scheme(), url.username()) {
            ("abfs" | "abfss", name) if !name.is_empty() => format!("{name}@"),
            _ => String::new(),
        };
        let host = url.host_str().unwrap_or("");
        let shown = format!("{}://{container}{host}{}", url.scheme(), url.path());
        let invalid = |detail: String| RemoteError::new(RemoteErrorKind::Invalid, &shown, detail);
        if url.host_str().is_none_or(str::is_empty) {
            return Err(invalid("no bucket is named".to_owned()));
        }
        if url.password().is_some() {
            let detail = "credentials do not go into the URL of a bucket: set the variables of its \
                          own tools, such as AWS_ACCESS_KEY_ID";
            return Err(invalid(detail.to_owned()));
        }
        let mut path =
            Path::from_url_path(url.path()).map_err(|error| invalid(error.to_string()))?;
        let client = config.client(reqwest::redirect::Policy::none())?;
        let built = match url.scheme() {
            "s3" | "s3a" => s3(url, config, client),
            "gs" | "gcs" => gcs(url, config, client),
            _ => azure(url, config, client),
        };
        if Self::is_azure_account(url) {
            path = path.parts().skip(1).collect();
        }
        let store = built.map_err(|error| invalid(scrub(&crate::error::chain(&error))))?;
        Ok(Self {
            store,
            prefix: path,
            blocking: Blocking::new(&shown)?,
            location: shown,
        })
    }

    fn path(&self, path: &str) -> Result<Path, RemoteError> {
        if !is_plain(path) {
            let detail = format!("{path:?} is no path below it");
            return Err(RemoteError::new(
                RemoteErrorKind::Invalid,
                &self.location,
                detail,
            ));
        }
        let parts = path.split('/').map(object_store::path::PathPart::from);
        Ok(self.prefix.parts().chain(parts).collect())
    }

    /// Reads the object the URL itself names.
    pub(super) fn read_prefix(&self, ask: &Ask) -> Result<Fetched, RemoteError> {
        self.get(&self.prefix, ask)
    }

    fn get(&self, path: &Path, ask: &Ask) -> Result<Fetched, RemoteError> {
        let options = GetOptions {
            if_none_match: ask.unless.clone(),
            range: (ask.from > 0).then_some(GetRange::Offset(ask.from)),
            ..GetOptions::default()
        };
        let result = match self.blocking.wait(self.store.get_opts(path, options)) {
            Err(object_store::Error::NotModified { .. }) if ask.unless.is_some() => {
                return Ok(Fetched::Unchanged);
            }
            // It may be that nothing lies there.
            Err(error) if ask.from > 0 => return self.past_the_end(path, ask, &error),
            result => result.map_err(|error| self.failed(path, &error))?,
        };
        let (tag, from, size) = (
            result.meta.e_tag.clone(),
            result.range.start,
            result.meta.size,
        );
        let chunks = result
            .into_stream()
            .map(|chunk| chunk.map_err(|error| scrub(&crate::error::chain(&error))));
        Ok(Fetched::Body(Body {
            tag,
            from,
            size: Some(size),
            bytes: Box::new(StreamBody::new(self.blocking.clone(), chunks.boxed())),
        }))
    }

    fn past_the_end(
        &self,
        path: &Path,
        ask: &Ask,
        error: &object_store::Error,
    ) -> Result<Fetched, RemoteError> {
        match self.blocking.wait(self.store.head(path)) {
            Ok(meta) if meta.size <= ask.from => Ok(Fetched::Body(Body {
                tag: meta.e_tag,
                from: ask.from,
                size: Some(meta.size),
                bytes: Box::new(std::io::empty()),
            })),
            _ => Err(self.failed(path, error)),
        }
    }

    /// The object at `path`, if there is one of at most [`SWAPPED_MAX`] bytes.
    fn whole(&self, path: &Path) -> Result<Option<(ObjectMeta, bytes::Bytes)>, RemoteError> {
        let failed = |error: object_store::Error| self.failed(path, &error);
        self.blocking.wait(async {
            let found = match self.store.get(path).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                found => found.map_err(failed)?,
            };
            let meta = found.meta.clone();
            if meta.size > SWAPPED_MAX {
                let detail = format!(
                    "{} bytes lie there, at most {SWAPPED_MAX} are replaced",
                    meta.size
                );
                let (kind, location) = (RemoteErrorKind::Invalid, &self.location);
                return Err(RemoteError::new(kind, location, detail));
            }
            let content = found.bytes().await.map_err(failed)?;
            Ok(Some((meta, content)))
        })
    }

    fn failed(&self, path: &Path, error: &object_store::Error) -> RemoteError {
        use RemoteErrorKind as K;
        use object_store::Error as E;
        let kind = match error {
            E::NotFound { .. } => K::NotFound,
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => K::Denied,
            E::InvalidPath { .. } | E::UnknownConfigurationKey { .. } => K::Invalid,
            E::NotSupported { .. } | E::NotImplemented { .. } => K::Unsupported,
            _ => K::Unreachable,
        };
        let location = match path.as_ref().strip_prefix(self.prefix.as_ref()) {
            Some(below) => format!("{}{below}", self.location),
            None => self.location.clone(),
        };
        RemoteError::new(kind, location, scrub(&crate::error::chain(error)))
    }

    /// Every object below the prefix by its path below it, whatever its name, as the place that is
    /// this object alone.
    pub(super) fn below(&self, max: usize) -> Result<Vec<(String, Self)>, RemoteError> {
        let found = self.list_all(&self.prefix, max)?;
        let below = |found: ObjectMeta| {
            let path = found.location;
            let name: Path = path.prefix_match(&self.prefix)?.collect();
            let mut object = self.clone();
            object.location = format!("{}/{name}", self.location.trim_end_matches('/'));
            object.prefix = path;
            Some((name.to_string(), object))
        };
        Ok(found.into_iter().filter_map(below).collect())
    }

    /// Every object below `prefix`, whatever its name: those that are not plain too.
    fn list_all(&self, prefix: &Path, max: usize) -> Result<Vec<ObjectMeta>, RemoteError> {
        let mut found = Vec::new();
        self.blocking.wait(async {
            let mut objects = self.store.list(Some(prefix));
            while let Some(object) = objects.next().await {
                let object = object.map_err(|error| self.failed(prefix, &error))?;
                if found.len() >= max {
                    let detail = format!("more than {max} objects");
                    return Err(RemoteError::new(
                        RemoteErrorKind::Invalid,
                        &self.location,
                        detail,
                    ));
                }
                found.push(object);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

impl Remote for Bucket {
    fn read(&self, path: &str, ask: &Ask) -> Result<Fetched, RemoteError> {
        self.get(&self.path(path)?, ask)
    }

    fn location(&self) -> String {
        self.location.clone()
    }
}

impl RemoteStore for Bucket {
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), RemoteError> {
        let path = self.path(path)?;
        let payload = bytes::Bytes::copy_from_slice(bytes).into();
        self.blocking
            .wait(self.store.put(&path, payload))
            .map(drop)
            .map_err(|error| self.failed(&path, &error))
    }

    fn swap(&self, path: &str, bytes: &[u8], before: Option<&[u8]>) -> Result<bool, RemoteError> {
        use object_store::Error as E;
        let plain = path;
        let path = self.path(path)?;
        let there = self.whole(&path)?;
        let content = |there: &Option<(ObjectMeta, bytes::Bytes)>| {
            there.as_ref().map(|(_, content)| content.clone())
        };
        let there_now = content(&there);
        if there_now.as_deref() != before {
            return Ok(there_now.as_deref() == Some(bytes));
        }
        let mode = there.map_or(PutMode::Create, |(meta, _)| {
            PutMode::Update(UpdateVersion {
                e_tag: meta.e_tag,
                version: meta.version,
            })
        });
        let payload = bytes::Bytes::copy_from_slice(bytes).into();
        let put = self.store.put_opts(&path, payload, PutOptions::from(mode));
        let Err(error) = self.blocking.wait(put) else {
            return Ok(true);
        };
        let there = content(&self.whole(&path)?);
        // An attempt whose answer was lost may have been this call's own.
        if there.as_deref() == Some(bytes) {
            return Ok(true);
        }
        let refused = matches!(error, E::AlreadyExists { .. } | E::Precondition { .. });
        if refused || there.as_deref() != before {
            return Ok(false);
        }
        // Servers that know no conditions say so in ways of their own. What lies there was looked at a
        // moment ago, which is all that can be had from them.
        tracing::debug!(%error, path = plain, "no conditional write: a plain one is tried");
        self.put(plain, bytes).map(|()| true)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, RemoteError> {
        let folder = match prefix {
            "" => self.prefix.clone(),
            prefix => self.path(prefix)?,
        };
        let mut found: Vec<Listed> = self
            .list_all(&folder, LISTED_MAX)?
            .into_iter()
            .filter_map(|object| {
                let below: Path = object.location.prefix_match(&self.prefix)?.collect();
                let path = below.to_string();
                is_plain(&path).then(|| Listed {
                    path,
                    size: object.size,
                    modified: Some(EventTime(object.last_modified.timestamp_micros())),
                })
            })
            .collect();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn delete(&self, path: &str) -> Result<(), RemoteError> {
        let path = self.path(path)?;
        match self.blocking.wait(self.store.delete(&path)) {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            outcome => outcome.map_err(|error| self.failed(&path, &error)),
        }
    }
}

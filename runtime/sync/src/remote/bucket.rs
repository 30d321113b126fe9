//! A bucket of S3 (and what speaks its protocol), Google Cloud Storage or Azure Blob Storage.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use galley_types::EventTime;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, RetryConfig,
};
use url::Url;

use super::stream::{Blocking, StreamBody};
use super::{
    Ask, Body, Fetched, Listed, Remote, RemoteConfig, RemoteError, RemoteErrorKind, RemoteStore,
    is_plain, scrub,
};

/// Objects of one listing.
const LISTED_MAX: usize = 1_000_000;
/// Requests that are tried again within one call, and for how long. Callers try again themselves.
const RETRIES: (usize, Duration) = (2, Duration::from_secs(20));

/// Objects below a prefix of a bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The URL it was opened by.
    location: String,
    blocking: Blocking,
}

/// Gives buckets a client that trusts what the configuration trusts and follows no redirect.
#[derive(Debug)]
struct Connector(reqwest::Client);

// === impl Connector ===

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
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

fn retry() -> RetryConfig {
    let (max_retries, retry_timeout) = RETRIES;
    RetryConfig {
        max_retries,
        retry_timeout,
        ..RetryConfig::default()
    }
}

type Built = object_store::Result<Arc<dyn ObjectStore>>;

fn s3(url: &Url, config: &RemoteConfig, client: reqwest::Client) -> Built {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in &config.variables {
        let key = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>();
        if let Ok(key) = key
            && name.starts_with("AWS_")
        {
            builder = builder.with_config(key, value);
        }
    }
    let endpoint = config
        .s3_endpoint
        .as_deref()
        .or_else(|| config.variable("FEAST_S3_ENDPOINT_URL"))
        .or_else(|| config.variable("AWS_ENDPOINT_URL_S3"))
        .or_else(|| config.variable("AWS_ENDPOINT_URL"));
    if let Some(endpoint) = endpoint {
        builder = builder
            .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint)
            .with_endpoint(endpoint)
            .with_allow_http(true);
        // Servers of one's own have no service that hands out credentials.
        let credentials = [
            "AWS_ACCESS_KEY_ID",
            "AWS_ROLE_ARN",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ];
        if !credentials
            .iter()
            .any(|name| config.variable(name).is_some())
        {
            builder = builder.with_skip_signature(true);
        }
    }
    let store = builder
        .with_bucket_name(url.host_str().unwrap_or(""))
        // Not every server that speaks the protocol has it.
        .with_disable_bulk_delete(true)
        .with_retry(retry())
        .with_http_connector(Connector(client))
        .build()?;
    Ok(Arc::new(store))
}

fn gcs(url: &Url, config: &RemoteConfig, client: reqwest::Client) -> Built {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in &config.variables {
        let key = name.to_ascii_lowercase().parse::<GoogleConfigKey>();
        if let Ok(key) = key
            && name.starts_with("GOOGLE_")
        {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(emulator) = config.variable("STORAGE_EMULATOR_HOST") {
        let base = match emulator.contains("://") {
            true => emulator.to_owned(),
            false => format!("http://{emulator}"),
        };
        builder = builder
            .with_base_url(base.trim_end_matches('/'))
            .with_skip_signature(true)
            // Writes ask for credentials all the same; an emulator does not look at them.
            .with_bearer_token("emulator");
    }
    let store = builder
        .with_bucket_name(url.host_str().unwrap_or(""))
        .with_retry(retry())
        .with_http_connector(Connector(client))
        .build()?;
    Ok(Arc::new(store))
}

fn azure(url: &Url, config: &RemoteConfig, client: reqwest::Client) -> Built {
    let mut builder = MicrosoftAzureBuilder::new().with_allow_http(true);
    for (name, value) in &config.variables {
        let key = name.to_ascii_lowercase().parse::<AzureConfigKey>();
        if let Ok(key) = key
            && name.starts_with("AZURE_")
        {
            builder = builder.with_config(key, value);
        }
    }
    // Names that the tool of Azure's command line has for the same, and Feast for its registry's key.
    for (name, key) in [
        ("REGISTRY_BLOB_KEY", AzureConfigKey::AccessKey),
        ("AZURE_STORAGE_ACCOUNT", AzureConfigKey::AccountName),
        ("AZURE_STORAGE_KEY", AzureConfigKey::AccessKey),
    ] {
        if let Some(value) = config.variable(name) {
            builder = builder.with_config(key, value);
        }
    }
    // The form in which Azure's portal hands out credentials: `AccountName=...;AccountKey=...`.
    let connection = config.variable("AZURE_STORAGE_CONNECTION_STRING");
    for pair in connection.unwrap_or("").split(';') {
        builder = match pair.split_once('=') {
            Some(("AccountName", value)) => builder.with_account(value),
            Some(("AccountKey", value)) => builder.with_access_key(value),
            Some(("BlobEndpoint", value)) => builder.with_endpoint(value.to_owned()),
            Some(("SharedAccessSignature", value)) => {
                builder.with_config(AzureConfigKey::SasKey, value)
            }
            Some(("UseDevelopmentStorage", "true")) => builder.with_use_emulator(true),
            _ => builder,
        };
    }
    let store = builder
        .with_url(url.as_str())
        .with_retry(retry())
        .with_http_connector(Connector(client))
        .build()?;
    Ok(Arc::new(store))
}

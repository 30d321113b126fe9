//! How the buckets of each kind are opened: credentials and endpoints by the variables of their own
//! tools.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::RemoteConfig;

/// Requests that are tried again within one call, and for how long. Callers try again themselves.
const RETRIES: (usize, Duration) = (2, Duration::from_secs(20));

/// Gives buckets a client that trusts what the configuration trusts and follows no redirect.
#[derive(Debug)]
struct Connector(reqwest::Client);

// === impl Connector ===

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
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

/// A bucket, or why it cannot be opened.
pub(super) type Built = object_store::Result<Arc<dyn ObjectStore>>;

pub(super) fn s3(url: &Url, config: &RemoteConfig, client: reqwest::Client) -> Built {
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

pub(super) fn gcs(url: &Url, config: &RemoteConfig, client: reqwest::Client) -> Built {
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
        builder = builder.with_base_url(base.trim_end_matches('/'));
        // An emulator has no accounts: what Google's own ones take for their owner is sent, with reads
        // as with writes, unless a token is named. Credentials of the real thing are not sent there.
        if config.variable("GOOGLE_BEARER_TOKEN").is_none() {
            builder = builder.with_bearer_token("owner");
        }
    }
    let store = builder
        .with_bucket_name(url.host_str().unwrap_or(""))
        .with_retry(retry())
        .with_http_connector(Connector(client))
        .build()?;
    Ok(Arc::new(store))
}

pub(super) fn azure(url: &Url, config: &RemoteConfig, client: reqwest::Client) -> Built {
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

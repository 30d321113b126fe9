//! How places are reached: credentials, time-outs, and what is trusted.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{RemoteError, RemoteErrorKind};
use crate::files::read_bounded;
use crate::identity::Identity;

/// Bytes of a file of certificates.
const CA_BYTES_MAX: u64 = 1 << 20;

/// How places are reached.
#[derive(Clone)]
pub struct RemoteConfig {
    /// Sent to web servers as `Authorization: Bearer`, unless the URL has a name and a password, and
    /// to Feast's own servers.
    pub token: Option<String>,
    /// PEM file of certificates that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The longest that a connection may take to be made.
    pub connect_timeout: Duration,
    /// The longest that the other side may stay silent.
    pub read_timeout: Duration,
    /// Credentials, regions and endpoints of buckets, by the names of the environment variables
    /// that their own tools read; see [`Self::is_variable`].
    pub variables: BTreeMap<String, String>,
    /// Who this node is to Feast's servers when there is no [`Self::token`].
    pub identity: Option<Identity>,
    /// The address of an S3-compatible server; goes before those of [`Self::variables`].
    pub s3_endpoint: Option<String>,
}

// === impl RemoteConfig ===

impl RemoteConfig {
    /// Whether the environment variable `name` belongs into [`Self::variables`].
    #[must_use]
    pub fn is_variable(name: &str) -> bool {
        ["AWS_", "GOOGLE_", "AZURE_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || matches!(
                name,
                "FEAST_S3_ENDPOINT_URL" | "STORAGE_EMULATOR_HOST" | "REGISTRY_BLOB_KEY"
            )
    }

    /// The variable `name`, unless it is empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// Lets go of a token that was fetched when a call that had it was denied.
    pub(crate) fn denied(&self, error: &RemoteError) {
        if error.kind == RemoteErrorKind::Denied
            && let Some(identity) = &self.identity
        {
            identity.forget();
        }
    }

    /// The PEM text of the private certificates.
    pub(crate) fn ca_pem(&self) -> Result<Option<Vec<u8>>, RemoteError> {
        let Some(path) = &self.ca_file else {
            return Ok(None);
        };
        read_bounded(path, CA_BYTES_MAX).map(Some).map_err(|error| {
            let detail = format!("certificates: {}", crate::error::chain(&error));
            RemoteError::new(RemoteErrorKind::Invalid, path.display().to_string(), detail)
        })
    }

    /// An HTTP client; `redirects` says where it may be sent.
    pub(crate) fn client(
        &self,
        redirects: reqwest::redirect::Policy,
    ) -> Result<reqwest::Client, RemoteError> {
        crate::use_ring();
        let invalid = |detail: String| {
            let location = self.ca_file.as_ref();
            let location = location.map_or_else(String::new, |path| path.display().to_string());
            RemoteError::new(RemoteErrorKind::Invalid, location, detail)
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("galley/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.read_timeout)
            .referer(false)
            .redirect(redirects);
        if let Some(pem) = self.ca_pem()? {
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| invalid(format!("not PEM certificates: {error}")))?;
            if certificates.is_empty() {
                return Err(invalid("no certificate in the file".to_owned()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        builder
            .build()
            .map_err(|error| invalid(crate::error::chain(&error)))
    }
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self {
            token: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            variables: BTreeMap::new(),
            identity: None,
            s3_endpoint: None,
        }
    }
}

impl fmt::Debug for RemoteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            token,
            ca_file,
            connect_timeout,
            read_timeout,
            variables,
            identity,
            s3_endpoint,
        } = self;
        f.debug_struct("RemoteConfig")
            .field("token", &token.as_ref().map(|_| "hidden"))
            .field("ca_file", ca_file)
            .field("connect_timeout", connect_timeout)
            .field("read_timeout", read_timeout)
            .field("variables", &variables.keys())
            .field("identity", identity)
            .field("s3_endpoint", s3_endpoint)
            .finish()
    }
}

//! Who a node is to Feast's servers: the token that Feast's own clients would send, from the section
//! `auth` of `feature_store.yaml`.
//!
//! A token is given as it is, by the name of an environment variable or in a file (as Kubernetes
//! hands them out), or fetched from the provider of an OpenID service by a client's secret, with or
//! without a person's name and password. A token that was fetched is kept until shortly before it
//! ends, or until a server refused a call.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::error::chain;
use crate::files::read_bounded;
use crate::remote::{RemoteConfig, RemoteError, RemoteErrorKind};

/// Bytes of an answer of a provider, and of a token.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The longest that a token is kept, whatever is said of it.
const KEPT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Who a node is to Feast's servers, by the section `auth` of a repo: where its token comes from.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    source: TokenSource,
    kept: Mutex<Option<Kept>>,
}

/// Where a token comes from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// It is here.
    Given(String),
    /// In a file that others renew; without the file, it may be here.
    File(PathBuf, Option<String>),
    /// Fetched from a provider.
    Provider(Box<Provider>),
    /// What stands in `feature_store.yaml` makes no sense: place and reason.
    Broken(String),
}

/// A provider of tokens, and who asks it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Provider {
    /// Where its discovery document is.
    pub(crate) discovery: Url,
    /// The client's name and secret.
    pub(crate) client: (String, String),
    /// A person's name and password.
    pub(crate) person: Option<(String, String)>,
    /// PEM file of certificates that are trusted beside those of the system.
    pub(crate) ca_file: Option<PathBuf>,
    /// A token is not used so shortly before its end.
    pub(crate) margin: Duration,
}

struct Kept {
    token: String,
    until: Instant,
}

/// What is read of a discovery document.
#[derive(Deserialize)]
struct Discovery {
    token_endpoint: String,
}

/// What is read of an answer to who asks for a token.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<f64>,
}

/// What is read of a refusal.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refused {
    error: String,
    error_description: String,
}

/// What is read of a token, unverified: it is for the servers to believe it.
#[derive(Deserialize)]
struct Claims {
    iat: Option<f64>,
    exp: f64,
}

// === impl Identity ===

impl Identity {
    pub(crate) fn new(source: TokenSource) -> Self {
        Self(Arc::new(Inner {
            source,
            kept: Mutex::new(None),
        }))
    }

    /// The token to send; `None` when there is none.
    pub(crate) async fn token(&self, config: &RemoteConfig) -> Result<Option<String>, RemoteError> {
        match &self.0.source {
            TokenSource::Given(token) => Ok(Some(token.clone())),
            TokenSource::File(path, otherwise) => match read_bounded(path, ANSWER_BYTES_MAX as u64)
            {
                Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
                Err(_) => Ok(otherwise.clone()),
            },
            TokenSource::Provider(provider) => {
                let now = Instant::now();
                let kept = self.kept().as_ref().and_then(|kept| {
                    let good = kept.until > now + provider.margin;
                    good.then(|| kept.token.clone())
                });
                if kept.is_some() {
                    return Ok(kept);
                }
                let granted = provider.ask(config).await?;
                // A token that does not say how long it is good is asked for with every call.
                *self.kept() = lifetime(&granted).map(|life| Kept {
                    token: granted.access_token.clone(),
                    until: now + life,
                });
                Ok(Some(granted.access_token))
            }
            TokenSource::Broken(reason) => Err(RemoteError::new(
                RemoteErrorKind::Invalid,
                "the token for Feast's servers",
                reason.clone(),
            )),
        }
    }

    /// Lets go of a token that was fetched: a server refused a call, maybe because of it.
    pub(crate) fn forget(&self) {
        *self.kept() = None;
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(hidden)")
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

// === impl Provider ===

impl Provider {
    /// Asks for a token.
    async fn ask(&self, config: &RemoteConfig) -> Result<Granted, RemoteError> {
        let config = RemoteConfig {
            ca_file: self.ca_file.clone().or_else(|| config.ca_file.clone()),
            ..config.clone()
        };
        let client = config.client(reqwest::redirect::Policy::none())?;
        let (status, bytes) = answer(client.get(self.discovery.clone()), &self.discovery).await?;
        let invalid = |at: &Url, detail: String| {
            RemoteError::new(RemoteErrorKind::Invalid, at.to_string(), detail)
        };
        if !status.is_success() {
            let detail = format!("answered {status} where auth_discovery_url leads");
            return Err(invalid(&self.discovery, detail));
        }
        let read: Discovery = serde_json::from_slice(&bytes)
            .map_err(|error| invalid(&self.discovery, format!("no discovery document: {error}")))?;
        let endpoint = Url::parse(&read.token_endpoint)
            .map_err(|error| invalid(&self.discovery, format!("its token_endpoint: {error}")))?;
        let plain = matches!(
            (self.discovery.scheme(), endpoint.scheme()),
            (_, "https") | ("http", "http")
        );
        if !plain {
            let detail = "its token_endpoint is not https: a secret is not sent there".to_owned();
            return Err(invalid(&self.discovery, detail));
        }
        let request = client
            .post(endpoint.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(self.form());
        let (status, bytes) = answer(request, &endpoint).await?;
        if !status.is_success() {
            let said: Refused = serde_json::from_slice(&bytes).unwrap_or_default();
            let kind = if status.is_client_error() {
                RemoteErrorKind::Denied
            } else {
                RemoteErrorKind::Unreachable
            };
            let detail = format!(
                "gives client {:?} no token: {status} {} {} (look at client_id, client_secret, \
                 username and password of 'auth' in feature_store.yaml)",
                self.client.0,
                shortened(&said.error),
                shortened(&said.error_description)
            );
            return Err(RemoteError::new(kind, endpoint.to_string(), detail));
        }
        let granted: Granted = serde_json::from_slice(&bytes)
            .map_err(|_| invalid(&endpoint, "an answer without an access_token".to_owned()))?;
        if granted.access_token.is_empty() {
            return Err(invalid(&endpoint, "an empty access_token".to_owned()));
        }
        Ok(granted)
    }

    fn form(&self) -> String {
        let mut form = Serializer::new(String::new());
        let (id, secret) = &self.client;
        form.append_pair("client_id", id)
            .append_pair("client_secret", secret);
        match &self.person {
            None => form.append_pair("grant_type", "client_credentials"),
            Some((name, password)) => form
                .append_pair("grant_type", "password")
                .append_pair("username", name)
                .append_pair("password", password),
        };
        form.finish()
    }
}

/// The status and the bytes that come for `request`.
async fn answer(
    request: reqwest::RequestBuilder,
    location: &Url,
) -> Result<(reqwest::StatusCode, Vec<u8>), RemoteError> {
    let failed = |error: reqwest::Error| {
        let detail = chain(&error.without_url());
        RemoteError::new(RemoteErrorKind::Unreachable, location.to_string(), detail)
    };
    let mut response = request.send().await.map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES_MAX {
            let detail = format!("more than {ANSWER_BYTES_MAX} bytes");
            return Err(RemoteError::new(
                RemoteErrorKind::Invalid,
                location.to_string(),
                detail,
            ));
        }
    }
    Ok((response.status(), bytes))
}

/// How long a token is good. It is a length of time, so that no clock of this machine matters: what
/// the provider says, or from the token's beginning to its end.
fn lifetime(granted: &Granted) -> Option<Duration> {
    let seconds = granted.expires_in.or_else(|| {
        let payload = granted.access_token.split('.').nth(1)?;
        let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: Claims = serde_json::from_slice(&bytes).ok()?;
        Some(claims.exp - claims.iat?)
    })?;
    let life = Duration::try_from_secs_f64(seconds).ok()?;
    Some(life.min(KEPT_MAX))
}

/// What another wrote, for a message.
fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Blocking;
    use crate::remote::testing::{Reply, Server};

    fn provider(server: &Server, secret: &str) -> Identity {
        Identity::new(TokenSource::Provider(Box::new(Provider {
            discovery: Url::parse(&format!("{}/d", server.url())).unwrap(),
            client: ("me".to_owned(), secret.to_owned()),
            person: None,
            ca_file: None,
            margin: Duration::from_secs(30),
        })))
    }

    /// A provider whose tokens are good for `life` seconds.
    fn serving(life: &'static str, endpoint: &'static str) -> Server {
        Server::start(move |request| match request.target.as_str() {
            "/d" => {
                let host = &request.headers["host"];
                let endpoint = endpoint.replace("HERE", &format!("http://{host}"));
                Reply::new(200, format!(r#"{{"token_endpoint": "{endpoint}"}}"#))
            }
            _ if String::from_utf8_lossy(&request.body).contains("client_secret=s%26crt") => {
                Reply::new(200, format!(r#"{{"access_token": "t1"{life}}}"#))
            }
            _ => Reply::new(401, r#"{"error": "invalid_client"}"#),
        })
    }

    fn ask(identity: &Identity) -> Result<Option<String>, RemoteError> {
        let config = RemoteConfig::default();
        Blocking::new("x").unwrap().wait(identity.token(&config))
    }

    #[test]
    fn a_token_is_fetched_once_and_again_when_it_ends_or_was_refused() {
        let server = serving(r#", "expires_in": 300"#, "HERE/t");
        let identity = provider(&server, "s&crt");
        for _ in 0..3 {
            assert_eq!(ask(&identity).unwrap().as_deref(), Some("t1"));
        }
        assert_eq!(server.requests().len(), 2);
        identity.forget();
        ask(&identity).unwrap();
        assert_eq!(server.requests().len(), 2);
        // One that ends within the margin, or at no known time, is asked for with every call.
        for life in [r#", "expires_in": 20"#, ""] {
            let server = serving(life, "HERE/t");
            let identity = provider(&server, "s&crt");
            ask(&identity).unwrap();
            ask(&identity).unwrap();
            assert_eq!(server.requests().len(), 4);
        }
    }

    #[test]
    fn a_refusal_is_told_without_the_secret() {
        let server = serving("", "HERE/t");
        let error = ask(&provider(&server, "wrong")).unwrap_err();
        assert_eq!(error.kind, RemoteErrorKind::Denied);
        let text = error.to_string();
        assert!(
            text.contains("invalid_client") && !text.contains("wrong"),
            "{text}"
        );
        let server = serving("", "ftp://elsewhere/t");
        let error = ask(&provider(&server, "s&crt")).unwrap_err().to_string();
        assert!(error.contains("not https"), "{error}");
    }

    #[test]
    fn a_lifetime_is_what_a_token_says_of_itself_whatever_the_clock() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"iat": 1000, "exp": 1300}"#);
        let granted = Granted {
            access_token: format!("x.{payload}.y"),
            expires_in: None,
        };
        assert_eq!(lifetime(&granted), Some(Duration::from_secs(300)));
        for (token, expires_in) in [("x", None), ("x.e30.y", None), ("x", Some(-1.0))] {
            let granted = Granted {
                access_token: token.to_owned(),
                expires_in,
            };
            assert_eq!(lifetime(&granted), None);
        }
    }
}

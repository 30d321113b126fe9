//! Feast's gRPC servers: where they are, how they are reached, and what their errors mean.

use std::path::PathBuf;
use std::time::Duration;

use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use crate::error::chain;
use crate::files::read_bounded;
use crate::remote::{RemoteConfig, RemoteError, RemoteErrorKind};
use crate::tls;

/// Bytes of a PEM file.
const PEM_BYTES_MAX: u64 = 1 << 20;
/// Quiet connections are probed after this time: a peer that is gone is noticed, although no answer
/// is due yet.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Characters of a server's message in ours.
const MESSAGE_MAX: usize = 500;

/// Where a gRPC server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcAddress {
    /// Host and port, as in `feast.example:6570`.
    host_port: String,
    tls: Option<GrpcTls>,
}

/// How a gRPC server is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcTls {
    /// PEM file with the certificate of the server or of its authority; without it, those of the
    /// system and of [`RemoteConfig::ca_file`] are trusted.
    pub ca_file: Option<PathBuf>,
    /// PEM files with this client's certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the server's certificate, where it is not the host.
    pub authority: Option<String>,
}

// === impl GrpcAddress ===

impl GrpcAddress {
    /// Reads `host:port`, with or without a scheme such as `grpc://` or `dns:///`.
    ///
    /// # Errors
    /// [`RemoteErrorKind::Invalid`] for anything else.
    pub fn parse(text: &str, tls: Option<GrpcTls>) -> Result<Self, RemoteError> {
        let bare = [
            "dns:///",
            "grpc+tcp://",
            "grpc+tls://",
            "grpc://",
            "http://",
            "https://",
        ]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .unwrap_or(text)
        .trim_end_matches('/');
        let (host, port) = bare.rsplit_once(':').unwrap_or((bare, ""));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(&byte);
        if host.is_empty() || !host.bytes().all(plain) || port.parse::<u16>().is_err() {
            // What stands there may be a URL with a password.
            let detail = "the address of a server is expected as host:port, such as feast:6570";
            return Err(RemoteError::new(
                RemoteErrorKind::Invalid,
                "registry",
                detail,
            ));
        }
        Ok(Self {
            host_port: bare.to_owned(),
            tls,
        })
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn location(&self) -> String {
        let scheme = if self.tls.is_some() {
            "grpc+tls"
        } else {
            "grpc"
        };
        format!("{scheme}://{}", self.host_port)
    }

    /// A connection of its own. It lives only while the runtime it is made on runs.
    pub(crate) async fn connect(&self, config: &RemoteConfig) -> Result<Channel, RemoteError> {
        let location = self.location();
        let invalid =
            |detail: String| RemoteError::new(RemoteErrorKind::Invalid, &location, detail);
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.host_port))
            .map_err(|error| invalid(chain(&error)))?
            .connect_timeout(config.connect_timeout)
            .tcp_keepalive(Some(KEEP_ALIVE))
            .http2_adaptive_window(true);
        if let Some(tls) = &self.tls {
            endpoint = secured(endpoint, tls, config)?;
        }
        endpoint.connect().await.map_err(|error| {
            let hint = if tls::is_distrust(&error) {
                ": give the server's certificate with 'cert'"
            } else {
                ""
            };
            let detail = format!("{}{hint}", chain(&error));
            RemoteError::new(RemoteErrorKind::Unreachable, &location, detail)
        })
    }
}

fn secured(
    endpoint: Endpoint,
    trust: &GrpcTls,
    config: &RemoteConfig,
) -> Result<Endpoint, RemoteError> {
    crate::use_ring();
    let read = |path: &PathBuf| {
        read_bounded(path, PEM_BYTES_MAX).map_err(|error| {
            let path = path.display().to_string();
            RemoteError::new(RemoteErrorKind::Invalid, path, chain(&error))
        })
    };
    let verifier = match &trust.ca_file {
        Some(path) => tls::only(&read(path)?),
        None => tls::system_and(config.ca_pem()?.as_deref()),
    };
    let place = || match &trust.ca_file {
        Some(path) => path.display().to_string(),
        None => "certificates of the system".to_owned(),
    };
    let invalid = |detail: String| RemoteError::new(RemoteErrorKind::Invalid, place(), detail);
    let verifier = verifier.map_err(invalid)?;
    let mut settings = ClientTlsConfig::new().timeout(config.connect_timeout);
    if let Some((certificate, key)) = &trust.identity {
        settings = settings.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    if let Some(authority) = &trust.authority {
        settings = settings.domain_name(authority);
    }
    endpoint
        .tls_config_with_verifier(settings, verifier)
        .map_err(|error| invalid(chain(&error)))
}

/// The `authorization` header for the token of `config`.
async fn authorization(
    config: &RemoteConfig,
    location: &str,
) -> Result<Option<AsciiMetadataValue>, RemoteError> {
    let token = match (&config.token, &config.identity) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(identity)) => identity.token(config).await?,
        (None, None) => None,
    };
    let Some(token) = token else {
        return Ok(None);
    };
    let value = AsciiMetadataValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| {
        let detail = "the token has characters that no header may have";
        RemoteError::new(RemoteErrorKind::Invalid, location, detail)
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A request for `message` with the token of `config`.
pub(crate) async fn request<T>(
    message: T,
    config: &RemoteConfig,
    location: &str,
) -> Result<tonic::Request<T>, RemoteError> {
    let mut request = tonic::Request::new(message);
    if let Some(value) = authorization(config, location).await? {
        request.metadata_mut().insert("authorization", value);
    }
    Ok(request)
}

/// What a status of the server at `location` means.
pub(crate) fn failed(location: &str, status: &Status) -> RemoteError {
    use RemoteErrorKind as K;
    let feast = feast_error(status.message());
    let stranger = is_stranger(status);
    let kind = match status.code() {
        _ if stranger => K::Denied,
        Code::NotFound => K::NotFound,
        Code::Unauthenticated | Code::PermissionDenied => K::Denied,
        Code::Unimplemented => K::Unsupported,
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::AlreadyExists
        | Code::DataLoss => K::Invalid,
        // Feast's own errors come as unknown ones.
        Code::Unknown | Code::Internal if feast.is_some() => K::Invalid,
        _ => K::Unreachable,
    };
    let text = feast.unwrap_or_else(|| {
        // A traceback follows, which says nothing to whoever reads this.
        let message = status.message();
        let said = message.split(". Detail: Python exception").next();
        let said: String = said.unwrap_or(message).chars().take(MESSAGE_MAX).collect();
        match std::error::Error::source(status) {
            Some(source) => format!("{said}: {}", chain(source)),
            None => said,
        }
    });
    let code = status.code();
    let hint = if stranger {
        ": the server wants a token, or another one: set feast.token, or 'auth' in \
         feature_store.yaml"
    } else {
        ""
    };
    RemoteError::new(kind, location, format!("{text} ({code:?}){hint}"))
}

/// Whether the server does not believe who asks. Feast 0.67 has no status for it: its offline server
/// answers as for a bug in it, and of its registry server comes what grpcio says when a call fails
/// before it is looked at, which is where tokens are checked.
fn is_stranger(status: &Status) -> bool {
    const SAID: [&str; 6] = [
        "Error in service handler!",
        "Missing authorization header",
        "Missing username claim",
        "Invalid token",
        "Failed to decode token",
        "Expected Bearer schema",
    ];
    match status.code() {
        Code::Unauthenticated => true,
        Code::Unknown | Code::Internal => {
            SAID.iter().any(|said| status.message().starts_with(said))
        }
        _ => false,
    }
}

/// Class and message of an error of Feast: a JSON object, alone or after `Flight error: `.
fn feast_error(message: &str) -> Option<String> {
    let start = message.find('{')?;
    let mut objects =
        serde_json::Deserializer::from_str(message.get(start..)?).into_iter::<serde_json::Value>();
    let object = objects.next()?.ok()?;
    let field = |name: &str| object.get(name)?.as_str().map(ToOwned::to_owned);
    let text = match (field("class"), field("message")?) {
        (Some(class), text) => format!("{class}: {text}"),
        (None, text) => text,
    };
    Some(text.chars().take(MESSAGE_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_feast_are_unpacked() {
        let json = r#"{"module": "feast.errors", "class": "X", "message": "no {nope}"}"#;
        for text in [
            json.to_owned(),
            format!("Flight error: {json}. gRPC client debug context: UNKNOWN"),
        ] {
            let error = failed("grpc://h:1", &Status::unknown(text));
            assert_eq!(error.to_string(), "grpc://h:1: X: no {nope} (Unknown)");
            assert_eq!(error.kind, RemoteErrorKind::Invalid);
        }
        let long = "start_date is mandatory. Detail: Python exception: Traceback (most";
        let error = failed("grpc://h:1", &Status::unknown(long));
        assert_eq!(error.detail, "start_date is mandatory (Unknown)");
        assert_eq!(error.kind, RemoteErrorKind::Unreachable);
        for status in [
            Status::unauthenticated("no token"),
            Status::unknown("Error in service handler!"),
            Status::unknown("Missing authorization header. Detail: Python exception: Trace"),
            Status::unknown("Invalid token.. Detail: Python exception: Trace"),
        ] {
            let error = failed("", &status);
            assert_eq!(error.kind, RemoteErrorKind::Denied);
            assert!(error.detail.contains("set feast.token"), "{error}");
        }
    }

    #[test]
    fn addresses_are_host_and_port() {
        for (text, expect) in [
            ("feast:6570", "grpc://feast:6570"),
            ("grpc://10.0.0.1:80", "grpc://10.0.0.1:80"),
            ("dns:///a.b:1", "grpc://a.b:1"),
            ("[::1]:6570", "grpc://[::1]:6570"),
        ] {
            let address = GrpcAddress::parse(text, None).unwrap();
            assert_eq!(address.location(), expect);
        }
        for bad in [
            "",
            "feast",
            "feast:",
            "feast:x",
            ":1",
            "u:s3cret@h:1",
            "h/x:1",
            "h:99999",
        ] {
            let error = GrpcAddress::parse(bad, None).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}

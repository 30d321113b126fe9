//! Requests of components to other hosts.
//!
//! Each is checked against what the manifest grants, and so is every address its host's name is
//! answered with. Redirects are answers like others: a guest that follows one makes a request of its
//! own. Nothing is kept between requests but sessions of TLS.

mod body;
mod connect;
mod zone;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use galley_transform::clip;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body as _;
use hyper::client::conn::http1;
use hyper::http::uri::Scheme;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::timeout_at;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::grants::Destination;
use crate::log::LogBudget;
use crate::state::Shared;
use body::{Arriving, Connection};
pub(crate) use zone::Zone;

type Done = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Done), Error>;

/// Header fields of an answer.
const HEADERS_MAX: usize = 100;
/// The least that the parser of answers reads into.
const HEAD_BYTES_MIN: usize = 8 << 10;
/// Bytes of a host's name in the log.
const HOST_BYTES_MAX: usize = 256;
/// Bytes of a request's log that one refused request to another host costs.
const LOG_BYTES: usize = 512;

/// What became of a request to another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutboundOutcome {
    /// An answer began.
    Answered,
    /// It was not granted, or was one too many.
    Refused,
    /// There was no connection, no trust, no answer in time.
    Failed,
}

/// Counts what became of requests to other hosts.
#[derive(Debug, Default)]
pub(crate) struct OutboundCounters([AtomicU64; OutboundOutcome::ALL.len()]);

/// Sends the requests of one instance, where it may.
#[derive(Debug)]
pub(crate) struct Outbound {
    shared: Arc<Shared>,
    log: Arc<LogBudget>,
    /// Requests the present call may still make.
    left: u32,
}

/// A request that may be sent.
struct Admitted {
    shared: Arc<Shared>,
    log: Arc<LogBudget>,
    to: Destination,
    options: RequestOptions,
    begun: Instant,
}

// === impl OutboundOutcome ===

impl OutboundOutcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Answered, Self::Refused, Self::Failed];

    /// Its name in metrics and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::HttpRequestDenied
            | Error::DestinationIpProhibited
            | Error::ConnectionLimitReached
            | Error::HttpRequestUriInvalid => Self::Refused,
            _ => Self::Failed,
        }
    }
}

// === impl OutboundCounters ===

impl OutboundCounters {
    fn note(&self, outcome: OutboundOutcome) {
        if let Some(counter) = self.0.get(outcome as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn all(&self) -> [u64; OutboundOutcome::ALL.len()] {
        self.0.each_ref().map(|count| count.load(Relaxed))
    }
}

// === impl Outbound ===

impl Outbound {
    pub(crate) fn new(shared: &Arc<Shared>, log: &Arc<LogBudget>) -> Self {
        Self {
            left: shared.limits.outbound_requests_max,
            shared: Arc::clone(shared),
            log: Arc::clone(log),
        }
    }

    /// Where a request goes, if it may.
    fn admit(&mut self, request: &Request<WasiBody>) -> Result<Destination, Error> {
        // Counted first: those that are refused cost something, too.
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(Error::ConnectionLimitReached)?;
        let to = destination(request)?;
        if self.shared.grants.allow(&to) {
            Ok(to)
        } else {
            Err(note(&self.shared, &self.log, &to, Error::HttpRequestDenied))
        }
    }
}

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _io: Done,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let begun = Instant::now();
        let admitted = self.admit(&request).map(|to| Admitted {
            shared: Arc::clone(&self.shared),
            log: Arc::clone(&self.log),
            to,
            options: options.unwrap_or_default(),
            begun,
        });
        let shared = Arc::clone(&self.shared);
        Box::new(async move {
            let sent = match admitted {
                Ok(admitted) => admitted.send(request).await,
                Err(error) => Err(error),
            };
            let outcome = sent.as_ref();
            let outcome = outcome.map_or_else(OutboundOutcome::of, |_| OutboundOutcome::Answered);
            shared.outbound.note(outcome);
            sent
        })
    }

    // What a guest does is not worth a warning each time.

    fn p3_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        tracing::debug!(%error, "an answer of another host broke off");
        if error.is_timeout() {
            ErrorCode::HttpResponseTimeout
        } else if error.is_incomplete_message() {
            ErrorCode::HttpResponseIncomplete
        } else {
            ErrorCode::HttpProtocolError
        }
    }

    fn p3_error_from_connect(&mut self, error: &std::io::Error) -> ErrorCode {
        tracing::debug!(%error, "another host is not connected to");
        ErrorCode::ConnectionTerminated
    }

    fn p3_error_from_tls(&mut self, error: &std::io::Error) -> ErrorCode {
        tracing::debug!(%error, "no TLS with another host");
        ErrorCode::TlsProtocolError
    }
}

/// Says in the log why a request was not sent, within what the guest's own request may log.
fn note(shared: &Shared, log: &LogBudget, to: &Destination, error: Error) -> Error {
    let hint = match &error {
        Error::HttpRequestDenied => "its allowed_outbound_hosts does not grant this",
        Error::DestinationIpProhibited => {
            "its name leads into a private network: name the host itself in allowed_outbound_hosts, \
             or the address where it is of a link or a cloud's metadata"
        }
        Error::TlsCertificateError => {
            "its certificate is not trusted: give that of a private authority as remote.ca_file in \
             galley.toml"
        }
        _ => return error,
    };
    if log.take(LOG_BYTES) {
        let component = &shared.name;
        let host = clip(&to.host, HOST_BYTES_MAX);
        let port = to.port;
        tracing::warn!(
            component,
            host,
            port,
            hint,
            "request to another host was refused"
        );
    }
    error
}

fn destination(request: &Request<WasiBody>) -> Result<Destination, Error> {
    let uri = request.uri();
    let is_secure = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(scheme) if *scheme != Scheme::HTTPS => return Err(Error::HttpRequestUriInvalid),
        _ => true,
    };
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    // A name and password would stand in the `Host` field, where the other side takes them for the
    // host.
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(Error::HttpRequestUriInvalid);
    }
    let usual = if is_secure { 443 } else { 80 };
    Ok(Destination {
        is_secure,
        host: authority.host().to_owned(),
        port: authority.port_u16().unwrap_or(usual),
    })
}

// === impl Admitted ===

impl Admitted {
    async fn send(self, request: Request<WasiBody>) -> Sent {
        let limits = &self.shared.limits;
        let end = self.begun + limits.outbound_time_max;
        let (own, max) = (self.options.connect_timeout, limits.outbound_connect_max);
        let connected_by = end.min(self.begun + own.map_or(max, |own| own.min(max)));
        let stream = connect::connect(&self.shared, &self.to, connected_by)
            .await
            .map_err(|error| note(&self.shared, &self.log, &self.to, error))?;
        let (own, max) = (
            self.options.first_byte_timeout,
            limits.outbound_first_byte_max,
        );
        let answered_by = end.min(Instant::now() + own.map_or(max, |own| own.min(max)));
        let asked = ask(stream, self.bounded(request)?, limits.header_bytes_max);
        let (response, connection) = timeout_at(answered_by.into(), asked)
            .await
            .map_err(|_| Error::ConnectionReadTimeout)??;
        let bytes_max = limits.outbound_body_bytes_max as u64;
        if response.body().size_hint().lower() > bytes_max {
            return Err(Error::HttpResponseBodySize(Some(bytes_max)));
        }
        let silence_max = self.options.between_bytes_timeout;
        let response = response.map(|body| {
            Arriving::new((body, connection), bytes_max, end, silence_max).boxed_unsync()
        });
        Ok((response, Box::new(std::future::ready(Ok(())))))
    }

    /// The request as it is sent: a server is asked for a path, the host stands in its own header
    /// field.
    fn bounded(&self, mut request: Request<WasiBody>) -> Result<Request<WasiBody>, Error> {
        let path = request.uri().path_and_query();
        let path = path.map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
        let bytes_max = self.shared.limits.outbound_request_bytes_max;
        let over = move || Error::HttpRequestBodySize(Some(bytes_max as u64));
        if request.body().size_hint().lower() > bytes_max as u64 {
            return Err(over());
        }
        Ok(request.map(|body| {
            let body = Limited::new(body, bytes_max);
            let body = body.map_err(move |error| match error.downcast::<Error>() {
                Ok(error) => *error,
                Err(_) => over(),
            });
            body.boxed_unsync()
        }))
    }
}

/// Sends the request, and waits for the head of its answer.
async fn ask(
    stream: Box<dyn connect::Stream>,
    request: Request<WasiBody>,
    header_bytes_max: usize,
) -> Result<(Response<hyper::body::Incoming>, Connection), Error> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(header_bytes_max.max(HEAD_BYTES_MIN))
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let connection = Connection(tokio::spawn(async move {
        // An error of the connection is one of the request or of its body, and told there.
        drop(connection.await);
    }));
    let response = sender.send_request(request).await?;
    Ok((response, connection))
}

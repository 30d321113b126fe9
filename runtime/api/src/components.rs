//! HTTP components beside Galley's own paths: what the front door needs to know of them, and how a
//! request reaches one.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use galley_types::ErrorKind;
use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};

use crate::failure::Failure;
use crate::routes::Call;
use crate::serve::read_body;

/// What a request to a component comes to.
pub type ComponentAnswer =
    Pin<Box<dyn Future<Output = Result<Response<Bytes>, ComponentFailure>> + Send>>;

/// Components that answer the paths which Galley does not answer itself.
pub trait HttpComponents: Send + Sync + fmt::Debug {
    /// Bytes that the body of a request for `path` may have; `None` when no component answers it.
    fn body_bytes_max(&self, path: &str) -> Option<usize>;

    /// Answers a request whose body is there. The work goes on when the future is dropped, within
    /// bounds of its own.
    fn handle(
        self: Arc<Self>,
        request: Request<Bytes>,
        client: Option<SocketAddr>,
    ) -> ComponentAnswer;

    /// What is to be told of every component, for `/status` and the metrics.
    fn status(&self) -> Vec<HttpComponentStatus>;
}

/// Why a component gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentFailure {
    /// The status of the answer.
    pub status: u16,
    /// Its stable code.
    pub code: &'static str,
    /// What the caller is told.
    pub message: String,
    /// What only the log is told.
    pub cause: Option<String>,
}

/// What is told of one component.
#[derive(Clone, Debug, Default)]
pub struct HttpComponentStatus {
    /// Its name in the manifest.
    pub name: String,
    /// The paths it answers.
    pub route: String,
    /// Why it is not there; `None` when it serves.
    pub refused: Option<String>,
    /// `sha256:` and the digest of the component.
    pub digest: String,
    /// Its limits: their names in the manifest and their values.
    pub limits: Vec<(&'static str, String)>,
    /// The key-value stores it may open.
    pub key_value_stores: Vec<String>,
    /// Requests by outcome.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Requests to other hosts by outcome.
    pub outbound: Vec<(&'static str, u64)>,
    /// Instances made.
    pub instances: u64,
    /// Instances kept for another request.
    pub kept: usize,
    /// Whether requests are given to it: `closed` when they are, `open` or `half_open`.
    pub breaker: &'static str,
    /// How often it was left alone for its failures.
    pub breaker_opened: u64,
    /// Requests worked on now.
    pub running: u32,
    /// Requests waiting for a place now.
    pub waiting: u32,
    /// Half of the answered requests took no longer.
    pub p50: Duration,
    /// 99 of 100 answered requests took no longer.
    pub p99: Duration,
}

/// Paths that Galley answers itself and no component may cover; what ends with a slash stands for
/// all paths below it.
#[must_use]
pub fn own_paths() -> Vec<&'static str> {
    crate::routes::own_paths()
}

/// Takes the body and hands the request to a component.
///
/// # Errors
/// 413 for a body that is too large, 503 when too many requests are worked on, and what the
/// component's host says when there is no answer.
pub(crate) async fn answer(
    call: Call<'_>,
    components: Arc<dyn HttpComponents>,
    (parts, body): (&Parts, Incoming),
    client: Option<SocketAddr>,
) -> Result<Response<Bytes>, Failure> {
    let service = call.service;
    let limit = components.body_bytes_max(parts.uri.path()).unwrap_or(0);
    let announced = body.size_hint().lower();
    let refused = if announced > u64::try_from(limit).unwrap_or(u64::MAX) {
        Err(too_large(announced, limit))
    } else {
        service.admit()
    };
    let permit = refused.inspect_err(|_| {
        if !body.is_end_stream() {
            call.pulse.set_body_unread();
        }
    })?;
    let times = (call.pulse.as_ref(), call.begin);
    let held = read_body(body, &service.config, &service.bodies, times).await?;
    let request = Request::from_parts(parts.clone(), held.bytes.clone());
    let answer = components.handle(request, client).await;
    drop((permit, held));
    answer.map_err(|failure| {
        let status = StatusCode::from_u16(failure.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let refused = Failure::detail(status, failure.code, &failure.message);
        match failure.cause {
            Some(cause) => refused.because(cause),
            None => refused,
        }
    })
}

fn too_large(announced: u64, limit: usize) -> Failure {
    let message = format!(
        "the request body has {announced} bytes, over the limit of {limit} of the component that \
         answers this path (max-request-body under its [[trigger.http]] in spin.toml)"
    );
    Failure::refused(ErrorKind::TooLarge, &message)
}

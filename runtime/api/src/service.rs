//! From hyper's request to hyper's response: bounds, request id, dispatch, counting, log.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use galley_types::ErrorKind;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use tokio::sync::Semaphore;

use crate::components;
use crate::failure::Failure;
use crate::metrics::{Endpoint, Metrics};
use crate::reply::{Media, Payload, Reply};
use crate::routes::{Call, Route, dispatch};
use crate::serve::{BodyBudget, Phase, Pulse};
use crate::slot::NodeSlot;
use crate::{ApiConfig, ServerInfo, status};

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Service {
    /// The knobs.
    pub(crate) config: ApiConfig,
    /// What the server tells of itself.
    pub(crate) info: ServerInfo,
    /// The node, once it is there.
    pub(crate) slot: Arc<NodeSlot>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Bytes that bodies may take together.
    pub(crate) bodies: Arc<BodyBudget>,
    /// Set when the server stops.
    pub(crate) draining: AtomicBool,
    /// When the server was made.
    pub(crate) started: Instant,
    /// Places for those who listen to a job's events.
    pub(crate) listeners: Arc<Semaphore>,
    in_flight_max: usize,
    retry_after: HeaderValue,
    next_id: AtomicU64,
    id_prefix: String,
}

/// The right of one request to be worked on.
#[derive(Debug)]
pub(crate) struct Permit {
    metrics: Arc<Metrics>,
}

/// The id of a request, in the request and in its answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The stable code of an error.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-galley-error");
const REQUEST_ID_BYTES_MAX: usize = 128;

// === impl Service ===

impl Service {
    /// A service for a machine of so many cores.
    pub(crate) fn new(
        config: ApiConfig,
        slot: Arc<NodeSlot>,
        info: ServerInfo,
        cores: usize,
    ) -> Self {
        Self {
            in_flight_max: config
                .in_flight_max
                .unwrap_or(cores * ApiConfig::IN_FLIGHT_PER_CORE),
            retry_after: HeaderValue::from(config.retry_after.as_secs().max(1)),
            bodies: BodyBudget::new(config.bodies_bytes_max),
            metrics: Arc::default(),
            draining: AtomicBool::new(false),
            started: Instant::now(),
            listeners: Arc::new(Semaphore::new(config.event_listeners_max)),
            next_id: AtomicU64::new(1),
            // Ids of another run of this server should not look the same.
            id_prefix: format!("{:016x}-", RandomState::new().hash_one(std::process::id())),
            config,
            info,
            slot,
        }
    }

    /// A permit to work on one more request.
    ///
    /// # Errors
    /// 503 when too many are worked on.
    pub(crate) fn admit(&self) -> Result<Permit, Failure> {
        let before = self.metrics.in_flight.fetch_add(1, Ordering::Relaxed);
        let permit = Permit {
            metrics: Arc::clone(&self.metrics),
        };
        if before < self.in_flight_max {
            return Ok(permit);
        }
        self.metrics.shed.add(1);
        Err(Failure::refused(
            ErrorKind::Busy,
            "the server works on as many requests as it may; try again later",
        ))
    }

    /// Runs a handler; if it panics, that is counted and answered.
    ///
    /// # Errors
    /// The handler's refusal, or 500.
    pub(crate) fn guarded(
        &self,
        handler: impl FnOnce() -> Result<Reply, Failure>,
    ) -> Result<Reply, Failure> {
        catch_unwind(AssertUnwindSafe(handler)).unwrap_or_else(|panic| {
            self.metrics.panics.add(1);
            let text = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            Err(bug(format!(
                "panic: {}",
                text.unwrap_or("without a message")
            )))
        })
    }

    fn request_id(&self, headers: &HeaderMap) -> HeaderValue {
        let sane = |value: &&HeaderValue| {
            let bytes = value.as_bytes();
            (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len())
                && bytes.iter().all(u8::is_ascii_graphic)
        };
        if let Some(given) = headers.get(REQUEST_ID).filter(sane) {
            return given.clone();
        }
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut buffer = itoa::Buffer::new();
        let mut text = [0; REQUEST_ID_BYTES_MAX];
        let number = buffer.format(number).bytes();
        let mut length = 0;
        for (place, byte) in text.iter_mut().zip(self.id_prefix.bytes().chain(number)) {
            *place = byte;
            length += 1;
        }
        let made = text.get(..length).map(HeaderValue::from_bytes);
        // Hexadecimal and decimal digits are visible ASCII.
        match made {
            Some(Ok(id)) => id,
            _ => HeaderValue::from_static("-"),
        }
    }

    /// Counts and logs a component's answer as if it were one of ours, and leaves it as it is.
    fn answered_by_component(
        &self,
        call: &Call<'_>,
        (parts, id): (&Parts, HeaderValue),
        answered: Result<Response<Bytes>, Failure>,
    ) -> Response<Payload> {
        let end = Instant::now();
        let latency = end.saturating_duration_since(call.begin);
        let endpoint = Endpoint::Components;
        call.pulse.enter(Phase::Write, end);
        match answered {
            Ok(response) => {
                let status = response.status().as_u16();
                self.metrics.answered(endpoint, status, latency, None);
                let mut response = response.map(Payload::whole);
                response.headers_mut().insert(REQUEST_ID, id);
                response
            }
            Err(failure) => {
                let reply = failure.into_reply();
                let status = reply.status.as_u16();
                self.metrics.answered(endpoint, status, latency, None);
                log(parts, endpoint, (&reply, &id), latency);
                self.respond(reply, id, call.pulse)
            }
        }
    }

    fn respond(&self, reply: Reply, id: HeaderValue, pulse: &Arc<Pulse>) -> Response<Payload> {
        const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let payload = match reply.events {
            None => Payload::whole(reply.body),
            Some(events) => Payload::Events(events, Arc::clone(pulse)),
        };
        let mut response = Response::new(payload);
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        match reply.media {
            Media::Json => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            Media::Metrics => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(METRICS));
            }
            Media::Events => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            Media::Empty => {}
        }
        headers.insert(REQUEST_ID, id);
        if let Some(code) = reply.code {
            headers.insert(ERROR_CODE, HeaderValue::from_static(code));
        }
        if status::is_worth_a_retry(reply.status) {
            headers.insert(RETRY_AFTER, self.retry_after.clone());
        }
        headers.extend(reply.headers);
        response
    }
}

/// The 500 of a bug of ours, whose cause goes to the log.
pub(crate) fn bug(cause: String) -> Failure {
    Failure::refused(
        ErrorKind::Internal,
        "the server failed to answer; its log has the reason under this request id",
    )
    .because(cause)
}

// === impl Permit ===

impl Drop for Permit {
    fn drop(&mut self) {
        self.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers one request; never fails, so that the connection goes on.
pub(crate) async fn answer(
    service: Arc<Service>,
    (pulse, peer): (Arc<Pulse>, Option<SocketAddr>),
    request: Request<Incoming>,
) -> Result<Response<Payload>, Infallible> {
    let begin = Instant::now();
    pulse.enter(Phase::Work, begin);
    let (parts, body) = request.into_parts();
    let id = service.request_id(&parts.headers);
    let has_body = !body.is_end_stream();
    let routed = check_head(&service.config, &parts).and_then(|()| Route::of(&parts.uri));
    let endpoint = routed
        .as_ref()
        .map_or(Endpoint::Other, |route| route.endpoint());
    let call = Call {
        service: &service,
        pulse: &pulse,
        begin,
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
    };
    // Galley's own paths come first; only what is none of them can be a component's.
    if routed.as_ref().is_err_and(Failure::is_no_route)
        && let Some(components) = service.slot.components()
        && components.body_bytes_max(parts.uri.path()).is_some()
    {
        let answered = components::answer(call, components, (&parts, body), peer).await;
        return Ok(service.answered_by_component(&call, (&parts, id), answered));
    }
    let answered = match routed.and_then(|route| route.allow(&parts.method)) {
        Ok(route) => dispatch(call, route, body).await,
        Err(failure) => {
            if has_body {
                pulse.set_body_unread();
            }
            Err(failure)
        }
    };
    let reply = answered.unwrap_or_else(Failure::into_reply);
    let end = Instant::now();
    let latency = end.saturating_duration_since(begin);
    let status = reply.status.as_u16();
    service
        .metrics
        .answered(endpoint, status, latency, reply.shape);
    log(&parts, endpoint, (&reply, &id), latency);
    pulse.enter(Phase::Write, end);
    Ok(service.respond(reply, id, &pulse))
}

fn check_head(config: &ApiConfig, parts: &Parts) -> Result<(), Failure> {
    let target = parts.uri.path().len() + parts.uri.query().map_or(0, |query| query.len() + 1);
    if target > config.target_bytes_max {
        return Err(Failure::detail(
            StatusCode::URI_TOO_LONG,
            "too_large",
            "The request target is too long",
        ));
    }
    // A colon, a space and a line's end.
    let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    let bytes: usize = parts.headers.iter().map(size).sum();
    if bytes > config.head_bytes_max || parts.headers.len() > config.headers_max {
        return Err(Failure::detail(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "too_large",
            "The request header fields are too large",
        ));
    }
    Ok(())
}

/// One line a request; what went wrong on our side is told here and nowhere else.
fn log(parts: &Parts, endpoint: Endpoint, (reply, id): (&Reply, &HeaderValue), latency: Duration) {
    let status = reply.status.as_u16();
    let is_ours = status >= 500 && status != 503 && status != 501;
    if !is_ours && !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let (method, route) = (parts.method.as_str(), endpoint.label());
    let request_id = id.to_str().unwrap_or_default();
    let cause = reply.cause.as_deref().unwrap_or_default();
    if is_ours {
        tracing::error!(
            method,
            route,
            status,
            latency_us,
            request_id,
            cause,
            "request failed"
        );
    } else {
        tracing::debug!(
            method, route, status, latency_us, request_id, cause, "request"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(config: ApiConfig) -> Service {
        let info = ServerInfo {
            version: "0".to_owned(),
        };
        Service::new(config, Arc::default(), info, 1)
    }

    #[test]
    fn request_ids_are_taken_when_sane_and_else_made() {
        let service = service(ApiConfig::default());
        let id = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(value).unwrap());
            service.request_id(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(id("abc-1"), "abc-1");
        assert_ne!(id("a b"), "a b");
        assert_ne!(id(&"x".repeat(129)), "x".repeat(129));
        assert_ne!(id(""), id(""));
    }

    #[test]
    fn a_panic_is_an_answer_and_is_counted() {
        let service = service(ApiConfig::default());
        let failure = service.guarded(|| panic!("oh")).unwrap_err();
        assert_eq!(failure.status().as_u16(), 500);
        assert_eq!(service.metrics.panics.get(), 1);
    }

    #[test]
    fn requests_in_flight_are_bounded() {
        let service = service(ApiConfig {
            in_flight_max: Some(2),
            ..ApiConfig::default()
        });
        let held = (service.admit().unwrap(), service.admit().unwrap());
        let reply = service.admit().unwrap_err().into_reply();
        let pulse = Arc::new(Pulse::new(Instant::now()));
        let response = service.respond(reply, HeaderValue::from_static("-"), &pulse);
        assert_eq!(response.status().as_u16(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.headers()[ERROR_CODE], "busy");
        drop(held);
        assert!(service.admit().is_ok());
    }
}

//! From hyper's request to hyper's response: bounds, request id, dispatch, counting, log.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use galley_types::ErrorKind;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use tokio::sync::Semaphore;

use crate::components;
use crate::failure::Failure;
use crate::metrics::{Endpoint, Metrics};
use crate::reply::{Media, Payload, Reply};
use crate::request_id::{REQUEST_ID, RequestId, RequestIds};
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
    /// Makes ids for requests that bring none.
    pub(crate) ids: RequestIds,
}

/// The right of one request to be worked on; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit<M: Deref<Target = Metrics>> {
    metrics: M,
}

/// The stable code of an error.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-galley-error");
const JSON: &[u8] = b"application/json";
const OPEN_METRICS: &[u8] = b"application/openmetrics-text; version=1.0.0; charset=utf-8";
const EVENT_STREAM: &[u8] = b"text/event-stream";

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
            ids: RequestIds::default(),
            config,
            info,
            slot,
        }
    }

    /// A permit to work on one more request.
    ///
    /// # Errors
    /// 503 when too many are worked on.
    pub(crate) fn admit(&self) -> Result<Permit<&Metrics>, Failure> {
        self.admit_by(&*self.metrics)
    }

    /// A permit for work that may outlive the one who waits for it.
    ///
    /// # Errors
    /// As [`Service::admit`].
    pub(crate) fn admit_owned(&self) -> Result<Permit<Arc<Metrics>>, Failure> {
        self.admit_by(Arc::clone(&self.metrics))
    }

    fn admit_by<M: Deref<Target = Metrics>>(&self, metrics: M) -> Result<Permit<M>, Failure> {
        let before = metrics.in_flight.fetch_add(1, Ordering::Relaxed);
        let permit = Permit { metrics };
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
    pub(crate) fn guarded<T>(
        &self,
        handler: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
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

    /// Counts and logs an answer of our own; returns when it was there.
    pub(crate) fn answered(
        &self,
        (method, endpoint): (&str, Endpoint),
        (reply, id): (&Reply, &RequestId),
        begin: Instant,
    ) -> (Instant, Duration) {
        let end = Instant::now();
        let latency = end.saturating_duration_since(begin);
        let status = reply.status.as_u16();
        self.metrics
            .answered(endpoint, status, latency, reply.shape);
        log((method, endpoint), (reply, id), latency);
        (end, latency)
    }

    /// Gives all header fields of an answer but those of its framing.
    pub(crate) fn fields(
        &self,
        reply: &Reply,
        id: &RequestId,
        mut field: impl FnMut(&HeaderName, &[u8]),
    ) {
        match reply.media {
            Media::Json => field(&CONTENT_TYPE, JSON),
            Media::Metrics => field(&CONTENT_TYPE, OPEN_METRICS),
            Media::Events => {
                field(&CONTENT_TYPE, EVENT_STREAM);
                field(&CACHE_CONTROL, b"no-store");
            }
            Media::Empty => {}
        }
        field(&REQUEST_ID, id.as_bytes());
        if let Some(code) = reply.code {
            field(&ERROR_CODE, code.as_bytes());
        }
        if status::is_worth_a_retry(reply.status) {
            field(&RETRY_AFTER, self.retry_after.as_bytes());
        }
        for (name, value) in &reply.headers {
            field(name, value.as_bytes());
        }
    }

    /// Counts and logs a component's answer as if it were one of ours, and leaves it as it is.
    fn answered_by_component(
        &self,
        call: &Call<'_>,
        (method, id): (&str, RequestId),
        answered: Result<Response<Bytes>, Failure>,
    ) -> Response<Payload> {
        let endpoint = Endpoint::Components;
        match answered {
            Ok(response) => {
                let end = Instant::now();
                let latency = end.saturating_duration_since(call.begin);
                call.pulse.enter(Phase::Write, end);
                let status = response.status().as_u16();
                self.metrics.answered(endpoint, status, latency, None);
                let mut response = response.map(Payload::whole);
                response.headers_mut().insert(REQUEST_ID, id.to_value());
                response
            }
            Err(failure) => {
                let reply = failure.into_reply();
                let (end, _) = self.answered((method, endpoint), (&reply, &id), call.begin);
                call.pulse.enter(Phase::Write, end);
                self.respond(reply, &id, call.pulse)
            }
        }
    }

    fn respond(&self, mut reply: Reply, id: &RequestId, pulse: &Arc<Pulse>) -> Response<Payload> {
        let payload = match reply.events.take() {
            None => Payload::whole(std::mem::take(&mut reply.body).into()),
            Some(events) => Payload::Events(events, Arc::clone(pulse)),
        };
        let mut response = Response::new(payload);
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        self.fields(&reply, id, |name, value| {
            // All values were header values before, or are text of ours.
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(name, value);
            }
        });
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

impl<M: Deref<Target = Metrics>> Drop for Permit<M> {
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
    let given = parts.headers.get(REQUEST_ID);
    let id = service.ids.of(given.map(HeaderValue::as_bytes));
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
        return Ok(service.answered_by_component(&call, (parts.method.as_str(), id), answered));
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
    let asked = (parts.method.as_str(), endpoint);
    let (end, _) = service.answered(asked, (&reply, &id), begin);
    pulse.enter(Phase::Write, end);
    Ok(service.respond(reply, &id, &pulse))
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
fn log((method, endpoint): (&str, Endpoint), (reply, id): (&Reply, &RequestId), latency: Duration) {
    let status = reply.status.as_u16();
    let is_ours = status >= 500 && status != 503 && status != 501;
    if !is_ours && !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let (route, request_id) = (endpoint.label(), id.as_str());
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
    fn a_panic_is_an_answer_and_is_counted() {
        let service = service(ApiConfig::default());
        let failure = service.guarded::<()>(|| panic!("oh")).unwrap_err();
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
        let response = service.respond(reply, &service.ids.of(None), &pulse);
        assert_eq!(response.status().as_u16(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.headers()[ERROR_CODE], "busy");
        drop(held);
        assert!(service.admit().is_ok());
    }
}

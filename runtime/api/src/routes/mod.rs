//! Which path does what.

mod admin;
mod events;
mod frame;
mod freshness;
pub(crate) mod get;
mod idempotency;
mod imports;
mod jobs;
mod materialize;
mod outbox;
mod query;
mod schedules;
mod status;
mod sync;
mod transforms;
mod vectors;
pub(crate) mod write;

pub use status::outbox_tree;

use std::sync::Arc;
use std::time::Instant;

use galley_node::Node;
use galley_types::ErrorKind;
use hyper::body::{Body as _, Incoming};
use hyper::{HeaderMap, Method, StatusCode, Uri};

use crate::FeedCommand;
use crate::failure::Failure;
use crate::metrics::Endpoint;
use crate::reply::Reply;
use crate::serve::{HeldBody, Pulse, read_body};
use crate::service::{Service, bug};

/// A path that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Get,
    Push,
    Write,
    Materialize,
    MaterializeIncremental,
    Imports,
    Jobs,
    Job(&'a str),
    JobEvents(&'a str),
    Schedules,
    Ticket(&'a str),
    Health,
    Live,
    Ready,
    Status,
    Transforms,
    Sync,
    RollBack,
    Outbox,
    OutboxRetry,
    OutboxDrop,
    Metrics,
    OpenApi,
    VectorStores,
    VectorStore(&'a str),
    VectorSearch(&'a str),
    DocumentSearch,
}

/// One request on its way through a route.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// What all requests share.
    pub(crate) service: &'a Arc<Service>,
    /// The connection.
    pub(crate) pulse: &'a Arc<Pulse>,
    /// When the request's head was there.
    pub(crate) begin: Instant,
    /// The query without its question mark.
    pub(crate) query: &'a str,
    /// Its header fields.
    pub(crate) headers: &'a HeaderMap,
}

/// Paths without parameters; the one that is asked for most comes first.
const FIXED: [(&str, Route<'static>); 23] = [
    ("/get-online-features", Route::Get),
    ("/push", Route::Push),
    ("/write-to-online-store", Route::Write),
    ("/materialize", Route::Materialize),
    ("/materialize-incremental", Route::MaterializeIncremental),
    ("/health", Route::Health),
    ("/live", Route::Live),
    ("/ready", Route::Ready),
    ("/status", Route::Status),
    ("/metrics", Route::Metrics),
    ("/openapi.json", Route::OpenApi),
    ("/v1/imports", Route::Imports),
    ("/v1/jobs", Route::Jobs),
    ("/v1/schedules", Route::Schedules),
    ("/v1/transforms", Route::Transforms),
    ("/v1/sync", Route::Sync),
    ("/v1/rollback", Route::RollBack),
    ("/v1/outbox", Route::Outbox),
    ("/v1/outbox/retry", Route::OutboxRetry),
    ("/v1/outbox/drop", Route::OutboxDrop),
    ("/v1/vector_stores", Route::VectorStores),
    ("/search", Route::DocumentSearch),
    ("/retrieve-online-documents", Route::DocumentSearch),
];

/// What Galley answers itself: the fixed paths, and all that its own version may come to have.
pub(crate) fn own_paths() -> Vec<&'static str> {
    let fixed = FIXED.iter().map(|(path, _)| *path);
    fixed.chain(["/v1/"]).collect()
}

// === impl Route ===

impl<'a> Route<'a> {
    /// The route of a target.
    ///
    /// # Errors
    /// 404, or 307 when only a slash at its end keeps it from being one.
    pub(crate) fn of(uri: &'a Uri) -> Result<Self, Failure> {
        let path = uri.path();
        if let Some(route) = Self::of_path(path) {
            return Ok(route);
        }
        let trimmed = path.trim_end_matches('/');
        // What starts with two slashes would name another host.
        if trimmed.len() < path.len() && Self::of_path(trimmed).is_some() {
            let location = match uri.query() {
                Some(query) => format!("{trimmed}?{query}"),
                None => trimmed.to_owned(),
            };
            return Err(Failure::redirect(&location));
        }
        Err(Failure::not_found())
    }

    fn of_path(path: &'a str) -> Option<Self> {
        if let Some((_, route)) = FIXED.iter().find(|(known, _)| *known == path) {
            return Some(route.clone());
        }
        let rest = path.strip_prefix("/v1/")?;
        let (kind, id) = rest.split_once('/')?;
        match (kind, id.split_once('/')) {
            (_, None) if id.is_empty() => None,
            ("jobs", None) => Some(Self::Job(id)),
            ("jobs", Some((id, "events"))) if !id.is_empty() => Some(Self::JobEvents(id)),
            ("tickets", None) => Some(Self::Ticket(id)),
            ("vector_stores", None) => Some(Self::VectorStore(id)),
            ("vector_stores", Some((id, "search"))) if !id.is_empty() => {
                Some(Self::VectorSearch(id))
            }
            _ => None,
        }
    }

    /// What it is counted under.
    pub(crate) fn endpoint(&self) -> Endpoint {
        match self {
            Self::Get => Endpoint::Get,
            Self::Push => Endpoint::Push,
            Self::Write => Endpoint::Write,
            Self::Materialize => Endpoint::Materialize,
            Self::MaterializeIncremental => Endpoint::MaterializeIncremental,
            Self::Imports | Self::Jobs | Self::Job(_) | Self::JobEvents(_) => Endpoint::Jobs,
            Self::Ticket(_) => Endpoint::Tickets,
            Self::VectorStores
            | Self::VectorStore(_)
            | Self::VectorSearch(_)
            | Self::DocumentSearch => Endpoint::Vectors,
            Self::Health
            | Self::Live
            | Self::Ready
            | Self::Status
            | Self::Transforms
            | Self::Sync
            | Self::RollBack
            | Self::Outbox
            | Self::OutboxRetry
            | Self::OutboxDrop
            | Self::Schedules
            | Self::Metrics
            | Self::OpenApi => Endpoint::Admin,
        }
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Get
            | Self::Push
            | Self::Write
            | Self::Materialize
            | Self::MaterializeIncremental
            | Self::Imports
            | Self::Sync
            | Self::RollBack
            | Self::OutboxRetry
            | Self::OutboxDrop
            | Self::VectorSearch(_)
            | Self::DocumentSearch => "POST",
            Self::Job(_) => "GET, HEAD, DELETE",
            _ => "GET, HEAD",
        }
    }

    /// The route, if it knows the method.
    ///
    /// # Errors
    /// 405 with the methods it knows.
    pub(crate) fn allow(self, method: &Method) -> Result<(Self, bool), Failure> {
        let allowed = self.methods();
        let is_allowed = match *method {
            Method::POST => allowed == "POST",
            Method::GET | Method::HEAD => allowed != "POST",
            Method::DELETE => matches!(self, Self::Job(_)),
            _ => false,
        };
        if is_allowed {
            Ok((self, *method == Method::DELETE))
        } else {
            Err(Failure::method_not_allowed(allowed))
        }
    }
}

/// Runs a route.
///
/// # Errors
/// The route's refusal.
pub(crate) async fn dispatch(
    call: Call<'_>,
    (route, is_delete): (Route<'_>, bool),
    body: Incoming,
) -> Result<Reply, Failure> {
    match route {
        Route::Get => get::answer(call, body).await,
        Route::Push => write::push(call, body).await,
        Route::Write => write::write(call, body).await,
        Route::Materialize => materialize::answer(call, body, false).await,
        Route::MaterializeIncremental => materialize::answer(call, body, true).await,
        Route::Imports => imports::answer(call, body).await,
        Route::Sync => sync::answer(call, body, FeedCommand::Sync).await,
        Route::RollBack => sync::answer(call, body, FeedCommand::RollBack).await,
        Route::Outbox => outbox::list(call, body).await,
        Route::OutboxRetry => outbox::change(call, body, outbox::Demand::Retry).await,
        Route::OutboxDrop => outbox::change(call, body, outbox::Demand::Drop).await,
        other => {
            if !body.is_end_stream() {
                call.pulse.set_body_unread();
            }
            let service = call.service;
            if other == Route::Health {
                return service.guarded(|| admin::health(service, call.query));
            }
            service.guarded(|| simple(service, &other, is_delete))
        }
    }
}

/// Routes that neither read a body nor wait.
fn simple(service: &Arc<Service>, route: &Route<'_>, is_delete: bool) -> Result<Reply, Failure> {
    match route {
        Route::Live => Ok(admin::live()),
        Route::Ready => admin::ready(service),
        Route::Status => Ok(status::answer(service)),
        Route::Metrics => Ok(admin::metrics(service)),
        Route::OpenApi => Ok(admin::openapi()),
        Route::Transforms => Ok(transforms::list(node(service)?)),
        Route::Jobs => jobs::list(node(service)?),
        Route::Schedules => Ok(schedules::list(node(service)?)),
        Route::Job(id) if is_delete => jobs::cancel(node(service)?, id),
        Route::Job(id) => jobs::show(node(service)?, id),
        Route::JobEvents(id) => events::follow(service, node(service)?, id),
        Route::Ticket(id) => jobs::ticket(node(service)?, id),
        Route::VectorStores => Ok(vectors::list()),
        Route::VectorStore(id) | Route::VectorSearch(id) => Err(vectors::unknown(id)),
        Route::DocumentSearch => Err(vectors::unsupported()),
        Route::Health
        | Route::Get
        | Route::Push
        | Route::Write
        | Route::Materialize
        | Route::MaterializeIncremental
        | Route::Imports
        | Route::Sync
        | Route::RollBack
        | Route::Outbox
        | Route::OutboxRetry
        | Route::OutboxDrop => Err(Failure::not_found()),
    }
}

/// The node.
///
/// # Errors
/// 503 while it is not there yet.
fn node(service: &Service) -> Result<&Arc<Node>, Failure> {
    service.slot.node().ok_or_else(|| {
        let startup = service.slot.startup();
        let step = if startup.step.is_empty() {
            "starting"
        } else {
            startup.step.as_str()
        };
        let message = format!("the node is starting ({step}); try again later");
        Failure::refused(ErrorKind::Unavailable, &message)
    })
}

impl<'a> Call<'a> {
    /// The node, before the body is taken.
    fn node(&self, body: &Incoming) -> Result<&'a Arc<Node>, Failure> {
        node(self.service).inspect_err(|_| {
            if !body.is_end_stream() {
                self.pulse.set_body_unread();
            }
        })
    }

    /// Takes the request's body.
    async fn body(&self, body: Incoming) -> Result<HeldBody, Failure> {
        let service = self.service;
        let budget = &service.bodies;
        read_body(
            body,
            &service.config,
            budget,
            (self.pulse.as_ref(), self.begin),
        )
        .await
    }
}

/// Runs a handler on the blocking pool, so that it does not hold up the worker's other
/// connections.
async fn on_pool<T: Send + 'static>(
    handler: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(handler).await {
        Ok(done) => Ok(done),
        Err(error) => Err(bug(format!("blocking work did not end: {error}"))),
    }
}

/// A JSON answer from a tree.
fn json(status: StatusCode, tree: &serde_json::Value) -> Reply {
    Reply::json(status, tree.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(target: &str) -> Result<Route<'static>, u16> {
        let uri: &'static Uri = Box::leak(Box::new(target.parse().unwrap()));
        Route::of(uri).map_err(|failure| failure.status().as_u16())
    }

    #[test]
    fn paths_lead_to_their_routes() {
        assert_eq!(route("/get-online-features?x=1"), Ok(Route::Get));
        assert_eq!(route("/v1/jobs"), Ok(Route::Jobs));
        assert_eq!(route("/v1/outbox/drop"), Ok(Route::OutboxDrop));
        assert_eq!(route("/v1/jobs/7"), Ok(Route::Job("7")));
        assert_eq!(route("/v1/jobs/7/events"), Ok(Route::JobEvents("7")));
        assert_eq!(route("/v1/tickets/7"), Ok(Route::Ticket("7")));
        assert_eq!(
            route("/v1/vector_stores/a%20b"),
            Ok(Route::VectorStore("a%20b"))
        );
        assert_eq!(
            route("/v1/vector_stores/a/search"),
            Ok(Route::VectorSearch("a"))
        );
        for unknown in [
            "/",
            "/nope",
            "/chat",
            "/v1",
            "/v1/jobs/7/x",
            "/v1/jobs//events",
            "/v1//search",
            "//push",
        ] {
            assert_eq!(route(unknown), Err(404), "{unknown}");
        }
        for slash in ["/push/", "/v1/jobs/", "/v1/jobs/7/", "/push//"] {
            assert_eq!(route(slash), Err(307), "{slash}");
        }
    }

    #[test]
    fn methods_are_checked() {
        let check = |route: Route<'static>, method: Method, allowed: bool| {
            assert_eq!(
                route.clone().allow(&method).is_ok(),
                allowed,
                "{method} {route:?}"
            );
        };
        check(Route::Get, Method::POST, true);
        check(Route::Get, Method::GET, false);
        check(Route::Health, Method::HEAD, true);
        check(Route::Health, Method::POST, false);
        check(Route::Job("1"), Method::DELETE, true);
        check(Route::Jobs, Method::DELETE, false);
        check(Route::Push, Method::OPTIONS, false);
    }
}

//! Components built from source, run as the node runs them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's failure is a panic"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use galley_spin::{
    Error, HttpComponentConfig, HttpEngineConfig, HttpLimits, KeyValueLimits, Limit, Outcome,
};
use support::{Host, hostile, request, score};

fn limited(limits: HttpLimits) -> HttpComponentConfig {
    HttpComponentConfig {
        limits,
        ..hostile()
    }
}

fn limit_of(error: &Error) -> Limit {
    match error {
        Error::Limit { limit, .. } | Error::Busy { limit, .. } => *limit,
        other => panic!("{other}"),
    }
}

#[test]
fn a_component_answers_requests() {
    let host = Host::new();
    let app = host.load(vec![hostile()]);
    assert!(app.refused().is_empty(), "{:?}", app.refused());
    assert_eq!(host.text(&app, "/hostile/hello"), "hello");
    let response = host.ask(&app, "/hostile/echo?x=1", "what comes in").unwrap();
    assert_eq!(response.body(), "what comes in");
    assert_eq!(host.ask(&app, "/hostile/nothing", "").unwrap().status(), 404);
    let status = &app.status()[0];
    assert_eq!((status.calls(), status.count(Outcome::Answered)), (3, 3));
    assert!(status.p99 > Duration::ZERO);
}

//! What outlives a request: instances that are kept, and the memory of failures.

#![expect(clippy::indexing_slicing, reason = "a test's failure is a panic")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use galley_spin::{
    Error, HttpApp, HttpComponentConfig, HttpEngineConfig, HttpLimits, KeyValueLimits, Outcome,
};
use galley_transform::{BreakerConfig, BreakerState};
use support::{Host, hostile, request};

fn limited(mut limits: HttpLimits) -> HttpComponentConfig {
    limits.deadline = Duration::from_secs(10);
    limits.cpu_deadline = Duration::from_secs(10);
    HttpComponentConfig {
        limits,
        ..hostile()
    }
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kept(app: &HttpApp) -> usize {
    app.status()[0].kept
}

#[test]
fn an_instance_that_nobody_needs_is_let_go() {
    let host = Host::new();
    let app = host.load(vec![limited(HttpLimits {
        instance_reuse_max: 1_000,
        instance_idle_max: Duration::from_millis(300),
        ..HttpLimits::default()
    })]);
    for calls in 1..=5 {
        assert_eq!(host.text(&app, "/hostile/calls"), calls.to_string());
    }
    // Not a request that comes looks after it, but time.
    eventually("it is kept", || kept(&app) == 1);
    eventually("it is let go", || kept(&app) == 0);
    assert_eq!(host.text(&app, "/hostile/calls"), "1");
    eventually("it is kept again", || kept(&app) == 1);
    eventually("it is let go again", || kept(&app) == 0);
    assert_eq!(app.status()[0].instances, 2);
}

#[test]
fn an_instance_that_has_grown_is_replaced() {
    let host = Host::new();
    let app = host.load(vec![limited(HttpLimits {
        instance_reuse_max: 1_000,
        instance_growth_bytes_max: 12 << 20,
        ..HttpLimits::default()
    })]);
    // Each leaves 8 MiB behind.
    let calls = [(); 4].map(|()| host.text(&app, "/hostile/grow"));
    assert_eq!(calls, ["1", "2", "1", "2"]);
}

#[test]
fn kept_instances_leave_places_for_components_that_keep_none() {
    let host = Host::with(
        HttpEngineConfig {
            instances_max: 4,
            ..HttpEngineConfig::default()
        },
        KeyValueLimits::default(),
    );
    let greedy = limited(HttpLimits {
        instance_reuse_max: 1_000,
        concurrency_max: 4,
        ..HttpLimits::default()
    });
    let modest = HttpComponentConfig {
        name: "modest".to_owned(),
        route: "/modest/...".to_owned(),
        ..limited(HttpLimits {
            concurrency_max: 4,
            ..HttpLimits::default()
        })
    };
    let app = host.load(vec![greedy, modest]);
    host.text(&app, "/hostile/hello");
    host.run(async {
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let app = Arc::clone(&app);
                tokio::spawn(async move { app.handle(request("/hostile/wasi", ""), None).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
    });
    let kept: Vec<usize> = app.status().iter().map(|status| status.kept).collect();
    assert!(kept.iter().sum::<usize>() <= 2, "{kept:?}");
    assert_eq!(host.text(&app, "/modest/hello"), "hello");
}

#[test]
fn a_component_that_fails_again_and_again_is_left_alone_for_a_while() {
    let host = Host::new();
    let breaker = BreakerConfig {
        calls_min: 5,
        open: Duration::from_millis(400),
        ..BreakerConfig::default()
    };
    let other = HttpComponentConfig {
        name: "other".to_owned(),
        route: "/other/...".to_owned(),
        ..hostile()
    };
    let limits = HttpLimits {
        breaker,
        ..HttpLimits::default()
    };
    let app = host.load(vec![limited(limits), other]);
    let state = || app.status()[0].breaker;
    for _ in 0..5 {
        assert_eq!(state(), BreakerState::Closed);
        let error = host.ask(&app, "/hostile/panic", "").unwrap_err();
        assert_eq!(error.code(), "component_failed");
    }
    assert_eq!(state(), BreakerState::Open);
    let instances = app.status()[0].instances;
    for _ in 0..3 {
        let error = host.ask(&app, "/hostile/hello", "").unwrap_err();
        assert_eq!(
            (error.status(), error.code()),
            (503, "component_breaker_open")
        );
        let Error::BreakerOpen { retry_after, .. } = error else {
            panic!("{error}");
        };
        assert!(retry_after <= Duration::from_millis(400), "{retry_after:?}");
    }
    assert_eq!(
        app.status()[0].instances,
        instances,
        "nothing is run meanwhile"
    );
    assert_eq!(app.status()[0].count(Outcome::BreakerOpen), 3);
    assert_eq!(host.text(&app, "/other/hello"), "hello");
    eventually("it may be tried", || state() == BreakerState::HalfOpen);
    // A try that fails opens it again; one that does not, closes it.
    host.ask(&app, "/hostile/panic", "").unwrap_err();
    assert_eq!(state(), BreakerState::Open);
    eventually("it may be tried again", || {
        state() == BreakerState::HalfOpen
    });
    assert_eq!(host.text(&app, "/hostile/hello"), "hello");
    assert_eq!(state(), BreakerState::Closed);
    assert_eq!(app.status()[0].breaker_opened, 2);
    assert_eq!(app.status()[0].calls(), 10);
}

#[test]
fn what_callers_do_wrong_opens_no_breaker() {
    let host = Host::new();
    let breaker = BreakerConfig {
        calls_min: 2,
        failures_percent: 10,
        ..BreakerConfig::default()
    };
    let app = host.load(vec![limited(HttpLimits {
        breaker,
        request_body_bytes_max: 10,
        ..HttpLimits::default()
    })]);
    for _ in 0..10 {
        let error = host
            .ask(&app, "/hostile/echo", "more than ten")
            .unwrap_err();
        assert_eq!(error.status(), 413);
        // An answer of its own, whatever its status.
        assert_eq!(host.ask(&app, "/hostile/no", "").unwrap().status(), 404);
    }
    assert_eq!(app.status()[0].breaker, BreakerState::Closed);
}

#[test]
fn a_caller_that_goes_is_counted_all_the_same() {
    let host = Host::new();
    let app = host.load(vec![hostile()]);
    host.text(&app, "/hostile/hello");
    host.run(async {
        let call = app.handle(request("/hostile/loop", ""), None);
        let gone = tokio::time::timeout(Duration::from_millis(50), call).await;
        assert!(gone.is_err());
    });
    eventually("its end is counted", || {
        app.status()[0].count(Outcome::Deadline) == 1
    });
    eventually("its place is free", || app.status()[0].running == 0);
}

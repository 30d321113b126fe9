//! Components built from source, run as the node runs them.

#![expect(clippy::panic, reason = "a test's failure is a panic")]

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
    let response = host
        .ask(&app, "/hostile/echo?x=1", "what comes in")
        .unwrap();
    assert_eq!(response.body(), "what comes in");
    assert_eq!(
        host.ask(&app, "/hostile/nothing", "").unwrap().status(),
        404
    );
    let status = &app.status()[0];
    assert_eq!((status.calls(), status.count(Outcome::Answered)), (3, 3));
    assert!(status.p99 > Duration::ZERO);
}

#[test]
fn a_score_is_that_of_the_features_in_the_store() {
    let host = Host::new();
    let app = host.load(vec![score(), hostile()]);
    assert_eq!(host.text(&app, "/hostile/push?7"), "Ok(2)");
    let body = r#"{"driver_id": [1, 2]}"#;
    let response = host.ask(&app, "/score", body).unwrap();
    let text = String::from_utf8_lossy(response.body()).into_owned();
    assert_eq!(response.status(), 200, "{text}");
    assert_eq!(response.headers()["content-type"], "application/json");
    let answer: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    let expect = 1.0 / (1.0 + (1.5_f64 - 2.5 * 0.5 - 0.1 * 7.0 - 1.0).exp());
    let found = answer["scores"][0]["score"].as_f64().unwrap();
    assert!((found - expect).abs() < 1e-12, "{answer}");
    assert_eq!(answer["scores"][1]["missing"].as_array().unwrap().len(), 3);
    assert_eq!(answer["calls"], serde_json::Value::Null);
}

#[test]
fn callers_are_counted_in_the_key_value_store() {
    let host = Host::new();
    let app = host.load(vec![score()]);
    for calls in 1..=3 {
        let mut request = request("/score", r#"{"driver_id": [1]}"#);
        let headers = request.headers_mut();
        headers.insert("x-caller", "dispatch".parse().unwrap());
        let response = host.run(app.handle(request, None)).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(answer["calls"], calls, "{answer}");
    }
    assert_eq!(host.key_value.usage("default").unwrap().keys, 1);
}

#[test]
fn look_ups_give_values_of_every_kind_with_their_statuses() {
    let host = Host::new();
    let app = host.load(vec![hostile()]);
    assert_eq!(host.text(&app, "/hostile/push?7"), "Ok(2)");
    let check = |feature: &str, expect: &str| {
        let text = host.text(&app, &format!("/hostile/lookup?driver_activity:{feature}"));
        assert!(text.contains(expect), "{feature}: {text}");
        assert!(text.contains("Status::Present, Status::NotFound"), "{text}");
        assert!(text.contains("[1772000000000001, 0]"), "{text}");
    };
    check("trips_today", "Int64([7, 0])");
    check("acceptance_rate", "Float64([0.5, 0.0])");
    check("is_online", "Boolean([1, 0])");
    check("last_ping", "TimestampMicros([1772000000000001, 0])");
    check(
        "vehicle",
        "Utf8(Packed { offsets: [0, 4, 4], data: [98, 105, 107, 101] })",
    );
    check("recent_zones", "ArrayValues { offsets: [0, 2, 2]");
    let text = host.text(&app, "/hostile/lookup?driver_activity:nothing");
    assert!(text.contains("nothing"), "{text}");
}

#[test]
fn an_older_push_is_taken_and_not_stored() {
    let host = Host::new();
    let app = host.load(vec![hostile()]);
    assert_eq!(host.text(&app, "/hostile/push?7"), "Ok(2)");
    // The same event time: the later arrival stays.
    assert_eq!(host.text(&app, "/hostile/push?8"), "Ok(2)");
}

#[test]
fn nothing_survives_a_request_unless_reuse_was_asked_for() {
    let host = Host::new();
    let app = host.load(vec![hostile()]);
    for _ in 0..5 {
        assert_eq!(host.text(&app, "/hostile/calls"), "1");
    }
    assert_eq!(app.status()[0].instances, 5);
    let reused = host.load(vec![limited(HttpLimits {
        instance_reuse_max: 3,
        ..HttpLimits::default()
    })]);
    let calls: Vec<String> = (0..4)
        .map(|_| host.text(&reused, "/hostile/calls"))
        .collect();
    assert_eq!(calls, ["1", "2", "3", "1"]);
    assert_eq!(reused.status()[0].instances, 2);
}

#[test]
fn an_endless_loop_ends_at_its_deadline_and_others_are_served_meanwhile() {
    let host = Host::with(
        HttpEngineConfig {
            threads: Some(1),
            ..HttpEngineConfig::default()
        },
        KeyValueLimits::default(),
    );
    let app = host.load(vec![hostile()]);
    host.text(&app, "/hostile/hello");
    let looping = Arc::clone(&app);
    let started = Instant::now();
    let (error, others) = host.run(async {
        let looping =
            tokio::spawn(async move { looping.handle(request("/hostile/loop", ""), None).await });
        let mut others = 0;
        while !looping.is_finished() {
            app.handle(request("/hostile/hello", ""), None)
                .await
                .unwrap();
            others += 1;
        }
        (looping.await.unwrap().unwrap_err(), others)
    });
    assert_eq!(limit_of(&error), Limit::Deadline);
    assert_eq!((error.status(), error.code()), (504, "component_deadline"));
    assert!(
        error.to_string().contains("`deadline = \"500ms\"`"),
        "{error}"
    );
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(250), "{took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(others > 3, "{others} others were served");
    assert_eq!(app.status()[0].count(Outcome::Deadline), 1);
}

#[test]
fn a_guest_that_waits_for_nothing_ends_at_its_deadline() {
    let host = Host::new();
    let app = host.load(vec![hostile()]);
    let error = host.ask(&app, "/hostile/wait", "").unwrap_err();
    assert!(matches!(error.status(), 500 | 504), "{error}");
    assert_eq!(host.text(&app, "/hostile/hello"), "hello");
}

#[test]
fn memory_panics_and_huge_answers_are_answers_of_their_own() {
    let host = Host::new();
    let app = host.load(vec![limited(HttpLimits {
        deadline: Duration::from_secs(20),
        ..HttpLimits::default()
    })]);
    let check = |path: &str, code: &str, text: &str| {
        let error = host.ask(&app, &format!("/hostile/{path}"), "").unwrap_err();
        assert_eq!((error.status(), error.code()), (500, code), "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(host.text(&app, "/hostile/hello"), "hello");
    };
    check("memory", "component_limit", "max-memory = \"128MiB\"");
    check("panic", "component_failed", "'hostile' failed");
    check("huge", "component_limit", "max-response-body");
    let error = host.ask(&app, "/hostile/panic", "").unwrap_err();
    assert!(
        error
            .cause()
            .is_some_and(|cause| cause.contains("unreachable")),
        "{error:?}"
    );
    let too_large = "x".repeat((1 << 20) + 1);
    let error = host.ask(&app, "/hostile/echo", &too_large).unwrap_err();
    assert_eq!(
        (error.status(), limit_of(&error)),
        (413, Limit::RequestBody)
    );
}

#[test]
fn stores_that_are_not_granted_are_refused() {
    let host = Host::new();
    let app = host.load(vec![hostile()]);
    assert_eq!(host.text(&app, "/hostile/store?default"), "open");
    assert_eq!(
        host.text(&app, "/hostile/store?other"),
        "Error::AccessDenied"
    );
    let app = host.load(vec![HttpComponentConfig {
        key_value_stores: Vec::new(),
        ..hostile()
    }]);
    assert_eq!(
        host.text(&app, "/hostile/store?default"),
        "Error::AccessDenied"
    );
}

#[test]
fn keys_are_set_read_listed_and_deleted_within_their_quota() {
    let host = Host::with(
        HttpEngineConfig::default(),
        KeyValueLimits {
            store_bytes_max: 10_000,
            ..KeyValueLimits::default()
        },
    );
    let app = host.load(vec![limited(HttpLimits {
        deadline: Duration::from_secs(10),
        ..HttpLimits::default()
    })]);
    assert_eq!(
        host.text(&app, "/hostile/keys"),
        r#"Some([49]) ["a", "b"] true"#
    );
    let text = host.text(&app, "/hostile/fill");
    assert!(
        text.starts_with("9: ") && text.contains("max-store"),
        "{text}"
    );
}

#[test]
fn work_behind_the_answer_is_done() {
    let host = Host::new();
    let app = host.load(vec![hostile()]);
    assert_eq!(host.text(&app, "/hostile/later"), "soon");
    let started = Instant::now();
    while host.key_value.usage("default").unwrap().keys == 0 {
        assert!(started.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn variables_and_the_environment_are_those_of_the_manifest() {
    let host = Host::new();
    let pair = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    let app = host.load(vec![HttpComponentConfig {
        variables: pair("colour", "blue"),
        environment: pair("MODE", "test"),
        ..hostile()
    }]);
    assert_eq!(host.text(&app, "/hostile/variable?colour"), r#"Ok("blue")"#);
    let text = host.text(&app, "/hostile/variable?shape");
    assert!(text.contains("Undefined") && text.contains("[component.hostile.variables]"));
    assert!(
        host.text(&app, "/hostile/variable?A-b")
            .contains("InvalidName")
    );
    let text = host.text(&app, "/hostile/wasi");
    assert_eq!(text, r#"Ok(()) 0 true true [("MODE", "test")]"#);
}

#[test]
fn other_hosts_are_reached_only_where_the_manifest_grants_them() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        let length = stream.read(&mut head).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nthere";
        stream.write_all(answer).unwrap();
        String::from_utf8_lossy(&head[..length]).into_owned()
    });
    let host = Host::new();
    let url = format!("http://127.0.0.1:{port}/path?x=1");
    let fetch = format!("/hostile/fetch?{url}");
    let granted = |grant: String| {
        host.load(vec![HttpComponentConfig {
            allowed_outbound_hosts: vec![grant],
            ..hostile()
        }])
    };
    let text = host.text(&host.load(vec![hostile()]), &fetch);
    assert!(text.contains("HttpRequestDenied"), "{text}");
    let text = host.text(&granted(format!("http://127.0.0.1:{}", port ^ 1)), &fetch);
    assert!(text.contains("HttpRequestDenied"), "{text}");
    let app = granted(format!("http://127.0.0.1:{port}"));
    assert_eq!(host.text(&app, &fetch), "200 OK there");
    assert!(
        served
            .join()
            .unwrap()
            .starts_with("GET /path?x=1 HTTP/1.1\r\n")
    );
}

#[test]
fn a_component_is_told_where_it_stands_and_by_nobody_else() {
    let host = Host::new();
    let app = host.load(vec![HttpComponentConfig {
        route: "/u/:id/...".to_owned(),
        ..hostile()
    }]);
    let mut request = request("/u/7/headers?x=1", "");
    let headers = request.headers_mut();
    headers.insert("spin-path-info", "/forged".parse().unwrap());
    let client = "192.0.2.1:99".parse().unwrap();
    let response = host.run(app.handle(request, Some(client))).unwrap();
    let text = String::from_utf8_lossy(response.body()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "spin-path-info=/headers",
            "spin-matched-route=/u/:id/...",
            "spin-component-route=/u/:id",
            "spin-base-path=/",
            "spin-client-addr=192.0.2.1:99",
            "spin-full-url=http://node.test:6566/u/7/headers?x=1",
            "spin-path-match-id=7",
        ]
    );
}

#[test]
fn places_are_bounded_and_so_are_those_who_wait() {
    let host = Host::new();
    let app = host.load(vec![limited(HttpLimits {
        concurrency_max: 1,
        waiting_max: 1,
        ..HttpLimits::default()
    })]);
    host.text(&app, "/hostile/hello");
    let errors = host.run(async {
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let app = Arc::clone(&app);
                tokio::spawn(async move { app.handle(request("/hostile/loop", ""), None).await })
            })
            .collect();
        let mut errors = Vec::new();
        for call in calls {
            errors.push(call.await.unwrap().unwrap_err());
        }
        errors
    });
    let busy = errors.iter().filter(|error| error.status() == 503).count();
    assert!(busy >= 2, "{errors:?}");
    assert!(
        errors
            .iter()
            .any(|error| limit_of(error) == Limit::Deadline)
    );
    assert_eq!(host.text(&app, "/hostile/hello"), "hello");
}

#[test]
fn what_may_not_be_imported_is_named_when_a_component_is_loaded() {
    let host = Host::new();
    let load = |bytes: Vec<u8>| {
        let app = host.load(vec![HttpComponentConfig { bytes, ..hostile() }]);
        let text = app.refused()[0].error.to_string();
        let error = host.ask(&app, "/hostile/hello", "").unwrap_err();
        assert_eq!(
            (error.status(), error.code()),
            (503, "component_not_loaded")
        );
        text
    };
    let foreign = wat::parse_str(
        r#"(component
            (import "wasi:sockets/types@0.3.0" (instance))
            (import "wasi:filesystem/preopens@0.2.6" (instance)))"#,
    );
    let text = load(foreign.unwrap());
    assert!(
        text.contains("wasi:sockets/types@0.3.0, wasi:filesystem/preopens@0.2.6"),
        "{text}"
    );
    let text = load(wat::parse_str("(component)").unwrap());
    assert!(text.contains("wasi:http/handler@0.3.0"), "{text}");
    load(b"\0asm\x01\0\0\0".to_vec());
    load(Vec::new());
    // It names the interface and has other functions in it.
    let other = wat::parse_str(
        r#"(component
            (import "spin:variables/variables@3.0.0" (instance $v
                (export "get" (func (param "name" u32) (result string)))))
            (instance $empty)
            (export "wasi:http/handler@0.3.0" (instance $empty)))"#,
    );
    let text = load(other.unwrap());
    assert!(text.contains("does not fit its interfaces"), "{text}");
}

#[test]
fn routes_that_clash_and_grants_that_are_not_understood_are_refused() {
    let host = Host::new();
    let check = |change: &dyn Fn(&mut HttpComponentConfig), expect: &str| {
        let mut config = HttpComponentConfig {
            name: "second".to_owned(),
            route: "/second".to_owned(),
            ..hostile()
        };
        change(&mut config);
        let app = host.load(vec![hostile(), config]);
        let refused = app.refused();
        assert_eq!(refused.len(), 1, "{expect}");
        let text = refused[0].error.to_string();
        assert!(text.contains(expect), "{text}");
        assert_eq!(host.text(&app, "/hostile/hello"), "hello");
    };
    check(
        &|config| config.route = "/health".into(),
        "'/health', which Galley answers",
    );
    check(
        &|config| config.route = "/...".into(),
        "which Galley answers itself",
    );
    check(
        &|config| config.route = "/v1/mine".into(),
        "'/v1/', which Galley",
    );
    check(
        &|config| config.route = "/:any".into(),
        "which Galley answers itself",
    );
    check(
        &|config| config.route = "second".into(),
        "must begin with '/'",
    );
    check(
        &|config| config.route = "/hostile/...".into(),
        "which is taken",
    );
    check(
        &|config| config.name = "hostile".into(),
        "two HTTP components called 'hostile'",
    );
    check(
        &|config| config.key_value_stores = vec!["a/b".into()],
        "key_value_stores 'a/b'",
    );
    check(
        &|config| config.allowed_outbound_hosts = vec!["a.test".into()],
        "allowed_outbound_hosts 'a.test'",
    );
    check(
        &|config| config.limits.memory_bytes_max = 1 << 40,
        "max-instance-memory",
    );
    check(
        &|config| config.limits.component_bytes_max = 1_000,
        "max-component = \"2000B\"",
    );
}

#[test]
fn the_more_exact_route_answers() {
    let host = Host::new();
    let named = |name: &str, route: &str| HttpComponentConfig {
        name: name.to_owned(),
        route: route.to_owned(),
        ..hostile()
    };
    let app = host.load(vec![named("wide", "/a/..."), named("exact", "/a/hello")]);
    host.text(&app, "/a/hello");
    host.text(&app, "/a/calls");
    let calls: Vec<(String, u64)> = app
        .status()
        .into_iter()
        .map(|status| (status.name.clone(), status.calls()))
        .collect();
    assert_eq!(calls, [("exact".to_owned(), 1), ("wide".to_owned(), 1)]);
    assert_eq!(app.body_bytes_max("/a/x"), Some(1 << 20));
    assert_eq!(app.body_bytes_max("/b"), None);
}

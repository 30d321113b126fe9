//! The front door: three questions of health, metrics, request ids, bodies of any content type.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::repo;
use crate::support::repo::{column, get_pair, push_item};

#[test]
fn health_is_three_questions_and_none_tells_anything_private() {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let mut client = server.client();
    for path in ["/health", "/live", "/ready"] {
        let reply = client.get(path).unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        assert!(
            !reply.text().contains(sandbox.repo.to_str().unwrap()),
            "{path}: {}",
            reply.text()
        );
    }
    let status = client.get("/status").unwrap().json();
    assert_eq!(status["project"], "swap", "{status}");
}

#[test]
fn a_body_is_read_whatever_its_content_type_says() {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let mut client = server.client();
    let body = push_item(1, 5, "2026-02-01T00:00:00Z").to_string();
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "nonsense",
        "",
    ] {
        let headers = [("content-type", content_type)];
        let reply = client
            .send("POST", "/push", &headers, body.as_bytes())
            .unwrap();
        assert_eq!(reply.status, 200, "{content_type}: {}", reply.text());
    }
    let reply = client.send("POST", "/push", &[], body.as_bytes()).unwrap();
    assert_eq!(reply.status, 200, "no content type: {}", reply.text());
}

#[test]
fn every_answer_has_a_request_id_and_a_given_one_comes_back() {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let mut client = server.client();
    let first = client
        .get("/health")
        .unwrap()
        .header("x-request-id")
        .map(str::to_owned);
    let second = client
        .get("/nope")
        .unwrap()
        .header("x-request-id")
        .map(str::to_owned);
    assert!(
        first.is_some() && second.is_some() && first != second,
        "{first:?} {second:?}"
    );
    let given = client
        .send("GET", "/health", &[("x-request-id", "my-own-7")], b"")
        .unwrap();
    assert_eq!(given.header("x-request-id"), Some("my-own-7"));
}

#[test]
fn metrics_count_what_was_asked_under_the_names_feast_uses() {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let mut client = server.client();
    client
        .post("/push", &push_item(1, 5, "2026-02-01T00:00:00Z"))
        .unwrap();
    for _ in 0..7 {
        client
            .post("/get-online-features", &get_pair(&[1, 2]))
            .unwrap();
    }
    client
        .post(
            "/get-online-features",
            &json!({"features": ["nope:x"], "entities": {"item_id": [1]}}),
        )
        .unwrap();
    let metrics = client.get("/metrics").unwrap();
    assert_eq!(metrics.status, 200);
    let text = metrics.text();
    let counted = |name: &str, labels: &[&str]| -> f64 {
        text.lines()
            .filter(|line| {
                line.starts_with(name) && labels.iter().all(|label| line.contains(label))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    let requests = "feast_feature_server_request_total";
    let look_ups = counted(requests, &["get-online-features", "success"])
        + counted(requests, &["get-online-features", "200"]);
    assert!(look_ups >= 7.0, "{requests}: {look_ups}\n{text}");
    assert!(
        counted("feast_push_request_total", &["items"]) >= 1.0,
        "{text}"
    );
    let found = counted("feast_online_features_status_total", &["left", "present"]);
    let missing = counted("feast_online_features_status_total", &["left", "not_found"]);
    assert!(
        found >= 7.0 && missing >= 7.0,
        "{found} present, {missing} not found\n{text}"
    );
}

#[test]
fn a_ticket_tells_what_became_of_a_queued_push() {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let mut client = server.client();
    let accepted = client
        .post("/push?mode=async", &push_item(1, 5, "2026-02-01T00:00:00Z"))
        .unwrap();
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let ticket = accepted.json()["ticket"]
        .to_string()
        .trim_matches('"')
        .to_owned();
    let deadline = Instant::now() + Duration::from_secs(10);
    let state = loop {
        let reply = client.get(&format!("/v1/tickets/{ticket}")).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        if reply.text().to_lowercase().contains("applied") {
            break reply.json();
        }
        assert!(Instant::now() < deadline, "{}", reply.text());
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(
        (&state["rows_written"], &state["rows_superseded"]),
        (&json!(2), &json!(0)),
        "{state}"
    );
    let answer = client
        .post("/get-online-features", &get_pair(&[1]))
        .unwrap()
        .json();
    assert_eq!(column(&answer, "right_a__x").0, [json!(5)]);
}

#[test]
fn offline_pushes_are_refused_as_a_whole_and_name_what_is_missing() {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let mut client = server.client();
    for to in ["offline", "online_and_offline"] {
        let mut body = push_item(1, 5, "2026-02-01T00:00:00Z");
        body["to"] = json!(to);
        let reply = client.post("/push", &body).unwrap();
        assert_eq!(reply.status, 501, "{to}: {}", reply.text());
        assert!(reply.text().contains("outbox.to"), "{to}: {}", reply.text());
    }
    let answer = client
        .post("/get-online-features", &get_pair(&[1]))
        .unwrap()
        .json();
    assert_eq!(column(&answer, "left_a__x").0, [Value::Null]);
}

#[test]
fn the_order_of_an_answer_is_the_order_of_the_request() {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let mut client = server.client();
    let body = json!({
        "features": ["right:y", "left:y", "right:x", "left:x"],
        "entities": {"item_id": [1]},
        "full_feature_names": true,
    });
    for _ in 0..5 {
        let answer = client.post("/get-online-features", &body).unwrap().json();
        assert_eq!(
            answer["metadata"]["feature_names"],
            json!(["item_id", "right__y", "right__x", "left__y", "left__x"]),
            "views as they first appear, features as they are listed"
        );
    }
}

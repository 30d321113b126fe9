//! HTTP components of spin.toml answer beside Galley's own paths, from the features in the store.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::certificate::Certificate;
use crate::support::process::{clean, galley};
use crate::support::repo::{Sandbox, city, replace};
use crate::support::secure::Secure;
use crate::support::{Client, Reply, root};

/// How long a changed file may go unnoticed.
const NOTICED_MAX: Duration = Duration::from_secs(15);

/// A manifest with a scorer of bias `bias`, a component that is not there, and one that would cover
/// a path of Galley's own.
fn manifest(bias: &str) -> String {
    format!(
        r#"spin_manifest_version = 2
[application]
name = "city"

[[trigger.http]]
route = "/score"
component = "score"
deadline = "10s"

[[trigger.http]]
route = "/absent/..."
component = "absent"

[[trigger.http]]
route = "/health"
component = "greedy"

[component.score]
source = "score.wasm"
key_value_stores = ["default"]
[component.score.variables]
bias = "{bias}"
weights = "acceptance_rate=2, trips_today=0.1"

[component.absent]
source = "absent.wasm"

[component.greedy]
source = "score.wasm"
"#
    )
}

fn sandbox() -> Sandbox {
    let sandbox = city();
    std::fs::write(sandbox.repo.join("spin.toml"), manifest("0")).unwrap();
    let component = root().join("guest-transforms/components/score.wasm");
    std::fs::copy(component, sandbox.repo.join("score.wasm")).unwrap();
    sandbox
}

fn push(client: &mut Client) {
    let body = json!({
        "push_source_name": "driver_pings",
        "df": {
            "driver_id": [1],
            "acceptance_rate": [0.5],
            "trips_today": [10],
            "is_online": [true],
            "vehicle": ["bike"],
            "recent_zones": [["north"]],
            "last_ping": ["2026-03-01T00:00:00Z"],
            "event_timestamp": ["2026-03-01T00:00:00Z"],
            "created": ["2026-03-01T00:00:00Z"],
        },
    });
    let reply = client.post("/push", &body).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn score(client: &mut Client) -> Reply {
    let body = json!({"driver_id": [1, 2]}).to_string();
    let headers = [("x-caller", "dispatch"), ("x-request-id", "mine-1")];
    client
        .send("POST", "/score", &headers, body.as_bytes())
        .unwrap()
}

/// The score of driver 1, and how often this caller has asked.
#[track_caller]
fn scored(reply: &Reply) -> (f64, u64) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("x-request-id"), Some("mine-1"));
    let answer = reply.json();
    let score = answer["scores"][0]["score"].as_f64().unwrap();
    (score, answer["calls"].as_u64().unwrap())
}

fn logistic(sum: f64) -> f64 {
    1.0 / (1.0 + (-sum).exp())
}

fn component<'a>(status: &'a Value, name: &str) -> &'a Value {
    let components = status["http_components"].as_array().unwrap();
    let found = components
        .iter()
        .find(|component| component["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {status}"))
}

#[test]
fn a_component_scores_from_the_store_and_remembers_its_callers_over_a_restart() {
    let sandbox = sandbox();
    let server = sandbox.launch().start();
    let mut client = server.client();
    push(&mut client);
    for calls in 1..=2 {
        let (score, counted) = scored(&score(&mut client));
        assert!((score - logistic(2.0)).abs() < 1e-12, "{score}");
        assert_eq!(counted, calls);
    }
    let status = client.get("/status").unwrap().json();
    let shown = component(&status, "score");
    assert_eq!(shown["state"], "ready", "{shown}");
    assert_eq!(shown["outcomes"]["answered"], 2, "{shown}");
    assert_eq!(shown["limits"]["deadline"], "10s", "{shown}");
    server.kill();

    let server = sandbox.launch().start();
    let mut client = server.client();
    assert_eq!(scored(&score(&mut client)).1, 3);
    assert!(server.terminate().success());
}

#[test]
fn a_component_that_cannot_be_served_is_told_of_and_the_others_serve() {
    let sandbox = sandbox();
    let server = sandbox.launch().start();
    let mut client = server.client();
    push(&mut client);
    let reply = client.get("/absent/x").unwrap();
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(reply.header("x-galley-error"), Some("component_not_loaded"));
    assert_eq!(client.get("/health").unwrap().status, 200);
    assert_eq!(client.get("/score/nothing").unwrap().status, 404);
    let refused = client.get("/score").unwrap();
    assert_eq!(refused.status, 400, "{}", refused.text());
    let large = vec![b' '; (1 << 20) + 1];
    let reply = client.send("POST", "/score", &[], &large).unwrap();
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert!(
        reply.text().contains("max-request-body"),
        "{}",
        reply.text()
    );
    let mut client = server.client();
    scored(&score(&mut client));
    let status = client.get("/status").unwrap().json();
    let reason = |name: &str| component(&status, name)["reason"].to_string();
    assert!(reason("absent").contains("absent.wasm"), "{status}");
    assert!(
        reason("greedy").contains("'/health', which Galley answers"),
        "{status}"
    );
    let metrics = client.get("/metrics").unwrap().text();
    assert!(metrics.contains("components"), "{metrics}");
}

#[test]
fn a_changed_manifest_is_taken_over() {
    let sandbox = sandbox();
    let server = sandbox.launch().start();
    let mut client = server.client();
    push(&mut client);
    assert!((scored(&score(&mut client)).0 - logistic(2.0)).abs() < 1e-12);
    replace(&sandbox.repo.join("spin.toml"), manifest("1").as_bytes());
    let started = Instant::now();
    while (scored(&score(&mut client)).0 - logistic(3.0)).abs() > 1e-12 {
        assert!(started.elapsed() < NOTICED_MAX);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::remove_file(sandbox.repo.join("spin.toml")).unwrap();
    while score(&mut client).status != 404 {
        assert!(started.elapsed() < NOTICED_MAX);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A component of `guest-transforms/http` that misbehaves as its path says, built by the binary's own
/// command.
/// `false` where there is no compiler for it.
fn hostile(sandbox: &Sandbox) -> bool {
    let output = clean(galley())
        .args(["transform", "build", "--no-install", "--output"])
        .arg(sandbox.repo.join("hostile.wasm"))
        .current_dir(root().join("guest-transforms/http/hostile"))
        // Where the tests of `runtime/spin` build the same.
        .env(
            "CARGO_TARGET_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("http-guests"),
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && said.contains("Rust compiler for wasm32") {
        println!("not tested, {said}");
        return false;
    }
    assert!(output.status.success(), "{said}");
    true
}

#[test]
fn a_component_reaches_https_hosts_that_the_nodes_own_authority_vouches_for() {
    let sandbox = city();
    if !hostile(&sandbox) {
        return;
    }
    let certificate = Certificate::of_an_authority(&sandbox.repo);
    let (secure, other) = (Secure::start(Some(&certificate)), Secure::start(None));
    let manifest = format!(
        r#"spin_manifest_version = 2
[application]
name = "city"

[[trigger.http]]
route = "/app/..."
component = "app"
deadline = "10s"
breaker-calls = 3
breaker-open = "1m"

[component.app]
source = "hostile.wasm"
allowed_outbound_hosts = ["https://localhost:{}", "http://*:{}"]
"#,
        secure.port, other.port
    );
    std::fs::write(sandbox.repo.join("spin.toml"), manifest).unwrap();
    let fetch = format!("/app/fetch?https://localhost:{}/hello", secure.port);

    let server = sandbox.launch().start();
    let untrusted = server.client().get(&fetch).unwrap();
    assert_eq!(untrusted.text(), "ErrorCode::TlsCertificateError");
    server.kill();

    let launch = sandbox.launch();
    let server = launch
        .env("GALLEY_REMOTE_CA_FILE", certificate.trust.to_str().unwrap())
        .start();
    let mut client = server.client();
    assert_eq!(client.get(&fetch).unwrap().text(), "200 OK hello");
    // What is granted to all names leads nowhere into this machine.
    let inside = format!("/app/fetch?http://localhost:{}/hello", other.port);
    let refused = client.get(&inside).unwrap();
    assert_eq!(refused.text(), "ErrorCode::DestinationIpProhibited");
    assert!(other.take_seen().is_empty());
    let status = client.get("/status").unwrap().json();
    let shown = component(&status, "app");
    assert_eq!(
        shown["outbound"],
        json!({"answered": 1, "refused": 1, "failed": 0})
    );

    // The breaker, as operators see it: a failing component is answered for at once.
    assert_eq!(shown["breaker"], "closed");
    // Half of four have failed then.
    for _ in 0..2 {
        assert_eq!(client.get("/app/panic").unwrap().status, 500);
    }
    let reply = client.get("/app/hello").unwrap();
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(
        reply.header("x-galley-error"),
        Some("component_breaker_open")
    );
    assert!(reply.header("retry-after").is_some());
    let status = client.get("/status").unwrap().json();
    let shown = component(&status, "app");
    assert_eq!(shown["breaker"], "open", "{shown}");
    assert_eq!(shown["outcomes"]["breaker_open"], 1, "{shown}");
    let metrics = client.get("/metrics").unwrap().text();
    for line in [
        "galley_component_breaker_open{component=\"app\"} 1",
        "galley_component_breaker_opened_total{component=\"app\"} 1",
        "galley_component_outbound_requests_total{component=\"app\",outcome=\"refused\"} 1",
        "galley_component_kept{component=\"app\"} 0",
    ] {
        assert!(metrics.contains(line), "no {line}: {metrics}");
    }
    assert!(server.terminate().success());
}

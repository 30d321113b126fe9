//! A node says how old what it serves is, and when that is more than it should be.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::repo::{self, push_item};
use crate::support::{Client, here};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The status, once it is as wanted.
#[track_caller]
fn status(client: &mut Client, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let status = client.get("/status").unwrap().json();
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn reasons(status: &Value) -> String {
    status["degraded_reasons"].to_string()
}

#[test]
fn what_is_older_than_its_objective_degrades_the_node_and_it_serves_on() {
    let sandbox = repo::swap('a');
    std::fs::write(
        sandbox.repo.join("galley.toml"),
        "[feast]\nregistry_poll = \"100ms\"\n\
         [freshness]\nsnapshot = \"2s\"\n[freshness.views]\nleft = \"1h\"\n",
    )
    .unwrap();
    let server = sandbox.launch().start();
    let mut client = server.client();
    let push = |client: &mut Client, time: &str| {
        let reply = client.post("/push", &push_item(1, 10, time)).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    let look_up = |client: &mut Client| {
        let mut body = repo::get_pair(&[1]);
        body["include_freshness"] = json!(true);
        client.post("/get-online-features", &body).unwrap()
    };
    push(&mut client, "2026-02-01T00:00:00Z");
    let old = status(&mut client, |it| it["status"] == "degraded");
    assert!(reasons(&old).contains("feature view left is"), "{old}");
    let answer = look_up(&mut client);
    assert_eq!(answer.header("x-galley-freshness"), Some("stale"));
    let shown = sandbox.launch().run(&["status"]).ok().stdout;
    assert!(shown.contains("DEGRADED  feature view left"), "{shown}");
    assert_eq!(client.get("/ready").unwrap().status, 200);

    // An event that lies ahead of the clock is fresh.
    push(&mut client, "2100-01-01T00:00:00Z");
    let fresh = status(&mut client, |it| it["status"] == "ready");
    assert_eq!(reasons(&fresh), "[]");
    let views = look_up(&mut client).json()["metadata"]["freshness"].clone();
    let left = views.as_array().unwrap().iter();
    let left = left
        .clone()
        .find(|it| it["feature_view"] == "left")
        .unwrap();
    assert_eq!(
        (&left["age_seconds"], &left["state"]),
        (&json!(0.0), &json!("ok"))
    );

    // A registry that cannot be read: what is served grows older, and is served.
    let whole = std::fs::read(sandbox.registry()).unwrap();
    repo::replace(&sandbox.registry(), &whole[..whole.len() / 2]);
    let refused = status(&mut client, |it| {
        reasons(it).contains(" s old, objective 2 s") && reasons(it).contains("registry refused")
    });
    assert!(
        refused["snapshot"]["age_seconds"].as_f64().unwrap() >= 2.0,
        "{refused}"
    );
    let health = client.get("/health?detail=true").unwrap();
    assert_eq!(
        (health.status, &health.json()["status"]),
        (200, &json!("degraded"))
    );
    assert_eq!(look_up(&mut client).status, 200);
    let page = client.get("/metrics").unwrap().text();
    assert!(page.contains("galley_degraded 1"), "{page}");
    let registry = std::fs::read(here().join("data/swap/a.pb")).unwrap();
    repo::replace(&sandbox.registry(), &registry);
    status(&mut client, |it| it["status"] == "ready");
}

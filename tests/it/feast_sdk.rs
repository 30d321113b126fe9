//! Feast itself as the judge: its unmodified SDK against the real server, and repos it has just made.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use crate::support::feast::program as feast;
use crate::support::{Galley, Launch, here, repo};

#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}\n{stderr}",
        output.status
    );
    stdout.into_owned()
}

fn script(name: &str) -> PathBuf {
    here().join("data/sdk").join(name)
}

/// The same repo as seen by a client: Feast's remote online store pointed at the server.
fn client_repo(dir: &Path, project: &str, registry: &Path, server: &Galley) -> PathBuf {
    let client = dir.join("client");
    std::fs::create_dir_all(client.join("data")).unwrap();
    std::fs::copy(registry, client.join("data/registry.db")).unwrap();
    std::fs::write(
        client.join("feature_store.yaml"),
        format!(
            "project: {project}\nregistry: data/registry.db\nprovider: local\nonline_store:\n  type: remote\n  \
             path: {}\noffline_store:\n  type: file\nentity_key_serialization_version: 3\nauth:\n  type: no_auth\n",
            server.url()
        ),
    )
    .unwrap();
    client
}

#[test]
fn the_unmodified_sdk_reads_writes_and_materialises_through_us() {
    let sandbox = repo::rides();
    let launch = sandbox.launch();
    let online = here().join("data/rides/state/online_store.db");
    launch
        .run(&["import", "feast-sqlite", online.to_str().unwrap()])
        .ok();
    let server = launch.start();
    let client = client_repo(sandbox.dir.path(), "rides", &sandbox.registry(), &server);
    let said = run(feast("python").arg(script("remote.py")).arg(&client));
    assert!(said.contains("remote sdk: all checks passed"), "{said}");
}

#[test]
fn the_unmodified_sdk_pushes_through_us() {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let client = client_repo(sandbox.dir.path(), "swap", &sandbox.registry(), &server);
    let said = run(feast("python").arg(script("push.py")).arg(&client));
    assert!(said.contains("push: all checks passed"), "{said}");
}

/// `feast init -t local` and `feast apply`, as in Feast's quickstart.
fn fresh_repo() -> (TempDir, PathBuf) {
    let dir = tempfile::Builder::new()
        .prefix("galley-test-")
        .tempdir()
        .unwrap();
    run(feast("feast")
        .args(["init", "-t", "local", "demo"])
        .current_dir(dir.path()));
    let repo = dir.path().join("demo/feature_repo");
    run(feast("feast").arg("apply").current_dir(&repo));
    (dir, repo)
}

const WINDOW: (&str, &str) = ("2020-01-01T00:00:00+00:00", "2035-01-01T00:00:00+00:00");

#[test]
fn a_repo_straight_from_feast_init_is_served_untouched() {
    let (dir, repo) = fresh_repo();
    let data = dir.path().join("data");
    let launch = Launch::new(&repo, &data);
    // By the command, into the store of a server that does not run.
    launch.run(&["materialize", WINDOW.0, WINDOW.1]).ok();
    let server = launch.start();
    compare_with_feast(&repo, &server);
    on_demand_views_say_what_is_missing(&server);
    // While it runs: what is bound in the repo's spin.toml is taken up.
    launch.wrap();
    wait_for_transforms(&server);
    let compare = script("compare_transforms.py");
    let said = run(feast("python").arg(compare).arg(&repo).arg(server.url()));
    assert!(said.contains("computed values agree"), "{said}");
}

/// Waits until every on-demand feature view is computed.
fn wait_for_transforms(server: &Galley) {
    let mut client = server.client();
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let answer = client.get("/v1/transforms").unwrap().json();
        let transforms = answer["transforms"].as_array().unwrap();
        assert!(!transforms.is_empty());
        if transforms.iter().all(|it| it["state"] == "ready") {
            return;
        }
        assert!(Instant::now() < deadline, "not all are ready: {answer}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn keys_we_have_no_use_for_do_not_stop_a_repo() {
    let (dir, repo) = fresh_repo();
    std::fs::write(
        repo.join("feature_store.yaml"),
        "project: demo\nproject_description: a repo with more keys\nprovider: gcp\n\
         registry:\n  registry_type: file\n  path: ${GALLEY_TEST_REGISTRY:data/registry.db}\n  cache_ttl_seconds: 7\n\
         online_store:\n  type: redis\n  redis_type: redis_cluster\n  connection_string: \"nowhere:6379,ssl=true\"\n  \
         key_ttl_seconds: 604800\noffline_store:\n  type: dask\nbatch_engine:\n  type: local\n\
         feature_server:\n  enabled: true\n  feature_logging:\n    enabled: false\nflags:\n  alpha_features: true\n\
         entity_key_serialization_version: 3\nauth:\n  type: no_auth\nmaterialization:\n  online_write_batch_size: 100\n",
    )
    .unwrap();
    let data = dir.path().join("data");
    let server = Launch::new(&repo, &data).start();
    let mut client = server.client();
    // By HTTP, in the background, while the server serves.
    let window = json!({"start_ts": WINDOW.0, "end_ts": WINDOW.1});
    let accepted = client.post("/materialize?async=true", &window).unwrap();
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    wait_for_jobs(&server);
    // Feast must compare with its own store: give it back the settings it can work with.
    std::fs::write(
        repo.join("feature_store.yaml"),
        "project: demo\nregistry: data/registry.db\nprovider: local\nonline_store:\n  type: sqlite\n  \
         path: data/online_store.db\nentity_key_serialization_version: 3\n",
    )
    .unwrap();
    compare_with_feast(&repo, &server);
    // Again is no mistake, and incremental has nothing left to do.
    let again = client.post("/materialize", &window).unwrap();
    assert_eq!(
        (again.status, again.json()),
        (200, Value::Null),
        "{}",
        again.text()
    );
    let incremental = client
        .post("/materialize-incremental", &json!({"end_ts": WINDOW.1}))
        .unwrap();
    assert_eq!(incremental.status, 200, "{}", incremental.text());
    compare_with_feast(&repo, &server);
}

fn compare_with_feast(repo: &Path, server: &Galley) {
    let said = run(feast("python").arg(script("compare.py")).arg(repo).args([
        &server.url(),
        WINDOW.0,
        WINDOW.1,
    ]));
    assert!(said.contains("values agree"), "{said}");
}

fn wait_for_jobs(server: &Galley) {
    let mut client = server.client();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let jobs = client.get("/v1/jobs").unwrap().text();
        let busy = ["running", "queued"]
            .iter()
            .any(|state| jobs.to_lowercase().contains(state));
        if !busy {
            assert!(jobs.to_lowercase().contains("succeeded"), "{jobs}");
            return;
        }
        assert!(Instant::now() < deadline, "the job does not end: {jobs}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn on_demand_views_say_what_is_missing(server: &Galley) {
    let mut client = server.client();
    let reply = client
        .post(
            "/get-online-features",
            &json!({
                "features": ["transformed_conv_rate:conv_rate_plus_val1"],
                "entities": {"driver_id": [1001], "val_to_add": [1], "val_to_add_2": [2]},
            }),
        )
        .unwrap();
    let text = reply.text();
    assert!(
        (400..500).contains(&reply.status) || reply.status == 501,
        "{} {text}",
        reply.status
    );
    assert!(
        text.contains("transformed_conv_rate") && text.contains("WebAssembly"),
        "{text}"
    );
    let service = client
        .post(
            "/get-online-features",
            &json!({
                "feature_service": "driver_activity_v1",
                "entities": {"driver_id": [1001], "val_to_add": [1], "val_to_add_2": [2]},
            }),
        )
        .unwrap();
    assert_eq!(service.status, reply.status, "{}", service.text());
    assert!(
        service.text().contains("transformed_conv_rate"),
        "{}",
        service.text()
    );
}

//! Nodes in step with stock Feast: its registry server, its offline server, buckets.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::feast::{Certificate, FeastServer, free_port, program};
use crate::support::places::Server as Place;
use crate::support::repo::{self, Sandbox};
use crate::support::{Galley, Launch, here};

const WINDOW: (&str, &str) = ("2020-01-01T00:00:00+00:00", "2035-01-01T00:00:00+00:00");

/// A repo of the node's own, which has nothing but a way to the centre.
pub(crate) fn node_repo(sandbox: &Sandbox, project: &str, settings: &str) -> PathBuf {
    let dir = sandbox.dir.path().join("node");
    std::fs::create_dir_all(&dir).unwrap();
    let yaml = format!(
        "project: {project}\nprovider: local\n{settings}entity_key_serialization_version: 3\n"
    );
    std::fs::write(dir.join("feature_store.yaml"), yaml).unwrap();
    dir
}

pub(crate) fn registry_server(port: u16, more: &str) -> String {
    format!("registry: {{registry_type: remote, path: 'localhost:{port}'{more}}}\n")
}

pub(crate) fn status(server: &Galley) -> Value {
    server.client().get("/status").unwrap().json()
}

/// Waits until the state of the server is as `done` wants it.
#[track_caller]
pub(crate) fn until(server: &Galley, what: &str, done: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let status = status(server);
        if done(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{what} does not come: {status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn refused(status: &Value) -> &str {
    status["registry"]["refused"].as_str().unwrap_or("")
}

fn generation(status: &Value) -> u64 {
    status["registry"]["generation"].as_u64().unwrap()
}

pub(crate) fn has_view(status: &Value, name: &str) -> bool {
    let views = status["feature_views"].as_array().unwrap();
    views.iter().any(|view| view["name"] == name)
}

/// Adds a view to the definitions in `repo`, and applies them with Feast.
fn apply_view(repo: &Path, name: &str) {
    let path = repo.join("more.py");
    let mut text = std::fs::read_to_string(&path).unwrap_or_else(|_| {
        "from datetime import timedelta\nfrom feast import Entity, FeatureView, Field, FileSource, \
         ValueType\nfrom feast.types import Int64\n\
         thing = Entity(name='thing', join_keys=['thing_id'], value_type=ValueType.INT64)\n"
            .to_owned()
    });
    text.push_str(&format!(
        "{name} = FeatureView(name='{name}', entities=[thing], ttl=timedelta(0), \
         schema=[Field(name='thing_id', dtype=Int64), Field(name='x', dtype=Int64)], \
         source=FileSource(name='{name}_source', path='data/{name}.parquet', \
         timestamp_field='event_timestamp'))\n"
    ));
    std::fs::write(path, text).unwrap();
    let output = program("feast")
        .args(["apply", "--skip-source-validation"])
        .current_dir(repo)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "feast apply: {said}");
}

#[test]
fn a_registry_server_is_followed_lost_and_found_again() {
    let centre = repo::empty("centre");
    apply_view(&centre.repo, "first");
    let port = free_port();
    let server = FeastServer::start("serve_registry", &centre.repo, Some(port), None);
    let repo = node_repo(&centre, "centre", &registry_server(port, ""));
    let launch = Launch::new(&repo, &centre.data).env("GALLEY_FEAST_REGISTRY_POLL", "200ms");
    let node = launch.start();
    let seen = status(&node);
    assert!(has_view(&seen, "first"), "{seen}");

    apply_view(&centre.repo, "second");
    let seen = until(&node, "the second view", |status| {
        has_view(status, "second")
    });
    let installed = generation(&seen);

    // The centre is gone: what was installed serves, and the reason is there.
    drop(server);
    let seen = until(&node, "the news of the loss", |status| {
        !refused(status).is_empty()
    });
    let reason = refused(&seen);
    let location = format!("grpc://localhost:{port}");
    assert!(reason.contains(&location), "{reason}");
    assert_eq!(generation(&seen), installed);
    let asked = json!({"features": ["second:x"], "entities": {"thing_id": [1]}});
    let answer = node.client().post("/get-online-features", &asked).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());

    // So it does after a start without a centre.
    assert!(node.terminate().success());
    let node = launch.start();
    assert!(has_view(&status(&node), "second"));
    until(&node, "the reason", |status| {
        refused(status).contains(&location)
    });

    // It comes back with more: the node catches up, and no reason is left.
    apply_view(&centre.repo, "third");
    let _server = FeastServer::start("serve_registry", &centre.repo, Some(port), None);
    until(&node, "the third view", |status| {
        has_view(status, "third") && refused(status).is_empty()
    });
}

#[test]
fn servers_are_trusted_by_their_certificate_or_its_authority() {
    let centre = repo::rides();
    let folder = centre.dir.path();
    let certificate = Certificate::of_an_authority(folder);
    let own = Certificate::self_signed(folder);
    let first = FeastServer::start("serve_registry", &centre.repo, None, Some(&certificate));
    let second = FeastServer::start("serve_registry", &centre.repo, None, Some(&own));
    let check = |port: u16, cert: &Path| {
        let cert = format!(", cert: {}", cert.display());
        let repo = node_repo(&centre, "rides", &registry_server(port, &cert));
        let output = Launch::new(&repo, &centre.data).run(&["check"]);
        (output.status.success(), output.stdout)
    };
    for (port, cert, good) in [
        (first.port, &certificate.trust, true),
        (second.port, &own.trust, true),
        (first.port, &own.trust, false),
        (second.port, &certificate.trust, false),
    ] {
        let (success, said) = check(port, cert);
        assert_eq!(success, good, "{said}");
        assert!(!said.contains(": 0 feature views"), "{said}");
        assert_eq!(
            said.contains("give the server's certificate"),
            !good,
            "{said}"
        );
    }
}

/// The answers to look-ups of every view that both ways can bring.
fn answers(server: &Galley) -> Vec<Value> {
    let drivers: Vec<i64> = (1000..1012).collect();
    let asked = [
        (
            json!([
                "driver_hourly_stats:conv_rate",
                "driver_hourly_stats:acc_rate",
                "driver_hourly_stats:avg_daily_trips",
                "driver_trips_fresh:avg_daily_trips",
                "driver_stream:conv_rate",
                "city_totals:active_drivers",
                "city_totals:surge",
            ]),
            json!({"driver_id": drivers}),
        ),
        (
            json!(["trip_pair_stats:n_trips", "trip_pair_stats:avg_rating"]),
            json!({
                "driver_id": [1001, 1002, 1003, 1003],
                "customer_id": ["C001", "C002", "C002", "C003"],
            }),
        ),
        (
            json!(["location_weather:temperature", "location_weather:summary"]),
            json!({"location_id": [1, 2, 3, 4, 5]}),
        ),
        (
            json!(["zone_events:n_events"]),
            json!({"zone_id": [1, 2, 3, 4, 5, 10, 11]}),
        ),
    ];
    asked
        .into_iter()
        .map(|(features, entities)| {
            let body = json!({
                "features": features, "entities": entities, "full_feature_names": true,
            });
            let answer = server.client().post("/get-online-features", &body).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.json()
        })
        .collect()
}

const VIEWS: [&str; 6] = [
    "driver_hourly_stats",
    "driver_trips_fresh",
    "driver_stream",
    "trip_pair_stats",
    "location_weather",
    "city_totals",
];

/// Materialises [`VIEWS`] by the repo's offline store, and answers look-ups from what came.
fn materialised(launch: &Launch) -> (Galley, Vec<Value>) {
    let mut args = vec!["materialize", WINDOW.0, WINDOW.1];
    for view in VIEWS {
        args.extend(["--views", view]);
    }
    launch.run(&args).ok();
    let server = launch.start();
    let answers = answers(&server);
    (server, answers)
}

#[test]
fn what_the_offline_server_sends_is_what_the_files_hold() {
    let centre = repo::rides();
    let (_files, from_files) = materialised(&centre.launch());
    let certificate = Certificate::self_signed(centre.dir.path());
    for tls in [None, Some(&certificate)] {
        let server = FeastServer::start("serve_offline", &centre.repo, None, tls);
        let more = tls.map_or_else(String::new, |tls| {
            format!(", scheme: https, cert: {}", tls.trust.display())
        });
        let settings = format!(
            "registry: {}\noffline_store: {{type: remote, host: localhost, port: {}{more}}}\n",
            centre.registry().display(),
            server.port
        );
        let repo = node_repo(&centre, "rides", &settings);
        let data = centre.dir.path().join(format!("data-{}", server.port));
        let launch = Launch::new(&repo, &data);
        let (node, from_server) = materialised(&launch);
        assert_eq!(from_server, from_files);

        // Whole numbers that the server rounded are refused, not stored.
        let mut client = node.client();
        let window = json!({
            "start_ts": WINDOW.0, "end_ts": WINDOW.1, "feature_views": ["customer_profile"],
        });
        let answer = client.post("/materialize", &window).unwrap();
        let said = answer.text();
        assert_ne!(answer.status, 200, "{said}");
        assert!(
            said.contains("lifetime_value") && said.contains("offline_store: file"),
            "{said}"
        );

        // The server's own reasons come through.
        drop(server);
        let answer = client.post("/materialize", &window).unwrap();
        assert!(answer.text().contains("grpc"), "{}", answer.text());
    }
}

#[test]
fn a_registry_in_a_bucket_is_followed_by_its_tag() {
    let swap = repo::swap('a');
    let bucket = Place::bucket("central");
    let put = |version: char| {
        let bytes = std::fs::read(repo::swap_registry(version)).unwrap();
        bucket.put("feast/registry.pb", bytes);
    };
    put('a');
    let repo = node_repo(&swap, "swap", "registry: s3://central/feast/registry.pb\n");
    let launch = Launch::new(&repo, &swap.data)
        .env("GALLEY_FEAST_REGISTRY_POLL", "100ms")
        .env("FEAST_S3_ENDPOINT_URL", bucket.url())
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    let node = launch.start();
    let before = generation(&status(&node));
    // The first look of the follower knows no tag yet.
    std::thread::sleep(Duration::from_millis(500));
    bucket.requests();
    std::thread::sleep(Duration::from_secs(1));
    let polls = bucket.requests();
    assert!((2..=11).contains(&polls.len()), "{} polls", polls.len());
    let conditional = polls
        .iter()
        .all(|poll| poll.headers.contains_key("if-none-match"));
    assert!(conditional, "{polls:?}");
    assert_eq!(generation(&status(&node)), before);
    put('b');
    until(&node, "the other registry", |status| {
        generation(status) != before
    });
    // Nonsense is refused once and for all, and does not disturb what serves.
    bucket.put("feast/registry.pb", b"no registry".to_vec());
    let seen = until(&node, "the refusal", |status| !refused(status).is_empty());
    assert!(
        refused(&seen).contains("s3://central/feast/registry.pb"),
        "{seen}"
    );
    bucket.requests();
    std::thread::sleep(Duration::from_secs(2));
    assert!(
        bucket.requests().len() <= 3,
        "a refused registry is read again and again"
    );
}

#[test]
fn an_offline_server_that_only_knows_the_older_calls_is_read_and_written() {
    let centre = repo::rides();
    let (_files, from_files) = materialised(&centre.launch());
    let port = free_port();
    let mut command = program("python");
    command
        .arg(here().join("data/sdk/old_offline.py"))
        .arg(port.to_string())
        .current_dir(&centre.repo);
    let _server = FeastServer::listening(command, "old_offline", &centre.repo, port);
    let settings = format!(
        "registry: {}\noffline_store: {{type: remote, host: localhost, port: {port}}}\n",
        centre.registry().display(),
    );
    let repo = node_repo(&centre, "rides", &settings);
    let launch = Launch::new(&repo, &centre.dir.path().join("data-old"));
    let (_node, from_server) = materialised(&launch);
    assert_eq!(from_server, from_files);
    let log = centre.repo.join(format!("old_offline-{port}.log"));
    let log = std::fs::read_to_string(log).unwrap();
    for call in ["do_put", "get_flight_info", "do_get"] {
        let times = log.matches(&format!("called {call}")).count();
        assert_eq!(times, VIEWS.len(), "{call}: {log}");
    }
}

#[test]
fn a_server_of_several_projects_gives_each_node_its_own() {
    let centre = repo::empty("first");
    apply_view(&centre.repo, "things");
    // Another project in the same registry, with a view of the same name and another of its own.
    let other = centre.dir.path().join("other");
    std::fs::create_dir_all(&other).unwrap();
    let yaml = std::fs::read_to_string(centre.repo.join("feature_store.yaml")).unwrap();
    let registry = format!("registry: {}", centre.registry().display());
    let yaml = yaml
        .replace("project: first", "project: second")
        .replace("registry: data/registry.db", &registry);
    std::fs::write(other.join("feature_store.yaml"), yaml).unwrap();
    std::fs::create_dir_all(other.join("data")).unwrap();
    apply_view(&other, "things");
    apply_view(&other, "more");
    let server = FeastServer::start("serve_registry", &centre.repo, None, None);
    let settings = registry_server(server.port, "");
    let start = |project: &str| {
        let repo = node_repo(&centre, project, &settings);
        // The next one's repo goes over it.
        let own = centre.dir.path().join(format!("node-{project}"));
        std::fs::rename(repo, &own).unwrap();
        let data = centre.dir.path().join(format!("data-{project}"));
        let launch = Launch::new(&own, &data).env("GALLEY_FEAST_REGISTRY_POLL", "200ms");
        launch.try_start()
    };
    let (first, second) = (start("first").unwrap(), start("second").unwrap());
    let views = |server: &Galley| -> Vec<String> {
        let status = status(server);
        let views = status["feature_views"].as_array().unwrap();
        let name = |view: &Value| view["name"].as_str().unwrap().to_owned();
        let mut names: Vec<String> = views.iter().map(name).collect();
        names.sort();
        names
    };
    assert_eq!(views(&first), ["things"]);
    assert_eq!(views(&second), ["more", "things"]);

    // What one project applies reaches its own nodes, and no others.
    apply_view(&centre.repo, "late");
    until(&first, "the late view", |status| has_view(status, "late"));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(views(&second), ["more", "things"]);
    let seen = status(&second);
    assert!(refused(&seen).is_empty(), "{seen}");

    // A project that is not there is named.
    let (_, said) = start("third").unwrap_err();
    assert!(said.contains("no project 'third'"), "{said}");
}

//! The commands, with a server that holds the store and without one.

use serde_json::{Value, json};

use crate::support::process::{clean, galley};
use crate::support::repo;
use crate::support::repo::{Sandbox, column};

fn rows(sandbox: &Sandbox, rows: &Value) -> String {
    let file = sandbox.dir.path().join("rows.json");
    std::fs::write(&file, rows.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn version_says_what_it_is() {
    let sandbox = repo::swap('a');
    let output = clean(galley())
        .args(["version", "--json"])
        .output()
        .unwrap();
    let version: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (version["name"].as_str(), version["version"].as_str()),
        (Some("galley"), Some("0.1.0")),
        "{version}"
    );
    drop(sandbox);
}

#[test]
fn get_and_push_work_with_and_without_a_server() {
    let sandbox = repo::swap('a');
    let launch = sandbox.launch();
    let get = |key: &str| {
        let entity = format!("item_id={key}");
        launch
            .run(&[
                "get",
                "--service",
                "pair",
                "--full-feature-names",
                "-e",
                &entity,
                "--json",
            ])
            .ok()
            .json()
    };
    // Nothing runs: the command opens the store itself.
    let file = rows(
        &sandbox,
        &json!([{"item_id": 1, "event_timestamp": "2026-02-01T00:00:00Z", "x": 10, "y": 11}]),
    );
    let pushed = launch.run(&["push", "items", &file, "--json"]).ok().json();
    assert_eq!(pushed["rows"], 1, "{pushed}");
    assert_eq!(column(&get("1"), "left_a__x").0, [json!(10)]);

    // A server holds the store: the commands talk to it.
    let server = launch.start();
    assert_eq!(
        column(&get("1,2"), "right_a__y").0,
        [json!(11), Value::Null]
    );
    let file = rows(
        &sandbox,
        &json!({"item_id": [2], "event_timestamp": ["2026-02-01T00:00:00Z"], "x": [20], "y": [21]}),
    );
    launch.run(&["push", "items", &file]).ok();
    assert_eq!(column(&get("1,2"), "right_a__y").0, [json!(11), json!(21)]);
    // For people: the same without --json.
    let text = launch
        .run(&["get", "-f", "left:x", "-e", "item_id=2"])
        .ok()
        .stdout;
    assert!(text.contains("20") && text.contains("PRESENT"), "{text}");

    // Mistakes end with another code and say what is wrong, on stderr.
    let unknown = launch.run(&["get", "-f", "nope:x", "-e", "item_id=2", "--json"]);
    assert!(
        !unknown.status.success() && unknown.stderr.contains("nope"),
        "{unknown:?}"
    );
    let bad = rows(
        &sandbox,
        &json!([{"item_id": "abc", "event_timestamp": "2026-02-01T00:00:00Z", "x": 1, "y": 1}]),
    );
    let refused = launch.run(&["push", "items", &bad]);
    assert!(
        !refused.status.success() && refused.stderr.contains("item_id"),
        "{refused:?}"
    );

    // And once it is gone, everything is still there.
    assert!(server.terminate().success());
    assert_eq!(column(&get("1,2"), "left_a__y").0, [json!(11), json!(21)]);
}

#[test]
fn status_and_check_tell_what_is_there() {
    let sandbox = repo::swap('a');
    let launch = sandbox.launch();
    let file = rows(
        &sandbox,
        &json!([{"item_id": 1, "event_timestamp": "2026-02-01T00:00:00Z", "x": 10, "y": 11}]),
    );
    launch.run(&["push", "items", &file]).ok();

    let check = launch.run(&["check", "--json"]).ok();
    assert!(
        check.stdout.contains(sandbox.repo.to_str().unwrap()),
        "the effective settings: {}",
        check.stdout
    );
    check.json();
    let server = launch.start();
    let status = launch.run(&["status", "--json"]).ok().json();
    assert_eq!(status["project"], "swap", "{status}");
    let views = status["feature_views"].as_array().unwrap();
    let rows = |name: &str| {
        views
            .iter()
            .find(|view| view["name"] == name)
            .map(|view| view["rows"].clone())
    };
    assert_eq!(
        (rows("left"), rows("right")),
        (Some(json!(1)), Some(json!(1))),
        "{status}"
    );
    let text = launch.run(&["status"]).ok().stdout;
    assert!(text.contains("left") && text.contains("right"), "{text}");
    drop(server);
}

#[test]
fn a_second_server_on_the_same_data_is_refused_in_words() {
    let sandbox = repo::swap('a');
    let launch = sandbox.launch();
    let mut server = launch.start();
    let second = launch.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(!second.status.success(), "{second:?}");
    assert!(
        second.stderr.contains(sandbox.data.to_str().unwrap()),
        "{second:?}"
    );
    assert!(server.alive());
    assert_eq!(server.client().get("/ready").unwrap().status, 200);
}

#[test]
fn a_setting_that_does_not_exist_is_an_error_that_names_the_nearest() {
    let sandbox = repo::swap('a');
    let config = sandbox.dir.path().join("galley.toml");
    std::fs::write(&config, "[feast]\npython_quirk = true\n").unwrap();
    let output = sandbox
        .launch()
        .run(&["check", "--config", config.to_str().unwrap()]);
    assert!(!output.status.success(), "{output:?}");
    for word in ["python_quirk", "python_quirks", "galley.toml"] {
        assert!(output.stderr.contains(word), "no {word}: {output:?}");
    }
    let output = sandbox
        .launch()
        .env("GALLEY_FEAST_PYTHON_QUIRK", "true")
        .run(&["check"]);
    assert!(
        !output.status.success() && output.stderr.contains("GALLEY_FEAST_PYTHON_QUIRKS"),
        "{output:?}"
    );
    std::fs::write(&config, "[server]\nheader_timeout = \"soon\"\n").unwrap();
    let output = sandbox
        .launch()
        .run(&["check", "--config", config.to_str().unwrap()]);
    assert!(
        !output.status.success() && output.stderr.contains("header_timeout"),
        "{output:?}"
    );
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let sandbox = repo::swap('a');
    let config = sandbox.repo.join("galley.toml");
    std::fs::write(
        &config,
        "[server]\nlisten = \"127.0.0.1:1\"\nheader_timeout = \"3s\"\nbody_timeout = \"4s\"\n",
    )
    .unwrap();
    let launch = sandbox
        .launch()
        .env("GALLEY_SERVER_LISTEN", "127.0.0.1:2")
        .env("GALLEY_SERVER_HEADER_TIMEOUT", "7s");
    // `start` passes --listen 127.0.0.1:0, or it would not find a port it may use.
    launch.start();
    let shown = launch.run(&["check", "--json"]).ok().json();
    let settings = shown["settings"]
        .as_array()
        .unwrap_or_else(|| panic!("no settings: {shown}"));
    let value = |key: &str| {
        let setting = settings.iter().find(|setting| setting["key"] == key);
        setting
            .map(|setting| setting["value"].to_string())
            .unwrap_or_default()
    };
    assert!(value("server.listen").contains("127.0.0.1:2"), "{shown}");
    assert!(value("server.header_timeout").contains("7s"), "{shown}");
    assert!(value("server.body_timeout").contains("4s"), "{shown}");
}

#[test]
fn the_demo_runs_from_beginning_to_end() {
    let sandbox = repo::swap('a');
    let dir = sandbox.dir.path().join("demo");
    let output = clean(galley())
        .args(["demo", "--once", "--listen", "127.0.0.1:0", "--dir"])
        .arg(&dir)
        .output()
        .unwrap();
    let (said, log) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}\n{log}");
    for word in [
        "driver_activity",
        "PRESENT",
        "push",
        "distance_km",
        "cosine",
    ] {
        assert!(said.contains(word), "no {word}: {said}\n{log}");
    }
}

//! A feed made by the real binary: The Update Framework's own client believes it, a node follows it,
//! and every key can be replaced.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::feast_sdk::run;
use crate::support::process::{clean, galley};
use crate::support::repo::{Sandbox, column};
use crate::support::{here, repo};

/// Bytes that an unchanged poll may cost.
const TIMESTAMP_BYTES_MAX: u64 = 2048;

/// The rides repo with keys and a place for a feed beside it.
struct Centre {
    sandbox: Sandbox,
    keys: PathBuf,
    feed: PathBuf,
}

impl Centre {
    fn new() -> Self {
        let sandbox = repo::rides();
        let (keys, feed) = (
            sandbox.dir.path().join("keys"),
            sandbox.dir.path().join("feed"),
        );
        let centre = Self {
            sandbox,
            keys,
            feed,
        };
        let made = centre.keys(&["init"]);
        assert_eq!(made["root_version"], 1, "{made}");
        centre
    }

    #[track_caller]
    fn keys(&self, what: &[&str]) -> Value {
        let mut args = vec!["keys"];
        args.extend(what);
        args.extend([text(&self.keys), "--json"]);
        json_of(&args)
    }

    #[track_caller]
    fn publish(&self, how: &[&str]) -> Value {
        let mut args = vec!["publish", "--json", "--repo", text(&self.sandbox.repo)];
        args.extend(["--to", text(&self.feed), "--keys", text(&self.keys)]);
        args.extend(how);
        json_of(&args)
    }

    /// What the framework's own client makes of the feed, from its first root on.
    #[track_caller]
    fn verified(&self) -> Value {
        let root = self.keys.join("1.root.json");
        let script = here().join("data/tuf/verify.py");
        let said = run(tuf_python().arg(script).arg(&self.feed).arg(root));
        serde_json::from_str(&said).unwrap()
    }
}

/// What a command prints.
#[track_caller]
fn json_of(args: &[&str]) -> Value {
    let said = run(clean(galley()).args(args));
    serde_json::from_str(&said).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A Python with the framework's client.
fn tuf_python() -> Command {
    let venv = std::env::var_os("GALLEY_TUF_VENV")
        .map_or_else(|| here().join("../target/tuf-venv"), PathBuf::from);
    let path = venv.join("bin/python");
    assert!(
        path.is_file(),
        "{} is missing: run the tests with `cargo xtask test`",
        path.display()
    );
    Command::new(path)
}

#[test]
fn the_frameworks_own_client_verifies_what_is_published() {
    let centre = Centre::new();
    let dry = centre.publish(&["--dry-run", "--full"]);
    assert_eq!(
        (&dry["dry_run"], &dry["changed"]),
        (&json!(true), &json!(true))
    );
    assert!(!centre.feed.exists(), "a dry run put something");
    let published = centre.publish(&["--full"]);
    assert_eq!(published["version"], 1, "{published}");
    let batches = published["batches"].as_array().unwrap().len();
    assert!(batches >= 8, "{published}");
    let timestamp = centre.feed.join("metadata/timestamp.json");
    let bytes = std::fs::metadata(timestamp).unwrap().len();
    println!("timestamp.json: {bytes} bytes");
    assert!(bytes <= TIMESTAMP_BYTES_MAX, "{bytes} bytes");
    let seen = centre.verified();
    assert_eq!(seen["targets"], 1, "{seen}");
    // The registry, and a part of each batch.
    assert_eq!(
        seen["files"].as_array().unwrap().len(),
        1 + batches,
        "{seen}"
    );

    // Nothing new is a fresh timestamp and nothing else.
    let again = centre.publish(&[]);
    assert_eq!(
        (&again["changed"], &again["files_put"]),
        (&json!(false), &json!(0)),
        "{again}"
    );
    let seen = centre.verified();
    assert_eq!(
        (&seen["targets"], &seen["timestamp"]),
        (&json!(1), &json!(2))
    );

    // Every key gives way to another, and the first root still leads there.
    for role in ["timestamp", "snapshot", "targets", "root"] {
        centre.keys(&["rotate", role]);
        centre.publish(&["--no-data"]);
    }
    let seen = centre.verified();
    assert_eq!(
        (&seen["root"], &seen["timestamp"]),
        (&json!(5), &json!(6)),
        "{seen}"
    );
}

#[test]
fn a_node_serves_what_the_feed_holds() {
    let centre = Centre::new();
    centre.publish(&["--full"]);
    let node = centre.sandbox.launch();
    let root = centre.keys.join("1.root.json");
    let follow = [
        "sync",
        "--once",
        "--feed",
        text(&centre.feed),
        "--root",
        text(&root),
    ];
    node.run(&follow).ok();
    let got = node
        .run(&[
            "get",
            "-f",
            "driver_hourly_stats:conv_rate",
            "-e",
            "driver_id=1001,1002",
            "--full-feature-names",
            "--json",
        ])
        .ok()
        .json();
    // The sample's rows are older than they may be served, and there.
    let times = &got["results"][1]["event_timestamps"];
    assert_eq!(*times, json!(vec!["2026-03-01T11:00:00Z"; 2]), "{got}");
    let (_, statuses) = column(&got, "driver_hourly_stats__conv_rate");
    assert_eq!(statuses, ["OUTSIDE_MAX_AGE"; 2], "{got}");
    // A flipped bit of what was signed is refused, and by its name.
    let timestamp = centre.feed.join("metadata/timestamp.json");
    let signed = std::fs::read_to_string(&timestamp).unwrap();
    std::fs::write(&timestamp, signed.replace("\"version\":1", "\"version\":7")).unwrap();
    let refused = node.run(&follow);
    assert!(!refused.status.success(), "{}", refused.stdout);
    assert!(refused.stderr.contains("signatures"), "{}", refused.stderr);
}

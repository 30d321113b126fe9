//! The way home: rows pushed to the offline store reach the landing folder, each once, whatever
//! happens to the node on the way.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::feast_sdk::{feast, run};
use crate::support::{Client, Galley, Launch, Random, here, long, repo, seed};

/// How long the outbox may take to empty.
const EMPTY_MAX: Duration = Duration::from_secs(60);

fn push(client: &mut Client, keys: &[i64], to: &str) -> Option<u16> {
    let body = json!({
        "push_source_name": "items",
        "df": {
            "item_id": keys,
            "event_timestamp": vec!["2026-02-01T00:00:00Z"; keys.len()],
            "x": keys,
            "y": keys.iter().map(|key| key + 100).collect::<Vec<_>>(),
        },
        "to": to,
    });
    Some(client.post("/push", &body).ok()?.status)
}

fn status(server: &Galley) -> Value {
    let reply = server.client().get("/status").unwrap();
    serde_json::from_slice::<Value>(&reply.body).unwrap()["outbox"].clone()
}

#[track_caller]
fn wait_until_empty(server: &Galley) {
    let deadline = Instant::now() + EMPTY_MAX;
    loop {
        let outbox = status(server);
        if outbox["entries"] == json!(0) {
            return;
        }
        assert!(Instant::now() < deadline, "{outbox}\n{}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What landed of a view: key, x and y of each row.
fn landed(landing: &Path, view: &str, more: &[&str]) -> Vec<[i64; 3]> {
    let script = here().join("data/sdk/landed.py");
    let said = run(feast("python")
        .arg(script)
        .arg(landing)
        .arg(view)
        .args(more));
    let last = said.lines().last().unwrap_or_default();
    let tree: Value = serde_json::from_str(last).unwrap();
    serde_json::from_value(tree["rows"].clone()).unwrap()
}

fn to(launch: Launch, landing: &Path) -> Launch {
    launch
        .env("GALLEY_OUTBOX_TO", landing.display())
        .env("GALLEY_OUTBOX_BATCH_WAIT", "50ms")
}

#[test]
fn rows_pushed_to_the_offline_store_land_where_feast_reads_them() {
    let sandbox = repo::swap('a');
    let landing = sandbox.dir.path().join("landing");
    let server = to(sandbox.launch(), &landing).start();
    let mut client = server.client();
    assert_eq!(push(&mut client, &[1, 2], "offline"), Some(200));
    assert_eq!(push(&mut client, &[3], "online_and_offline"), Some(200));
    assert_eq!(push(&mut client, &[4], "online"), Some(200));
    wait_until_empty(&server);
    let mut rows = landed(&landing, "left", &["--feast"]);
    rows.sort_unstable();
    assert_eq!(rows, [[1, 1, 101], [2, 2, 102], [3, 3, 103]]);
    let body = json!({"features": ["left:x"], "entities": {"item_id": [1, 3]}});
    let reply = client.post("/get-online-features", &body).unwrap();
    let text = reply.text();
    assert!(text.contains("NOT_FOUND"), "1 went offline only: {text}");
    let outbox = status(&server);
    assert_eq!(outbox["sent_rows"], json!(3), "{outbox}");
    let metrics = client.get("/metrics").unwrap().text();
    assert!(
        metrics.contains("galley_outbox_sent_rows_total 3"),
        "{metrics}"
    );
    let said = to(sandbox.launch(), &landing).run(&["status"]).ok();
    assert!(said.stdout.contains("outbox    to "), "{}", said.stdout);
    assert!(server.terminate().success());
}

/// Feast's offline server of a repo; it ends with this.
struct OfflineServer {
    child: Child,
    port: u16,
}

impl OfflineServer {
    fn start(repo: &Path) -> Self {
        // Free a moment ago: nobody else takes ports here.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = feast("feast")
            .args(["serve_offline", "--host", "127.0.0.1", "--port"])
            .arg(port.to_string())
            .current_dir(repo)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, port }
    }
}

impl Drop for OfflineServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pushes to the offline store of the repo and looks up its service, which logs.
#[track_caller]
fn push_and_look_up(server: &Galley, key: i64) {
    let mut client = server.client();
    assert_eq!(push(&mut client, &[key], "online_and_offline"), Some(200));
    let body = json!({
        "feature_service": "served",
        "full_feature_names": true,
        "entities": {"item_id": [key, -key]},
    });
    let reply = client.post("/get-online-features", &body).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    // Logs are gathered for a second.
    std::thread::sleep(Duration::from_millis(1_500));
    wait_until_empty(server);
}

#[test]
fn feasts_offline_server_and_its_log_reader_get_what_was_pushed_and_served() {
    let dir = tempfile::Builder::new()
        .prefix("galley-test-")
        .tempdir()
        .unwrap();
    let (repo, data) = (dir.path().join("repo"), dir.path().join("data"));
    let landing = dir.path().join("landing");
    let script = here().join("data/sdk/home.py");
    run(feast("python")
        .arg(&script)
        .arg("make")
        .args([&repo, &landing]));
    // The centre is slow to come: what waits meanwhile is sent when it is there.
    let offline = OfflineServer::start(&repo);
    let server = Launch::new(&repo, &data)
        .env(
            "GALLEY_OUTBOX_TO",
            format!("grpc://127.0.0.1:{}", offline.port),
        )
        .env("GALLEY_OUTBOX_BATCH_WAIT", "50ms")
        .start();
    push_and_look_up(&server, 1);
    assert!(server.terminate().success());
    // Another way for the same: Parquet where the service's logs are read.
    let server = to(Launch::new(&repo, &data), &landing).start();
    push_and_look_up(&server, 2);
    let log_rows = status(&server)["log_rows"].clone();
    assert_eq!(log_rows, json!(2));
    assert!(server.terminate().success());

    let said = run(feast("python").arg(&script).arg("check").arg(&repo));
    let tree: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap();
    let mut items: Vec<[i64; 3]> = serde_json::from_value(tree["items"].clone()).unwrap();
    items.sort_unstable();
    assert_eq!(
        items,
        [[0, 0, 100], [1, 1, 101]],
        "once, though two views share the source"
    );
    assert_eq!(landed(&landing, "both", &[]), [[2, 2, 102]]);
    let mut logs: Vec<(i64, Option<i64>, i32, String, String)> =
        serde_json::from_value(tree["logs"].clone()).unwrap();
    logs.sort();
    let seen: Vec<_> = logs.iter().map(|it| (it.0, it.1, it.2)).collect();
    let expect = [
        (-2, None, 3),
        (-1, None, 3),
        (1, Some(1), 1),
        (2, Some(2), 1),
    ];
    assert_eq!(seen, expect);
    assert_eq!(logs[0].3, logs[3].3, "one look-up");
    assert_ne!(logs[0].3, logs[1].3);
}

/// A folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[track_caller]
fn wait_until(server: &Galley, what: &str, done: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + EMPTY_MAX;
    while !done(&status(server)) {
        assert!(
            Instant::now() < deadline,
            "{what}: {}\n{}",
            status(server),
            server.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_feasts_server_does_not_know_is_parked_and_sent_when_it_does() {
    let dir = tempfile::Builder::new()
        .prefix("galley-test-")
        .tempdir()
        .unwrap();
    let path = |name: &str| dir.path().join(name);
    let (repo, centre) = (path("repo"), path("centre"));
    let script = here().join("data/sdk/home.py");
    run(feast("python")
        .arg(&script)
        .arg("make")
        .args([&repo, &path("landing")]));
    copy(&repo, &centre);
    run(feast("python").arg(&script).arg("forget").arg(&centre));
    let launch = |offline: &OfflineServer| {
        Launch::new(&repo, &path("data"))
            .env(
                "GALLEY_OUTBOX_TO",
                format!("grpc://127.0.0.1:{}", offline.port),
            )
            .env("GALLEY_OUTBOX_BATCH_WAIT", "50ms")
            .env("GALLEY_OUTBOX_PARK_AFTER", "2")
    };
    let offline = OfflineServer::start(&centre);
    let server = launch(&offline).start();
    push_and_look_up(&server, 1);
    wait_until(&server, "parked", |it| it["parked"]["parts"] == json!(1));
    // It holds up nothing: what comes later arrives.
    assert_eq!(push(&mut server.client(), &[2], "offline"), Some(200));
    wait_until(&server, "sent", |it| it["sent_rows"] == json!(2));
    let parked = status(&server)["parked"]["targets"][0].clone();
    assert_eq!(parked["target"], json!("served"), "{parked}");
    assert_eq!(
        (&parked["kind"], &parked["attempts"]),
        (&json!("logs"), &json!(2))
    );
    let reason = parked["reason"].as_str().unwrap();
    assert!(
        reason.contains("FeatureServiceNotFoundException"),
        "{reason}"
    );
    let metrics = server.client().get("/metrics").unwrap().text();
    assert!(
        metrics.contains("galley_outbox_parked_entries 1"),
        "{metrics}"
    );
    let said = launch(&offline).run(&["outbox", "list"]).ok().stdout;
    assert!(said.contains("REFUSED   served: "), "{said}");
    let again = ["outbox", "retry", "--target", "served"];
    launch(&offline).run(&again).ok();
    wait_until(&server, "refused again", |it| {
        it["parked"]["targets"][0]["attempts"] == json!(3)
    });
    assert!(server.terminate().success());

    drop(offline);
    let registry = "data/registry.db";
    std::fs::copy(repo.join(registry), centre.join(registry)).unwrap();
    let offline = OfflineServer::start(&centre);
    // Nobody serves: the store itself is asked.
    let told = launch(&offline).run(&["outbox", "retry", "--json"]).ok();
    assert_eq!(told.json()["parts"], json!(1));
    let server = launch(&offline).start();
    wait_until(&server, "sent", |it| it["parked"]["parts"] == json!(0));
    let drop_all = launch(&offline).run(&["outbox", "drop", "--all"]).ok();
    assert!(
        drop_all.stdout.contains("nothing is parked"),
        "{drop_all:?}"
    );
    assert!(server.terminate().success());
    let said = run(feast("python").arg(&script).arg("check").arg(&centre));
    let tree: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap();
    assert_eq!(tree["items"].as_array().unwrap().len(), 3, "{tree}");
    let mut keys: Vec<i64> = tree["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it[0].as_i64().unwrap())
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, [-1, 1], "{tree}");
}

#[test]
fn two_nodes_on_copies_of_one_data_folder_send_each_row_once_and_overwrite_nothing() {
    let sandbox = repo::swap('a');
    let landing = sandbox.dir.path().join("landing");
    std::fs::write(&landing, "").unwrap();
    let first = to(sandbox.launch(), &landing);
    let server = first.start();
    for key in 1..=3 {
        assert_eq!(push(&mut server.client(), &[key], "offline"), Some(200));
    }
    wait_until(&server, "tried", |it| it["failures"].as_u64() > Some(0));
    assert_eq!(push(&mut server.client(), &[4], "offline"), Some(200));
    assert!(server.terminate().success());
    let mut second = first.clone();
    second.data_dir = sandbox.dir.path().join("copy");
    copy(&first.data_dir, &second.data_dir);
    std::fs::remove_file(&landing).unwrap();
    let servers = [first.start(), second.start()];
    let mut expect: Vec<i64> = (1..=4).collect();
    // As many pushes to each, so that both give out the same sequences.
    for round in 0..5 {
        for (index, server) in servers.iter().enumerate() {
            let key = 100 * (index as i64 + 1) + round;
            assert_eq!(push(&mut server.client(), &[key], "offline"), Some(200));
            wait_until_empty(server);
            expect.push(key);
        }
    }
    let mut keys: Vec<i64> = landed(&landing, "left", &[])
        .iter()
        .map(|row| row[0])
        .collect();
    keys.sort_unstable();
    expect.sort_unstable();
    assert_eq!(keys, expect);
    let producer = |server: &Galley| status(server)["producer"].clone();
    assert_ne!(producer(&servers[0]), producer(&servers[1]));
    for server in servers {
        assert!(server.terminate().success());
    }
}

#[test]
fn killed_again_and_again_the_outbox_loses_nothing_and_sends_nothing_twice() {
    let kills = if long() { 300 } else { 25 };
    let sandbox = repo::swap('a');
    let landing = sandbox.dir.path().join("landing");
    let launch = to(sandbox.launch(), &landing).env("GALLEY_OUTBOX_BATCH_WAIT", "1ms");
    let mut random = Random::new(seed());
    println!("seed {}", seed());
    // Of each push: its keys, and whether it was acknowledged.
    let mut pushes: Vec<(Vec<i64>, bool)> = Vec::new();
    let mut next = 1;
    for _ in 0..kills {
        let server = launch.start();
        let mut client = server.client();
        let end = Instant::now() + Duration::from_millis(20 + random.below(200));
        let killed = std::thread::scope(|scope| {
            let pid = &server;
            let killer = scope.spawn(move || {
                std::thread::sleep(end.saturating_duration_since(Instant::now()));
                pid.signal(rustix::process::Signal::KILL);
            });
            loop {
                let keys: Vec<i64> = (next..next + 1 + random.below(3) as i64).collect();
                next += keys.len() as i64;
                let to = if random.below(2) == 0 {
                    "offline"
                } else {
                    "online_and_offline"
                };
                let answer = push(&mut client, &keys, to);
                pushes.push((keys, answer == Some(200)));
                if answer.is_none() {
                    break;
                }
                assert_eq!(answer, Some(200));
            }
            killer.join().is_ok()
        });
        assert!(killed);
        server.kill();
    }
    let server = launch.start();
    wait_until_empty(&server);
    let mut times: BTreeMap<i64, u32> = BTreeMap::new();
    for [key, x, y] in landed(&landing, "left", &[]) {
        assert_eq!((x, y), (key, key + 100));
        *times.entry(key).or_default() += 1;
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "twice: {twice:?}");
    let mut acknowledged = 0;
    for (keys, sure) in &pushes {
        let there = keys.iter().filter(|key| times.contains_key(key)).count();
        assert!(
            there == keys.len() || (there == 0 && !sure),
            "{keys:?} {sure}"
        );
        acknowledged += u64::from(*sure);
    }
    println!("{kills} kills, {acknowledged} acknowledged pushes");
    assert!(
        acknowledged > kills * 5,
        "{acknowledged}: the test tests little"
    );
    assert!(server.terminate().success());
}

#[test]
fn a_full_outbox_answers_507_until_the_centre_is_back() {
    let sandbox = repo::swap('a');
    let landing = sandbox.dir.path().join("landing");
    // A file where the folder should be: the centre is gone.
    std::fs::write(&landing, "").unwrap();
    let server = to(sandbox.launch(), &landing)
        .env("GALLEY_OUTBOX_BYTES_MAX", "8KiB")
        .start();
    let mut client = server.client();
    let mut taken = Vec::new();
    for key in 1.. {
        assert!(key < 1_000, "never full");
        match push(&mut client, &[key], "offline") {
            Some(200) => taken.push(key),
            Some(507) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(taken.len() > 10, "{taken:?}");
    let body = json!({
        "push_source_name": "items",
        "df": {"item_id": [1], "event_timestamp": ["2026-02-01T00:00:00Z"], "x": [1], "y": [1]},
        "to": "online_and_offline",
    });
    let reply = client.post("/push", &body).unwrap();
    assert_eq!(reply.status, 507);
    assert!(reply.header("retry-after").is_some());
    assert!(
        reply.text().contains("outbox.bytes_max"),
        "{}",
        reply.text()
    );
    assert_eq!(push(&mut client, &[5_000], "online"), Some(200));
    // It may have filled up before the first attempt to send.
    let deadline = Instant::now() + Duration::from_secs(20);
    let failed =
        |outbox: &Value| outbox["failures"].as_u64() > Some(0) && outbox["failure"].is_string();
    while !failed(&status(&server)) {
        assert!(Instant::now() < deadline, "{}", status(&server));
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::remove_file(&landing).unwrap();
    wait_until_empty(&server);
    assert_eq!(push(&mut client, &[6_000], "offline"), Some(200));
    wait_until_empty(&server);
    let mut rows: Vec<i64> = landed(&landing, "left", &[])
        .iter()
        .map(|row| row[0])
        .collect();
    rows.sort_unstable();
    taken.push(6_000);
    assert_eq!(rows, taken);
    assert!(server.terminate().success());
}

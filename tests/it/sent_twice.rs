//! Feast's offline server keeps no record of what it was sent, so a batch whose answer was lost is sent
//! again. What its readers make of that.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::feast_sdk::{feast, run};
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::feast::{FeastServer, program};
use crate::support::{Galley, Launch, here};

/// How long the outbox may take to empty.
const EMPTY_MAX: Duration = Duration::from_secs(60);
/// How long an answer is withheld before its connection is cut: in that time the server writes.
const WITHHELD_MS: u64 = 6_000;
/// A connection that nothing happens to.
const PASSES: Fault = Fault::Cut(u64::MAX);

fn outbox(server: &Galley) -> Value {
    server.client().get("/status").unwrap().json()["outbox"].clone()
}

#[track_caller]
fn wait_until(server: &Galley, what: &str, done: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + EMPTY_MAX;
    while !done(&outbox(server)) {
        let now = outbox(server);
        assert!(Instant::now() < deadline, "{what}: {now}\n{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends the next batch twice: `before` connections are made for it before the one it goes by.
#[track_caller]
fn answer_is_lost(server: &Galley, proxy: &FaultProxy, before: usize, send: impl Fn(&Galley)) {
    let sent = |outbox: &Value| outbox["sent_rows"].as_u64().unwrap();
    let (rows, failures) = (sent(&outbox(server)), outbox(server)["failures"].clone());
    let mut faults = vec![Fault::Stall(0, WITHHELD_MS)];
    faults.resize(1 + before, PASSES);
    proxy.strike(&faults);
    send(server);
    wait_until(server, "an answer that is lost", |it| {
        it["failures"] != failures
    });
    wait_until(server, "an empty outbox", |it| it["entries"] == json!(0));
    assert!(sent(&outbox(server)) > rows);
}

fn push(server: &Galley) {
    let body = json!({
        "push_source_name": "pushed", "to": "online_and_offline",
        "df": {
            "item_id": [1, 2], "x": [10, 20], "remark": ["a", null],
            "event_timestamp": ["2026-02-01T00:00:00Z", "2026-02-01T00:00:00.000001Z"],
            "created": ["2026-02-01T00:00:01Z", "2026-02-01T00:00:01Z"],
        },
    });
    let reply = server.client().post("/push", &body).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn look_up(server: &Galley) {
    let body = json!({"feature_service": "served", "entities": {"item_id": [1, 2]}});
    let reply = server.client().post("/get-online-features", &body).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn rows_whose_answer_was_lost_are_the_same_rows_again_and_feasts_readers_see_each_once() {
    let dir = tempfile::Builder::new()
        .prefix("galley-test-")
        .tempdir()
        .unwrap();
    let (repo, data) = (dir.path().join("repo"), dir.path().join("data"));
    let script = here().join("data/sdk/twice.py");
    run(feast("python").arg(&script).arg("make").arg(&repo));
    let offline = FeastServer::start("serve_offline", &repo, None, None);
    let proxy = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], offline.port)));
    let server = Launch::new(&repo, &data)
        .env("GALLEY_OUTBOX_TO", format!("grpc://{}", proxy.address))
        .env("GALLEY_OUTBOX_BATCH_WAIT", "50ms")
        .start();
    // One connection finds that the server is there, one asks for the table's columns.
    answer_is_lost(&server, &proxy, 2, push);
    answer_is_lost(&server, &proxy, 1, look_up);
    assert!(server.terminate().success());

    let said = run(feast("python").arg(&script).arg("check").arg(&repo));
    let seen: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap();
    assert_eq!(seen["stored"], json!([1, 1, 2, 2]), "sent twice: {seen}");
    assert_eq!(seen["same"], json!(2), "equal in every column: {seen}");
    assert_eq!(seen["training"], json!([[1, 10], [2, 20], [3, null]]));
    assert_eq!(seen["latest"], json!([[1, 10], [2, 20]]));
    // A row of the log names its request: what is there twice is told from what was served twice.
    assert_eq!(
        (&seen["logged"], &seen["served"]),
        (&json!(4), &json!(2)),
        "{seen}"
    );
}

/// Feast's program with a disk so slow that a write of the offline store takes seconds; it notes in
/// `writes` when one begins and when it ends.
const SLOW: &str = "\
import sys, time
from feast.infra.offline_stores.dask import DaskOfflineStore as Store
from feast.cli.cli import cli
write = Store.offline_write_batch
def note(text):
    with open('writes', 'a') as file:
        file.write(text + ' ')
def slow(*args):
    note('begin')
    time.sleep(5)
    write(*args)
    note('end')
Store.offline_write_batch = staticmethod(slow)
sys.argv[0] = 'feast'
sys.exit(cli())";

#[test]
fn nothing_is_sent_again_while_feasts_server_is_still_writing_it() {
    let dir = tempfile::Builder::new()
        .prefix("galley-test-")
        .tempdir()
        .unwrap();
    let (repo, data) = (dir.path().join("repo"), dir.path().join("data"));
    let script = here().join("data/sdk/twice.py");
    run(feast("python").arg(&script).arg("make").arg(&repo));
    let mut slow = program("python");
    slow.args(["-c", SLOW]);
    let offline = FeastServer::start_with(slow, "serve_offline", &repo, None, None);
    let proxy = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], offline.port)));
    let server = Launch::new(&repo, &data)
        .env("GALLEY_OUTBOX_TO", format!("grpc://{}", proxy.address))
        .env("GALLEY_OUTBOX_BATCH_WAIT", "50ms")
        .start();
    // The answer is lost while the server has hardly begun.
    proxy.strike(&[Fault::Stall(0, 500), PASSES, PASSES]);
    push(&server);
    wait_until(&server, "a wait for the server", |it| {
        let failure = it["failure"].as_str().unwrap_or_default();
        failure.contains("still writing what it was sent before")
    });
    wait_until(&server, "an empty outbox", |it| it["entries"] == json!(0));
    assert!(server.terminate().success());
    let writes = std::fs::read_to_string(repo.join("writes")).unwrap();
    assert_eq!(writes, "begin end begin end ");
}

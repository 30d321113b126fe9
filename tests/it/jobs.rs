//! Jobs outlive answers, connections and the process that ran them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::process::Galley;
use crate::support::repo::{self, Sandbox};
use crate::support::{Client, Reply, here};

/// Asks for all rows of a view, with a key.
fn load(client: &mut Client, path: &str, view: &str, key: &str) -> Reply {
    let body = json!({"disable_event_timestamp": true, "feature_views": [view]}).to_string();
    let headers = [("idempotency-key", key)];
    client
        .send("POST", path, &headers, body.as_bytes())
        .unwrap()
}

fn job(client: &mut Client, id: u64) -> Value {
    client.get(&format!("/v1/jobs/{id}")).unwrap().json()
}

/// Makes the source of `zone_events` a pipe: reading it waits until the pipe is written to.
fn stall_zone_events(sandbox: &Sandbox) {
    let file = sandbox.repo.join("data/zone_events.parquet");
    std::fs::remove_file(&file).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&file)
            .status()
            .unwrap()
            .success()
    );
}

fn mend_zone_events(sandbox: &Sandbox) {
    let file = sandbox.repo.join("data/zone_events.parquet");
    std::fs::remove_file(&file).unwrap();
    let from = here().join("data/rides/state/parquet/zone_events.parquet");
    std::fs::copy(from, &file).unwrap();
}

/// Listens to a job with a plain socket.
fn listen(server: &Galley, id: u64) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    let timeout = Some(Duration::from_secs(20));
    stream.set_read_timeout(timeout).unwrap();
    let request = format!("GET /v1/jobs/{id}/events HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let (mut seen, mut bytes) = (String::new(), [0; 4096]);
    while !seen.contains(wanted) {
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "ended before {wanted}: {seen}");
        seen.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    seen
}

#[test]
fn a_repeated_request_leads_to_its_job_even_after_a_restart() {
    let sandbox = repo::rides();
    let server = sandbox.launch().start();
    let mut client = server.client();
    let first = load(&mut client, "/materialize", "zone_events", "k");
    assert_eq!(
        (first.status, first.header("x-galley-job")),
        (200, Some("1"))
    );
    let before = job(&mut client, 1);
    assert!(before["rows_written"].as_u64().unwrap() > 0, "{before}");
    assert!(server.terminate().success());

    let server = sandbox.launch().start();
    let mut client = server.client();
    assert_eq!(job(&mut client, 1), before, "the history is kept");
    let again = load(&mut client, "/materialize", "zone_events", "k");
    assert_eq!(
        (again.status, again.header("x-galley-job")),
        (200, Some("1"))
    );
    let other = load(&mut client, "/materialize", "driver_hourly_stats", "k");
    assert_eq!(other.status, 422, "{}", other.text());
    let fresh = load(&mut client, "/materialize", "driver_hourly_stats", "k2");
    assert_eq!(
        (fresh.status, fresh.header("x-galley-job")),
        (200, Some("2"))
    );
    let page = client.get("/metrics").unwrap().text();
    let line = "feast_materialization_result_total{feature_view=\"driver_hourly_stats\",\
                status=\"success\"} 1";
    assert!(page.contains(line), "{page}");
}

#[test]
fn a_job_that_was_killed_is_shown_and_can_be_started_again() {
    let sandbox = repo::rides();
    stall_zone_events(&sandbox);
    let server = sandbox.launch().start();
    let mut client = server.client();
    let path = "/materialize?async=true";
    for _ in 0..2 {
        let accepted = load(&mut client, path, "zone_events", "k");
        assert_eq!(
            (accepted.status, accepted.header("location")),
            (202, Some("/v1/jobs/1"))
        );
    }
    let clash = load(&mut client, path, "zone_events", "k2");
    assert_eq!((clash.status, &clash.json()["job"]), (409, &json!(1)));
    let told = read_until(&mut listen(&server, 1), "event: progress");
    assert!(told.contains("text/event-stream"), "{told}");
    server.kill();

    mend_zone_events(&sandbox);
    let server = sandbox.launch().start();
    let mut client = server.client();
    let killed = job(&mut client, 1);
    assert_eq!(killed["state"], "interrupted", "{killed}");
    assert_eq!(
        client
            .send("DELETE", "/v1/jobs/1", &[], b"")
            .unwrap()
            .status,
        409
    );
    let again = load(&mut client, path, "zone_events", "k");
    assert_eq!(
        (again.status, again.header("x-galley-job")),
        (202, Some("2"))
    );
    let told = read_until(&mut listen(&server, 2), "0\r\n\r\n");
    let end = told.split("event: end\ndata: ").nth(1).unwrap();
    let end: Value = serde_json::from_str(end.lines().next().unwrap()).unwrap();
    assert_eq!(end["state"], "succeeded", "{end}");
    assert_eq!(end, job(&mut client, 2));

    let launch = sandbox.launch();
    let listed = launch.run(&["jobs", "--json"]).ok().json();
    let states: Vec<&str> = listed["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["interrupted", "succeeded"]);
    let table = launch.run(&["jobs", "list"]).ok().stdout;
    assert!(
        table.contains("interrupted") && table.lines().count() == 3,
        "{table}"
    );
    let followed = launch.run(&["jobs", "show", "2", "--follow"]).ok().stdout;
    assert!(followed.contains("zone_events"), "{followed}");
    assert!(
        !launch
            .run(&["jobs", "show", "1", "--follow"])
            .status
            .success()
    );
    let late = launch.run(&["jobs", "cancel", "2"]);
    assert!(
        !late.status.success() && late.stderr.contains("has ended"),
        "{late:?}"
    );
}

//! Hostile requests over raw sockets: a 4xx in words within five seconds, nothing written, server alive.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::read_reply;
use crate::support::{Client, Galley, here, repo};

/// How long any answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The time-outs the slow tests run with, and how much later than that a connection may still be open.
const SHORT: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(4);

/// One hostile request: what is sent, and what may come back.
struct Case {
    name: String,
    bytes: Vec<u8>,
    /// Bytes that are not HTTP, or not all of it, may be answered without words, or by closing.
    may_close: bool,
}

fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Case {
    Case {
        name: name.into(),
        bytes: bytes.into(),
        may_close: false,
    }
}

fn raw(name: &str, bytes: impl Into<Vec<u8>>) -> Case {
    Case {
        name: name.to_owned(),
        bytes: bytes.into(),
        may_close: true,
    }
}

fn post(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn server() -> (repo::Sandbox, Galley) {
    let sandbox = repo::rides();
    let launch = sandbox.launch();
    let online = here().join("data/rides/state/online_store.db");
    launch
        .run(&["import", "feast-sqlite", online.to_str().unwrap()])
        .ok();
    let server = launch.start();
    (sandbox, server)
}

/// What one connection got: the status and the body, or `None` when it was closed without an answer.
fn exchange(address: SocketAddr, case: &Case) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(ANSWER_MAX + Duration::from_secs(1)))
        .unwrap();
    stream.set_write_timeout(Some(ANSWER_MAX)).unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(&case.bytes);
    if case.may_close {
        // What is cut short is over, not slow.
        let _ = stream.shutdown(Shutdown::Write);
    }
    let reply = read_reply(&mut BufReader::new(stream)).ok()?;
    Some((reply.status, reply.text()))
}

#[test]
fn hostile_requests_are_refused_in_words_and_write_nothing() {
    let (_sandbox, mut server) = server();
    let before = everything(&mut server.client());
    let mut cases = Vec::new();
    cases.extend(listed());
    cases.extend(large());
    cases.extend(targets());
    cases.extend(protocol());
    assert!(cases.len() >= 150, "only {} cases", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        let begun = Instant::now();
        let answer = exchange(server.address, case);
        let took = begun.elapsed();
        let problem = match &answer {
            _ if took > ANSWER_MAX => Some(format!("took {took:?}")),
            None if case.may_close => None,
            None => Some("closed without an answer".to_owned()),
            Some((400..=499, body)) if body.trim().is_empty() && !case.may_close => {
                Some("no words".to_owned())
            }
            Some((400..=499, body)) if leaks(body) => {
                Some(format!("internals in the answer: {body}"))
            }
            Some((400..=499, _)) => None,
            Some((status, body)) => Some(format!(
                "{status} {}",
                body.chars().take(200).collect::<String>()
            )),
        };
        if let Some(problem) = problem {
            failures.push(format!("{}: {problem}", case.name));
        }
        assert!(
            server.alive(),
            "{} ended the server:\n{}",
            case.name,
            server.log()
        );
    }
    println!("{} hostile requests", cases.len());
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
    assert_eq!(
        everything(&mut server.client()),
        before,
        "a refused request changed something"
    );
}

fn leaks(body: &str) -> bool {
    ["panicked", "src/", ".rs:", "RUST_BACKTRACE", "Traceback"]
        .iter()
        .any(|word| body.contains(word))
}

/// What look-ups answer, and how many rows the store holds.
fn everything(client: &mut Client) -> Vec<Value> {
    let requests = [
        json!({"features": ["driver_hourly_stats_fresh:conv_rate", "driver_trips_fresh:avg_daily_trips",
            "driver_hourly_stats:conv_rate"], "full_feature_names": true,
            "entities": {"driver_id": [1001, 1002, 2001, 0, 1, -1]}}),
        json!({"features": ["customer_profile:tier", "customer_profile:age"], "entities": {"customer_id": ["C001", "", "x"]}}),
        json!({"features": ["zone_events:n_events"], "entities": {"zone_id": [10, 20, 30]}}),
        json!({"features": ["driver_labels:is_reliable"], "entities": {"driver_id": [1001, 1]}}),
    ];
    let mut all: Vec<Value> = requests
        .iter()
        .map(|request| {
            let reply = client.post("/get-online-features", request).unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
            reply.json()
        })
        .collect();
    let status = client.get("/status").unwrap().json();
    let views = status["feature_views"]
        .as_array()
        .unwrap_or_else(|| panic!("no views: {status}"));
    all.push(
        views
            .iter()
            .map(|view| json!([view["name"], view["rows"]]))
            .collect(),
    );
    all
}

const READ: &str = "/get-online-features";

/// What `tests/data/hostile_requests.ndjson` lists: a name, a path and a JSON body, or a text as body.
fn listed() -> Vec<Case> {
    let lines = std::fs::read_to_string(here().join("data/hostile_requests.ndjson")).unwrap();
    lines
        .lines()
        .map(|line| {
            let entry: Value = serde_json::from_str(line).unwrap();
            let body = match entry["text"].as_str() {
                Some(text) => text.to_owned(),
                None => entry["body"].to_string(),
            };
            case(
                entry["name"].as_str().unwrap(),
                post(entry["path"].as_str().unwrap(), &body),
            )
        })
        .collect()
}

/// Bodies too long to list, or that are no text.
fn large() -> Vec<Case> {
    let read = |features: Value, ids: Value| {
        post(
            READ,
            &json!({"features": features, "entities": {"driver_id": ids}}).to_string(),
        )
    };
    let one = json!(["driver_hourly_stats:conv_rate"]);
    let features: Vec<String> = (0..1001)
        .map(|i| format!("driver_hourly_stats:f{i}"))
        .collect();
    let number = one.to_string();
    let huge = "9".repeat(5000);
    let invalid_utf8 = [
        b"{\"features\":[\"".as_slice(),
        &[0xff, 0xfe, 0x80],
        b":x\"],\"entities\":{}}",
    ]
    .concat();
    let mut not_text = format!(
        "POST {READ} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        invalid_utf8.len()
    )
    .into_bytes();
    not_text.extend(invalid_utf8);
    vec![
        case(
            "read: reference very long",
            read(json!(["v".repeat(100_000) + ":x"]), json!([1])),
        ),
        case("read: too many features", read(json!(features), json!([1]))),
        case("read: too many rows", read(one, (0..10_001).collect())),
        case(
            "read: a huge number",
            post(
                READ,
                &format!(r#"{{"features":{number},"entities":{{"driver_id":[{huge}]}}}}"#),
            ),
        ),
        case("read: lists 100000 deep", post(READ, &"[".repeat(100_000))),
        case(
            "read: objects 100000 deep",
            post(READ, &"{\"a\":".repeat(100_000)),
        ),
        case("read: body is not UTF-8", not_text),
        case("push: last of 1000 rows bad", push(1000, "bad")),
        case("push: too many rows", push(50_001, "1")),
    ]
}

/// A push of so many rows; the last one's `avg_daily_trips` is the given text.
fn push(rows: usize, last: &str) -> Vec<u8> {
    let times = vec!["2026-09-01T00:00:00Z"; rows];
    let halves = vec![0.5; rows];
    let mut trips = vec![json!(1); rows];
    trips[rows - 1] = json!(last);
    let df = json!({
        "driver_id": (0..rows).collect::<Vec<_>>(), "event_timestamp": times, "created": times,
        "conv_rate": halves, "acc_rate": halves, "avg_daily_trips": trips,
    });
    post(
        "/push",
        &json!({"push_source_name": "driver_stats_push_source", "df": df}).to_string(),
    )
}

/// Targets and methods that do not exist.
fn targets() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in [
        "/v1/jobs/999999",
        "/v1/jobs/abc",
        "/v1/jobs/-1",
        "/v1/jobs/99999999999999999999999",
        "/v1/tickets/999999",
        "/v1/tickets/abc",
        "/v1/tickets/",
        "/v1/tickets/%00",
        "/nope",
        "//",
        "/get-online-features/../status",
        "/..%2f..%2fetc/passwd",
        "/push",
        "/materialize",
        "/status/x",
    ] {
        cases.push(case(
            format!("GET {path}"),
            format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"),
        ));
    }
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let head = format!("{method} {READ} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        cases.push(case(format!("{method} {READ}"), head));
    }
    cases
}

fn protocol() -> Vec<Case> {
    let body = r#"{"features":["driver_hourly_stats:conv_rate"],"entities":{"driver_id":[1]}}"#;
    let head = |rest: &str| format!("POST {READ} HTTP/1.1\r\nhost: x\r\n{rest}\r\n\r\n");
    let many_headers: String = (0..200).map(|i| format!("x-{i}: 1\r\n")).collect();
    vec![
        raw("proto: garbage", vec![0_u8, 1, 2, 3, 255, 254, 10, 13, 10]),
        raw(
            "proto: a TLS hello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        ),
        raw(
            "proto: an HTTP/2 preface",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        ),
        raw("proto: HTTP/0.9", b"GET /status\r\n\r\n".to_vec()),
        raw(
            "proto: HTTP/9.9",
            b"GET /status HTTP/9.9\r\nhost: x\r\n\r\n".to_vec(),
        ),
        raw(
            "proto: no method",
            b" / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        ),
        raw(
            "proto: a space in the target",
            b"GET /a b HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        ),
        raw(
            "proto: a header without colon",
            b"GET /status HTTP/1.1\r\nhost x\r\n\r\n".to_vec(),
        ),
        raw(
            "proto: a folded header",
            b"GET /status HTTP/1.1\r\nhost: x\r\nx: a\r\n b\r\n\r\n".to_vec(),
        ),
        raw(
            "proto: a NUL in a header",
            b"GET /status HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n".to_vec(),
        ),
        raw(
            "proto: a bare CR",
            b"GET /status HTTP/1.1\rhost: x\r\r".to_vec(),
        ),
        raw(
            "proto: two content-lengths",
            head("content-length: 5\r\ncontent-length: 6") + "hello!",
        ),
        raw(
            "proto: a list of content-lengths",
            head("content-length: 5, 6") + "hello!",
        ),
        raw(
            "proto: a negative content-length",
            head("content-length: -1"),
        ),
        raw(
            "proto: a content-length in words",
            head("content-length: many"),
        ),
        raw(
            "proto: a content-length beyond u64",
            head("content-length: 99999999999999999999999"),
        ),
        raw(
            "proto: both lengths",
            head("content-length: 5\r\ntransfer-encoding: chunked") + "0\r\n\r\n",
        ),
        raw(
            "proto: an unknown transfer encoding",
            head("transfer-encoding: gzip") + body,
        ),
        raw(
            "proto: chunked in the middle",
            head("transfer-encoding: chunked, identity") + "0\r\n\r\n",
        ),
        raw(
            "proto: a chunk size in words",
            head("transfer-encoding: chunked") + "zz\r\nhello\r\n0\r\n\r\n",
        ),
        raw(
            "proto: a huge chunk size",
            head("transfer-encoding: chunked") + "ffffffffffffffffff\r\nhello",
        ),
        raw(
            "proto: a chunk without its end",
            head("transfer-encoding: chunked") + "5\r\nhello",
        ),
        raw(
            "proto: a body cut short",
            head(&format!("content-length: {}", body.len() + 100)) + body,
        ),
        raw(
            "proto: 100000 bytes of target",
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000)),
        ),
        case(
            "proto: 9000 bytes of target",
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(9000)),
        ),
        raw(
            "proto: 100000 bytes of header",
            format!(
                "GET /status HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
                "a".repeat(100_000)
            ),
        ),
        raw(
            "proto: 200 headers",
            format!("GET /status HTTP/1.1\r\nhost: x\r\n{many_headers}\r\n"),
        ),
        case(
            "proto: a content-length of 1 TB",
            head("content-length: 1099511627776"),
        ),
        case(
            "proto: 1 TB expected to be continued",
            head("content-length: 1099511627776\r\nexpect: 100-continue"),
        ),
        case("proto: 9 MiB announced", head("content-length: 9437184")),
        case(
            "proto: 9 MiB sent",
            head("content-length: 9437184") + &" ".repeat(9 << 20),
        ),
        case("proto: chunks without end", {
            let mut bytes = head("transfer-encoding: chunked");
            for _ in 0..160 {
                bytes += "10000\r\n";
                bytes += &" ".repeat(0x10000);
                bytes += "\r\n";
            }
            bytes
        }),
    ]
}

#[test]
fn slow_and_idle_connections_are_closed_in_time_while_others_are_served() {
    let sandbox = repo::rides();
    let server = sandbox
        .launch()
        .env("GALLEY_SERVER_HEADER_TIMEOUT", "1s")
        .env("GALLEY_SERVER_BODY_TIMEOUT", "1s")
        .env("GALLEY_SERVER_BODY_IDLE_TIMEOUT", "1s")
        .env("GALLEY_SERVER_KEEP_ALIVE_IDLE", "1s")
        .start();
    let post_head = format!("POST {READ} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n");
    let kinds: [(&str, Vec<u8>, &[u8]); 6] = [
        ("silent", Vec::new(), b""),
        ("half a request line", b"GET /sta".to_vec(), b""),
        (
            "a header a tick",
            b"GET /status HTTP/1.1\r\n".to_vec(),
            b"x: y\r\n",
        ),
        (
            "a body that never comes",
            post_head.clone().into_bytes(),
            b"",
        ),
        ("a body byte a tick", post_head.into_bytes(), b" "),
        (
            "idle after an answer",
            b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            b"",
        ),
    ];
    let mut honest = server.client();
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let waiting: Vec<_> = kinds
            .iter()
            .flat_map(|kind| (0..20).map(move |_| kind))
            .map(|(name, first, then)| {
                (*name, scope.spawn(|| open_for(server.address, first, then)))
            })
            .collect();
        while !waiting.iter().all(|(_, thread)| thread.is_finished()) {
            let begun = Instant::now();
            assert_eq!(honest.get("/ready").unwrap().status, 200);
            slowest = slowest.max(begun.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
        for (name, thread) in waiting {
            let open = thread.join().unwrap();
            assert!(open < SHORT + GRACE, "{name}: open for {open:?}");
        }
    });
    assert!(
        slowest < Duration::from_secs(1),
        "an honest request took {slowest:?} meanwhile"
    );
}

/// How long the server keeps a connection that sends `first` and then `then` every 100 ms.
fn open_for(address: SocketAddr, first: &[u8], then: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let begun = Instant::now();
    let mut broken = stream.write_all(first).is_err();
    let mut buffer = [0_u8; 4096];
    while !broken && begun.elapsed() < SHORT + GRACE + Duration::from_secs(2) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => continue,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => break,
        }
        broken = !then.is_empty() && stream.write_all(then).is_err();
    }
    begun.elapsed()
}

//! A real server on a real node, driven over raw sockets.

#![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]
#![expect(clippy::panic, reason = "a test's failure is a panic")]
#![expect(clippy::indexing_slicing, reason = "a test's failure is a panic")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use galley_api::{ApiConfig, NodeSlot, Server, ServerInfo};
use galley_node::store::{OutboxChange, OutboxKind, Park, Store, StoreConfig};
use galley_node::{
    DecodeOptions, FeedState, JobProgress, MaterializeError, MaterializeTask, Materializer, Node,
    NodeConfig, OutboxConfig, Registry,
};
use galley_types::{Clock, ErrorKind, EventTime};
use serde_json::{Value, json};
use tokio::sync::oneshot;

const RIDES: &[u8] = include_bytes!("../../registry/tests/data/rides.registry.pb");
const GET: &str = "/get-online-features";

struct Bench {
    address: SocketAddr,
    slot: Arc<NodeSlot>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
}

/// A clock that stands still, an hour after the rows that the tests push.
#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> EventTime {
        EventTime::parse("2026-03-12T05:00:00Z").unwrap()
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

fn quick() -> ApiConfig {
    ApiConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        workers: Some(1),
        header_timeout: Duration::from_millis(400),
        keep_alive_idle: Duration::from_millis(1500),
        body_idle_timeout: Duration::from_millis(400),
        body_timeout: Duration::from_millis(900),
        drain_timeout: Duration::from_secs(5),
        linger_timeout: Duration::from_millis(500),
        ..ApiConfig::default()
    }
}

// === impl Bench ===

impl Bench {
    fn empty(config: ApiConfig) -> Self {
        let slot = Arc::new(NodeSlot::default());
        let info = ServerInfo {
            version: "test".to_owned(),
        };
        let server = Server::bind(config, Arc::clone(&slot), info).unwrap();
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            server.run(async move { drop(stopped.await) }).unwrap();
        });
        Self {
            address,
            slot,
            stop: Some(stop),
            thread: Some(thread),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn start(config: ApiConfig) -> Self {
        let bench = Self::empty(config);
        bench.open_node();
        bench
    }

    fn open_node(&self) {
        self.open_node_with(NodeConfig::default());
    }

    fn open_node_with(&self, config: NodeConfig) {
        let node_config = config;
        let path = self.folder.path().join("store.redb");
        let config = StoreConfig {
            free_space_min_bytes: 0,
            ..StoreConfig::default()
        };
        let store = Store::open(&path, config, &mut |_| {}).unwrap();
        let node = Node::open(store, node_config, Arc::new(Noon)).unwrap();
        let options = DecodeOptions {
            project: Some("rides"),
            versioning: false,
        };
        node.install(Registry::decode(RIDES, &options).unwrap())
            .unwrap();
        self.slot.fill(node);
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    fn raw(&self, text: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        read_answer(&mut stream, text.starts_with("HEAD"))
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        self.raw(&request(method, path, body))
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &body.to_string())
    }

    fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).unwrap();
        }
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop();
        self.join();
        if let Some(node) = self.slot.node() {
            node.shutdown();
        }
    }
}

// === impl Answer ===

impl Answer {
    fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (held, value) = line.split_once(": ")?;
            held.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Class and message of a doubly encoded error.
    fn feast(&self) -> (String, String) {
        let inner = self.json().as_str().map(str::to_owned);
        let inner: Value = serde_json::from_str(&inner.unwrap()).unwrap();
        assert_eq!(inner["module"], "feast.errors");
        let text = |name: &str| inner[name].as_str().unwrap().to_owned();
        (text("class"), text("message"))
    }
}

fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut byte).unwrap();
        assert!(
            read > 0,
            "closed after {:?}",
            String::from_utf8_lossy(&head)
        );
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn read_answer(stream: &mut TcpStream, is_head: bool) -> Answer {
    let head = read_head(stream);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = Answer {
        status,
        head,
        body: Vec::new(),
    };
    let length = answer
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap());
    if !is_head {
        answer.body = vec![0; length];
        stream.read_exact(&mut answer.body).unwrap();
    }
    answer
}

/// Waits until the peer has closed, and tells how long that took.
fn closed_after(stream: &mut TcpStream) -> Duration {
    let begin = Instant::now();
    let mut sink = [0; 1024];
    while matches!(stream.read(&mut sink), Ok(read) if read > 0) {}
    begin.elapsed()
}

fn stats(driver: &Value, rate: &Value) -> Value {
    let time = "2026-03-12T04:00:00Z";
    json!({
        "driver_id": driver,
        "event_timestamp": vec![time; driver.as_array().unwrap().len()],
        "created": vec![time; driver.as_array().unwrap().len()],
        "conv_rate": rate,
        "acc_rate": rate,
        "avg_daily_trips": vec![7; driver.as_array().unwrap().len()],
    })
}

fn push_body() -> Value {
    let df = stats(&json!([1001, 1002]), &json!([0.5, null]));
    json!({"push_source_name": "driver_stats_push_source", "df": df})
}

fn get_body() -> Value {
    json!({
        "features": ["driver_hourly_stats_fresh:conv_rate", "driver_hourly_stats_fresh:avg_daily_trips"],
        "entities": {"driver_id": [1001, "1002", 9000]},
    })
}

fn expected() -> Value {
    let time = "2026-03-12T04:00:00Z";
    let epoch = "1970-01-01T00:00:00Z";
    json!({
        "results": [
            {"values": [1001, 1002, 9000], "statuses": ["PRESENT", "PRESENT", "PRESENT"], "event_timestamps": [epoch, epoch, epoch]},
            {"values": [0.5, null, null], "statuses": ["PRESENT", "NULL_VALUE", "NOT_FOUND"], "event_timestamps": [time, time, epoch]},
            {"values": [7, 7, null], "statuses": ["PRESENT", "PRESENT", "NOT_FOUND"], "event_timestamps": [time, time, epoch]},
        ],
        "metadata": {"feature_names": ["driver_id", "conv_rate", "avg_daily_trips"]},
    })
}

#[test]
fn what_was_pushed_is_looked_up() {
    let bench = Bench::start(quick());
    let pushed = bench.post("/push", &push_body());
    assert_eq!(
        (pushed.status, pushed.body.len()),
        (200, 0),
        "{}",
        pushed.head
    );
    let answer = bench.post(GET, &get_body());
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json(), expected());
    let mut body = get_body();
    body["include_feature_view_version_metadata"] = json!(true);
    let answer = bench.post(GET, &body).json();
    let view = json!([{"name": "driver_hourly_stats_fresh"}]);
    assert_eq!(answer["metadata"]["feature_view_metadata"], view);
}

#[test]
fn large_requests_are_answered_the_same_from_the_pool() {
    let bench = Bench::start(ApiConfig {
        inline_cells_max: 1,
        inline_body_bytes_max: 128,
        workers: Some(2),
        ..quick()
    });
    assert_eq!(bench.post("/push", &push_body()).status, 200);
    assert_eq!(bench.post(GET, &get_body()).json(), expected());
    let service = json!({"feature_service": "nope", "entities": {"driver_id": [1]}});
    let answer = bench.post(GET, &service);
    assert_eq!(
        (answer.status, answer.feast().0.as_str()),
        (404, "FeatureServiceNotFoundException")
    );
}

#[test]
fn writes_are_answered_as_feast_answers_them() {
    let bench = Bench::start(quick());
    let df = stats(&json!([1005]), &json!([0.25]));
    let body = json!({"feature_view_name": "driver_hourly_stats", "df": df});
    let answer = bench.post("/write-to-online-store", &body);
    assert_eq!((answer.status, answer.json()), (200, Value::Null));
    let answer = bench.post("/write-to-online-store?mode=async", &body);
    assert_eq!(answer.status, 202);
    let ticket = answer.json();
    assert_eq!(ticket["status"], "queued");
    let href = ticket["href"].as_str().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let state = bench.send("GET", href, "").json();
        if state["status"] == "applied" {
            assert_eq!(state["ticket"], ticket["ticket"]);
            break;
        }
        assert!(Instant::now() < deadline, "{state}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(bench.post("/push?mode=soon", &push_body()).status, 422);
    assert_eq!(bench.send("GET", "/v1/tickets/99999", "").status, 404);
    let nothing = json!({"push_source_name": "driver_stats_push_source", "df": {}});
    let answer = bench.post("/push", &nothing);
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[test]
fn refusals_have_the_shapes_that_clients_know() {
    let bench = Bench::start(quick());
    let answer = bench.post(
        GET,
        &json!({"features": ["nope:f"], "entities": {"driver_id": [1]}}),
    );
    let (class, message) = answer.feast();
    assert_eq!(
        (answer.status, class.as_str()),
        (404, "FeatureViewNotFoundException")
    );
    assert_eq!(message, "Feature view nope does not exist in project rides");
    assert_eq!(answer.header("x-galley-error"), Some("not_found"));
    assert!(
        answer
            .header("x-request-id")
            .is_some_and(|id| id.len() > 16)
    );

    let mut body = push_body();
    body["push_source_name"] = json!("nope");
    let answer = bench.post("/push", &body);
    assert_eq!(
        (answer.status, answer.feast().0.as_str()),
        (422, "PushSourceNotFoundException")
    );
    body = push_body();
    body["to"] = json!("nowhere");
    let answer = bench.post("/push", &body);
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .feast()
            .1
            .starts_with("nowhere is not a supported push format.")
    );
    body["to"] = json!("offline");
    assert_eq!(bench.post("/push", &body).status, 501);
    body = push_body();
    body["df"]["driver_id"] = json!([1001, null]);
    assert_eq!(bench.post("/push", &body).status, 400);

    for (body, status) in [
        ("", 422),
        ("null", 422),
        ("[]", 422),
        ("{\"a\":", 422),
        ("{}", 422),
    ] {
        let answer = bench.send("POST", GET, body);
        assert_eq!(
            (answer.status, answer.json()["detail"].is_array()),
            (status, true),
            "{body}"
        );
    }
    let mut stream = bench.connect();
    let head = "POST /push HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n";
    stream
        .write_all(&[head.as_bytes(), b"\"\xff\""].concat())
        .unwrap();
    assert_eq!(read_answer(&mut stream, false).status, 422);
}

#[test]
fn paths_and_methods_are_told_apart() {
    let bench = Bench::start(quick());
    let answer = bench.send("GET", GET, "");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(answer.json(), json!({"detail": "Method Not Allowed"}));
    let answer = bench.send("GET", "/nope", "");
    assert_eq!(
        (answer.status, answer.json()),
        (404, json!({"detail": "Not Found"}))
    );
    let answer = bench.send("POST", "/push/?mode=async", "{}");
    assert_eq!(
        (answer.status, answer.header("location")),
        (307, Some("/push?mode=async"))
    );
    let answer = bench.send("GET", "/v1/vector_stores", "");
    assert_eq!(answer.json(), json!({"object": "list", "data": []}));
    let answer = bench.send(
        "POST",
        "/v1/vector_stores/a%20b/search",
        "{\"query\":\"x\"}",
    );
    let message = "No vector store found with id 'a b'";
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.json()["error"],
        json!({"message": message, "type": "not_found_error"})
    );
    assert_eq!(bench.send("POST", "/search", "{}").status, 501);
    let answer = bench.send("HEAD", "/live", "");
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, Some("17"))
    );
    let id = "GET /live HTTP/1.1\r\nhost: x\r\nx-request-id: mine-7\r\n\r\n";
    assert_eq!(bench.raw(id).header("x-request-id"), Some("mine-7"));
}

#[test]
fn a_node_that_starts_is_told_from_one_that_serves() {
    let bench = Bench::empty(quick());
    bench.slot.progress("opening the store", Some(40));
    assert_eq!(bench.send("GET", "/live", "").status, 200);
    assert_eq!(bench.send("GET", "/health", "").status, 503);
    let answer = bench.send("GET", "/ready", "");
    let expected = json!({"status": "starting", "step": "opening the store", "progress": 40});
    assert_eq!((answer.status, answer.json()), (503, expected));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(bench.post(GET, &get_body()).status, 503);
    assert!(bench.send("GET", "/metrics", "").body.ends_with(b"# EOF\n"));
    bench.open_node();
    assert_eq!(bench.send("GET", "/ready", "").status, 200);
    let answer = bench.send("GET", "/health", "");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[test]
fn the_admin_pages_tell_what_happened() {
    let bench = Bench::start(quick());
    assert_eq!(bench.post("/push", &push_body()).status, 200);
    assert_eq!(bench.post(GET, &get_body()).status, 200);
    let page = String::from_utf8(bench.send("GET", "/metrics", "").body).unwrap();
    for line in [
        "feast_feature_server_request_total{endpoint=\"/get-online-features\",status=\"success\"} 1",
        "feast_online_features_status_total{feature_view=\"driver_hourly_stats_fresh\",status=\"not_found\"} 2",
        "feast_online_features_entity_count_sum 3.0",
        "feast_push_request_total{push_source=\"driver_stats_push_source\",mode=\"sync\"} 1",
        "galley_view_rows{feature_view=\"driver_hourly_stats_fresh\",project=\"rides\"} 2",
        "galley_api_connections_open 1",
        "galley_registry_generation 1",
    ] {
        assert!(
            page.lines().any(|held| held == line),
            "{line} not in\n{page}"
        );
    }
    assert!(page.contains("feature_count=\"1-10\",feature_view_count=\"1\""));
    let status = bench.send("GET", "/status", "").json();
    assert_eq!(
        (&status["status"], &status["project"]),
        (&json!("ready"), &json!("rides"))
    );
    assert_eq!(status["version"], "test");
    assert_eq!(
        bench.send("GET", "/openapi.json", "").json()["openapi"],
        "3.1.0"
    );
}

/// A server whose node has pushed rows parked, of a view that the centre does not know.
fn with_parked() -> Bench {
    let bench = Bench::empty(quick());
    assert_eq!(bench.send("GET", "/v1/outbox", "").status, 503);
    bench.open_node_with(NodeConfig {
        outbox: Some(OutboxConfig::default()),
        ..NodeConfig::default()
    });
    let mut body = push_body();
    body["to"] = json!("offline");
    assert_eq!(bench.post("/push", &body).status, 200);
    let node = bench.slot.node().unwrap();
    let park = Park {
        kind: OutboxKind::Rows,
        target: "gone".to_owned(),
        producer: 1,
        range: (1, 1),
        sequences: vec![1],
        bytes: 1,
        attempts: 5,
        reason: "no such view".to_owned(),
        at: node.now(),
    };
    node.outbox_change(OutboxChange {
        park: Some(park),
        ..OutboxChange::default()
    })
    .unwrap();
    bench
}

#[test]
fn what_is_parked_is_listed_retried_and_dropped_by_name() {
    let bench = with_parked();
    let list = || bench.send("GET", "/v1/outbox", "").json()["outbox"]["parked"].clone();
    let parked = list();
    assert_eq!(
        (&parked["parts"], &parked["complete"]),
        (&json!(1), &json!(true))
    );
    let target = &parked["targets"][0];
    assert_eq!(
        (&target["target"], &target["reason"]),
        (&json!("gone"), &json!("no such view"))
    );
    let status = bench.send("GET", "/status", "").json();
    assert_eq!(status["outbox"]["parked"], parked);
    let page = bench.send("GET", "/metrics", "").body;
    assert!(String::from_utf8_lossy(&page).contains("galley_outbox_parked_entries 1\n"));

    let unknown = bench.post("/v1/outbox/retry", &json!({"target": "other"}));
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.feast().1.contains("parked are: gone"),
        "{:?}",
        unknown.feast()
    );
    let retried = bench.send("POST", "/v1/outbox/retry", "");
    assert_eq!((retried.status, &retried.json()["parts"]), (200, &json!(1)));
    assert_eq!(list()["due_parts"], json!(1));
    // Nothing is dropped by leaving something out.
    for body in [
        "",
        "{}",
        r#"{"target": null}"#,
        r#"{"target": "gone", "all": true}"#,
    ] {
        assert_eq!(
            bench.send("POST", "/v1/outbox/drop", body).status,
            400,
            "{body}"
        );
    }
    assert_eq!(
        bench.post("/v1/outbox/drop", &json!({"target": 7})).status,
        422
    );
    let dropped = bench
        .post("/v1/outbox/drop", &json!({"target": "gone"}))
        .json();
    assert_eq!(
        (&dropped["parts"], &dropped["entries"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(list()["parts"], json!(0));
    let openapi = bench.send("GET", "/openapi.json", "").json();
    assert!(openapi["paths"]["/v1/outbox/drop"]["post"].is_object());
}

#[test]
fn a_body_too_large_is_refused_by_its_announced_length() {
    let bench = Bench::start(quick());
    for expect in ["", "expect: 100-continue\r\n"] {
        let mut stream = bench.connect();
        let head =
            format!("POST /push HTTP/1.1\r\nhost: x\r\n{expect}content-length: 9000000\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let answer = read_answer(&mut stream, false);
        assert_eq!(answer.status, 413, "{}", answer.head);
        assert!(answer.feast().1.contains("9000000 bytes"), "{expect}");
    }
    // A client that sends on regardless still gets to read the answer.
    let mut stream = bench.connect();
    let head = "POST /push HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b' '; 1 << 20]).unwrap();
    assert_eq!(read_answer(&mut stream, false).status, 413);
}

#[test]
fn bodies_come_in_every_legal_way() {
    let bench = Bench::start(ApiConfig {
        body_bytes_max: 4096,
        ..quick()
    });
    assert_eq!(bench.post("/push", &push_body()).status, 200);
    let body = get_body().to_string();
    let mut stream = bench.connect();
    let length = body.len();
    let head = format!(
        "POST {GET} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 100"));
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream, false).json(), expected());

    let head = format!("POST {GET} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    for piece in body.as_bytes().chunks(50) {
        stream
            .write_all(format!("{:x}\r\n", piece.len()).as_bytes())
            .unwrap();
        stream.write_all(piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(
        read_answer(&mut stream, false).json(),
        expected(),
        "chunked, same connection"
    );

    stream.write_all(head.as_bytes()).unwrap();
    stream
        .write_all(format!("{:x}\r\n{}\r\n", 5000, " ".repeat(5000)).as_bytes())
        .unwrap();
    assert_eq!(
        read_answer(&mut stream, false).status,
        413,
        "chunked and too large"
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let bench = Bench::start(quick());
    assert_eq!(bench.post("/push", &push_body()).status, 200);
    let mut stream = bench.connect();
    let batch = [
        request("GET", "/live", ""),
        request("POST", GET, &get_body().to_string()),
        request("GET", "/nope", ""),
    ];
    stream.write_all(batch.concat().as_bytes()).unwrap();
    assert_eq!(
        read_answer(&mut stream, false).json(),
        json!({"status": "live"})
    );
    assert_eq!(read_answer(&mut stream, false).json(), expected());
    assert_eq!(read_answer(&mut stream, false).status, 404);
    // Half a request does not hold up the answer to the whole one before it.
    let (half, rest) = batch[1].split_at(batch[1].len() / 2);
    stream
        .write_all(format!("{}{half}", batch[0]).as_bytes())
        .unwrap();
    assert_eq!(
        read_answer(&mut stream, false).json(),
        json!({"status": "live"})
    );
    stream.write_all(rest.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream, false).json(), expected());
}

#[test]
fn slow_and_idle_peers_are_let_go() {
    let bench = Bench::start(quick());
    let mut slow_head = bench.connect();
    let mut slow_body = bench.connect();
    let mut dripping = bench.connect();
    let mut idle = bench.connect();
    slow_head.write_all(b"GET /live HTTP/1.1\r\n").unwrap();
    let head = "POST /push HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    slow_body.write_all(head.as_bytes()).unwrap();
    dripping.write_all(head.as_bytes()).unwrap();
    idle.write_all(request("GET", "/live", "").as_bytes())
        .unwrap();
    assert_eq!(read_answer(&mut idle, false).status, 200);
    let begin = Instant::now();
    let dripper = std::thread::spawn(move || {
        while begin.elapsed() < Duration::from_millis(800) {
            let _ = dripping.write_all(b" ");
            std::thread::sleep(Duration::from_millis(100));
        }
        (read_answer(&mut dripping, false).status, begin.elapsed())
    });
    assert_eq!(read_answer(&mut slow_body, false).status, 408);
    assert!(closed_after(&mut slow_head) < Duration::from_secs(1));
    assert!(
        begin.elapsed() >= Duration::from_millis(300),
        "not before its time"
    );
    let (status, elapsed) = dripper.join().unwrap();
    assert_eq!(status, 408, "the whole body has a bound");
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    closed_after(&mut idle);
    let elapsed = begin.elapsed();
    assert!(
        elapsed > Duration::from_secs(1) && elapsed < Duration::from_secs(4),
        "{elapsed:?}"
    );
}

#[test]
fn garbage_is_refused() {
    let bench = Bench::start(quick());
    assert_eq!(bench.raw("nonsense\r\n\r\n").status, 400);
    assert_eq!(
        bench.raw("GET /live HTTP/1.1\r\nbad header\r\n\r\n").status,
        400
    );
    let both = "POST /push HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}";
    assert_eq!(bench.raw(both).status, 400);
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(9000));
    let answer = bench.raw(&long);
    assert_eq!(
        (answer.status, answer.header("x-galley-error")),
        (414, Some("too_large"))
    );
    let wide = format!(
        "GET /live HTTP/1.1\r\nhost: x\r\nx-a: {}\r\n\r\n",
        "x".repeat(17_000)
    );
    assert_eq!(
        bench.raw(&wide).json()["detail"],
        "The request header fields are too large"
    );
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert_eq!(
        bench
            .raw(&format!("GET /live HTTP/1.1\r\n{many}\r\n"))
            .status,
        431
    );
    let huge = format!("GET /live HTTP/1.1\r\nx-a: {}\r\n\r\n", "x".repeat(60_000));
    assert_eq!(bench.raw(&huge).status, 431);
    assert_eq!(bench.send("GET", "/live", "").status, 200, "and serves on");
}

#[test]
fn idle_connections_take_seats_but_no_service() {
    let bench = Bench::start(ApiConfig {
        connections_max: 60,
        connections_per_ip_max: 50,
        keep_alive_idle: Duration::from_secs(30),
        ..quick()
    });
    let mut honest = bench.connect();
    honest
        .write_all(request("GET", "/live", "").as_bytes())
        .unwrap();
    assert_eq!(read_answer(&mut honest, false).status, 200);
    let idle: Vec<TcpStream> = (0..49).map(|_| bench.connect()).collect();
    let mut refused = bench.connect();
    assert!(
        closed_after(&mut refused) < Duration::from_secs(1),
        "one too many"
    );
    let begin = Instant::now();
    honest
        .write_all(request("GET", "/live", "").as_bytes())
        .unwrap();
    assert_eq!(read_answer(&mut honest, false).status, 200);
    assert!(begin.elapsed() < Duration::from_millis(500));
    drop(idle);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut again = bench.connect();
        let sent = again.write_all(request("GET", "/live", "").as_bytes());
        let mut byte = [0];
        if sent.is_ok() && matches!(again.read(&mut byte), Ok(1)) {
            break;
        }
        assert!(Instant::now() < deadline, "seats come back");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_request_under_way_is_answered_when_the_server_stops() {
    for workers in [1, 2] {
        let mut bench = Bench::start(ApiConfig {
            workers: Some(workers),
            ..quick()
        });
        assert_eq!(bench.post("/push", &push_body()).status, 200);
        let mut idle = bench.connect();
        idle.write_all(request("GET", "/live", "").as_bytes())
            .unwrap();
        assert_eq!(read_answer(&mut idle, false).status, 200);
        let text = request("POST", GET, &get_body().to_string());
        let (first, rest) = text.split_at(text.len() - 10);
        let mut under_way = bench.connect();
        under_way.write_all(first.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let begin = Instant::now();
        bench.stop();
        assert!(
            closed_after(&mut idle) < Duration::from_secs(1),
            "idle ones go at once"
        );
        under_way.write_all(rest.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut under_way, false).json(), expected());
        bench.join();
        assert!(
            begin.elapsed() < Duration::from_secs(3),
            "{:?}",
            begin.elapsed()
        );
        assert!(TcpStream::connect(bench.address).is_err(), "no new ones");
    }
}

/// Runs until it is released, cancelled or told to fail.
#[derive(Debug, Default)]
struct Slow {
    release: AtomicBool,
    fail: AtomicBool,
}

impl Materializer for Slow {
    fn run(&self, task: &MaterializeTask, job: &JobProgress) -> Result<(), MaterializeError> {
        for view in &task.views {
            job.set_view(&view.name);
        }
        job.add_rows(2, 1);
        while !self.release.load(Ordering::Relaxed) && !job.cancelled() {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.fail.load(Ordering::Relaxed) || job.cancelled() {
            return Err(MaterializeError {
                kind: ErrorKind::NotFound,
                message: "no such file".to_owned(),
            });
        }
        Ok(())
    }
}

#[test]
fn materialisations_are_jobs() {
    let bench = Bench::start(quick());
    let slow = Arc::new(Slow::default());
    let node = bench.slot.node().unwrap();
    node.set_materializer(Arc::clone(&slow) as Arc<dyn Materializer>);
    let body = json!({"start_ts": "2010-01-01T00:00:00Z", "end_ts": "2026-06-01", "feature_views": ["zone_events"]});
    let answer = bench.post("/materialize?async=true", &body);
    let accepted = json!({"status": "accepted", "feature_views": ["zone_events"]});
    assert_eq!((answer.status, answer.json()), (202, accepted));
    assert_eq!(answer.header("location"), Some("/v1/jobs/1"));
    let answer = bench.post("/materialize", &body);
    assert_eq!(
        (answer.status, &answer.json()["feature_views"]),
        (409, &json!(["zone_events"]))
    );
    let begun = Instant::now() + Duration::from_secs(5);
    while bench.send("GET", "/v1/jobs/1", "").json()["rows_read"] != 2 {
        assert!(Instant::now() < begun, "the job counted no rows");
        std::thread::sleep(Duration::from_millis(1));
    }
    let job = bench.send("GET", "/v1/jobs/1", "").json();
    assert_eq!(job["state"], json!("running"));
    assert_eq!(bench.send("DELETE", "/v1/jobs/1", "").status, 202);
    let done = Instant::now() + Duration::from_secs(5);
    while bench.send("GET", "/v1/jobs/1", "").json()["state"] != "cancelled" {
        assert!(Instant::now() < done, "it stops when it is told to");
    }
    assert_eq!(bench.send("DELETE", "/v1/jobs/1", "").status, 409);
    assert_eq!(bench.send("GET", "/v1/jobs/x", "").status, 404);

    slow.release.store(true, Ordering::Relaxed);
    let answer = bench.post("/materialize", &body);
    assert_eq!((answer.status, answer.json()), (200, Value::Null));
    slow.fail.store(true, Ordering::Relaxed);
    let answer = bench.post(
        "/materialize-incremental",
        &json!({"end_ts": "2026-06-01", "feature_views": ["zone_events"]}),
    );
    assert_eq!(
        (answer.status, answer.feast().1.as_str()),
        (404, "no such file")
    );
    let answer = bench.post(
        "/materialize",
        &json!({"end_ts": "2026-06-01", "feature_views": ["nope"]}),
    );
    assert_eq!(
        (answer.status, answer.feast().0.as_str()),
        (404, "FeatureViewNotFoundException")
    );
    assert_eq!(
        bench.send("GET", "/v1/jobs", "").json()["jobs"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let page = String::from_utf8(bench.send("GET", "/metrics", "").body).unwrap();
    let line =
        "feast_materialization_result_total{feature_view=\"zone_events\",status=\"success\"} 1";
    assert!(page.lines().any(|held| held == line), "{page}");
}

/// Sends a request for a job with a key.
fn keyed(bench: &Bench, path: &str, key: &str, body: &Value) -> Answer {
    let body = body.to_string();
    bench.raw(&format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nidempotency-key: {key}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

#[test]
fn a_repeated_key_is_answered_by_the_same_job() {
    let bench = Bench::start(quick());
    let slow = Arc::new(Slow::default());
    let node = bench.slot.node().unwrap();
    node.set_materializer(Arc::clone(&slow) as Arc<dyn Materializer>);
    let body = json!({"end_ts": "2026-06-01", "feature_views": ["zone_events"]});
    let other = json!({"end_ts": "2026-06-02", "feature_views": ["zone_events"]});
    let incremental = "/materialize-incremental?async=true";
    for _ in 0..2 {
        let answer = keyed(&bench, incremental, "k", &body);
        assert_eq!(
            (answer.status, answer.header("x-galley-job")),
            (202, Some("1"))
        );
    }
    let clash = keyed(&bench, incremental, "k", &other);
    assert_eq!(
        (clash.status, clash.header("x-galley-error")),
        (422, Some("key_reused"))
    );
    assert!(clash.json()["detail"].as_str().unwrap().contains("job 1"));
    assert_eq!(keyed(&bench, incremental, "two words", &body).status, 400);
    let busy = keyed(&bench, incremental, "k2", &body);
    assert_eq!((busy.status, &busy.json()["job"]), (409, &json!(1)));
    // A key whose request was refused is free.
    slow.release.store(true, Ordering::Relaxed);
    let waited = keyed(&bench, "/materialize-incremental", "k", &body);
    assert_eq!((waited.status, waited.json()), (200, Value::Null));
    assert_eq!(
        keyed(&bench, "/materialize-incremental", "k2", &other).status,
        200
    );
    let jobs = bench.send("GET", "/v1/jobs", "").json();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 2);
}

/// Reads chunks until `wanted` was seen or the answer ends.
fn read_until(stream: &mut TcpStream, seen: &mut String, wanted: &str) {
    let mut bytes = [0; 4096];
    while !seen.contains(wanted) {
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "ended before {wanted}: {seen}");
        seen.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
}

#[test]
fn a_job_tells_its_progress_until_its_end() {
    let mut bench = Bench::start(ApiConfig {
        event_listeners_max: 1,
        ..quick()
    });
    let slow = Arc::new(Slow::default());
    let node = Arc::clone(bench.slot.node().unwrap());
    node.set_materializer(Arc::clone(&slow) as Arc<dyn Materializer>);
    let body = json!({"end_ts": "2026-06-01", "feature_views": ["zone_events"]});
    assert_eq!(
        bench
            .post("/materialize-incremental?async=true", &body)
            .status,
        202
    );
    let mut stream = bench.connect();
    let (mut seen, begin) = (String::new(), Instant::now());
    stream
        .write_all(request("GET", "/v1/jobs/1/events", "").as_bytes())
        .unwrap();
    read_until(&mut stream, &mut seen, "\"rows_read\":2");
    assert!(seen.contains("content-type: text/event-stream"), "{seen}");
    assert!(seen.contains("event: progress\ndata: {"), "{seen}");
    let refused = bench.send("GET", "/v1/jobs/1/events", "");
    assert_eq!(refused.status, 503, "one listener is the bound");
    // Longer than an idle connection may live: only the heartbeats keep it.
    while begin.elapsed() < Duration::from_millis(2500) {
        seen.clear();
        read_until(&mut stream, &mut seen, ": still running");
    }
    slow.release.store(true, Ordering::Relaxed);
    read_until(&mut stream, &mut seen, "event: end");
    read_until(&mut stream, &mut seen, "0\r\n\r\n");
    assert!(seen.contains("\"state\":\"succeeded\""), "{seen}");
    let (mut stream, mut ended) = (bench.connect(), String::new());
    stream
        .write_all(request("GET", "/v1/jobs/1/events", "").as_bytes())
        .unwrap();
    read_until(&mut stream, &mut ended, "0\r\n\r\n");
    assert!(
        ended.contains("event: end") && !ended.contains("event: progress"),
        "{ended}"
    );
    assert_eq!(bench.send("GET", "/v1/jobs/9/events", "").status, 404);

    // A server that stops lets its listeners go.
    slow.release.store(false, Ordering::Relaxed);
    assert_eq!(
        bench
            .post("/materialize-incremental?async=true", &body)
            .status,
        202
    );
    let mut stream = bench.connect();
    stream
        .write_all(request("GET", "/v1/jobs/2/events", "").as_bytes())
        .unwrap();
    read_until(&mut stream, &mut seen, "event: progress");
    let begin = Instant::now();
    bench.stop();
    bench.join();
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    slow.release.store(true, Ordering::Relaxed);
}

#[test]
fn unmet_objectives_degrade_the_status_and_never_readiness() {
    let bench = Bench::empty(quick());
    let minutes = |count: u64| Some(Duration::from_secs(60 * count));
    let mut config = NodeConfig::default();
    config.freshness.snapshot = minutes(5);
    let views = [
        ("driver_hourly_stats_fresh", minutes(30)),
        ("zone_events", minutes(90)),
        ("nope", minutes(1)),
    ];
    for (view, objective) in views {
        let views = &mut config.freshness.views;
        views.insert(view.to_owned(), objective.unwrap());
    }
    bench.open_node_with(config);
    let node = bench.slot.node().unwrap();
    let reasons = || bench.send("GET", "/status", "").json()["degraded_reasons"].clone();
    let view = |text: &str| json!(format!("feature view {text}"));
    assert_eq!(
        reasons(),
        json!([
            view("driver_hourly_stats_fresh has no rows, objective 1800 s"),
            view("zone_events has no rows, objective 5400 s"),
            "feature view nope has an objective and is not served here",
            "registry was never confirmed, objective 300 s",
        ])
    );
    node.confirm_snapshot();
    // An hour before the clock that stands still.
    assert_eq!(bench.post("/push", &push_body()).status, 200);
    let status = bench.send("GET", "/status", "").json();
    assert_eq!(status["status"], "degraded");
    assert_eq!(status["snapshot"]["age_seconds"], json!(0.0));
    assert_eq!(
        reasons()[0],
        view("driver_hourly_stats_fresh is 3600 s old, objective 1800 s")
    );
    assert_eq!(bench.send("GET", "/ready", "").status, 200);
    let health = bench.send("GET", "/health", "");
    assert_eq!((health.status, health.body.len()), (200, 0));
    let health = bench.send("GET", "/health?detail=true", "").json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["degraded_reasons"], reasons());
    let page = String::from_utf8(bench.send("GET", "/metrics", "").body).unwrap();
    for line in [
        "galley_degraded 1",
        "galley_snapshot_age_seconds 0.0",
        "galley_view_fresh{feature_view=\"driver_hourly_stats_fresh\",project=\"rides\"} 0",
        "galley_view_newest_event_age_seconds{feature_view=\"driver_hourly_stats_fresh\",project=\"rides\"} 3600.0",
    ] {
        assert!(page.lines().any(|held| held == line), "{line}: {page}");
    }
    node.set_feed_state(Some(FeedState {
        confirmed: Some(EventTime::parse("2026-03-12T04:59:30Z").unwrap()),
        frozen: true,
        problem: None,
    }));
    let status = bench.send("GET", "/status", "").json();
    assert_eq!(status["feed"]["age_seconds"], json!(30.0));
    assert!(reasons().to_string().contains("feed is frozen"));
}

#[test]
fn a_look_up_tells_how_old_its_rows_are_only_when_asked() {
    let bench = Bench::empty(quick());
    let mut config = NodeConfig::default();
    config.freshness.default = Some(Duration::from_secs(1800));
    bench.open_node_with(config);
    assert_eq!(bench.post("/push", &push_body()).status, 200);
    let ask = |fresh: Value| {
        let body = json!({
            "features": ["driver_hourly_stats_fresh:conv_rate"],
            "entities": {"driver_id": [1001]},
            "include_freshness": fresh,
        });
        bench.post(GET, &body)
    };
    let plain = ask(json!(false));
    assert_eq!(plain.header("x-galley-freshness"), None);
    assert!(plain.json()["metadata"]["freshness"].is_null());
    // As FastAPI takes it.
    for asked in [json!(true), json!("yes")] {
        let answer = ask(asked);
        assert_eq!(answer.header("x-galley-freshness"), Some("stale"));
        let expected = json!([{
            "feature_view": "driver_hourly_stats_fresh",
            "newest_event_time": "2026-03-12T04:00:00Z",
            "age_seconds": 3600.0,
            "objective_seconds": 1800.0,
            "state": "stale",
        }]);
        assert_eq!(answer.json()["metadata"]["freshness"], expected);
        assert_eq!(answer.json()["results"], plain.json()["results"]);
    }
    assert_eq!(ask(json!("perhaps")).status, 422);
}

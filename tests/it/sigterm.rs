//! SIGTERM: what was accepted is finished, nothing acknowledged is lost, the process ends with 0.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::http::read_reply;
use crate::support::repo::{column, get_pair, push_item};
use crate::support::{RaiseAtEnd, repo};

const WRITERS: i64 = 3;
/// Shutdown promises to be over within ten seconds; a busy machine gets some more.
const SHUTDOWN_MAX: Duration = Duration::from_secs(12);

#[test]
fn sigterm_finishes_what_was_accepted_and_ends_with_zero() {
    let sandbox = repo::swap('a');
    for round in 0..5 {
        let server = sandbox.launch().start();
        let stop = AtomicBool::new(false);
        let acknowledged = [const { AtomicI64::new(0) }; WRITERS as usize];
        let (status, took) = std::thread::scope(|scope| {
            let _end = RaiseAtEnd(&stop);
            for writer in 0..WRITERS {
                let mut client = server.client();
                let (stop, acknowledged) = (&stop, &acknowledged[writer as usize]);
                scope.spawn(move || {
                    let mut value = round * 1_000_000;
                    while !stop.load(Ordering::Relaxed) {
                        value += 1;
                        let time = format!("2026-02-{:02}T00:00:{:02}Z", 1 + round, value % 60);
                        let body = push_item(writer * 1000 + value % 1000, value, &time);
                        match client.post("/push", &body) {
                            Ok(reply) if reply.status == 200 => {
                                acknowledged.store(value, Ordering::Relaxed)
                            }
                            // Refused in words, or the connection is closed between two requests.
                            Ok(reply) => assert_eq!(reply.status, 503, "{}", reply.text()),
                            Err(_) => return,
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(150));
            let begun = Instant::now();
            let status = server.terminate();
            stop.store(true, Ordering::Relaxed);
            (status, begun.elapsed())
        });
        assert!(status.success(), "round {round}: {status}");
        assert!(took < SHUTDOWN_MAX, "round {round}: shutdown took {took:?}");

        let server = sandbox.launch().start();
        let mut client = server.client();
        for writer in 0..WRITERS {
            let value = acknowledged[writer as usize].load(Ordering::Relaxed);
            assert!(
                value > round * 1_000_000,
                "round {round}: writer {writer} had nothing acknowledged"
            );
            let reply = client
                .post(
                    "/get-online-features",
                    &get_pair(&[writer * 1000 + value % 1000]),
                )
                .unwrap();
            let answer = reply.json();
            let (values, _) = column(&answer, "left_a__x");
            assert!(
                values[0].as_i64() >= Some(value),
                "round {round}: writer {writer} lost push {value}: {values:?}"
            );
        }
        assert!(server.terminate().success());
    }
}

#[test]
fn a_request_in_flight_is_answered_before_the_process_ends() {
    let sandbox = repo::swap('a');
    let mut server = sandbox.launch().start();
    // Half of the request is there when the signal comes, the other half arrives later.
    let rows = 20_000;
    let body = json!({
        "push_source_name": "items",
        "df": {
            "item_id": (0..rows).collect::<Vec<i64>>(),
            "event_timestamp": vec!["2026-03-01T00:00:00Z"; rows as usize],
            "x": (0..rows).collect::<Vec<i64>>(),
            "y": (0..rows).collect::<Vec<i64>>(),
        },
    });
    let body = body.to_string();
    let head = format!(
        "POST /push HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let (first, rest) = body.as_bytes().split_at(body.len() / 2);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(SHUTDOWN_MAX)).unwrap();
    stream
        .write_all(&[head.as_bytes(), first].concat())
        .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    server.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(100));
    stream.write_all(rest).unwrap();
    let reply = read_reply(&mut BufReader::new(stream));
    let status = server.wait(SHUTDOWN_MAX).expect("the process ends");
    assert!(status.success(), "{status}");
    let reply = reply.expect("the request in flight gets its answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let server = sandbox.launch().start();
    let answer = server
        .client()
        .post("/get-online-features", &get_pair(&[0, rows - 1]))
        .unwrap()
        .json();
    assert_eq!(column(&answer, "right_a__y").0, [json!(0), json!(rows - 1)]);
}

//! Requests on the wire: in any pieces, one behind the other, of all kinds on one connection. Plain
//! look-ups are answered on a way of their own, which nobody may be able to tell from outside.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::http::{Reply, read_reply};
use crate::support::repo::{self, get_pair, push_item};

const LOOK_UP: &str = "/get-online-features";
const PATIENCE: Duration = Duration::from_secs(30);

fn request(method: &str, target: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nhost: a\r\n{fields}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

/// All of an answer that does not change from one to the next.
fn lasting(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let mut headers = reply.headers.clone();
    headers.retain(|(name, _)| name != "x-request-id" && name != "date");
    headers.sort();
    (reply.status, headers, reply.text())
}

/// Bodies of look-ups of every fate.
fn bodies() -> Vec<String> {
    let good = get_pair(&[1, 2, 3]).to_string();
    let large = get_pair(&(0..1000).collect::<Vec<_>>()).to_string();
    let unknown = json!({ "features": ["nope:x"], "entities": { "item_id": [1] } }).to_string();
    let cut = good[..good.len() - 1].to_owned();
    vec![
        good,
        large,
        unknown,
        cut,
        String::new(),
        "[]".into(),
        "{}".into(),
        "\u{e9}".into(),
    ]
}

#[test]
fn a_look_up_has_the_same_answer_on_every_way() {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    server
        .client()
        .post("/push", &push_item(1, 5, "2026-02-01T00:00:00Z"))
        .unwrap();
    for body in bodies() {
        let plain = request("POST", LOOK_UP, "", &body);
        let mut ways: Vec<(String, Vec<Vec<u8>>)> = vec![
            ("whole".into(), vec![plain.clone()]),
            // A query, or a field that has to be looked into, make it a request like any other.
            (
                "query".into(),
                vec![request("POST", &format!("{LOOK_UP}?a=b"), "", &body)],
            ),
            (
                "fields".into(),
                vec![request(
                    "POST",
                    LOOK_UP,
                    "connection: keep-alive, x\r\n",
                    &body,
                )],
            ),
        ];
        let head = plain.len() - body.len();
        for cut in [1, 10, 40, head - 1, head, head + 1] {
            let cut = cut.min(plain.len());
            let pieces = vec![plain[..cut].to_vec(), plain[cut..].to_vec()];
            ways.push((format!("cut at {cut}"), pieces));
        }
        ways.push((
            "crumbs".into(),
            plain
                .chunks(plain.len() / 40 + 1)
                .map(<[u8]>::to_vec)
                .collect(),
        ));
        let mut first = None;
        for (name, pieces) in ways {
            let mut stream = connect(server.address);
            for piece in pieces {
                stream.get_mut().write_all(&piece).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
            let got = lasting(&read_reply(&mut stream).unwrap());
            let shown: String = body.chars().take(60).collect();
            assert_eq!(
                first.get_or_insert_with(|| got.clone()),
                &got,
                "{name}: {shown}"
            );
        }
    }
}

#[test]
fn requests_one_behind_the_other_are_answered_in_order() {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let mut all = Vec::new();
    let mut expected = Vec::new();
    let many = get_pair(&(0..300).collect::<Vec<_>>()).to_string();
    for number in 0..60 {
        let id = format!("x-request-id: n-{number}\r\n");
        let (target, method, body) = match number {
            40 => ("/health", "GET", String::new()),
            50 => ("/nope", "POST", "{}".to_owned()),
            _ if number % 7 == 0 => (LOOK_UP, "POST", many.clone()),
            _ if number % 5 == 0 => (LOOK_UP, "POST", "{".to_owned()),
            _ => (LOOK_UP, "POST", get_pair(&[number]).to_string()),
        };
        expected.push(match (target, body.as_str()) {
            ("/nope", _) => 404,
            (_, "{") => 422,
            _ => 200,
        });
        all.extend(request(method, target, &id, &body));
    }
    let mut stream = connect(server.address);
    let mut sender = stream.get_ref().try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(&all).unwrap());
    for (number, status) in expected.into_iter().enumerate() {
        let reply = read_reply(&mut stream).unwrap();
        assert_eq!(reply.status, status, "{number}: {}", reply.text());
        assert_eq!(reply.header("x-request-id"), Some(&*format!("n-{number}")));
        if status == 404 {
            break;
        }
    }
    sending.join().unwrap();
}

#[test]
fn a_peer_that_reads_slowly_gets_all_of_a_large_answer() {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let keys: Vec<i64> = (0..1000).collect();
    let body = get_pair(&keys).to_string();
    let whole = server.client().post(LOOK_UP, &get_pair(&keys)).unwrap();
    let mut stream = connect(server.address);
    // Several answers, more than the buffers of the two sockets hold.
    const ANSWERS: usize = 200;
    let mut sender = stream.get_ref().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        for _ in 0..ANSWERS {
            sender
                .write_all(&request("POST", LOOK_UP, "", &body))
                .unwrap();
        }
    });
    std::thread::sleep(Duration::from_millis(500));
    for number in 0..ANSWERS {
        let reply = read_reply(&mut stream).unwrap();
        assert_eq!(reply.body, whole.body, "{number}");
    }
    sending.join().unwrap();
}

#[test]
fn a_peer_that_sends_no_more_still_gets_its_answers() {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let mut stream = connect(server.address);
    let body = get_pair(&[1]).to_string();
    let two = [
        request("POST", LOOK_UP, "", &body),
        request("POST", LOOK_UP, "", &body),
    ];
    stream.get_mut().write_all(&two.concat()).unwrap();
    stream
        .get_ref()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    for _ in 0..2 {
        assert_eq!(read_reply(&mut stream).unwrap().status, 200);
    }
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "and then the end");
}

#[test]
fn a_body_that_stops_coming_is_refused_in_words() {
    let sandbox = repo::swap('a');
    let server = sandbox
        .launch()
        .env("GALLEY_SERVER_BODY_IDLE_TIMEOUT", "300ms")
        .start();
    let text = request("POST", LOOK_UP, "", &get_pair(&[1]).to_string());
    for cut in [text.len() - 1, text.len() - 20] {
        let mut stream = connect(server.address);
        stream.get_mut().write_all(&text[..cut]).unwrap();
        let reply = read_reply(&mut stream).unwrap();
        assert_eq!(reply.status, 408, "{}", reply.text());
    }
}

#[test]
fn a_look_up_that_has_begun_is_answered_when_the_server_stops() {
    let sandbox = repo::swap('a');
    let mut server = sandbox.launch().start();
    let text = request("POST", LOOK_UP, "", &get_pair(&[1]).to_string());
    let mut begun: Vec<_> = [1, text.len() / 2, text.len() - 1]
        .into_iter()
        .map(|cut| {
            let mut stream = connect(server.address);
            stream.get_mut().write_all(&text[..cut]).unwrap();
            (cut, stream)
        })
        .collect();
    let mut idle = connect(server.address);
    idle.get_mut().write_all(&text).unwrap();
    assert_eq!(read_reply(&mut idle).unwrap().status, 200);
    std::thread::sleep(Duration::from_millis(200));
    server.signal(Signal::TERM);
    assert_eq!(
        idle.read(&mut [0; 8]).unwrap(),
        0,
        "nobody waits for an idle connection"
    );
    for (cut, stream) in &mut begun {
        stream.get_mut().write_all(&text[*cut..]).unwrap();
        assert_eq!(read_reply(stream).unwrap().status, 200, "{cut}");
        assert_eq!(
            stream.read(&mut [0; 8]).unwrap(),
            0,
            "{cut}: and then the end"
        );
    }
    assert!(server.wait(PATIENCE).unwrap().success());
}

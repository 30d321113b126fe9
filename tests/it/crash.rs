//! SIGKILL at any moment: nothing that was acknowledged is lost, nothing is half there.
//!
//! Four writers push to shared keys, a quarter of the rows back-dated; the process is killed after
//! a random time, started again, and every key is compared with what was sent. A row is right when
//! it is one push as a whole, in both views, and no acknowledged push for its key is newer.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::repo::{Sandbox, column, get_pair};
use crate::support::{Galley, RaiseAtEnd, Random, long, repo, seed};

const KEYS: i64 = 24;
const WRITERS: u64 = 4;
/// 2026-01-01T00:00:00Z in microseconds.
const EPOCH_US: u64 = 1_767_225_600_000_000;

#[test]
fn thirty_sigkills_lose_no_acknowledged_push() {
    let kills = if long() { 500 } else { 30 };
    let sandbox = repo::swap('a');
    let sent = Sent::default();
    let mut random = Random::new(seed());
    let mut start_max = Duration::ZERO;
    println!("seed {}", seed());
    for round in 0..kills {
        let started = Instant::now();
        let server = sandbox.launch().start();
        start_max = start_max.max(started.elapsed());
        sent.apply_tickets(&server);
        sent.check(&server, &format!("after kill {round}"));
        write_until_killed(server, &sent, &mut random);
    }
    let server = sandbox.launch().start();
    sent.apply_tickets(&server);
    sent.check(&server, "at the end");
    let acknowledged = sent.acknowledged.load(Ordering::Relaxed);
    println!("{kills} kills, {acknowledged} acknowledged pushes, slowest start {start_max:?}");
    assert!(
        acknowledged > kills * 20,
        "only {acknowledged} pushes were acknowledged: the test tests little"
    );
    stored_rows_pass_the_check(&sandbox, server);
}

fn stored_rows_pass_the_check(sandbox: &Sandbox, server: Galley) {
    assert!(server.terminate().success());
    sandbox.launch().run(&["check"]).ok();
}

fn write_until_killed(server: Galley, sent: &Sent, random: &mut Random) {
    let stop = AtomicBool::new(false);
    let pause = Duration::from_millis(20 + random.below(130));
    std::thread::scope(|scope| {
        let _end = RaiseAtEnd(&stop);
        for writer in 0..WRITERS {
            let seed = random.next();
            let (server, stop) = (&server, &stop);
            scope.spawn(move || writer_loop(server, sent, stop, writer, seed));
        }
        std::thread::sleep(pause);
        server.signal(rustix::process::Signal::KILL);
        stop.store(true, Ordering::Relaxed);
    });
    server.kill();
}

/// Pushes until the server is gone. The last writer uses the durable queue.
fn writer_loop(server: &Galley, sent: &Sent, stop: &AtomicBool, writer: u64, seed: u64) {
    let queued = writer == WRITERS - 1;
    let path = if queued { "/push?mode=async" } else { "/push" };
    let mut random = Random::new(seed);
    let mut client = server.client();
    while !stop.load(Ordering::Relaxed) {
        let rows: Vec<Attempt> = (0..1 + random.below(3))
            .map(|_| sent.attempt(&mut random))
            .collect();
        let Ok(reply) = client.post(path, &push(&rows)) else {
            return;
        };
        match (reply.status, queued) {
            (200, false) => sent.acknowledge(&rows),
            (202, true) => sent.queue(rows, ticket(&reply.json())),
            _ => panic!("{path}: {} {}", reply.status, reply.text()),
        }
    }
}

fn ticket(accepted: &Value) -> u64 {
    let ticket = &accepted["ticket"];
    ticket
        .as_u64()
        .or_else(|| ticket.as_str()?.parse().ok())
        .unwrap_or_else(|| panic!("no ticket in {accepted}"))
}

fn push(rows: &[Attempt]) -> Value {
    let column = |f: fn(&Attempt) -> Value| rows.iter().map(f).collect::<Vec<_>>();
    json!({
        "push_source_name": "items",
        "df": {
            "item_id": column(|row| row.key.into()),
            "event_timestamp": column(|row| rfc3339(row.time).into()),
            "x": column(|row| row.id.into()),
            "y": column(|row| row.id.into()),
        },
    })
}

/// One row that was sent; its id is the value of every feature.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    id: u64,
    key: i64,
    /// Event time in microseconds, no two alike.
    time: u64,
}

/// Everything that was ever sent, and what of it must be there.
#[derive(Debug, Default)]
struct Sent {
    next: AtomicU64,
    acknowledged: AtomicU64,
    all: Mutex<HashMap<u64, Attempt>>,
    /// Newest acknowledged event time of each key.
    newest: Mutex<HashMap<i64, u64>>,
    tickets: Mutex<Vec<(u64, Vec<Attempt>)>>,
}

impl Sent {
    fn attempt(&self, random: &mut Random) -> Attempt {
        let id = 1 + self.next.fetch_add(1, Ordering::Relaxed);
        let back = if random.below(4) == 0 {
            1 + random.below(50)
        } else {
            0
        };
        let time = EPOCH_US + (1000 + id - back) * 1000 + id % 997;
        let key = i64::try_from(random.below(KEYS as u64)).unwrap();
        let attempt = Attempt { id, key, time };
        self.all.lock().unwrap().insert(id, attempt);
        attempt
    }

    fn acknowledge(&self, rows: &[Attempt]) {
        let mut newest = self.newest.lock().unwrap();
        for row in rows {
            let time = newest.entry(row.key).or_default();
            *time = row.time.max(*time);
        }
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    fn queue(&self, rows: Vec<Attempt>, ticket: u64) {
        self.tickets.lock().unwrap().push((ticket, rows));
    }

    /// Waits until everything that was accepted into the queue is applied; then it counts as acknowledged.
    fn apply_tickets(&self, server: &Galley) {
        let mut client = server.client();
        for (ticket, rows) in self.tickets.lock().unwrap().drain(..) {
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                let reply = client.get(&format!("/v1/tickets/{ticket}")).unwrap();
                assert_eq!(reply.status, 200, "ticket {ticket}: {}", reply.text());
                if reply.text().to_lowercase().contains("applied") {
                    break;
                }
                assert!(
                    Instant::now() < deadline,
                    "ticket {ticket} is never applied: {}",
                    reply.text()
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            self.acknowledge(&rows);
        }
    }

    fn check(&self, server: &Galley, when: &str) {
        let keys: Vec<i64> = (0..KEYS).collect();
        let reply = server
            .client()
            .post("/get-online-features", &get_pair(&keys))
            .unwrap();
        assert_eq!(reply.status, 200, "{when}: {}", reply.text());
        let answer = reply.json();
        let columns = ["left_a__x", "left_a__y", "right_a__x", "right_a__y"]
            .map(|name| column(&answer, name).0);
        let all = self.all.lock().unwrap();
        let mut newest = self.newest.lock().unwrap();
        for (row, key) in keys.iter().enumerate() {
            let ids = columns.map(|values| values[row].as_u64());
            assert!(
                ids.iter().all(|id| *id == ids[0]),
                "{when}: key {key} mixes pushes: {ids:?}"
            );
            let due = newest.get(key).copied();
            let Some(id) = ids[0] else {
                assert_eq!(due, None, "{when}: key {key} lost its row");
                continue;
            };
            let attempt = all
                .get(&id)
                .unwrap_or_else(|| panic!("{when}: key {key} holds {id}, never sent"));
            assert_eq!(attempt.key, *key, "{when}: a row of another key");
            assert!(
                attempt.time >= due.unwrap_or(0),
                "{when}: key {key} holds push {id} of {}, acknowledged was one of {}",
                attempt.time,
                due.unwrap_or(0)
            );
            // What was read once stays: reads never go back, restarts included.
            newest.insert(*key, attempt.time);
        }
    }
}

/// An event time between 2026-01-01 and 2026-01-31 as text.
fn rfc3339(time_us: u64) -> String {
    let us = time_us - EPOCH_US;
    let (s, us) = (us / 1_000_000, us % 1_000_000);
    let (day, s) = (s / 86_400, s % 86_400);
    assert!(day < 31, "the test ran longer than a month of event times");
    format!(
        "2026-01-{:02}T{:02}:{:02}:{:02}.{us:06}Z",
        day + 1,
        s / 3600,
        s / 60 % 60,
        s % 60
    )
}

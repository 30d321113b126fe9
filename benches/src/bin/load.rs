//! Closed-loop HTTP load: N connections on one thread, each sends its next request when it has read
//! the last answer.
//!
//! usage: load ADDRESS PATH BODIES_FILE CONNECTIONS SECONDS WARMUP_SECONDS
//!
//! Prints one line of JSON: requests, errors, seconds, per second, latency percentiles and maximum in
//! microseconds, bytes of an answer with its head.
//!
//! Cost model: one epoll wait for all sockets that are ready, one write and mostly one read a
//! request; the head is scanned once for its end and `content-length`. Latency counts from the write
//! to the last byte. In a closed loop a slow answer delays the requests behind it, so percentiles
//! beyond capacity are flattering: compare ratios at the same number of connections.
//! Not measured: connection set-up, name resolution, TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use galley_benches::Result;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::json;

/// The longest wait for anything at all.
const STALL_MAX: Duration = Duration::from_secs(20);

struct Connection {
    stream: TcpStream,
    next: usize,
    unsent: (usize, usize),
    /// The answer so far is `answer[..filled]`; the rest is room, zeroed only once.
    answer: Vec<u8>,
    filled: usize,
    /// Where the answer ends, once its head has been read.
    end: Option<(usize, u16)>,
    begun: Instant,
}

#[derive(Default)]
struct Tally {
    latencies: Vec<u32>,
    errors: u64,
    body_bytes: u64,
    first_error: Option<String>,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, path, bodies, connections, seconds, warmup] = &args[..] else {
        return Err(
            "usage: load ADDRESS PATH BODIES_FILE CONNECTIONS SECONDS WARMUP_SECONDS".into(),
        );
    };
    let address: SocketAddr = address.parse()?;
    let requests = requests(address, path, &std::fs::read_to_string(bodies)?);
    let (seconds, warmup): (f64, f64) = (seconds.parse()?, warmup.parse()?);
    let mut loader = Loader::connect(address, requests, connections.parse()?)?;
    loader.run(Duration::from_secs_f64(warmup))?;
    loader.tally = Tally::default();
    let took = loader.run(Duration::from_secs_f64(seconds))?;
    println!("{}", report(loader.tally, took.as_secs_f64()));
    Ok(())
}

fn requests(address: SocketAddr, path: &str, bodies: &str) -> Vec<Vec<u8>> {
    bodies
        .lines()
        .map(|body| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes()
        })
        .collect()
}

struct Loader {
    poll: Poll,
    requests: Vec<Vec<u8>>,
    connections: Vec<Connection>,
    tally: Tally,
}

impl Loader {
    fn connect(address: SocketAddr, requests: Vec<Vec<u8>>, count: usize) -> Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for index in 0..count {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut stream, Token(index), interest)?;
            // Connections start far apart in the list of bodies.
            let next = index * requests.len() / count.max(1);
            connections.push(Connection {
                stream,
                next,
                unsent: (0, 0),
                answer: vec![0; 64 << 10],
                filled: 0,
                end: None,
                begun: Instant::now(),
            });
        }
        Ok(Self {
            poll,
            requests,
            connections,
            tally: Tally::default(),
        })
    }

    /// Sends and reads for `time`; answers under way at the end are read and do not count.
    fn run(&mut self, time: Duration) -> Result<Duration> {
        let begun = Instant::now();
        let mut open = self.connections.len();
        for index in 0..open {
            self.send(index)?;
        }
        let mut events = Events::with_capacity(256);
        let mut took = None;
        while open > 0 {
            self.poll.poll(&mut events, Some(STALL_MAX))?;
            if events.is_empty() {
                return Err(format!("no answer within {STALL_MAX:?}").into());
            }
            for event in &events {
                let index = event.token().0;
                if event.is_writable() {
                    self.flush(index)?;
                }
                if !event.is_readable() || !self.receive(index)? {
                    continue;
                }
                if begun.elapsed() < time {
                    self.count(index);
                    self.send(index)?;
                } else {
                    took.get_or_insert_with(|| begun.elapsed());
                    self.finish(index);
                    open -= 1;
                }
            }
        }
        Ok(took.unwrap_or_else(|| begun.elapsed()))
    }

    fn send(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        let request = connection.next % self.requests.len();
        connection.next = request + 1;
        connection.unsent = (request, 0);
        connection.begun = Instant::now();
        self.flush(index)
    }

    fn flush(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        let (request, sent) = &mut connection.unsent;
        while *sent < self.requests[*request].len() {
            match connection.stream.write(&self.requests[*request][*sent..]) {
                Ok(written) => *sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there; true when the answer is whole.
    fn receive(&mut self, index: usize) -> Result<bool> {
        let connection = &mut self.connections[index];
        loop {
            let needed = connection
                .end
                .map_or(0, |(end, _)| end)
                .max(connection.filled + 1);
            if connection.answer.len() < needed {
                connection.answer.resize(needed.next_power_of_two(), 0);
            }
            match connection
                .stream
                .read(&mut connection.answer[connection.filled..])
            {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(read) => connection.filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            if connection.end.is_none() {
                connection.end = head(&connection.answer[..connection.filled])?;
            }
            if connection
                .end
                .is_some_and(|(end, _)| connection.filled >= end)
            {
                return Ok(true);
            }
        }
    }

    fn count(&mut self, index: usize) {
        let us = self.connections[index].begun.elapsed().as_micros();
        self.tally
            .latencies
            .push(u32::try_from(us).unwrap_or(u32::MAX));
        self.finish(index);
    }

    fn finish(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if let Some((end, status)) = connection.end.take() {
            self.tally.body_bytes += end as u64;
            if status != 200 {
                self.tally.errors += 1;
                let text =
                    String::from_utf8_lossy(&connection.answer[..connection.filled]).into_owned();
                self.tally.first_error.get_or_insert(text);
            }
        }
        connection.filled = 0;
    }
}

/// Where the answer ends and its status, once the whole head is there.
fn head(answer: &[u8]) -> Result<Option<(usize, u16)>> {
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&answer[..end])?;
    let status = head.get(9..12).ok_or("a short status line")?.parse()?;
    let length: usize = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .ok_or("an answer without content-length")?
        .1
        .trim()
        .parse()?;
    Ok(Some((end + 4 + length, status)))
}

fn report(mut tally: Tally, seconds: f64) -> serde_json::Value {
    tally.latencies.sort_unstable();
    let count = tally.latencies.len();
    let at = |share: f64| {
        tally
            .latencies
            .get(((count as f64 * share) as usize).min(count.saturating_sub(1)))
    };
    json!({
        "requests": count,
        "errors": tally.errors,
        "first_error": tally.first_error,
        "seconds": seconds,
        "per_second": count as f64 / seconds,
        "p50_us": at(0.50),
        "p90_us": at(0.90),
        "p99_us": at(0.99),
        "p999_us": at(0.999),
        "max_us": tally.latencies.last(),
        "answer_bytes": tally.body_bytes / (count as u64).max(1),
    })
}

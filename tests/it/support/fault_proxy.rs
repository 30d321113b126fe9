//! A proxy that breaks connections in the ways networks do.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a quiet connection is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What becomes of one connection's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Closed after so many bytes.
    Cut(u64),
    /// Silent after so many bytes, for so many milliseconds, then closed.
    Stall(u64, u64),
    /// The byte at this offset has a bit turned.
    Corrupt(u64),
    /// The piece at this offset comes twice.
    Duplicate(u64),
    /// Half-open: requests are taken and nothing is answered, for so many milliseconds.
    HalfOpen(u64),
    /// Refused at once.
    Down,
}

/// Forwards to a server until it is dropped; connections take faults from a queue.
#[derive(Debug)]
pub struct FaultProxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    stop: AtomicBool,
    faults: Mutex<Vec<Fault>>,
    /// Grows with each strike: connections of before are closed.
    strikes: AtomicU64,
    struck: AtomicU64,
}

impl FaultProxy {
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target,
            stop: AtomicBool::new(false),
            faults: Mutex::default(),
            strikes: AtomicU64::new(0),
            struck: AtomicU64::new(0),
        });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if for_thread.stop.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&for_thread);
                std::thread::spawn(move || forward(&shared, stream));
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The faults of the connections to come, the last one first; without any they pass.
    /// Connections that are open are closed.
    pub fn strike(&self, faults: &[Fault]) {
        self.shared.faults.lock().unwrap().extend_from_slice(faults);
        self.shared.strikes.fetch_add(1, Ordering::Relaxed);
    }

    /// Faults that wait for a connection.
    pub fn waiting(&self) -> usize {
        self.shared.faults.lock().unwrap().len()
    }

    /// Faults that struck an answer.
    pub fn struck(&self) -> u64 {
        self.shared.struck.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
    }
}

fn forward(shared: &Shared, client: TcpStream) {
    let fault = shared.faults.lock().unwrap().pop();
    if fault == Some(Fault::Down) {
        shared.struck.fetch_add(1, Ordering::Relaxed);
        return;
    }
    if let Some(Fault::HalfOpen(millis)) = fault {
        shared.struck.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(millis));
        return;
    }
    let Ok(server) = TcpStream::connect(shared.target) else {
        return;
    };
    let (mut from_client, mut to_server) =
        (client.try_clone().unwrap(), server.try_clone().unwrap());
    let requests = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    answers(shared, fault, (server, client));
    let _ = requests.join();
}

fn answers(
    shared: &Shared,
    fault: Option<Fault>,
    (mut server, mut client): (TcpStream, TcpStream),
) {
    let strikes = shared.strikes.load(Ordering::Relaxed);
    server.set_read_timeout(Some(LOOK_AGAIN)).unwrap();
    let mut passed = 0u64;
    let mut buffer = vec![0; 4096];
    loop {
        let read = match server.read(&mut buffer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if shared.strikes.load(Ordering::Relaxed) != strikes {
                    break;
                }
                continue;
            }
            Ok(0) | Err(_) => break,
            Ok(read) => read as u64,
        };
        let mut piece = buffer[..read as usize].to_vec();
        let at = |offset: u64| {
            (passed..passed + read)
                .contains(&offset)
                .then(|| (offset - passed) as usize)
        };
        let strike = || shared.struck.fetch_add(1, Ordering::Relaxed);
        let mut ends = false;
        match fault {
            Some(Fault::Cut(offset)) => {
                if let Some(at) = at(offset) {
                    strike();
                    piece.truncate(at);
                    ends = true;
                }
            }
            Some(Fault::Stall(offset, millis)) => {
                if let Some(at) = at(offset) {
                    strike();
                    piece.truncate(at);
                    let _ = client.write_all(&piece);
                    piece.clear();
                    std::thread::sleep(Duration::from_millis(millis));
                    ends = true;
                }
            }
            Some(Fault::Corrupt(offset)) => {
                if let Some(at) = at(offset) {
                    strike();
                    piece[at] ^= 1 << (offset % 8);
                }
            }
            Some(Fault::Duplicate(offset)) => {
                if let Some(at) = at(offset) {
                    strike();
                    let again = piece[at..].to_vec();
                    piece.extend_from_slice(&again);
                }
            }
            Some(Fault::HalfOpen(_) | Fault::Down) | None => {}
        }
        passed += read;
        if client.write_all(&piece).is_err() || ends {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

//! A web server for a folder: entity tags, ranges, and a count of what was asked and sent.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// One request as it was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    pub path: String,
    pub status: u16,
    /// Bytes of the answer, head and body.
    pub bytes: u64,
    /// Bytes of the request's head.
    pub asked_bytes: u64,
}

/// Serves a folder until it is dropped.
#[derive(Debug)]
pub struct Web {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    stop: AtomicBool,
    sent: AtomicU64,
    answered: Mutex<Vec<Answered>>,
}

impl Web {
    pub fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            answered: Mutex::default(),
        });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if for_thread.stop.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&for_thread);
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes of bodies sent since the start.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// What was answered since the last call.
    pub fn take_answered(&self) -> Vec<Answered> {
        std::mem::take(&mut self.shared.answered.lock().unwrap())
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(shared: &Shared, stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while !shared.stop.load(Ordering::Relaxed) {
        let Some((path, headers, asked_bytes)) = request(&mut reader) else {
            return;
        };
        let header = |name: &str| {
            headers
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
        };
        let file = shared.folder.join(path.trim_start_matches('/'));
        let Ok(mut file) = std::fs::File::open(&file) else {
            let head = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
            note(shared, &path, 404, (head.len() as u64, asked_bytes));
            if stream.write_all(head.as_bytes()).is_err() {
                return;
            }
            continue;
        };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        let tag = format!("\"{:x}-{:x}\"", bytes.len(), sum(&bytes));
        let size = bytes.len();
        let from = header("range")
            .and_then(|range| {
                range
                    .strip_prefix("bytes=")?
                    .strip_suffix('-')?
                    .parse()
                    .ok()
            })
            .filter(|from| *from < size);
        let (status, head, body): (u16, String, &[u8]) = if header("if-none-match").as_deref()
            == Some(&tag)
        {
            (
                304,
                format!("HTTP/1.1 304 Not Modified\r\netag: {tag}\r\n\r\n"),
                &[],
            )
        } else if let Some(from) = from {
            let body = &bytes[from..];
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\netag: {tag}\r\ncontent-range: bytes {from}-{}/{size}\r\n\
                 content-length: {}\r\n\r\n",
                size - 1,
                body.len()
            );
            (206, head, body)
        } else {
            let head = format!("HTTP/1.1 200 OK\r\netag: {tag}\r\ncontent-length: {size}\r\n\r\n");
            (200, head, &bytes)
        };
        note(
            shared,
            &path,
            status,
            ((head.len() + body.len()) as u64, asked_bytes),
        );
        if stream.write_all(head.as_bytes()).is_err() {
            return;
        }
        for piece in body.chunks(16 << 10) {
            if stream.write_all(piece).is_err() {
                return;
            }
            shared.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    }
}

fn note(shared: &Shared, path: &str, status: u16, (bytes, asked_bytes): (u64, u64)) {
    shared.answered.lock().unwrap().push(Answered {
        path: path.to_owned(),
        status,
        bytes,
        asked_bytes,
    });
}

type Head = (String, Vec<(String, String)>, u64);

fn request(reader: &mut BufReader<TcpStream>) -> Option<Head> {
    let mut line = String::new();
    let mut bytes = reader.read_line(&mut line).ok().filter(|read| *read > 0)? as u64;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        bytes += reader.read_line(&mut line).ok().filter(|read| *read > 0)? as u64;
        let line = line.trim_end();
        if line.is_empty() {
            return Some((path, headers, bytes));
        }
        let (key, value) = line.split_once(':')?;
        headers.push((key.to_owned(), value.trim().to_owned()));
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

//! A web server, behind TLS or not, that answers in the way its path says.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::certificate::Certificate;

/// How long a connection may be silent before it is given up.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// Answers until it is dropped: `/hello`, `/echo`, `/redirect?URL`, `/large?BYTES`, `/endless`,
/// `/silent`, `/trickle`.
#[derive(Debug)]
pub struct Secure {
    pub port: u16,
    stop: Arc<AtomicBool>,
    /// The heads of the requests that came, and an empty one for each connection without.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Secure {
    pub fn start(certificate: Option<&Certificate>) -> Self {
        let tls = certificate.map(server_config);
        // All addresses of loopback, so that a test can meet one that no certificate names.
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stopped, noted) = (Arc::clone(&stop), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Relaxed) {
                    return;
                }
                let (tls, noted) = (tls.clone(), Arc::clone(&noted));
                std::thread::spawn(move || drop(serve(stream, tls, &noted)));
            }
        });
        Self { port, stop, seen }
    }

    /// What came since the last call.
    pub fn take_seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // Wakes the accept.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn server_config(certificate: &Certificate) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&certificate.chain).unwrap();
    let chain: Vec<_> = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&certificate.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    seen: &Mutex<Vec<String>>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENT_MAX))?;
    match tls {
        Some(tls) => {
            let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
            answer(StreamOwned::new(connection, stream), seen)
        }
        None => answer(stream, seen),
    }
}

fn answer(stream: impl Read + Write, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        match stream.read_line(&mut head) {
            Ok(1..) => {}
            _ => break,
        }
    }
    seen.lock().unwrap().push(head.clone());
    let target = head.split(' ').nth(1).unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let body = body(&mut stream, &head)?;
    let stream = stream.get_mut();
    let whole = |status: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    match path {
        "/hello" => stream.write_all(&whole("200 OK", b"hello"))?,
        "/echo" => stream.write_all(&whole("200 OK", &body))?,
        "/redirect" => {
            let status = format!("302 Found\r\nlocation: {query}");
            stream.write_all(&whole(&status, b""))?;
        }
        "/large" => stream.write_all(&whole("200 OK", &vec![b'x'; query.parse().unwrap()]))?,
        "/endless" | "/trickle" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            let length = if path == "/trickle" { 10 } else { 10_000 };
            let chunk = format!("{length:x}\r\n{}\r\n", "x".repeat(length));
            loop {
                stream.write_all(chunk.as_bytes())?;
                stream.flush()?;
                if path == "/trickle" {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        "/silent" => std::thread::sleep(SILENT_MAX),
        _ => stream.write_all(&whole("404 Not Found", b""))?,
    }
    stream.flush()
}

/// A body of known length, or in chunks.
fn body(stream: &mut impl io::BufRead, head: &str) -> io::Result<Vec<u8>> {
    let field = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.to_owned())
    };
    let mut body = Vec::new();
    if let Some(length) = field("content-length") {
        body.resize(length.parse().unwrap(), 0);
        stream.read_exact(&mut body)?;
    } else if field("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk)?;
            if length == 0 {
                break;
            }
            chunk.truncate(length);
            body.extend(chunk);
        }
    }
    Ok(body)
}

//! Small servers for tests: one that answers as it is told, and one that speaks S3's protocol.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What to answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Send the body over and over and never say how long it is.
    pub(crate) endless: bool,
    /// Claim this many bytes more than are sent, then hang up.
    pub(crate) missing: usize,
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on a free port of this machine, until the process ends.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let seen = Arc::clone(&requests);
        let handler: Arc<Handler> = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, seen) = (Arc::clone(&handler), Arc::clone(&seen));
                std::thread::spawn(move || {
                    // Whoever hangs up is done.
                    let _ = converse(&stream, &*handler, &seen);
                });
            }
        });
        Self {
            address,
            requests,
            objects: Arc::default(),
        }
    }

    /// A server of the bucket `bucket`, which starts empty.
    pub(crate) fn bucket(bucket: &'static str) -> Self {
        let objects = Arc::<Mutex<BTreeMap<String, Vec<u8>>>>::default();
        let held = Arc::clone(&objects);
        let mut server = Self::start(move |request| {
            let (path, query) = request
                .target
                .split_once('?')
                .unwrap_or((&request.target, ""));
            let Some(key) = path.strip_prefix(&format!("/{bucket}")) else {
                return Reply::new(404, "<Error><Code>NoSuchBucket</Code></Error>");
            };
            let key = decoded(key.trim_start_matches('/'));
            answer(&mut held.lock().unwrap(), &key, query, request)
        });
        server.objects = objects;
        server
    }

    /// Puts an object into a bucket from beside.
    pub(crate) fn put(&self, key: &str, bytes: Vec<u8>) {
        self.objects.lock().unwrap().insert(key.to_owned(), bytes);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

fn answer(
    objects: &mut BTreeMap<String, Vec<u8>>,
    key: &str,
    query: &str,
    request: &Request,
) -> Reply {
    let sum = |bytes: &[u8]| {
        bytes.iter().fold(7_u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
        })
    };
    let tag = |bytes: &[u8]| format!("\"{:x}\"", sum(bytes));
    // What Google calls a generation; none is 0.
    let generation = |bytes: &[u8]| (sum(bytes) | 1).to_string();
    match request.method.as_str() {
        "PUT" => {
            let there = objects.get(key);
            let asked = |name: &str| request.headers.get(name);
            let kept = asked("if-none-match").is_some() && there.is_some()
                || asked("if-match").is_some_and(|it| Some(it) != there.map(|it| tag(it)).as_ref())
                || asked("x-goog-if-generation-match").is_some_and(|it| {
                    *it != there.map_or_else(|| "0".to_owned(), |it| generation(it))
                });
            if kept {
                return Reply::new(412, "<Error><Code>PreconditionFailed</Code></Error>");
            }
            objects.insert(key.to_owned(), request.body.clone());
            Reply::new(200, "").with("etag", tag(&request.body))
        }
        "DELETE" => match objects.remove(key) {
            Some(_) => Reply::new(204, ""),
            None => Reply::new(404, "<Error><Code>NoSuchKey</Code></Error>"),
        },
        _ if query.contains("list-type=2") => listing(objects, query),
        _ => match objects.get(key) {
            None => Reply::new(404, "<Error><Code>NoSuchKey</Code></Error>"),
            Some(bytes) => {
                let tag = tag(bytes);
                if request.headers.get("if-none-match") == Some(&tag) {
                    return Reply::new(304, "").with("etag", tag);
                }
                ranged(bytes, request)
                    .with("etag", tag)
                    .with("x-goog-generation", generation(bytes))
                    .with("last-modified", "Sat, 21 Nov 2026 10:00:00 GMT")
            }
        },
    }
}

/// `text` without its percent-encoding.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn listing(objects: &BTreeMap<String, Vec<u8>>, query: &str) -> Reply {
    let prefix = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("prefix="))
        .map_or_else(String::new, decoded);
    let contents: String = objects
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix))
        .map(|(key, bytes)| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-11-21T10:00:00.000Z</LastModified>\
                 <ETag>\"x\"</ETag><Size>{}</Size></Contents>",
                bytes.len()
            )
        })
        .collect();
    Reply::new(
        200,
        format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"),
    )
}

/// `bytes`, or the part of them that is asked for.
pub(crate) fn ranged(bytes: &[u8], request: &Request) -> Reply {
    let range = request.headers.get("range").and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        let to = to.parse().map_or(bytes.len(), |to: usize| to + 1);
        Some((from.parse::<usize>().ok()?, to.min(bytes.len())))
    });
    match range {
        None => Reply::new(200, bytes),
        Some((from, _)) if from >= bytes.len() => {
            Reply::new(416, "").with("content-range", format!("bytes */{}", bytes.len()))
        }
        Some((from, to)) => Reply::new(206, &bytes[from..to]).with(
            "content-range",
            format!("bytes {from}-{}/{}", to - 1, bytes.len()),
        ),
    }
}

fn converse(
    stream: &TcpStream,
    handler: &Handler,
    seen: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let mut request = Request {
            method: words.next().unwrap_or("").to_owned(),
            target: words.next().unwrap_or("").to_owned(),
            ..Request::default()
        };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                None => break,
                Some((name, value)) => {
                    let name = name.to_ascii_lowercase();
                    request.headers.insert(name, value.trim().to_owned());
                }
            }
        }
        let length = request.headers.get("content-length");
        let length = length.and_then(|text| text.parse().ok()).unwrap_or(0);
        request.body = vec![0; length];
        reader.read_exact(&mut request.body)?;
        seen.lock().unwrap().push(request.clone());
        send(stream, &request, &handler(&request))?;
    }
}

fn send(mut stream: &TcpStream, request: &Request, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Said\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if reply.endless {
        stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
        loop {
            stream.write_all(&reply.body)?;
        }
    }
    let length = reply.body.len() + reply.missing;
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n").as_bytes())?;
    if request.method != "HEAD" {
        stream.write_all(&reply.body)?;
    }
    if reply.missing > 0 {
        return stream.shutdown(std::net::Shutdown::Both);
    }
    Ok(())
}

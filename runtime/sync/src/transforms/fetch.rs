//! Components from elsewhere: fetched once, kept by digest, never used without it.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use galley_node::transform::digest;

use super::loader::read_file;
use crate::error::chain;

/// The longest that a fetch may take.
const FETCH_MAX: Duration = Duration::from_secs(60);
/// The longest that the other side may take to be reached.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// The component at `url`, whose SHA-256 is `expected` (`sha256:` and 64 hexadecimal digits).
pub(super) fn component(
    folder: &Path,
    url: &str,
    expected: &str,
    limit: u64,
) -> Result<Vec<u8>, String> {
    let hex = expected.strip_prefix("sha256:").unwrap_or(expected);
    let is_digest = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_digest {
        return Err(format!(
            "'{expected}' is no digest: sha256: and 64 hexadecimal digits are expected"
        ));
    }
    let hex = hex.to_ascii_lowercase();
    let kept = folder.join(format!("{hex}.wasm"));
    let fits = |bytes: &[u8]| digest(bytes).to_string() == hex;
    if let Ok(bytes) = read_file(&kept, (limit, "trigger"))
        && fits(&bytes)
    {
        return Ok(bytes);
    }
    let bytes = get(url, limit)?;
    if !fits(&bytes) {
        return Err(format!(
            "what {url} holds has the digest sha256:{}, expected sha256:{hex}",
            digest(&bytes)
        ));
    }
    if let Err(error) = keep(folder, &kept, &bytes) {
        tracing::warn!(path = %kept.display(), %error, "fetched component not kept");
    }
    Ok(bytes)
}

fn get(url: &str, limit: u64) -> Result<Vec<u8>, String> {
    let fail = |error: &reqwest::Error| format!("fetch the component {url}: {}", chain(error));
    let client = reqwest::blocking::Client::builder()
        .timeout(FETCH_MAX)
        .connect_timeout(CONNECT_MAX)
        .build()
        .map_err(|error| fail(&error))?;
    let response = client
        .get(url)
        .send()
        .and_then(reqwest::blocking::Response::error_for_status)
        .map_err(|error| fail(&error))?;
    let mut bytes = Vec::new();
    response
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| format!("fetch the component {url}: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!(
            "the component {url} has more than {limit} bytes (max-component)"
        ));
    }
    Ok(bytes)
}

fn keep(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let draft = path.with_extension("new");
    fs::write(&draft, bytes)?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    /// A server that answers `times` requests with `body`.
    fn serve(body: &'static [u8], times: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/c.wasm", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().take(times) {
                let mut stream = stream.unwrap();
                let mut head = [0; 4_096];
                let _ = stream.read(&mut head).unwrap();
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
                )
                .unwrap();
                stream.write_all(body).unwrap();
            }
        });
        url
    }

    #[test]
    fn a_component_is_fetched_once_and_only_with_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let url = serve(b"wasm", 2);
        let right = format!("sha256:{}", digest(b"wasm"));
        let wrong = format!("sha256:{}", digest(b"other"));
        let fetch = |digest: &str, limit| component(folder.path(), &url, digest, limit);
        assert!(fetch(&wrong, 100).unwrap_err().contains(&wrong));
        assert_eq!(fetch(&right, 100).unwrap(), b"wasm");
        // The server is gone now.
        assert_eq!(fetch(&right, 100).unwrap(), b"wasm");
        assert!(fetch(&right, 3).is_err());
        assert!(fetch("sha256:../../etc/passwd", 100).is_err());
    }
}

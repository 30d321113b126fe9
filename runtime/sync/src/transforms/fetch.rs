//! Components from elsewhere: fetched once, kept by digest, never used without it.

use std::fs;
use std::path::Path;

use galley_node::transform::digest;

use super::loader::read_file;
use crate::remote::{RemoteConfig, RemoteError, RemoteFile, shown};

/// The component at `url`, whose SHA-256 is `expected` (`sha256:` and 64 hexadecimal digits).
pub(super) fn component(
    folder: &Path,
    (url, expected, limit): (&str, &str, u64),
    remote: &RemoteConfig,
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
    let bytes = get(url, limit, remote)?;
    if !fits(&bytes) {
        return Err(format!(
            "what {} holds has the digest sha256:{}, expected sha256:{hex}",
            shown(url),
            digest(&bytes)
        ));
    }
    if let Err(error) = keep(folder, &kept, &bytes) {
        tracing::warn!(path = %kept.display(), %error, "fetched component not kept");
    }
    Ok(bytes)
}

fn get(url: &str, limit: u64, remote: &RemoteConfig) -> Result<Vec<u8>, String> {
    let fail = |error: RemoteError| format!("fetch the component: {error}");
    // URLs stand in the manifest: the token is not meant for wherever they point.
    let remote = RemoteConfig {
        token: None,
        identity: None,
        ..remote.clone()
    };
    let file = RemoteFile::open(url, &remote).map_err(fail)?;
    let whole = file.read_whole(None, limit).map_err(fail)?;
    whole
        .map(|whole| whole.bytes)
        .ok_or_else(|| format!("fetch the component: {} has nothing", file.location()))
}

fn keep(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let draft = path.with_extension("new");
    fs::write(&draft, bytes)?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
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
        let fetch = |digest: &str, limit| {
            component(
                folder.path(),
                (&url, digest, limit),
                &RemoteConfig::default(),
            )
        };
        assert!(fetch(&wrong, 100).unwrap_err().contains(&wrong));
        assert_eq!(fetch(&right, 100).unwrap(), b"wasm");
        // The server is gone now.
        assert_eq!(fetch(&right, 100).unwrap(), b"wasm");
        assert!(fetch(&right, 3).is_err());
        assert!(fetch("sha256:../../etc/passwd", 100).is_err());
    }
}

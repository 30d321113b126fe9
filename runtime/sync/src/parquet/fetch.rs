//! Files from elsewhere, on their way to this machine's disk.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::remote::{Ask, Body, Fetched, RemoteError, RemoteErrorKind, RemoteFile};

/// Times a fetch that was cut off is taken up again without a byte won in between, and times it
/// begins anew.
const TRIES_MAX: u32 = 3;
/// Bytes read at a time.
const CHUNK: usize = 128 << 10;

/// What a fetch is for, and what bounds it.
pub(super) struct Purpose<'a> {
    /// The view whose rows are in the file.
    pub(super) view: &'a str,
    /// Bytes of the file at most.
    pub(super) bytes_max: u64,
    /// Asked again and again whether anybody still waits for it.
    pub(super) wanted: &'a mut dyn FnMut() -> Result<()>,
}

/// The rest of `file` that `ask` asks for.
fn body_of(file: &RemoteFile, ask: &Ask) -> std::result::Result<Body, RemoteError> {
    match file.read(ask)? {
        Fetched::Body(body) => Ok(body),
        Fetched::Unchanged => Err(fault(
            file,
            RemoteErrorKind::Invalid,
            "no answer".to_owned(),
        )),
    }
}

/// Fetches `file` into `folder`; it is removed when what is returned is dropped. A fetch that is cut
/// off is taken up where it ended.
///
/// # Errors
/// [`Error::SourceAway`], [`Error::Io`], [`Error::Cancelled`].
pub(super) fn file(
    mut purpose: Purpose<'_>,
    file: &RemoteFile,
    folder: &Path,
) -> Result<NamedTempFile> {
    let io = |source| Error::Io {
        action: "write a fetched file to",
        path: folder.to_owned(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(io)?;
    let mut target = tempfile::Builder::new()
        .prefix("source-")
        .suffix(".parquet")
        .tempfile_in(folder)
        .map_err(io)?;
    let away = |source| Error::SourceAway {
        view: purpose.view.to_owned(),
        source,
    };
    let (mut have, mut tag) = (0_u64, None);
    let (mut tries, mut restarts) = (0, 0);
    loop {
        let before = have;
        let ask = Ask {
            unless: None,
            from: have,
        };
        let failure = match body_of(file, &ask) {
            Err(error) => error,
            Ok(mut body) => {
                // The rest of another object, or one from its beginning, is no rest of this one.
                if body.from != have || (have > 0 && (body.tag.is_none() || body.tag != tag)) {
                    restarts += 1;
                    if restarts > TRIES_MAX {
                        let changes = "it changes while it is read".to_owned();
                        return Err(away(fault(file, RemoteErrorKind::Unreachable, changes)));
                    }
                    (have, tag) = (0, None);
                    target.as_file().set_len(0).map_err(io)?;
                    target.seek(SeekFrom::Start(0)).map_err(io)?;
                    if body.from != 0 {
                        continue;
                    }
                }
                tag = body.tag.take();
                let max = purpose.bytes_max;
                if body.size.is_some_and(|size| size > max) {
                    return Err(away(too_large(file, max)));
                }
                match copy(&mut purpose, &mut body.bytes, &mut target, &mut have).map_err(io)? {
                    Copied::Whole if body.size.is_none_or(|size| size == have) => {
                        target.flush().map_err(io)?;
                        return Ok(target);
                    }
                    Copied::Whole => {
                        fault(file, RemoteErrorKind::Unreachable, "cut off".to_owned())
                    }
                    Copied::Cut(reason) => fault(file, RemoteErrorKind::Unreachable, reason),
                    Copied::TooLarge => return Err(away(too_large(file, max))),
                    Copied::Unwanted(error) => return Err(error),
                }
            }
        };
        tries = if have > before { 0 } else { tries + 1 };
        if failure.kind != RemoteErrorKind::Unreachable || tries >= TRIES_MAX {
            return Err(away(failure));
        }
        tracing::debug!(error = %failure, have, "fetch taken up again");
    }
}

/// How a copy ended, beside an error of this machine's disk.
enum Copied {
    Whole,
    Cut(String),
    TooLarge,
    Unwanted(Error),
}

fn copy(
    purpose: &mut Purpose<'_>,
    from: &mut dyn std::io::Read,
    to: &mut NamedTempFile,
    have: &mut u64,
) -> std::io::Result<Copied> {
    let mut buffer = vec![0_u8; CHUNK];
    loop {
        if let Err(error) = (purpose.wanted)() {
            return Ok(Copied::Unwanted(error));
        }
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(Copied::Whole),
            Ok(length) => length,
            Err(error) => return Ok(Copied::Cut(error.to_string())),
        };
        *have += length as u64;
        if *have > purpose.bytes_max {
            return Ok(Copied::TooLarge);
        }
        to.write_all(buffer.get(..length).unwrap_or_default())?;
    }
}

fn fault(file: &RemoteFile, kind: RemoteErrorKind, detail: String) -> RemoteError {
    RemoteError::new(kind, file.location(), detail)
}

fn too_large(file: &RemoteFile, max: u64) -> RemoteError {
    let detail = format!("more than the {max} bytes of materialize.download_max");
    fault(file, RemoteErrorKind::Invalid, detail)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::remote::RemoteConfig;
    use crate::remote::testing::{Reply, Server, ranged};

    const BYTES: &[u8] = b"0123456789abcdefghij";

    fn fetch(server: &Server, bytes_max: u64) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("{}/x", server.url());
        let remote = RemoteFile::open(&url, &RemoteConfig::default()).unwrap();
        let purpose = Purpose {
            view: "v",
            bytes_max,
            wanted: &mut || Ok(()),
        };
        let fetched = file(purpose, &remote, folder.path())?;
        Ok(std::fs::read(fetched.path()).unwrap())
    }

    /// A server that sends four bytes of what is asked for, then hangs up; the content's tag is
    /// that of `version` and the number of the request.
    fn cutting(version: impl Fn(usize) -> usize + Send + Sync + 'static) -> Server {
        let count = AtomicUsize::new(0);
        Server::start(move |request| {
            let version = version(count.fetch_add(1, Ordering::Relaxed));
            let mut reply = ranged(BYTES, request).with("etag", format!("\"{version}\""));
            if reply.body.len() > 4 {
                reply.missing = reply.body.len() - 4;
                reply.body.truncate(4);
            }
            reply
        })
    }

    #[test]
    fn a_fetch_that_is_cut_off_is_taken_up_where_it_ended() {
        let server = cutting(|_| 1);
        assert_eq!(fetch(&server, 20).unwrap(), BYTES);
        let ranges: Vec<_> = server
            .requests()
            .into_iter()
            .map(|mut request| request.headers.remove("range").unwrap_or_default())
            .collect();
        assert_eq!(
            ranges,
            ["", "bytes=4-", "bytes=8-", "bytes=12-", "bytes=16-"]
        );
    }

    #[test]
    fn parts_of_two_contents_are_never_joined() {
        // It changes once, and then with every request.
        let server = cutting(|request| usize::from(request > 1));
        assert_eq!(fetch(&server, 20).unwrap(), BYTES);
        let server = cutting(|request| request);
        let error = crate::error::chain(&fetch(&server, 20).unwrap_err());
        assert!(error.contains("changes while it is read"), "{error}");
    }

    #[test]
    fn what_is_too_large_or_gone_is_said() {
        let server = Server::start(|_| Reply {
            endless: true,
            ..Reply::new(200, vec![b'x'; 1000])
        });
        let error = crate::error::chain(&fetch(&server, 1 << 20).unwrap_err());
        assert!(error.contains("more than the 1048576 bytes of materialize.download_max"));
        let server = Server::start(|_| Reply::new(404, ""));
        let error = crate::error::chain(&fetch(&server, 20).unwrap_err());
        assert!(
            error.contains("feature view v: read its batch source"),
            "{error}"
        );
        assert_eq!(server.requests().len(), 1);
    }
}

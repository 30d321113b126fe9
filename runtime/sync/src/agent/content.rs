//! Files of a release on this machine: fetched once, known by their digests, resumed where a
//! transfer broke off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};

use super::{AgentError, Stop};
use crate::feed::Content;
use crate::remote::{Ask, Body, Fetched, Remote};

/// Bytes read from a place at a time.
const READ_BYTES: usize = 64 << 10;
/// Tries for one file before a round gives up: each goes on where the one before stopped.
const TRIES_MAX: usize = 4;
/// How often a transfer with a bound on its rate looks at the clock.
const PACE: Duration = Duration::from_millis(20);

/// Where files of releases are kept.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    folder: PathBuf,
    /// Bytes a second at most.
    bandwidth_max: Option<u64>,
    stop: Stop,
}

/// What fetching did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Transfer {
    /// Bytes that came over.
    pub(super) bytes: u64,
}

// === impl Contents ===

impl Contents {
    pub(super) fn new(folder: PathBuf, bandwidth_max: Option<u64>, stop: Stop) -> Self {
        Self {
            folder,
            bandwidth_max,
            stop,
        }
    }

    /// Where the file is once it is here.
    pub(super) fn path(&self, content: &Content) -> PathBuf {
        self.folder.join(name_of(&content.sha256))
    }

    /// The bytes of a file that is here, `None` when it is not or is not what it should be.
    pub(super) fn read(&self, content: &Content) -> Result<Option<Vec<u8>>, AgentError> {
        let path = self.path(content);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file
                .and_then(|file| file.take(content.size + 1).read_to_end(&mut bytes))
                .map_err(|source| AgentError::io("read", &path, source))?,
        };
        let digest = ring::digest::digest(&SHA256, &bytes);
        if digest.as_ref() == content.sha256 {
            return Ok(Some(bytes));
        }
        tracing::warn!(path = %path.display(), "a fetched file is damaged, it is fetched again");
        self.forget(content);
        Ok(None)
    }

    /// Brings a file here whole, proves that it is what was signed, and gives its bytes.
    pub(super) fn fetch(
        &self,
        remote: &dyn Remote,
        content: &Content,
        transfer: &mut Transfer,
    ) -> Result<Vec<u8>, AgentError> {
        if let Some(bytes) = self.read(content)? {
            return Ok(bytes);
        }
        fs::create_dir_all(&self.folder)
            .map_err(|source| AgentError::io("make", &self.folder, source))?;
        let part = self.path(content).with_extension("part");
        let mut last = None;
        for _ in 0..TRIES_MAX {
            match self.transfer(remote, content, &part, transfer) {
                Ok(()) => {
                    let path = self.path(content);
                    fs::rename(&part, &path)
                        .map_err(|source| AgentError::io("rename", &part, source))?;
                    if let Some(bytes) = self.read(content)? {
                        return Ok(bytes);
                    }
                    // What came has the right length and is something else: from the start again.
                    last = Some(AgentError::WrongDigest {
                        path: content.path.clone(),
                    });
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| AgentError::WrongDigest {
            path: content.path.clone(),
        }))
    }

    /// Appends to `part` what is missing of the file.
    fn transfer(
        &self,
        remote: &dyn Remote,
        content: &Content,
        part: &Path,
        transfer: &mut Transfer,
    ) -> Result<(), AgentError> {
        let failed = |source| AgentError::io("write", part, source);
        let mut have = fs::metadata(part).map_or(0, |metadata| metadata.len());
        if have > content.size {
            have = 0;
        }
        if have == content.size && have > 0 {
            return Ok(());
        }
        let ask = Ask {
            unless: None,
            from: have,
        };
        let Fetched::Body(mut body) = remote.read(&content.path, &ask)? else {
            return Err(AgentError::Odd {
                path: content.path.clone(),
                reason: "the place says that it did not change, which was not asked",
            });
        };
        if body.from != have {
            have = 0;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(part)
            .map_err(failed)?;
        file.set_len(have).map_err(failed)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(have)).map_err(failed)?;
        // Not synced: what is read back is proved by its digest.
        self.copy(&mut body, content, (&mut file, have), transfer)
    }

    fn copy(
        &self,
        body: &mut Body,
        content: &Content,
        (file, mut have): (&mut File, u64),
        transfer: &mut Transfer,
    ) -> Result<(), AgentError> {
        let mut buffer = vec![0; READ_BYTES];
        let started = Instant::now();
        let mut came = 0;
        loop {
            // Whatever comes after the signed length is not taken.
            let left = usize::try_from(content.size - have).unwrap_or(usize::MAX);
            let room = buffer.get_mut(..left.min(READ_BYTES)).unwrap_or_default();
            if room.is_empty() {
                return Ok(());
            }
            let read = match body.bytes.read(room) {
                Ok(0) => {
                    return Err(AgentError::Short {
                        path: content.path.clone(),
                        got: have,
                        expected: content.size,
                    });
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(AgentError::Transfer {
                        path: content.path.clone(),
                        source,
                    });
                }
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            came += bytes.len() as u64;
            transfer.bytes += bytes.len() as u64;
            have += bytes.len() as u64;
            file.write_all(bytes)
                .map_err(|source| AgentError::io("write", &self.folder, source))?;
            if let Some(limit) = self.bandwidth_max.filter(|limit| *limit > 0) {
                self.wait_for(limit, came, started);
            }
        }
    }

    /// Sleeps until `bytes` since `started` are no more than `limit` a second, or the round is asked
    /// to end: whoever reads on finds that out.
    fn wait_for(&self, limit: u64, bytes: u64, started: Instant) {
        #[expect(clippy::cast_precision_loss, reason = "a wait, not a sum")]
        let due = Duration::from_secs_f64(bytes as f64 / limit as f64);
        while let Some(left) = due.checked_sub(started.elapsed()) {
            if left.is_zero() || self.stop.check().is_err() {
                return;
            }
            std::thread::sleep(left.min(PACE));
        }
    }

    /// Removes a file and what there is of a broken transfer.
    pub(super) fn forget(&self, content: &Content) {
        let path = self.path(content);
        for path in [path.with_extension("part"), path] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::debug!(path = %path.display(), %error, "file not removed");
            }
        }
    }

    /// Removes every file but those with the digests `keep`, in hexadecimal.
    pub(super) fn prune(&self, keep: &[String]) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let known = name
                .to_str()
                .is_some_and(|name| keep.iter().any(|it| it == name));
            if !known && let Err(error) = fs::remove_file(entry.path()) {
                tracing::debug!(path = %entry.path().display(), %error, "file not removed");
            }
        }
    }
}

/// The name of the file with this digest.
pub(super) fn name_of(sha256: &[u8; 32]) -> String {
    let mut name = String::with_capacity(64);
    for byte in sha256 {
        // Writing to text cannot fail.
        let _ = std::fmt::Write::write_fmt(&mut name, format_args!("{byte:02x}"));
    }
    name
}

/// The SHA-256 of `bytes`.
pub(super) fn digest_of(bytes: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    digest
}

//! A place whose reads end when the agent's round is asked to end, or has looked for too long.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::Stop;
use crate::remote::{Ask, Body, Fetched, Remote, RemoteError, RemoteErrorKind};

/// How long all metadata of one look may take. What a feed says of itself has a few megabytes at
/// most; a place that sends them more slowly than this can withhold what is new without an end.
pub(super) const LOOK_MAX: Duration = Duration::from_mins(15);

/// A place, watched.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    remote: &'a dyn Remote,
    stop: &'a Stop,
    until: Option<Instant>,
}

/// The bytes of an object, watched.
struct WatchedBytes {
    bytes: Box<dyn Read + Send>,
    stop: Stop,
    until: Option<Instant>,
}

// === impl Watched ===

impl<'a> Watched<'a> {
    /// Reads until `stop` says otherwise.
    pub(super) fn new(remote: &'a dyn Remote, stop: &'a Stop) -> Self {
        Self {
            remote,
            stop,
            until: None,
        }
    }

    /// The same for [`LOOK_MAX`] at most, all reads together.
    pub(super) fn looking(remote: &'a dyn Remote, stop: &'a Stop) -> Self {
        Self {
            until: Instant::now().checked_add(LOOK_MAX),
            ..Self::new(remote, stop)
        }
    }
}

impl Remote for Watched<'_> {
    fn read(&self, path: &str, ask: &Ask) -> Result<Fetched, RemoteError> {
        if let Some(reason) = over(self.stop, self.until) {
            let location = format!("{} {path}", self.location());
            return Err(RemoteError::new(
                RemoteErrorKind::Unreachable,
                location,
                reason,
            ));
        }
        Ok(match self.remote.read(path, ask)? {
            Fetched::Unchanged => Fetched::Unchanged,
            Fetched::Body(body) => Fetched::Body(Body {
                bytes: Box::new(WatchedBytes {
                    bytes: body.bytes,
                    stop: self.stop.clone(),
                    until: self.until,
                }),
                ..body
            }),
        })
    }

    fn location(&self) -> String {
        self.remote.location()
    }
}

// === impl WatchedBytes ===

impl Read for WatchedBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match over(&self.stop, self.until) {
            Some(reason) => Err(io::Error::other(reason)),
            None => self.bytes.read(buffer),
        }
    }
}

/// Why reading is over, if it is.
fn over(stop: &Stop, until: Option<Instant>) -> Option<String> {
    if let Err(reason) = stop.check() {
        return Some(reason.to_string());
    }
    let late = until.is_some_and(|until| Instant::now() >= until);
    late.then(|| {
        let seconds = LOOK_MAX.as_secs();
        format!("the metadata of the feed does not come within {seconds} s")
    })
}

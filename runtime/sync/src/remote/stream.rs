//! Asynchronous clients behind blocking calls.

use std::future::Future;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::runtime::{Builder, Runtime};

use super::{RemoteError, RemoteErrorKind};

/// How long a body is waited for, all waits together, before what came of it is looked at.
const SLOW_WINDOW: Duration = Duration::from_secs(30);
/// Bytes that must have come by then. Whoever sends less keeps its reader busy for days with what
/// never falls silent for as long as the time-out of a read.
const SLOW_BYTES_MIN: usize = 8 << 10;

/// A runtime that runs only while somebody waits for it, on that thread.
#[derive(Clone, Debug)]
pub(crate) struct Blocking(Arc<Runtime>);

/// The chunks of a body, one at a time: the next one is asked for when this one is read.
pub(super) struct StreamBody {
    blocking: Blocking,
    chunks: BoxStream<'static, Result<Bytes, String>>,
    chunk: Bytes,
    /// Time waited and bytes that came since the last look at both.
    waited: Duration,
    came: usize,
}

// === impl Blocking ===

impl Blocking {
    pub(crate) fn new(location: &str) -> Result<Self, RemoteError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime
            .map(|runtime| Self(Arc::new(runtime)))
            .map_err(|error| {
                let detail = format!("start a runtime: {error}");
                RemoteError::new(RemoteErrorKind::Unreachable, location, detail)
            })
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}

// === impl StreamBody ===

impl StreamBody {
    pub(super) fn new(
        blocking: Blocking,
        chunks: BoxStream<'static, Result<Bytes, String>>,
    ) -> Self {
        Self {
            blocking,
            chunks,
            chunk: Bytes::new(),
            waited: Duration::ZERO,
            came: 0,
        }
    }

    /// Counts a wait and what it brought.
    fn keeps_up(&mut self, waited: Duration) -> io::Result<()> {
        self.waited = self.waited.saturating_add(waited);
        self.came = self.came.saturating_add(self.chunk.len());
        if self.waited < SLOW_WINDOW {
            return Ok(());
        }
        if self.came < SLOW_BYTES_MIN {
            return Err(io::Error::other(format!(
                "{} bytes came in {} s, at least {SLOW_BYTES_MIN} are expected",
                self.came,
                self.waited.as_secs()
            )));
        }
        (self.waited, self.came) = (Duration::ZERO, 0);
        Ok(())
    }
}

impl Read for StreamBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let began = Instant::now();
            match self.blocking.wait(self.chunks.next()) {
                None => return Ok(0),
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(reason)) => return Err(io::Error::other(reason)),
            }
            self.keeps_up(began.elapsed())?;
        }
        let length = buffer.len().min(self.chunk.len());
        if let Some(taken) = buffer.get_mut(..length) {
            self.chunk.copy_to_slice(taken);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_trickles_is_given_up_and_a_slow_one_is_not() {
        let body = || {
            let chunks = futures_util::stream::empty().boxed();
            StreamBody::new(Blocking::new("x").unwrap(), chunks)
        };
        let wait = Duration::from_secs(10);
        let mut trickle = body();
        trickle.chunk = Bytes::from_static(b"x");
        assert!(trickle.keeps_up(wait).is_ok());
        assert!(trickle.keeps_up(wait).is_ok());
        let error = trickle.keeps_up(wait).unwrap_err();
        assert!(
            error.to_string().starts_with("3 bytes came in 30 s"),
            "{error}"
        );
        let mut slow = body();
        slow.chunk = Bytes::from(vec![0; SLOW_BYTES_MIN / 3 + 1]);
        for _ in 0..100 {
            slow.keeps_up(wait).unwrap();
        }
    }
}

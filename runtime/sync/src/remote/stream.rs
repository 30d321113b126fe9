//! Asynchronous clients behind blocking calls.

use std::future::Future;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::runtime::{Builder, Runtime};

use super::{RemoteError, RemoteErrorKind};

/// A runtime that runs only while somebody waits for it, on that thread.
#[derive(Clone, Debug)]
pub(crate) struct Blocking(Arc<Runtime>);

/// The chunks of a body, one at a time: the next one is asked for when this one is read.
pub(super) struct StreamBody {
    blocking: Blocking,
    chunks: BoxStream<'static, Result<Bytes, String>>,
    chunk: Bytes,
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
        }
    }
}

impl Read for StreamBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.blocking.wait(self.chunks.next()) {
                None => return Ok(0),
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(reason)) => return Err(io::Error::other(reason)),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        if let Some(taken) = buffer.get_mut(..length) {
            self.chunk.copy_to_slice(taken);
        }
        Ok(length)
    }
}

//! Standard output and error of a component: lines in the log, within a bound.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use galley_transform::clip;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

/// Bytes of a line; the rest of it is a line of its own.
const LINE_BYTES_MAX: usize = 1_024;

/// What a request may still log. Shared by its streams.
#[derive(Debug)]
pub(crate) struct LogBudget {
    component: String,
    bytes_left: AtomicUsize,
}

/// Where a stream's lines go.
#[derive(Clone, Debug)]
pub(crate) struct LogStream {
    budget: Arc<LogBudget>,
    is_error: bool,
}

struct LineWriter {
    stream: LogStream,
    line: Vec<u8>,
}

// === impl LogBudget ===

impl LogBudget {
    pub(crate) fn new(component: String, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            component,
            bytes_left: AtomicUsize::new(bytes_max),
        })
    }

    /// Gives the next request its own share.
    pub(crate) fn reset(&self, bytes_max: usize) {
        self.bytes_left.store(bytes_max, Relaxed);
    }

    /// Whether so many bytes more may be logged for the request.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let take = |left: usize| left.checked_sub(bytes.max(1));
        self.bytes_left.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    fn line(&self, text: &[u8], is_error: bool) {
        if !self.take(text.len()) {
            return;
        }
        let line = clip(&String::from_utf8_lossy(text), LINE_BYTES_MAX);
        let component = &self.component;
        if is_error {
            tracing::warn!(component, line, "component says");
        } else {
            tracing::info!(component, line, "component says");
        }
    }
}

// === impl LogStream ===

impl LogStream {
    pub(crate) fn new(budget: &Arc<LogBudget>, is_error: bool) -> Self {
        Self {
            budget: Arc::clone(budget),
            is_error,
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(LineWriter {
            stream: self.clone(),
            line: Vec::new(),
        })
    }
}

// === impl LineWriter ===

impl LineWriter {
    fn end_line(&mut self) {
        if !self.line.is_empty() {
            self.stream.budget.line(&self.line, self.stream.is_error);
            self.line.clear();
        }
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        for byte in bytes {
            if *byte == b'\n' || self.line.len() >= LINE_BYTES_MAX {
                self.end_line();
            }
            if *byte != b'\n' {
                self.line.push(*byte);
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end_line();
        Poll::Ready(Ok(()))
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.end_line();
    }
}

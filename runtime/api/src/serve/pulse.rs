//! What a connection is doing and since when, so that one lazily set timer can watch all its
//! time-outs.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::ApiConfig;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Waiting for a request.
    Idle = 0,
    /// Taking a request's head.
    Head = 1,
    /// Taking a request's body.
    Body = 2,
    /// Working on an answer.
    Work = 3,
    /// Sending an answer.
    Write = 4,
}

/// The state of one connection, shared by its socket, its service and its watch. All three run in
/// one task; the atomics only make that visible to the compiler.
#[derive(Debug)]
pub(crate) struct Pulse {
    origin: Instant,
    /// The phase in the low bits, above them the microseconds from the origin to its begin or its
    /// last progress.
    state: AtomicU64,
    body_since: AtomicU64,
    body_late: AtomicBool,
    body_unread: AtomicBool,
}

/// A socket that tells its pulse.
#[derive(Debug)]
pub(crate) struct Watched {
    stream: TcpStream,
    /// What was read from it before, and is to be read again.
    before: Bytes,
    pulse: Arc<Pulse>,
}

const PHASE_BITS: u32 = 3;
const PHASE_MASK: u64 = (1 << PHASE_BITS) - 1;

// === impl Pulse ===

impl Pulse {
    /// A connection that was accepted at `origin`.
    pub(crate) fn new(origin: Instant) -> Self {
        Self {
            origin,
            state: AtomicU64::new(0),
            body_since: AtomicU64::new(0),
            body_late: AtomicBool::new(false),
            body_unread: AtomicBool::new(false),
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.origin).as_micros();
        u64::try_from(since).unwrap_or(u64::MAX >> PHASE_BITS)
    }

    /// Enters a phase.
    pub(crate) fn enter(&self, phase: Phase, at: Instant) {
        let state = self.micros(at) << PHASE_BITS | u64::from(phase as u8);
        self.state.store(state, Ordering::Relaxed);
    }

    /// Enters [`Phase::Body`].
    pub(crate) fn enter_body(&self, at: Instant) {
        self.body_since.store(self.micros(at), Ordering::Relaxed);
        self.enter(Phase::Body, at);
    }

    /// The phase.
    pub(crate) fn phase(&self) -> Phase {
        match self.state.load(Ordering::Relaxed) & PHASE_MASK {
            1 => Phase::Head,
            2 => Phase::Body,
            3 => Phase::Work,
            4 => Phase::Write,
            _ => Phase::Idle,
        }
    }

    /// When the connection has taken too long, unless something happens before.
    pub(crate) fn deadline(&self, config: &ApiConfig) -> Option<Instant> {
        let since = Duration::from_micros(self.state.load(Ordering::Relaxed) >> PHASE_BITS);
        let wait = match self.phase() {
            Phase::Idle => config.keep_alive_idle,
            Phase::Head => config.header_timeout,
            Phase::Body => {
                let begin = Duration::from_micros(self.body_since.load(Ordering::Relaxed));
                let whole = begin + config.body_timeout;
                return Some(self.origin + whole.min(since + config.body_idle_timeout));
            }
            Phase::Work => return None,
            Phase::Write => config.response_stall_timeout,
        };
        Some(self.origin + since + wait)
    }

    /// Notes that the body took too long; whoever reads it refuses it then.
    pub(crate) fn set_body_late(&self) {
        self.body_late.store(true, Ordering::Relaxed);
    }

    /// Whether the body took too long.
    pub(crate) fn is_body_late(&self) -> bool {
        self.body_late.load(Ordering::Relaxed)
    }

    /// Notes that a request was answered before its body was read.
    pub(crate) fn set_body_unread(&self) {
        self.body_unread.store(true, Ordering::Relaxed);
    }

    /// Whether bytes of a body may still come that nobody wants.
    pub(crate) fn is_body_unread(&self) -> bool {
        self.body_unread.load(Ordering::Relaxed)
    }
}

// === impl Watched ===

impl Watched {
    /// Watches a socket from which `before` was read already.
    pub(crate) fn new(stream: TcpStream, before: Vec<u8>, pulse: Arc<Pulse>) -> Self {
        Self {
            stream,
            before: Bytes::from(before),
            pulse,
        }
    }

    /// The address of the other end.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// The socket.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>, offered: usize) {
        // A write that takes everything needs no clock: the answer is out.
        if let Poll::Ready(Ok(written)) = written
            && *written < offered
        {
            self.pulse.enter(Phase::Write, Instant::now());
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = if self.before.is_empty() {
            Pin::new(&mut self.stream).poll_read(cx, buffer)
        } else {
            let length = self.before.len().min(buffer.remaining());
            buffer.put_slice(&self.before.split_to(length));
            Poll::Ready(Ok(()))
        };
        if read.is_ready() && buffer.filled().len() > before {
            match self.pulse.phase() {
                Phase::Idle => self.pulse.enter(Phase::Head, Instant::now()),
                Phase::Body => self.pulse.enter(Phase::Body, Instant::now()),
                Phase::Head | Phase::Work | Phase::Write => {}
            }
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if self.pulse.phase() == Phase::Write {
            self.wrote(&written, bytes.len());
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if self.pulse.phase() == Phase::Write {
            self.wrote(&written, slices.iter().map(|slice| slice.len()).sum());
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // hyper flushes its socket only when its buffer is empty: the answer is out. The time of
        // the phase stays that of the answer.
        if flushed.is_ready() && self.pulse.phase() == Phase::Write {
            let state = &self.pulse.state;
            let idle = state.load(Ordering::Relaxed) & !PHASE_MASK;
            state.store(idle, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_deadline() {
        let config = ApiConfig::default();
        let origin = Instant::now();
        let pulse = Pulse::new(origin);
        let seconds = Duration::from_secs;
        assert_eq!(pulse.deadline(&config), Some(origin + seconds(30)));
        pulse.enter(Phase::Head, origin + seconds(1));
        assert_eq!(pulse.deadline(&config), Some(origin + seconds(11)));
        pulse.enter_body(origin + seconds(2));
        assert_eq!(pulse.deadline(&config), Some(origin + seconds(12)));
        pulse.enter(Phase::Body, origin + seconds(9));
        assert_eq!(pulse.deadline(&config), Some(origin + seconds(19)));
        pulse.enter(Phase::Body, origin + seconds(31));
        assert_eq!(
            pulse.deadline(&config),
            Some(origin + seconds(32)),
            "the whole body"
        );
        pulse.enter(Phase::Work, origin + seconds(32));
        assert_eq!(pulse.deadline(&config), None);
        pulse.enter(Phase::Write, origin + seconds(33));
        assert_eq!(pulse.deadline(&config), Some(origin + seconds(63)));
    }
}

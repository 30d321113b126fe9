//! One connection from its first byte to its last.

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep_until, timeout};

use super::admission::Seat;
use super::pulse::{Phase, Pulse, Watched};
use crate::ApiConfig;
use crate::service::{Service, answer};

/// Bytes a connection buffers for reading; bodies pass through it.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// How far the timer is set while nothing can be late.
const NOTHING_LATE: Duration = Duration::from_secs(3600);
/// The header fields hyper has room for without an allocation.
const HEADERS_ON_STACK: usize = 100;
/// Bytes read at a time from a peer that is no longer listened to.
const LINGER_BYTES: usize = 16 << 10;

/// Serves requests until the peer goes, something takes too long, or the server drains and the
/// request in flight is answered.
pub(crate) async fn serve(
    stream: TcpStream,
    service: Arc<Service>,
    mut draining: watch::Receiver<bool>,
    seat: Seat,
) {
    let pulse = Arc::new(Pulse::new(Instant::now()));
    let peer = stream.peer_addr().ok();
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&pulse)));
    let handler = {
        let (service, pulse) = (Arc::clone(&service), Arc::clone(&pulse));
        service_fn(move |request| {
            let connection = (Arc::clone(&pulse), peer);
            answer(Arc::clone(&service), connection, request)
        })
    };
    let mut connection = builder(&service.config).serve_connection(io, handler);
    let mut guard = Guard {
        service: &service,
        pulse: &pulse,
        armed: Instant::now() + service.config.keep_alive_idle,
        drain_seen: Drain::Unwatched,
    };
    let mut timer = pin!(sleep_until(guard.armed.into()));
    // An error means that the sender is gone, and with it the server.
    let mut drain = pin!(async move { drop(draining.wait_for(|draining| *draining).await) });
    let ended = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(Some(ended));
            }
            match guard.poll(cx, timer.as_mut(), drain.as_mut()) {
                Event::Nothing => return Poll::Pending,
                Event::Late => return Poll::Ready(None),
                Event::BodyLate => pulse.set_body_late(),
                Event::Drain => Pin::new(&mut connection).graceful_shutdown(),
            }
        }
    })
    .await;
    match ended {
        Some(Ok(())) if pulse.is_body_unread() => {
            let stream = connection.into_parts().io.into_inner().into_stream();
            linger(stream, service.config.linger_timeout).await;
        }
        Some(Ok(())) => {}
        Some(Err(error)) => {
            service.metrics.connections_failed.add(1);
            tracing::debug!(%error, "connection ended");
        }
        None => {
            service.metrics.connections_timed_out.add(1);
            tracing::debug!(phase = ?pulse.phase(), "connection took too long");
        }
    }
    drop(seat);
}

fn builder(config: &ApiConfig) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // The guard watches all times, with one timer.
    builder.header_read_timeout(None);
    // hyper's `pipeline_flush` holds an answer back while there are bytes it has not read yet: a
    // refusal would be lost with the garbage behind it, and half a request would stall the answer
    // to the one before.
    builder.max_buf_size(BUFFER_BYTES_MAX);
    // A peer that has sent all it will send may still wait for its answer.
    builder.half_close(true);
    // A head somewhat over the bounds still gets a JSON answer; what is far over, hyper's own 431.
    let head_bytes_max = config.head_bytes_max + config.target_bytes_max;
    builder.max_header_size((2 * head_bytes_max).min(BUFFER_BYTES_MAX));
    if config.headers_max > HEADERS_ON_STACK {
        builder.max_headers(config.headers_max);
    }
    builder
}

/// What a guard found.
enum Event {
    Nothing,
    /// The connection has to go.
    Late,
    /// The body took too long; the request is answered so.
    BodyLate,
    /// The server stops.
    Drain,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Drain {
    Unwatched,
    Watched,
    Seen,
}

/// Watches a connection's times and the server's end.
struct Guard<'a> {
    service: &'a Service,
    pulse: &'a Pulse,
    /// When the timer fires.
    armed: Instant,
    drain_seen: Drain,
}

// === impl Guard ===

impl Guard<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        timer: Pin<&mut Sleep>,
        drain: Pin<&mut impl Future<Output = ()>>,
    ) -> Event {
        if self.sees_drain(cx, drain) {
            return Event::Drain;
        }
        self.poll_timer(cx, timer)
    }

    /// Registers with the drain once: the task, and so its waker, stays the same.
    fn sees_drain(
        &mut self,
        cx: &mut Context<'_>,
        drain: Pin<&mut impl Future<Output = ()>>,
    ) -> bool {
        let look = match self.drain_seen {
            Drain::Unwatched => true,
            Drain::Watched => self.service.draining.load(Ordering::Acquire),
            Drain::Seen => false,
        };
        if !look {
            return false;
        }
        let seen = drain.poll(cx).is_ready();
        self.drain_seen = if seen { Drain::Seen } else { Drain::Watched };
        seen
    }

    /// The timer is moved forward only when something may be late before it fires; that it fires
    /// too early costs less than setting it for every request.
    fn poll_timer(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Event {
        let deadline = self.pulse.deadline(&self.service.config);
        if let Some(deadline) = deadline
            && deadline < self.armed
        {
            self.armed = deadline;
            timer.as_mut().reset(deadline.into());
        }
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            match self.pulse.deadline(&self.service.config) {
                Some(deadline) if deadline <= now && self.pulse.phase() == Phase::Body => {
                    // The answer to a late body is work, which nothing limits here.
                    self.pulse.enter(Phase::Work, now);
                    self.rearm(timer, now + NOTHING_LATE);
                    return Event::BodyLate;
                }
                Some(deadline) if deadline <= now => return Event::Late,
                Some(deadline) => self.rearm(timer.as_mut(), deadline),
                None => self.rearm(timer.as_mut(), now + NOTHING_LATE),
            }
        }
        Event::Nothing
    }

    fn rearm(&mut self, timer: Pin<&mut Sleep>, at: Instant) {
        self.armed = at;
        timer.reset(at.into());
    }
}

/// Reads on for a while after the last answer: closing a socket with unread bytes resets the
/// connection, and the peer would lose the answer that says why.
async fn linger(stream: TcpStream, patience: Duration) {
    let mut sink = vec![0; LINGER_BYTES];
    let drained = async {
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut sink) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    };
    // Either way the connection ends here.
    let _ = timeout(patience, drained).await;
}

//! One connection from its first byte to its last.

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::mem;
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
use super::direct::{Direct, Outcome};
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
    let armed = Instant::now() + service.config.keep_alive_idle;
    // An error means that the sender is gone, and with it the server.
    let drain = async move { drop(draining.wait_for(|draining| *draining).await) };
    let mut guard = Guard {
        service: &service,
        pulse: &pulse,
        armed,
        timer: pin!(sleep_until(armed.into())),
        drain: pin!(drain),
        drain_seen: Drain::Unwatched,
        is_passed: false,
    };
    let mut direct = Direct::new(&service, &pulse, stream);
    let ended = match poll_fn(|cx| poll_direct(&mut direct, &mut guard, cx)).await {
        Some(Outcome::Ended(ended)) => Some(ended.map_err(|error| error.to_string())),
        Some(Outcome::NotPlain) => {
            let (stream, before) = direct.into_parts();
            let io = Watched::new(stream, before, Arc::clone(&pulse));
            // Most connections never come here, their tasks need no room for it.
            Box::pin(serve_any(io, &mut guard)).await
        }
        None => None,
    };
    match ended {
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

/// Answers plain requests; `None` when the connection took too long.
fn poll_direct<D: Future<Output = ()>>(
    direct: &mut Direct<'_>,
    guard: &mut Guard<'_, D>,
    cx: &mut Context<'_>,
) -> Poll<Option<Outcome>> {
    loop {
        if let Poll::Ready(outcome) = direct.poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        // The next turn comes at once; it is then looked whether anything is late, also if more follow.
        guard.is_passed = direct.takes_held() && !guard.is_passed;
        if guard.is_passed {
            return Poll::Pending;
        }
        match guard.poll(cx) {
            Event::Nothing => return Poll::Pending,
            Event::Late => return Poll::Ready(None),
            Event::BodyLate => {
                // The routes have the answer to that.
                guard.pulse.set_body_late();
                return Poll::Ready(Some(Outcome::NotPlain));
            }
            Event::Drain => {
                if let Some(outcome) = direct.drain() {
                    return Poll::Ready(Some(outcome));
                }
            }
        }
    }
}

/// Answers requests of all kinds; `None` when the connection took too long.
async fn serve_any<D: Future<Output = ()>>(
    io: Watched,
    guard: &mut Guard<'_, D>,
) -> Option<Result<(), String>> {
    let peer = io.peer_addr();
    let (service, pulse) = (guard.service, guard.pulse);
    let handler = service_fn(move |request| {
        let connection = (Arc::clone(pulse), peer);
        answer(Arc::clone(service), connection, request)
    });
    let mut connection = builder(&service.config).serve_connection(TokioIo::new(io), handler);
    // A request that has begun is seen through, so hyper has to have read it before it is told.
    let mut is_to_end = guard.drain_seen == Drain::Seen;
    let ended = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(Some(ended));
            }
            if mem::take(&mut is_to_end) {
                Pin::new(&mut connection).graceful_shutdown();
                continue;
            }
            match guard.poll(cx) {
                Event::Nothing => return Poll::Pending,
                Event::Late => return Poll::Ready(None),
                Event::BodyLate => pulse.set_body_late(),
                Event::Drain => Pin::new(&mut connection).graceful_shutdown(),
            }
        }
    })
    .await;
    if matches!(ended, Some(Ok(()))) && pulse.is_body_unread() {
        let stream = connection.into_parts().io.into_inner().into_stream();
        linger(stream, service.config.linger_timeout).await;
    }
    ended.map(|ended| ended.map_err(|error| error.to_string()))
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

/// Watches a connection's times and the server's end, which `D` waits for.
struct Guard<'a, D> {
    service: &'a Arc<Service>,
    pulse: &'a Arc<Pulse>,
    /// When the timer fires.
    armed: Instant,
    timer: Pin<&'a mut Sleep>,
    drain: Pin<&'a mut D>,
    drain_seen: Drain,
    /// Whether nobody looked the last time.
    is_passed: bool,
}

// === impl Guard ===

impl<D: Future<Output = ()>> Guard<'_, D> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Event {
        if self.sees_drain(cx) {
            return Event::Drain;
        }
        self.poll_timer(cx)
    }

    /// Registers with the drain once: the task, and so its waker, stays the same.
    fn sees_drain(&mut self, cx: &mut Context<'_>) -> bool {
        let look = match self.drain_seen {
            Drain::Unwatched => true,
            Drain::Watched => self.service.draining.load(Ordering::Acquire),
            Drain::Seen => false,
        };
        if !look {
            return false;
        }
        let seen = self.drain.as_mut().poll(cx).is_ready();
        self.drain_seen = if seen { Drain::Seen } else { Drain::Watched };
        seen
    }

    /// The timer is moved forward only when something may be late before it fires; that it fires
    /// too early costs less than setting it for every request.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Event {
        let deadline = self.pulse.deadline(&self.service.config);
        if let Some(deadline) = deadline
            && deadline < self.armed
        {
            self.rearm(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            match self.pulse.deadline(&self.service.config) {
                Some(deadline) if deadline <= now && self.pulse.phase() == Phase::Body => {
                    // The answer to a late body is work, which nothing limits here.
                    self.pulse.enter(Phase::Work, now);
                    self.rearm(now + NOTHING_LATE);
                    return Event::BodyLate;
                }
                Some(deadline) if deadline <= now => return Event::Late,
                Some(deadline) => self.rearm(deadline),
                None => self.rearm(now + NOTHING_LATE),
            }
        }
        Event::Nothing
    }

    fn rearm(&mut self, at: Instant) {
        self.armed = at;
        self.timer.as_mut().reset(at.into());
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

//! Plain look-ups answered between one read and one write of the socket.
//!
//! A connection begins here. As long as its requests are plain ([`super::plain`]) they are answered
//! from the bytes that were read, on the spot or, when they are large or may wait, on the blocking
//! pool. The first that is anything else goes to hyper with the bytes it came in, and the connection
//! stays with hyper from then on.

use std::borrow::Cow;
use std::cell::Cell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::mem;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use hyper::Method;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use super::head::head;
use super::plain::{Beginning, Plain, REQUEST_BYTES_MAX, beginning};
use super::pulse::{Phase, Pulse};
use crate::buffers;
use crate::failure::Failure;
use crate::metrics::Endpoint;
use crate::reply::Reply;
use crate::request_id::RequestId;
use crate::routes::get;
use crate::service::Service;

/// Answers to one connection before others have their turn.
const ANSWERS_AT_ONCE: usize = 16;
/// How long the making of an answer takes that is sent with others: meanwhile the peer has fallen
/// asleep, and waking it costs the processor some 5 us, once for all that are sent together. Shorter
/// ones come fast enough to keep it awake, and after longer ones nobody should wait for another.
const HELD: Range<Duration> = Duration::from_micros(4)..Duration::from_micros(200);
/// Bytes of a body that is copied behind its head: one piece of memory is sent faster than two.
const COPIED_MAX: usize = 16 << 10;

thread_local! {
    /// Where the connections of a thread read into, one at a time.
    static INPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A connection whose requests are plain so far.
pub(super) struct Direct<'s> {
    service: &'s Arc<Service>,
    pulse: &'s Pulse,
    stream: TcpStream,
    /// What was read and is not answered yet: less than the longest plain request and one read.
    pending: Vec<u8>,
    /// Whether that is known to be only the first part of a request.
    is_part: bool,
    state: State,
    /// Whether an answer waits until the connections that are ready have theirs.
    is_held: bool,
    is_last: bool,
}

/// What becomes of a connection.
pub(super) enum Outcome {
    /// It ended.
    Ended(io::Result<()>),
    /// Its next request is none for this.
    NotPlain,
}

enum State {
    Reading,
    /// An answer is made on the blocking pool.
    Working(Working),
    Writing(Unsent),
}

struct Working {
    answer: Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>,
    id: RequestId,
    begin: Instant,
}

/// What is left of an answer.
struct Unsent {
    /// The head, with the body where that is not long, of which some is sent.
    head: Vec<u8>,
    sent: usize,
    body: Bytes,
}

// === impl Direct ===

impl<'s> Direct<'s> {
    /// Takes a new connection.
    pub(super) fn new(service: &'s Arc<Service>, pulse: &'s Pulse, stream: TcpStream) -> Self {
        Self {
            service,
            pulse,
            stream,
            pending: Vec::new(),
            is_part: false,
            state: State::Reading,
            is_held: false,
            is_last: false,
        }
    }

    /// The socket and what was read from it and not answered.
    pub(super) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.pending)
    }

    /// Lets the connection end after the request that is under way.
    ///
    /// Returns what becomes of it when that is settled at once: a part of a request goes to hyper,
    /// which knows how to see it through.
    pub(super) fn drain(&mut self) -> Option<Outcome> {
        self.is_last = true;
        match self.state {
            State::Reading if self.pending.is_empty() => Some(Outcome::Ended(Ok(()))),
            State::Reading => Some(Outcome::NotPlain),
            State::Working(_) | State::Writing(_) => None,
        }
    }

    /// Goes on until there is nothing to read or the peer takes no more.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        for _ in 0..ANSWERS_AT_ONCE {
            if let Some(outcome) = ready!(self.step(cx)) {
                return Poll::Ready(outcome);
            }
            if self.is_held {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether an answer was held that is sent when the connection has its next turn, at once.
    pub(super) fn takes_held(&mut self) -> bool {
        mem::take(&mut self.is_held)
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        match &mut self.state {
            State::Reading => self.read(cx),
            State::Working(working) => {
                let answered = ready!(working.answer.as_mut().poll(cx));
                let (id, begin) = (working.id, working.begin);
                self.answer(cx, answered, &id, begin);
                Poll::Ready(None)
            }
            State::Writing(unsent) => {
                let before = unsent.len();
                let sent = unsent.poll(cx, &mut self.stream);
                if unsent.len() < before {
                    self.pulse.enter(Phase::Write, Instant::now());
                }
                Poll::Ready(match ready!(sent) {
                    Ok(()) => {
                        buffers::give_back(mem::take(&mut unsent.head));
                        self.state = State::Reading;
                        self.pulse.enter(Phase::Idle, Instant::now());
                        self.is_last.then_some(Outcome::Ended(Ok(())))
                    }
                    Err(error) => Some(Outcome::Ended(Err(error))),
                })
            }
        }
    }

    /// Reads once and answers what that completes.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        // Requests that came in one piece are answered one after the other.
        if !self.is_part && !self.pending.is_empty() {
            let pending = mem::take(&mut self.pending);
            return Poll::Ready(self.take(cx, pending.into()));
        }
        let mut input = INPUT.take();
        input.resize(REQUEST_BYTES_MAX, 0);
        let mut buffer = ReadBuf::new(&mut input);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let outcome = match read {
            Poll::Pending => {
                INPUT.set(input);
                return Poll::Pending;
            }
            Poll::Ready(Err(error)) => Some(Outcome::Ended(Err(error))),
            Poll::Ready(Ok(())) => {
                let bytes = buffer.filled();
                if bytes.is_empty() {
                    Some(Outcome::Ended(self.end()))
                } else if self.pending.is_empty() {
                    self.take(cx, bytes.into())
                } else {
                    let mut pending = mem::take(&mut self.pending);
                    pending.extend_from_slice(bytes);
                    self.take(cx, pending.into())
                }
            }
        };
        INPUT.set(input);
        Poll::Ready(outcome)
    }

    /// The peer sends no more.
    fn end(&self) -> io::Result<()> {
        if self.pending.is_empty() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Takes the first request of what has come, and keeps the rest.
    fn take(&mut self, cx: &mut Context<'_>, bytes: Cow<'_, [u8]>) -> Option<Outcome> {
        self.is_part = false;
        match beginning(&bytes, &self.service.config) {
            Beginning::Whole(plain) => {
                self.pending
                    .extend_from_slice(bytes.get(plain.end..).unwrap_or_default());
                self.look_up(cx, &plain);
                None
            }
            Beginning::Part { has_head } => {
                self.pending = bytes.into_owned();
                self.is_part = true;
                self.await_more(has_head);
                None
            }
            Beginning::Other => {
                self.pending = bytes.into_owned();
                Some(Outcome::NotPlain)
            }
        }
    }

    /// Notes what the rest of a request is waited for.
    fn await_more(&self, has_head: bool) {
        let now = Instant::now();
        match (self.pulse.phase(), has_head) {
            (Phase::Body, _) => self.pulse.enter(Phase::Body, now),
            (_, true) => self.pulse.enter_body(now),
            (Phase::Head, false) => {}
            (_, false) => self.pulse.enter(Phase::Head, now),
        }
    }

    fn look_up(&mut self, cx: &mut Context<'_>, plain: &Plain<'_>) {
        let begin = Instant::now();
        let id = self.service.ids.of(plain.id);
        if let Some(answered) = get::at_once(self.service, plain.body) {
            self.answer(cx, answered, &id, begin);
        } else {
            self.pulse.enter(Phase::Work, begin);
            let answer = get::later(Arc::clone(self.service), plain.body.to_vec());
            self.state = State::Working(Working {
                answer: Box::pin(answer),
                id,
                begin,
            });
        }
    }

    /// Counts an answer and sends what the socket takes of it, now or when the connections that are
    /// ready were looked at.
    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        answered: Result<Reply, Failure>,
        id: &RequestId,
        begin: Instant,
    ) {
        let mut reply = answered.unwrap_or_else(Failure::into_reply);
        let asked = (Method::POST.as_str(), Endpoint::Get);
        let (end, took) = self.service.answered(asked, (&reply, id), begin);
        let mut output = buffers::take();
        head(self.service, (&reply, id), (self.is_last, end), &mut output);
        let body = mem::take(&mut reply.body);
        let mut body = if body.len() <= COPIED_MAX {
            output.extend_from_slice(&body);
            buffers::give_back(body);
            Bytes::new()
        } else {
            Bytes::from(body)
        };
        let stream = Pin::new(&mut self.stream);
        self.is_held = HELD.contains(&took);
        let sent = if self.is_held {
            Poll::Pending
        } else if body.is_empty() {
            stream.poll_write(cx, &output)
        } else {
            let slices = [IoSlice::new(&output), IoSlice::new(&body)];
            stream.poll_write_vectored(cx, &slices)
        };
        // What went wrong comes up again with the next try.
        let sent = match sent {
            Poll::Ready(Ok(sent)) => sent,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        let is_sent = sent == output.len() + body.len();
        if is_sent && !self.is_last {
            buffers::give_back(output);
            self.state = State::Reading;
            self.pulse.enter(Phase::Idle, end);
        } else {
            let of_output = sent.min(output.len());
            body.advance(sent - of_output);
            self.state = State::Writing(Unsent {
                head: output,
                sent: of_output,
                body,
            });
            self.pulse.enter(Phase::Write, end);
        }
    }
}

// === impl Unsent ===

impl Unsent {
    fn head(&self) -> &[u8] {
        self.head.get(self.sent..).unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.head().len() + self.body.len()
    }

    fn poll(&mut self, cx: &mut Context<'_>, stream: &mut TcpStream) -> Poll<io::Result<()>> {
        while self.len() > 0 {
            let stream = Pin::new(&mut *stream);
            let written = if self.body.is_empty() {
                ready!(stream.poll_write(cx, self.head()))?
            } else {
                let slices = [IoSlice::new(self.head()), IoSlice::new(&self.body)];
                ready!(stream.poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = written.min(self.head().len());
            self.sent += of_head;
            self.body.advance(written - of_head);
        }
        Poll::Ready(Ok(()))
    }
}

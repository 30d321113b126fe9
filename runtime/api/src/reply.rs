//! An answer before it becomes hyper's response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{HeaderName, HeaderValue};

use tokio::sync::mpsc::Receiver;

use crate::metrics::Shape;
use crate::serve::{Phase, Pulse};

/// What the body of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/json`.
    Json,
    /// The text format of Prometheus or OpenMetrics.
    Metrics,
    /// `text/event-stream`.
    Events,
    /// Nothing.
    Empty,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: StatusCode,
    /// What its body is.
    pub(crate) media: Media,
    /// Its body.
    pub(crate) body: Vec<u8>,
    /// A body that comes bit by bit instead.
    pub(crate) events: Option<Receiver<Bytes>>,
    /// Further header fields.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The stable code of an error.
    pub(crate) code: Option<&'static str>,
    /// The size of a look-up, for the metrics.
    pub(crate) shape: Option<Shape>,
    /// What the log should know and the caller need not.
    pub(crate) cause: Option<String>,
}

/// The body of an answer on its way to the socket.
#[derive(Debug)]
pub(crate) enum Payload {
    /// All of it at once; `None` when it is out.
    Whole(Option<Bytes>),
    /// Bit by bit, until the sender goes. The connection's pulse is told of each, so that a stream
    /// is not taken for a connection on which nothing happens.
    Events(Receiver<Bytes>, Arc<Pulse>),
}

// === impl Reply ===

impl Reply {
    /// A JSON answer.
    pub(crate) fn json(status: StatusCode, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            media: Media::Json,
            body: body.into(),
            events: None,
            headers: Vec::new(),
            code: None,
            shape: None,
            cause: None,
        }
    }

    /// 200 without a body.
    pub(crate) fn empty() -> Self {
        Self {
            media: Media::Empty,
            ..Self::json(StatusCode::OK, Vec::new())
        }
    }

    /// 200 with `null`, which is what FastAPI answers for nothing.
    pub(crate) fn null() -> Self {
        Self::json(StatusCode::OK, Bytes::from_static(b"null"))
    }

    /// Adds a header field; text that no header can hold is left out.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }
}

// === impl Payload ===

impl Payload {
    /// All of a body.
    pub(crate) fn whole(body: Bytes) -> Self {
        Self::Whole(Some(body).filter(|body| !body.is_empty()))
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Events(events, pulse) => {
                let next = events.poll_recv(cx);
                if let Poll::Ready(Some(_)) = &next {
                    pulse.enter(Phase::Write, Instant::now());
                }
                next.map(|next| next.map(|event| Ok(Frame::data(event))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Self::Events(..) => SizeHint::default(),
        }
    }
}

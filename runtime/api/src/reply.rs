//! An answer before it becomes hyper's response.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};

use crate::metrics::Shape;

/// What the body of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/json`.
    Json,
    /// The text format of Prometheus or OpenMetrics.
    Metrics,
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
    pub(crate) body: Bytes,
    /// Further header fields.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The stable code of an error.
    pub(crate) code: Option<&'static str>,
    /// The size of a look-up, for the metrics.
    pub(crate) shape: Option<Shape>,
    /// What the log should know and the caller need not.
    pub(crate) cause: Option<String>,
}

// === impl Reply ===

impl Reply {
    /// A JSON answer.
    pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            media: Media::Json,
            body: body.into(),
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
            ..Self::json(StatusCode::OK, Bytes::new())
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

//! The body of an answer on its way to a guest: piece by piece, within its size and time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::Sleep;
use wasmtime_wasi_http::Error;

/// The task of a connection; ends with the body it brings.
pub(super) struct Connection(pub(super) JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A body within its bounds.
pub(super) struct Arriving {
    body: Incoming,
    bytes_left: u64,
    bytes_max: u64,
    /// When all of it must be here.
    end: Pin<Box<Sleep>>,
    /// How long the other side may be silent, where the guest said so.
    silence: Option<(Duration, Pin<Box<Sleep>>)>,
    _connection: Connection,
}

impl Arriving {
    pub(super) fn new(
        (body, connection): (Incoming, Connection),
        bytes_max: u64,
        deadline: Instant,
        silence_max: Option<Duration>,
    ) -> Self {
        let silence = silence_max.map(|max| (max, Box::pin(tokio::time::sleep(max))));
        Self {
            body,
            bytes_left: bytes_max,
            bytes_max,
            end: Box::pin(tokio::time::sleep_until(deadline.into())),
            silence,
            _connection: connection,
        }
    }

    /// Counts a frame that has come.
    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Error> {
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes)
            .ok_or(Error::HttpResponseBodySize(Some(self.bytes_max)))?;
        if let Some((max, sleep)) = &mut self.silence {
            sleep.as_mut().reset(tokio::time::Instant::now() + *max);
        }
        Ok(frame)
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        // Looked at first, so that a body that always has more ends as well.
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Error::HttpResponseTimeout)));
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(self.take(frame))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Error::Hyper(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match &mut self.silence {
                Some((_, sleep)) => sleep
                    .as_mut()
                    .poll(context)
                    .map(|()| Some(Err(Error::ConnectionReadTimeout))),
                None => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Bodies of requests, within their bounds.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use galley_types::ErrorKind;
use hyper::StatusCode;
use hyper::body::{Body as _, Frame, Incoming};

use super::pulse::{Phase, Pulse};
use crate::ApiConfig;
use crate::failure::Failure;

/// Bodies up to this many bytes are not counted: the bound on connections bounds them.
const UNCOUNTED_BYTES: usize = 64 << 10;

/// Bytes of bodies that all connections hold together.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    held: AtomicUsize,
    limit: usize,
}

/// A body and its share of the budget.
#[derive(Debug)]
pub(crate) struct HeldBody {
    /// The bytes.
    pub(crate) bytes: Bytes,
    _share: Option<Share>,
}

#[derive(Debug)]
struct Share {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

// === impl HeldBody ===

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

// === impl BodyBudget ===

impl BodyBudget {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            limit,
        })
    }
}

// === impl Share ===

impl Share {
    fn of(budget: &Arc<BodyBudget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            bytes: 0,
        }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let held = self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if held.saturating_add(bytes) > self.budget.limit {
            return Err(Failure::refused(
                ErrorKind::Busy,
                "the server holds as many request bodies as it may; try again later",
            ));
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Takes a body whole.
///
/// # Errors
/// 413 by its announced length before a byte is read, or once it has become too long; 408 when it
/// comes too slowly; 503 when too many large bodies are held; 400 when it is cut off.
pub(crate) async fn read(
    incoming: Incoming,
    config: &ApiConfig,
    budget: &Arc<BodyBudget>,
    (pulse, begin): (&Pulse, Instant),
) -> Result<HeldBody, Failure> {
    let limit = config.body_bytes_max;
    let announced = incoming.size_hint().lower();
    if announced > u64::try_from(limit).unwrap_or(u64::MAX) {
        pulse.set_body_unread();
        return Err(too_large(&announced.to_string(), limit));
    }
    pulse.enter_body(begin);
    let taken = collect(incoming, pulse, budget, limit).await;
    match &taken {
        Ok(_) => pulse.enter(Phase::Work, begin),
        Err(_) => pulse.set_body_unread(),
    }
    taken
}

async fn collect(
    mut incoming: Incoming,
    pulse: &Pulse,
    budget: &Arc<BodyBudget>,
    limit: usize,
) -> Result<HeldBody, Failure> {
    let mut first = Bytes::new();
    let mut rest: Vec<u8> = Vec::new();
    let mut share: Option<Share> = None;
    while let Some(chunk) = poll_fn(|cx| poll_chunk(&mut incoming, pulse, cx)).await? {
        let length = first.len() + rest.len() + chunk.len();
        if length > limit {
            return Err(too_large(&format!("at least {length}"), limit));
        }
        if length > UNCOUNTED_BYTES {
            let share = share.get_or_insert_with(|| Share::of(budget));
            share.grow(length - share.bytes)?;
        }
        if first.is_empty() {
            // A body that came in one piece is used where hyper put it.
            first = chunk;
        } else {
            rest.extend_from_slice(&chunk);
        }
    }
    let bytes = if rest.is_empty() {
        first
    } else {
        let mut whole = Vec::with_capacity(first.len() + rest.len());
        whole.extend_from_slice(&first);
        whole.append(&mut rest);
        Bytes::from(whole)
    };
    Ok(HeldBody {
        bytes,
        _share: share,
    })
}

fn poll_chunk(
    incoming: &mut Incoming,
    pulse: &Pulse,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, Failure>> {
    loop {
        if pulse.is_body_late() {
            return Poll::Ready(Err(late()));
        }
        let frame = match Pin::new(&mut *incoming).poll_frame(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(Ok(None)),
            Poll::Ready(Some(frame)) => frame,
        };
        match frame.map(Frame::into_data) {
            Ok(Ok(chunk)) if !chunk.is_empty() => return Poll::Ready(Ok(Some(chunk))),
            // Trailers say nothing that is needed here.
            Ok(_) => {}
            Err(error) => {
                let refusal = Failure::refused(ErrorKind::Invalid, "the request body was cut off");
                return Poll::Ready(Err(refusal.because(error.to_string())));
            }
        }
    }
}

fn too_large(length: &str, limit: usize) -> Failure {
    let message = format!(
        "the request body has {length} bytes, over the limit of {limit} (limits.body_bytes_max); \
         send it in smaller requests"
    );
    Failure::refused(ErrorKind::TooLarge, &message)
}

fn late() -> Failure {
    Failure::detail(
        StatusCode::REQUEST_TIMEOUT,
        "timeout",
        "The request body came too slowly",
    )
}

//! The id that a request and its answer carry.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::{HeaderName, HeaderValue};

/// The field it travels in, both ways.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const BYTES_MAX: usize = 128;

/// One request's id: visible ASCII.
#[derive(Clone, Copy)]
pub(crate) struct RequestId {
    text: [u8; BYTES_MAX],
    length: usize,
}

/// Makes ids for requests that come without one.
#[derive(Debug)]
pub(crate) struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

// === impl RequestId ===

impl RequestId {
    /// The id as it is written.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The id as a header's value.
    pub(crate) fn to_value(self) -> HeaderValue {
        // Visible ASCII is what a value may have.
        HeaderValue::from_bytes(self.as_bytes()).unwrap_or(HeaderValue::from_static("-"))
    }

    fn of(bytes: impl Iterator<Item = u8>) -> Self {
        let mut text = [0; BYTES_MAX];
        let mut length = 0;
        for (place, byte) in text.iter_mut().zip(bytes) {
            *place = byte;
            length += 1;
        }
        Self { text, length }
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl RequestIds ===

impl Default for RequestIds {
    fn default() -> Self {
        Self {
            // Ids of another run of this server should not look the same.
            prefix: format!("{:016x}-", RandomState::new().hash_one(std::process::id())),
            next: AtomicU64::new(1),
        }
    }
}

impl RequestIds {
    /// The id a request came with, if that can be written into a log and a header as it is, else a
    /// new one.
    pub(crate) fn of(&self, given: Option<&[u8]>) -> RequestId {
        let is_sane = |value: &&[u8]| {
            (1..=BYTES_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
        };
        if let Some(given) = given.filter(is_sane) {
            return RequestId::of(given.iter().copied());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut buffer = itoa::Buffer::new();
        RequestId::of(self.prefix.bytes().chain(buffer.format(number).bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_when_sane_and_else_made() {
        let ids = RequestIds::default();
        let id = |value: &str| ids.of(Some(value.as_bytes())).as_str().to_owned();
        assert_eq!(id("abc-1"), "abc-1");
        assert_ne!(id("a b"), "a b");
        assert_ne!(id(&"x".repeat(129)), "x".repeat(129));
        assert_ne!(id(""), id(""));
        let made = ids.of(None);
        assert_eq!(made.to_value(), made.as_str());
        assert!(made.as_str().ends_with("-5"), "the fifth: {made:?}");
    }
}

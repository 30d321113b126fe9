//! The `Idempotency-Key` of a request that starts a job.

use galley_node::Idempotency;
use galley_types::ErrorKind;
use hyper::HeaderMap;
use hyper::header::HeaderName;
use ring::digest::{Context, SHA256};

use crate::failure::Failure;

/// The header field.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key that is taken.
const KEY_BYTES_MAX: usize = 255;

/// The key of a request with what it asks for: `kind` of job and body.
///
/// # Errors
/// 400 for a key that is none.
pub(super) fn key(
    headers: &HeaderMap,
    kind: &str,
    body: &[u8],
) -> Result<Option<Idempotency>, Failure> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let sane = key.to_str().ok().filter(|key| {
        (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    });
    let Some(key) = sane else {
        let message = format!(
            "Idempotency-Key: expected 1 to {KEY_BYTES_MAX} visible ASCII characters such as a UUID"
        );
        return Err(Failure::refused(ErrorKind::Invalid, &message));
    };
    let mut context = Context::new(&SHA256);
    context.update(kind.as_bytes());
    // No kind has it, so kind and body cannot run into each other.
    context.update(b"\n");
    context.update(body);
    let mut fingerprint = [0; 32];
    for (byte, digest) in fingerprint.iter_mut().zip(context.finish().as_ref()) {
        *byte = *digest;
    }
    Ok(Some(Idempotency {
        key: key.to_owned(),
        fingerprint,
    }))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn read(value: &str, kind: &str, body: &str) -> Result<Option<Idempotency>, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(value).unwrap());
        key(&headers, kind, body.as_bytes()).map_err(|failure| failure.status().as_u16())
    }

    #[test]
    fn a_key_stands_for_kind_and_body() {
        let first = read("k-1", "window", "{}").unwrap().unwrap();
        assert_eq!(read("k-1", "window", "{}").unwrap().unwrap(), first);
        for (kind, body) in [("incremental", "{}"), ("window", "{ }")] {
            assert_ne!(read("k-1", kind, body).unwrap().unwrap(), first);
        }
        assert_eq!(key(&HeaderMap::new(), "window", b"{}").unwrap(), None);
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        for bad in ["", "a b", "\u{e9}", &"x".repeat(256)] {
            assert_eq!(read(bad, "window", "{}"), Err(400), "{bad}");
        }
    }
}

//! Parameters in the query.

use std::borrow::Cow;

use galley_node::{Input, WriteMode};

use crate::failure::Failure;
use crate::json::{Detail, Place, lax_bool};

/// The value of a parameter; of a repeated one the last stands, as in FastAPI.
pub(super) fn value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(held, _)| *held == name)
        .map(|(_, value)| decode(value))
        .next_back()
}

/// A truth value, `false` when the parameter is absent.
///
/// # Errors
/// A 422 as FastAPI's.
pub(super) fn flag(query: &str, name: &'static str) -> Result<bool, Failure> {
    let Some(text) = value(query, name) else {
        return Ok(false);
    };
    let input = Input::Text(text);
    lax_bool(&input).map_err(|kind| {
        let place = vec![Place::Name("query".into()), Place::Name(name.into())];
        Failure::validation(&[Detail::new(kind, place, &input)])
    })
}

/// The mode of a write.
///
/// # Errors
/// A 422 for a mode that does not exist.
pub(super) fn mode(query: &str) -> Result<WriteMode, Failure> {
    match value(query, "mode").as_deref() {
        None | Some("sync") => Ok(WriteMode::Sync),
        Some("async") => Ok(WriteMode::Async),
        Some(other) => {
            let place = vec![Place::Name("query".into()), Place::Name("mode".into())];
            let mut detail = Detail::new("literal_error", place, &Input::Text(other.into()));
            detail.message = "Input should be 'sync' or 'async'".into();
            Err(Failure::validation(&[detail]))
        }
    }
}

/// Text without its percent signs; what is not UTF-8 then is shown as such.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let escaped = match (byte, tail.split_first_chunk::<2>()) {
            (b'%', Some(([high, low], after))) => hex(*high)
                .zip(hex(*low))
                .map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        let (decoded, after) = escaped.unwrap_or((if *byte == b'+' { b' ' } else { *byte }, tail));
        bytes.push(decoded);
        rest = after;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_fastapi_reads_them() {
        assert_eq!(value("a=1&b=x%20y+z&a=2", "a").as_deref(), Some("2"));
        assert_eq!(value("a=1&b=x%20y+z", "b").as_deref(), Some("x y z"));
        assert_eq!(value("a", "a"), None);
        assert_eq!(decode("%zz%4"), "%zz%4");
        assert_eq!(decode("%ff"), "\u{fffd}");
        assert!(flag("async=true", "async").unwrap());
        assert!(!flag("", "async").unwrap());
        assert!(flag("async=maybe", "async").is_err());
        assert_eq!(mode("mode=async").unwrap(), WriteMode::Async);
        assert_eq!(mode("mode=soon").unwrap_err().status().as_u16(), 422);
    }
}

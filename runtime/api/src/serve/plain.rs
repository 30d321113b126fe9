//! Plain requests in a connection's bytes: look-ups whose meaning needs nothing but their head and a
//! body of known length.

use hyper::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE};

use crate::ApiConfig;
use crate::request_id::REQUEST_ID;

/// How every plain request begins.
const REQUEST_LINE: &[u8] = b"POST /get-online-features HTTP/1.1\r\n";
/// Bytes of the target in it.
const TARGET_BYTES: usize = 20;
/// Header fields a plain request has at most.
const FIELDS_MAX: usize = 32;
/// Bytes a plain request has at most, with its body.
pub(super) const REQUEST_BYTES_MAX: usize = 64 << 10;

/// What the bytes of a connection begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning<'b> {
    /// A whole plain request.
    Whole(Plain<'b>),
    /// What may become one.
    Part {
        /// Whether only bytes of the body are missing.
        has_head: bool,
    },
    /// Anything else.
    Other,
}

/// A plain request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain<'b> {
    /// The body.
    pub(super) body: &'b [u8],
    /// The id it came with.
    pub(super) id: Option<&'b [u8]>,
    /// Where the request ends, and the next begins.
    pub(super) end: usize,
}

/// Looks at what a connection sent. Whoever sends what is only nearly plain gets the answer that
/// hyper and the routes have for it: this takes nothing that they would refuse.
pub(super) fn beginning<'b>(bytes: &'b [u8], config: &ApiConfig) -> Beginning<'b> {
    let Some(rest) = bytes.strip_prefix(REQUEST_LINE) else {
        return if REQUEST_LINE.starts_with(bytes) {
            Beginning::Part { has_head: false }
        } else {
            Beginning::Other
        };
    };
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let (head, fields) = match httparse::parse_headers(rest, &mut fields) {
        Ok(httparse::Status::Complete((head, fields))) => (REQUEST_LINE.len() + head, fields),
        Ok(httparse::Status::Partial) if bytes.len() <= config.head_bytes_max => {
            return Beginning::Part { has_head: false };
        }
        Ok(httparse::Status::Partial) | Err(_) => return Beginning::Other,
    };
    let Some(framing) = framing(fields) else {
        return Beginning::Other;
    };
    let end = head.saturating_add(framing.content_length);
    let is_within = head <= config.head_bytes_max
        && fields.len() <= config.headers_max
        && TARGET_BYTES <= config.target_bytes_max
        && framing.content_length <= config.body_bytes_max
        && end <= REQUEST_BYTES_MAX;
    if !is_within {
        return Beginning::Other;
    }
    match bytes.get(head..end) {
        Some(body) => Beginning::Whole(Plain {
            body,
            id: framing.id,
            end,
        }),
        None => Beginning::Part { has_head: true },
    }
}

/// The body of the plain request that `bytes` begin with, and where the request ends.
pub(crate) fn request<'b>(bytes: &'b [u8], config: &ApiConfig) -> Option<(&'b [u8], usize)> {
    match beginning(bytes, config) {
        Beginning::Whole(plain) => Some((plain.body, plain.end)),
        Beginning::Part { .. } | Beginning::Other => None,
    }
}

/// What counts of a head.
struct Framing<'b> {
    content_length: usize,
    id: Option<&'b [u8]>,
}

/// Reads the fields that say where a request ends and what happens after it; `None` when they say
/// anything out of the ordinary.
fn framing<'b>(fields: &[httparse::Header<'b>]) -> Option<Framing<'b>> {
    let mut content_length = None;
    let mut id = None;
    for field in fields {
        let is = |name: &hyper::header::HeaderName| field.name.eq_ignore_ascii_case(name.as_str());
        match field.name.len() {
            14 if is(&CONTENT_LENGTH) => {
                if content_length.is_some() {
                    return None;
                }
                content_length = Some(decimal(field.value)?);
            }
            12 if is(&REQUEST_ID) => id = id.or(Some(field.value)),
            10 if is(&CONNECTION) && !field.value.eq_ignore_ascii_case(b"keep-alive") => {
                return None;
            }
            17 if is(&TRANSFER_ENCODING) => return None,
            6 if is(&EXPECT) => return None,
            7 if is(&UPGRADE) => return None,
            _ => {}
        }
    }
    content_length.map(|content_length| Framing { content_length, id })
}

/// A number of at most eight digits and nothing else.
fn decimal(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > 8 {
        return None;
    }
    text.iter().try_fold(0_usize, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + usize::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Beginning<'_> {
        beginning(text.as_bytes(), &ApiConfig::default())
    }

    fn request(fields: &str, body: &str) -> String {
        format!("POST /get-online-features HTTP/1.1\r\n{fields}\r\n{body}")
    }

    #[test]
    fn a_plain_request_is_found_from_its_last_byte_on() {
        let text = request(
            "host: a\r\nX-Request-ID: r-1\r\nContent-Length: 2\r\n",
            "{}",
        );
        let Beginning::Whole(plain) = look(&text) else {
            panic!("{:?}", look(&text));
        };
        assert_eq!(plain.body, b"{}");
        assert_eq!(plain.id, Some(&b"r-1"[..]));
        assert_eq!(plain.end, text.len());
        let head = text.len() - 2;
        for end in 0..text.len() {
            let has_head = end >= head;
            assert_eq!(look(&text[..end]), Beginning::Part { has_head }, "{end}");
        }
        let more = text.clone() + "POST /push";
        let Beginning::Whole(first) = look(&more) else {
            panic!("what follows is none of its");
        };
        assert_eq!(first.body, plain.body);
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_left_to_others() {
        let length = "content-length: 2\r\n";
        for fields in [
            "host: a\r\n".to_owned(),
            format!("{length}content-length: 2\r\n"),
            "content-length: +2\r\n".to_owned(),
            "content-length: 2, 2\r\n".to_owned(),
            "content-length: \r\n".to_owned(),
            "content-length: 999999999999999999999\r\n".to_owned(),
            "content-length: 65536\r\n".to_owned(),
            format!("{length}transfer-encoding: chunked\r\n"),
            format!("{length}connection: close\r\n"),
            format!("{length}connection: keep-alive, upgrade\r\n"),
            format!("{length}expect: 100-continue\r\n"),
            format!("{length}upgrade: h2c\r\n"),
            format!("{length} folded\r\n"),
            format!("{length}a b: c\r\n"),
            format!("{length}a: \u{1}\r\n"),
            format!("{length}{}", "a: b\r\n".repeat(FIELDS_MAX)),
            format!("{length}a: {}\r\n", "b".repeat(16 << 10)),
        ] {
            assert_eq!(look(&request(&fields, "{}")), Beginning::Other, "{fields}");
        }
        for line in [
            "GET /get-online-features HTTP/1.1\r\n",
            "POST /get-online-features HTTP/1.0\r\n",
            "POST /get-online-features?a HTTP/1.1\r\n",
            "POST /get-online-features/ HTTP/1.1\r\n",
            "POST /push HTTP/1.1\r\n",
            "\r\nPOST /get-online-features HTTP/1.1\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            assert_eq!(
                look(&format!("{line}{length}\r\n{{}}")),
                Beginning::Other,
                "{line}"
            );
        }
    }

    #[test]
    fn settings_bound_plain_requests_too() {
        let text = request("content-length: 2\r\n", "{}");
        let check = |change: fn(&mut ApiConfig)| {
            let mut config = ApiConfig::default();
            change(&mut config);
            assert_eq!(beginning(text.as_bytes(), &config), Beginning::Other);
        };
        check(|config| config.body_bytes_max = 1);
        check(|config| config.head_bytes_max = 20);
        check(|config| config.headers_max = 0);
        check(|config| config.target_bytes_max = 19);
    }
}

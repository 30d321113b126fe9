//! A web server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use url::Url;

use super::stream::{Blocking, StreamBody};
use super::{
    Ask, Body, Fetched, Listed, Remote, RemoteConfig, RemoteError, RemoteErrorKind, RemoteStore,
    is_plain, scrub,
};

/// Redirects that are followed, all of them within one origin.
const REDIRECTS_MAX: usize = 5;
/// A time of change that is at least this much older than the answer tells contents apart: HTTP's
/// times are whole seconds.
const SETTLED_SECONDS: i64 = 2;
/// Bytes of a tag: it is kept, and sent with every look.
const TAG_BYTES_MAX: usize = 512;
/// What a tag begins with that is a time of change.
const TIME_TAG: &str = "time:";

/// Objects below a URL. They are read, never put: web servers have no common way for that.
#[derive(Clone, Debug)]
pub struct Web {
    /// Without name, password and fragment; the query goes with every request.
    base: Url,
    authorization: Option<HeaderValue>,
    client: reqwest::Client,
    blocking: Blocking,
}

// === impl Web ===

impl Web {
    /// The server at `url`.
    ///
    /// # Errors
    /// [`RemoteErrorKind::Invalid`].
    pub fn new(url: &Url, config: &RemoteConfig) -> Result<Self, RemoteError> {
        let mut base = url.clone();
        base.set_fragment(None);
        let location = shown(&base);
        let invalid = |detail: &str| RemoteError::new(RemoteErrorKind::Invalid, &location, detail);
        let authorization = match (base.username(), base.password(), &config.token) {
            ("", None, None) => None,
            ("", None, Some(token)) => Some(format!("Bearer {token}")),
            (name, password, _) => {
                let pair = format!("{}:{}", decoded(name), decoded(password.unwrap_or("")));
                Some(format!("Basic {}", STANDARD.encode(pair)))
            }
        };
        let authorization = authorization
            .map(|text| {
                let mut value = HeaderValue::from_str(&text)
                    .map_err(|_| invalid("the token has characters that no header may have"))?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        // They cannot fail for a URL with a host, which those of web servers have.
        let cleared = base.set_username("").and_then(|()| base.set_password(None));
        if cleared.is_err() || base.host().is_none() {
            return Err(invalid("a URL without a host"));
        }
        Ok(Self {
            base,
            authorization,
            client: config.client(same_origin())?,
            blocking: Blocking::new(&location)?,
        })
    }

    /// Reads the URL itself.
    pub(super) fn read_base(&self, ask: &Ask) -> Result<Fetched, RemoteError> {
        self.get(self.base.clone(), ask)
    }

    fn get(&self, url: Url, ask: &Ask) -> Result<Fetched, RemoteError> {
        let location = shown(&url);
        let mut request = self
            .client
            .get(url)
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        match ask
            .unless
            .as_deref()
            .map(|tag| (tag, tag.strip_prefix(TIME_TAG)))
        {
            None => {}
            Some((_, Some(time))) => request = request.header(header::IF_MODIFIED_SINCE, time),
            Some((tag, None)) => request = request.header(header::IF_NONE_MATCH, tag),
        }
        if ask.from > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", ask.from));
        }
        let sent = self.blocking.wait(async move { request.send().await });
        let response = sent.map_err(|error| {
            let kind = if error.is_redirect() || error.is_builder() {
                RemoteErrorKind::Invalid
            } else {
                RemoteErrorKind::Unreachable
            };
            RemoteError::new(kind, &location, reason(error))
        })?;
        self.answer(response, ask, &location)
    }

    fn answer(
        &self,
        response: Response,
        ask: &Ask,
        location: &str,
    ) -> Result<Fetched, RemoteError> {
        let status = response.status();
        let tag = tag_of(response.headers());
        let range = content_range(response.headers());
        let error = |kind, detail: String| Err(RemoteError::new(kind, location, detail));
        let (from, size) = match status {
            StatusCode::NOT_MODIFIED if ask.unless.is_some() => return Ok(Fetched::Unchanged),
            StatusCode::OK => (0, response.content_length()),
            StatusCode::PARTIAL_CONTENT => match range {
                Some((Some(from), size)) if from == ask.from => (from, size),
                _ => {
                    let detail = format!("a part that does not begin at byte {}", ask.from);
                    return error(RemoteErrorKind::Invalid, detail);
                }
            },
            StatusCode::RANGE_NOT_SATISFIABLE if ask.from > 0 => {
                // Nothing lies there: what the reader has is the whole object, or too much.
                return Ok(Fetched::Body(Body {
                    tag,
                    from: ask.from,
                    size: range.and_then(|(_, size)| size),
                    bytes: Box::new(std::io::empty()),
                }));
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return error(RemoteErrorKind::NotFound, format!("answered {status}"));
            }
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                return error(RemoteErrorKind::Denied, format!("answered {status}"));
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                return error(RemoteErrorKind::Unreachable, format!("answered {status}"));
            }
            status if status.is_server_error() => {
                return error(RemoteErrorKind::Unreachable, format!("answered {status}"));
            }
            status => return error(RemoteErrorKind::Invalid, format!("answered {status}")),
        };
        let chunks = response
            .bytes_stream()
            .map(|chunk: reqwest::Result<Bytes>| chunk.map_err(reason));
        Ok(Fetched::Body(Body {
            tag,
            from,
            size,
            bytes: Box::new(StreamBody::new(self.blocking.clone(), chunks.boxed())),
        }))
    }

    fn unsupported(&self, what: &str) -> RemoteError {
        let detail = format!("a web server {what}: give a folder or a bucket");
        RemoteError::new(RemoteErrorKind::Unsupported, self.location(), detail)
    }
}

impl Remote for Web {
    fn read(&self, path: &str, ask: &Ask) -> Result<Fetched, RemoteError> {
        if !is_plain(path) {
            let detail = format!("{path:?} is no path below it");
            return Err(RemoteError::new(
                RemoteErrorKind::Invalid,
                self.location(),
                detail,
            ));
        }
        let mut url = self.base.clone();
        url.set_path(&format!(
            "{}/{path}",
            self.base.path().trim_end_matches('/')
        ));
        self.get(url, ask)
    }

    fn location(&self) -> String {
        shown(&self.base)
    }
}

impl RemoteStore for Web {
    fn put(&self, _: &str, _: &[u8]) -> Result<(), RemoteError> {
        Err(self.unsupported("cannot be written to"))
    }

    fn swap(&self, _: &str, _: &[u8], _: Option<&[u8]>) -> Result<bool, RemoteError> {
        Err(self.unsupported("cannot be written to"))
    }

    fn list(&self, _: &str) -> Result<Vec<Listed>, RemoteError> {
        Err(self.unsupported("has no listing"))
    }

    fn delete(&self, _: &str) -> Result<(), RemoteError> {
        Err(self.unsupported("cannot be written to"))
    }
}

/// Whoever was asked may move an object about on its own place, and nowhere else.
fn same_origin() -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(|attempt| {
        let first = attempt.previous().first().map(Url::origin);
        if first.as_ref() != Some(&attempt.url().origin()) {
            let host = attempt.url().host_str().unwrap_or("nowhere").to_owned();
            attempt.error(format!("redirects to another place ({host})"))
        } else if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error(format!("redirects more than {REDIRECTS_MAX} times"))
        } else {
            attempt.follow()
        }
    })
}

/// The URL without what may be secret.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if url.query().is_some() {
        url.set_query(Some("..."));
    }
    url.to_string()
}

fn decoded(text: &str) -> String {
    // What was percent-encoded for the URL is sent as it is.
    let pair = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

fn reason(error: reqwest::Error) -> String {
    scrub(&crate::error::chain(&error.without_url()))
}

/// What tells this content from another: the entity tag, else a time of change that is past.
fn tag_of(headers: &HeaderMap) -> Option<String> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if let Some(tag) = text(header::ETAG) {
        return (tag.len() <= TAG_BYTES_MAX).then(|| tag.to_owned());
    }
    let time = |text: &str| -> Option<Timestamp> {
        rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
    };
    let changed = text(header::LAST_MODIFIED)?;
    let answered = text(header::DATE)?;
    let age = time(answered)?.as_second() - time(changed)?.as_second();
    (age >= SETTLED_SECONDS).then(|| format!("{TIME_TAG}{changed}"))
}

/// The first byte and the whole size of `Content-Range: bytes 2-9/10` or `bytes */10`.
fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let from = range
        .split_once('-')
        .and_then(|(from, _)| from.parse().ok());
    Some((from, size.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_too_long_to_be_sent_with_every_look_is_none() {
        let tag = |bytes: usize| {
            let mut headers = HeaderMap::new();
            let text = format!("\"{}\"", "e".repeat(bytes));
            headers.insert(header::ETAG, HeaderValue::from_str(&text).unwrap());
            tag_of(&headers)
        };
        assert!(tag(64).is_some());
        assert_eq!(tag(TAG_BYTES_MAX), None);
    }
}

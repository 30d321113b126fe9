//! Refusals, in the three shapes that Feast's clients know.

use std::error::Error as StdError;
use std::fmt::Write as _;

use galley_types::{Classify, ErrorKind};
use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderName, LOCATION};

use crate::json::{Detail, JsonError, Place, write_ascii_string, write_string};
use crate::reply::Reply;
use crate::status;

/// The class of refusals that no other class of `feast.errors` fits.
const FEAST_ERROR: &str = "FeastError";
/// What a caller is told of a bug of ours.
const INTERNAL: &str = "the server failed to answer; its log has the reason under this request id";

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(crate) struct Failure(Box<Reply>);

// === impl Failure ===

impl Failure {
    /// The refusal of an error of the node.
    pub(crate) fn of<E: Classify + StdError>(error: &E) -> Self {
        let kind = error.kind();
        let message = match kind {
            ErrorKind::Internal => INTERNAL.to_owned(),
            _ => error.to_string(),
        };
        let class = error.feast_class();
        let mut failure = Self::feast(
            status::of(kind, class),
            status::code(kind),
            class.unwrap_or(FEAST_ERROR),
            &message,
        );
        failure.0.cause = Some(chain(error));
        failure
    }

    /// A refusal of the front door itself.
    pub(crate) fn refused(kind: ErrorKind, message: &str) -> Self {
        Self::feast(
            status::of(kind, None),
            status::code(kind),
            FEAST_ERROR,
            message,
        )
    }

    /// Feast's double encoding: a JSON string that holds JSON, which its client parses twice to
    /// raise the named class of `feast.errors`.
    pub(crate) fn feast(
        status: StatusCode,
        code: &'static str,
        class: &str,
        message: &str,
    ) -> Self {
        let mut inner = Vec::with_capacity(96 + message.len());
        inner.extend_from_slice(b"{\"module\": \"feast.errors\", \"class\": ");
        write_ascii_string(class, &mut inner);
        inner.extend_from_slice(b", \"message\": ");
        write_ascii_string(message, &mut inner);
        inner.push(b'}');
        let mut body = Vec::with_capacity(inner.len() + 32);
        write_string(&String::from_utf8_lossy(&inner), &mut body);
        Self::json(status, code, body)
    }

    /// FastAPI's `{"detail":"..."}`.
    pub(crate) fn detail(status: StatusCode, code: &'static str, detail: &str) -> Self {
        let mut body = b"{\"detail\":".to_vec();
        write_string(detail, &mut body);
        body.push(b'}');
        Self::json(status, code, body)
    }

    /// A refusal with a body of its own.
    pub(crate) fn json(status: StatusCode, code: &'static str, body: Vec<u8>) -> Self {
        let mut reply = Reply::json(status, body);
        reply.code = Some(code);
        Self(Box::new(reply))
    }

    /// FastAPI's 422.
    pub(crate) fn validation(details: &[Detail<'_>]) -> Self {
        let mut body = b"{\"detail\":[".to_vec();
        for (index, detail) in details.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            detail.write(&mut body);
        }
        body.extend_from_slice(b"]}");
        Self::json(StatusCode::UNPROCESSABLE_ENTITY, "validation", body)
    }

    /// The 422 of a body that is empty or `null`.
    pub(crate) fn body_missing() -> Self {
        let place = vec![Place::Name("body".into())];
        Self::validation(&[Detail::new("missing", place, &galley_node::Input::Null)])
    }

    /// The 422 of a body that is not JSON.
    pub(crate) fn json_invalid(error: &JsonError) -> Self {
        let place = vec![Place::Name("body".into()), Place::Index(error.position)];
        let nothing = galley_node::Input::Object(Vec::new());
        let mut detail = Detail::new("json_invalid", place, &nothing);
        detail.context = Some(error.reason);
        Self::validation(&[detail])
    }

    /// 404.
    pub(crate) fn not_found() -> Self {
        Self::detail(StatusCode::NOT_FOUND, "no_route", "Not Found")
    }

    /// Whether this is [`Failure::not_found`].
    pub(crate) fn is_no_route(&self) -> bool {
        self.0.code == Some("no_route")
    }

    /// 405 with the methods that are allowed.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::detail(status, "no_method", "Method Not Allowed").with_header(ALLOW, allow)
    }

    /// 307 to the same path without its trailing slash.
    pub(crate) fn redirect(location: &str) -> Self {
        let mut reply = Reply::empty();
        reply.status = StatusCode::TEMPORARY_REDIRECT;
        Self(Box::new(reply.with(LOCATION, location)))
    }

    /// Adds a header field.
    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        self.0.headers.retain(|(held, _)| *held != name);
        Self(Box::new(self.0.with(name, value)))
    }

    /// Adds what only the log should know.
    pub(crate) fn because(mut self, cause: String) -> Self {
        self.0.cause = Some(cause);
        self
    }

    /// The answer.
    pub(crate) fn into_reply(self) -> Reply {
        *self.0
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    #[cfg(test)]
    pub(crate) fn body(&self) -> &[u8] {
        &self.0.body
    }
}

/// An error with its sources.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string does not fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feast_errors_are_json_in_a_json_string() {
        let failure = Failure::feast(
            StatusCode::NOT_FOUND,
            "not_found",
            "FeatureViewNotFoundException",
            "Feature view n\u{fc}\"x does not exist in project rides",
        );
        assert_eq!(
            std::str::from_utf8(failure.body()).unwrap(),
            r#""{\"module\": \"feast.errors\", \"class\": \"FeatureViewNotFoundException\", \"message\": \"Feature view n\\u00fc\\\"x does not exist in project rides\"}""#
        );
        let inner: String = serde_json::from_slice(failure.body()).unwrap();
        let inner: serde_json::Value = serde_json::from_str(&inner).unwrap();
        assert_eq!(
            inner["message"],
            "Feature view n\u{fc}\"x does not exist in project rides"
        );
    }

    #[test]
    fn bugs_are_told_to_the_log_only() {
        #[derive(Debug, thiserror::Error)]
        #[error("secret path /x")]
        struct Bug;
        impl Classify for Bug {
            fn kind(&self) -> ErrorKind {
                ErrorKind::Internal
            }
        }
        let failure = Failure::of(&Bug);
        assert_eq!(failure.status().as_u16(), 500);
        assert!(!String::from_utf8_lossy(failure.body()).contains("secret"));
        assert_eq!(failure.0.cause.as_deref(), Some("secret path /x"));
    }

    #[test]
    fn redirects_and_wrong_methods_say_where_to_go() {
        let reply = Failure::redirect("/push").into_reply();
        assert_eq!((reply.status.as_u16(), reply.body.len()), (307, 0));
        assert_eq!(reply.headers[0].1, "/push");
        let reply = Failure::method_not_allowed("POST").into_reply();
        assert_eq!(&reply.body[..], br#"{"detail":"Method Not Allowed"}"#);
        assert_eq!(reply.headers[0].1, "POST");
    }
}

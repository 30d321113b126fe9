//! Heads of answers that are written without hyper.

use std::cell::RefCell;
use std::time::{Duration, Instant, UNIX_EPOCH};

use galley_types::{Clock as _, SystemClock};
use hyper::StatusCode;

use crate::reply::Reply;
use crate::request_id::RequestId;
use crate::service::Service;

/// From the epoch to the last year that the field can tell.
const YEAR_9999: Duration = Duration::from_secs(253_370_764_800);

/// The text of the `date` field, made once a second.
#[derive(Debug)]
struct Date {
    text: String,
    /// When it is no longer true.
    until: Option<Instant>,
}

thread_local! {
    static DATE: RefCell<Date> = const { RefCell::new(Date { text: String::new(), until: None }) };
}

/// Writes the head of an answer that is sent at `now`.
pub(super) fn head(
    service: &Service,
    (reply, id): (&Reply, &RequestId),
    (is_last, now): (bool, Instant),
    out: &mut Vec<u8>,
) {
    if reply.status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(reply.status.as_str().as_bytes());
        out.push(b' ');
        let reason = reply.status.canonical_reason().unwrap_or_default();
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    service.fields(reply, id, |name, value| {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    });
    if is_last {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(reply.body.len()).as_bytes());
    out.extend_from_slice(b"\r\ndate: ");
    DATE.with_borrow_mut(|date| out.extend_from_slice(date.at(now).as_bytes()));
    out.extend_from_slice(b"\r\n\r\n");
}

// === impl Date ===

impl Date {
    fn at(&mut self, now: Instant) -> &str {
        if self.until.is_none_or(|until| now >= until) {
            let micros = u64::try_from(SystemClock.now().0).unwrap_or_default();
            let since = Duration::from_micros(micros).min(YEAR_9999);
            let into_second = Duration::from_nanos(since.subsec_nanos().into());
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + since);
            self.until = Some(now + Duration::from_secs(1).saturating_sub(into_second));
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::failure::Failure;
    use crate::{ApiConfig, ServerInfo};

    fn text(reply: &Reply, is_last: bool) -> String {
        let info = ServerInfo {
            version: "0".to_owned(),
        };
        let service = Service::new(ApiConfig::default(), Arc::default(), info, 1);
        let id = service.ids.of(Some(b"r-1"));
        let mut bytes = Vec::new();
        head(
            &service,
            (reply, &id),
            (is_last, Instant::now()),
            &mut bytes,
        );
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_head_says_what_hyper_would() {
        let reply = Reply::json(StatusCode::OK, &b"{}"[..]);
        let head = text(&reply, false);
        let (head, date) = head.split_once("date: ").unwrap();
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: r-1\r\n\
             content-length: 2\r\n"
        );
        let date = date.strip_suffix("\r\n\r\n").unwrap();
        let sent = httpdate::parse_http_date(date).unwrap();
        assert!(sent.elapsed().unwrap() < Duration::from_secs(5));
        assert!(text(&reply, true).contains("\r\nconnection: close\r\n"));
    }

    #[test]
    fn refusals_keep_their_code_and_when_to_come_again() {
        let refused = Failure::refused(galley_types::ErrorKind::Busy, "busy").into_reply();
        let head = text(&refused, false);
        assert!(
            head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nx-galley-error: busy\r\n"), "{head}");
        assert!(head.contains("\r\nretry-after: 1\r\n"), "{head}");
    }

    #[test]
    fn the_date_moves_on_with_the_second() {
        let mut date = Date {
            text: String::new(),
            until: None,
        };
        let now = Instant::now();
        date.at(now);
        date.text = "old".to_owned();
        assert_eq!(date.at(now), "old");
        assert_ne!(date.at(now + Duration::from_secs(1)), "old");
    }
}

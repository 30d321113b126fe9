//! The one place where kinds of errors become HTTP statuses.

use galley_types::ErrorKind;
use hyper::StatusCode;

/// Feast answers this class with 422, whatever else a missing name gets.
const PUSH_SOURCE_NOT_FOUND: &str = "PushSourceNotFoundException";

/// The status of an error. Feast's client repeats a POST that was answered 500, 502, 503, 504 or
/// 429, so a caller's mistake is never one of these.
#[deny(clippy::wildcard_enum_match_arm)]
pub(crate) fn of(kind: ErrorKind, feast_class: Option<&str>) -> StatusCode {
    if feast_class == Some(PUSH_SOURCE_NOT_FOUND) {
        return StatusCode::UNPROCESSABLE_ENTITY;
    }
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::Closed => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The stable code of a kind, as `x-galley-error` carries it.
#[deny(clippy::wildcard_enum_match_arm)]
pub(crate) fn code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::TooLarge => "too_large",
        ErrorKind::Busy => "busy",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::StorageFull => "storage_full",
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::Closed => "closed",
        ErrorKind::Internal => "internal",
    }
}

/// Whether an answer of this status should say when to come back.
pub(crate) fn is_worth_a_retry(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status_and_code() {
        let table = [
            (ErrorKind::Invalid, 400, "invalid", false),
            (ErrorKind::NotFound, 404, "not_found", false),
            (ErrorKind::Unsupported, 501, "unsupported", false),
            (ErrorKind::TooLarge, 413, "too_large", false),
            (ErrorKind::Busy, 503, "busy", true),
            (ErrorKind::Conflict, 409, "conflict", false),
            (ErrorKind::Unavailable, 503, "unavailable", true),
            (ErrorKind::StorageFull, 507, "storage_full", false),
            (ErrorKind::Corrupt, 500, "corrupt", false),
            (ErrorKind::Closed, 503, "closed", true),
            (ErrorKind::Internal, 500, "internal", false),
        ];
        for (kind, status, name, retry) in table {
            assert_eq!(of(kind, None).as_u16(), status, "{kind:?}");
            assert_eq!(code(kind), name, "{kind:?}");
            assert_eq!(is_worth_a_retry(of(kind, None)), retry, "{kind:?}");
        }
    }

    #[test]
    fn an_unknown_push_source_is_422_as_in_feast() {
        let status = of(ErrorKind::NotFound, Some("PushSourceNotFoundException"));
        assert_eq!(status.as_u16(), 422);
        let status = of(ErrorKind::NotFound, Some("FeatureViewNotFoundException"));
        assert_eq!(status.as_u16(), 404);
    }
}

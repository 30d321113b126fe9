//! Why a body is not JSON, in the words FastAPI answers with.

use super::input::{TOO_DEEP, TOO_MANY};

/// The place and reason of a syntax error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonError {
    /// Characters before the place, as Python counts them.
    pub(crate) position: usize,
    /// What Python's `json` says of it.
    pub(crate) reason: Reason,
}

/// What is wrong at the place.
pub(crate) type Reason = &'static str;

impl JsonError {
    /// The error of `serde_json` seen from the body it was found in.
    pub(super) fn of(error: &serde_json::Error, body: &[u8]) -> Self {
        let line_start = match error.line() {
            0 | 1 => 0,
            line => body
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == b'\n')
                .nth(line - 2)
                .map_or(0, |(index, _)| index + 1),
        };
        // A column counts the byte that was refused; at the end of the body there is none.
        let refused = usize::from(!error.is_eof());
        let offset = (line_start + error.column()).saturating_sub(refused);
        let before = body.get(..offset).unwrap_or(body);
        Self {
            position: String::from_utf8_lossy(before).chars().count(),
            reason: reason(&error.to_string()),
        }
    }
}

/// `serde_json` gives its reasons as text alone; this is the one place that reads it, and a test
/// holds it to the version in use.
fn reason(text: &str) -> Reason {
    const REASONS: [(&str, Reason); 17] = [
        (TOO_MANY, TOO_MANY),
        (TOO_DEEP, TOO_DEEP),
        ("recursion limit", TOO_DEEP),
        ("key must be a string", PROPERTY_NAME),
        ("EOF while parsing an object", PROPERTY_NAME),
        ("trailing comma", "Illegal trailing comma"),
        ("expected `:`", "Expecting ':' delimiter"),
        ("expected `,`", "Expecting ',' delimiter"),
        ("trailing characters", "Extra data"),
        ("EOF while parsing a string", "Unterminated string"),
        ("control character", "Invalid control character"),
        ("invalid escape", "Invalid \\escape"),
        ("hex escape", "Invalid \\uXXXX escape"),
        ("surrogate", "Invalid \\uXXXX escape"),
        ("unicode code point", "Invalid UTF-8"),
        ("number out of range", "Number out of range"),
        ("invalid number", "Invalid number"),
    ];
    const PROPERTY_NAME: Reason = "Expecting property name enclosed in double quotes";
    REASONS
        .iter()
        .find(|(found, _)| text.contains(found))
        .map_or("Expecting value", |(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::super::{Spare, parse_tree};

    #[test]
    fn errors_name_the_place_as_python_does() {
        let check = |body: &[u8], position, reason: &str| {
            let spare = Spare::default();
            let error = parse_tree(body, &spare).unwrap_err();
            assert_eq!(
                (error.position, error.reason),
                (position, reason),
                "{body:?}"
            );
        };
        let name = "Expecting property name enclosed in double quotes";
        check(b"{not json", 1, name);
        check(b"{", 1, name);
        check(b"[1 2]", 3, "Expecting ',' delimiter");
        check(b"{\"a\" 1}", 5, "Expecting ':' delimiter");
        check(b"1 1", 2, "Extra data");
        check(b"[\n\nx]", 3, "Expecting value");
        check("[\"\u{fc}\", x]".as_bytes(), 6, "Expecting value");
        check(b"\"ab", 3, "Unterminated string");
        check(b"\"\xff\"", 1, "Invalid UTF-8");
        check(b"[1,]", 3, "Illegal trailing comma");
        check(b"\"\\x\"", 2, "Invalid \\escape");
        check(b"1e999", 4, "Number out of range");
    }
}

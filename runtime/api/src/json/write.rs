//! Strings and echoed input as JSON text.

use galley_node::Input;

/// For each byte: 0 where it stands as it is, `u` for `\u00xx`, else the letter after the backslash.
const ESCAPES: [u8; 256] = {
    let mut table = [0_u8; 256];
    let mut byte = 0;
    while byte < 0x20 {
        // Indexing a constant table in a constant: an overrun would not compile.
        *at(&mut table, byte) = b'u';
        byte += 1;
    }
    *at(&mut table, 0x08) = b'b';
    *at(&mut table, 0x09) = b't';
    *at(&mut table, 0x0a) = b'n';
    *at(&mut table, 0x0c) = b'f';
    *at(&mut table, 0x0d) = b'r';
    *at(&mut table, b'"' as usize) = b'"';
    *at(&mut table, b'\\' as usize) = b'\\';
    table
};

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated at compile time, where an overrun is an error"
)]
const fn at(table: &mut [u8; 256], byte: usize) -> &mut u8 {
    &mut table[byte]
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as a JSON string in raw UTF-8, as Feast's server writes it.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some((plain, escape, tail)) = next_escape(rest) {
        out.extend_from_slice(plain);
        write_escape(escape, out);
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// The bytes before the first that needs an escape, that byte, and what follows.
#[inline]
fn next_escape(bytes: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let position = bytes.iter().position(|byte| {
        ESCAPES
            .get(usize::from(*byte))
            .is_some_and(|kind| *kind != 0)
    })?;
    let (plain, rest) = bytes.split_at_checked(position)?;
    let (escape, tail) = rest.split_first()?;
    Some((plain, *escape, tail))
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    match ESCAPES.get(usize::from(byte)) {
        Some(b'u') | None => write_code_unit(u16::from(byte), out),
        Some(letter) => out.extend_from_slice(&[b'\\', *letter]),
    }
}

fn write_code_unit(unit: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        let digit = usize::from(unit >> shift & 0xf);
        out.push(HEX.get(digit).copied().unwrap_or(b'0'));
    }
}

/// Appends `text` as a JSON string of ASCII alone, as Python's `json.dumps` writes it.
pub(crate) fn write_ascii_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut units = [0_u16; 2];
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(byte) if byte.is_ascii() => match ESCAPES.get(usize::from(byte)) {
                Some(0) => out.push(byte),
                _ => write_escape(byte, out),
            },
            _ => {
                for unit in character.encode_utf16(&mut units) {
                    write_code_unit(*unit, out);
                }
            }
        }
    }
    out.push(b'"');
}

/// Appends `input` as JSON. Numbers that JSON has no text for become null, as in pydantic's
/// answers.
pub(crate) fn write_input(input: &Input<'_>, out: &mut Vec<u8>) {
    match input {
        Input::Null => out.extend_from_slice(b"null"),
        Input::Bool(true) => out.extend_from_slice(b"true"),
        Input::Bool(false) => out.extend_from_slice(b"false"),
        Input::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
        Input::UInt(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
        Input::Float(value) if value.is_finite() => {
            out.extend_from_slice(zmij::Buffer::new().format_finite(*value).as_bytes());
        }
        Input::Float(_) => out.extend_from_slice(b"null"),
        Input::Text(text) => write_string(text, out),
        Input::List(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_input(item, out);
            }
            out.push(b']');
        }
        Input::Object(entries) => write_object(entries, out),
    }
}

fn write_object(entries: &[(std::borrow::Cow<'_, str>, Input<'_>)], out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        write_input(value, out);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, raw: &str, ascii: &str) {
        let mut out = Vec::new();
        write_string(text, &mut out);
        assert_eq!(String::from_utf8(out.clone()).unwrap(), raw);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        out.clear();
        write_ascii_string(text, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), ascii);
    }

    #[test]
    fn strings_are_escaped_as_each_reader_expects() {
        check("plain", "\"plain\"", "\"plain\"");
        check("", "\"\"", "\"\"");
        check(
            "a\"b\\c\n\u{1}",
            r#""a\"b\\c\n\u0001""#,
            r#""a\"b\\c\n\u0001""#,
        );
        check(
            "n\u{fc}\u{1f600}",
            "\"n\u{fc}\u{1f600}\"",
            r#""n\u00fc\ud83d\ude00""#,
        );
        check("\u{7f}", "\"\u{7f}\"", "\"\u{7f}\"");
    }

    #[test]
    fn input_is_echoed_in_its_order() {
        let input = Input::Object(vec![
            (
                "z".into(),
                Input::List(vec![Input::Null, Input::Bool(true), Input::Float(f64::NAN)]),
            ),
            ("a".into(), Input::UInt(u64::MAX)),
            ("f".into(), Input::Float(1.0)),
        ]);
        let mut out = Vec::new();
        write_input(&input, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"z":[null,true,null],"a":18446744073709551615,"f":1.0}"#
        );
    }
}

//! Canonical JSON: the bytes that signatures are over.
//!
//! Keys sorted, no white space, only `\` and `"` escaped, whole numbers only; what
//! The Update Framework's other implementations sign and verify.

use serde_json::Value;

/// The canonical bytes of `value`.
///
/// # Errors
/// What has no canonical form: a number that is not whole.
pub(super) fn canonical(value: &Value) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    write(value, &mut out)?;
    Ok(out)
}

/// The parser bounds how deeply a value from outside is nested, and so this recursion.
fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) if number.is_f64() => {
            return Err(format!("the number {number} is not whole"));
        }
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            // The order of UTF-8 bytes is that of code points.
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                write(item, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_only_quotes_and_backslashes_escaped() {
        let value: Value =
            serde_json::from_str(r#"{ "b": [1, -2, true, null], "a": "x\n\"\\\u00e9", "B": {} }"#)
                .unwrap();
        assert_eq!(
            String::from_utf8(canonical(&value).unwrap()).unwrap(),
            "{\"B\":{},\"a\":\"x\n\\\"\\\\é\",\"b\":[1,-2,true,null]}"
        );
    }

    #[test]
    fn a_fraction_has_no_canonical_form() {
        assert!(canonical(&serde_json::json!({"a": [1.5]})).is_err());
    }
}

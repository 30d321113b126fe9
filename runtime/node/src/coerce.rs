//! From what a caller sends to values of the registry's types.
//!
//! Feast's clients send numbers as text, integers for doubles and the like, and its server takes
//! them; the rules here are its rules, with errors in place of guesses.

use std::borrow::Cow;

use galley_types::{EventTime, KeyType, List, ListBuilder, ListItem, ScalarType, Value, ValueType};

use crate::Input;

/// What was expected, in the words of the message.
pub(crate) type Expected = Cow<'static, str>;

/// Coerces a join key.
pub(crate) fn key(input: &Input<'_>, key_type: KeyType) -> Result<Value, Expected> {
    if matches!(input, Input::Null | Input::List(_) | Input::Object(_)) {
        return Err(Cow::Owned(format!("{key_type} (a join key is never null)")));
    }
    match (key_type, input) {
        (KeyType::String, Input::Text(text)) => Ok(Value::Text(text.clone().into_owned())),
        (KeyType::String, Input::Int(value)) => Ok(Value::Text(value.to_string())),
        (KeyType::String, Input::UInt(value)) => Ok(Value::Text(value.to_string())),
        (KeyType::String, Input::Bool(value)) => Ok(Value::Text(
            if *value { "True" } else { "False" }.to_owned(),
        )),
        (KeyType::String, Input::Float(value)) => Ok(Value::Text(format!("{value:?}"))),
        _ => value(input, key_type.value_type()),
    }
}

/// Coerces a feature's value; null stays null.
pub(crate) fn value(input: &Input<'_>, value_type: ValueType) -> Result<Value, Expected> {
    if matches!(input, Input::Null) {
        return Ok(Value::Null);
    }
    match value_type {
        ValueType::Scalar(scalar) => self::scalar(input, scalar),
        ValueType::List(element) => list(input, element, false),
        ValueType::Set(element) => list(input, element, true),
        ValueType::Map | ValueType::Struct => match parsed(input)?.as_ref() {
            Input::Object(entries) => Ok(untyped_object(entries)),
            _ => Err(Cow::Borrowed("an object, or its JSON text")),
        },
        ValueType::MapList | ValueType::StructList => match parsed(input)?.as_ref() {
            Input::List(items) if items.iter().all(|item| matches!(item, Input::Object(_))) => {
                Ok(Value::Values(items.iter().map(untyped).collect()))
            }
            _ => Err(Cow::Borrowed("a list of objects, or its JSON text")),
        },
        ValueType::ValueList | ValueType::ValueSet => match parsed(input)?.as_ref() {
            Input::List(items) => Ok(Value::Values(items.iter().map(untyped).collect())),
            _ => Err(Cow::Borrowed("a list of lists, or its JSON text")),
        },
        ValueType::ScalarMap => match parsed(input)?.as_ref() {
            Input::Object(entries) => Ok(Value::ScalarMap(
                entries
                    .iter()
                    .map(|(key, value)| (Value::Text(key.clone().into_owned()), untyped(value)))
                    .collect(),
            )),
            _ => Err(Cow::Borrowed("an object, or its JSON text")),
        },
    }
}

/// Reads an event or created time. Integers are nanoseconds under `nanoseconds` (as pandas reads
/// them), else seconds, milliseconds, microseconds or nanoseconds by their size.
pub(crate) fn time(input: &Input<'_>, nanoseconds: bool) -> Result<EventTime, Expected> {
    match input {
        Input::Text(text) => EventTime::parse(text)
            .map_err(|_| Cow::Borrowed("a time in ISO 8601, such as 2026-03-01T12:00:00Z")),
        Input::Int(value) if nanoseconds => Ok(EventTime(value.div_euclid(1_000))),
        Input::Int(value) => Ok(EventTime(match value.unsigned_abs() {
            0..100_000_000_000 => value.saturating_mul(1_000_000),
            100_000_000_000..100_000_000_000_000 => value.saturating_mul(1_000),
            100_000_000_000_000..100_000_000_000_000_000 => *value,
            _ => value.div_euclid(1_000),
        })),
        _ => Err(Cow::Borrowed(
            "a time in ISO 8601, such as 2026-03-01T12:00:00Z",
        )),
    }
}

fn scalar(input: &Input<'_>, scalar: ScalarType) -> Result<Value, Expected> {
    match scalar {
        ScalarType::Int64 => integer(input).map(Value::Int64).ok_or(Cow::Borrowed(
            "INT64 (-9223372036854775808 to 9223372036854775807)",
        )),
        ScalarType::Int32 => integer(input)
            .and_then(|value| i32::try_from(value).ok())
            .map(Value::Int32)
            .ok_or(Cow::Borrowed("INT32 (-2147483648 to 2147483647)")),
        ScalarType::Double => float(input)
            .map(Value::Double)
            .ok_or(Cow::Borrowed("DOUBLE")),
        ScalarType::Float => single(input)
            .map(Value::Float)
            .ok_or(Cow::Borrowed("FLOAT")),
        ScalarType::Bool => boolean(input).map(Value::Bool).ok_or(Cow::Borrowed("BOOL")),
        ScalarType::UnixTimestamp => instant(input)
            .map(Value::UnixTimestamp)
            .ok_or(Cow::Borrowed(
                "UNIX_TIMESTAMP (integer epoch seconds, or text in ISO 8601)",
            )),
        ScalarType::String => match input {
            Input::Text(text) => Ok(Value::Text(text.clone().into_owned())),
            _ => Err(Cow::Borrowed("STRING")),
        },
        ScalarType::Json => match input {
            Input::Text(text) => Ok(Value::Text(text.clone().into_owned())),
            other => Ok(Value::Text(json(other).to_string())),
        },
        ScalarType::Uuid | ScalarType::TimeUuid => match input {
            Input::Text(text) if is_uuid(text) => Ok(Value::Text(text.to_ascii_lowercase())),
            _ => Err(Cow::Borrowed(
                "UUID text such as 00000000-0000-0000-0000-00000000000a",
            )),
        },
        ScalarType::Decimal => decimal(input)
            .map(Value::Text)
            .ok_or(Cow::Borrowed("DECIMAL")),
        ScalarType::Bytes => match input {
            Input::Text(text) => decode_base64(text).map(Value::Bytes),
            _ => None,
        }
        .ok_or(Cow::Borrowed("BYTES (text in base64)")),
        ScalarType::ZonedTimestamp => zoned(input).ok_or(Cow::Borrowed(
            "ZONED_TIMESTAMP (ISO 8601 with an offset or zone)",
        )),
    }
}

fn integer(input: &Input<'_>) -> Option<i64> {
    match input {
        Input::Int(value) => Some(*value),
        Input::Bool(value) => Some(i64::from(*value)),
        Input::Float(value) => float_to_integer(*value),
        Input::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Feast truncates towards zero; what is no number or out of range is refused.
fn float_to_integer(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let whole = value.trunc();
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (-LIMIT..LIMIT).contains(&whole).then_some(whole as i64)
}

fn float(input: &Input<'_>) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a double is asked for")]
    match input {
        Input::Float(value) => Some(*value),
        Input::Int(value) => Some(*value as f64),
        Input::UInt(value) => Some(*value as f64),
        Input::Bool(value) => Some(f64::from(u8::from(*value))),
        Input::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn single(input: &Input<'_>) -> Option<f32> {
    let wide = float(input)?;
    #[expect(clippy::cast_possible_truncation, reason = "overflow is checked below")]
    let narrow = wide as f32;
    (narrow.is_finite() || !wide.is_finite()).then_some(narrow)
}

fn boolean(input: &Input<'_>) -> Option<bool> {
    match input {
        Input::Bool(value) => Some(*value),
        Input::Int(0) => Some(false),
        Input::Int(1) => Some(true),
        Input::Float(value) if *value == 0.0 => Some(false),
        Input::Float(value) if (*value - 1.0).abs() < f64::EPSILON => Some(true),
        Input::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Input::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn instant(input: &Input<'_>) -> Option<i64> {
    match input {
        Input::Int(seconds) => seconds.checked_mul(1_000_000),
        Input::Float(seconds) => float_to_integer(seconds * 1_000_000.0),
        Input::Text(text) => match text.trim().parse::<i64>() {
            Ok(seconds) => seconds.checked_mul(1_000_000),
            Err(_) => EventTime::parse(text).ok().map(|time| time.0),
        },
        _ => None,
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn decimal(input: &Input<'_>) -> Option<String> {
    let text = match input {
        Input::Text(text) => text.trim().to_owned(),
        Input::Int(value) => value.to_string(),
        Input::UInt(value) => value.to_string(),
        Input::Float(value) if value.is_finite() => format!("{value:?}"),
        _ => return None,
    };
    text.parse::<f64>().is_ok().then_some(text)
}

fn zoned(input: &Input<'_>) -> Option<Value> {
    let Input::Text(text) = input else {
        return None;
    };
    let micros = EventTime::parse(text.split('[').next()?).ok()?.0;
    let zone = match text.split_once('[') {
        Some((_, zone)) => zone.strip_suffix(']')?.to_owned(),
        None => offset_of(text),
    };
    Some(Value::Zoned { micros, zone })
}

/// The offset at the end of an ISO 8601 text: `+05:30`, or `UTC`.
fn offset_of(text: &str) -> String {
    let time_part = text
        .find(['T', ' '])
        .and_then(|at| text.get(at..))
        .unwrap_or("");
    match time_part
        .rfind(['+', '-'])
        .and_then(|at| time_part.get(at..))
    {
        Some(offset) if offset.len() == 6 => offset.to_owned(),
        _ => "UTC".to_owned(),
    }
}

fn list(input: &Input<'_>, element: ScalarType, set: bool) -> Result<Value, Expected> {
    let what = if set { "SET" } else { "LIST" };
    let expected = || Cow::Owned(format!("{element}_{what} (a list without nulls)"));
    let parsed = parsed(input).map_err(|_| expected())?;
    let Input::List(items) = parsed.as_ref() else {
        return Err(expected());
    };
    let mut builder = ListBuilder::new(element);
    let mut seen = std::collections::HashSet::new();
    for item in items {
        if matches!(item, Input::Null) {
            return Err(expected());
        }
        let value = scalar(item, element).map_err(|_| expected())?;
        if set && !seen.insert(format!("{value:?}")) {
            continue;
        }
        push_item(&mut builder, &value).ok_or_else(expected)?;
    }
    Ok(Value::List(builder.finish()))
}

fn push_item(builder: &mut ListBuilder, value: &Value) -> Option<()> {
    builder.push(ListItem::of(value)?).ok()
}

/// A map, struct or list may come as JSON text: Feast's SDK writes it so.
fn parsed<'a, 'b>(input: &'b Input<'a>) -> Result<Cow<'b, Input<'a>>, Expected>
where
    'a: 'b,
{
    let Input::Text(text) = input else {
        return Ok(Cow::Borrowed(input));
    };
    let parsed: serde_json::Value =
        serde_json::from_str(text).map_err(|_| Cow::Borrowed("a value, or its JSON text"))?;
    Ok(Cow::Owned(from_json(parsed)))
}

fn from_json(value: serde_json::Value) -> Input<'static> {
    match value {
        serde_json::Value::Null => Input::Null,
        serde_json::Value::Bool(value) => Input::Bool(value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Input::Int(value),
            (None, Some(value)) => Input::UInt(value),
            _ => Input::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Input::Text(Cow::Owned(text)),
        serde_json::Value::Array(items) => Input::List(items.into_iter().map(from_json).collect()),
        serde_json::Value::Object(entries) => Input::Object(
            entries
                .into_iter()
                .map(|(key, value)| (Cow::Owned(key), from_json(value)))
                .collect(),
        ),
    }
}

fn json(input: &Input<'_>) -> serde_json::Value {
    match input {
        Input::Null => serde_json::Value::Null,
        Input::Bool(value) => (*value).into(),
        Input::Int(value) => (*value).into(),
        Input::UInt(value) => (*value).into(),
        Input::Float(value) => (*value).into(),
        Input::Text(text) => text.as_ref().into(),
        Input::List(items) => items.iter().map(json).collect(),
        Input::Object(entries) => entries
            .iter()
            .map(|(key, value)| (key.as_ref().to_owned(), json(value)))
            .collect(),
    }
}

/// A value inside a map or nested list, typed by what it looks like, as Feast does.
fn untyped(input: &Input<'_>) -> Value {
    match input {
        Input::Null => Value::Null,
        Input::Bool(value) => Value::Bool(*value),
        Input::Int(value) => Value::Int64(*value),
        #[expect(clippy::cast_precision_loss, reason = "no exact type is left for it")]
        Input::UInt(value) => Value::Double(*value as f64),
        Input::Float(value) => Value::Double(*value),
        Input::Text(text) => Value::Text(text.clone().into_owned()),
        Input::List(items) => untyped_list(items),
        Input::Object(entries) => untyped_object(entries),
    }
}

fn untyped_object(entries: &[(Cow<'_, str>, Input<'_>)]) -> Value {
    Value::Map(
        entries
            .iter()
            .map(|(key, value)| (key.clone().into_owned(), untyped(value)))
            .collect(),
    )
}

/// Scalars of one type make a list of that type, anything else a list of values.
fn untyped_list(items: &[Input<'_>]) -> Value {
    let element = match items.first() {
        Some(Input::Bool(_)) => Some(ScalarType::Bool),
        Some(Input::Int(_)) => Some(ScalarType::Int64),
        Some(Input::Float(_)) => Some(ScalarType::Double),
        Some(Input::Text(_)) => Some(ScalarType::String),
        _ => None,
    };
    let typed = element.and_then(|element| {
        let mut builder = ListBuilder::new(element);
        for item in items {
            push_item(&mut builder, &untyped(item))?;
        }
        Some(Value::List(builder.finish()))
    });
    match typed {
        Some(list) => list,
        None if items.is_empty() => Value::List(List::empty(ScalarType::Int64)),
        None => Value::Values(items.iter().map(untyped).collect()),
    }
}

/// Standard base64 with or without padding; `None` for anything else.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
    const LAX: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    LAX.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Input<'_> {
        Input::Text(Cow::Borrowed(text))
    }

    #[test]
    fn keys_are_coerced_as_feast_does() {
        let check = |input: Input<'_>, key_type, expect| {
            assert_eq!(key(&input, key_type).ok(), expect, "{input:?}");
        };
        check(text("1001"), KeyType::Int64, Some(Value::Int64(1001)));
        check(
            Input::Float(1001.5),
            KeyType::Int64,
            Some(Value::Int64(1001)),
        );
        check(Input::Bool(true), KeyType::Int64, Some(Value::Int64(1)));
        check(
            Input::Int(42),
            KeyType::String,
            Some(Value::Text("42".into())),
        );
        check(Input::UInt(u64::MAX), KeyType::Int64, None);
        check(Input::Int(1 << 40), KeyType::Int32, None);
        check(text("abc"), KeyType::Int64, None);
        check(Input::Null, KeyType::String, None);
        check(Input::List(vec![]), KeyType::String, None);
    }

    #[test]
    fn features_are_coerced_or_refused() {
        let check = |input: Input<'_>, scalar, expect| {
            assert_eq!(
                value(&input, ValueType::Scalar(scalar)).ok(),
                expect,
                "{input:?}"
            );
        };
        check(text("0.75"), ScalarType::Float, Some(Value::Float(0.75)));
        check(text("abc"), ScalarType::Float, None);
        check(
            Input::Float(12.75),
            ScalarType::Int64,
            Some(Value::Int64(12)),
        );
        check(Input::Float(f64::NAN), ScalarType::Int64, None);
        check(Input::Float(1e39), ScalarType::Float, None);
        check(
            text("Infinity"),
            ScalarType::Double,
            Some(Value::Double(f64::INFINITY)),
        );
        check(
            text("AAH+/w=="),
            ScalarType::Bytes,
            Some(Value::Bytes(vec![0, 1, 254, 255])),
        );
        check(
            Input::Int(2),
            ScalarType::UnixTimestamp,
            Some(Value::UnixTimestamp(2_000_000)),
        );
        check(
            text("1970-01-01T00:00:02Z"),
            ScalarType::UnixTimestamp,
            Some(TWO_SECONDS),
        );
        check(Input::Int(5), ScalarType::String, None);
        check(text("x"), ScalarType::Uuid, None);
    }

    const TWO_SECONDS: Value = Value::UnixTimestamp(2_000_000);

    #[test]
    fn maps_come_as_objects_or_as_their_text() {
        let entries = vec![(Cow::Borrowed("a"), Input::Int(1))];
        let expect = Ok(Value::Map(vec![("a".into(), Value::Int64(1))]));
        assert_eq!(value(&Input::Object(entries), ValueType::Map), expect);
        assert_eq!(value(&text(r#"{"a":1}"#), ValueType::Struct), expect);
        assert!(value(&text("[1]"), ValueType::Map).is_err());
        assert!(value(&Input::Int(1), ValueType::Map).is_err());
    }

    #[test]
    fn integer_times_follow_pandas_or_their_size() {
        assert_eq!(
            time(&Input::Int(1_772_900_000), true),
            Ok(EventTime(1_772_900))
        );
        assert_eq!(
            time(&Input::Int(1_772_900_000), false),
            Ok(EventTime(1_772_900_000_000_000))
        );
        assert_eq!(
            time(&Input::Int(1_772_900_000_123), false),
            Ok(EventTime(1_772_900_000_123_000))
        );
        assert!(time(&Input::Null, false).is_err());
    }
}

//! Values as JSON, by the rules of Feast's feature server.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use galley_types::{Cell, FieldStatus, ListItem, ListRef, ScalarType, Value, ValueType};
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::double;
use crate::json::write_string;

/// The ways that depend on whose behaviour is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// The Python server's, warts included.
    pub(super) quirks: bool,
}

const NULL: &[u8] = b"null";

// === impl Style ===

impl Style {
    /// The status that is shown: the Python server knows of no nulls.
    #[inline]
    pub(super) fn shown(self, status: FieldStatus) -> FieldStatus {
        match status {
            FieldStatus::NullValue if self.quirks => FieldStatus::Present,
            status => status,
        }
    }

    /// Writes a null: the Python server shows that of a time as the number it keeps for it.
    pub(super) fn write_null(self, status: FieldStatus, value_type: ValueType, out: &mut Vec<u8>) {
        let is_time = value_type == ValueType::Scalar(ScalarType::UnixTimestamp);
        if self.quirks && is_time && status == FieldStatus::Present {
            write_int(i64::MIN, out);
        } else {
            out.extend_from_slice(NULL);
        }
    }
}

/// Appends the value of a cell.
#[inline]
pub(super) fn write_cell(cell: &Cell<'_>, style: Style, out: &mut Vec<u8>) {
    match cell {
        Cell::Double(value) => write_double(*value, out),
        Cell::Float(value) => write_double(f64::from(*value), out),
        Cell::Int64(value) => write_int(*value, out),
        Cell::Int32(value) => write_int(i64::from(*value), out),
        Cell::Bool(value) => write_bool(*value, out),
        Cell::UnixTimestamp(micros) => write_seconds(*micros, out),
        Cell::Text(text) => write_string(text, out),
        Cell::Bytes(bytes) => write_bytes(bytes, out),
        Cell::Zoned(micros, zone) => write_zoned(*micros, zone, out),
        Cell::List(list) => write_list(*list, out),
        Cell::Tree(value) => write_value(value, style, out),
        Cell::Null => out.extend_from_slice(NULL),
    }
}

/// Appends an owned value: an echoed entity key, or what lies in maps, structs and nested lists.
pub(super) fn write_value(value: &Value, style: Style, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(NULL),
        Value::Bool(value) => write_bool(*value, out),
        Value::Int32(value) => write_int(i64::from(*value), out),
        Value::Int64(value) => write_int(*value, out),
        Value::Float(value) => write_double(f64::from(*value), out),
        Value::Double(value) => write_double(*value, out),
        Value::UnixTimestamp(micros) => write_seconds(*micros, out),
        Value::Text(text) => write_string(text, out),
        Value::Bytes(bytes) => write_bytes(bytes, out),
        Value::Zoned { micros, zone } => write_zoned(*micros, zone, out),
        Value::List(list) => write_list(list.as_ref(), out),
        Value::Values(values) => {
            out.push(b'[');
            super::separated(values.iter(), out, |value, out| {
                if style.quirks && is_empty_list(value) {
                    out.extend_from_slice(NULL);
                } else {
                    write_value(value, style, out);
                }
            });
            out.push(b']');
        }
        Value::Map(entries) => {
            out.push(b'{');
            super::separated(entries.iter(), out, |(name, value), out| {
                write_string(name, out);
                out.push(b':');
                write_value(value, style, out);
            });
            out.push(b'}');
        }
        Value::ScalarMap(_) if style.quirks => out.extend_from_slice(NULL),
        Value::ScalarMap(entries) => {
            out.push(b'{');
            super::separated(entries.iter(), out, |(key, value), out| {
                write_key(key, style, out);
                out.push(b':');
                write_value(value, style, out);
            });
            out.push(b'}');
        }
    }
}

fn is_empty_list(value: &Value) -> bool {
    match value {
        Value::List(list) => list.as_ref().is_empty(),
        Value::Values(values) => values.is_empty(),
        _ => false,
    }
}

/// A key of a scalar map as the name of a member: its JSON text, in quotes once.
fn write_key(key: &Value, style: Style, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    write_value(key, style, &mut text);
    if text.first() == Some(&b'"') {
        out.extend_from_slice(&text);
    } else {
        write_string(&String::from_utf8_lossy(&text), out);
    }
}

fn write_list(list: ListRef<'_>, out: &mut Vec<u8>) {
    out.push(b'[');
    super::separated(list.iter(), out, |item, out| match item {
        ListItem::Bool(value) => write_bool(value, out),
        ListItem::Int32(value) => write_int(i64::from(value), out),
        ListItem::Int64(value) => write_int(value, out),
        ListItem::Float(value) => write_double(f64::from(value), out),
        ListItem::Double(value) => write_double(value, out),
        ListItem::UnixTimestamp(micros) => write_seconds(micros, out),
        ListItem::Text(text) => write_string(text, out),
        ListItem::Bytes(bytes) => write_bytes(bytes, out),
        ListItem::Zoned(micros, zone) => write_zoned(micros, zone, out),
    });
    out.push(b']');
}

fn write_bool(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

#[inline]
fn write_int(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Feast's wire has whole seconds.
fn write_seconds(micros: i64, out: &mut Vec<u8>) {
    write_int(micros.div_euclid(1_000_000), out);
}

/// Appends a double.
fn write_double(value: f64, out: &mut Vec<u8>) {
    let mut text = [0; double::ROOM];
    let length = double::write(value, &mut text);
    out.extend_from_slice(text.get(..length).unwrap_or_default());
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    // Four letters for three bytes begun.
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let written = STANDARD.encode_slice(bytes, room).unwrap_or(0);
    out.truncate(start + written);
    out.push(b'"');
}

/// ISO 8601 in the instant's own zone, as Python's `isoformat` shows it; UTC where the zone is not
/// known here.
fn write_zoned(micros: i64, zone: &str, out: &mut Vec<u8>) {
    let Ok(instant) = Timestamp::from_microsecond(micros) else {
        out.extend_from_slice(NULL);
        return;
    };
    let offset = offset_at(instant, zone);
    let local = offset.to_datetime(instant);
    let mut text = String::with_capacity(40);
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second()
    );
    let fraction = local.subsec_nanosecond() / 1000;
    if fraction != 0 {
        let _ = write!(text, ".{fraction:06}");
    }
    let seconds = offset.seconds();
    let (sign, seconds) = (if seconds < 0 { '-' } else { '+' }, seconds.abs());
    let _ = write!(text, "{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60);
    if seconds % 60 != 0 {
        let _ = write!(text, ":{:02}", seconds % 60);
    }
    write_string(&text, out);
}

fn offset_at(instant: Timestamp, zone: &str) -> Offset {
    if zone.is_empty() || zone == "UTC" {
        return Offset::UTC;
    }
    if let Some(offset) = fixed_offset(zone) {
        return offset;
    }
    TimeZone::get(zone).map_or(Offset::UTC, |zone| zone.to_offset(instant))
}

/// `+05:30`, `-0800`, `UTC+05:30`.
fn fixed_offset(zone: &str) -> Option<Offset> {
    let zone = zone.strip_prefix("UTC").unwrap_or(zone);
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits: String = rest.chars().filter(|character| *character != ':').collect();
    let number = |range| {
        digits
            .get(range)
            .map_or(Some(0), |text: &str| text.parse::<i32>().ok())
    };
    if !matches!(digits.len(), 2 | 4 | 6) {
        return None;
    }
    let seconds = number(0..2)? * 3600 + number(2..4)? * 60 + number(4..6)?;
    Offset::from_seconds(sign * seconds).ok()
}

#[cfg(test)]
mod tests {
    use galley_types::ListBuilder;

    use super::*;

    fn text(value: &Value, quirks: bool) -> String {
        let mut out = Vec::new();
        write_value(value, Style { quirks }, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn check(value: &Value, expected: &str) {
        assert_eq!(text(value, false), expected);
        assert!(
            serde_json::from_str::<serde_json::Value>(expected).is_ok(),
            "{expected}"
        );
    }

    #[test]
    fn scalars_follow_feasts_rules() {
        check(&Value::Float(0.1), "0.10000000149011612");
        check(&Value::Double(0.1), "0.1");
        check(&Value::Double(1.0), "1.0");
        check(&Value::Double(-0.0), "-0.0");
        check(&Value::Double(f64::NAN), "\"NaN\"");
        check(&Value::Double(f64::INFINITY), "\"Infinity\"");
        check(&Value::Float(f32::NEG_INFINITY), "\"-Infinity\"");
        check(&Value::Int64(9_007_199_254_740_993), "9007199254740993");
        check(&Value::Int32(i32::MIN), "-2147483648");
        check(&Value::UnixTimestamp(-1), "-1");
        check(&Value::UnixTimestamp(1_772_323_200_999_999), "1772323200");
        check(&Value::Bytes(vec![0, 1, 0xfe, 0xff]), "\"AAH+/w==\"");
        check(&Value::Bytes(Vec::new()), "\"\"");
        check(&Value::Text("\u{1f697}".into()), "\"\u{1f697}\"");
    }

    #[test]
    fn doubles_read_back_bit_for_bit() {
        for value in [
            1e300,
            5e-324,
            1.797_693_134_862_315_7e308,
            1e21,
            1e-7,
            123_456_789.123_456_79,
        ] {
            let shown = text(&Value::Double(value), false);
            let read: f64 = serde_json::from_str(&shown).unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{shown}");
        }
    }

    #[test]
    fn zoned_times_keep_their_zone() {
        let at = |micros, zone: &str| Value::Zoned {
            micros,
            zone: zone.to_owned(),
        };
        let noon = 1_772_366_400_000_000;
        check(
            &at(noon, "America/Los_Angeles"),
            "\"2026-03-01T04:00:00-08:00\"",
        );
        check(&at(noon, "+05:30"), "\"2026-03-01T17:30:00+05:30\"");
        check(&at(noon, "UTC-03:00"), "\"2026-03-01T09:00:00-03:00\"");
        check(&at(noon + 5, "UTC"), "\"2026-03-01T12:00:00.000005+00:00\"");
        check(&at(noon, ""), "\"2026-03-01T12:00:00+00:00\"");
        check(&at(noon, "No/Such"), "\"2026-03-01T12:00:00+00:00\"");
        check(&at(i64::MIN, "UTC"), "null");
    }

    #[test]
    fn nested_values_differ_by_whose_ways_are_wanted() {
        let mut list = ListBuilder::new(ScalarType::Int64);
        list.push(ListItem::Int64(1)).unwrap();
        let empty = Value::List(ListBuilder::new(ScalarType::Int64).finish());
        let nested = Value::Values(vec![Value::List(list.finish()), empty]);
        assert_eq!(text(&nested, false), "[[1],[]]");
        assert_eq!(text(&nested, true), "[[1],null]");
        let map = Value::ScalarMap(vec![
            (Value::Int64(1), Value::Bool(true)),
            (Value::Text("a\"".into()), Value::Null),
        ]);
        assert_eq!(text(&map, false), r#"{"1":true,"a\"":null}"#);
        assert_eq!(text(&map, true), "null");
        check(
            &Value::Map(vec![("k".into(), Value::Values(Vec::new()))]),
            r#"{"k":[]}"#,
        );
    }
}

//! Cells as values of declared types: what converts, and what is refused.

use std::collections::HashSet;

use arrow_array::Array;
use galley_types::{EventTime, ListBuilder, ListItem, ScalarType, Value, ValueType};

use super::cell::{Fit, Item, Misfit, excerpt, item, shown, tree};

/// The cell as a value of `value_type`; null stays null.
pub(crate) fn value(array: &dyn Array, row: usize, value_type: ValueType) -> Fit<Value> {
    let item = item(array, row)?;
    if matches!(item, Item::Null) {
        return Ok(Value::Null);
    }
    match value_type {
        ValueType::Scalar(scalar) => self::scalar(&item, scalar),
        ValueType::List(element) => list(&item, element, false),
        ValueType::Set(element) => list(&item, element, true),
        ValueType::Map | ValueType::Struct => match tree(&item, 0)? {
            Value::Map(entries) => Ok(Value::Map(entries)),
            _ => Err(shown(&item)),
        },
        ValueType::MapList | ValueType::StructList => match values(&item)? {
            values
                if values
                    .iter()
                    .all(|value| matches!(value, Value::Map(_) | Value::Null)) =>
            {
                Ok(Value::Values(values))
            }
            _ => Err(shown(&item)),
        },
        ValueType::ValueList | ValueType::ValueSet => Ok(Value::Values(values(&item)?)),
        ValueType::ScalarMap => scalar_map(&item),
    }
}

fn scalar(item: &Item<'_>, scalar: ScalarType) -> Fit<Value> {
    let misfit = || shown(item);
    // A column of whole numbers with gaps becomes one of floats with NaN in pandas; Feast reads null.
    let gap = match item {
        Item::Double(value) => value.is_nan(),
        Item::Single(value) => value.is_nan(),
        _ => false,
    };
    let floating = matches!(scalar, ScalarType::Double | ScalarType::Float);
    if gap && !floating {
        return Ok(Value::Null);
    }
    Ok(match scalar {
        ScalarType::Int64 => Value::Int64(integer(item).ok_or_else(misfit)?),
        ScalarType::Int32 => Value::Int32(
            integer(item)
                .and_then(|value| i32::try_from(value).ok())
                .ok_or_else(misfit)?,
        ),
        ScalarType::Double => Value::Double(double(item).ok_or_else(misfit)?),
        ScalarType::Float => Value::Float(single(item).ok_or_else(misfit)?),
        ScalarType::Bool => Value::Bool(match (item, integer(item)) {
            (Item::Bool(value), _) => *value,
            (_, Some(0)) => false,
            (_, Some(1)) => true,
            _ => return Err(misfit()),
        }),
        ScalarType::UnixTimestamp => Value::UnixTimestamp(instant(item).ok_or_else(misfit)?),
        ScalarType::String | ScalarType::Json => match item {
            Item::Text(text) => Value::Text((*text).to_owned()),
            Item::Struct(..) | Item::Map(..) | Item::List(_) if scalar == ScalarType::Json => {
                Value::Text(galley_node::json_of(&tree(item, 0)?).to_string())
            }
            _ => return Err(misfit()),
        },
        ScalarType::Uuid | ScalarType::TimeUuid => Value::Text(uuid(item).ok_or_else(misfit)?),
        ScalarType::Decimal => Value::Text(decimal(item).ok_or_else(misfit)?),
        ScalarType::Bytes => match item {
            Item::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Item::Text(text) => Value::Bytes(text.as_bytes().to_vec()),
            _ => return Err(misfit()),
        },
        ScalarType::ZonedTimestamp => zoned(item).ok_or_else(misfit)?,
    })
}

/// A whole number, exactly; a float only when it is integral.
pub(crate) fn integer(item: &Item<'_>) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let float = match item {
        Item::Int(value) => return Some(*value),
        Item::UInt(value) => return i64::try_from(*value).ok(),
        Item::Bool(value) => return Some(i64::from(*value)),
        Item::Decimal(text) => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let integral = fraction.bytes().all(|digit| digit == b'0');
            return if integral { whole.parse().ok() } else { None };
        }
        Item::Single(value) => f64::from(*value),
        Item::Double(value) => *value,
        _ => return None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (float.trunc() == float && (-LIMIT..LIMIT).contains(&float)).then_some(float as i64)
}

fn double(item: &Item<'_>) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a double is declared")]
    match item {
        Item::Double(value) => Some(*value),
        Item::Single(value) => Some(f64::from(*value)),
        Item::Int(value) => Some(*value as f64),
        Item::UInt(value) => Some(*value as f64),
        Item::Bool(value) => Some(f64::from(u8::from(*value))),
        Item::Decimal(text) => text.parse().ok(),
        _ => None,
    }
}

fn single(item: &Item<'_>) -> Option<f32> {
    if let Item::Single(value) = item {
        return Some(*value);
    }
    let wide = double(item)?;
    #[expect(clippy::cast_possible_truncation, reason = "overflow is refused below")]
    let narrow = wide as f32;
    (narrow.is_finite() || !wide.is_finite()).then_some(narrow)
}

/// Microseconds: a timestamp or date, text in ISO 8601, or whole epoch seconds as in Feast.
fn instant(item: &Item<'_>) -> Option<i64> {
    match item {
        Item::Instant(time, _) => Some(*time),
        Item::Text(text) => EventTime::parse(text).ok().map(|time| time.0),
        Item::Bool(_) => None,
        other => integer(other)?.checked_mul(1_000_000),
    }
}

fn uuid(item: &Item<'_>) -> Option<String> {
    match item {
        Item::Text(text) => {
            let sound = text.len() == 36
                && text.bytes().enumerate().all(|(index, byte)| match index {
                    8 | 13 | 18 | 23 => byte == b'-',
                    _ => byte.is_ascii_hexdigit(),
                });
            sound.then(|| text.to_ascii_lowercase())
        }
        Item::Bytes(bytes) if bytes.len() == 16 => {
            let mut text = String::with_capacity(36);
            for (index, byte) in bytes.iter().enumerate() {
                if matches!(index, 4 | 6 | 8 | 10) {
                    text.push('-');
                }
                text.push_str(&format!("{byte:02x}"));
            }
            Some(text)
        }
        _ => None,
    }
}

fn decimal(item: &Item<'_>) -> Option<String> {
    match item {
        Item::Decimal(text) => Some(text.clone()),
        Item::Int(value) => Some(value.to_string()),
        Item::UInt(value) => Some(value.to_string()),
        Item::Double(value) if value.is_finite() => Some(format!("{value:?}")),
        Item::Single(value) if value.is_finite() => Some(format!("{value:?}")),
        Item::Text(text) => {
            let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
            let number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
                && unsigned.parse::<f64>().is_ok();
            number.then(|| (*text).to_owned())
        }
        _ => None,
    }
}

fn zoned(item: &Item<'_>) -> Option<Value> {
    let (micros, zone) = match item {
        Item::Instant(micros, zone) => (*micros, zone.unwrap_or("UTC").to_owned()),
        Item::Text(text) => {
            if let Ok(zoned) = text.parse::<jiff::Zoned>() {
                let zone = zoned
                    .time_zone()
                    .iana_name()
                    .map_or_else(|| zoned.offset().to_string(), str::to_owned);
                (zoned.timestamp().as_microsecond(), zone)
            } else {
                (EventTime::parse(text).ok()?.0, offset_of(text))
            }
        }
        _ => return None,
    };
    Some(Value::Zoned { micros, zone })
}

/// The offset at the end of a time in ISO 8601, `UTC` when there is none.
fn offset_of(text: &str) -> String {
    let text = text.trim_end();
    let tail = text
        .len()
        .checked_sub(6)
        .and_then(|start| text.get(start..))
        .unwrap_or("");
    let offset = tail.starts_with(['+', '-']) && tail.as_bytes().get(3) == Some(&b':');
    if offset { tail } else { "UTC" }.to_owned()
}

fn list(item: &Item<'_>, element: ScalarType, distinct: bool) -> Fit<Value> {
    let mut builder = ListBuilder::new(element);
    let mut seen = HashSet::new();
    let mut push = |value: &Value| -> Fit<()> {
        if distinct {
            let mut bytes = value.to_slot().map_or_else(Vec::new, |slot| slot.to_vec());
            if bytes.is_empty() {
                let _ = value.write_heap(ValueType::Scalar(element), &mut bytes);
            }
            if !seen.insert(bytes) {
                return Ok(());
            }
        }
        let item = ListItem::of(value).ok_or_else(|| Misfit("a null in the list".to_owned()))?;
        builder
            .push(item)
            .map_err(|error| Misfit(error.to_string()))
    };
    match item {
        Item::List(array) => {
            for row in 0..array.len() {
                let cell = self::item(array.as_ref(), row)?;
                match (&cell, element) {
                    (Item::Null, ScalarType::Double) => push(&Value::Double(f64::NAN))?,
                    (Item::Null, ScalarType::Float) => push(&Value::Float(f32::NAN))?,
                    (Item::Null, _) => return Err(Misfit(format!("a null at position {row}"))),
                    _ => push(&scalar(&cell, element)?)?,
                }
            }
        }
        Item::Text(text) => {
            let parsed: Vec<serde_json::Value> =
                serde_json::from_str(text).map_err(|_| shown(item))?;
            for element_json in &parsed {
                push(&scalar(&json_item(element_json)?, element)?)?;
            }
        }
        _ => return Err(shown(item)),
    }
    Ok(Value::List(builder.finish()))
}

fn json_item(json: &serde_json::Value) -> Fit<Item<'_>> {
    Ok(match json {
        serde_json::Value::Bool(value) => Item::Bool(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Item::Int(value),
            (_, Some(value)) => Item::UInt(value),
            _ => Item::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Item::Text(text),
        other => return Err(Misfit(excerpt(&other.to_string()))),
    })
}

fn values(item: &Item<'_>) -> Fit<Vec<Value>> {
    match item {
        Item::List(array) => (0..array.len())
            .map(|row| tree(&self::item(array.as_ref(), row)?, 1))
            .collect(),
        Item::Text(_) => match tree(item, 0)? {
            Value::Values(values) => Ok(values),
            Value::List(list) => Ok(list.as_ref().iter().map(|item| item.to_value()).collect()),
            _ => Err(shown(item)),
        },
        _ => Err(shown(item)),
    }
}

fn scalar_map(item: &Item<'_>) -> Fit<Value> {
    match item {
        Item::Map(keys, values) => {
            let mut entries = Vec::with_capacity(keys.len());
            for row in 0..keys.len() {
                let key = tree(&self::item(keys.as_ref(), row)?, 1)?;
                let value = tree(&self::item(values.as_ref(), row)?, 1)?;
                entries.push((key, value));
            }
            Ok(Value::ScalarMap(entries))
        }
        _ => match tree(item, 0)? {
            Value::Map(entries) => Ok(Value::ScalarMap(
                entries
                    .into_iter()
                    .map(|(key, value)| (Value::Text(key), value))
                    .collect(),
            )),
            _ => Err(shown(item)),
        },
    }
}

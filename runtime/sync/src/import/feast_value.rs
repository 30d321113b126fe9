//! Feast's `Value` messages as values of a view's declared types.

use galley_types::{List, ListBuilder, ListItem, ScalarType, Value, ValueType};
use prost::Message as _;

use super::proto::{self, Val};

/// Decodes a stored cell as a value of `value_type`. Empty bytes are Feast's null.
///
/// Whatever is exact is converted: integers of another width that are in range, singles to
/// doubles, text to any type that is text.
///
/// # Errors
/// What is there, when it does not fit or is no `Value` message.
pub(super) fn decode(bytes: &[u8], value_type: ValueType) -> Result<Value, String> {
    let message = proto::Value::decode(bytes)
        .map_err(|error| format!("not a feast.types.Value message ({error})"))?;
    let found = natural(message);
    if found.is_null() || value_type.accepts(&found) {
        return Ok(found);
    }
    convert(&found, value_type)
        .ok_or_else(|| format!("expected {value_type}, got {}", kind_of(&found)))
}

/// A message as a value of its own type.
fn natural(message: proto::Value) -> Value {
    use ScalarType as S;
    let Some(val) = message.val else {
        return Value::Null;
    };
    match val {
        Val::Null(_) => Value::Null,
        Val::Bytes(bytes) => Value::Bytes(bytes),
        Val::Int32(value) => Value::Int32(value),
        Val::Int64(value) => Value::Int64(value),
        Val::Double(value) => Value::Double(value),
        Val::Float(value) => Value::Float(value),
        Val::Bool(value) => Value::Bool(value),
        // Feast's null timestamp.
        Val::UnixTimestamp(i64::MIN) => Value::Null,
        Val::UnixTimestamp(seconds) => Value::UnixTimestamp(micros(seconds)),
        Val::String(text)
        | Val::Json(text)
        | Val::Uuid(text)
        | Val::TimeUuid(text)
        | Val::Decimal(text) => Value::Text(text),
        Val::BytesList(list) | Val::BytesSet(list) => {
            items(S::Bytes, &list.val, |v| ListItem::Bytes(v))
        }
        Val::StringList(list) | Val::StringSet(list) => texts(S::String, &list.val),
        Val::JsonList(list) => texts(S::Json, &list.val),
        Val::UuidList(list) | Val::UuidSet(list) => texts(S::Uuid, &list.val),
        Val::TimeUuidList(list) | Val::TimeUuidSet(list) => texts(S::TimeUuid, &list.val),
        Val::DecimalList(list) | Val::DecimalSet(list) => texts(S::Decimal, &list.val),
        Val::Int32List(list) | Val::Int32Set(list) => {
            items(S::Int32, &list.val, |v| ListItem::Int32(*v))
        }
        Val::Int64List(list) | Val::Int64Set(list) => {
            items(S::Int64, &list.val, |v| ListItem::Int64(*v))
        }
        Val::DoubleList(list) | Val::DoubleSet(list) => {
            items(S::Double, &list.val, |v| ListItem::Double(*v))
        }
        Val::FloatList(list) | Val::FloatSet(list) => {
            items(S::Float, &list.val, |v| ListItem::Float(*v))
        }
        Val::BoolList(list) | Val::BoolSet(list) => {
            items(S::Bool, &list.val, |v| ListItem::Bool(*v))
        }
        Val::UnixTimestampList(list) | Val::UnixTimestampSet(list) => {
            items(S::UnixTimestamp, &list.val, |v| {
                ListItem::UnixTimestamp(micros(*v))
            })
        }
        Val::Map(map) | Val::Struct(map) => self::map(map),
        Val::MapList(list) | Val::StructList(list) => {
            Value::Values(list.val.into_iter().map(map).collect())
        }
        Val::List(list) | Val::Set(list) => {
            Value::Values(list.val.into_iter().map(natural).collect())
        }
        Val::ScalarMap(map) => Value::ScalarMap(
            map.val
                .into_iter()
                .map(|entry| {
                    let value = entry.value.map_or(Value::Null, natural);
                    (scalar_key(entry.key), value)
                })
                .collect(),
        ),
        Val::ZonedTimestamp(time) if time.unix_timestamp == i64::MIN => Value::Null,
        Val::ZonedTimestamp(time) => Value::Zoned {
            micros: micros(time.unix_timestamp),
            zone: time.zone,
        },
    }
}

fn micros(seconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000)
}

fn items<T>(element: ScalarType, values: &[T], item: impl Fn(&T) -> ListItem<'_>) -> Value {
    let mut builder = ListBuilder::new(element);
    for value in values {
        // Items are of the builder's type and a cell is far below 4 GiB: nothing is refused.
        if builder.push(item(value)).is_err() {
            return Value::List(List::empty(element));
        }
    }
    Value::List(builder.finish())
}

fn texts(element: ScalarType, values: &[String]) -> Value {
    items(element, values, |text| ListItem::Text(text))
}

/// Entries in their order; of equal keys the last counts, as in protobuf.
fn map(map: proto::Map) -> Value {
    let mut entries: Vec<(String, Value)> = Vec::with_capacity(map.val.len());
    let mut places = std::collections::HashMap::with_capacity(map.val.len());
    for entry in map.val {
        let value = entry.value.map_or(Value::Null, natural);
        let place = *places.entry(entry.key.clone()).or_insert(entries.len());
        match entries.get_mut(place) {
            Some(earlier) => earlier.1 = value,
            None => entries.push((entry.key, value)),
        }
    }
    Value::Map(entries)
}

fn scalar_key(key: Option<proto::MapKey>) -> Value {
    use proto::Key;
    match key.and_then(|key| key.key) {
        None => Value::Null,
        Some(Key::Int32(value)) => Value::Int32(value),
        Some(Key::Int64(value)) => Value::Int64(value),
        Some(Key::Float(value)) => Value::Float(value),
        Some(Key::Double(value)) => Value::Double(value),
        Some(Key::Bool(value)) => Value::Bool(value),
        Some(Key::UnixTimestamp(seconds)) => Value::UnixTimestamp(micros(seconds)),
        Some(Key::Bytes(bytes)) => Value::Bytes(bytes),
        Some(Key::Uuid(text) | Key::TimeUuid(text) | Key::Decimal(text)) => Value::Text(text),
    }
}

/// Exact conversions between types that differ.
fn convert(found: &Value, value_type: ValueType) -> Option<Value> {
    match (value_type, found) {
        (ValueType::Scalar(scalar), found) => self::scalar(found, scalar),
        (ValueType::List(element) | ValueType::Set(element), Value::List(list)) => {
            let mut builder = ListBuilder::new(element);
            for item in list.as_ref().iter() {
                builder.push(list_item(item, element)?).ok()?;
            }
            Some(Value::List(builder.finish()))
        }
        (ValueType::ValueList | ValueType::ValueSet, Value::List(list))
            if list.as_ref().is_empty() =>
        {
            Some(Value::Values(Vec::new()))
        }
        _ => None,
    }
}

fn scalar(found: &Value, scalar: ScalarType) -> Option<Value> {
    match (scalar, found) {
        (ScalarType::Int64, Value::Int32(value)) => Some(Value::Int64(i64::from(*value))),
        (ScalarType::Int32, Value::Int64(value)) => i32::try_from(*value).ok().map(Value::Int32),
        (ScalarType::Double, Value::Float(value)) => Some(Value::Double(f64::from(*value))),
        (ScalarType::Double, Value::Int32(value)) => Some(Value::Double(f64::from(*value))),
        (ScalarType::UnixTimestamp, Value::Int64(i64::MIN)) => Some(Value::Null),
        (ScalarType::UnixTimestamp, Value::Int64(value)) => {
            value.checked_mul(1_000_000).map(Value::UnixTimestamp)
        }
        _ => None,
    }
}

fn list_item(item: ListItem<'_>, element: ScalarType) -> Option<ListItem<'_>> {
    match (element, item) {
        (ScalarType::Int64, ListItem::Int32(value)) => Some(ListItem::Int64(i64::from(value))),
        (ScalarType::Int32, ListItem::Int64(value)) => {
            i32::try_from(value).ok().map(ListItem::Int32)
        }
        (ScalarType::Double, ListItem::Float(value)) => Some(ListItem::Double(f64::from(value))),
        (element, ListItem::Text(text)) if element.is_text() => Some(ListItem::Text(text)),
        _ => None,
    }
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "BOOL".to_owned(),
        Value::Int32(_) => "INT32".to_owned(),
        Value::Int64(value) => format!("INT64 {value}"),
        Value::Float(_) => "FLOAT".to_owned(),
        Value::Double(_) => "DOUBLE".to_owned(),
        Value::UnixTimestamp(_) => "UNIX_TIMESTAMP".to_owned(),
        Value::Text(_) => "text".to_owned(),
        Value::Bytes(_) => "BYTES".to_owned(),
        Value::Zoned { .. } => "ZONED_TIMESTAMP".to_owned(),
        Value::List(list) => format!("a list of {}", list.element()),
        Value::Values(_) => "a list of maps or lists".to_owned(),
        Value::Map(_) => "MAP".to_owned(),
        Value::ScalarMap(_) => "SCALAR_MAP".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(val: Val) -> Vec<u8> {
        proto::Value { val: Some(val) }.encode_to_vec()
    }

    #[test]
    fn exact_conversions_are_made_and_others_refused() {
        let check = |val: Val, scalar, expect: Option<Value>| {
            assert_eq!(decode(&bytes(val), ValueType::Scalar(scalar)).ok(), expect);
        };
        check(Val::Int32(7), ScalarType::Int64, Some(Value::Int64(7)));
        check(Val::Int64(7), ScalarType::Int32, Some(Value::Int32(7)));
        check(Val::Int64(1 << 40), ScalarType::Int32, None);
        check(
            Val::Float(0.1),
            ScalarType::Double,
            Some(Value::Double(f64::from(0.1_f32))),
        );
        check(Val::Double(0.1), ScalarType::Float, None);
        check(Val::String("1".into()), ScalarType::Int64, None);
        check(
            Val::UnixTimestamp(i64::MIN),
            ScalarType::UnixTimestamp,
            Some(Value::Null),
        );
        check(
            Val::UnixTimestamp(3),
            ScalarType::UnixTimestamp,
            Some(Value::UnixTimestamp(3_000_000)),
        );
        check(
            Val::String("{}".into()),
            ScalarType::Json,
            Some(Value::Text("{}".into())),
        );
        assert_eq!(decode(&[], ValueType::Map), Ok(Value::Null));
    }

    #[test]
    fn maps_keep_their_order_and_the_last_of_equal_keys() {
        let entry = |key: &str, value| proto::MapEntry {
            key: key.into(),
            value: Some(proto::Value {
                val: Some(Val::Int64(value)),
            }),
        };
        let map = proto::Map {
            val: vec![entry("z", 1), entry("a", 2), entry("z", 3)],
        };
        assert_eq!(
            decode(&bytes(Val::Map(map)), ValueType::Map),
            Ok(Value::Map(vec![
                ("z".into(), Value::Int64(3)),
                ("a".into(), Value::Int64(2))
            ]))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), number in 1..49_i32) {
            if let Some(value_type) = ValueType::from_feast(number)
                && let Ok(value) = decode(&bytes, value_type)
            {
                prop_assert!(value_type.accepts(&value));
            }
        }
    }
}

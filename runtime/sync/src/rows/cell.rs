//! One cell of an Arrow array, whatever its type: the careful way, for every pair of types that has
//! no fast path.

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrayRef, types};
use arrow_schema::{DataType, TimeUnit};
use galley_types::{EventTime, Limits, ListBuilder, ListItem, ScalarType, Value};

/// Times that a row may have: years 0001 to 9999, in microseconds. Others can be no text.
pub(crate) const TIMES_RANGE: std::ops::Range<i64> =
    -62_135_596_800_000_000..253_402_300_800_000_000;

/// Longest excerpt of a value in an error, in characters.
const EXCERPT_MAX: usize = 64;

/// What a cell holds, before it is known what it should become.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Single(f32),
    Double(f64),
    /// Microseconds and the zone of the column.
    Instant(i64, Option<&'a str>),
    Text(&'a str),
    Bytes(&'a [u8]),
    Decimal(String),
    List(ArrayRef),
    Struct(&'a arrow_array::StructArray, usize),
    /// Keys and values.
    Map(ArrayRef, ArrayRef),
}

/// Why a cell does not fit: what is there.
#[derive(Debug)]
pub(crate) struct Misfit(pub(crate) String);

pub(crate) type Fit<T> = Result<T, Misfit>;

/// Microseconds of a timestamp, or `None` when it is out of range.
#[inline]
pub(crate) fn micros(unit: TimeUnit, value: i64) -> Option<i64> {
    match unit {
        TimeUnit::Second => value.checked_mul(1_000_000),
        TimeUnit::Millisecond => value.checked_mul(1_000),
        TimeUnit::Microsecond => Some(value),
        TimeUnit::Nanosecond => Some(value.div_euclid(1_000)),
    }
}

/// The cell at `row`.
pub(crate) fn item(array: &dyn Array, row: usize) -> Fit<Item<'_>> {
    if row >= array.len() || array.is_null(row) {
        return Ok(Item::Null);
    }
    macro_rules! int {
        ($t:ty) => {
            Item::Int(i64::from(array.as_primitive::<$t>().value(row)))
        };
    }
    Ok(match array.data_type() {
        DataType::Null => Item::Null,
        DataType::Boolean => Item::Bool(array.as_boolean().value(row)),
        DataType::Int8 => int!(types::Int8Type),
        DataType::Int16 => int!(types::Int16Type),
        DataType::Int32 => int!(types::Int32Type),
        DataType::Int64 => int!(types::Int64Type),
        DataType::UInt8 => int!(types::UInt8Type),
        DataType::UInt16 => int!(types::UInt16Type),
        DataType::UInt32 => int!(types::UInt32Type),
        DataType::UInt64 => Item::UInt(array.as_primitive::<types::UInt64Type>().value(row)),
        DataType::Float16 => Item::Single(
            array
                .as_primitive::<types::Float16Type>()
                .value(row)
                .to_f32(),
        ),
        DataType::Float32 => Item::Single(array.as_primitive::<types::Float32Type>().value(row)),
        DataType::Float64 => Item::Double(array.as_primitive::<types::Float64Type>().value(row)),
        DataType::Timestamp(unit, zone) => {
            let raw = timestamp(array, *unit, row);
            let time = micros(*unit, raw)
                .ok_or_else(|| Misfit(format!("a timestamp out of range ({raw})")))?;
            Item::Instant(time, zone.as_deref())
        }
        DataType::Date32 => {
            let days = array.as_primitive::<types::Date32Type>().value(row);
            Item::Instant(i64::from(days) * 86_400_000_000, None)
        }
        DataType::Date64 => {
            let millis = array.as_primitive::<types::Date64Type>().value(row);
            let time = micros(TimeUnit::Millisecond, millis)
                .ok_or_else(|| Misfit(format!("a date out of range ({millis})")))?;
            Item::Instant(time, None)
        }
        DataType::Utf8 => Item::Text(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Item::Text(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Item::Text(array.as_string_view().value(row)),
        DataType::Binary => Item::Bytes(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Item::Bytes(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => Item::Bytes(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => Item::Bytes(array.as_fixed_size_binary().value(row)),
        DataType::Decimal128(..) | DataType::Decimal256(..) => decimal(array, row),
        DataType::Dictionary(..) => return dictionary(array, row),
        DataType::List(_) => Item::List(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Item::List(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Item::List(array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => Item::Struct(array.as_struct(), row),
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            Item::Map(column(&entries, 0)?, column(&entries, 1)?)
        }
        other => return Err(Misfit(format!("a column of type {other}"))),
    })
}

fn decimal(array: &dyn Array, row: usize) -> Item<'static> {
    Item::Decimal(match array.as_primitive_opt::<types::Decimal128Type>() {
        Some(narrow) => narrow.value_as_string(row),
        None => array
            .as_primitive::<types::Decimal256Type>()
            .value_as_string(row),
    })
}

fn column(entries: &arrow_array::StructArray, index: usize) -> Fit<ArrayRef> {
    entries
        .columns()
        .get(index)
        .cloned()
        .ok_or_else(|| Misfit("a map without keys and values".to_owned()))
}

fn dictionary(array: &dyn Array, row: usize) -> Fit<Item<'_>> {
    let dictionary = array
        .as_any_dictionary_opt()
        .ok_or_else(|| Misfit("a dictionary that cannot be read".to_owned()))?;
    let position = match item(dictionary.keys(), row)? {
        Item::Int(position) => usize::try_from(position).ok(),
        Item::UInt(position) => usize::try_from(position).ok(),
        _ => None,
    };
    match position.filter(|position| *position < dictionary.values().len()) {
        Some(position) => item(dictionary.values().as_ref(), position),
        None => Err(Misfit("a dictionary position out of range".to_owned())),
    }
}

#[inline]
pub(crate) fn timestamp(array: &dyn Array, unit: TimeUnit, row: usize) -> i64 {
    match unit {
        TimeUnit::Second => array
            .as_primitive::<types::TimestampSecondType>()
            .value(row),
        TimeUnit::Millisecond => array
            .as_primitive::<types::TimestampMillisecondType>()
            .value(row),
        TimeUnit::Microsecond => array
            .as_primitive::<types::TimestampMicrosecondType>()
            .value(row),
        TimeUnit::Nanosecond => array
            .as_primitive::<types::TimestampNanosecondType>()
            .value(row),
    }
}

/// The cell as a value of its own type; text at the top is JSON text.
pub(crate) fn tree(item: &Item<'_>, depth: usize) -> Fit<Value> {
    if depth > Limits::VALUE_DEPTH_MAX {
        return Err(Misfit("a value nested too deeply".to_owned()));
    }
    Ok(match item {
        Item::Null => Value::Null,
        Item::Bool(value) => Value::Bool(*value),
        Item::Int(value) => Value::Int64(*value),
        Item::UInt(value) => Value::Int64(i64::try_from(*value).map_err(|_| shown(item))?),
        Item::Single(value) => Value::Float(*value),
        Item::Double(value) => Value::Double(*value),
        Item::Instant(micros, _) => Value::UnixTimestamp(*micros),
        Item::Text(text) if depth == 0 => {
            json_tree(&serde_json::from_str(text).map_err(|_| shown(item))?)
        }
        Item::Text(text) => Value::Text((*text).to_owned()),
        Item::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        Item::Decimal(text) => Value::Text(text.clone()),
        Item::List(array) => {
            let values = (0..array.len())
                .map(|row| tree(&self::item(array.as_ref(), row)?, depth + 1))
                .collect::<Fit<Vec<Value>>>()?;
            packed(values)
        }
        Item::Struct(array, row) => {
            let mut entries = Vec::with_capacity(array.num_columns());
            for (field, column) in array.fields().iter().zip(array.columns()) {
                let value = tree(&self::item(column.as_ref(), *row)?, depth + 1)?;
                entries.push((field.name().clone(), value));
            }
            Value::Map(entries)
        }
        Item::Map(keys, values) => {
            let mut entries = Vec::with_capacity(keys.len());
            for row in 0..keys.len() {
                let key = match self::item(keys.as_ref(), row)? {
                    Item::Text(text) => text.to_owned(),
                    Item::Int(value) => value.to_string(),
                    other => return Err(shown(&other)),
                };
                entries.push((key, tree(&self::item(values.as_ref(), row)?, depth + 1)?));
            }
            Value::Map(entries)
        }
    })
}

/// Parsed JSON as a value; serde_json bounds the depth.
fn json_tree(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => number.as_i64().map_or_else(
            || Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            Value::Int64,
        ),
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Array(items) => packed(items.iter().map(json_tree).collect()),
        serde_json::Value::Object(entries) => Value::Map(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), json_tree(value)))
                .collect(),
        ),
    }
}

/// A list of scalars of one type as a packed list, anything else as values.
pub(crate) fn packed(values: Vec<Value>) -> Value {
    let element = match values.first() {
        Some(Value::Bool(_)) => ScalarType::Bool,
        Some(Value::Int32(_)) => ScalarType::Int32,
        Some(Value::Int64(_)) => ScalarType::Int64,
        Some(Value::Float(_)) => ScalarType::Float,
        Some(Value::Double(_)) => ScalarType::Double,
        Some(Value::UnixTimestamp(_)) => ScalarType::UnixTimestamp,
        Some(Value::Text(_)) => ScalarType::String,
        Some(Value::Bytes(_)) => ScalarType::Bytes,
        _ => return Value::Values(values),
    };
    let mut builder = ListBuilder::new(element);
    for value in &values {
        match ListItem::of(value).map(|item| builder.push(item)) {
            Some(Ok(())) => {}
            _ => return Value::Values(values),
        }
    }
    Value::List(builder.finish())
}

/// What is there, for a message.
pub(crate) fn shown(item: &Item<'_>) -> Misfit {
    Misfit(match item {
        Item::Null => "null".to_owned(),
        Item::Bool(value) => format!("{value} (boolean)"),
        Item::Int(value) => value.to_string(),
        Item::UInt(value) => value.to_string(),
        Item::Single(value) => format!("{value:?}"),
        Item::Double(value) => format!("{value:?}"),
        Item::Instant(micros, _) => format!("the timestamp {}", EventTime(*micros)),
        Item::Text(text) => format!("the text '{}'", excerpt(text)),
        Item::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Item::Decimal(text) => format!("the decimal {}", excerpt(text)),
        Item::List(array) => format!("a list of {} {}", array.len(), array.data_type()),
        Item::Struct(..) => "a struct".to_owned(),
        Item::Map(..) => "a map".to_owned(),
    })
}

pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_MAX).collect()
}

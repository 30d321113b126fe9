//! Parts of batches: rows of one feature view as an Arrow stream of its own.
//!
//! The columns are `event_timestamp`, `created` (null where there is none), the join keys and the
//! features, in the order in which the view has them. Numbers, booleans, instants, text, bytes and
//! lists of numbers are what Arrow has for them; any other value is bytes, encoded as in a stored
//! row. Nothing is compressed: a part is never larger in memory than it was on the way, whatever
//! it claims, and most of what features are made of does not compress.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, TimeUnit};
use galley_registry::JoinKey;
use galley_types::{KeyType, RowSchema, ScalarType, ValueType};

pub use decode::decode_part;
pub(super) use encode::{encode_part, next_part};

/// The columns before the join keys.
const TIMES: [&str; 2] = ["event_timestamp", "created"];

/// The Arrow schema of a view's parts.
pub(super) fn schema(join_keys: &[JoinKey], features: &RowSchema) -> Schema {
    let [event, created] = TIMES;
    let mut fields = vec![
        Field::new(event, instant(), false),
        Field::new(created, instant(), true),
    ];
    for key in join_keys {
        fields.push(Field::new(&key.name, key_column(key.key_type), false));
    }
    for feature in &features.fields {
        fields.push(Field::new(&feature.name, column(feature.value_type), true));
    }
    Schema::new(fields)
}

/// What a view's parts look like, in one line: batches of two schemas cannot be one chain.
pub(super) fn fingerprint(join_keys: &[JoinKey], features: &RowSchema) -> String {
    let keys = join_keys
        .iter()
        .map(|key| format!("{}:{}\n", key.name, key.key_type));
    let features = features
        .fields
        .iter()
        .map(|field| format!("{}:{}\n", field.name, field.value_type));
    let text: String = keys.chain(["\n".to_owned()]).chain(features).collect();
    let digest = super::key::hex(&super::key::sha256(text.as_bytes()));
    digest.chars().take(16).collect()
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
}

fn key_column(key_type: KeyType) -> DataType {
    match key_type {
        KeyType::Bytes => DataType::Binary,
        KeyType::String => DataType::Utf8,
        KeyType::Int32 => DataType::Int32,
        KeyType::Int64 => DataType::Int64,
        KeyType::UnixTimestamp => instant(),
    }
}

fn column(value_type: ValueType) -> DataType {
    match value_type {
        ValueType::Scalar(scalar) => match scalar {
            ScalarType::Int32 => DataType::Int32,
            ScalarType::Int64 => DataType::Int64,
            ScalarType::Double => DataType::Float64,
            ScalarType::Float => DataType::Float32,
            ScalarType::Bool => DataType::Boolean,
            ScalarType::UnixTimestamp => instant(),
            scalar if scalar.is_text() => DataType::Utf8,
            _ => DataType::Binary,
        },
        ValueType::List(element) => match numbers(element) {
            Some(element) => DataType::List(Arc::new(Field::new("item", element, false))),
            None => DataType::Binary,
        },
        _ => DataType::Binary,
    }
}

/// The type of a list's elements where they are numbers.
fn numbers(element: ScalarType) -> Option<DataType> {
    Some(match element {
        ScalarType::Int32 => DataType::Int32,
        ScalarType::Int64 => DataType::Int64,
        ScalarType::Double => DataType::Float64,
        ScalarType::Float => DataType::Float32,
        _ => return None,
    })
}

//! Values as JSON.

use base64::Engine as _;
use galley_types::{EventTime, Value};

/// A value as JSON: what a map, struct or nested list is where only text crosses. Texts, numbers and
/// truth values are what they are in JSON; instants are RFC 3339 texts, bytes base64.
#[must_use]
pub fn json_of(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int32(value) => (*value).into(),
        Value::Int64(value) => (*value).into(),
        Value::Float(value) => f64::from(*value).into(),
        Value::Double(value) => (*value).into(),
        Value::UnixTimestamp(micros) => EventTime(*micros).to_string().into(),
        Value::Zoned { micros, zone } => format!("{}[{zone}]", EventTime(*micros)).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => base64::engine::general_purpose::STANDARD
            .encode(bytes)
            .into(),
        Value::List(list) => list
            .as_ref()
            .iter()
            .map(|item| json_of(&item.to_value()))
            .collect(),
        Value::Values(values) => values.iter().map(json_of).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), json_of(value)))
            .collect(),
        Value::ScalarMap(entries) => entries
            .iter()
            .map(|(key, value)| (json_key(key), json_of(value)))
            .collect(),
    }
}

fn json_key(key: &Value) -> String {
    match json_of(key) {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

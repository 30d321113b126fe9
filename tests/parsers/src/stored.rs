//! What lies in a store, and what another online store held.

use galley_node::Parcel;
use galley_store::{Row, from_outside};
use galley_sync::from_outside::{feast_key, feast_value};
use galley_types::{EntityKey, KeyType, KeyValue, ScalarType, Value, ValueType};

use crate::rides::RIDES;

/// Key types in as many orders as matter.
const KEYS: [&[KeyType]; 5] = [
    &[KeyType::Int64],
    &[KeyType::String],
    &[KeyType::String, KeyType::Int32],
    &[KeyType::Bytes, KeyType::UnixTimestamp, KeyType::String],
    &[],
];

/// A byte that chooses what the others are.
pub(crate) fn stored(bytes: &[u8]) {
    let Some((what, bytes)) = bytes.split_first() else {
        return;
    };
    match what % 5 {
        0 => row(bytes),
        1 => key(bytes),
        2 => parcel(bytes),
        3 => feast(bytes),
        _ => {
            let _ = from_outside::record(bytes);
        }
    }
}

/// Every type that Feast numbers.
fn types() -> impl Iterator<Item = ValueType> {
    (0..64).filter_map(ValueType::from_feast)
}

fn row(bytes: &[u8]) {
    let Ok(row) = Row::parse(bytes) else {
        return;
    };
    let _ = (row.event_time(), row.created(), row.schema());
    for slot in 0..row.slot_count().min(64) {
        for value_type in types() {
            if let Ok(cell) = row.cell(slot, value_type) {
                let value = cell.to_value();
                assert!(
                    value.is_null() || value_type.accepts(&value),
                    "{value:?} is no {value_type}"
                );
            }
        }
    }
}

/// Whatever can be read as a key is written as it was: two keys never mean the same row.
fn key(bytes: &[u8]) {
    for types in KEYS {
        let Ok(values) = EntityKey::decode(types, bytes) else {
            continue;
        };
        let mut again = EntityKey::new();
        for (index, value) in values.iter().enumerate() {
            let value = match value {
                Value::Int32(value) => KeyValue::Int32(*value),
                Value::Int64(value) => KeyValue::Int64(*value),
                Value::UnixTimestamp(micros) => KeyValue::UnixTimestamp(*micros),
                Value::Text(text) => KeyValue::String(text),
                Value::Bytes(bytes) => KeyValue::Bytes(bytes),
                other => panic!("{other:?} is no key"),
            };
            if again.push(value, index + 1 == values.len()).is_err() {
                // Longer than a key may be.
                return;
            }
        }
        assert_eq!(again.as_bytes(), bytes, "{types:?}");
    }
}

fn parcel(bytes: &[u8]) {
    let Some(parcel) = Parcel::open(bytes) else {
        return;
    };
    for row in parcel.rows().take(64) {
        let Ok(row) = row else {
            continue;
        };
        for column in parcel.columns() {
            if let Ok(cell) = row.cell(column) {
                let _ = cell.to_value();
            }
        }
    }
}

fn feast(bytes: &[u8]) {
    for view in RIDES.views() {
        let _ = feast_key(bytes, view);
    }
    for value_type in types() {
        if let Ok(value) = feast_value(bytes, value_type) {
            assert!(
                value.is_null() || value_type.accepts(&value),
                "{value:?} is no {value_type}"
            );
        }
    }
    let _ = feast_value(bytes, ValueType::Scalar(ScalarType::Int64));
}

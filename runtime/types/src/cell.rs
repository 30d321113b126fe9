//! One feature's value as it is read from a row.

use crate::list::ListRef;
use crate::value::ValueError;
use crate::{ScalarType, Value, ValueType, tree};

/// A borrowed value. Only maps, structs and nested lists are unpacked on reading.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// Boolean.
    Bool(bool),
    /// 32-bit integer.
    Int32(i32),
    /// 64-bit integer.
    Int64(i64),
    /// Single.
    Float(f32),
    /// Double.
    Double(f64),
    /// Microseconds since the epoch.
    UnixTimestamp(i64),
    /// Text: string, JSON, UUID, time UUID or decimal.
    Text(&'a str),
    /// Raw bytes.
    Bytes(&'a [u8]),
    /// Microseconds since the epoch and the name of a zone.
    Zoned(i64, &'a str),
    /// A list or set of scalars.
    List(ListRef<'a>),
    /// Anything else.
    Tree(Value),
}

// === impl Cell ===

impl<'a> Cell<'a> {
    /// The cell of a fixed-width type from its 8-byte slot.
    #[inline]
    #[must_use]
    pub fn from_slot(scalar: ScalarType, slot: [u8; 8]) -> Self {
        Self::from_bits(scalar, u64::from_le_bytes(slot))
    }

    /// The cell of a fixed-width type from the bits of its slot.
    #[inline]
    #[must_use]
    pub fn from_bits(scalar: ScalarType, bits: u64) -> Self {
        // Narrow values lie in the low half.
        let low = (bits & u64::from(u32::MAX)) as u32;
        match scalar {
            ScalarType::Bool => Self::Bool(bits != 0),
            ScalarType::Int32 => Self::Int32(low.cast_signed()),
            ScalarType::Float => Self::Float(f32::from_bits(low)),
            ScalarType::Double => Self::Double(f64::from_bits(bits)),
            ScalarType::UnixTimestamp => Self::UnixTimestamp(bits.cast_signed()),
            _ => Self::Int64(bits.cast_signed()),
        }
    }

    /// The cell of a variable-width type from its bytes in a row's heap.
    ///
    /// # Errors
    /// [`ValueError::Malformed`] when the bytes do not decode as `value_type`;
    /// [`ValueError::WrongType`] when they are a value of another type.
    pub fn from_heap(value_type: ValueType, bytes: &'a [u8]) -> Result<Self, ValueError> {
        match value_type {
            ValueType::Scalar(ScalarType::Bytes) => Ok(Self::Bytes(bytes)),
            ValueType::Scalar(ScalarType::ZonedTimestamp) => {
                let malformed = ValueError::Malformed {
                    what: "zoned timestamp",
                };
                let (micros, zone) = bytes.split_first_chunk::<8>().ok_or(malformed.clone())?;
                let zone = std::str::from_utf8(zone).map_err(|_| malformed)?;
                Ok(Self::Zoned(i64::from_le_bytes(*micros), zone))
            }
            ValueType::Scalar(_) => std::str::from_utf8(bytes)
                .map(Self::Text)
                .map_err(|_| ValueError::Malformed { what: "text" }),
            ValueType::List(element) | ValueType::Set(element) => {
                ListRef::parse(element, bytes).map(Self::List)
            }
            // A tree says itself what it is, which need not be what the column holds.
            _ => match tree::decode(bytes)? {
                value if value_type.accepts(&value) => Ok(Self::Tree(value)),
                _ => Err(ValueError::WrongType {
                    expected: value_type,
                }),
            },
        }
    }

    /// An owned copy.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int32(value) => Value::Int32(*value),
            Self::Int64(value) => Value::Int64(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Double(value) => Value::Double(*value),
            Self::UnixTimestamp(value) => Value::UnixTimestamp(*value),
            Self::Text(text) => Value::Text((*text).to_owned()),
            Self::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Self::Zoned(micros, zone) => Value::Zoned {
                micros: *micros,
                zone: (*zone).to_owned(),
            },
            Self::List(list) => Value::List(list.to_list()),
            Self::Tree(value) => value.clone(),
        }
    }
}

impl Value {
    /// The value as a cell, borrowed where it can be.
    #[must_use]
    pub fn as_cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Bool(value) => Cell::Bool(*value),
            Self::Int32(value) => Cell::Int32(*value),
            Self::Int64(value) => Cell::Int64(*value),
            Self::Float(value) => Cell::Float(*value),
            Self::Double(value) => Cell::Double(*value),
            Self::UnixTimestamp(value) => Cell::UnixTimestamp(*value),
            Self::Text(text) => Cell::Text(text),
            Self::Bytes(bytes) => Cell::Bytes(bytes),
            Self::Zoned { micros, zone } => Cell::Zoned(*micros, zone),
            Self::List(list) => Cell::List(list.as_ref()),
            tree => Cell::Tree(tree.clone()),
        }
    }

    /// The 8-byte slot of a fixed-width value, or `None` for null and variable-width values.
    #[must_use]
    pub fn to_slot(&self) -> Option<[u8; 8]> {
        Some(match self {
            Self::Bool(value) => u64::from(*value).to_le_bytes(),
            Self::Int32(value) => i64::from(*value).to_le_bytes(),
            Self::Int64(value) | Self::UnixTimestamp(value) => value.to_le_bytes(),
            Self::Float(value) => u64::from(value.to_bits()).to_le_bytes(),
            Self::Double(value) => value.to_le_bytes(),
            _ => return None,
        })
    }

    /// Appends the heap bytes of a variable-width value stored as `value_type`.
    ///
    /// # Errors
    /// [`ValueError::WrongType`] when the value is null, fixed-width or of another type;
    /// [`ValueError::TooLarge`] and [`ValueError::TooDeep`] when a bound is passed.
    pub fn write_heap(&self, value_type: ValueType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        if !value_type.accepts(self) {
            return Err(ValueError::WrongType {
                expected: value_type,
            });
        }
        match (value_type, self) {
            (ValueType::Scalar(_), Self::Text(text)) => out.extend_from_slice(text.as_bytes()),
            (ValueType::Scalar(_), Self::Bytes(bytes)) => out.extend_from_slice(bytes),
            (ValueType::Scalar(_), Self::Zoned { micros, zone }) => {
                out.extend_from_slice(&micros.to_le_bytes());
                out.extend_from_slice(zone.as_bytes());
            }
            (ValueType::List(_) | ValueType::Set(_), Self::List(list)) => {
                out.extend_from_slice(list.payload());
            }
            (ValueType::Scalar(_) | ValueType::List(_) | ValueType::Set(_), _) => {
                return Err(ValueError::WrongType {
                    expected: value_type,
                });
            }
            _ => tree::encode(self, out)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_keep_every_bit() {
        for value in [
            Value::Bool(true),
            Value::Int32(i32::MIN),
            Value::Int64(9_007_199_254_740_993),
            Value::Float(0.1),
            Value::Double(-0.0),
            Value::UnixTimestamp(-1),
        ] {
            let scalar = match &value {
                Value::Bool(_) => ScalarType::Bool,
                Value::Int32(_) => ScalarType::Int32,
                Value::Float(_) => ScalarType::Float,
                Value::Double(_) => ScalarType::Double,
                Value::UnixTimestamp(_) => ScalarType::UnixTimestamp,
                _ => ScalarType::Int64,
            };
            assert_eq!(value.as_cell().to_value(), value);
            let slot = value.to_slot().unwrap();
            assert_eq!(Cell::from_slot(scalar, slot).to_value(), value);
        }
    }

    #[test]
    fn a_tree_of_another_type_is_refused() {
        let mut bytes = Vec::new();
        tree::encode(&Value::Bytes(vec![]), &mut bytes).unwrap();
        for expected in [ValueType::Map, ValueType::StructList, ValueType::ScalarMap] {
            let read = Cell::from_heap(expected, &bytes);
            assert_eq!(read, Err(ValueError::WrongType { expected }));
        }
    }

    #[test]
    fn heap_values_round_trip() {
        let map = Value::Map(vec![("k".into(), Value::Int64(1))]);
        let zoned = Value::Zoned {
            micros: 5,
            zone: "+05:30".into(),
        };
        for (value_type, value) in [
            (
                ValueType::Scalar(ScalarType::Json),
                Value::Text("{}".into()),
            ),
            (
                ValueType::Scalar(ScalarType::Bytes),
                Value::Bytes(vec![0xfe]),
            ),
            (ValueType::Scalar(ScalarType::ZonedTimestamp), zoned),
            (ValueType::Map, map),
        ] {
            assert_eq!(value.as_cell().to_value(), value);
            let mut bytes = Vec::new();
            value.write_heap(value_type, &mut bytes).unwrap();
            assert_eq!(
                Cell::from_heap(value_type, &bytes).unwrap().to_value(),
                value
            );
        }
    }
}

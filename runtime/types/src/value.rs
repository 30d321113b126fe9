//! Owned values: what a push or a batch brings, before it becomes part of a row.

use crate::{List, ValueType};

/// Why a value could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The value is not of the declared type.
    #[error("expected {expected}")]
    WrongType {
        /// The declared type.
        expected: ValueType,
    },
    /// Stored bytes do not decode.
    #[error("malformed {what}")]
    Malformed {
        /// What was being decoded.
        what: &'static str,
    },
    /// The value passes a length its encoding can hold.
    #[error("the value is too large")]
    TooLarge,
    /// The value is nested deeper than [`crate::Limits::VALUE_DEPTH_MAX`].
    #[error("the value is nested too deeply")]
    TooDeep,
}

/// One value of a feature.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
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
    Text(String),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// An instant and the zone it was written in.
    Zoned {
        /// Microseconds since the epoch.
        micros: i64,
        /// IANA name or fixed offset (`+05:30`), `UTC` when empty.
        zone: String,
    },
    /// A list or set of scalars.
    List(List),
    /// A list or set of values that are not scalars: maps, structs, lists.
    Values(Vec<Self>),
    /// A map or struct.
    Map(Vec<(String, Self)>),
    /// A map whose keys are scalars of any type.
    ScalarMap(Vec<(Self, Self)>),
}

impl Value {
    /// Whether this is [`Value::Null`].
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl ValueType {
    /// Whether `value` may be stored under this type; null fits every type.
    #[must_use]
    pub fn accepts(self, value: &Value) -> bool {
        use crate::ScalarType as S;
        match (self, value) {
            (_, Value::Null)
            | (Self::Scalar(S::Bool), Value::Bool(_))
            | (Self::Scalar(S::Int32), Value::Int32(_))
            | (Self::Scalar(S::Int64), Value::Int64(_))
            | (Self::Scalar(S::Float), Value::Float(_))
            | (Self::Scalar(S::Double), Value::Double(_))
            | (Self::Scalar(S::UnixTimestamp), Value::UnixTimestamp(_))
            | (Self::Scalar(S::Bytes), Value::Bytes(_))
            | (Self::Scalar(S::ZonedTimestamp), Value::Zoned { .. })
            | (Self::Map | Self::Struct, Value::Map(_))
            | (
                Self::MapList | Self::StructList | Self::ValueList | Self::ValueSet,
                Value::Values(_),
            )
            | (Self::ScalarMap, Value::ScalarMap(_)) => true,
            (Self::Scalar(scalar), Value::Text(_)) => scalar.is_text(),
            (Self::List(scalar) | Self::Set(scalar), Value::List(list)) => list.element() == scalar,
            _ => false,
        }
    }
}

//! Feast's value types.

use std::fmt;

/// A type whose value is one thing: the element of lists and sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ScalarType {
    /// Raw bytes.
    Bytes = 1,
    /// UTF-8 text.
    String = 2,
    /// Signed 32-bit integer.
    Int32 = 3,
    /// Signed 64-bit integer.
    Int64 = 4,
    /// IEEE 754 double.
    Double = 5,
    /// IEEE 754 single.
    Float = 6,
    /// Boolean.
    Bool = 7,
    /// An instant, held in microseconds since the epoch (Feast's wire has seconds).
    UnixTimestamp = 8,
    /// JSON text, not parsed.
    Json = 32,
    /// UUID text.
    Uuid = 36,
    /// Time-ordered UUID text.
    TimeUuid = 37,
    /// Decimal text.
    Decimal = 44,
    /// An instant with the zone it was written in.
    ZonedTimestamp = 48,
}

/// The type of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueType {
    /// One value.
    Scalar(ScalarType),
    /// An ordered list.
    List(ScalarType),
    /// A set: a list whose order means nothing.
    Set(ScalarType),
    /// Text keys to values of any type.
    Map,
    /// A list of maps.
    MapList,
    /// Named fields (their types stand in the feature's tags).
    Struct,
    /// A list of structs.
    StructList,
    /// A list of lists.
    ValueList,
    /// A set of lists.
    ValueSet,
    /// Keys of any scalar type to values of any type.
    ScalarMap,
}

// === impl ScalarType ===

impl ScalarType {
    /// Every scalar type, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Bytes,
        Self::String,
        Self::Int32,
        Self::Int64,
        Self::Double,
        Self::Float,
        Self::Bool,
        Self::UnixTimestamp,
        Self::Json,
        Self::Uuid,
        Self::TimeUuid,
        Self::Decimal,
        Self::ZonedTimestamp,
    ];

    /// The byte that stands for this type in rows and trees; equal to Feast's number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The inverse of [`ScalarType::code`].
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| scalar.code() == code)
    }

    /// Bytes of one element in a list, or `None` where elements vary in length.
    #[must_use]
    pub fn width(self) -> Option<usize> {
        match self {
            Self::Bool => Some(1),
            Self::Int32 | Self::Float => Some(4),
            Self::Int64 | Self::Double | Self::UnixTimestamp => Some(8),
            _ => None,
        }
    }

    /// Whether values of this type are UTF-8 text.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(
            self,
            Self::String | Self::Json | Self::Uuid | Self::TimeUuid | Self::Decimal
        )
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bytes => "BYTES",
            Self::String => "STRING",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Double => "DOUBLE",
            Self::Float => "FLOAT",
            Self::Bool => "BOOL",
            Self::UnixTimestamp => "UNIX_TIMESTAMP",
            Self::Json => "JSON",
            Self::Uuid => "UUID",
            Self::TimeUuid => "TIME_UUID",
            Self::Decimal => "DECIMAL",
            Self::ZonedTimestamp => "ZONED_TIMESTAMP",
        }
    }
}

impl fmt::Display for ScalarType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl ValueType ===

/// Feast's number of every type (`feast.types.ValueType.Enum`, and 30 and 31 which only its Python
/// classes define and which hold bytes).
const NUMBERS: [(i32, ValueType); 44] = {
    use ScalarType as S;
    use ValueType as V;
    [
        (1, V::Scalar(S::Bytes)),
        (2, V::Scalar(S::String)),
        (3, V::Scalar(S::Int32)),
        (4, V::Scalar(S::Int64)),
        (5, V::Scalar(S::Double)),
        (6, V::Scalar(S::Float)),
        (7, V::Scalar(S::Bool)),
        (8, V::Scalar(S::UnixTimestamp)),
        (11, V::List(S::Bytes)),
        (12, V::List(S::String)),
        (13, V::List(S::Int32)),
        (14, V::List(S::Int64)),
        (15, V::List(S::Double)),
        (16, V::List(S::Float)),
        (17, V::List(S::Bool)),
        (18, V::List(S::UnixTimestamp)),
        (20, V::Map),
        (21, V::MapList),
        (22, V::Set(S::Bytes)),
        (23, V::Set(S::String)),
        (24, V::Set(S::Int32)),
        (25, V::Set(S::Int64)),
        (26, V::Set(S::Double)),
        (27, V::Set(S::Float)),
        (28, V::Set(S::Bool)),
        (29, V::Set(S::UnixTimestamp)),
        (30, V::Scalar(S::Bytes)),
        (31, V::Scalar(S::Bytes)),
        (32, V::Scalar(S::Json)),
        (33, V::List(S::Json)),
        (34, V::Struct),
        (35, V::StructList),
        (36, V::Scalar(S::Uuid)),
        (37, V::Scalar(S::TimeUuid)),
        (38, V::List(S::Uuid)),
        (39, V::List(S::TimeUuid)),
        (40, V::Set(S::Uuid)),
        (41, V::Set(S::TimeUuid)),
        (42, V::ValueList),
        (43, V::ValueSet),
        (44, V::Scalar(S::Decimal)),
        (45, V::List(S::Decimal)),
        (46, V::Set(S::Decimal)),
        (48, V::Scalar(S::ZonedTimestamp)),
    ]
};

/// `SCALAR_MAP`, kept apart from the table because its number stands between its neighbours'.
const SCALAR_MAP: i32 = 47;

impl ValueType {
    /// The type with Feast's number `number`, or `None` for INVALID, NULL and numbers not known.
    #[must_use]
    pub fn from_feast(number: i32) -> Option<Self> {
        if number == SCALAR_MAP {
            return Some(Self::ScalarMap);
        }
        NUMBERS
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, value_type)| *value_type)
    }

    /// Feast's number of this type.
    #[must_use]
    pub fn feast(self) -> i32 {
        NUMBERS
            .iter()
            .find(|(_, value_type)| *value_type == self)
            .map_or(SCALAR_MAP, |(number, _)| *number)
    }

    /// The scalar type held in a fixed 8-byte slot of a row, or `None` where the value lies in the
    /// row's heap.
    #[must_use]
    pub fn fixed(self) -> Option<ScalarType> {
        match self {
            Self::Scalar(scalar) if scalar.width().is_some() => Some(scalar),
            _ => None,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => f.write_str(scalar.name()),
            Self::List(scalar) => write!(f, "{}_LIST", scalar.name()),
            Self::Set(scalar) => write!(f, "{}_SET", scalar.name()),
            Self::Map => f.write_str("MAP"),
            Self::MapList => f.write_str("MAP_LIST"),
            Self::Struct => f.write_str("STRUCT"),
            Self::StructList => f.write_str("STRUCT_LIST"),
            Self::ValueList => f.write_str("VALUE_LIST"),
            Self::ValueSet => f.write_str("VALUE_SET"),
            Self::ScalarMap => f.write_str("SCALAR_MAP"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feast_numbers_round_trip() {
        for number in 1..=48 {
            let Some(value_type) = ValueType::from_feast(number) else {
                assert!(matches!(number, 9 | 10 | 19), "{number} is not understood");
                continue;
            };
            let expect = if matches!(number, 30 | 31) { 1 } else { number };
            assert_eq!(value_type.feast(), expect, "{value_type}");
        }
    }

    #[test]
    fn scalar_codes_round_trip() {
        for scalar in ScalarType::ALL {
            assert_eq!(ScalarType::from_code(scalar.code()), Some(scalar));
        }
    }
}

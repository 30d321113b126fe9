//! Feast's types as the Python and JavaScript runtimes call them.

use galley_types::{ScalarType, ValueType};

/// What a column of `value_type` is called in a Python or JavaScript project, such as `int64`,
/// `list:string` or, for everything that crosses as JSON text, `json`.
#[must_use]
pub fn type_tag(value_type: ValueType) -> String {
    match value_type {
        ValueType::Scalar(scalar) => scalar_tag(scalar).to_owned(),
        ValueType::List(scalar) => format!("list:{}", scalar_tag(scalar)),
        ValueType::Set(scalar) => format!("set:{}", scalar_tag(scalar)),
        ValueType::Map
        | ValueType::MapList
        | ValueType::Struct
        | ValueType::StructList
        | ValueType::ValueList
        | ValueType::ValueSet
        | ValueType::ScalarMap => "json".to_owned(),
    }
}

fn scalar_tag(scalar: ScalarType) -> &'static str {
    match scalar {
        ScalarType::Bytes => "bytes",
        ScalarType::String => "string",
        ScalarType::Int32 => "int32",
        ScalarType::Int64 => "int64",
        ScalarType::Double => "float64",
        ScalarType::Float => "float32",
        ScalarType::Bool => "bool",
        ScalarType::UnixTimestamp => "timestamp",
        ScalarType::Json => "json",
        ScalarType::Uuid | ScalarType::TimeUuid => "uuid",
        ScalarType::Decimal => "decimal",
        ScalarType::ZonedTimestamp => "zoned",
    }
}

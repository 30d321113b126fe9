//! What a transformation says of itself, and how its types relate to Feast's.

use std::collections::HashSet;
use std::fmt;

use galley_types::{ScalarType, ValueType};
use wasmtime::component::{ComponentType, Lift};

use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::text::printable;

/// A kind of value that crosses the boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub enum Kind {
    /// True or false.
    #[component(name = "boolean")]
    Boolean,
    /// 32-bit integer.
    #[component(name = "int32")]
    Int32,
    /// 64-bit integer.
    #[component(name = "int64")]
    Int64,
    /// Single.
    #[component(name = "float32")]
    Float32,
    /// Double.
    #[component(name = "float64")]
    Float64,
    /// UTF-8 text.
    #[component(name = "utf8")]
    Utf8,
    /// Bytes.
    #[component(name = "binary")]
    Binary,
    /// Microseconds since the epoch.
    #[component(name = "timestamp-micros")]
    TimestampMicros,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ComponentType, Lift)]
#[component(variant)]
pub enum DataType {
    /// One value a row.
    #[component(name = "scalar")]
    Scalar(Kind),
    /// A list of values a row.
    #[component(name = "array")]
    Array(Kind),
}

/// A named input or output.
#[derive(Clone, Debug, PartialEq, Eq, Hash, ComponentType, Lift)]
#[component(record)]
pub struct Field {
    /// The feature's name, `view__feature` where two source views have the same.
    pub name: String,
    /// Its type.
    #[component(name = "data-type")]
    pub data_type: DataType,
    /// Input: the transformation copes with nulls. Output: it may give nulls.
    pub nullable: bool,
}

/// What happens to rows that have a null in one of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub enum NullHandling {
    /// They are handed over where the input is nullable.
    #[component(name = "called-on-null")]
    CalledOnNull,
    /// They are kept back; every output of theirs is null.
    #[component(name = "null-in-null-out")]
    NullInNullOut,
}

/// How long an answer stays true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub enum Volatility {
    /// The same inputs always give the same outputs.
    #[component(name = "immutable")]
    Immutable,
    /// The outputs also depend on the facts of the request.
    #[component(name = "per-request")]
    PerRequest,
    /// Nothing is promised.
    #[component(name = "volatile")]
    Volatile,
}

/// What a transformation is, what it takes and what it gives, as its `describe` says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, ComponentType, Lift)]
#[component(record)]
pub struct Signature {
    /// The on-demand feature view it implements.
    pub name: String,
    /// The author's version of it.
    pub version: String,
    /// The inputs, in the order of the columns of a batch.
    pub inputs: Vec<Field>,
    /// The outputs, in the order of the columns of an answer.
    pub outputs: Vec<Field>,
    /// What happens to rows with nulls.
    #[component(name = "null-handling")]
    pub null_handling: NullHandling,
    /// How long an answer stays true.
    pub volatility: Volatility,
}

// === impl Kind ===

impl Kind {
    /// The kind in which values of a Feast type cross unless the author chose another.
    #[must_use]
    pub fn of(scalar: ScalarType) -> Self {
        match scalar {
            ScalarType::Bool => Self::Boolean,
            ScalarType::Int32 => Self::Int32,
            ScalarType::Int64 => Self::Int64,
            ScalarType::Float => Self::Float32,
            ScalarType::Double => Self::Float64,
            ScalarType::Bytes => Self::Binary,
            ScalarType::UnixTimestamp => Self::TimestampMicros,
            ScalarType::String
            | ScalarType::Json
            | ScalarType::Uuid
            | ScalarType::TimeUuid
            | ScalarType::Decimal
            | ScalarType::ZonedTimestamp => Self::Utf8,
        }
    }

    /// Whether values of this Feast type can be handed over in this kind: its own kind, a wider
    /// number, or the instant of a zoned timestamp.
    #[must_use]
    pub fn takes(self, scalar: ScalarType) -> bool {
        Self::of(scalar) == self
            || matches!(
                (self, scalar),
                (Self::Int64, ScalarType::Int32)
                    | (Self::Float64, ScalarType::Float)
                    | (Self::TimestampMicros, ScalarType::ZonedTimestamp)
            )
    }

    /// Whether values of this kind become values of this Feast type as they are.
    #[must_use]
    pub fn gives(self, scalar: ScalarType) -> bool {
        Self::of(scalar) == self
            || (self == Self::TimestampMicros && scalar == ScalarType::ZonedTimestamp)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Utf8 => "utf8",
            Self::Binary => "binary",
            Self::TimestampMicros => "timestamp-micros",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl DataType ===

impl DataType {
    /// The type in which a Feast type crosses unless the author chose another. Maps, structs and
    /// nested lists cross as JSON text.
    #[must_use]
    pub fn of(value_type: ValueType) -> Self {
        match value_type {
            ValueType::Scalar(scalar) => Self::Scalar(Kind::of(scalar)),
            ValueType::List(scalar) | ValueType::Set(scalar) => Self::Array(Kind::of(scalar)),
            _ => Self::Scalar(Kind::Utf8),
        }
    }

    /// Whether an input declared so can be fed from a feature of this type.
    #[must_use]
    pub fn takes(self, value_type: ValueType) -> bool {
        match (self, value_type) {
            (Self::Scalar(kind), ValueType::Scalar(scalar))
            | (Self::Array(kind), ValueType::List(scalar) | ValueType::Set(scalar)) => {
                kind.takes(scalar)
            }
            (_, ValueType::Scalar(_) | ValueType::List(_) | ValueType::Set(_)) => false,
            _ => self == Self::of(value_type),
        }
    }

    /// Whether an output declared so is a feature of this type.
    #[must_use]
    pub fn gives(self, value_type: ValueType) -> bool {
        match (self, value_type) {
            (Self::Scalar(kind), ValueType::Scalar(scalar))
            | (Self::Array(kind), ValueType::List(scalar) | ValueType::Set(scalar)) => {
                kind.gives(scalar)
            }
            (_, ValueType::Scalar(_) | ValueType::List(_) | ValueType::Set(_)) => false,
            _ => self == Self::of(value_type),
        }
    }

    /// The kind of the values.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Scalar(kind) | Self::Array(kind) => kind,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(kind) => write!(f, "{kind}"),
            Self::Array(kind) => write!(f, "array of {kind}"),
        }
    }
}

// === impl Signature ===

impl Signature {
    /// Checks what a component said of itself.
    ///
    /// # Errors
    /// [`Error::Signature`] when a name is empty, too long, not printable or used twice, or when
    /// there are too many fields or no output.
    pub(crate) fn check(&self, limits: &Limits) -> Result<()> {
        let refuse = |what: String| Err(Error::Signature { what });
        check_name("the name of the view", &self.name)?;
        if self.version.len() > Self::VERSION_BYTES_MAX || !printable(&self.version) {
            return refuse(format!(
                "the version is longer than {} bytes or has control characters",
                Self::VERSION_BYTES_MAX
            ));
        }
        if self.outputs.is_empty() {
            return refuse("it has no outputs".to_owned());
        }
        for (what, fields) in [("input", &self.inputs), ("output", &self.outputs)] {
            if fields.len() > limits.columns_max {
                return refuse(format!(
                    "it has {} {what}s, more than {}",
                    fields.len(),
                    limits.columns_max
                ));
            }
            let mut seen = HashSet::with_capacity(fields.len());
            for field in fields {
                check_name(&format!("the name of an {what}"), &field.name)?;
                if !seen.insert(field.name.as_str()) {
                    return refuse(format!("it has two {what}s named '{}'", field.name));
                }
            }
        }
        Ok(())
    }

    /// Bytes of a version.
    pub const VERSION_BYTES_MAX: usize = 128;
}

fn check_name(what: &str, name: &str) -> Result<()> {
    let max = galley_types::Limits::NAME_BYTES_MAX;
    let fault = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > max {
        format!("is longer than {max} bytes")
    } else if !printable(name) {
        "has control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::Signature {
        what: format!("{what} {fault}"),
    })
}

impl Signature {
    /// What is known of a component before it was asked.
    pub(crate) fn unknown() -> Self {
        Self {
            name: String::new(),
            version: String::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            null_handling: NullHandling::CalledOnNull,
            volatility: Volatility::Volatile,
        }
    }
}

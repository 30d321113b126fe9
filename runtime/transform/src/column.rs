//! Columns: borrowed ones that go into a guest's memory in one copy each, owned ones that come out
//! in one copy each. The layout is that of the contract, which is Arrow's.

use wasmtime::component::{ComponentType, Lift, Lower};

use crate::signature::{DataType, Kind};

/// Borrowed values of varying length: value `i` is `data[offsets[i]..offsets[i + 1]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType)]
#[component(record)]
pub struct PackedRef<'a> {
    /// One more than there are values, starting with 0.
    pub offsets: &'a [u32],
    /// The values, end to end.
    pub data: &'a [u8],
}

/// Borrowed values of one kind.
#[derive(Clone, Copy, Debug, PartialEq, ComponentType)]
#[component(variant)]
pub enum ScalarsRef<'a> {
    /// One byte each, 0 or 1.
    #[component(name = "boolean")]
    Boolean(&'a [u8]),
    /// 32-bit integers.
    #[component(name = "int32")]
    Int32(&'a [i32]),
    /// 64-bit integers.
    #[component(name = "int64")]
    Int64(&'a [i64]),
    /// Singles.
    #[component(name = "float32")]
    Float32(&'a [f32]),
    /// Doubles.
    #[component(name = "float64")]
    Float64(&'a [f64]),
    /// Text.
    #[component(name = "utf8")]
    Utf8(PackedRef<'a>),
    /// Bytes.
    #[component(name = "binary")]
    Binary(PackedRef<'a>),
    /// Microseconds since the epoch.
    #[component(name = "timestamp-micros")]
    TimestampMicros(&'a [i64]),
}

/// Borrowed lists: the list of row `i` is `items[offsets[i]..offsets[i + 1]]`.
#[derive(Clone, Copy, Debug, PartialEq, ComponentType)]
#[component(record)]
pub struct ArraysRef<'a> {
    /// One more than there are rows, starting with 0.
    pub offsets: &'a [u32],
    /// The items, end to end.
    pub items: ScalarsRef<'a>,
}

/// Borrowed values of a column.
#[derive(Clone, Copy, Debug, PartialEq, ComponentType)]
#[component(variant)]
pub enum ValuesRef<'a> {
    /// One value a row.
    #[component(name = "scalar")]
    Scalar(ScalarsRef<'a>),
    /// One list a row.
    #[component(name = "array")]
    Array(ArraysRef<'a>),
}

/// A borrowed column. How it goes into a guest's memory is written out in `lower`.
#[derive(Clone, Copy, Debug, PartialEq, ComponentType)]
#[component(record)]
pub struct ColumnRef<'a> {
    /// One entry a row; nulls hold zero or nothing.
    pub values: ValuesRef<'a>,
    /// Bit `i % 8` of byte `i / 8` is 1 where row `i` has a value; `None`: all have.
    pub validity: Option<&'a [u8]>,
}

/// Rows to be transformed, by column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch<'a> {
    /// The number of rows of every column.
    pub rows: u32,
    /// The columns, in the order of the inputs.
    pub columns: &'a [ColumnRef<'a>],
}

/// Values of varying length.
#[derive(Clone, Debug, Default, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Packed {
    /// One more than there are values, starting with 0.
    pub offsets: Vec<u32>,
    /// The values, end to end.
    pub data: Vec<u8>,
}

/// Values of one kind.
#[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(variant)]
pub enum Scalars {
    /// One byte each, 0 or 1.
    #[component(name = "boolean")]
    Boolean(Vec<u8>),
    /// 32-bit integers.
    #[component(name = "int32")]
    Int32(Vec<i32>),
    /// 64-bit integers.
    #[component(name = "int64")]
    Int64(Vec<i64>),
    /// Singles.
    #[component(name = "float32")]
    Float32(Vec<f32>),
    /// Doubles.
    #[component(name = "float64")]
    Float64(Vec<f64>),
    /// Text.
    #[component(name = "utf8")]
    Utf8(Packed),
    /// Bytes.
    #[component(name = "binary")]
    Binary(Packed),
    /// Microseconds since the epoch.
    #[component(name = "timestamp-micros")]
    TimestampMicros(Vec<i64>),
}

/// Lists.
#[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Arrays {
    /// One more than there are rows, starting with 0.
    pub offsets: Vec<u32>,
    /// The items, end to end.
    pub items: Scalars,
}

/// Values of a column.
#[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(variant)]
pub enum Values {
    /// One value a row.
    #[component(name = "scalar")]
    Scalar(Scalars),
    /// One list a row.
    #[component(name = "array")]
    Array(Arrays),
}

/// A column. How a call's answer is read from a guest's memory is written out in `lift`.
#[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Column {
    /// One entry a row; what a null holds is without meaning.
    pub values: Values,
    /// Bit `i % 8` of byte `i / 8` is 1 where row `i` has a value; `None`: all have.
    pub validity: Option<Vec<u8>>,
}

/// Rows that were transformed, by column, in the order of the outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    /// The number of rows of every column.
    pub rows: u32,
    /// The columns.
    pub columns: Vec<Column>,
}

/// Why an author's code refuses the data.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Rejection {
    pub(crate) row: Option<u32>,
    pub(crate) message: String,
}

/// What `apply` says when there is no answer.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum GuestError {
    #[component(name = "invalid-input")]
    InvalidInput(String),
    #[component(name = "rejected")]
    Rejected(Rejection),
    #[component(name = "internal")]
    Internal(String),
}

/// The level of a line a guest logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub enum LogLevel {
    /// For the author.
    #[component(name = "debug")]
    Debug,
    /// Of interest.
    #[component(name = "info")]
    Info,
    /// Something is odd.
    #[component(name = "warn")]
    Warn,
    /// Something failed.
    #[component(name = "error")]
    Error,
}

/// Bytes of a validity bitmap for `rows` rows.
#[must_use]
pub(crate) fn bitmap_bytes(rows: usize) -> usize {
    rows.div_ceil(8)
}

/// Whether bit `row` of `bitmap` is set; a missing bitmap has all bits set.
#[inline]
#[must_use]
pub(crate) fn bit(bitmap: Option<&[u8]>, row: usize) -> bool {
    bitmap.is_none_or(|bitmap| {
        bitmap
            .get(row / 8)
            .is_some_and(|byte| byte >> (row % 8) & 1 == 1)
    })
}

// === impl ScalarsRef ===

impl ScalarsRef<'_> {
    /// The kind of the values.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Boolean(_) => Kind::Boolean,
            Self::Int32(_) => Kind::Int32,
            Self::Int64(_) => Kind::Int64,
            Self::Float32(_) => Kind::Float32,
            Self::Float64(_) => Kind::Float64,
            Self::Utf8(_) => Kind::Utf8,
            Self::Binary(_) => Kind::Binary,
            Self::TimestampMicros(_) => Kind::TimestampMicros,
        }
    }

    /// The number of values. Offsets that are not as they should be count as none.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Boolean(values) => values.len(),
            Self::Int32(values) => values.len(),
            Self::Int64(values) | Self::TimestampMicros(values) => values.len(),
            Self::Float32(values) => values.len(),
            Self::Float64(values) => values.len(),
            Self::Utf8(packed) | Self::Binary(packed) => packed.offsets.len().saturating_sub(1),
        }
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

// === impl ColumnRef ===

impl ColumnRef<'_> {
    /// The type of the column.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match &self.values {
            ValuesRef::Scalar(scalars) => DataType::Scalar(scalars.kind()),
            ValuesRef::Array(arrays) => DataType::Array(arrays.items.kind()),
        }
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.values {
            ValuesRef::Scalar(scalars) => scalars.len(),
            ValuesRef::Array(arrays) => arrays.offsets.len().saturating_sub(1),
        }
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether row `row` is null.
    #[inline]
    #[must_use]
    pub fn is_null(&self, row: usize) -> bool {
        !bit(self.validity, row)
    }
}

// === impl Packed ===

impl Packed {
    /// Borrows the values.
    #[must_use]
    pub fn as_ref(&self) -> PackedRef<'_> {
        PackedRef {
            offsets: &self.offsets,
            data: &self.data,
        }
    }
}

impl<'a> PackedRef<'a> {
    /// Value `index`, or `None` past the end.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let start = *self.offsets.get(index)? as usize;
        let end = *self.offsets.get(index.checked_add(1)?)? as usize;
        self.data.get(start..end)
    }
}

// === impl Scalars ===

impl Scalars {
    /// No values of a kind.
    #[must_use]
    pub fn empty(kind: Kind) -> Self {
        let packed = || Packed {
            offsets: vec![0],
            data: Vec::new(),
        };
        match kind {
            Kind::Boolean => Self::Boolean(Vec::new()),
            Kind::Int32 => Self::Int32(Vec::new()),
            Kind::Int64 => Self::Int64(Vec::new()),
            Kind::Float32 => Self::Float32(Vec::new()),
            Kind::Float64 => Self::Float64(Vec::new()),
            Kind::Utf8 => Self::Utf8(packed()),
            Kind::Binary => Self::Binary(packed()),
            Kind::TimestampMicros => Self::TimestampMicros(Vec::new()),
        }
    }

    /// Borrows the values.
    #[inline]
    #[must_use]
    pub fn as_ref(&self) -> ScalarsRef<'_> {
        match self {
            Self::Boolean(values) => ScalarsRef::Boolean(values),
            Self::Int32(values) => ScalarsRef::Int32(values),
            Self::Int64(values) => ScalarsRef::Int64(values),
            Self::Float32(values) => ScalarsRef::Float32(values),
            Self::Float64(values) => ScalarsRef::Float64(values),
            Self::Utf8(packed) => ScalarsRef::Utf8(packed.as_ref()),
            Self::Binary(packed) => ScalarsRef::Binary(packed.as_ref()),
            Self::TimestampMicros(values) => ScalarsRef::TimestampMicros(values),
        }
    }

    /// Forgets the values, keeps the memory.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Boolean(values) => values.clear(),
            Self::Int32(values) => values.clear(),
            Self::Int64(values) | Self::TimestampMicros(values) => values.clear(),
            Self::Float32(values) => values.clear(),
            Self::Float64(values) => values.clear(),
            Self::Utf8(packed) | Self::Binary(packed) => {
                packed.offsets.truncate(1);
                packed.data.clear();
            }
        }
    }
}

// === impl Values ===

impl Values {
    /// Borrows the values.
    #[inline]
    #[must_use]
    pub fn as_ref(&self) -> ValuesRef<'_> {
        match self {
            Self::Scalar(scalars) => ValuesRef::Scalar(scalars.as_ref()),
            Self::Array(arrays) => ValuesRef::Array(ArraysRef {
                offsets: &arrays.offsets,
                items: arrays.items.as_ref(),
            }),
        }
    }
}

// === impl Column ===

impl Column {
    /// A column without rows.
    #[must_use]
    pub fn empty(data_type: DataType) -> Self {
        let values = match data_type {
            DataType::Scalar(kind) => Values::Scalar(Scalars::empty(kind)),
            DataType::Array(kind) => Values::Array(Arrays {
                offsets: vec![0],
                items: Scalars::empty(kind),
            }),
        };
        Self {
            values,
            validity: None,
        }
    }

    /// Borrows the column.
    #[must_use]
    pub fn as_ref(&self) -> ColumnRef<'_> {
        ColumnRef {
            values: self.values.as_ref(),
            validity: self.validity.as_deref(),
        }
    }
}

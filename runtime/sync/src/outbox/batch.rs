//! Parcels as one Arrow batch.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Float32Builder, Float64Builder, Int32Builder,
    Int64Builder, StringBuilder, TimestampMicrosecondBuilder, TimestampMillisecondBuilder,
};
use arrow_array::{ArrayRef, ListArray, RecordBatch, RecordBatchOptions};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{Field, Schema};
use galley_node::store::OutboxKind;
use galley_node::{Parcel, ParcelColumn, ParcelRole};
use galley_types::{Cell, EventTime, ListItem, ScalarType, ValueType};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// A column as it grows.
enum Column {
    Bool(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Micros(TimestampMicrosecondBuilder),
    /// Feast's tables of served features count in seconds, which Parquet can only say in
    /// milliseconds.
    Seconds(TimestampMillisecondBuilder),
    Date(Date32Builder),
    /// Text, and what Arrow has no type for: as ISO 8601 or JSON.
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    List(Box<List>),
}

struct List {
    items: Column,
    ends: Vec<i32>,
    valid: NullBufferBuilder,
}

/// The rows of all parcels, which have the same columns.
///
/// # Errors
/// What is wrong with them; not to be expected of parcels that were looked through.
pub(super) fn of(kind: OutboxKind, parcels: &[Parcel<'_>]) -> Result<RecordBatch, String> {
    let specs = parcels.first().map(Parcel::columns).unwrap_or_default();
    let mut columns: Vec<Column> = specs.iter().map(|spec| Column::new(kind, spec)).collect();
    let mut row_count = 0;
    for row in parcels.iter().flat_map(Parcel::rows) {
        let row = row.map_err(|error| error.to_string())?;
        for (spec, column) in specs.iter().zip(&mut columns) {
            let cell = row.cell(spec).map_err(|error| error.to_string())?;
            column.push(&cell)?;
        }
        row_count += 1;
    }
    let mut fields = Vec::with_capacity(specs.len());
    let mut arrays = Vec::with_capacity(specs.len());
    for (spec, column) in specs.iter().zip(columns) {
        let array = column.finish()?;
        fields.push(Field::new(&spec.name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(row_count));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| error.to_string())
}

// === impl Column ===

impl Column {
    fn new(kind: OutboxKind, spec: &ParcelColumn) -> Self {
        match (kind, spec.role, spec.value_type) {
            (_, ParcelRole::Date, _) => Self::Date(Date32Builder::new()),
            (
                OutboxKind::Log,
                ParcelRole::Feature(_),
                ValueType::Scalar(ScalarType::UnixTimestamp),
            ) => Self::Seconds(TimestampMillisecondBuilder::new().with_timezone("UTC")),
            (_, _, ValueType::Scalar(scalar)) => Self::scalar(scalar),
            (_, _, ValueType::List(element) | ValueType::Set(element)) => {
                Self::List(Box::new(List {
                    items: Self::scalar(element),
                    ends: vec![0],
                    valid: NullBufferBuilder::new(0),
                }))
            }
            _ => Self::Text(StringBuilder::new()),
        }
    }

    fn scalar(scalar: ScalarType) -> Self {
        match scalar {
            ScalarType::Bool => Self::Bool(BooleanBuilder::new()),
            ScalarType::Int32 => Self::Int32(Int32Builder::new()),
            ScalarType::Int64 => Self::Int64(Int64Builder::new()),
            ScalarType::Float => Self::Float(Float32Builder::new()),
            ScalarType::Double => Self::Double(Float64Builder::new()),
            ScalarType::Bytes => Self::Bytes(BinaryBuilder::new()),
            ScalarType::UnixTimestamp => {
                Self::Micros(TimestampMicrosecondBuilder::new().with_timezone("UTC"))
            }
            ScalarType::String
            | ScalarType::Json
            | ScalarType::Uuid
            | ScalarType::TimeUuid
            | ScalarType::Decimal
            | ScalarType::ZonedTimestamp => Self::Text(StringBuilder::new()),
        }
    }

    fn push_null(&mut self) {
        match self {
            Self::Bool(it) => it.append_null(),
            Self::Int32(it) => it.append_null(),
            Self::Int64(it) => it.append_null(),
            Self::Float(it) => it.append_null(),
            Self::Double(it) => it.append_null(),
            Self::Micros(it) => it.append_null(),
            Self::Seconds(it) => it.append_null(),
            Self::Date(it) => it.append_null(),
            Self::Text(it) => it.append_null(),
            Self::Bytes(it) => it.append_null(),
            Self::List(it) => {
                it.ends.extend(it.ends.last().copied());
                it.valid.append_null();
            }
        }
    }

    fn push(&mut self, cell: &Cell<'_>) -> Result<(), String> {
        match (&mut *self, cell) {
            (column, Cell::Null) => column.push_null(),
            (Self::Bool(it), Cell::Bool(value)) => it.append_value(*value),
            (Self::Int32(it), Cell::Int32(value)) => it.append_value(*value),
            (Self::Int64(it), Cell::Int64(value)) => it.append_value(*value),
            (Self::Float(it), Cell::Float(value)) => it.append_value(*value),
            (Self::Double(it), Cell::Double(value)) => it.append_value(*value),
            (Self::Micros(it), Cell::UnixTimestamp(micros)) => it.append_value(*micros),
            (Self::Seconds(it), Cell::UnixTimestamp(micros)) => {
                it.append_value(micros.div_euclid(MICROS_PER_SECOND).saturating_mul(1_000));
            }
            (Self::Date(it), Cell::UnixTimestamp(micros)) => {
                let days = micros.div_euclid(MICROS_PER_SECOND * SECONDS_PER_DAY);
                it.append_value(i32::try_from(days).unwrap_or(i32::MAX));
            }
            (Self::Text(it), Cell::Text(text)) => it.append_value(text),
            (Self::Text(it), Cell::Zoned(micros, zone)) => it.append_value(zoned(*micros, zone)),
            (Self::Text(it), Cell::Tree(value)) => {
                it.append_value(galley_node::json_of(value).to_string());
            }
            (Self::Bytes(it), Cell::Bytes(bytes)) => it.append_value(bytes),
            (Self::List(it), Cell::List(list)) => {
                for item in list.iter() {
                    it.items.push(&cell_of(item))?;
                }
                let end = it.items.len();
                it.ends
                    .push(i32::try_from(end).map_err(|_| "lists of more than 2^31 elements")?);
                it.valid.append_non_null();
            }
            (_, other) => {
                return Err(format!(
                    "a value {other:?} that is not of its column's type"
                ));
            }
        }
        Ok(())
    }

    fn len(&self) -> usize {
        use arrow_array::builder::ArrayBuilder as _;
        match self {
            Self::Bool(it) => it.len(),
            Self::Int32(it) => it.len(),
            Self::Int64(it) => it.len(),
            Self::Float(it) => it.len(),
            Self::Double(it) => it.len(),
            Self::Micros(it) => it.len(),
            Self::Seconds(it) => it.len(),
            Self::Date(it) => it.len(),
            Self::Text(it) => it.len(),
            Self::Bytes(it) => it.len(),
            Self::List(it) => it.ends.len().saturating_sub(1),
        }
    }

    fn finish(self) -> Result<ArrayRef, String> {
        Ok(match self {
            Self::Bool(mut it) => Arc::new(it.finish()),
            Self::Int32(mut it) => Arc::new(it.finish()),
            Self::Int64(mut it) => Arc::new(it.finish()),
            Self::Float(mut it) => Arc::new(it.finish()),
            Self::Double(mut it) => Arc::new(it.finish()),
            Self::Micros(mut it) => Arc::new(it.finish()),
            Self::Seconds(mut it) => Arc::new(it.finish()),
            Self::Date(mut it) => Arc::new(it.finish()),
            Self::Text(mut it) => Arc::new(it.finish()),
            Self::Bytes(mut it) => Arc::new(it.finish()),
            Self::List(list) => {
                let List {
                    items,
                    ends,
                    mut valid,
                } = *list;
                let items = items.finish()?;
                let field = Arc::new(Field::new("item", items.data_type().clone(), true));
                let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
                let list = ListArray::try_new(field, ends, items, valid.finish());
                Arc::new(list.map_err(|error| error.to_string())?)
            }
        })
    }
}

fn cell_of(item: ListItem<'_>) -> Cell<'_> {
    match item {
        ListItem::Bool(value) => Cell::Bool(value),
        ListItem::Int32(value) => Cell::Int32(value),
        ListItem::Int64(value) => Cell::Int64(value),
        ListItem::Float(value) => Cell::Float(value),
        ListItem::Double(value) => Cell::Double(value),
        ListItem::UnixTimestamp(micros) => Cell::UnixTimestamp(micros),
        ListItem::Text(text) => Cell::Text(text),
        ListItem::Bytes(bytes) => Cell::Bytes(bytes),
        ListItem::Zoned(micros, zone) => Cell::Zoned(micros, zone),
    }
}

/// A time in its zone as ISO 8601 with the zone's name, or in UTC where the zone is not known.
fn zoned(micros: i64, zone: &str) -> String {
    let known = jiff::Timestamp::from_microsecond(micros)
        .and_then(|time| time.in_tz(zone))
        .map(|time| time.to_string());
    known.unwrap_or_else(|_| {
        let mut out = Vec::new();
        galley_types::write_rfc3339(EventTime(micros), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    })
}

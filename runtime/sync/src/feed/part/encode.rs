//! Staged rows into a part's bytes.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray, ListArray, PrimitiveArray, RecordBatch};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use galley_registry::JoinKey;
use galley_types::{EntityKey, KeyType, RowSchema, ScalarType, Value, ValueType};

use super::schema;
use crate::parquet::Staging;

/// Bytes at which a part is closed.
const PART_BYTES: usize = 1 << 20;
/// Bytes of a row beside its values: two times, and offsets.
const ROW_OVERHEAD: usize = 24;

/// The rows of `staged` from `start` on that make up one part.
pub(in crate::feed) fn next_part(staged: &Staging, start: usize) -> Range<usize> {
    let mut bytes = 0;
    let mut end = start;
    while end < staged.len() && bytes < PART_BYTES {
        bytes += ROW_OVERHEAD + staged.row_bytes(end);
        end += 1;
    }
    start..end
}

/// A part of these rows of `staged`.
pub(in crate::feed) fn encode_part(
    staged: &Staging,
    rows: Range<usize>,
    (join_keys, features): (&[JoinKey], &RowSchema),
) -> Result<Vec<u8>, String> {
    let schema = Arc::new(schema(join_keys, features));
    let text = |error: ArrowError| error.to_string();
    let mut columns = times(staged, &rows, &schema);
    columns.extend(keys(staged, &rows, join_keys)?);
    for (index, feature) in features.fields.iter().enumerate() {
        let cells = Cells {
            staged,
            rows: rows.clone(),
            feature: index,
        };
        columns.push(cells.column(feature.value_type)?);
    }
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(text)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).map_err(text)?;
    writer.write(&batch).map_err(text)?;
    writer.into_inner().map_err(text)
}

fn times(staged: &Staging, rows: &Range<usize>, schema: &Schema) -> Vec<ArrayRef> {
    let column = |values: PrimitiveArray<TimestampMicrosecondType>, index: usize| -> ArrayRef {
        Arc::new(values.with_data_type(schema.field(index).data_type().clone()))
    };
    let event = rows.clone().map(|row| staged.times_of(row).0);
    let created = rows.clone().map(|row| staged.times_of(row).1);
    vec![
        column(event.collect::<Vec<i64>>().into(), 0),
        column(created.collect::<PrimitiveArray<_>>(), 1),
    ]
}

fn keys(
    staged: &Staging,
    rows: &Range<usize>,
    join_keys: &[JoinKey],
) -> Result<Vec<ArrayRef>, String> {
    let types: Vec<KeyType> = join_keys.iter().map(|key| key.key_type).collect();
    let mut columns: Vec<Vec<Value>> = types.iter().map(|_| Vec::new()).collect();
    for row in rows.clone() {
        let values = EntityKey::decode(&types, staged.key(row)).map_err(|it| it.to_string())?;
        for (column, value) in columns.iter_mut().zip(values) {
            column.push(value);
        }
    }
    let arrays = types.iter().zip(&columns);
    Ok(arrays
        .map(|(key_type, column)| key(*key_type, column))
        .collect())
}

fn key(key_type: KeyType, values: &[Value]) -> ArrayRef {
    let integers = || {
        values.iter().map(|value| match value {
            Value::Int64(value) | Value::UnixTimestamp(value) => *value,
            _ => 0,
        })
    };
    match key_type {
        KeyType::Int64 => Arc::new(PrimitiveArray::<Int64Type>::from_iter_values(integers())),
        KeyType::UnixTimestamp => Arc::new(
            PrimitiveArray::<TimestampMicrosecondType>::from_iter_values(integers())
                .with_timezone("UTC"),
        ),
        KeyType::Int32 => {
            let values = values.iter().map(|value| match value {
                Value::Int32(value) => *value,
                _ => 0,
            });
            Arc::new(PrimitiveArray::<Int32Type>::from_iter_values(values))
        }
        KeyType::String => {
            let mut out = StringBuilder::new();
            for value in values {
                match value {
                    Value::Text(text) => out.append_value(text),
                    _ => out.append_value(""),
                }
            }
            Arc::new(out.finish())
        }
        KeyType::Bytes => {
            let mut out = BinaryBuilder::new();
            for value in values {
                match value {
                    Value::Bytes(bytes) => out.append_value(bytes),
                    _ => out.append_value([]),
                }
            }
            Arc::new(out.finish())
        }
    }
}

/// One feature of some rows.
struct Cells<'a> {
    staged: &'a Staging,
    rows: Range<usize>,
    feature: usize,
}

// === impl Cells ===

impl Cells<'_> {
    fn column(&self, value_type: ValueType) -> Result<ArrayRef, String> {
        Ok(match (super::column(value_type), value_type) {
            (DataType::Float64, _) => self.numbers::<Float64Type>(f64::from_le_bytes),
            (DataType::Float32, _) => {
                self.numbers::<Float32Type>(|[a, b, c, d, ..]| f32::from_le_bytes([a, b, c, d]))
            }
            (DataType::Int64, _) => self.numbers::<Int64Type>(i64::from_le_bytes),
            (DataType::Int32, _) => {
                self.numbers::<Int32Type>(|[a, b, c, d, ..]| i32::from_le_bytes([a, b, c, d]))
            }
            (DataType::Timestamp(..), _) => Arc::new(
                self.slots()
                    .map(|slot| slot.map(i64::from_le_bytes))
                    .collect::<PrimitiveArray<TimestampMicrosecondType>>()
                    .with_timezone("UTC"),
            ),
            (DataType::Boolean, _) => {
                let cells = self.slots().map(|slot| slot.map(|[bit, ..]| bit != 0));
                Arc::new(cells.collect::<BooleanArray>())
            }
            (DataType::Utf8, _) => {
                let mut out = StringBuilder::new();
                for bytes in self.heap() {
                    let text = bytes.map(std::str::from_utf8).transpose();
                    out.append_option(text.map_err(|error| error.to_string())?);
                }
                Arc::new(out.finish())
            }
            (DataType::List(field), ValueType::List(element)) => self.lists(&field, element)?,
            _ => {
                let mut out = BinaryBuilder::new();
                for bytes in self.heap() {
                    out.append_option(bytes);
                }
                Arc::new(out.finish())
            }
        })
    }

    fn slots(&self) -> impl Iterator<Item = Option<[u8; 8]>> {
        let rows = self.rows.clone();
        rows.map(|row| self.staged.slot(row, self.feature))
    }

    fn heap(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let rows = self.rows.clone();
        rows.map(|row| self.staged.heap_cell(row, self.feature))
    }

    fn numbers<T: ArrowPrimitiveType>(&self, value: impl Fn([u8; 8]) -> T::Native) -> ArrayRef {
        let cells = self.slots().map(|slot| slot.map(&value));
        Arc::new(cells.collect::<PrimitiveArray<T>>())
    }

    /// Lists of numbers: a row's bytes are their count and then the elements.
    fn lists(&self, field: &Arc<Field>, element: ScalarType) -> Result<ArrayRef, String> {
        let width = element.width().unwrap_or(1);
        let mut data = Vec::new();
        let mut lengths = Vec::with_capacity(self.rows.len());
        let mut valid = Vec::with_capacity(self.rows.len());
        for bytes in self.heap() {
            let body = bytes.and_then(|bytes| bytes.get(4..)).unwrap_or(&[]);
            lengths.push(body.len() / width);
            valid.push(bytes.is_some());
            data.extend_from_slice(body);
        }
        macro_rules! elements {
            ($t:ty, $n:ty) => {{
                let (chunks, _) = data.as_chunks();
                let values = chunks.iter().map(|bytes| <$n>::from_le_bytes(*bytes));
                Arc::new(PrimitiveArray::<$t>::from_iter_values(values)) as ArrayRef
            }};
        }
        let values: ArrayRef = match element {
            ScalarType::Double => elements!(Float64Type, f64),
            ScalarType::Float => elements!(Float32Type, f32),
            ScalarType::Int64 => elements!(Int64Type, i64),
            ScalarType::Int32 => elements!(Int32Type, i32),
            other => return Err(format!("a list of {other} is not written as one")),
        };
        let list = ListArray::try_new(
            Arc::clone(field),
            OffsetBuffer::from_lengths(lengths),
            values,
            Some(NullBuffer::from(valid)),
        );
        let list = list.map_err(|error| error.to_string())?;
        Ok(Arc::new(list) as Arc<dyn Array>)
    }
}

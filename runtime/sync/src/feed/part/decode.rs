//! A part's bytes into rows. The bytes are the centre's by digest and signature, and are trusted
//! with nothing all the same: the messages are walked and bounded before the decoder sees them, and
//! the decoder runs behind a catch of panics.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrayRef, RecordBatch, types};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::{Message, MessageHeader};
use arrow_schema::{DataType, Schema};
use galley_node::Sink;
use galley_node::store::{RowBatch, RowWriter};
use galley_types::{Cell, EntityKey, EventTime, KeyType, KeyValue, ScalarType, ValueType};

use super::super::error::FeedError;
use super::super::release::{PART_BYTES_MAX, PART_ROWS_MAX};
use super::{TIMES, schema};
use crate::rows::cell::TIMES_RANGE;

/// Messages of one part.
const MESSAGES_MAX: usize = 1024;

/// Appends the rows of a part to `into` and returns how many they were. `sink` is the view they are
/// for. After an error `into` may hold some of the rows.
///
/// # Errors
/// [`FeedError::TooLarge`], [`FeedError::BadPart`], [`FeedError::BadValue`].
pub fn decode_part(bytes: &[u8], sink: &Sink, into: &mut RowBatch) -> Result<u64, FeedError> {
    let view = &sink.view.name;
    let bad = |reason: String| FeedError::BadPart {
        view: view.clone(),
        reason,
    };
    if bytes.len() as u64 > PART_BYTES_MAX {
        return Err(FeedError::TooLarge {
            path: format!("a part of a batch of feature view {view}"),
            max: PART_BYTES_MAX,
        });
    }
    walk(bytes).map_err(bad)?;
    let mut reader = guarded(|| StreamReader::try_new(Cursor::new(bytes), None)).map_err(bad)?;
    let expected = schema(&sink.view.join_keys, &sink.view.schema);
    same_columns(&reader.schema(), &expected).map_err(bad)?;
    let mut rows = Rows {
        sink,
        writer: RowWriter::new(&sink.view.schema, sink.schema).of_release(),
        key: EntityKey::new(),
        done: 0,
    };
    loop {
        let batch = guarded(|| reader.next().transpose()).map_err(bad)?;
        let Some(batch) = batch else {
            return Ok(rows.done);
        };
        rows.append(&batch, into)?;
    }
}

/// Where a batch's rows are put together.
struct Rows<'a> {
    sink: &'a Sink,
    writer: RowWriter,
    key: EntityKey,
    done: u64,
}

/// Why a cell is refused: its column and the reason.
type Refused = (String, String);

// === impl Rows ===

impl Rows<'_> {
    fn append(&mut self, batch: &RecordBatch, into: &mut RowBatch) -> Result<(), FeedError> {
        let bad = |(column, reason): Refused, row: u64| FeedError::BadValue {
            view: self.sink.view.name.clone(),
            row,
            column,
            reason,
        };
        let columns = Columns::of(self.sink, batch).map_err(|refused| bad(refused, self.done))?;
        for row in 0..batch.num_rows() {
            columns
                .read(row, &mut self.key, &mut self.writer)
                .and_then(|()| {
                    let pushed = into.push(self.key.as_bytes(), &mut self.writer);
                    pushed.map_err(|error| ("the row".to_owned(), error.to_string()))
                })
                .map_err(|refused| bad(refused, self.done + row as u64))?;
        }
        self.done += batch.num_rows() as u64;
        Ok(())
    }
}

/// A batch's columns by what they are for.
struct Columns<'a> {
    event: &'a [i64],
    created: (&'a ArrayRef, &'a [i64]),
    keys: Vec<(&'a str, KeyType, &'a ArrayRef)>,
    features: Vec<(&'a str, Feature<'a>)>,
}

/// A feature's column, by how its cells become those of a row.
struct Feature<'a> {
    value_type: ValueType,
    array: &'a ArrayRef,
    cells: Cells<'a>,
}

enum Cells<'a> {
    Double(&'a [f64]),
    Float(&'a [f32]),
    Int64(&'a [i64]),
    Int32(&'a [i32]),
    Bool(&'a arrow_array::BooleanArray),
    Text(&'a arrow_array::StringArray),
    Bytes(&'a arrow_array::BinaryArray),
    Numbers(&'a arrow_array::ListArray, ScalarType),
}

// === impl Columns ===

impl<'a> Columns<'a> {
    /// The columns of a batch whose schema is the expected one.
    fn of(sink: &'a Sink, batch: &'a RecordBatch) -> Result<Self, Refused> {
        let mut arrays = batch.columns().iter();
        let mut next = |name: &str| {
            let missing = || (name.to_owned(), "the column is missing".to_owned());
            arrays.next().ok_or_else(missing)
        };
        let [event_name, created_name] = TIMES;
        let event = next(event_name)?;
        let created = next(created_name)?;
        no_nulls(event_name, event)?;
        let mut keys = Vec::with_capacity(sink.view.join_keys.len());
        for key in &sink.view.join_keys {
            let array = next(&key.name)?;
            no_nulls(&key.name, array)?;
            keys.push((key.name.as_str(), key.key_type, array));
        }
        let mut features = Vec::with_capacity(sink.view.schema.fields.len());
        for field in &sink.view.schema.fields {
            let array = next(&field.name)?;
            let cells = Cells::of(array, field.value_type).ok_or_else(|| {
                let reason = format!("a column of type {}", array.data_type());
                (field.name.clone(), reason)
            })?;
            let feature = Feature {
                value_type: field.value_type,
                array,
                cells,
            };
            features.push((field.name.as_str(), feature));
        }
        Ok(Self {
            event: event
                .as_primitive::<types::TimestampMicrosecondType>()
                .values(),
            created: (
                created,
                created
                    .as_primitive::<types::TimestampMicrosecondType>()
                    .values(),
            ),
            keys,
            features,
        })
    }

    fn read(&self, row: usize, key: &mut EntityKey, writer: &mut RowWriter) -> Result<(), Refused> {
        let [event_name, created_name] = TIMES;
        let event = time(event_name, self.event, row)?;
        let (array, values) = self.created;
        let created = match array.is_null(row) {
            true => None,
            false => Some(time(created_name, values, row)?),
        };
        key.clear();
        for (index, (name, key_type, array)) in self.keys.iter().enumerate() {
            let value = key_value(*key_type, array, row);
            let last = index + 1 == self.keys.len();
            key.push(value, last)
                .map_err(|error| ((*name).to_owned(), error.to_string()))?;
        }
        writer.begin(event, created);
        for (slot, (name, feature)) in self.features.iter().enumerate() {
            if feature.array.is_valid(row) {
                feature
                    .read(row, slot, writer)
                    .map_err(|reason| ((*name).to_owned(), reason))?;
            }
        }
        Ok(())
    }
}

// === impl Cells ===

impl<'a> Cells<'a> {
    fn of(array: &'a ArrayRef, value_type: ValueType) -> Option<Self> {
        Some(match (array.data_type(), value_type) {
            (DataType::Float64, _) => {
                Self::Double(array.as_primitive::<types::Float64Type>().values())
            }
            (DataType::Float32, _) => {
                Self::Float(array.as_primitive::<types::Float32Type>().values())
            }
            (DataType::Int64, _) => Self::Int64(array.as_primitive::<types::Int64Type>().values()),
            (DataType::Int32, _) => Self::Int32(array.as_primitive::<types::Int32Type>().values()),
            (DataType::Timestamp(..), _) => Self::Int64(
                array
                    .as_primitive_opt::<types::TimestampMicrosecondType>()?
                    .values(),
            ),
            (DataType::Boolean, _) => Self::Bool(array.as_boolean()),
            (DataType::Utf8, _) => Self::Text(array.as_string()),
            (DataType::Binary, _) => Self::Bytes(array.as_binary()),
            (DataType::List(_), ValueType::List(element)) => {
                Self::Numbers(array.as_list(), element)
            }
            _ => return None,
        })
    }
}

// === impl Feature ===

impl Feature<'_> {
    fn read(&self, row: usize, slot: usize, writer: &mut RowWriter) -> Result<(), String> {
        let outside = || "the column is too short".to_owned();
        let bits = match &self.cells {
            Cells::Double(values) => values.get(row).ok_or_else(outside)?.to_bits(),
            Cells::Float(values) => u64::from(values.get(row).ok_or_else(outside)?.to_bits()),
            Cells::Int64(values) => values.get(row).ok_or_else(outside)?.cast_unsigned(),
            Cells::Int32(values) => {
                i64::from(*values.get(row).ok_or_else(outside)?).cast_unsigned()
            }
            Cells::Bool(values) => u64::from(values.value(row)),
            Cells::Text(values) => return self.heap(slot, values.value(row).as_bytes(), writer),
            Cells::Bytes(values) => return self.heap(slot, values.value(row), writer),
            Cells::Numbers(lists, element) => {
                let bytes = packed(&lists.value(row), *element)?;
                return self.heap(slot, &bytes, writer);
            }
        };
        writer
            .set_slot(slot, bits.to_le_bytes())
            .map_err(|error| error.to_string())
    }

    /// Bytes are looked at before they are stored: what does not decode could not be served.
    fn heap(&self, slot: usize, bytes: &[u8], writer: &mut RowWriter) -> Result<(), String> {
        Cell::from_heap(self.value_type, bytes).map_err(|error| error.to_string())?;
        writer
            .set_heap(slot, bytes)
            .map_err(|error| error.to_string())
    }
}

fn key_value(key_type: KeyType, array: &ArrayRef, row: usize) -> KeyValue<'_> {
    match key_type {
        KeyType::Bytes => KeyValue::Bytes(array.as_binary::<i32>().value(row)),
        KeyType::String => KeyValue::String(array.as_string::<i32>().value(row)),
        KeyType::Int32 => KeyValue::Int32(array.as_primitive::<types::Int32Type>().value(row)),
        KeyType::Int64 => KeyValue::Int64(array.as_primitive::<types::Int64Type>().value(row)),
        KeyType::UnixTimestamp => KeyValue::UnixTimestamp(
            array
                .as_primitive::<types::TimestampMicrosecondType>()
                .value(row),
        ),
    }
}

/// A list of numbers as stored rows have it: the count, then the elements.
fn packed(items: &ArrayRef, element: ScalarType) -> Result<Vec<u8>, String> {
    macro_rules! copy {
        ($t:ty) => {{
            let values = items.as_primitive::<$t>().values();
            let count = u32::try_from(values.len()).map_err(|error| error.to_string())?;
            let mut out = Vec::with_capacity(4 + size_of_val(&values[..]));
            out.extend_from_slice(&count.to_le_bytes());
            for value in values {
                out.extend_from_slice(&value.to_le_bytes());
            }
            Ok(out)
        }};
    }
    if items.null_count() > 0 {
        return Err("a null in a list".to_owned());
    }
    match element {
        ScalarType::Double => copy!(types::Float64Type),
        ScalarType::Float => copy!(types::Float32Type),
        ScalarType::Int64 => copy!(types::Int64Type),
        ScalarType::Int32 => copy!(types::Int32Type),
        other => Err(format!("a list of {other}")),
    }
}

fn time(column: &str, values: &[i64], row: usize) -> Result<EventTime, Refused> {
    match values.get(row) {
        Some(time) if TIMES_RANGE.contains(time) => Ok(EventTime(*time)),
        _ => Err((column.to_owned(), "a time out of range".to_owned())),
    }
}

fn no_nulls(column: &str, array: &ArrayRef) -> Result<(), Refused> {
    if array.null_count() > 0 {
        return Err((column.to_owned(), "a null where none may be".to_owned()));
    }
    Ok(())
}

/// Whether the columns are those of the view: names and types, in order.
fn same_columns(got: &Schema, expected: &Schema) -> Result<(), String> {
    if got.fields().len() != expected.fields().len() {
        return Err(format!(
            "it has {} columns, the view has {}",
            got.fields().len(),
            expected.fields().len()
        ));
    }
    for (got, expected) in got.fields().iter().zip(expected.fields()) {
        let same =
            got.name() == expected.name() && same_type(got.data_type(), expected.data_type());
        if !same {
            let name: String = got
                .name()
                .chars()
                .take(64)
                .flat_map(char::escape_default)
                .collect();
            return Err(format!(
                "column '{name}' of type {} stands where {} of type {} is expected",
                got.data_type(),
                expected.name(),
                expected.data_type()
            ));
        }
    }
    Ok(())
}

/// The field of a list may be called anything.
fn same_type(got: &DataType, expected: &DataType) -> bool {
    match (got, expected) {
        (DataType::List(got), DataType::List(expected)) => got.data_type() == expected.data_type(),
        (got, expected) => got == expected,
    }
}

/// Walks the messages of a stream: one schema, then record batches whose buffers lie within their
/// bodies, and an end. All lengths are compared with the bytes that are there.
fn walk(bytes: &[u8]) -> Result<(), String> {
    const CONTINUATION: [u8; 4] = [0xff; 4];
    let mut rest = bytes;
    let mut rows = 0_u64;
    for number in 0..MESSAGES_MAX {
        let (mark, length) = (word(&mut rest)?, word(&mut rest)?);
        if mark != CONTINUATION {
            return Err("a message does not begin as one".to_owned());
        }
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 {
            return match (number, rest.is_empty()) {
                (0, _) => Err("it has no schema".to_owned()),
                (_, false) => Err("bytes follow its end".to_owned()),
                (_, true) => Ok(()),
            };
        }
        let header = cut(&mut rest, length)?;
        let message = arrow_ipc::root_as_message(header)
            .map_err(|error| format!("a message is malformed: {error}"))?;
        let body = usize::try_from(message.bodyLength())
            .map_err(|_| "a message claims a body of less than nothing".to_owned())?;
        let body = cut(&mut rest, body)?;
        match (number, message.header_type()) {
            (0, MessageHeader::Schema) => {}
            (0, _) => return Err("it does not begin with a schema".to_owned()),
            (_, MessageHeader::RecordBatch) => {
                rows = rows.saturating_add(record_batch(message, body)?);
                if rows > PART_ROWS_MAX {
                    return Err(format!("it claims more than {PART_ROWS_MAX} rows"));
                }
            }
            (_, other) => {
                return Err(format!("it has a message of kind {other:?}"));
            }
        }
    }
    Err(format!("it has more than {MESSAGES_MAX} messages"))
}

/// The rows a record batch claims, when its buffers lie within `body` and can hold them.
fn record_batch(message: Message<'_>, body: &[u8]) -> Result<u64, String> {
    let batch = message
        .header_as_record_batch()
        .ok_or("a record batch is malformed")?;
    if batch.compression().is_some() {
        return Err("it is compressed".to_owned());
    }
    let rows = u64::try_from(batch.length())
        .map_err(|_| "a record batch claims less than no rows".to_owned())?;
    // The first column alone needs as much.
    if rows.saturating_mul(8) > body.len() as u64 {
        return Err(format!(
            "a record batch of {} bytes claims {rows} rows",
            body.len()
        ));
    }
    for node in batch.nodes().into_iter().flatten() {
        if node.length() < 0 || node.null_count() < 0 || node.null_count() > node.length() {
            return Err("a column claims lengths that cannot be".to_owned());
        }
    }
    crate::rows::ipc::buffers(batch, body.len() as u64)?;
    Ok(rows)
}

fn word(rest: &mut &[u8]) -> Result<[u8; 4], String> {
    let (head, tail) = rest
        .split_first_chunk::<4>()
        .ok_or("it ends in the middle")?;
    *rest = tail;
    Ok(*head)
}

fn cut<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    let (head, tail) = rest
        .split_at_checked(length)
        .ok_or("it ends in the middle")?;
    *rest = tail;
    Ok(head)
}

/// Runs the decoder; its errors and its panics become a reason.
fn guarded<T>(run: impl FnOnce() -> Result<T, arrow_schema::ArrowError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!(
                "the decoder gave up: {}",
                text.unwrap_or("no reason given")
            ))
        }
    }
}

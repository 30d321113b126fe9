//! Record batches folded into the newest row of every key.

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use galley_types::{EntityKey, EventTime, KeyType, KeyValue, Limits, ValueType};

use super::cell::{self, Item, Misfit, item, shown};
use super::fill::{self, Target};
use super::fit;
use super::plan::{FilePlan, ViewPlan};
use super::staging::{NO_CREATED, Staging};

/// The rows that are wanted, inclusive at both ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The oldest event time; `None` has no beginning.
    pub(crate) start: Option<EventTime>,
    /// The newest event time.
    pub(crate) end: EventTime,
}

/// A cell that is refused: its row in the batch, its column, what was expected, what is there.
#[derive(Debug)]
pub(crate) struct Bad {
    pub(crate) row: usize,
    pub(crate) column: String,
    pub(crate) expected: String,
    pub(crate) got: String,
}

/// Buffers kept from batch to batch.
#[derive(Default)]
pub(crate) struct Scratch {
    times: Vec<i64>,
    created: Vec<i64>,
    key: EntityKey,
    targets: Vec<Target>,
}

// === impl Window ===

impl Window {
    #[inline]
    pub(crate) fn has(&self, time: i64) -> bool {
        self.start.is_none_or(|start| time >= start.0) && time <= self.end.0
    }

    /// Whether a range of event times, inclusive at both ends, meets the window.
    pub(crate) fn meets(&self, min: i64, max: i64) -> bool {
        self.start.is_none_or(|start| max >= start.0) && min <= self.end.0
    }
}

/// Folds one batch whose columns are those of `file.roots` in that order.
pub(crate) fn batch(
    staging: &mut Staging,
    batch: &RecordBatch,
    (plan, file): (&ViewPlan, &FilePlan),
    window: Window,
    scratch: &mut Scratch,
) -> Result<(), Bad> {
    let missing = || Bad {
        row: 0,
        column: plan.view.clone(),
        expected: "the columns of the projection".to_owned(),
        got: format!("{} columns", batch.num_columns()),
    };
    let at = |index: usize| batch.columns().get(index).ok_or_else(missing);
    times(
        at(file.timestamp)?,
        &plan.timestamp,
        None,
        &mut scratch.times,
    )?;
    match (&plan.created, file.created) {
        (Some(name), Some(index)) => {
            times(at(index)?, name, Some(NO_CREATED), &mut scratch.created)?;
        }
        _ => scratch.created.clear(),
    }
    let mut keys = Vec::with_capacity(file.keys.len());
    for (index, (name, key_type)) in file.keys.iter().zip(&plan.keys) {
        keys.push(KeyColumn {
            array: at(*index)?,
            name,
            key_type: *key_type,
        });
    }
    select(staging, &keys, window, scratch)?;
    let columns = file.features.iter().zip(&plan.features).enumerate();
    for (feature, (index, (name, value_type))) in columns {
        fill::column(
            staging,
            &scratch.targets,
            feature,
            *value_type,
            at(*index)?.as_ref(),
        )
        .map_err(|(row, Misfit(got))| Bad {
            row,
            column: name.clone(),
            expected: expected(*value_type),
            got,
        })?;
    }
    Ok(())
}

/// Chooses the rows that are the newest of their keys so far.
fn select(
    staging: &mut Staging,
    keys: &[KeyColumn<'_>],
    window: Window,
    scratch: &mut Scratch,
) -> Result<(), Bad> {
    let Scratch {
        times,
        created,
        key,
        targets,
    } = scratch;
    targets.clear();
    for (row, time) in times.iter().enumerate() {
        if !window.has(*time) {
            continue;
        }
        key.clear();
        for (index, column) in keys.iter().enumerate() {
            column.push(key, row, index + 1 == keys.len())?;
        }
        let created = created.get(row).copied().unwrap_or(NO_CREATED);
        let number = u32::try_from(row).unwrap_or(u32::MAX);
        if let Some(entry) = staging.offer(key.as_bytes(), (*time, created), number) {
            targets.push((number, entry));
        }
    }
    targets.retain(|(row, entry)| staging.is_filled_by(*entry, *row));
    Ok(())
}

/// Reads a time column into microseconds. Nulls become `null`, or are refused when that is `None`.
fn times(array: &ArrayRef, column: &str, null: Option<i64>, out: &mut Vec<i64>) -> Result<(), Bad> {
    out.clear();
    out.reserve(array.len());
    let bad = |row: usize, got: String| Bad {
        row,
        column: column.to_owned(),
        expected: "a timestamp".to_owned(),
        got,
    };
    let timestamps = match array.data_type() {
        DataType::Timestamp(unit, _) => Some(*unit),
        _ => None,
    };
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    for row in 0..array.len() {
        if nulls.is_some_and(|nulls| nulls.is_null(row)) {
            out.push(null.ok_or_else(|| bad(row, "null".to_owned()))?);
            continue;
        }
        let time = if let Some(unit) = timestamps {
            let raw = cell::timestamp(array, unit, row);
            cell::micros(unit, raw)
                .filter(|time| cell::TIMES_RANGE.contains(time))
                .ok_or_else(|| bad(row, format!("a timestamp out of range ({raw})")))?
        } else {
            match item(array, row).map_err(|Misfit(got)| bad(row, got))? {
                Item::Instant(time, _) if cell::TIMES_RANGE.contains(&time) => time,
                Item::Text(text) => {
                    EventTime::parse(text)
                        .map_err(|error| bad(row, error.to_string()))?
                        .0
                }
                Item::Null => null.ok_or_else(|| bad(row, "null".to_owned()))?,
                other => return Err(bad(row, shown(&other).0)),
            }
        };
        out.push(time);
    }
    Ok(())
}

struct KeyColumn<'a> {
    array: &'a ArrayRef,
    name: &'a str,
    key_type: KeyType,
}

// === impl KeyColumn ===

impl KeyColumn<'_> {
    #[inline]
    fn push(&self, key: &mut EntityKey, row: usize, last: bool) -> Result<(), Bad> {
        let value = self.value(row)?;
        key.push(value, last).map_err(|_| {
            let got = format!("a key of more than {} bytes", Limits::KEY_BYTES_MAX);
            self.bad(row, got)
        })
    }

    #[inline]
    fn value(&self, row: usize) -> Result<KeyValue<'_>, Bad> {
        let array = self.array.as_ref();
        if array.is_valid(row) {
            match (self.key_type, array.data_type()) {
                (KeyType::Int64, DataType::Int64) => {
                    let array = array.as_primitive::<arrow_array::types::Int64Type>();
                    return Ok(KeyValue::Int64(array.value(row)));
                }
                (KeyType::String, DataType::Utf8View) => {
                    return Ok(KeyValue::String(array.as_string_view().value(row)));
                }
                _ => {}
            }
        }
        self.careful(row)
    }

    fn careful(&self, row: usize) -> Result<KeyValue<'_>, Bad> {
        let item = item(self.array, row).map_err(|Misfit(got)| self.bad(row, got))?;
        let fitted = match (self.key_type, &item) {
            (KeyType::String, Item::Text(text)) => Some(KeyValue::String(text)),
            (KeyType::Bytes, Item::Bytes(bytes)) => Some(KeyValue::Bytes(bytes)),
            (KeyType::Bytes, Item::Text(text)) => Some(KeyValue::Bytes(text.as_bytes())),
            (KeyType::UnixTimestamp, Item::Instant(time, _)) => {
                Some(KeyValue::UnixTimestamp(*time))
            }
            (KeyType::UnixTimestamp, other) => fit::integer(other)
                .and_then(|seconds| seconds.checked_mul(1_000_000))
                .map(KeyValue::UnixTimestamp),
            (KeyType::Int64, other) => fit::integer(other).map(KeyValue::Int64),
            (KeyType::Int32, other) => fit::integer(other)
                .and_then(|value| i32::try_from(value).ok())
                .map(KeyValue::Int32),
            _ => None,
        };
        fitted.ok_or_else(|| self.bad(row, shown(&item).0))
    }

    fn bad(&self, row: usize, got: String) -> Bad {
        Bad {
            row,
            column: self.name.to_owned(),
            expected: format!("{} (a join key is never null)", self.key_type),
            got,
        }
    }
}

fn expected(value_type: ValueType) -> String {
    use galley_types::ScalarType as S;
    match value_type {
        ValueType::Scalar(S::Int32) => {
            "INT32 (a whole number from -2147483648 to 2147483647)".into()
        }
        ValueType::Scalar(S::Int64) => "INT64 (a whole number of 64 bits)".into(),
        ValueType::Scalar(S::UnixTimestamp) => {
            "UNIX_TIMESTAMP (a timestamp, a date, or whole epoch seconds)".into()
        }
        other => other.to_string(),
    }
}

/// Bytes the values of a batch that are not fixed-width may take in the heap: dictionaries and
/// views can hold far more than the batch weighs.
pub(crate) fn heap_bytes(array: &dyn Array) -> usize {
    match array.data_type() {
        DataType::Utf8View => lengths(array.as_string_view().views()),
        DataType::BinaryView => lengths(array.as_binary_view().views()),
        DataType::Dictionary(..) => array.as_any_dictionary_opt().map_or(0, |dictionary| {
            // All rows may have the longest.
            longest(dictionary.values().as_ref()).saturating_mul(array.len())
        }),
        DataType::List(_) => heap_bytes(array.as_list::<i32>().values().as_ref()),
        DataType::LargeList(_) => heap_bytes(array.as_list::<i64>().values().as_ref()),
        DataType::FixedSizeList(..) => heap_bytes(array.as_fixed_size_list().values().as_ref()),
        DataType::Struct(_) => array
            .as_struct()
            .columns()
            .iter()
            .map(|column| heap_bytes(column.as_ref()))
            .sum(),
        DataType::Map(..) => {
            let map = array.as_map();
            heap_bytes(map.keys().as_ref()) + heap_bytes(map.values().as_ref())
        }
        _ => array.get_buffer_memory_size(),
    }
}

/// Bytes of a batch's texts of a column, as many times as they are meant.
pub(crate) fn text_bytes(array: &dyn Array) -> usize {
    match array.data_type() {
        DataType::Utf8View => lengths(array.as_string_view().views()),
        DataType::BinaryView => lengths(array.as_binary_view().views()),
        DataType::List(_) => text_bytes(array.as_list::<i32>().values().as_ref()),
        DataType::LargeList(_) => text_bytes(array.as_list::<i64>().values().as_ref()),
        DataType::Struct(_) | DataType::Map(..) => heap_bytes(array),
        DataType::Dictionary(..) => meant(array),
        _ => 0,
    }
}

/// Bytes of a dictionary's values, each as many times as it is meant.
fn meant(array: &dyn Array) -> usize {
    let Some(dictionary) = array.as_any_dictionary_opt() else {
        return 0;
    };
    let values = dictionary.values();
    let offsets = match values.data_type() {
        _ if values.is_empty() => return 0,
        DataType::Utf8 => values.as_string::<i32>().value_offsets(),
        DataType::Binary => values.as_binary::<i32>().value_offsets(),
        _ => return heap_bytes(array),
    };
    let length = |place: usize| {
        let ends = offsets.get(place).zip(offsets.get(place + 1));
        ends.map_or(0, |(start, end)| end.abs_diff(*start) as usize)
    };
    let places = dictionary.normalized_keys();
    places
        .into_iter()
        .map(length)
        .fold(0, usize::saturating_add)
}

/// Bytes of the longest value of a dictionary, or more.
fn longest(values: &dyn Array) -> usize {
    let offsets = |offsets: &[i32]| {
        let lengths = offsets.iter().zip(offsets.iter().skip(1));
        let longest = lengths.map(|(start, end)| end.abs_diff(*start)).max();
        longest.map_or(0, |bytes| bytes as usize)
    };
    match values.data_type() {
        DataType::Utf8 => offsets(values.as_string::<i32>().value_offsets()),
        DataType::Binary => offsets(values.as_binary::<i32>().value_offsets()),
        data_type if data_type.is_primitive() => data_type.primitive_width().unwrap_or(0),
        _ => heap_bytes(values),
    }
}

fn lengths(views: &[u128]) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low 32 bits of a view are its length"
    )]
    views.iter().map(|view| *view as u32 as usize).sum()
}

//! Filling columns from rows, and reading them back by row.

use std::collections::HashSet;

use galley_types::{
    Cell, EventTime, List, ListBuilder, ListItem, ScalarType, Value, ValueError, ValueType,
};

use crate::column::{Column, ColumnRef, PackedRef, Scalars, ScalarsRef, Values, ValuesRef};
use crate::error::{Error, Result};
use crate::signature::DataType;

/// Fills a column row by row. Keeps its memory between batches.
#[derive(Debug)]
pub struct ColumnBuilder {
    data_type: DataType,
    column: Column,
    validity: Vec<u8>,
    rows: u32,
    nulls: u32,
}

/// One value on its way into a column; lists are taken apart before.
enum Scalar<'a> {
    Null,
    Item(ListItem<'a>),
}

impl ColumnBuilder {
    /// A builder of a column of type `data_type`.
    #[must_use]
    pub fn new(data_type: DataType) -> Self {
        Self {
            data_type,
            column: Column::empty(data_type),
            validity: Vec::new(),
            rows: 0,
            nulls: 0,
        }
    }

    /// The type of the column.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// The number of rows so far.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Forgets the rows, keeps the memory.
    pub fn clear(&mut self) {
        match &mut self.column.values {
            Values::Scalar(scalars) => scalars.clear(),
            Values::Array(arrays) => {
                arrays.offsets.truncate(1);
                arrays.items.clear();
            }
        }
        self.validity.clear();
        self.rows = 0;
        self.nulls = 0;
    }

    /// Appends the value of a row. Numbers are widened to the column's kind; a zoned timestamp
    /// becomes its instant or its text. Maps, structs and nested lists have to be made JSON text
    /// by the caller.
    ///
    /// # Errors
    /// [`Error::Value`] when the value is of another type than the column, or when the column
    /// would pass 4 GiB; the column is then as it was before.
    #[inline]
    pub fn push(&mut self, cell: &Cell<'_>) -> Result<()> {
        let fits = match (&mut self.column.values, cell) {
            // The two that most features are.
            (Values::Scalar(Scalars::Float64(values)), Cell::Double(value)) => {
                values.push(*value);
                true
            }
            (Values::Scalar(Scalars::Int64(values)), Cell::Int64(value)) => {
                values.push(*value);
                true
            }
            (Values::Scalar(scalars), cell) => {
                scalar_of(cell).is_some_and(|scalar| push_scalar(scalars, &scalar))
            }
            (Values::Array(arrays), Cell::Null) => {
                let last = arrays.offsets.last().copied().unwrap_or(0);
                arrays.offsets.push(last);
                true
            }
            (Values::Array(arrays), Cell::List(list)) => {
                let fits = list
                    .iter()
                    .all(|item| push_scalar(&mut arrays.items, &Scalar::Item(item)));
                match u32::try_from(arrays.items.as_ref().len()) {
                    Ok(end) if fits => {
                        arrays.offsets.push(end);
                        true
                    }
                    _ => {
                        let keep = arrays.offsets.last().copied().unwrap_or(0) as usize;
                        truncate(&mut arrays.items, keep);
                        false
                    }
                }
            }
            (Values::Array(_), _) => false,
        };
        if !fits {
            return Err(Error::Value {
                row: self.rows,
                expected: self.data_type,
            });
        }
        let valid = !matches!(cell, Cell::Null);
        if self.rows.is_multiple_of(8) {
            self.validity.push(0);
        }
        if valid {
            if let Some(last) = self.validity.last_mut() {
                *last |= 1 << (self.rows % 8);
            }
        } else {
            self.nulls += 1;
        }
        self.rows += 1;
        Ok(())
    }

    /// The column, without a copy. Without nulls it has no bitmap.
    #[must_use]
    pub fn into_column(self) -> Column {
        Column {
            validity: (self.nulls > 0).then_some(self.validity),
            ..self.column
        }
    }

    /// The column as it stands. Without nulls it has no bitmap.
    #[inline]
    #[must_use]
    pub fn column(&self) -> ColumnRef<'_> {
        ColumnRef {
            values: self.column.values.as_ref(),
            validity: (self.nulls > 0).then_some(&self.validity),
        }
    }
}

fn scalar_of<'a>(cell: &Cell<'a>) -> Option<Scalar<'a>> {
    Some(Scalar::Item(match *cell {
        Cell::Null => return Some(Scalar::Null),
        Cell::Bool(value) => ListItem::Bool(value),
        Cell::Int32(value) => ListItem::Int32(value),
        Cell::Int64(value) => ListItem::Int64(value),
        Cell::Float(value) => ListItem::Float(value),
        Cell::Double(value) => ListItem::Double(value),
        Cell::UnixTimestamp(value) => ListItem::UnixTimestamp(value),
        Cell::Text(value) => ListItem::Text(value),
        Cell::Bytes(value) => ListItem::Bytes(value),
        Cell::Zoned(micros, zone) => ListItem::Zoned(micros, zone),
        Cell::List(_) | Cell::Tree(_) => return None,
    }))
}

#[inline]
fn push_scalar(scalars: &mut Scalars, scalar: &Scalar<'_>) -> bool {
    let Scalar::Item(item) = scalar else {
        return push_default(scalars);
    };
    match (scalars, *item) {
        (Scalars::Boolean(values), ListItem::Bool(value)) => values.push(u8::from(value)),
        (Scalars::Int32(values), ListItem::Int32(value)) => values.push(value),
        (Scalars::Int64(values), ListItem::Int64(value)) => values.push(value),
        (Scalars::Int64(values), ListItem::Int32(value)) => values.push(i64::from(value)),
        (Scalars::Float32(values), ListItem::Float(value)) => values.push(value),
        (Scalars::Float64(values), ListItem::Double(value)) => values.push(value),
        (Scalars::Float64(values), ListItem::Float(value)) => values.push(f64::from(value)),
        (
            Scalars::TimestampMicros(values),
            ListItem::UnixTimestamp(value) | ListItem::Zoned(value, _),
        ) => values.push(value),
        (Scalars::Utf8(packed), ListItem::Text(text)) => {
            return push_bytes(packed, text.as_bytes());
        }
        (Scalars::Utf8(packed), ListItem::Zoned(micros, zone)) => {
            let zone = if zone.is_empty() { "UTC" } else { zone };
            return push_bytes(packed, format!("{}[{zone}]", EventTime(micros)).as_bytes());
        }
        (Scalars::Binary(packed), ListItem::Bytes(bytes)) => return push_bytes(packed, bytes),
        _ => return false,
    }
    true
}

fn push_default(scalars: &mut Scalars) -> bool {
    match scalars {
        Scalars::Boolean(values) => values.push(0),
        Scalars::Int32(values) => values.push(0),
        Scalars::Int64(values) | Scalars::TimestampMicros(values) => values.push(0),
        Scalars::Float32(values) => values.push(0.0),
        Scalars::Float64(values) => values.push(0.0),
        Scalars::Utf8(packed) | Scalars::Binary(packed) => return push_bytes(packed, &[]),
    }
    true
}

fn push_bytes(packed: &mut crate::column::Packed, bytes: &[u8]) -> bool {
    let Ok(end) = u32::try_from(packed.data.len().saturating_add(bytes.len())) else {
        return false;
    };
    packed.data.extend_from_slice(bytes);
    packed.offsets.push(end);
    true
}

fn truncate(scalars: &mut Scalars, keep: usize) {
    match scalars {
        Scalars::Boolean(values) => values.truncate(keep),
        Scalars::Int32(values) => values.truncate(keep),
        Scalars::Int64(values) | Scalars::TimestampMicros(values) => values.truncate(keep),
        Scalars::Float32(values) => values.truncate(keep),
        Scalars::Float64(values) => values.truncate(keep),
        Scalars::Utf8(packed) | Scalars::Binary(packed) => {
            packed.offsets.truncate(keep.saturating_add(1));
            let end = packed.offsets.last().copied().unwrap_or(0) as usize;
            packed.data.truncate(end);
        }
    }
}

// === impl Column ===

impl Column {
    /// The value of a row as a feature of type `value_type`. Maps, structs and nested lists are
    /// JSON text here, and given back as [`Value::Text`] for the caller to parse. Of items of a set
    /// that are the same the first is kept.
    ///
    /// # Errors
    /// [`ValueError::WrongType`] when the column cannot hold values of that type,
    /// [`ValueError::Malformed`] for a row past the end or a zoned timestamp that is none.
    pub fn value(
        &self,
        row: usize,
        value_type: ValueType,
    ) -> std::result::Result<Value, ValueError> {
        self.as_ref().value(row, value_type)
    }
}

impl<'a> ColumnRef<'a> {
    /// The value of a row as a cell, without a copy: `None` for lists and zoned timestamps, which
    /// [`ColumnRef::value`] gives, and past the end.
    #[inline]
    #[must_use]
    pub fn cell(&self, row: usize) -> Option<Cell<'a>> {
        if self.is_null(row) {
            return (row < self.len()).then_some(Cell::Null);
        }
        let ValuesRef::Scalar(scalars) = self.values else {
            return None;
        };
        Some(match item_at(&scalars, row)? {
            ListItem::Bool(value) => Cell::Bool(value),
            ListItem::Int32(value) => Cell::Int32(value),
            ListItem::Int64(value) => Cell::Int64(value),
            ListItem::Float(value) => Cell::Float(value),
            ListItem::Double(value) => Cell::Double(value),
            ListItem::UnixTimestamp(value) => Cell::UnixTimestamp(value),
            ListItem::Text(value) => Cell::Text(value),
            ListItem::Bytes(value) => Cell::Bytes(value),
            ListItem::Zoned(micros, zone) => Cell::Zoned(micros, zone),
        })
    }

    /// See [`Column::value`].
    ///
    /// # Errors
    /// As [`Column::value`].
    pub fn value(
        &self,
        row: usize,
        value_type: ValueType,
    ) -> std::result::Result<Value, ValueError> {
        let missing = ValueError::Malformed { what: "row" };
        if !self.data_type().gives(value_type) {
            return Err(ValueError::WrongType {
                expected: value_type,
            });
        }
        if self.is_null(row) {
            return if row < self.len() {
                Ok(Value::Null)
            } else {
                Err(missing)
            };
        }
        match (&self.values, value_type) {
            (ValuesRef::Array(arrays), ValueType::List(element) | ValueType::Set(element)) => {
                let end = row.checked_add(1).and_then(|next| arrays.offsets.get(next));
                let (Some(start), Some(end)) = (arrays.offsets.get(row), end) else {
                    return Err(missing);
                };
                {
                    let set = matches!(value_type, ValueType::Set(_));
                    list_of(&arrays.items, *start as usize..*end as usize, element, set)
                        .map(Value::List)
                }
            }
            (ValuesRef::Array(_), _) => Err(ValueError::WrongType {
                expected: value_type,
            }),
            (ValuesRef::Scalar(scalars), _) => {
                let item = item_at(scalars, row).ok_or(missing)?;
                value_of(item, value_type)
            }
        }
    }
}

fn value_of(item: ListItem<'_>, value_type: ValueType) -> std::result::Result<Value, ValueError> {
    let zoned = value_type == ValueType::Scalar(ScalarType::ZonedTimestamp);
    Ok(match item {
        ListItem::UnixTimestamp(micros) if zoned => Value::Zoned {
            micros,
            zone: String::new(),
        },
        ListItem::Text(text) if zoned => {
            let (micros, zone) = parse_zoned(text)?;
            Value::Zoned {
                micros,
                zone: zone.to_owned(),
            }
        }
        item => item.to_value(),
    })
}

fn list_of(
    items: &ScalarsRef<'_>,
    range: std::ops::Range<usize>,
    element: ScalarType,
    set: bool,
) -> std::result::Result<List, ValueError> {
    let mut list = ListBuilder::new(element);
    let mut seen = HashSet::new();
    for index in range {
        let item = item_at(items, index).ok_or(ValueError::Malformed { what: "list" })?;
        let item = match item {
            ListItem::Text(text) if element == ScalarType::ZonedTimestamp => {
                let (micros, zone) = parse_zoned(text)?;
                ListItem::Zoned(micros, zone)
            }
            ListItem::UnixTimestamp(micros) if element == ScalarType::ZonedTimestamp => {
                ListItem::Zoned(micros, "")
            }
            item => item,
        };
        if !set || seen.insert(identity(item)) {
            list.push(item)?;
        }
    }
    Ok(list.finish())
}

/// What makes an item of a set the same as another.
fn identity(item: ListItem<'_>) -> (u64, &[u8]) {
    match item {
        ListItem::Bool(value) => (u64::from(value), &[]),
        ListItem::Int32(value) => (i64::from(value).cast_unsigned(), &[]),
        ListItem::Int64(value) | ListItem::UnixTimestamp(value) => (value.cast_unsigned(), &[]),
        ListItem::Float(value) => (u64::from(value.to_bits()), &[]),
        ListItem::Double(value) => (value.to_bits(), &[]),
        ListItem::Text(text) => (0, text.as_bytes()),
        ListItem::Bytes(bytes) => (0, bytes),
        ListItem::Zoned(micros, zone) => (micros.cast_unsigned(), zone.as_bytes()),
    }
}

/// The instant and the zone of `2026-03-01T06:30:00Z[Asia/Kolkata]`; the zone may be absent.
fn parse_zoned(text: &str) -> std::result::Result<(i64, &str), ValueError> {
    let malformed = ValueError::Malformed {
        what: "zoned timestamp",
    };
    let (instant, zone) = match text.split_once('[') {
        Some((instant, rest)) => match rest.strip_suffix(']') {
            Some(zone) => (instant, zone),
            None => return Err(malformed),
        },
        None => (text, ""),
    };
    match EventTime::parse(instant) {
        Ok(time) => Ok((time.0, zone)),
        Err(_) => Err(malformed),
    }
}

#[inline]
fn item_at<'a>(scalars: &ScalarsRef<'a>, index: usize) -> Option<ListItem<'a>> {
    Some(match scalars {
        ScalarsRef::Boolean(values) => ListItem::Bool(*values.get(index)? != 0),
        ScalarsRef::Int32(values) => ListItem::Int32(*values.get(index)?),
        ScalarsRef::Int64(values) => ListItem::Int64(*values.get(index)?),
        ScalarsRef::Float32(values) => ListItem::Float(*values.get(index)?),
        ScalarsRef::Float64(values) => ListItem::Double(*values.get(index)?),
        ScalarsRef::TimestampMicros(values) => ListItem::UnixTimestamp(*values.get(index)?),
        ScalarsRef::Binary(packed) => ListItem::Bytes(packed.get(index)?),
        ScalarsRef::Utf8(packed) => ListItem::Text(text_at(packed, index)?),
    })
}

fn text_at<'a>(packed: &PackedRef<'a>, index: usize) -> Option<&'a str> {
    std::str::from_utf8(packed.get(index)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn check(data_type: DataType, value_type: ValueType, cells: &[(Cell<'_>, Value)]) {
        let mut builder = ColumnBuilder::new(data_type);
        for round in 0..2 {
            builder.clear();
            for (cell, _) in cells {
                builder.push(cell).unwrap();
            }
            let column = builder.column();
            for (row, (_, expect)) in cells.iter().enumerate() {
                assert_eq!(
                    column.value(row, value_type).as_ref(),
                    Ok(expect),
                    "round {round}"
                );
            }
            assert!(column.value(cells.len(), value_type).is_err());
        }
    }

    #[test]
    fn what_is_put_into_a_column_comes_back() {
        use ScalarType as S;
        let scalar = ValueType::Scalar;
        check(
            DataType::Scalar(Kind::Int64),
            scalar(S::Int64),
            &[
                (Cell::Int32(-1), Value::Int64(-1)),
                (Cell::Null, Value::Null),
                (Cell::Int64(9), Value::Int64(9)),
            ],
        );
        check(
            DataType::Scalar(Kind::Utf8),
            scalar(S::String),
            &[
                (Cell::Text("ab"), Value::Text("ab".into())),
                (Cell::Null, Value::Null),
                (Cell::Text(""), Value::Text(String::new())),
            ],
        );
        let noon = 1_772_366_400_000_000;
        let zoned = Value::Zoned {
            micros: noon,
            zone: "Asia/Kolkata".into(),
        };
        check(
            DataType::Scalar(Kind::Utf8),
            scalar(S::ZonedTimestamp),
            &[(Cell::Zoned(noon, "Asia/Kolkata"), zoned)],
        );
        let mut list = ListBuilder::new(S::Float);
        list.push(ListItem::Float(1.5)).unwrap();
        let list = list.finish();
        check(
            DataType::Array(Kind::Float32),
            ValueType::Set(S::Float),
            &[
                (Cell::Null, Value::Null),
                (Cell::List(list.as_ref()), Value::List(list.clone())),
                (
                    Cell::List(List::empty(S::Float).as_ref()),
                    Value::List(List::empty(S::Float)),
                ),
            ],
        );
    }

    #[test]
    fn a_set_has_nothing_twice() {
        let mut builder = ColumnBuilder::new(DataType::Array(Kind::Utf8));
        let list = |items: &[&str]| {
            let mut list = ListBuilder::new(ScalarType::String);
            for item in items {
                list.push(ListItem::Text(item)).unwrap();
            }
            list.finish()
        };
        let twice = list(&["a", "b", "a"]);
        builder.push(&Cell::List(twice.as_ref())).unwrap();
        let column = builder.column();
        let value = |value_type| column.value(0, value_type).unwrap();
        assert_eq!(
            value(ValueType::Set(ScalarType::String)),
            Value::List(list(&["a", "b"]))
        );
        assert_eq!(
            value(ValueType::List(ScalarType::String)),
            Value::List(twice)
        );
    }

    #[test]
    fn a_value_of_another_type_leaves_the_column_as_it_was() {
        let mut builder = ColumnBuilder::new(DataType::Array(Kind::Int64));
        let mut list = ListBuilder::new(ScalarType::String);
        list.push(ListItem::Text("x")).unwrap();
        assert!(builder.push(&Cell::List(list.finish().as_ref())).is_err());
        assert!(builder.push(&Cell::Int64(1)).is_err());
        assert_eq!(builder.rows(), 0);
        builder.push(&Cell::Null).unwrap();
        assert_eq!(builder.column().len(), 1);
    }
}

//! Values between JSON and columns: Feast's JSON, with base64 for bytes and RFC 3339 for instants.

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use galley_transform::{
    Batch, ColumnBuilder, ColumnRef, Columns, DataType, Field, Kind, Signature,
};
use galley_types::{Cell, EventTime, ListBuilder, ListItem, ScalarType, ValueType};
use serde_json::{Map, Number, Value};

/// A row of inputs or outputs.
pub(crate) type Row = Map<String, Value>;

/// Rows as the columns of a call.
#[derive(Debug)]
pub(crate) struct Inputs {
    columns: Vec<ColumnBuilder>,
    rows: u32,
}

impl Inputs {
    /// Puts rows into columns, in the order of the signature.
    pub(crate) fn new<'r>(
        signature: &Signature,
        rows: impl Iterator<Item = &'r Row>,
    ) -> Result<Self> {
        let mut columns: Vec<ColumnBuilder> = signature
            .inputs
            .iter()
            .map(|field| ColumnBuilder::new(field.data_type))
            .collect();
        let mut count = 0_u32;
        for row in rows {
            check_names(signature, row)?;
            for (field, column) in signature.inputs.iter().zip(&mut columns) {
                let value = row.get(&field.name).ok_or_else(|| {
                    anyhow!("the row has no '{}'; write null for none", field.name)
                })?;
                push(column, field, value)
                    .with_context(|| format!("input '{}': {}", field.name, shown(value)))?;
            }
            count += 1;
        }
        Ok(Self {
            columns,
            rows: count,
        })
    }

    /// The columns, to be handed over.
    pub(crate) fn columns(&self) -> Vec<ColumnRef<'_>> {
        self.columns.iter().map(ColumnBuilder::column).collect()
    }

    /// The batch of `columns`, which are this one's.
    pub(crate) fn batch<'a>(&self, columns: &'a [ColumnRef<'a>]) -> Batch<'a> {
        Batch {
            rows: self.rows,
            columns,
        }
    }
}

/// Names in a row that no input has are mistakes: nobody would read them.
fn check_names(signature: &Signature, row: &Row) -> Result<()> {
    let known = |name: &str| signature.inputs.iter().any(|field| field.name == name);
    for name in row.keys() {
        if !known(name) {
            let names: Vec<&str> = signature
                .inputs
                .iter()
                .map(|field| field.name.as_str())
                .collect();
            bail!("there is no input '{name}'; there are {}", names.join(", "));
        }
    }
    Ok(())
}

fn push(column: &mut ColumnBuilder, field: &Field, value: &Value) -> Result<()> {
    if value.is_null() {
        return Ok(column.push(&Cell::Null)?);
    }
    match field.data_type {
        DataType::Scalar(kind) => {
            let held = Held::of(kind, value)?;
            Ok(column.push(&held.cell())?)
        }
        DataType::Array(kind) => {
            let items = value
                .as_array()
                .ok_or_else(|| anyhow!("expected a list of {kind}"))?;
            let mut list = ListBuilder::new(element(kind));
            for item in items {
                list.push(Held::of(kind, item)?.item())?;
            }
            let list = list.finish();
            Ok(column.push(&Cell::List(list.as_ref()))?)
        }
    }
}

/// A value that was read from JSON.
enum Held {
    Bool(bool),
    Int32(i32),
    Int64(i64),
    Float(f32),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Instant(i64),
}

impl Held {
    fn of(kind: Kind, value: &Value) -> Result<Self> {
        let held = match kind {
            Kind::Boolean => value.as_bool().map(Self::Bool),
            Kind::Int32 => whole(value)
                .and_then(|number| i32::try_from(number).ok())
                .map(Self::Int32),
            Kind::Int64 => whole(value).map(Self::Int64),
            Kind::Float32 => float(value).map(|number| Self::Float(number as f32)),
            Kind::Float64 => float(value).map(Self::Double),
            Kind::Utf8 => match value {
                Value::String(text) => Some(Self::Text(text.clone())),
                Value::Array(_) | Value::Object(_) => Some(Self::Text(value.to_string())),
                _ => None,
            },
            Kind::Binary => value
                .as_str()
                .and_then(|text| BASE64.decode(text).ok())
                .map(Self::Bytes),
            Kind::TimestampMicros => value
                .as_str()
                .and_then(|text| EventTime::parse(text).ok())
                .map(|time| Self::Instant(time.0)),
        };
        held.ok_or_else(|| {
            anyhow!(
                "expected {}, got {}",
                match kind {
                    Kind::Boolean => "true or false",
                    Kind::Int32 => "a whole number of 32 bits",
                    Kind::Int64 => "a whole number",
                    Kind::Float32 | Kind::Float64 => "a number, or \"NaN\" or \"Infinity\"",
                    Kind::Utf8 => "a string (or a list or object, for JSON)",
                    Kind::Binary => "bytes in base64",
                    Kind::TimestampMicros => "an instant such as \"2026-03-01T12:00:00Z\"",
                },
                shown(value)
            )
        })
    }

    fn cell(&self) -> Cell<'_> {
        match self {
            Self::Bool(value) => Cell::Bool(*value),
            Self::Int32(value) => Cell::Int32(*value),
            Self::Int64(value) => Cell::Int64(*value),
            Self::Float(value) => Cell::Float(*value),
            Self::Double(value) => Cell::Double(*value),
            Self::Text(value) => Cell::Text(value),
            Self::Bytes(value) => Cell::Bytes(value),
            Self::Instant(value) => Cell::UnixTimestamp(*value),
        }
    }

    fn item(&self) -> ListItem<'_> {
        match self {
            Self::Bool(value) => ListItem::Bool(*value),
            Self::Int32(value) => ListItem::Int32(*value),
            Self::Int64(value) => ListItem::Int64(*value),
            Self::Float(value) => ListItem::Float(*value),
            Self::Double(value) => ListItem::Double(*value),
            Self::Text(value) => ListItem::Text(value),
            Self::Bytes(value) => ListItem::Bytes(value),
            Self::Instant(value) => ListItem::UnixTimestamp(*value),
        }
    }
}

/// A whole number, `3` or `3.0`.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
    })
}

fn float(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    }
}

/// The Feast type whose values cross in this kind as they are.
pub(crate) fn element(kind: Kind) -> ScalarType {
    match kind {
        Kind::Boolean => ScalarType::Bool,
        Kind::Int32 => ScalarType::Int32,
        Kind::Int64 => ScalarType::Int64,
        Kind::Float32 => ScalarType::Float,
        Kind::Float64 => ScalarType::Double,
        Kind::Utf8 => ScalarType::String,
        Kind::Binary => ScalarType::Bytes,
        Kind::TimestampMicros => ScalarType::UnixTimestamp,
    }
}

/// The rows of an answer.
pub(crate) fn rows(signature: &Signature, answer: &Columns) -> Result<Vec<Row>> {
    let count = usize::try_from(answer.rows)?;
    let mut rows = vec![Row::new(); count];
    for (field, column) in signature.outputs.iter().zip(&answer.columns) {
        let column = column.as_ref();
        for (index, row) in rows.iter_mut().enumerate() {
            row.insert(field.name.clone(), value_at(&column, index)?);
        }
    }
    Ok(rows)
}

fn value_at(column: &ColumnRef<'_>, row: usize) -> Result<Value> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    match column.data_type() {
        DataType::Scalar(_) => {
            let cell = column.cell(row).context("a row past the end")?;
            Ok(match cell {
                Cell::Bool(value) => Value::Bool(value),
                Cell::Int32(value) => value.into(),
                Cell::Int64(value) => value.into(),
                Cell::Float(value) => single(value),
                Cell::Double(value) => double(value),
                Cell::Text(value) => value.into(),
                Cell::Bytes(value) => BASE64.encode(value).into(),
                Cell::UnixTimestamp(value) => EventTime(value).to_string().into(),
                Cell::Null | Cell::Zoned(..) | Cell::List(_) | Cell::Tree(_) => Value::Null,
            })
        }
        DataType::Array(kind) => {
            let value = column.value(row, ValueType::List(element(kind)))?;
            let galley_types::Value::List(list) = value else {
                return Ok(Value::Null);
            };
            let items = list.as_ref().iter().map(|item| match item {
                ListItem::Bool(value) => Value::Bool(value),
                ListItem::Int32(value) => value.into(),
                ListItem::Int64(value) => value.into(),
                ListItem::Float(value) => single(value),
                ListItem::Double(value) => double(value),
                ListItem::Text(value) => value.into(),
                ListItem::Bytes(value) => BASE64.encode(value).into(),
                ListItem::UnixTimestamp(value) | ListItem::Zoned(value, _) => {
                    EventTime(value).to_string().into()
                }
            });
            Ok(Value::Array(items.collect()))
        }
    }
}

fn double(number: f64) -> Value {
    match Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None if number.is_nan() => "NaN".into(),
        None if number > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// The shortest number that is this one in single precision.
fn single(number: f32) -> Value {
    let short = number.to_string().parse().unwrap_or(f64::from(number));
    double(short)
}

/// As much of a value as fits a line.
pub(crate) fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 120;
    let text = value.to_string();
    let mut clipped: String = text.chars().take(CHARS_MAX).collect();
    if clipped.len() < text.len() {
        clipped.push_str("...");
    }
    clipped
}

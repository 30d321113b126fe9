//! `galley:features/online@0.1.0`: look-ups and pushes through the node.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use galley_node::{Answer, GetRequest, Input, Node, PushRequest, PushTo, Selection, WriteMode};
use galley_transform::{Column, ColumnBuilder, ColumnRef, DataType, Kind, clip};
use galley_types::{
    Cell, Classify, ErrorKind, EventTime, FieldStatus, ListItem, ScalarType, Value, ValueType,
};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::state::State;

/// Bytes of an error's text that a guest is told.
const MESSAGE_BYTES_MAX: usize = 2_048;

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
struct NamedColumn {
    name: String,
    column: Column,
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
enum What {
    #[component(name = "features")]
    Features(Vec<String>),
    #[component(name = "service")]
    Service(String),
}

#[derive(Clone, Copy, Debug, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
enum Status {
    #[component(name = "present")]
    Present,
    #[component(name = "null-value")]
    NullValue,
    #[component(name = "not-found")]
    NotFound,
    #[component(name = "outside-max-age")]
    OutsideMaxAge,
}

#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
struct Feature {
    name: String,
    values: Column,
    statuses: Vec<Status>,
    #[component(name = "event-times-micros")]
    event_times_micros: Vec<i64>,
}

#[derive(Clone, Debug, ComponentType, Lower)]
#[component(variant)]
enum OnlineError {
    #[component(name = "not-found")]
    NotFound(String),
    #[component(name = "invalid")]
    Invalid(String),
    #[component(name = "too-large")]
    TooLarge(String),
    #[component(name = "unavailable")]
    Unavailable(String),
}

type GetArguments = (What, Vec<NamedColumn>, bool);
type PushArguments = (String, Vec<NamedColumn>);
type Columns<'a> = Vec<(Cow<'a, str>, Vec<Input<'a>>)>;

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("galley:features/online@0.1.0")?;
    instance.func_wrap(
        "get",
        |context: StoreContextMut<'_, State>, (what, entities, full_names): GetArguments| {
            let shared = &context.data().shared;
            let bytes_max = shared.limits.transfer_bytes_max;
            Ok((get(&shared.node, &what, &entities, (full_names, bytes_max)),))
        },
    )?;
    instance.func_wrap_concurrent("push", |accessor, (source, columns): PushArguments| {
        Box::pin(async move {
            let node = accessor.with(|mut access| Arc::clone(&access.get().shared.node));
            Ok((push(&node, source, &columns).await,))
        })
    })
}

fn get(
    node: &Node,
    what: &What,
    entities: &[NamedColumn],
    (full_feature_names, bytes_max): (bool, usize),
) -> Result<Vec<Feature>, OnlineError> {
    let references: Vec<Cow<'_, str>>;
    let selection = match what {
        What::Features(features) => {
            references = features
                .iter()
                .map(|name| Cow::from(name.as_str()))
                .collect();
            Selection::Features(&references)
        }
        What::Service(name) => Selection::Service(name),
    };
    let request = GetRequest {
        selection,
        full_feature_names,
        entities: &inputs(entities)?,
    };
    node.get(&request, |answer| features(answer, bytes_max))
        .map_err(|error| OnlineError::of(&error))?
}

async fn push(node: &Node, source: String, columns: &[NamedColumn]) -> Result<u64, OnlineError> {
    let pending = node.push(&PushRequest {
        source: source.into(),
        columns: inputs(columns)?,
        mode: WriteMode::Sync,
        to: PushTo::Online,
        transform_on_write: true,
    });
    let receipt = pending
        .map_err(|error| OnlineError::of(&error))?
        .wait()
        .await;
    receipt
        .map(|receipt| receipt.written)
        .map_err(|error| OnlineError::of(&error))
}

// === impl OnlineError ===

impl OnlineError {
    fn of(error: &galley_node::Error) -> Self {
        let text = clip(&error.to_string(), MESSAGE_BYTES_MAX);
        match error.kind() {
            ErrorKind::NotFound => Self::NotFound(text),
            ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::Conflict => {
                Self::Invalid(text)
            }
            ErrorKind::TooLarge => Self::TooLarge(text),
            ErrorKind::Internal | ErrorKind::Corrupt => {
                tracing::error!(%error, "a component's look-up or push failed");
                Self::Unavailable("the node failed; its log has the reason".to_owned())
            }
            ErrorKind::Busy
            | ErrorKind::Unavailable
            | ErrorKind::StorageFull
            | ErrorKind::Closed => Self::Unavailable(text),
        }
    }
}

// === what comes from the guest ===

/// Columns as the node takes them. Whatever a guest sends is checked here, value by value.
fn inputs(columns: &[NamedColumn]) -> Result<Columns<'_>, OnlineError> {
    columns
        .iter()
        .map(|NamedColumn { name, column }| {
            let column = column.as_ref();
            let values = (0..column.len()).map(|row| {
                input(&column, row).ok_or_else(|| {
                    let name = clip(name, MESSAGE_BYTES_MAX);
                    OnlineError::Invalid(format!(
                        "column '{name}', row {row}: its offsets, its bitmap or its text are not \
                         as galley:transform/types says"
                    ))
                })
            });
            Ok((Cow::from(name.as_str()), values.collect::<Result<_, _>>()?))
        })
        .collect()
}

/// The value of one row; `None` when the column is malformed.
fn input<'a>(column: &ColumnRef<'a>, row: usize) -> Option<Input<'a>> {
    match column.cell(row) {
        Some(cell) => scalar(&cell),
        None => list(column, row),
    }
}

fn scalar<'a>(cell: &Cell<'a>) -> Option<Input<'a>> {
    Some(match *cell {
        Cell::Null => Input::Null,
        Cell::Bool(value) => Input::Bool(value),
        Cell::Int32(value) => Input::Int(i64::from(value)),
        Cell::Int64(value) => Input::Int(value),
        Cell::Float(value) => Input::Float(f64::from(value)),
        Cell::Double(value) => Input::Float(value),
        // As text, which is exact; as a number its unit would be guessed.
        Cell::UnixTimestamp(micros) => Input::Text(EventTime(micros).to_string().into()),
        Cell::Text(text) => Input::Text(text.into()),
        Cell::Bytes(bytes) => Input::Text(STANDARD.encode(bytes).into()),
        Cell::Zoned(..) | Cell::List(_) | Cell::Tree(_) => return None,
    })
}

fn list<'a>(column: &ColumnRef<'a>, row: usize) -> Option<Input<'a>> {
    let DataType::Array(kind) = column.data_type() else {
        return None;
    };
    let Ok(Value::List(list)) = column.value(row, ValueType::List(element(kind))) else {
        return None;
    };
    let items = list.as_ref().iter().map(|item| {
        Some(match item {
            ListItem::Bool(value) => Input::Bool(value),
            ListItem::Int32(value) => Input::Int(i64::from(value)),
            ListItem::Int64(value) => Input::Int(value),
            ListItem::Float(value) => Input::Float(f64::from(value)),
            ListItem::Double(value) => Input::Float(value),
            ListItem::UnixTimestamp(micros) => Input::Text(EventTime(micros).to_string().into()),
            ListItem::Text(text) => Input::Text(text.to_owned().into()),
            ListItem::Bytes(bytes) => Input::Text(STANDARD.encode(bytes).into()),
            ListItem::Zoned(..) => return None,
        })
    });
    items.collect::<Option<_>>().map(Input::List)
}

fn element(kind: Kind) -> ScalarType {
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

// === what goes to the guest ===

fn features(answer: &Answer<'_>, bytes_max: usize) -> Result<Vec<Feature>, OnlineError> {
    let rows = answer.row_count();
    let mut room = bytes_max;
    let outputs = answer.plan().outputs().iter().enumerate();
    outputs
        .map(|(index, output)| {
            let mut values = ColumnBuilder::new(DataType::of(output.value_type));
            let mut statuses = Vec::with_capacity(rows);
            for row in 0..rows {
                let cell = answer.cell(index, row);
                let (status, cell) = cell.map_err(|error| OnlineError::of(&error))?;
                let bytes = push_cell(&mut values, &cell)?;
                room = room
                    .checked_sub(bytes)
                    .ok_or_else(|| too_large(bytes_max))?;
                statuses.push(match status {
                    FieldStatus::Present => Status::Present,
                    FieldStatus::NullValue => Status::NullValue,
                    FieldStatus::NotFound => Status::NotFound,
                    FieldStatus::OutsideMaxAge => Status::OutsideMaxAge,
                });
            }
            let times = answer.part_rows(output.part).iter();
            Ok(Feature {
                name: output.name.clone(),
                values: values.into_column(),
                statuses,
                event_times_micros: times.map(|row| row.event_time.0).collect(),
            })
        })
        .collect()
}

/// Appends a cell; gives about as many bytes as it takes.
fn push_cell(values: &mut ColumnBuilder, cell: &Cell<'_>) -> Result<usize, OnlineError> {
    const FIXED_BYTES: usize = 24;
    let text;
    let (cell, bytes) = match cell {
        Cell::Tree(value) => {
            text = json(value).to_string();
            (&Cell::Text(&text), text.len())
        }
        Cell::Text(text) => (cell, text.len()),
        Cell::Bytes(bytes) => (cell, bytes.len()),
        Cell::List(list) => (cell, list.iter().map(item_bytes).sum()),
        _ => (cell, 0),
    };
    match values.push(cell) {
        Ok(()) => Ok(bytes.saturating_add(FIXED_BYTES)),
        Err(error) => {
            tracing::error!(%error, "a stored value does not fit its type");
            Err(OnlineError::Unavailable(
                "the node failed; its log has the reason".to_owned(),
            ))
        }
    }
}

fn item_bytes(item: ListItem<'_>) -> usize {
    match item {
        ListItem::Text(text) => text.len() + size_of::<u32>(),
        ListItem::Bytes(bytes) => bytes.len() + size_of::<u32>(),
        _ => size_of::<u64>(),
    }
}

fn too_large(bytes_max: usize) -> OnlineError {
    OnlineError::TooLarge(format!(
        "the answer has more than {bytes_max} bytes (max-transfer); ask for fewer rows at once"
    ))
}

/// A map, a struct or a nested list as JSON; numbers JSON has no form for become null.
fn json(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::from(*value),
        Value::Int32(value) => Json::from(*value),
        Value::Int64(value) => Json::from(*value),
        Value::Float(value) => Json::from(*value),
        Value::Double(value) => Json::from(*value),
        Value::UnixTimestamp(micros) => Json::from(EventTime(*micros).to_string()),
        Value::Text(text) => Json::from(text.as_str()),
        Value::Bytes(bytes) => Json::from(STANDARD.encode(bytes)),
        Value::Zoned { micros, zone } => {
            let zone = if zone.is_empty() { "UTC" } else { zone };
            Json::from(format!("{}[{zone}]", EventTime(*micros)))
        }
        Value::List(list) => list.as_ref().iter().map(item).collect(),
        Value::Values(values) => values.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::ScalarMap(entries) => entries
            .iter()
            .map(|(key, value)| {
                let key = match json(key) {
                    Json::String(text) => text,
                    other => other.to_string(),
                };
                (key, json(value))
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

fn item(item: ListItem<'_>) -> serde_json::Value {
    json(&match item {
        ListItem::Bool(value) => Value::Bool(value),
        ListItem::Int32(value) => Value::Int32(value),
        ListItem::Int64(value) => Value::Int64(value),
        ListItem::Float(value) => Value::Float(value),
        ListItem::Double(value) => Value::Double(value),
        ListItem::UnixTimestamp(value) => Value::UnixTimestamp(value),
        ListItem::Text(value) => Value::Text(value.to_owned()),
        ListItem::Bytes(value) => Value::Bytes(value.to_vec()),
        ListItem::Zoned(micros, zone) => Value::Zoned {
            micros,
            zone: zone.to_owned(),
        },
    })
}

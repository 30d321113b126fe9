//! Look-ups: names in, rows of one commit out. No lock, no parsing of registry things.

use std::borrow::Cow;

use galley_store::{Row, RowBytes, Snapshot};
use galley_types::{EntityKey, EventTime, FieldStatus, KeyType, KeyValue, Value};
use smallvec::{SmallVec, smallvec};

use crate::answer::{Answer, EntityColumn, KeyValues, PartRow};
use crate::columns::FixedColumns;
use crate::compute::{self, Patience, Sources};
use crate::generation::Generation;
use crate::logs::Logs;
use crate::plan::{KeySet, Part, Plan};
use crate::request::{RequestColumns, request_values};
use crate::{Error, Input, NodeConfig, Result, coerce};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'a> {
    /// Feature references, in the order of the answer.
    Features(&'a [Cow<'a, str>]),
    /// The name of a feature service.
    Service(&'a str),
    /// Feature references as a JSON text that is only taken apart when no plan is kept for it.
    Text(SelectionText<'a>),
}

/// A JSON list of feature references, and how to take it apart.
#[derive(Clone, Copy)]
pub struct SelectionText<'a> {
    /// The list, as it came.
    pub text: &'a str,
    /// Its elements; `None` when it is not a list of strings.
    pub parse: fn(&'a str) -> Option<Vec<Cow<'a, str>>>,
}

/// A look-up.
#[derive(Clone, Copy, Debug)]
pub struct GetRequest<'a> {
    /// What is asked for.
    pub selection: Selection<'a>,
    /// Whether outputs are named `view__feature`.
    pub full_feature_names: bool,
    /// Columns of join keys (and request data), all of one length.
    pub entities: &'a [(Cow<'a, str>, Vec<Input<'a>>)],
}

/// Key columns and sets of a look-up that take no memory of their own.
const KEYS_INLINE: usize = 4;

/// Rows of a look-up that take no memory of their own: one of a view and one of what is computed from it.
const ROWS_INLINE: usize = 2;

/// Bytes of encoded keys that take no memory of their own.
const KEY_BYTES_INLINE: usize = 32;

/// Entity keys of all rows for one key set, end to end.
struct EncodedKeys {
    bytes: SmallVec<[u8; KEY_BYTES_INLINE]>,
    ends: SmallVec<[usize; KEYS_INLINE]>,
}

// === impl SelectionText ===

impl std::fmt::Debug for SelectionText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelectionText")
            .field("text", &self.text)
            .finish_non_exhaustive()
    }
}

// === impl EncodedKeys ===

impl EncodedKeys {
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| self.bytes.get(start..*end).unwrap_or_default())
    }
}

/// What a look-up is answered under.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'n> {
    pub config: &'n NodeConfig,
    pub now: EventTime,
    pub patience: Patience,
    /// Where answers of services that log go.
    pub logs: Option<&'n Logs>,
}

/// Runs a look-up against one generation and one snapshot.
pub(crate) fn run<R>(
    generation: &Generation,
    snapshot: &Snapshot,
    setting: Setting<'_>,
    request: &GetRequest<'_>,
    write: impl FnOnce(&Answer<'_>) -> R,
) -> Result<R> {
    let Setting {
        config,
        now,
        patience,
        logs,
    } = setting;
    check_size(config, request)?;
    let asked = (&request.selection, request.full_feature_names);
    let plan = generation.plan(asked, config)?;
    let columns = entity_columns(generation, &plan, request)?;
    let row_count = row_count(&plan, config, request)?;
    let keys = encode_keys(&plan, &columns, row_count)?;
    let bytes = fetch(snapshot, &plan, &keys, row_count)?;
    let row_total = bytes.len() + row_count * plan.transforms().len();
    let mut rows = SmallVec::<[PartRow<'_>; ROWS_INLINE]>::with_capacity(row_total);
    let mut fixed = FixedColumns::new(plan.column_count, row_count);
    for (part, found) in plan.parts.iter().zip(bytes.chunks(row_count)) {
        let expiry = expiry(part, config, now);
        for (row, bytes) in found.iter().enumerate() {
            let found = part_row(bytes.as_ref(), part, expiry)?;
            fixed.gather(&part.fixed, row, &found, &part.table);
            rows.push(found);
        }
    }
    let mut computed = SmallVec::new();
    let mut requested = RequestColumns::new();
    if !plan.transforms().is_empty() {
        request_values(&plan, request, &mut requested)?;
        let sources = Sources {
            plan: &plan,
            rows: &rows,
            row_count,
            keys: &|key| columns.values(key),
            requested: &requested,
            now,
        };
        computed = sources.compute(patience)?;
        compute::gather(&plan, &computed, &mut fixed, row_count);
        rows.extend((0..row_count * computed.len()).map(|_| PartRow::computed()));
    }
    let quirks = config.python_quirks;
    let answer = Answer {
        plan: &plan,
        columns: &columns.echo,
        rows: &rows,
        computed: &computed,
        fixed: &fixed,
        row_count,
        quirks,
        requested: &requested,
    };
    let written = write(&answer);
    if let (Some(log), Some(logs)) = (&plan.log, logs) {
        logs.sample(log, &answer, now);
    }
    fixed.give_back();
    Ok(written)
}

/// Feast's name for the key of entity-less views: it brings rows, and is never echoed.
const DUMMY_KEY: &str = "__dummy_id";

fn check_size(config: &NodeConfig, request: &GetRequest<'_>) -> Result<()> {
    if let Selection::Features(features) = request.selection {
        over_limit(
            "features",
            features.len(),
            config.features_max,
            "limits.features_max",
        )?;
    }
    let Some((first, values)) = request.entities.first() else {
        return Ok(());
    };
    over_limit(
        "entity rows",
        values.len(),
        config.entity_rows_max,
        "limits.entity_rows_max",
    )?;
    for (name, column) in request.entities {
        if column.len() != values.len() {
            return Err(Error::Ragged {
                column: name.clone().into_owned(),
                got: column.len(),
                other: first.clone().into_owned(),
                expected: values.len(),
            });
        }
    }
    Ok(())
}

/// The number of rows of an answer: at least one, and not too many for all that is asked of them.
fn row_count(plan: &Plan, config: &NodeConfig, request: &GetRequest<'_>) -> Result<usize> {
    let row_count = match request.entities.first() {
        Some((_, values)) => values.len(),
        None => 0,
    };
    if row_count == 0 {
        let keys = plan.keys.iter().map(|key| key.column.clone());
        let requested = plan.request_columns.iter().map(|it| it.name.clone());
        let needed = keys.chain(requested).collect();
        return Err(Error::NoRows { needed });
    }
    let cells = row_count.saturating_mul(plan.outputs().len());
    over_limit(
        "entity rows times features",
        cells,
        config.cells_max,
        "limits.cells_max",
    )?;
    Ok(row_count)
}

pub(crate) fn over_limit(
    what: &'static str,
    got: usize,
    limit: usize,
    setting: &'static str,
) -> Result<()> {
    if got > limit {
        Err(Error::OverLimit {
            what,
            got,
            limit,
            setting,
        })
    } else {
        Ok(())
    }
}

/// The join keys of a request.
struct Columns<'a> {
    /// As they are echoed, in the request's order.
    echo: SmallVec<[EntityColumn<'a>; KEYS_INLINE]>,
    /// For each of the plan's keys, its values: the echoed ones, or others where two views give one
    /// column different types.
    by_key: SmallVec<[Option<KeySource>; KEYS_INLINE]>,
}

enum KeySource {
    Echoed(usize),
    Own(KeyValues),
}

impl Columns<'_> {
    fn values(&self, key: usize) -> Option<&[Value]> {
        match self.by_key.get(key)?.as_ref()? {
            KeySource::Echoed(index) => Some(&self.echo.get(*index)?.values),
            KeySource::Own(values) => Some(values),
        }
    }
}

/// The columns that are join keys, coerced. Columns that are neither join keys nor aliases are left
/// out, as Feast leaves them out.
fn entity_columns<'a>(
    generation: &'a Generation,
    plan: &Plan,
    request: &'a GetRequest<'_>,
) -> Result<Columns<'a>> {
    let mut echo = SmallVec::<[EntityColumn<'a>; KEYS_INLINE]>::new();
    let mut by_key: SmallVec<_> = plan.keys.iter().map(|_| None).collect();
    for (sent, inputs) in request.entities {
        if sent == DUMMY_KEY {
            continue;
        }
        let planned = plan.keys.iter().any(|key| key.column == **sent);
        let named = if planned {
            None
        } else {
            generation.registry.join_key(sent)
        };
        let name: &str = match named {
            Some(key) => &key.name,
            None if planned => sent,
            None => continue,
        };
        if echo.iter().any(|column| column.name == name) {
            continue;
        }
        let keys = plan
            .keys
            .iter()
            .enumerate()
            .filter(|(_, key)| key.column == name);
        let mut echoed = None;
        for (index, key) in keys {
            let values = coerce_keys(name, inputs, key.key_type)?;
            let source = if echoed.is_none() {
                echoed = Some(values);
                KeySource::Echoed(echo.len())
            } else {
                KeySource::Own(values)
            };
            if let Some(place) = by_key.get_mut(index) {
                *place = Some(source);
            }
        }
        let values = match (echoed, named) {
            (Some(values), _) => values,
            (None, Some(key)) => coerce_keys(name, inputs, key.key_type)?,
            (None, None) => continue,
        };
        echo.push(EntityColumn { name, values });
    }
    Ok(Columns { echo, by_key })
}

fn coerce_keys(name: &str, inputs: &[Input<'_>], key_type: KeyType) -> Result<KeyValues> {
    let mut values = KeyValues::with_capacity(inputs.len());
    for (row, input) in inputs.iter().enumerate() {
        values.push(
            coerce::key(input, key_type).map_err(|expected| Error::WrongType {
                row,
                column: name.to_owned(),
                expected: expected.into_owned(),
                got: input.describe(),
            })?,
        );
    }
    Ok(values)
}

fn encode_keys(
    plan: &Plan,
    columns: &Columns<'_>,
    row_count: usize,
) -> Result<SmallVec<[EncodedKeys; 1]>> {
    plan.key_sets
        .iter()
        .map(|set| encode_key_set(plan, set, columns, row_count))
        .collect()
}

fn encode_key_set(
    plan: &Plan,
    set: &KeySet,
    columns: &Columns<'_>,
    row_count: usize,
) -> Result<EncodedKeys> {
    let mut sources: SmallVec<[&[Value]; KEYS_INLINE]> = SmallVec::new();
    let mut missing = Vec::new();
    for position in &set.columns {
        match (columns.values(*position), plan.keys.get(*position)) {
            (Some(values), _) => sources.push(values),
            (None, Some(key)) => missing.push(key.column.clone()),
            (None, None) => {}
        }
    }
    if !missing.is_empty() {
        return Err(missing_keys(plan, set, missing, &columns.echo));
    }
    let mut encoded = EncodedKeys {
        bytes: SmallVec::with_capacity(row_count * 8),
        ends: SmallVec::with_capacity(row_count),
    };
    let mut key = EntityKey::new();
    for row in 0..row_count {
        key.clear();
        for (index, source) in sources.iter().enumerate() {
            let value = source.get(row).and_then(key_value);
            let last = index + 1 == sources.len();
            let pushed = value.map(|value| key.push(value, last));
            if !matches!(pushed, Some(Ok(()))) {
                return Err(Error::KeyTooLong {
                    row,
                    view: view_of(plan, set),
                    limit: galley_types::Limits::KEY_BYTES_MAX,
                });
            }
        }
        encoded.bytes.extend_from_slice(key.as_bytes());
        encoded.ends.push(encoded.bytes.len());
    }
    Ok(encoded)
}

fn view_of(plan: &Plan, set: &KeySet) -> String {
    let found = plan
        .parts
        .iter()
        .find(|part| plan.key_sets.get(part.key_set) == Some(set));
    found.map(|part| part.name.clone()).unwrap_or_default()
}

#[cold]
fn missing_keys(
    plan: &Plan,
    set: &KeySet,
    missing: Vec<String>,
    columns: &[EntityColumn<'_>],
) -> Error {
    let sent = columns
        .iter()
        .map(|column| column.name.to_owned())
        .collect();
    Error::MissingKeys {
        missing,
        view: view_of(plan, set),
        sent,
    }
}

/// A coerced join key as a key component.
pub(crate) fn key_value(value: &Value) -> Option<KeyValue<'_>> {
    match value {
        Value::Int64(value) => Some(KeyValue::Int64(*value)),
        Value::Int32(value) => Some(KeyValue::Int32(*value)),
        Value::Text(text) => Some(KeyValue::String(text)),
        Value::Bytes(bytes) => Some(KeyValue::Bytes(bytes)),
        Value::UnixTimestamp(micros) => Some(KeyValue::UnixTimestamp(*micros)),
        _ => None,
    }
}

/// The rows of all parts, part by part, one for each entity row. A part without a table has none.
fn fetch<'s>(
    snapshot: &'s Snapshot,
    plan: &Plan,
    keys: &[EncodedKeys],
    row_count: usize,
) -> Result<SmallVec<[Option<RowBytes<'s>>; 1]>> {
    // The look-up of most: nothing to do side by side.
    if let ([part], [keys]) = (plan.parts.as_slice(), keys)
        && let ([_], Some(table)) = (keys.ends.as_slice(), part.table.id)
    {
        return Ok(smallvec![snapshot.get(table, &keys.bytes)?]);
    }
    let mut rows = Vec::with_capacity(row_count * plan.parts.len());
    if plan.parts.iter().all(|part| part.table.id.is_some()) {
        let lookups = plan.parts.iter().flat_map(|part| {
            let keys = keys
                .get(part.key_set)
                .into_iter()
                .flat_map(EncodedKeys::iter);
            keys.filter_map(|key| Some((part.table.id?, key)))
        });
        snapshot.get_many(lookups, &mut rows)?;
        return Ok(rows.into());
    }
    for part in &plan.parts {
        match (part.table.id, keys.get(part.key_set)) {
            (Some(table), Some(keys)) => {
                snapshot.get_many(keys.iter().map(|key| (table, key)), &mut rows)?;
            }
            _ => rows.extend((0..row_count).map(|_| None)),
        }
    }
    Ok(rows.into())
}

/// The event time before which rows are too old; none is where they never are.
fn expiry(part: &Part, config: &NodeConfig, now: EventTime) -> EventTime {
    match part.ttl_micros {
        Some(ttl) if !config.python_quirks => EventTime(now.0.saturating_sub(ttl)),
        _ => EventTime(i64::MIN),
    }
}

fn part_row<'a>(
    found: Option<&'a RowBytes<'_>>,
    part: &Part,
    expiry: EventTime,
) -> Result<PartRow<'a>> {
    let Some(bytes) = found else {
        return Ok(PartRow {
            status: FieldStatus::NotFound,
            event_time: EventTime::EPOCH,
            row: None,
            is_current: true,
        });
    };
    let row = Row::parse(bytes)?;
    let event_time = row.event_time();
    let status = if event_time < expiry {
        FieldStatus::OutsideMaxAge
    } else {
        FieldStatus::Present
    };
    Ok(PartRow {
        status,
        event_time,
        is_current: part.table.is_current(row.schema()),
        row: Some(row),
    })
}

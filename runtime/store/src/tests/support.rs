//! Small tables and rows for the tests.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use galley_types::{
    Cell, EntityKey, EventTime, Field, KeyType, KeyValue, RowSchema, ScalarType, Value, ValueType,
};

use crate::{
    Group, Installed, Outcome, Row, RowBatch, RowWriter, Snapshot, Store, StoreConfig, TableId,
    TableSpec, Write,
};

/// A row as tests think of it: key, event time, created time, value.
pub(crate) type Plain = (i64, i64, Option<i64>, i64);
/// What a table holds: key -> (event time, created time, value).
pub(crate) type Model = BTreeMap<i64, (i64, Option<i64>, i64)>;

pub(crate) fn config() -> StoreConfig {
    StoreConfig {
        cache_bytes: 4 << 20,
        free_space_min_bytes: 0,
        free_space_min_percent: 0,
        ..StoreConfig::default()
    }
}

pub(crate) fn schema(fields: &[(&str, ValueType)]) -> RowSchema {
    let fields = fields.iter().map(|(name, value_type)| Field {
        name: (*name).to_owned(),
        value_type: *value_type,
    });
    RowSchema {
        fields: fields.collect(),
    }
}

pub(crate) fn number_schema() -> RowSchema {
    schema(&[
        ("value", ValueType::Scalar(ScalarType::Int64)),
        ("text", ValueType::Scalar(ScalarType::String)),
    ])
}

pub(crate) fn install(store: &Store, name: &str) -> Installed {
    let schema = number_schema();
    let spec = TableSpec {
        name,
        keys: &[KeyType::Int64],
        schema: &schema,
    };
    store.install(&[spec]).unwrap().remove(0)
}

pub(crate) fn key(value: i64) -> Vec<u8> {
    let mut key = EntityKey::new();
    key.push(KeyValue::Int64(value), true).unwrap();
    key.into_bytes()
}

pub(crate) fn batch(table: &Installed, rows: &[Plain]) -> RowBatch {
    let mut writer = RowWriter::new(&number_schema(), table.schema);
    let mut batch = RowBatch::new(table.table);
    for (id, time, created, value) in rows {
        writer.begin(EventTime(*time), created.map(EventTime));
        writer.set(0, &Value::Int64(*value)).unwrap();
        writer
            .set(
                1,
                &Value::Text("x".repeat((*value % 7).unsigned_abs() as usize)),
            )
            .unwrap();
        batch.push(&key(*id), &mut writer).unwrap();
    }
    batch
}

pub(crate) fn write(table: &Installed, rows: &[Plain]) -> Write {
    Write {
        batches: vec![batch(table, rows)],
        ..Write::default()
    }
}

pub(crate) fn apply(store: &Store, writes: &[Write]) -> Vec<Outcome> {
    store
        .apply(&Group {
            writes,
            ..Group::default()
        })
        .unwrap()
        .outcomes
}

/// The event-time rule in five lines.
pub(crate) fn model_apply(model: &mut Model, rows: &[Plain]) -> Outcome {
    let mut outcome = Outcome::default();
    for (id, time, created, value) in rows {
        let age = (*time, created.unwrap_or(i64::MIN));
        let old = model
            .get(id)
            .map(|(time, created, _)| (*time, created.unwrap_or(i64::MIN)));
        if old.is_none_or(|old| age >= old) {
            model.insert(*id, (*time, *created, *value));
            outcome.written += 1;
        } else {
            outcome.superseded += 1;
        }
    }
    outcome
}

pub(crate) fn unpack(bytes: &[u8]) -> (i64, Option<i64>, i64) {
    let row = Row::parse(bytes).unwrap();
    let Cell::Int64(value) = row.cell(0, ValueType::Scalar(ScalarType::Int64)).unwrap() else {
        panic!("not a number");
    };
    let text = row.cell(1, ValueType::Scalar(ScalarType::String)).unwrap();
    assert_eq!(
        text,
        Cell::Text(&"x".repeat((value % 7).unsigned_abs() as usize))
    );
    (
        row.event_time().0,
        row.created().map(|created| created.0),
        value,
    )
}

/// What the file holds.
pub(crate) fn stored(snapshot: &Snapshot, table: TableId) -> Model {
    let mut model = Model::new();
    snapshot
        .scan(table, &mut |key, row| {
            let values = EntityKey::decode(&[KeyType::Int64], key).unwrap();
            let [Value::Int64(id)] = values.as_slice() else {
                panic!("not a key");
            };
            model.insert(*id, unpack(row));
            ControlFlow::Continue(())
        })
        .unwrap();
    model
}

/// Asserts that look-ups, scan, totals and check all agree with `model`.
pub(crate) fn check(store: &Store, table: TableId, model: &Model) {
    let snapshot = store.load();
    assert_eq!(&stored(&snapshot, table), model);
    for (id, row) in model {
        let bytes = snapshot.get(table, &key(*id)).unwrap().expect("a row");
        assert_eq!(&unpack(&bytes), row);
    }
    assert!(snapshot.get(table, &key(i64::MAX)).unwrap().is_none());
    let stats = store.stats();
    let stats = stats
        .tables
        .iter()
        .find(|stats| stats.table == table)
        .unwrap();
    assert_eq!(stats.rows, model.len() as u64);
    let newest = model.values().map(|row| EventTime(row.0)).max();
    assert_eq!(stats.newest_event_time, newest);
    let report = store.check().unwrap();
    assert!(report.is_whole(), "{report:?}");
}

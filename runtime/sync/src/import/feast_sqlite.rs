//! `galley import feast-sqlite`: the rows of a Feast SQLite online store.
//!
//! Feast keeps one SQLite row per feature and entity; here they become one row per entity. Values
//! and times are taken over exactly. A feature without a cell where others of its entity have one
//! becomes a null (Feast says NOT_FOUND there) and is counted in the report.

use std::collections::HashMap;
use std::path::Path;

use galley_node::store::{RowBatch, RowWriter, Write};
use galley_node::{Node, Registry, Sink, StoredView};
use galley_types::{EntityKey, EventTime};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use super::feast_key::{self, Component};
use super::feast_value;
use crate::error::{Error, Result};

/// Entities per commit.
const CHUNK_ROWS: u64 = 50_000;
/// Bytes of rows per commit.
const CHUNK_BYTES: usize = 64 << 20;

/// What was imported.
#[derive(Clone, Debug, Default)]
pub struct ImportReport {
    /// The views that were taken over, in the order of the registry.
    pub views: Vec<ImportedView>,
    /// Tables that were left out, and why.
    pub skipped: Vec<(String, String)>,
}

/// What was imported of one view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportedView {
    /// The view.
    pub name: String,
    /// The table it came from.
    pub table: String,
    /// Entities read.
    pub rows: u64,
    /// Rows stored; the others were older than what was there.
    pub written: u64,
    /// Cells read.
    pub features: u64,
    /// Features without a cell, stored as null.
    pub absent: u64,
    /// Cells of features the view does not have (any more), left out.
    pub unknown: u64,
    /// Rows that Feast itself cannot reach (written straight to a view without entities), left out.
    pub unreachable: u64,
}

/// Imports every view of the node's registry that has a table in the SQLite file at `path`. Rows
/// follow the event-time rule: an older row does not replace a newer one. `progress` is called
/// after each commit with the view's counts so far.
///
/// # Errors
/// [`Error::Io`], [`Error::Sqlite`], [`Error::Import`] for the first cell that cannot be taken
/// over, [`Error::Node`]. What was committed before stays; the import can be run again.
pub fn feast_sqlite(
    path: &Path,
    node: &Node,
    progress: &mut dyn FnMut(&ImportedView),
) -> Result<ImportReport> {
    let registry = node.registry().ok_or(galley_node::Error::NotReady)?;
    let sqlite = |action| {
        move |source| Error::Sqlite {
            action,
            path: path.to_owned(),
            source,
        }
    };
    // SQLite's own message for a missing file does not say that it is missing.
    std::fs::metadata(path).map_err(|source| Error::Io {
        action: "open",
        path: path.to_owned(),
        source,
    })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite("open"))?;
    let mut tables = tables(&connection).map_err(sqlite("list the tables of"))?;
    let mut report = ImportReport::default();
    for view in registry.views() {
        let Some(table) = table_of(&registry, view, &tables) else {
            continue;
        };
        tables.retain(|name| *name != table);
        let sink = match node.sink(&view.name) {
            Ok(Some(sink)) => sink,
            Ok(None) => {
                report
                    .skipped
                    .push((table, "the view is not in the registry".to_owned()));
                continue;
            }
            Err(error) => {
                report.skipped.push((table, error.to_string()));
                continue;
            }
        };
        let import = Import::new(path, node, &sink, table);
        report.views.push(import.run(&connection, progress)?);
    }
    for table in tables {
        let reason = "no feature view of the registry is stored in it".to_owned();
        report.skipped.push((table, reason));
    }
    Ok(report)
}

fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' \
             ESCAPE '\\' ORDER BY name",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// The table of a view: that of its current version where there is one.
fn table_of(registry: &Registry, view: &StoredView, tables: &[String]) -> Option<String> {
    let plain = format!("{}_{}", registry.project(), view.name);
    let versioned = format!("{plain}_v{}", view.version);
    [versioned, plain]
        .into_iter()
        .find(|name| tables.contains(name))
}

/// The import of one view.
struct Import<'a> {
    path: &'a Path,
    node: &'a Node,
    sink: &'a Sink,
    components: Vec<Component>,
    slots: HashMap<&'a str, usize>,
    writer: RowWriter,
    batch: RowBatch,
    chunk: u64,
    view: ImportedView,
    /// The entity being put together.
    entity: Option<Entity>,
}

/// One entity's cells so far.
struct Entity {
    raw_key: Vec<u8>,
    times: (EventTime, Option<EventTime>),
    cells: Vec<(usize, galley_types::Value)>,
}

// === impl Import ===

impl<'a> Import<'a> {
    fn new(path: &'a Path, node: &'a Node, sink: &'a Sink, table: String) -> Self {
        let view = &sink.view;
        Self {
            path,
            node,
            sink,
            components: view
                .join_keys
                .iter()
                .map(|key| Component {
                    name: key.name.clone(),
                    key_type: key.key_type,
                })
                .collect(),
            slots: view
                .schema
                .fields
                .iter()
                .enumerate()
                .map(|(slot, field)| (field.name.as_str(), slot))
                .collect(),
            writer: RowWriter::new(&view.schema, sink.schema),
            batch: RowBatch::new(sink.table),
            chunk: 0,
            view: ImportedView {
                name: view.name.clone(),
                table,
                ..ImportedView::default()
            },
            entity: None,
        }
    }

    fn run(
        mut self,
        connection: &Connection,
        progress: &mut dyn FnMut(&ImportedView),
    ) -> Result<ImportedView> {
        let quoted = self.view.table.replace('"', "\"\"");
        let query = format!(
            "SELECT entity_key, feature_name, value, event_ts, created_ts FROM \"{quoted}\" \
             ORDER BY entity_key"
        );
        let mut statement = connection
            .prepare(&query)
            .map_err(|source| self.sqlite(source))?;
        let mut rows = statement.query([]).map_err(|source| self.sqlite(source))?;
        while let Some(row) = rows.next().map_err(|source| self.sqlite(source))? {
            self.cell(row)?;
            if self.chunk >= CHUNK_ROWS || self.batch.bytes() >= CHUNK_BYTES {
                self.commit()?;
                progress(&self.view);
            }
        }
        self.finish_entity()?;
        self.commit()?;
        progress(&self.view);
        Ok(self.view)
    }

    /// Adds one SQLite row, which is one feature of one entity.
    fn cell(&mut self, row: &Row<'_>) -> Result<()> {
        let get = |index: usize| row.get_ref(index).map_err(|source| self.sqlite(source));
        let key = match get(0)? {
            ValueRef::Blob(key) => key,
            other => {
                let reason = format!("an entity key of type {}", other.data_type());
                return Err(self.bad(None, reason));
            }
        };
        let feature = match get(1)? {
            ValueRef::Text(name) => String::from_utf8_lossy(name).into_owned(),
            other => {
                let reason = format!("a feature name of type {}", other.data_type());
                return Err(self.bad(None, reason));
            }
        };
        let bytes = match get(2)? {
            ValueRef::Blob(bytes) => bytes,
            ValueRef::Null => &[],
            other => {
                let reason = format!("a value of type {}", other.data_type());
                return Err(self.bad(Some(&feature), reason));
            }
        };
        let event = time(get(3)?)
            .and_then(|time| time.ok_or_else(|| "event_ts is null".to_owned()))
            .map_err(|reason| self.bad(Some(&feature), reason))?;
        let created = time(get(4)?).map_err(|reason| self.bad(Some(&feature), reason))?;
        let slot = self.slots.get(feature.as_str()).copied();
        let field = slot.and_then(|slot| self.sink.view.schema.fields.get(slot));
        let cell = match (slot, field) {
            (Some(slot), Some(field)) => {
                let value = feast_value::decode(bytes, field.value_type)
                    .map_err(|reason| self.bad(Some(&feature), reason))?;
                Some((slot, value))
            }
            _ => None,
        };
        if self
            .entity
            .as_ref()
            .is_none_or(|entity| entity.raw_key != key)
        {
            self.finish_entity()?;
        }
        let entity = self.entity.get_or_insert_with(|| Entity {
            raw_key: key.to_vec(),
            times: (event, created),
            cells: Vec::new(),
        });
        entity.times = entity.times.max((event, created));
        match cell {
            Some(cell) => {
                entity.cells.push(cell);
                self.view.features += 1;
            }
            None => self.view.unknown += 1,
        }
        Ok(())
    }

    fn finish_entity(&mut self) -> Result<()> {
        let Some(entity) = self.entity.take() else {
            return Ok(());
        };
        // An entity that has only features the view no longer has is no row of the view.
        if entity.cells.is_empty() {
            return Ok(());
        }
        let mut key = EntityKey::new();
        let reachable = feast_key::decode(&entity.raw_key, &self.components, &mut key)
            .map_err(|reason| self.bad(None, reason))?;
        if !reachable {
            self.view.unreachable += 1;
            return Ok(());
        }
        let row_error = |source| Error::Row {
            view: self.view.name.clone(),
            source,
        };
        self.writer.begin(entity.times.0, entity.times.1);
        for (slot, value) in &entity.cells {
            self.writer.set(*slot, value).map_err(row_error)?;
        }
        self.batch
            .push(key.as_bytes(), &mut self.writer)
            .map_err(row_error)?;
        let absent = self.slots.len().saturating_sub(entity.cells.len());
        self.view.absent += absent as u64;
        self.view.rows += 1;
        self.chunk += 1;
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        if self.chunk == 0 {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, RowBatch::new(self.sink.table));
        let receipt = self.node.commit(Write {
            batches: vec![batch],
            ..Write::default()
        })?;
        self.view.written += receipt.written;
        self.chunk = 0;
        Ok(())
    }

    fn sqlite(&self, source: rusqlite::Error) -> Error {
        Error::Sqlite {
            action: "read",
            path: self.path.to_owned(),
            source,
        }
    }

    fn bad(&self, feature: Option<&str>, reason: String) -> Error {
        Error::Import {
            path: self.path.to_owned(),
            table: self.view.table.clone(),
            feature: feature.map(str::to_owned),
            reason,
        }
    }
}

/// A time as Feast's releases have written it: epoch seconds, or text in UTC.
fn time(value: ValueRef<'_>) -> std::result::Result<Option<EventTime>, String> {
    match value {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(seconds) => seconds
            .checked_mul(1_000_000)
            .map(|micros| Some(EventTime(micros)))
            .ok_or_else(|| format!("the time {seconds} is out of range")),
        ValueRef::Real(seconds) => {
            let micros = (seconds * 1e6).round();
            #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
            if micros.abs() < 9e18 {
                Ok(Some(EventTime(micros as i64)))
            } else {
                Err(format!("the time {seconds} is out of range"))
            }
        }
        ValueRef::Text(text) => {
            let text = String::from_utf8_lossy(text);
            match text.parse::<i64>() {
                Ok(seconds) => time(ValueRef::Integer(seconds)),
                Err(_) => EventTime::parse(&text)
                    .map(Some)
                    .map_err(|error| error.to_string()),
            }
        }
        ValueRef::Blob(_) => Err("a time of type blob".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_releases_are_read() {
        let noon = EventTime(1_772_366_400_000_000);
        assert_eq!(time(ValueRef::Null), Ok(None));
        assert_eq!(time(ValueRef::Integer(1_772_366_400)), Ok(Some(noon)));
        assert_eq!(time(ValueRef::Text(b"2026-03-01 12:00:00")), Ok(Some(noon)));
        assert_eq!(
            time(ValueRef::Text(b"2026-03-01 12:00:00.987654")),
            Ok(Some(EventTime(noon.0 + 987_654)))
        );
        assert!(time(ValueRef::Integer(i64::MAX)).is_err());
        assert!(time(ValueRef::Text(b"yesterday")).is_err());
    }
}

#[cfg(test)]
mod import_tests {
    use galley_types::{KeyValue, ListItem, Value};

    use super::*;
    use crate::testing::{Rides, data};

    fn zoned(micros: i64, zone: &str) -> Value {
        Value::Zoned {
            micros,
            zone: zone.into(),
        }
    }

    #[test]
    fn the_store_of_the_sample_repo_is_taken_over_exactly() {
        let rides = Rides::installed();
        let mut calls = 0;
        let report =
            feast_sqlite(&data("online_store.db"), &rides.node, &mut |_| calls += 1).unwrap();
        assert_eq!(report.skipped, []);
        assert!(calls >= report.views.len());
        let view = |name: &str| report.views.iter().find(|view| view.name == name).unwrap();
        assert_eq!(
            (
                view("customer_profile").rows,
                view("customer_profile").features
            ),
            (8, 56)
        );
        assert_eq!(
            (view("trip_pair_stats").rows, view("zone_events").written),
            (12, 2)
        );
        assert_eq!(view("driver_labels").rows, 0);

        let row = |view, key: &[KeyValue<'_>]| rides.row(view, key).unwrap();
        let driver = row("driver_hourly_stats", &[KeyValue::Int64(1001)]);
        assert_eq!(driver.event_time, EventTime(1_772_362_800_000_000));
        assert_eq!(driver.created, Some(EventTime(1_772_364_600_000_000)));
        assert_eq!(
            driver.values,
            [Value::Float(0.5), Value::Float(0.25), Value::Int64(777)]
        );
        assert_eq!(
            row("city_totals", &[]).values,
            [Value::Int64(120), Value::Double(1.5)]
        );
        let pair = row(
            "trip_pair_stats",
            &[KeyValue::String("C002"), KeyValue::Int64(1003)],
        );
        assert_eq!(pair.values[1], Value::Double(4.309));
        let device = |id, feature| rides.value("device_types", &[KeyValue::String(id)], feature);
        assert_eq!(
            device("dev-c", "f_ts"),
            Value::Null,
            "Feast's INT64_MIN is null"
        );
        assert_eq!(
            device("dev-a", "f_bytes"),
            Value::Bytes(vec![0, 1, 0xfe, 0xff])
        );
        assert_eq!(
            device("dev-a", "f_json"),
            Value::Text(r#"{"a": 1, "b": [1, 2, {"c": null}]}"#.into())
        );
    }

    #[test]
    fn rich_types_are_taken_over() {
        let rides = Rides::installed();
        feast_sqlite(&data("online_store.db"), &rides.node, &mut |_| {}).unwrap();
        let rich = |id, feature| rides.value("device_complex", &[KeyValue::String(id)], feature);
        let items = |value: &Value| match value {
            Value::List(list) => list
                .as_ref()
                .iter()
                .map(|item| format!("{item:?}"))
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let Value::Map(entries) = rich("dev-a", "c_map") else {
            panic!()
        };
        let keys: Vec<_> = entries.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            ["k", "f", "n", "nest"],
            "in the order they were written"
        );
        assert_eq!(entries[1].1, Value::Double(1.5));
        let Value::Map(nest) = &entries[3].1 else {
            panic!()
        };
        assert_eq!(items(&nest[0].1), ["Int64(1)", "Int64(2)"]);
        assert_eq!(
            rich("dev-b", "c_struct"),
            Value::Map(vec![
                ("b".into(), Value::Int64(-1)),
                ("a".into(), Value::Text(String::new()))
            ])
        );
        assert!(matches!(rich("dev-a", "c_structs"), Value::Values(values) if values.len() == 2));
        assert!(matches!(rich("dev-b", "c_maps"), Value::Values(values) if values.is_empty()));
        assert_eq!(items(&rich("dev-a", "c_set_i")), ["Int64(1)", "Int64(3)"]);
        assert_eq!(rich("dev-a", "c_dec"), Value::Text("1.2300".into()));
        assert_eq!(
            rich("dev-a", "c_zoned"),
            zoned(1_772_370_000_000_000, "America/Los_Angeles")
        );
        let Value::Values(nested) = rich("dev-a", "c_nested") else {
            panic!()
        };
        assert_eq!(
            (nested.len(), items(&nested[0])),
            (3, vec!["Int64(1)".to_owned(), "Int64(2)".to_owned()])
        );
        assert_eq!(items(&rich("dev-a", "c_jsons")).len(), 2);
        assert_eq!(
            items(&rich("dev-a", "c_decs")),
            [r#"Text("1.5")"#, r#"Text("-0.001")"#]
        );
        assert_eq!(rich("dev-a", "c_nan"), Value::Double(f64::INFINITY));
        let Value::List(floats) = rich("dev-a", "c_nanlist") else {
            panic!()
        };
        let floats: Vec<_> = floats.as_ref().iter().collect();
        assert!(
            matches!(floats[..], [ListItem::Float(1.5), ListItem::Float(nan), ListItem::Float(f32::NEG_INFINITY)] if nan.is_nan())
        );
        for feature in ["c_map", "c_zoned", "c_nested", "c_tuuid", "c_nanlist"] {
            assert_eq!(rich("dev-c", feature), Value::Null, "{feature}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named_and_what_is_unknown_is_skipped() {
        let rides = Rides::installed();
        let path = rides.dir.path().join("bad.db");
        let connection = Connection::open(&path).unwrap();
        let key = "X'0100000002000000070000007A6F6E655F696404000000080000001E00000000000000'";
        connection
            .execute_batch(&format!(
                "CREATE TABLE rides_zone_events (entity_key BLOB, feature_name TEXT, value BLOB, event_ts timestamp, created_ts timestamp);
                 CREATE TABLE rides_gone (x);
                 INSERT INTO rides_zone_events VALUES ({key}, 'n_events', X'2007', '2026-03-01 12:00:00.25', NULL), ({key}, 'dropped', X'2007', 1, NULL);"
            ))
            .unwrap();
        let report = feast_sqlite(&path, &rides.node, &mut |_| {}).unwrap();
        assert_eq!(report.skipped[0].0, "rides_gone");
        assert_eq!((report.views[0].rows, report.views[0].unknown), (1, 1));
        let row = rides.row("zone_events", &[KeyValue::Int64(30)]).unwrap();
        assert_eq!(
            (row.event_time, row.values),
            (EventTime(1_772_366_400_250_000), vec![Value::Int64(7)])
        );
        connection
            .execute("UPDATE rides_zone_events SET value = X'120131'", [])
            .unwrap();
        let message = feast_sqlite(&path, &rides.node, &mut |_| {})
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("table rides_zone_events, feature n_events: expected INT64, got text"),
            "{message}"
        );
        std::fs::write(&path, vec![7; 5000]).unwrap();
        assert!(matches!(
            feast_sqlite(&path, &rides.node, &mut |_| {}),
            Err(Error::Sqlite { .. })
        ));
        let missing = feast_sqlite(Path::new("/nope.db"), &rides.node, &mut |_| {}).unwrap_err();
        assert!(matches!(missing, Error::Io { .. }));
    }
}

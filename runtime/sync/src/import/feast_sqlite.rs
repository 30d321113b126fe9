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
                report.skipped.push((table, "the view is not in the registry".to_owned()));
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
        let mut statement = connection.prepare(&query).map_err(|source| self.sqlite(source))?;
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
        if self.entity.as_ref().is_none_or(|entity| entity.raw_key != key) {
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
        feast_key::decode(&entity.raw_key, &self.components, &mut key)
            .map_err(|reason| self.bad(None, reason))?;
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
            watermark: None,
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

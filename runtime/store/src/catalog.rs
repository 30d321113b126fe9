//! The tables of a store and the schemas their rows may carry.

use std::collections::BTreeMap;
use std::sync::Arc;

use galley_types::{KeyType, Limits, RowSchema};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use crate::codec::{self, Kind};
use crate::layout::{SCHEMAS, STATS, TABLES, data_name, schema_key};
use crate::shared::Shared;
use crate::{Error, Result, SchemaId, TableId};

/// A table as it should be.
#[derive(Clone, Copy, Debug)]
pub struct TableSpec<'a> {
    /// The table's name.
    pub name: &'a str,
    /// The types of the key's components.
    pub keys: &'a [KeyType],
    /// The schema new rows carry.
    pub schema: &'a RowSchema,
}

/// A table as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Installed {
    /// The table.
    pub table: TableId,
    /// The schema new rows carry.
    pub schema: SchemaId,
    /// All schemas that rows of this table may carry, by id.
    pub schemas: Vec<(SchemaId, RowSchema)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) id: TableId,
    pub(crate) name: Arc<str>,
    pub(crate) epoch: u32,
    pub(crate) keys: Vec<KeyType>,
    pub(crate) schema: SchemaId,
    /// Those with the ids 1, 2, ...
    pub(crate) schemas: Vec<RowSchema>,
    pub(crate) state: TableState,
}

/// What a table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum TableState {
    /// It is read and written under its name.
    Live = 0,
    /// Another took its place; it is kept for as long as that may be undone.
    Retired = 1,
    /// It is being filled to take another's place.
    Staged = 2,
}

/// All tables, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) tables: BTreeMap<TableId, Table>,
}

// === impl Table ===

impl Table {
    pub(crate) fn installed(&self) -> Installed {
        let schemas = (1..)
            .map(SchemaId)
            .zip(self.schemas.iter().cloned())
            .collect();
        Installed {
            table: self.id,
            schema: self.schema,
            schemas,
        }
    }

    pub(crate) fn schema_of(&self, id: SchemaId) -> Option<&RowSchema> {
        self.schemas.get(usize::from(id.0).checked_sub(1)?)
    }

    /// Makes `schema` the current one; the id of a schema that is new to the table.
    fn adopt(&mut self, schema: &RowSchema) -> Result<Option<SchemaId>> {
        let known = self.schemas.iter().position(|known| known == schema);
        let position = known.unwrap_or(self.schemas.len());
        let id = u16::try_from(position + 1)
            .map(SchemaId)
            .map_err(|_error| Error::TooLarge {
                what: "number of schemas of a table",
                size: position as u64 + 1,
                limit: u64::from(u16::MAX),
            })?;
        self.schema = id;
        if known.is_some() {
            return Ok(None);
        }
        self.schemas.push(schema.clone());
        Ok(Some(id))
    }
}

// === impl Catalog ===

impl Catalog {
    /// The table of this name that is not retired.
    pub(crate) fn find(&self, name: &str) -> Option<&Table> {
        self.tables
            .values()
            .find(|table| table.state == TableState::Live && &*table.name == name)
    }

    /// Where rows for `table` go now: to itself, or to the table that took its place and holds
    /// the same keys. `None` when they have no place any more.
    pub(crate) fn heir(&self, table: TableId) -> Option<TableId> {
        let meant = self.tables.get(&table)?;
        if meant.state != TableState::Retired {
            return Some(table);
        }
        let heir = self.find(&meant.name)?;
        // A table that takes another's place knows its schemas by the same ids.
        (heir.keys == meant.keys && heir.schemas.starts_with(&meant.schemas)).then_some(heir.id)
    }

    /// Whether every spec is already what the catalog says.
    pub(crate) fn satisfies(&self, specs: &[TableSpec<'_>]) -> bool {
        specs.iter().all(|spec| {
            self.find(spec.name).is_some_and(|table| {
                table.keys == spec.keys && table.schema_of(table.schema) == Some(spec.schema)
            })
        })
    }

    /// Takes `spec` in, and writes what changes to `txn`; `next` is the next free table id.
    pub(crate) fn install(
        &mut self,
        shared: &Shared,
        txn: &WriteTransaction,
        spec: &TableSpec<'_>,
        next: &mut u32,
    ) -> Result<Installed> {
        check_spec(spec)?;
        let found = self.find(spec.name).map(|table| (table.id, table.epoch));
        let same_keys = |id| {
            self.tables
                .get(&id)
                .is_some_and(|table| table.keys == spec.keys)
        };
        let id = match found {
            Some((id, _)) if same_keys(id) => id,
            Some((old, epoch)) => {
                if let Some(table) = self.tables.get_mut(&old) {
                    table.state = TableState::Retired;
                    write_table(shared, txn, table)?;
                }
                self.create(shared, txn, spec, (next, epoch + 1))?
            }
            None => self.create(shared, txn, spec, (next, 1))?,
        };
        self.adopt(shared, txn, id, spec.schema)
    }

    /// Makes `schema` the one that new rows of `id` carry.
    pub(crate) fn adopt(
        &mut self,
        shared: &Shared,
        txn: &WriteTransaction,
        id: TableId,
        schema: &RowSchema,
    ) -> Result<Installed> {
        let Some(table) = self.tables.get_mut(&id) else {
            return Err(Error::UnknownTable { table: id });
        };
        if let Some(new) = table.adopt(schema)? {
            let key = schema_key(id, new);
            let bytes = codec::encode_schema(&key.to_le_bytes(), schema)
                .map_err(|_error| internal("encode schema"))?;
            let mut schemas = txn
                .open_table(SCHEMAS)
                .map_err(shared.fail("open schemas"))?;
            schemas
                .insert(key, bytes.as_slice())
                .map_err(shared.fail("write schema"))?;
        }
        write_table(shared, txn, table)?;
        Ok(table.installed())
    }

    pub(crate) fn create(
        &mut self,
        shared: &Shared,
        txn: &WriteTransaction,
        spec: &TableSpec<'_>,
        (next, epoch): (&mut u32, u32),
    ) -> Result<TableId> {
        let id = TableId(*next);
        *next += 1;
        let name = data_name(id);
        txn.open_table(crate::layout::Data::new(&name))
            .map_err(shared.fail("create table"))?;
        write_stats(shared, txn, id, &EMPTY)?;
        let table = Table {
            id,
            name: spec.name.into(),
            epoch,
            keys: spec.keys.to_vec(),
            schema: SchemaId(0),
            schemas: Vec::new(),
            state: TableState::Live,
        };
        self.tables.insert(id, table);
        Ok(id)
    }

    /// Reads the catalog and the totals of each table.
    pub(crate) fn load(
        shared: &Shared,
        txn: &ReadTransaction,
    ) -> Result<(Self, BTreeMap<TableId, codec::Stats>)> {
        let damaged =
            |what: &str| shared.damaged(format!("the record of {what} fails its checksum"));
        let open = |_| "open catalog";
        let tables = txn.open_table(TABLES).map_err(shared.fail(open(())))?;
        let schemas = txn.open_table(SCHEMAS).map_err(shared.fail(open(())))?;
        let stats = txn.open_table(STATS).map_err(shared.fail(open(())))?;
        let mut catalog = Self::default();
        let mut totals = BTreeMap::new();
        for entry in tables.iter().map_err(shared.fail("read catalog"))? {
            let (key, value) = entry.map_err(shared.fail("read catalog"))?;
            let id = TableId(key.value());
            let bytes = value.value();
            let record: codec::Table<'_> = codec::decode(Kind::Table, &id.0.to_le_bytes(), bytes)
                .map_err(|_error| damaged("a table"))?;
            let mut table = from_record(id, &record).ok_or_else(|| damaged("a table"))?;
            for schema in (1..=record.schemas).map(SchemaId) {
                let key = schema_key(id, schema);
                let bytes = schemas
                    .get(key)
                    .map_err(shared.fail("read schema"))?
                    .ok_or_else(|| damaged("a schema"))?;
                let schema = codec::decode_schema(&key.to_le_bytes(), bytes.value())
                    .map_err(|_error| damaged("a schema"))?;
                table.schemas.push(schema);
            }
            let bytes = stats
                .get(id.0)
                .map_err(shared.fail("read totals"))?
                .ok_or_else(|| damaged("a table's totals"))?;
            let record = codec::decode(Kind::Stats, &id.0.to_le_bytes(), bytes.value())
                .map_err(|_error| damaged("a table's totals"))?;
            totals.insert(id, record);
            catalog.tables.insert(id, table);
        }
        Ok((catalog, totals))
    }
}

/// The totals of a table without rows.
pub(crate) const EMPTY: codec::Stats = codec::Stats {
    rows: 0,
    newest: i64::MIN,
    digest: 0,
};

fn internal(what: &str) -> Error {
    Error::Internal {
        what: what.to_owned(),
    }
}

fn check_spec(spec: &TableSpec<'_>) -> Result<()> {
    let bounds = [
        (
            "name of a table in bytes",
            spec.name.len(),
            Limits::NAME_BYTES_MAX,
        ),
        (
            "number of features",
            spec.schema.fields.len(),
            Limits::FEATURES_MAX,
        ),
        (
            "number of join keys",
            spec.keys.len(),
            Limits::JOIN_KEYS_MAX,
        ),
    ];
    for (what, size, limit) in bounds {
        if size > limit {
            let (size, limit) = (size as u64, limit as u64);
            return Err(Error::TooLarge { what, size, limit });
        }
    }
    Ok(())
}

fn from_record(id: TableId, record: &codec::Table<'_>) -> Option<Table> {
    let keys = record
        .keys
        .iter()
        .map(|code| key_type(*code))
        .collect::<Option<_>>()?;
    let state = [TableState::Live, TableState::Retired, TableState::Staged]
        .into_iter()
        .find(|state| *state as u8 == record.state)?;
    (1..=record.schemas)
        .contains(&record.schema)
        .then(|| Table {
            id,
            name: record.name.into(),
            epoch: record.epoch,
            keys,
            schema: SchemaId(record.schema),
            schemas: Vec::new(),
            state,
        })
}

fn key_type(code: u8) -> Option<KeyType> {
    use KeyType as K;
    [K::Bytes, K::String, K::Int32, K::Int64, K::UnixTimestamp]
        .into_iter()
        .find(|key| *key as u8 == code)
}

pub(crate) fn write_table(shared: &Shared, txn: &WriteTransaction, table: &Table) -> Result<()> {
    let keys: Vec<u8> = table.keys.iter().map(|key| *key as u8).collect();
    let record = codec::Table {
        name: &table.name,
        epoch: table.epoch,
        keys: &keys,
        schema: table.schema.0,
        schemas: u16::try_from(table.schemas.len()).unwrap_or(u16::MAX),
        state: table.state as u8,
    };
    let bytes = codec::encode(Kind::Table, &table.id.0.to_le_bytes(), &record)
        .map_err(|_error| internal("encode table"))?;
    let mut tables = txn.open_table(TABLES).map_err(shared.fail("open tables"))?;
    tables
        .insert(table.id.0, bytes.as_slice())
        .map_err(shared.fail("write table"))?;
    Ok(())
}

pub(crate) fn write_stats(
    shared: &Shared,
    txn: &WriteTransaction,
    table: TableId,
    stats: &codec::Stats,
) -> Result<()> {
    let bytes = codec::encode(Kind::Stats, &table.0.to_le_bytes(), stats)
        .map_err(|_error| internal("encode totals"))?;
    let mut totals = txn.open_table(STATS).map_err(shared.fail("open totals"))?;
    totals
        .insert(table.0, bytes.as_slice())
        .map_err(shared.fail("write totals"))?;
    Ok(())
}

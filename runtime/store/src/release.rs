//! Releases: new tables, rows and records that take effect together, and can be taken back once.
//!
//! What comes whole from elsewhere (a registry's tables, the rows that replace a view, rows on top
//! of those there are, the records that say so) is one transaction here. A view's new rows may be
//! brought in beforehand, into a staged table that nobody reads, in as many transactions as they
//! need. Until the next release the store keeps what this one replaced: whole tables as retired
//! ones, single rows in the table `undo`. Taking a release back leaves alone what was written since
//! by others: rows say whether they came with a release.

use redb::{ReadableTable, Table, WriteTransaction};

use crate::catalog::{Catalog, Installed, TableSpec, TableState};
use crate::codec::{self, Kind};
use crate::layout::{META, META_RELEASE, RECORDS, UNDO};
use crate::shared::Shared;
use crate::{Error, Outcome, Result, TableId, Write, digest};

/// What takes effect as one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Release<'a> {
    /// The tables as they should be, as for [`Store::install`](crate::Store::install).
    pub tables: &'a [TableSpec<'a>],
    /// Staged tables that take the place of the live ones of their names.
    pub promote: &'a [TableId],
    /// Rows on top of those there are.
    pub writes: &'a [Write],
    /// More of them, which wait in staged tables; they come after `writes`.
    pub spills: &'a [Spill],
    /// Named records to set, or to remove.
    pub records: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Rows of a release that wait in a staged table, and the table they are for. Both know the same
/// schemas by the same ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spill {
    /// Where they wait, as [`Store::stage`](crate::Store::stage) made it; gone once it is released.
    pub from: TableId,
    /// The live table of the same name.
    pub into: TableId,
    /// How many there are.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a release came to.
#[derive(Clone, Debug)]
pub struct Released {
    /// Its number; snapshots from now on carry it.
    pub release: u64,
    /// One per [`Release::tables`].
    pub installed: Vec<Installed>,
    /// One per [`Release::writes`], then one per [`Release::spills`].
    pub outcomes: Vec<Outcome>,
}

/// What may still be taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Former {
    /// The number of the last release or return.
    pub(crate) release: u64,
    /// Whether there is anything to come back to.
    pub(crate) kept: bool,
    /// Tables that took the place of others: the old one, if there was one, and the new one.
    pub(crate) swaps: Vec<(Option<TableId>, TableId)>,
}

/// Where a release notes what its rows replace.
pub(crate) struct Undo<'t> {
    shared: &'t Shared,
    table: Table<'t, &'static [u8], &'static [u8]>,
    key: Vec<u8>,
    value: Vec<u8>,
    /// Whether a key may be written twice: what was there before the first stays noted.
    again: bool,
}

// === impl Undo ===

impl<'t> Undo<'t> {
    pub(crate) fn open(shared: &'t Shared, txn: &'t WriteTransaction) -> Result<Self> {
        let table = txn.open_table(UNDO).map_err(shared.fail("open undo"))?;
        Ok(Self {
            again: false,
            shared,
            table,
            key: Vec::new(),
            value: Vec::new(),
        })
    }

    /// From here on, rows may take the place of others of the same release.
    pub(crate) fn goes_on(&mut self) {
        self.again = true;
    }

    /// Notes that `row` took the place of `before` under `key`.
    pub(crate) fn note(
        &mut self,
        id: TableId,
        (key, row): (&[u8], &[u8]),
        before: Option<&[u8]>,
    ) -> Result<()> {
        self.key.clear();
        self.key.extend_from_slice(&id.0.to_be_bytes());
        self.key.extend_from_slice(key);
        self.value.clear();
        let hash = digest::of_row(key, row);
        self.value.extend_from_slice(&hash.to_le_bytes());
        let noted = match self.again {
            true => self.noted()?,
            false => None,
        };
        let before = noted.as_deref().or(before);
        self.value.extend_from_slice(before.unwrap_or_default());
        self.table
            .insert(self.key.as_slice(), self.value.as_slice())
            .map_err(self.shared.fail("write undo"))?;
        Ok(())
    }

    /// What is noted under the key as the row before; empty when there was none.
    fn noted(&self) -> Result<Option<Vec<u8>>> {
        let noted = self
            .table
            .get(self.key.as_slice())
            .map_err(self.shared.fail("read undo"))?;
        Ok(noted.map(|value| value.value().get(8..).unwrap_or_default().to_vec()))
    }
}

/// A note of [`Undo`]: the table and key, the hash of what was written, what was there before.
pub(crate) struct Note {
    pub(crate) table: TableId,
    pub(crate) key: Vec<u8>,
    pub(crate) hash: u64,
    pub(crate) before: Option<Vec<u8>>,
}

impl Note {
    pub(crate) fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let (table, key) = key.split_first_chunk::<4>()?;
        let (hash, before) = value.split_first_chunk::<8>()?;
        Some(Self {
            table: TableId(u32::from_be_bytes(*table)),
            key: key.to_vec(),
            hash: u64::from_le_bytes(*hash),
            before: (!before.is_empty()).then(|| before.to_vec()),
        })
    }
}

// === impl Former ===

impl Former {
    pub(crate) fn load(
        shared: &Shared,
        meta: &impl ReadableTable<&'static str, &'static [u8]>,
    ) -> Result<Self> {
        let bytes = meta
            .get(META_RELEASE)
            .map_err(shared.fail("read release"))?;
        let Some(bytes) = bytes else {
            return Ok(Self::default());
        };
        let damaged = || shared.damaged("the record of the last release fails its checksum".into());
        let record: codec::Release<'_> =
            codec::decode(Kind::Release, META_RELEASE.as_bytes(), bytes.value())
                .map_err(|_error| damaged())?;
        let (pairs, []) = record.swaps.as_chunks::<8>() else {
            return Err(damaged());
        };
        let swap = |pair: &[u8; 8]| {
            let [a, b, c, d, e, f, g, h] = *pair;
            let old = u32::from_le_bytes([a, b, c, d]);
            let new = u32::from_le_bytes([e, f, g, h]);
            ((old != 0).then_some(TableId(old)), TableId(new))
        };
        Ok(Self {
            release: record.number,
            kept: record.kept,
            swaps: pairs.iter().map(swap).collect(),
        })
    }

    pub(crate) fn save(&self, shared: &Shared, txn: &WriteTransaction) -> Result<()> {
        let mut swaps = Vec::with_capacity(self.swaps.len() * 8);
        for (old, new) in &self.swaps {
            swaps.extend_from_slice(&old.map_or(0, |old| old.0).to_le_bytes());
            swaps.extend_from_slice(&new.0.to_le_bytes());
        }
        let record = codec::Release {
            number: self.release,
            kept: self.kept,
            swaps: &swaps,
        };
        let bytes = codec::encode(Kind::Release, META_RELEASE.as_bytes(), &record)
            .map_err(|_error| unencodable("release"))?;
        let mut meta = txn.open_table(META).map_err(shared.fail("open meta"))?;
        meta.insert(META_RELEASE, bytes.as_slice())
            .map_err(shared.fail("write release"))?;
        Ok(())
    }
}

/// Sets or removes named records.
pub(crate) fn write_records(
    shared: &Shared,
    txn: &WriteTransaction,
    records: &[(&str, Option<&[u8]>)],
) -> Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let mut table = txn
        .open_table(RECORDS)
        .map_err(shared.fail("open records"))?;
    for (name, content) in records {
        match content {
            Some(content) => {
                let bytes = codec::seal_bytes(Kind::Named, name.as_bytes(), content);
                table
                    .insert(*name, bytes.as_slice())
                    .map_err(shared.fail("write record"))?;
            }
            None => {
                table.remove(*name).map_err(shared.fail("remove record"))?;
            }
        }
    }
    Ok(())
}

/// Forgets what single rows replaced.
pub(crate) fn forget_undo(shared: &Shared, txn: &WriteTransaction) -> Result<()> {
    txn.delete_table(UNDO).map_err(shared.fail("clear undo"))?;
    Ok(())
}

// === the catalog's part ===

impl Catalog {
    /// Begins a table that is to take the place of the live one of `spec`'s name. It knows the
    /// schemas of that one by the same ids, so that rows can move between them.
    pub(crate) fn stage(
        &mut self,
        shared: &Shared,
        txn: &WriteTransaction,
        spec: &TableSpec<'_>,
        next: &mut u32,
    ) -> Result<Installed> {
        let (epoch, schemas) = match self.find(spec.name) {
            Some(live) if live.keys == spec.keys => (live.epoch + 1, live.schemas.clone()),
            Some(live) => (live.epoch + 1, Vec::new()),
            None => (1, Vec::new()),
        };
        let id = self.create(shared, txn, spec, (next, epoch))?;
        if let Some(table) = self.tables.get_mut(&id) {
            table.state = TableState::Staged;
        }
        for schema in &schemas {
            self.adopt(shared, txn, id, schema)?;
        }
        self.adopt(shared, txn, id, spec.schema)
    }

    /// Puts a staged table in the place of the live one of its name, which is retired.
    pub(crate) fn promote(
        &mut self,
        shared: &Shared,
        txn: &WriteTransaction,
        id: TableId,
    ) -> Result<Option<TableId>> {
        let staged = self.tables.get(&id);
        let Some(name) = staged
            .filter(|table| table.state == TableState::Staged)
            .map(|table| table.name.clone())
        else {
            return Err(Error::UnknownTable { table: id });
        };
        let old = self.find(&name).map(|table| table.id);
        if let Some(old) = old {
            self.turn(shared, txn, old, TableState::Retired)?;
        }
        self.turn(shared, txn, id, TableState::Live)?;
        Ok(old)
    }

    pub(crate) fn turn(
        &mut self,
        shared: &Shared,
        txn: &WriteTransaction,
        id: TableId,
        state: TableState,
    ) -> Result<()> {
        if let Some(table) = self.tables.get_mut(&id) {
            table.state = state;
            crate::catalog::write_table(shared, txn, table)?;
        }
        Ok(())
    }
}

pub(crate) fn unencodable(what: &str) -> Error {
    Error::Internal {
        what: format!("encode {what}"),
    }
}

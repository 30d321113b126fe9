//! Taking the last release back.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableTable as _, WriteTransaction};

use crate::batch::push_entry;
use crate::catalog::{Catalog, EMPTY, TableState, write_stats};
use crate::codec::{Queued, Rows, Stats};
use crate::commit::Transaction;
use crate::layout::{Data, UNDO, data_name};
use crate::release::{Former, Note};
use crate::shared::Shared;
use crate::{Result, TableId, digest, row};

/// Bytes of rows that are moved at a time.
const MOVED_BYTES_MAX: usize = 64 << 20;

/// One return under way: the transaction, and what it has changed so far.
pub(crate) struct TakeBack<'t> {
    pub(crate) shared: &'t Shared,
    pub(crate) txn: &'t WriteTransaction,
    pub(crate) totals: BTreeMap<TableId, Stats>,
    /// Tables whose rows are not those their indexes know.
    pub(crate) touched: BTreeSet<TableId>,
}

// === impl TakeBack ===

impl TakeBack<'_> {
    /// Gives the names of `former` back to the tables that had them, with the rows that others
    /// than the release wrote since.
    pub(crate) fn swap_back(&mut self, catalog: &mut Catalog, former: &Former) -> Result<()> {
        for (old, new) in former.swaps.iter().rev() {
            catalog.turn(self.shared, self.txn, *new, TableState::Retired)?;
            let Some(old) = old else { continue };
            catalog.turn(self.shared, self.txn, *old, TableState::Live)?;
            let moves = match (catalog.tables.get(old), catalog.tables.get(new)) {
                (Some(old), Some(new)) => {
                    old.keys == new.keys && new.schemas.starts_with(&old.schemas)
                }
                _ => false,
            };
            if moves {
                self.extend_schemas(catalog, *old, *new)?;
                self.bring(catalog, *new, *old)?;
            }
            self.touched.insert(*old);
        }
        Ok(())
    }

    /// Rows written since may carry schemas that only the newer table knew.
    fn extend_schemas(&self, catalog: &mut Catalog, old: TableId, new: TableId) -> Result<()> {
        let known = catalog.tables.get(&old).map_or(0, |it| it.schemas.len());
        let later = catalog.tables.get(&new).map(|it| it.schemas.clone());
        for schema in later.unwrap_or_default().iter().skip(known) {
            catalog.adopt(self.shared, self.txn, old, schema)?;
        }
        Ok(())
    }

    /// Merges the rows of `from` that came with no release into `to`.
    fn bring(&mut self, catalog: &Catalog, from: TableId, to: TableId) -> Result<()> {
        let name = data_name(from);
        let source = self
            .txn
            .open_table(Data::new(&name))
            .map_err(self.shared.fail("open table"))?;
        let mut rows = source
            .range::<&[u8]>(..)
            .map_err(self.shared.fail("read rows"))?;
        let mut resealed = Vec::new();
        loop {
            let mut arena = Vec::new();
            for entry in rows.by_ref() {
                let (key, bytes) = entry.map_err(self.shared.fail("read rows"))?;
                let (key, bytes) = (key.value(), bytes.value());
                if row::verify(from, key, bytes).is_some_and(|row| !row.is_of_release()) {
                    resealed.clear();
                    row::reseal(to, key, bytes, &mut resealed);
                    push_entry(key, &resealed, &mut arena);
                }
                if arena.len() >= MOVED_BYTES_MAX {
                    break;
                }
            }
            if arena.is_empty() {
                return Ok(());
            }
            self.merge(catalog, to, &arena)?;
        }
    }

    fn merge(&mut self, catalog: &Catalog, table: TableId, arena: &[u8]) -> Result<()> {
        let rows = vec![Rows {
            table: table.0,
            arena,
        }];
        let write = [Queued { mark: None, rows }];
        let transaction = Transaction {
            shared: self.shared,
            catalog,
            txn: self.txn,
        };
        let meta = crate::codec::Meta::default();
        let draft = transaction.apply(&write, 0, (meta, &self.totals), None)?;
        self.totals.extend(draft.totals);
        Ok(())
    }

    /// Puts back what single rows replaced, where nobody wrote there since.
    /// The totals as they are now, and the tables that changed.
    pub(crate) fn put_back(mut self) -> Result<(BTreeMap<TableId, Stats>, BTreeSet<TableId>)> {
        let notes = self
            .txn
            .open_table(UNDO)
            .map_err(self.shared.fail("open undo"))?;
        let mut tables: BTreeSet<TableId> = BTreeSet::new();
        for entry in notes
            .range::<&[u8]>(..)
            .map_err(self.shared.fail("read undo"))?
        {
            let (key, value) = entry.map_err(self.shared.fail("read undo"))?;
            let Some(note) = Note::read(key.value(), value.value()) else {
                return Err(self.shared.damaged("a note of the last release".to_owned()));
            };
            if self.totals.contains_key(&note.table) {
                self.restore(&note)?;
                tables.insert(note.table);
            }
        }
        drop(notes);
        self.touched.extend(&tables);
        for table in self.touched.clone() {
            self.recount(table)?;
        }
        Ok((self.totals, self.touched))
    }

    fn restore(&mut self, note: &Note) -> Result<()> {
        let name = data_name(note.table);
        let mut stored = self
            .txn
            .open_table(Data::new(&name))
            .map_err(self.shared.fail("open table"))?;
        let stats = self.totals.entry(note.table).or_insert(EMPTY);
        let key = note.key.as_slice();
        let current = stored.get(key).map_err(self.shared.fail("read row"))?;
        let hash = current.map(|row| digest::of_row(key, row.value()));
        if hash != Some(note.hash) {
            return Ok(());
        }
        stats.digest ^= note.hash;
        match &note.before {
            Some(before) => {
                stats.digest ^= digest::of_row(key, before);
                stored
                    .insert(key, before.as_slice())
                    .map_err(self.shared.fail("write row"))?;
            }
            None => {
                stats.rows = stats.rows.saturating_sub(1);
                stored.remove(key).map_err(self.shared.fail("remove row"))?;
            }
        }
        Ok(())
    }

    /// Finds the newest event time anew, and writes the totals.
    fn recount(&mut self, table: TableId) -> Result<()> {
        let name = data_name(table);
        let stored = self
            .txn
            .open_table(Data::new(&name))
            .map_err(self.shared.fail("open table"))?;
        let mut newest = i64::MIN;
        for entry in stored
            .range::<&[u8]>(..)
            .map_err(self.shared.fail("read rows"))?
        {
            let (key, bytes) = entry.map_err(self.shared.fail("read rows"))?;
            if let Some(row) = row::verify(table, key.value(), bytes.value()) {
                newest = newest.max(row.event_time().0);
            }
        }
        let stats = self.totals.entry(table).or_insert(EMPTY);
        stats.newest = newest;
        write_stats(self.shared, self.txn, table, stats)
    }
}

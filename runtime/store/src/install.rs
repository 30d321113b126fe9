//! The writer's part in releases.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use galley_types::KeyType;
use redb::WriteTransaction;

use crate::catalog::{Catalog, EMPTY, Installed, Table, TableSpec, TableState};
use crate::codec::Queued;
use crate::commit::{Transaction, commit};
use crate::layout::{SCHEMAS, STATS, TABLES, data_name, schema_key};
use crate::merge::Merge;
use crate::release::{Former, Release, Released, Undo, forget_undo, write_records};
use crate::shared::Shared;
use crate::snapshot::IndexState;
use crate::store::Store;
use crate::take_back::TakeBack;
use crate::writer::Writer;
use crate::{Error, Result, SchemaId, TableId, Write};

impl Store {
    /// Begins a table that a release will put in the place of the live one of `spec`'s name; one
    /// that was begun before for this name is dropped. Rows go there like anywhere else, and nobody
    /// reads them.
    ///
    /// # Errors
    /// As [`Store::install`].
    pub fn stage(&self, spec: &TableSpec<'_>) -> Result<Installed> {
        let mut writer = self.lock();
        self.check_space(1, 0)?;
        self.transact(&mut writer, |writer| writer.stage(&self.shared, spec))
    }

    /// Makes a release take effect: all of it in one transaction with one fsync, or nothing.
    /// `show` is called between the commit and the moment at which readers see it.
    ///
    /// # Errors
    /// As [`Store::apply`] and [`Store::install`].
    pub fn release(
        &self,
        release: &Release<'_>,
        show: &mut dyn FnMut(&Released),
    ) -> Result<Released> {
        let mut writer = self.lock();
        let rows: usize = release.writes.iter().map(Write::rows).sum();
        let bytes: usize = release.writes.iter().map(Write::bytes).sum();
        let spilled = release.spills.iter();
        let (rows, bytes) = spilled.fold((rows as u64, bytes as u64), |(rows, bytes), it| {
            (rows.saturating_add(it.rows), bytes.saturating_add(it.bytes))
        });
        self.check_space(rows, bytes)?;
        let room = self.config.index_bytes_max;
        self.transact(&mut writer, |writer| {
            let released = writer.release(&self.shared, release, room)?;
            show(&released);
            Ok(released)
        })
    }

    /// Takes the last release back: tables, rows, and in the same transaction `release.tables` and
    /// `release.records`, which are what was before. What others wrote since stays. Read indexes of
    /// the tables concerned are gone until [`Store::build_index`].
    ///
    /// # Errors
    /// [`Error::NothingToTakeBack`]; as [`Store::release`].
    pub fn take_back(
        &self,
        release: &Release<'_>,
        show: &mut dyn FnMut(&Released),
    ) -> Result<Released> {
        let mut writer = self.lock();
        if !writer.former.kept {
            return Err(Error::NothingToTakeBack);
        }
        self.check_space(1, 0)?;
        self.transact(&mut writer, |writer| {
            let released = writer.take_back(&self.shared, release)?;
            show(&released);
            Ok(released)
        })
    }

    /// Changes named records alone, in a transaction of their own.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn set_records(&self, records: &[(&str, Option<&[u8]>)]) -> Result<()> {
        let mut writer = self.lock();
        self.check_space(1, 0)?;
        self.transact(&mut writer, |writer| {
            let mut meta = writer.meta;
            meta.commit += 1;
            let txn = begin(writer, &self.shared)?;
            write_records(&self.shared, &txn, records)?;
            commit(&self.shared, txn, &meta)?;
            self.shared.commits.fetch_add(1, Ordering::Relaxed);
            writer.meta = meta;
            Ok(())
        })
    }

    /// The key types of a table.
    #[must_use]
    pub fn key_types(&self, table: TableId) -> Option<Vec<KeyType>> {
        let writer = self.lock();
        writer.catalog.tables.get(&table).map(|it| it.keys.clone())
    }
}

// === impl Writer ===

impl Writer {
    fn stage(&mut self, shared: &Shared, spec: &TableSpec<'_>) -> Result<Installed> {
        let mut catalog = Catalog::clone(&self.catalog);
        let mut meta = self.meta;
        meta.commit += 1;
        let txn = begin(self, shared)?;
        let begun = |table: &&Table| table.state == TableState::Staged && *table.name == *spec.name;
        let begun: Vec<TableId> = catalog
            .tables
            .values()
            .filter(begun)
            .map(|it| it.id)
            .collect();
        for id in begun {
            drop_table(shared, &txn, &mut catalog, id)?;
        }
        let installed = catalog.stage(shared, &txn, spec, &mut meta.table_next)?;
        commit(shared, txn, &meta)?;
        shared.commits.fetch_add(1, Ordering::Relaxed);
        self.adopt(catalog, meta);
        Ok(installed)
    }

    fn release(
        &mut self,
        shared: &Shared,
        release: &Release<'_>,
        index_max: u64,
    ) -> Result<Released> {
        let mut catalog = Catalog::clone(&self.catalog);
        let mut meta = self.meta;
        let txn = begin(self, shared)?;
        let mut former = Former {
            release: self.former.release + 1,
            kept: true,
            swaps: Vec::new(),
        };
        forget_undo(shared, &txn)?;
        // Rows in the queue may still be on their way to a retired table's heir.
        if meta.queued == 0 {
            drop_unused(shared, &txn, &mut catalog, release)?;
        }
        for id in release.promote {
            former
                .swaps
                .push((catalog.promote(shared, &txn, *id)?, *id));
        }
        let installed = install(
            shared,
            &txn,
            (&mut catalog, &mut former),
            release,
            &mut meta.table_next,
        )?;
        let writes: Vec<Queued<'_>> = release.writes.iter().map(Write::parts).collect();
        let (draft, merged) = {
            let mut undo = Undo::open(shared, &txn)?;
            let transaction = Transaction {
                shared,
                catalog: &catalog,
                txn: &txn,
            };
            let before = (meta, &self.totals());
            let mut draft = transaction.apply(&writes, 0, before, Some(&mut undo))?;
            undo.goes_on();
            let mut merge = Merge::new((shared, &txn), &catalog, (self, index_max));
            for spill in release.spills {
                let outcome = merge.spill(spill, (self, &mut draft), &mut undo)?;
                draft.outcomes.push(outcome);
            }
            (draft, merge.finish())
        };
        for spill in release.spills {
            drop_table(shared, &txn, &mut catalog, spill.from)?;
        }
        write_records(shared, &txn, release.records)?;
        former.save(shared, &txn)?;
        meta.commit += 1;
        commit(shared, txn, &meta)?;
        shared.commits.fetch_add(1, Ordering::Relaxed);
        self.adopt(catalog, meta);
        merged.take_over(self);
        self.absorb(shared, &draft, index_max);
        self.former = former;
        Ok(Released {
            release: self.former.release,
            installed,
            outcomes: draft.outcomes,
        })
    }

    fn take_back(&mut self, shared: &Shared, release: &Release<'_>) -> Result<Released> {
        let mut catalog = Catalog::clone(&self.catalog);
        let mut meta = self.meta;
        meta.commit += 1;
        let txn = begin(self, shared)?;
        let mut back = TakeBack {
            shared,
            txn: &txn,
            totals: self.totals(),
            touched: BTreeSet::new(),
        };
        back.swap_back(&mut catalog, &self.former)?;
        let (totals, touched) = back.put_back()?;
        let mut former = Former {
            release: self.former.release + 1,
            ..Former::default()
        };
        let installed = install(
            shared,
            &txn,
            (&mut catalog, &mut former),
            release,
            &mut meta.table_next,
        )?;
        former.swaps.clear();
        forget_undo(shared, &txn)?;
        write_records(shared, &txn, release.records)?;
        former.save(shared, &txn)?;
        commit(shared, txn, &meta)?;
        shared.commits.fetch_add(1, Ordering::Relaxed);
        self.adopt(catalog, meta);
        for table in touched {
            if let Some(slot) = self.slots.get_mut(&table) {
                slot.stats = totals.get(&table).copied().unwrap_or(EMPTY);
                slot.index = None;
                slot.log = None;
                slot.state = IndexState::Pending;
            }
        }
        self.former = former;
        Ok(Released {
            release: self.former.release,
            installed,
            outcomes: Vec::new(),
        })
    }
}

fn begin(writer: &Writer, shared: &Shared) -> Result<WriteTransaction> {
    writer
        .database(shared)?
        .begin_write()
        .map_err(shared.fail("begin to write"))
}

/// Makes the tables what `release` says; tables whose keys changed are swaps too.
fn install(
    shared: &Shared,
    txn: &WriteTransaction,
    (catalog, former): (&mut Catalog, &mut Former),
    release: &Release<'_>,
    next: &mut u32,
) -> Result<Vec<Installed>> {
    let mut installed = Vec::with_capacity(release.tables.len());
    for spec in release.tables {
        let before = catalog.find(spec.name).map(|table| table.id);
        let now = catalog.install(shared, txn, spec, next)?;
        if before != Some(now.table) {
            former.swaps.push((before, now.table));
        }
        installed.push(now);
    }
    Ok(installed)
}

/// Drops the tables that nothing comes back to any more.
fn drop_unused(
    shared: &Shared,
    txn: &WriteTransaction,
    catalog: &mut Catalog,
    release: &Release<'_>,
) -> Result<()> {
    let used = |id: TableId| {
        release.promote.contains(&id) || release.spills.iter().any(|spill| spill.from == id)
    };
    let unused = |table: &&Table| table.state != TableState::Live && !used(table.id);
    let ids: Vec<TableId> = catalog
        .tables
        .values()
        .filter(unused)
        .map(|it| it.id)
        .collect();
    ids.into_iter()
        .try_for_each(|id| drop_table(shared, txn, catalog, id))
}

fn drop_table(
    shared: &Shared,
    txn: &WriteTransaction,
    catalog: &mut Catalog,
    id: TableId,
) -> Result<()> {
    let Some(table) = catalog.tables.remove(&id) else {
        return Ok(());
    };
    let name = data_name(id);
    txn.delete_table(crate::layout::Data::new(&name))
        .map_err(shared.fail("drop table"))?;
    for numbered in [TABLES, STATS] {
        txn.open_table(numbered)
            .map_err(shared.fail("open catalog"))?
            .remove(id.0)
            .map_err(shared.fail("forget table"))?;
    }
    let mut schemas = txn
        .open_table(SCHEMAS)
        .map_err(shared.fail("open schemas"))?;
    for schema in 1..=u16::try_from(table.schemas.len()).unwrap_or(u16::MAX) {
        schemas
            .remove(schema_key(id, SchemaId(schema)))
            .map_err(shared.fail("forget schema"))?;
    }
    Ok(())
}

//! What only the thread that writes may touch: the handle, the totals, the indexes as they grow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::{Database, ReadTransaction, ReadableDatabase};

use crate::batch::{Applied, Group, entries, push_entry};
use crate::build::Log;
use crate::catalog::{Catalog, EMPTY, TableSpec, TableState};
use crate::codec::{self, Meta, Queued, Stats};
use crate::commit::{Draft, Transaction, commit};
use crate::index::TableIndex;
use crate::layout::META;
use crate::open::{OpenProgress, Opener, read_meta};
use crate::outbox::Outbox;
use crate::release::Former;
use crate::shared::Shared;
use crate::snapshot::{At, IndexState, Snapshot, View};
use crate::staged::Held;

use crate::{CommitSeq, Outcome, Result, StoreConfig, TableId, Write, row};

/// One table, as the writer knows it.
pub(crate) struct Slot {
    pub(crate) stats: Stats,
    pub(crate) index: Option<Arc<TableIndex>>,
    pub(crate) state: IndexState,
    /// Rows committed since a scan for the index began.
    pub(crate) log: Option<Log>,
}

/// What only the thread that writes may touch.
pub(crate) struct Writer {
    database: Option<Held>,
    pub(crate) meta: Meta,
    /// What may be taken back.
    pub(crate) former: Former,
    pub(crate) outbox: Outbox,
    /// Set while memory may be behind the file: an index left by a panic is not kept.
    suspect: bool,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) slots: BTreeMap<TableId, Slot>,
}

impl Slot {
    /// The slot of a table that was just made. One that is being filled gets its index when it is
    /// full: copying what there is with every part would cost more.
    fn begun(state: TableState) -> Self {
        let slot = Self::new(EMPTY);
        match state {
            TableState::Staged => Self {
                index: None,
                state: IndexState::Pending,
                ..slot
            },
            TableState::Live | TableState::Retired => slot,
        }
    }

    fn new(stats: Stats) -> Self {
        let empty = stats.rows == 0;
        Self {
            stats,
            index: empty.then(|| Arc::new(TableIndex::empty())),
            state: if empty {
                IndexState::Ready
            } else {
                IndexState::Pending
            },
            log: None,
        }
    }
}

impl Writer {
    pub(crate) fn open(
        opener: &dyn Opener,
        shared: &Shared,
        progress: &mut dyn FnMut(OpenProgress),
    ) -> Result<(Self, Arc<ReadTransaction>)> {
        let mut loaded = None;
        let database = opener.open(shared, progress, &mut |database| {
            loaded = Some(shared.guard(|| Self::load(shared, database))?);
            Ok(())
        })?;
        let (mut writer, txn) = loaded.ok_or_else(|| shared.poisoned_error())?;
        writer.database = Some(database);
        Ok((writer, txn))
    }

    fn load(shared: &Shared, database: &Database) -> Result<(Self, Arc<ReadTransaction>)> {
        let txn = database
            .begin_read()
            .map_err(shared.fail("begin to read"))?;
        let meta = read_meta(shared, &txn)?;
        let outbox = Outbox::load(shared, &txn)?;
        let (catalog, totals) = Catalog::load(shared, &txn)?;
        let table = txn.open_table(META).map_err(shared.fail("open meta"))?;
        let former = Former::load(shared, &table)?;
        drop(table);
        let slots = totals
            .into_iter()
            .map(|(id, stats)| (id, Slot::new(stats)))
            .collect();
        let catalog = Arc::new(catalog);
        Ok((
            Self {
                database: None,
                meta,
                former,
                outbox,
                suspect: false,
                catalog,
                slots,
            },
            Arc::new(txn),
        ))
    }

    /// Whether there is a handle on the file.
    pub(crate) fn is_open(&self) -> bool {
        self.database.is_some()
    }

    /// Closes the file.
    pub(crate) fn close(&mut self) {
        self.database = None;
    }

    /// Queued writes.
    pub(crate) fn queued(&self) -> u64 {
        self.meta.queued
    }

    /// Nobody knows any more whether the indexes are what the file holds.
    pub(crate) fn suspect(&mut self) {
        self.suspect = true;
    }

    /// Takes over the indexes of `old` if they are those of the same commit.
    pub(crate) fn take_indexes(&mut self, old: &mut Self) {
        if old.suspect || old.meta.commit != self.meta.commit {
            return;
        }
        for (table, slot) in &mut self.slots {
            if let Some(old) = old.slots.remove(table) {
                slot.index = old.index;
                slot.state = old.state;
                slot.log = old.log;
            }
        }
    }

    pub(crate) fn database(&self, shared: &Shared) -> Result<&Database> {
        let held = self.database.as_ref().and_then(Held::get);
        held.ok_or_else(|| shared.poisoned_error())
    }

    pub(crate) fn begin_read(&self, shared: &Shared) -> Result<Arc<ReadTransaction>> {
        let txn = self
            .database(shared)?
            .begin_read()
            .map_err(shared.fail("begin to read"))?;
        Ok(Arc::new(txn))
    }

    pub(crate) fn snapshot(
        &self,
        shared: &Arc<Shared>,
        txn: Option<Arc<ReadTransaction>>,
    ) -> Snapshot {
        let at = At {
            commit: CommitSeq(self.meta.commit),
            release: self.former.release,
            queued: self.meta.queued,
            outbox: self.outbox.stats(),
        };
        let mut snapshot = Snapshot::new(Arc::clone(shared), Arc::clone(&self.catalog), txn, at);
        for (table, slot) in &self.slots {
            snapshot.put(
                *table,
                View::new(slot.stats, slot.index.clone(), slot.state),
            );
        }
        snapshot
    }

    pub(crate) fn install(&mut self, shared: &Shared, specs: &[TableSpec<'_>]) -> Result<()> {
        let mut catalog = Catalog::clone(&self.catalog);
        let mut meta = self.meta;
        meta.commit += 1;
        let txn = self
            .database(shared)?
            .begin_write()
            .map_err(shared.fail("begin to write"))?;
        for spec in specs {
            catalog.install(shared, &txn, spec, &mut meta.table_next)?;
        }
        commit(shared, txn, &meta)?;
        shared.commits.fetch_add(1, Ordering::Relaxed);
        self.adopt(catalog, meta);
        Ok(())
    }

    /// Takes over a catalog that was committed with `meta`.
    pub(crate) fn adopt(&mut self, catalog: Catalog, meta: Meta) {
        self.slots.retain(|id, _| catalog.tables.contains_key(id));
        for table in catalog.tables.values() {
            let slot = self
                .slots
                .entry(table.id)
                .or_insert_with(|| Slot::begun(table.state));
            if table.state == TableState::Retired {
                slot.index = None;
                slot.log = None;
                slot.state = IndexState::Pending;
            }
        }
        self.catalog = Arc::new(catalog);
        self.meta = meta;
    }

    pub(crate) fn nothing(&self, group: &Group<'_>) -> Applied {
        Applied {
            commit: CommitSeq(self.meta.commit),
            outcomes: vec![Outcome::default(); group.writes.len()],
            tickets: Vec::new(),
            drained: 0,
            queued: self.meta.queued,
        }
    }

    pub(crate) fn apply(
        &mut self,
        shared: &Shared,
        group: &Group<'_>,
        config: &StoreConfig,
    ) -> Result<Applied> {
        self.check_tables(group)?;
        let txn = self
            .database(shared)?
            .begin_write()
            .map_err(shared.fail("begin to write"))?;
        let catalog = Arc::clone(&self.catalog);
        let transaction = Transaction {
            shared,
            catalog: &catalog,
            txn: &txn,
        };
        let drain = if self.meta.queued > 0 {
            group.drain_max
        } else {
            0
        };
        let taken = if drain > 0 {
            transaction.take_queued(drain)?
        } else {
            Vec::new()
        };
        let mut writes: Vec<Queued<'_>> = taken
            .iter()
            .map(|(ticket, bytes)| open_queued(*ticket, bytes))
            .collect();
        writes.extend(group.writes.iter().map(Write::parts));
        let moved = Moved::of(&catalog, &writes);
        moved.redirect(&mut writes);
        let draft = transaction.apply(&writes, taken.len(), (self.meta, &self.totals()), None)?;
        let mut meta = draft.meta;
        meta.commit += 1;
        meta.queued = meta.queued.saturating_sub(taken.len() as u64);
        let drained: Vec<u64> = taken.iter().map(|(ticket, _)| *ticket).collect();
        transaction.record(&drained, &draft.outcomes)?;
        let tickets = transaction.enqueue(group.enqueue, &mut meta)?;
        let mut outbox = self.outbox.clone();
        let changes = group.writes.iter().chain(group.enqueue);
        let changes = changes.map(|write| &write.outbox);
        outbox.change(shared, &txn, changes, config.producer)?;
        commit(shared, txn, &meta)?;
        shared.commits.fetch_add(1, Ordering::Relaxed);
        self.meta = meta;
        self.outbox = outbox;
        self.absorb(shared, &draft, config.index_bytes_max);
        Ok(Applied {
            commit: CommitSeq(meta.commit),
            outcomes: draft
                .outcomes
                .get(taken.len()..)
                .unwrap_or_default()
                .to_vec(),
            tickets,
            drained: taken.len(),
            queued: meta.queued,
        })
    }

    /// The totals of every table.
    pub(crate) fn totals(&self) -> BTreeMap<TableId, Stats> {
        self.slots
            .iter()
            .map(|(id, slot)| (*id, slot.stats))
            .collect()
    }

    /// Refuses rows for tables that are not there, before anything is written or queued.
    fn check_tables(&self, group: &Group<'_>) -> Result<()> {
        for write in group.writes.iter().chain(group.enqueue) {
            for table in write.batches.iter().map(crate::RowBatch::table) {
                if self.catalog.heir(table).is_none() {
                    return Err(crate::Error::UnknownTable { table });
                }
            }
        }
        Ok(())
    }

    /// Takes a committed draft into the totals, the indexes and the logs of indexes being built.
    pub(crate) fn absorb(&mut self, shared: &Shared, draft: &Draft<'_>, index_max: u64) {
        let mut used: u64 = self.index_bytes();
        for (id, changed) in &draft.changed {
            let Some(slot) = self.slots.get_mut(id) else {
                continue;
            };
            if let Some(stats) = draft.totals.get(id) {
                slot.stats = *stats;
            }
            if let Some(log) = &mut slot.log {
                log.push(changed);
            }
            let Some(index) = slot.index.take() else {
                continue;
            };
            used -= index.bytes();
            match index.update(changed, &shared.hasher) {
                Ok(updated) if used + updated.bytes() <= index_max => {
                    used += updated.bytes();
                    slot.index = Some(Arc::new(updated));
                }
                _ => {
                    slot.state = IndexState::OverBound;
                    tracing::warn!(
                        table = id.0,
                        index_bytes_max = index_max,
                        "read index over its memory bound, the table is read from the file"
                    );
                }
            }
        }
    }

    /// Bytes of all indexes.
    pub(crate) fn index_bytes(&self) -> u64 {
        self.slots
            .values()
            .filter_map(|slot| slot.index.as_ref())
            .map(|index| index.bytes())
            .sum()
    }
}

/// Rows that were made for a table another took the place of since.
pub(crate) struct Moved {
    /// Position of the write, position of its batch, the table that holds them now, the rows.
    batches: Vec<(usize, usize, TableId, Vec<u8>)>,
}

impl Moved {
    fn of(catalog: &Catalog, writes: &[Queued<'_>]) -> Self {
        let mut batches = Vec::new();
        for (write, content) in writes.iter().enumerate() {
            for (at, rows) in content.rows.iter().enumerate() {
                let table = TableId(rows.table);
                match catalog.heir(table) {
                    Some(heir) if heir != table => {
                        let mut arena = Vec::with_capacity(rows.arena.len());
                        let mut row = Vec::new();
                        for (key, bytes) in entries(rows.arena) {
                            if row::verify(table, key, bytes).is_none() {
                                tracing::error!(
                                    table = table.0,
                                    "damaged row in the queue dropped"
                                );
                                continue;
                            }
                            row.clear();
                            row::reseal(heir, key, bytes, &mut row);
                            push_entry(key, &row, &mut arena);
                        }
                        batches.push((write, at, heir, arena));
                    }
                    _ => {}
                }
            }
        }
        Self { batches }
    }

    /// Puts the rows in the place of those they were made from.
    fn redirect<'a>(&'a self, writes: &mut [Queued<'a>]) {
        for (write, at, heir, arena) in &self.batches {
            let rows = writes.get_mut(*write).and_then(|it| it.rows.get_mut(*at));
            if let Some(rows) = rows {
                *rows = codec::Rows {
                    table: heir.0,
                    arena,
                };
            }
        }
    }
}

fn open_queued(ticket: u64, bytes: &[u8]) -> Queued<'_> {
    codec::decode_queued(&ticket.to_le_bytes(), bytes).unwrap_or_else(|_| {
        tracing::error!(ticket, "a queued write is damaged and was dropped");
        Queued {
            mark: None,
            rows: Vec::new(),
        }
    })
}

impl Group<'_> {
    pub(crate) fn is_idle(&self, queued: u64) -> bool {
        self.enqueue.is_empty()
            && (self.drain_max == 0 || queued == 0)
            && self.writes.iter().all(Write::is_empty)
    }
}

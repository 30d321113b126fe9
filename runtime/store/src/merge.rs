//! Rows of a release that are too many to be held in memory.
//!
//! They wait in a spill: a staged table that nobody reads, filled in as many transactions as they
//! need. The release's own transaction then moves them, piece by piece, into the table they are for,
//! by the event-time rule and noting what they replace, and drops the spill. The read index grows
//! beside the one that is read, and takes its place with the commit.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use redb::{ReadableTable as _, WriteTransaction};

use crate::batch::push_entry;
use crate::catalog::{Catalog, EMPTY, TableState};
use crate::codec::{Meta, Queued, Rows, Stats};
use crate::commit::{Draft, Transaction};
use crate::index::{self, TableIndex};
use crate::layout::{Data, data_name};
use crate::release::{Spill, Undo};
use crate::shared::Shared;
use crate::snapshot::IndexState;
use crate::writer::Writer;
use crate::{Error, Outcome, Result, TableId, row};

/// Bytes of rows that are moved at a time; so few in tests that there are several pieces.
const MOVED_BYTES_MAX: usize = if cfg!(test) { 256 } else { 64 << 20 };

/// The read index of a table whose rows are being merged.
enum Grown {
    /// The table has none.
    None,
    Index(Box<TableIndex>),
    OverBound,
}

/// Spills on their way into the tables they are for.
pub(crate) struct Merge<'t> {
    pub(crate) shared: &'t Shared,
    pub(crate) txn: &'t WriteTransaction,
    pub(crate) catalog: &'t Catalog,
    totals: BTreeMap<TableId, Stats>,
    indexes: BTreeMap<TableId, Grown>,
    /// Bytes of all read indexes, those that have grown in the place of those they grew from.
    used: u64,
    index_max: u64,
}

/// What merging came to: the totals and the indexes of the tables it changed.
pub(crate) struct Merged {
    totals: BTreeMap<TableId, Stats>,
    indexes: BTreeMap<TableId, Grown>,
}

// === impl Merge ===

impl<'t> Merge<'t> {
    pub(crate) fn new(
        (shared, txn): (&'t Shared, &'t WriteTransaction),
        catalog: &'t Catalog,
        (writer, index_max): (&Writer, u64),
    ) -> Self {
        Self {
            shared,
            txn,
            catalog,
            totals: writer.totals(),
            indexes: BTreeMap::new(),
            used: writer.index_bytes(),
            index_max,
        }
    }

    /// Merges one spill. `draft` is what the same transaction has written before, and gives up what
    /// it knows of the table.
    pub(crate) fn spill(
        &mut self,
        spill: &Spill,
        (writer, draft): (&Writer, &mut Draft<'_>),
        undo: &mut Undo<'_>,
    ) -> Result<Outcome> {
        let into = spill.into;
        for (table, state) in [(into, TableState::Live), (spill.from, TableState::Staged)] {
            let known = self.catalog.tables.get(&table);
            if known.is_none_or(|known| known.state != state) {
                return Err(Error::UnknownTable { table });
            }
        }
        self.begin(into, writer, draft);
        let name = data_name(spill.from);
        let source = self
            .txn
            .open_table(Data::new(&name))
            .map_err(self.shared.fail("open spilled rows"))?;
        let mut rows = source
            .range::<&[u8]>(..)
            .map_err(self.shared.fail("read spilled rows"))?;
        let mut total = Outcome::default();
        let mut resealed = Vec::new();
        loop {
            let mut arena = Vec::new();
            for entry in rows.by_ref() {
                let (key, bytes) = entry.map_err(self.shared.fail("read spilled rows"))?;
                let (key, bytes) = (key.value(), bytes.value());
                if row::verify(spill.from, key, bytes).is_none() {
                    let reason = "a spilled row fails its checksum".to_owned();
                    return Err(self.shared.damaged(reason));
                }
                resealed.clear();
                row::reseal(into, key, bytes, &mut resealed);
                push_entry(key, &resealed, &mut arena);
                if arena.len() >= MOVED_BYTES_MAX {
                    break;
                }
            }
            if arena.is_empty() {
                return Ok(total);
            }
            let outcome = self.piece(into, &arena, undo)?;
            total.written += outcome.written;
            total.superseded += outcome.superseded;
        }
    }

    /// Begins with what a table has: its index, and what the transaction has already written there.
    fn begin(&mut self, into: TableId, writer: &Writer, draft: &mut Draft<'_>) {
        let Entry::Vacant(vacant) = self.indexes.entry(into) else {
            return;
        };
        let index = writer.slots.get(&into).and_then(|slot| slot.index.as_ref());
        vacant.insert(index.map_or(Grown::None, |it| {
            Grown::Index(Box::new(TableIndex::clone(it)))
        }));
        if let Some(stats) = draft.totals.remove(&into) {
            self.totals.insert(into, stats);
        }
        if let Some(changed) = draft.changed.remove(&into) {
            self.grow(into, &changed);
        }
    }

    fn piece(&mut self, into: TableId, arena: &[u8], undo: &mut Undo<'_>) -> Result<Outcome> {
        let rows = vec![Rows {
            table: into.0,
            arena,
        }];
        let write = [Queued { mark: None, rows }];
        let transaction = Transaction {
            shared: self.shared,
            catalog: self.catalog,
            txn: self.txn,
        };
        let before = (Meta::default(), &self.totals);
        let draft = transaction.apply(&write, 0, before, Some(undo))?;
        self.totals.extend(draft.totals);
        if let Some(changed) = draft.changed.get(&into) {
            self.grow(into, changed);
        }
        Ok(draft.outcomes.first().copied().unwrap_or_default())
    }

    /// Takes changed rows into the index that grows, unless it has passed its bound.
    fn grow(&mut self, table: TableId, changed: &[index::Entry<'_>]) {
        let Some(grown) = self.indexes.get_mut(&table) else {
            return;
        };
        let Grown::Index(index) = grown else { return };
        let others = self.used.saturating_sub(index.bytes());
        match index.update(changed, &self.shared.hasher) {
            Ok(next) if others + next.bytes() <= self.index_max => {
                self.used = others + next.bytes();
                **index = next;
            }
            _ => {
                self.used = others;
                *grown = Grown::OverBound;
                tracing::warn!(
                    table = table.0,
                    index_bytes_max = self.index_max,
                    "read index over its memory bound, the table is read from the file"
                );
            }
        }
    }

    pub(crate) fn finish(self) -> Merged {
        Merged {
            totals: self.totals,
            indexes: self.indexes,
        }
    }
}

// === impl Merged ===

impl Merged {
    /// Takes what was committed into what the writer knows.
    pub(crate) fn take_over(self, writer: &mut Writer) {
        for (table, grown) in self.indexes {
            let Some(slot) = writer.slots.get_mut(&table) else {
                continue;
            };
            slot.stats = self.totals.get(&table).copied().unwrap_or(EMPTY);
            if let Some(log) = &mut slot.log {
                // Too many rows to be noted: the scan that is under way begins again.
                log.overrun();
            }
            match grown {
                Grown::None => {}
                Grown::Index(index) => slot.index = Some((*index).into()),
                Grown::OverBound => {
                    slot.index = None;
                    slot.state = IndexState::OverBound;
                }
            }
        }
    }
}

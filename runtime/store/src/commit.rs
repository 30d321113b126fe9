//! What one transaction does to the file: the event-time rule, the queue, the totals.

use std::collections::BTreeMap;
use std::ops::Bound;

use redb::{ReadableTable, WriteTransaction};

use crate::batch::{ENTRY_HEAD, Outcome, entries};
use crate::catalog::{Catalog, write_stats};
use crate::codec::{self, Kind, Mark, Meta, Queued, Stats};
use crate::index::Entry;
use crate::layout::{Data, META, META_STORE, QUEUE, TICKETS, WATERMARKS, data_name};
use crate::release::{Undo, unencodable};
use crate::row::{self, Age, Row};
use crate::shared::Shared;
use crate::{Result, TableId, Write, digest};

/// Outcomes of queued writes that are remembered.
pub(crate) const TICKETS_KEPT: u64 = 10_000;
/// Bytes of queued writes applied in one transaction; one write may be larger.
const DRAIN_BYTES_MAX: usize = 64 << 20;

/// A row on its way in.
#[derive(Clone, Copy)]
struct Incoming<'a> {
    key: &'a [u8],
    row: &'a [u8],
    age: Age,
    /// Position of its write in the transaction.
    write: usize,
}

/// What a transaction is about to change, beside the file.
pub(crate) struct Draft<'a> {
    pub(crate) meta: Meta,
    pub(crate) totals: BTreeMap<TableId, Stats>,
    /// The rows that took their key's place, by table, one per key.
    pub(crate) changed: BTreeMap<TableId, Vec<Entry<'a>>>,
    /// One per write.
    pub(crate) outcomes: Vec<Outcome>,
}

/// One transaction under way.
pub(crate) struct Transaction<'t> {
    pub(crate) shared: &'t Shared,
    pub(crate) catalog: &'t Catalog,
    pub(crate) txn: &'t WriteTransaction,
}

// === impl Transaction ===

impl Transaction<'_> {
    /// Takes the oldest entries out of the queue, at most `max`.
    pub(crate) fn take_queued(&self, max: usize) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut queue = self
            .txn
            .open_table(QUEUE)
            .map_err(self.shared.fail("open queue"))?;
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < max && bytes < DRAIN_BYTES_MAX {
            let Some((ticket, entry)) =
                queue.pop_first().map_err(self.shared.fail("read queue"))?
            else {
                break;
            };
            bytes += entry.value().len();
            taken.push((ticket.value(), entry.value().to_vec()));
        }
        Ok(taken)
    }

    /// Sorts the rows of `writes` by table; the first `drained` of them come from the queue.
    fn gather<'a>(
        &self,
        writes: &[Queued<'a>],
        drained: usize,
    ) -> Result<BTreeMap<TableId, Vec<Incoming<'a>>>> {
        let mut tables: BTreeMap<TableId, Vec<Incoming<'a>>> = BTreeMap::new();
        for (write, content) in writes.iter().enumerate() {
            let queued = write < drained;
            for batch in &content.rows {
                let table = TableId(batch.table);
                if self.catalog.heir(table) != Some(table) {
                    // Gone since the write was queued: its rows have no place any more.
                    continue;
                }
                let rows = tables.entry(table).or_default();
                rows.reserve(about(batch.arena));
                for (key, bytes) in entries(batch.arena) {
                    let parsed = if queued {
                        row::verify(table, key, bytes)
                    } else {
                        Some(Row::parse(bytes)?)
                    };
                    match parsed {
                        Some(parsed) => {
                            let age = parsed.age();
                            rows.push(Incoming {
                                key,
                                row: bytes,
                                age,
                                write,
                            });
                        }
                        None => {
                            tracing::error!(table = table.0, "damaged row in the queue dropped");
                        }
                    }
                }
            }
        }
        Ok(tables)
    }

    /// Applies the rows and watermarks of `writes`, of which the first `drained` were queued.
    pub(crate) fn apply<'a>(
        &self,
        writes: &[Queued<'a>],
        drained: usize,
        (meta, totals): (Meta, &BTreeMap<TableId, Stats>),
        mut undo: Option<&mut Undo<'_>>,
    ) -> Result<Draft<'a>> {
        let mut draft = Draft {
            meta,
            totals: BTreeMap::new(),
            changed: BTreeMap::new(),
            outcomes: vec![Outcome::default(); writes.len()],
        };
        for (table, mut rows) in self.gather(writes, drained)? {
            if rows.is_empty() {
                continue;
            }
            if !rows.is_sorted_by(|a, b| a.key <= b.key) {
                // Stable: rows of one key stay in the order of their arrival.
                rows.sort_by(|a, b| a.key.cmp(b.key));
            }
            let mut stats = totals.get(&table).copied().unwrap_or(crate::catalog::EMPTY);
            let outcomes = &mut draft.outcomes;
            let changed = self.merge(table, &rows, (&mut stats, outcomes), undo.as_deref_mut())?;
            if !changed.is_empty() {
                write_stats(self.shared, self.txn, table, &stats)?;
                draft.totals.insert(table, stats);
                draft.changed.insert(table, changed);
            }
        }
        for mark in writes.iter().filter_map(|write| write.mark.as_ref()) {
            self.advance(mark)?;
        }
        Ok(draft)
    }

    /// Writes `rows`, sorted by key, where they are not older than what is there; `undo` notes what
    /// they replace.
    fn merge<'a>(
        &self,
        table: TableId,
        rows: &[Incoming<'a>],
        (stats, outcomes): (&mut Stats, &mut [Outcome]),
        mut undo: Option<&mut Undo<'_>>,
    ) -> Result<Vec<Entry<'a>>> {
        let name = data_name(table);
        let mut stored = self
            .txn
            .open_table(Data::new(&name))
            .map_err(self.shared.fail("open table"))?;
        let appends = match stored.last().map_err(self.shared.fail("read last key"))? {
            Some((last, _)) => rows.first().is_some_and(|first| first.key > last.value()),
            None => true,
        };
        let mut changed = Vec::with_capacity(rows.len());
        let runs = rows.chunk_by(|a, b| a.key == b.key);
        if appends {
            // Every key lies beyond the last one stored: a cursor at the end writes whole leaves.
            let mut cursor = stored
                .upper_bound_mut(Bound::<&[u8]>::Unbounded)
                .map_err(self.shared.fail("open table end"))?;
            for run in runs {
                let Some(best) = settle(run, None, outcomes) else {
                    continue;
                };
                cursor
                    .insert_before(best.key, best.row)
                    .map_err(self.shared.fail("append row"))?;
                if let Some(undo) = undo.as_deref_mut() {
                    undo.note(table, (best.key, best.row), None)?;
                }
                add(stats, &best);
                changed.push((best.key, best.row));
            }
            cursor.close().map_err(self.shared.fail("append rows"))?;
            return Ok(changed);
        }
        for run in runs {
            let Some(best) = settle(run, None, &mut []) else {
                continue;
            };
            // `insert` hands back what was there: one descent decides and writes in most cases.
            let old = stored
                .insert(best.key, best.row)
                .map_err(self.shared.fail("write row"))?
                .map(|guard| Replaced::of(table, &best, guard.value(), undo.is_some()));
            let Some(old) = old else {
                if let Some(undo) = undo.as_deref_mut() {
                    undo.note(table, (best.key, best.row), None)?;
                }
                settle(run, None, outcomes);
                add(stats, &best);
                changed.push((best.key, best.row));
                continue;
            };
            settle(run, old.age, outcomes);
            if old.newer {
                stored
                    .insert(best.key, old.bytes.as_slice())
                    .map_err(self.shared.fail("keep row"))?;
                continue;
            }
            if let Some(undo) = undo.as_deref_mut() {
                // A damaged row is nothing to come back to.
                let before = old.age.map(|_| old.bytes.as_slice());
                undo.note(table, (best.key, best.row), before)?;
            }
            stats.rows = stats.rows.saturating_sub(1);
            stats.digest ^= old.hash;
            add(stats, &best);
            changed.push((best.key, best.row));
        }
        Ok(changed)
    }

    fn advance(&self, mark: &Mark<'_>) -> Result<()> {
        let mut table = self
            .txn
            .open_table(WATERMARKS)
            .map_err(self.shared.fail("open watermarks"))?;
        let key = mark.name.as_bytes();
        let old = table
            .get(mark.name)
            .map_err(self.shared.fail("read watermark"))?
            .and_then(|bytes| codec::decode(Kind::Watermark, key, bytes.value()).ok());
        if old.is_some_and(|old: codec::Watermark| old.micros >= mark.micros) {
            return Ok(());
        }
        let record = codec::Watermark {
            micros: mark.micros,
        };
        let bytes = codec::encode(Kind::Watermark, key, &record)
            .map_err(|_error| unencodable("watermark"))?;
        table
            .insert(mark.name, bytes.as_slice())
            .map_err(self.shared.fail("write watermark"))?;
        Ok(())
    }

    /// Records what became of the queued writes.
    pub(crate) fn record(&self, tickets: &[u64], outcomes: &[Outcome]) -> Result<()> {
        let Some(last) = tickets.last() else {
            return Ok(());
        };
        let mut table = self
            .txn
            .open_table(TICKETS)
            .map_err(self.shared.fail("open tickets"))?;
        for (ticket, outcome) in tickets.iter().zip(outcomes) {
            let Outcome {
                written,
                superseded,
            } = *outcome;
            let record = codec::Ticket {
                written,
                superseded,
            };
            let bytes = codec::encode(Kind::Ticket, &ticket.to_le_bytes(), &record)
                .map_err(|_error| unencodable("ticket"))?;
            table
                .insert(*ticket, bytes.as_slice())
                .map_err(self.shared.fail("write ticket"))?;
        }
        // As many as were added at most, or the history could not have been full before.
        for _ in tickets {
            let first = table.first().map_err(self.shared.fail("read tickets"))?;
            match first.map(|(ticket, _)| ticket.value()) {
                Some(first) if first.saturating_add(TICKETS_KEPT) <= *last => {
                    table
                        .remove(first)
                        .map_err(self.shared.fail("forget ticket"))?;
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Puts `writes` at the end of the queue.
    pub(crate) fn enqueue(&self, writes: &[Write], meta: &mut Meta) -> Result<Vec<u64>> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let mut queue = self
            .txn
            .open_table(QUEUE)
            .map_err(self.shared.fail("open queue"))?;
        let mut tickets = Vec::with_capacity(writes.len());
        for write in writes {
            let ticket = meta.ticket_next;
            let bytes = write.seal(ticket)?;
            queue
                .insert(ticket, bytes.as_slice())
                .map_err(self.shared.fail("write queue"))?;
            meta.ticket_next += 1;
            meta.queued += 1;
            tickets.push(ticket);
        }
        Ok(tickets)
    }
}

/// How many entries there are, if all are as long as the first.
fn about(arena: &[u8]) -> usize {
    let first = entries(arena).next();
    first.map_or(0, |(key, row)| {
        arena.len() / (ENTRY_HEAD + key.len() + row.len())
    })
}

/// Writes `meta` and commits: after this returns, everything is on the disk.
pub(crate) fn commit(shared: &Shared, txn: WriteTransaction, meta: &Meta) -> Result<()> {
    {
        let mut table = txn.open_table(META).map_err(shared.fail("open meta"))?;
        let bytes = codec::encode(Kind::Meta, META_STORE.as_bytes(), meta)
            .map_err(|_error| unencodable("meta"))?;
        table
            .insert(META_STORE, bytes.as_slice())
            .map_err(shared.fail("write meta"))?;
    }
    txn.commit().map_err(shared.fail("commit"))
}

/// The row that an insert found in its place.
struct Replaced {
    /// `None` when it was damaged: then anything may replace it.
    age: Option<Age>,
    hash: u64,
    /// Whether it stays, being the newer one.
    newer: bool,
    /// The row itself where it stays or its bytes were asked for.
    bytes: Vec<u8>,
}

impl Replaced {
    fn of(table: TableId, best: &Incoming<'_>, old: &[u8], keep: bool) -> Self {
        let age = row::verify(table, best.key, old).map(|row| row.age());
        if age.is_none() {
            tracing::error!(table = table.0, "a damaged row was replaced");
        }
        let newer = age.is_some_and(|age| age > best.age);
        Self {
            age,
            hash: digest::of_row(best.key, old),
            newer,
            bytes: if newer || keep {
                old.to_vec()
            } else {
                Vec::new()
            },
        }
    }
}

fn add(stats: &mut Stats, row: &Incoming<'_>) {
    stats.rows += 1;
    stats.digest ^= digest::of_row(row.key, row.row);
    stats.newest = stats.newest.max(row.age.event_time());
}

/// Applies the event-time rule to the rows of one key in the order of their arrival: the one that
/// stays, if it is none that was stored before.
fn settle<'a>(
    run: &[Incoming<'a>],
    stored: Option<Age>,
    outcomes: &mut [Outcome],
) -> Option<Incoming<'a>> {
    let mut current = stored;
    let mut best = None;
    for row in run {
        let outcome = outcomes.get_mut(row.write);
        if current.is_none_or(|current| row.age >= current) {
            current = Some(row.age);
            best = Some(*row);
            if let Some(outcome) = outcome {
                outcome.written += 1;
            }
        } else if let Some(outcome) = outcome {
            outcome.superseded += 1;
        }
    }
    best
}

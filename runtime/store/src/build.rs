//! Building the read index beside the writer.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::batch::{entries, push_entry};
use crate::catalog::TableState;
use crate::codec::Stats;
use crate::index::{Builder, Entry, TableIndex};
use crate::snapshot::{IndexState, Snapshot};
use crate::store::Store;
use crate::writer::Slot;
use crate::{CommitSeq, Error, Result, TableId, digest, row};

/// Bytes of rows committed during one scan; when more come, the scan starts again.
const LOG_BYTES_MAX: usize = 64 << 20;
/// Scans of one table before it is left without an index.
const ATTEMPTS_MAX: usize = 5;

/// Rows committed to a table while it is scanned.
#[derive(Debug)]
pub(crate) struct Log {
    /// The commit that is being scanned.
    from: CommitSeq,
    arena: Vec<u8>,
    overrun: bool,
}

/// What a scan came to.
enum Scanned {
    Whole(Box<TableIndex>),
    OverBound,
    Damaged(String),
}

impl Log {
    fn new(from: CommitSeq) -> Self {
        Self {
            from,
            arena: Vec::new(),
            overrun: false,
        }
    }

    /// More rows were committed than can be noted.
    pub(crate) fn overrun(&mut self) {
        self.overrun = true;
        self.arena = Vec::new();
    }

    pub(crate) fn push(&mut self, rows: &[Entry<'_>]) {
        for (key, row) in rows {
            if self.overrun || self.arena.len() + key.len() + row.len() > LOG_BYTES_MAX {
                return self.overrun();
            }
            push_entry(key, row, &mut self.arena);
        }
    }
}

impl Store {
    /// Builds the read index of every live table that has none yet: reads the tables while commits go
    /// on, and shows each index when it is whole. Tables that would pass the memory bound, and
    /// tables found damaged, stay without one; both are logged and shown in [`Store::stats`].
    /// To be called once, on a thread of its own, when the tables are installed.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Io`]: may be called again after [`Store::recover`].
    pub fn build_index(&self) -> Result<()> {
        let pending: Vec<TableId> = {
            let snapshot = self.load();
            let waits = snapshot.tables().filter(|(table, view)| {
                table.state == TableState::Live && view.state == IndexState::Pending
            });
            waits.map(|(table, _)| table.id).collect()
        };
        self.index_staged(&pending)
    }

    /// The same for `tables`, which may be staged ones that are about to be released.
    ///
    /// # Errors
    /// As [`Store::build_index`].
    pub fn index_staged(&self, tables: &[TableId]) -> Result<()> {
        tables.iter().try_for_each(|table| self.index_table(*table))
    }

    fn index_table(&self, table: TableId) -> Result<()> {
        for _ in 0..ATTEMPTS_MAX {
            let (snapshot, room) = {
                let mut writer = self.lock();
                let room = self
                    .config
                    .index_bytes_max
                    .saturating_sub(writer.index_bytes());
                match writer.slots.get_mut(&table) {
                    Some(slot) if slot.state == IndexState::Pending => {
                        slot.log = Some(Log::new(self.load().commit()));
                    }
                    _ => return Ok(()),
                }
                // Under the lock: the log begins with the commit after this snapshot's.
                (self.current.load_full(), room)
            };
            let scanned = scan(self, &snapshot, table, room);
            let from = snapshot.commit();
            drop(snapshot);
            if self.finish(table, from, scanned)? {
                return Ok(());
            }
        }
        let mut writer = self.lock();
        if let Some(slot) = writer.slots.get_mut(&table) {
            slot.state = IndexState::Outrun;
            self.republish(&writer);
            tracing::warn!(
                table = table.0,
                "writes outran the read index, the table is read from the file"
            );
        }
        Ok(())
    }

    /// Puts a scanned index in place; false when the scan must be done again.
    fn finish(&self, table: TableId, from: CommitSeq, scanned: Result<Scanned>) -> Result<bool> {
        let mut writer = self.lock();
        let used = writer.index_bytes();
        let Some(slot) = writer.slots.get_mut(&table) else {
            return Ok(true);
        };
        // Without its log, this scan is of no use: the table was retired, or the store reopened and
        // another scan is under way.
        let Some(log) = slot.log.take_if(|log| log.from == from) else {
            return Ok(true);
        };
        let state = match scanned? {
            Scanned::Whole(_) if log.overrun => return Ok(false),
            Scanned::Whole(index) => {
                let room = self.config.index_bytes_max.saturating_sub(used);
                self.catch_up(slot, &index, &log, room)
            }
            Scanned::OverBound => IndexState::OverBound,
            Scanned::Damaged(reason) => {
                tracing::error!(
                    table = table.0,
                    reason,
                    "damage found while building the read index"
                );
                IndexState::Damaged
            }
        };
        slot.state = state;
        if state == IndexState::OverBound {
            tracing::warn!(
                table = table.0,
                "read index over its memory bound, the table is read from the file"
            );
        }
        self.republish(&writer);
        Ok(true)
    }

    fn catch_up(&self, slot: &mut Slot, index: &TableIndex, log: &Log, room: u64) -> IndexState {
        let later: Vec<Entry<'_>> = entries(&log.arena).collect();
        match index.update(&later, &self.shared.hasher) {
            Ok(index) if index.bytes() <= room && index.rows() == slot.stats.rows => {
                slot.index = Some(Arc::new(index));
                IndexState::Ready
            }
            Ok(index) if index.bytes() <= room => IndexState::Damaged,
            _ => IndexState::OverBound,
        }
    }
}

/// Reads a table into an index, proving that its rows are whole and all there.
fn scan(store: &Store, snapshot: &Snapshot, table: TableId, room: u64) -> Result<Scanned> {
    let stats = snapshot.view(table)?.stats;
    let hasher = &store.shared.hasher;
    let mut builder = Builder::new(stats.rows);
    let mut seen = Stats {
        newest: i64::MIN,
        ..Stats::default()
    };
    let mut over = false;
    let mut damaged = None;
    let walked = snapshot.walk(table, &mut |key, bytes| {
        let Some(row) = row::verify(table, key, bytes) else {
            damaged = Some("a row fails its checksum".to_owned());
            return ControlFlow::Break(());
        };
        seen.rows += 1;
        seen.digest ^= digest::of_row(key, bytes);
        seen.newest = seen.newest.max(row.event_time().0);
        let pushed = builder.push(hasher, key, bytes);
        over = pushed.is_err() || builder.bytes() > room || seen.rows > stats.rows;
        if over {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    match walked {
        Ok(()) => {}
        Err(Error::Damaged { reason, .. }) => return Ok(Scanned::Damaged(reason)),
        Err(error) => return Err(error),
    }
    if let Some(reason) = damaged {
        return Ok(Scanned::Damaged(reason));
    }
    if seen.rows > stats.rows {
        return Ok(Scanned::Damaged(
            "it has more rows than were written".to_owned(),
        ));
    }
    if over {
        return Ok(Scanned::OverBound);
    }
    if (seen.rows, seen.digest) != (stats.rows, stats.digest) {
        return Ok(Scanned::Damaged(format!(
            "{} of {} rows are there",
            seen.rows, stats.rows
        )));
    }
    Ok(builder
        .finish(hasher)
        .map_or(Scanned::OverBound, |index| Scanned::Whole(Box::new(index))))
}

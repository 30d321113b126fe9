//! A read index that is made from the rows on their way into a staged table.
//!
//! Rows of a release come sorted by key and each once, and pass through memory anyway. Whoever brings
//! them shows them here too, and the table need not be read again. What was shown counts only if it is
//! what the table came to hold, by number, digest and newest event time; otherwise the table is read as
//! any other.

use std::sync::Arc;

use crate::codec::Stats;
use crate::index::Builder;
use crate::row::Row;
use crate::snapshot::IndexState;
use crate::store::Store;
use crate::{RowBatch, TableId, digest};

/// The index of one staged table, as far as its rows were shown.
#[derive(Debug)]
pub struct PreparedIndex {
    table: TableId,
    /// `None` once it cannot become the table's index.
    builder: Option<Builder>,
    /// Bytes it may take.
    room: u64,
    last_key: Vec<u8>,
    seen: Stats,
}

impl Store {
    /// Begins the index of a table made by [`Store::stage`] that about `rows` rows will be put into.
    #[must_use]
    pub fn prepare_index(&self, table: TableId, rows: u64) -> PreparedIndex {
        let used = self.lock().index_bytes();
        let room = self.config.index_bytes_max.saturating_sub(used);
        let seen = Stats {
            newest: i64::MIN,
            ..Stats::default()
        };
        PreparedIndex {
            table,
            builder: Builder::within(rows, room),
            room,
            last_key: Vec::new(),
            seen,
        }
    }

    /// Puts a prepared index in place if it is what the table holds.
    pub fn adopt_index(&self, prepared: PreparedIndex) {
        let finished = prepared.builder.map(|it| it.finish(&self.shared.hasher));
        let Some(Ok(index)) = finished else {
            return;
        };
        let mut writer = self.lock();
        let whole = writer.index_bytes().saturating_add(index.bytes());
        let Some(slot) = writer.slots.get_mut(&prepared.table) else {
            return;
        };
        let waits = slot.state == IndexState::Pending && slot.log.is_none();
        if waits && slot.stats == prepared.seen && whole <= self.config.index_bytes_max {
            slot.index = Some(Arc::new(index));
            slot.state = IndexState::Ready;
            self.republish(&writer);
        }
    }

    /// Shows `prepared` the rows of a batch for its table.
    pub fn show_rows(&self, prepared: &mut PreparedIndex, batch: &RowBatch) {
        if prepared.builder.is_some() && !self.show(prepared, batch) {
            prepared.builder = None;
        }
    }

    /// False when the rows cannot be part of the index.
    fn show(&self, prepared: &mut PreparedIndex, batch: &RowBatch) -> bool {
        let Some(builder) = &mut prepared.builder else {
            return false;
        };
        for (key, bytes) in batch.iter() {
            let is_next = prepared.seen.rows == 0 || prepared.last_key.as_slice() < key;
            let (true, Ok(row)) = (is_next, Row::parse(bytes)) else {
                return false;
            };
            prepared.last_key.clear();
            prepared.last_key.extend_from_slice(key);
            prepared.seen.rows += 1;
            prepared.seen.digest ^= digest::of_row(key, bytes);
            prepared.seen.newest = prepared.seen.newest.max(row.event_time().0);
            if builder.push(&self.shared.hasher, key, bytes).is_err()
                || builder.bytes() > prepared.room
            {
                return false;
            }
        }
        true
    }
}

//! The figures of a store.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use galley_types::EventTime;

use crate::catalog::TableState;
use crate::snapshot::IndexState;
use crate::store::Store;
use crate::{CommitSeq, OutboxStats, TableId};

/// The figures of one table.
#[derive(Clone, Debug)]
pub struct TableStats {
    /// The table.
    pub table: TableId,
    /// Its name; several epochs of a table have the same.
    pub name: String,
    /// Counts the tables of this name, from 1.
    pub epoch: u32,
    /// It is the one that serves its name: no other took its place, and it is not still being
    /// filled.
    pub live: bool,
    /// Number of rows.
    pub rows: u64,
    /// Where look-ups are served from.
    pub index: IndexState,
    /// Bytes of memory of the index.
    pub index_bytes: u64,
    /// The newest event time of any row.
    pub newest_event_time: Option<EventTime>,
    /// XOR of the hashes of all rows.
    pub digest: u64,
}

/// The figures of a store.
#[derive(Clone, Debug)]
pub struct StoreStats {
    /// The file.
    pub path: PathBuf,
    /// All tables, by id.
    pub tables: Vec<TableStats>,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes free on its file system, where that is known.
    pub free_bytes: Option<u64>,
    /// The last commit.
    pub commit: CommitSeq,
    /// Commits, one fsync each, since the store was opened.
    pub commits: u64,
    /// Queued writes that wait to be applied.
    pub queued: u64,
    /// What has still to reach the centre.
    pub outbox: OutboxStats,
    /// Whether no table waits for its index any more.
    pub index_ready: bool,
    /// False after an I/O error, until [`Store::recover`] succeeds.
    pub healthy: bool,
}

impl Store {
    /// The figures of the store, without waiting for the writer.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let snapshot = self.load();
        let tables: Vec<TableStats> = snapshot
            .tables()
            .map(|(table, view)| TableStats {
                table: table.id,
                name: table.name.to_string(),
                epoch: table.epoch,
                live: table.state == TableState::Live,
                rows: view.stats.rows,
                index: view.state,
                index_bytes: view.index.as_ref().map_or(0, |index| index.bytes()),
                newest_event_time: (view.stats.rows > 0).then_some(EventTime(view.stats.newest)),
                digest: view.stats.digest,
            })
            .collect();
        let waits = |table: &TableStats| table.live && table.index == IndexState::Pending;
        StoreStats {
            path: self.shared.path.clone(),
            file_bytes: std::fs::metadata(&self.shared.path).map_or(0, |meta| meta.len()),
            free_bytes: self.free_bytes(),
            commit: snapshot.commit(),
            commits: self.shared.commits.load(Ordering::Relaxed),
            queued: snapshot.queued(),
            outbox: snapshot.outbox(),
            index_ready: !tables.iter().any(waits),
            healthy: !self.shared.is_poisoned(),
            tables,
        }
    }
}

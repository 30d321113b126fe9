//! One commit, as readers see it.

use std::ops::{ControlFlow, Deref};
use std::sync::{Arc, OnceLock};

use galley_types::EventTime;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTableMetadata};

use crate::batch::TicketState;
use crate::catalog::{Catalog, Table};
use crate::codec::{self, Kind, Stats};
use crate::index::{Search, TableIndex};
use crate::layout::{Data, QUEUE, RECORDS, TICKETS, WATERMARKS, data_name};
use crate::shared::Shared;
use crate::{CommitSeq, Error, OutboxStats, Result, TableId, row};

/// Whether the rows of a table are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexState {
    /// Look-ups are served from memory.
    Ready,
    /// Not built yet: look-ups read the file.
    Pending,
    /// The memory bound would be passed: look-ups read the file.
    OverBound,
    /// Too many rows were written while it was built: look-ups read the file until the next start.
    Outrun,
    /// Reading the table found damage: look-ups read the file, row by row verified.
    Damaged,
}

/// Is called with a key and its row; breaking ends the walk.
pub type Visitor<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// Searches that are begun before the first is finished: about as many loads as a core has under way.
const SEARCHES_TOGETHER: usize = 32;

type Handle = ReadOnlyTable<&'static [u8], &'static [u8]>;

pub(crate) struct View {
    pub(crate) stats: Stats,
    pub(crate) index: Option<Arc<TableIndex>>,
    pub(crate) state: IndexState,
    stored: OnceLock<Handle>,
}

/// What one transaction left, whole and unchanging. Hold it for one request, not longer: while it
/// lives, the file cannot reuse the space of what was replaced since.
pub struct Snapshot {
    at: At,
    /// By table id.
    views: Vec<Option<View>>,
    catalog: Arc<Catalog>,
    /// `None` while the file is being reopened.
    txn: Option<Arc<ReadTransaction>>,
    shared: Arc<Shared>,
    /// Which opening of the file `txn` belongs to.
    opened: u64,
}

/// The figures of one commit.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub(crate) commit: CommitSeq,
    pub(crate) release: u64,
    pub(crate) queued: u64,
    pub(crate) outbox: OutboxStats,
}

/// A row: borrowed from the read index, or owned when it was read from the file.
#[derive(Clone, Debug)]
pub enum RowBytes<'s> {
    /// From the read index.
    Index(&'s [u8]),
    /// From the file.
    Stored(Vec<u8>),
}

impl Deref for RowBytes<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Index(bytes) => bytes,
            Self::Stored(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("commit", &self.at.commit)
            .finish_non_exhaustive()
    }
}

impl View {
    pub(crate) fn new(stats: Stats, index: Option<Arc<TableIndex>>, state: IndexState) -> Self {
        Self {
            stats,
            index,
            state,
            stored: OnceLock::new(),
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    pub(crate) fn new(
        shared: Arc<Shared>,
        catalog: Arc<Catalog>,
        txn: Option<Arc<ReadTransaction>>,
        at: At,
    ) -> Self {
        let last = catalog
            .tables
            .keys()
            .next_back()
            .map_or(0, |id| id.0 as usize);
        let mut views = Vec::new();
        views.resize_with(last + 1, || None);
        let opened = shared.opened();
        Self {
            at,
            opened,
            views,
            catalog,
            txn,
            shared,
        }
    }

    pub(crate) fn put(&mut self, table: TableId, view: View) {
        if let Some(place) = self.views.get_mut(table.0 as usize) {
            *place = Some(view);
        }
    }

    /// The newest event time of any row of a table; `None` while it has none.
    #[must_use]
    pub fn newest_event_time(&self, table: TableId) -> Option<EventTime> {
        let view = self.views.get(table.0 as usize)?.as_ref()?;
        (view.stats.rows > 0).then_some(EventTime(view.stats.newest))
    }

    /// The commit this is the state of.
    #[must_use]
    pub fn commit(&self) -> CommitSeq {
        self.at.commit
    }

    /// Queued writes that wait to be applied.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.at.queued
    }

    /// The totals of the outbox.
    #[must_use]
    pub fn outbox(&self) -> OutboxStats {
        self.at.outbox
    }

    /// The row of `key`. Lock-free and without allocation where the table is indexed.
    ///
    /// # Errors
    /// [`Error::DamagedRow`] instead of a row whose checksum fails; [`Error::UnknownTable`],
    /// [`Error::Poisoned`], [`Error::Io`].
    #[inline]
    pub fn get<'s>(&'s self, table: TableId, key: &[u8]) -> Result<Option<RowBytes<'s>>> {
        let view = self.view(table)?;
        match &view.index {
            Some(index) => Ok(index.get(&self.shared.hasher, key).map(RowBytes::Index)),
            None => self.get_stored(table, view, key),
        }
    }

    /// [`Snapshot::get`] for many keys, appended to `out` in their order. Searches go side by side,
    /// so that they wait for memory together and not one after the other.
    ///
    /// # Errors
    /// As [`Snapshot::get`], for the first key that fails.
    pub fn get_many<'s, 'k>(
        &'s self,
        lookups: impl Iterator<Item = (TableId, &'k [u8])>,
        out: &mut Vec<Option<RowBytes<'s>>>,
    ) -> Result<()> {
        // Who knows how many there are has made room for them.
        let expected = out.capacity().saturating_sub(out.len());
        let mut block: Vec<(TableId, &'k [u8], Option<Search<'s>>)> =
            Vec::with_capacity(expected.min(SEARCHES_TOGETHER));
        let mut lookups = lookups.peekable();
        while lookups.peek().is_some() {
            block.clear();
            for (table, key) in lookups.by_ref().take(SEARCHES_TOGETHER) {
                let index = self.view(table)?.index.as_ref();
                block.push((
                    table,
                    key,
                    index.map(|index| index.begin(&self.shared.hasher, key)),
                ));
            }
            for (_, _, search) in &mut block {
                search.iter_mut().for_each(Search::read_slot);
            }
            let searches = block.iter().filter_map(|(_, _, search)| search.as_ref());
            let touched = searches.fold(0, |all, search| all ^ search.touch());
            std::hint::black_box(touched);
            for (table, key, search) in &block {
                out.push(match search {
                    Some(search) => search.finish(key).map(RowBytes::Index),
                    None => self.get_stored(*table, self.view(*table)?, key)?,
                });
            }
        }
        Ok(())
    }

    fn get_stored(&self, table: TableId, view: &View, key: &[u8]) -> Result<Option<RowBytes<'_>>> {
        let damaged = || Error::DamagedRow {
            table: self.name(table),
        };
        let read = || {
            let stored = self.stored(table, view)?;
            let found = stored.get(key).map_err(self.shared.fail("read"))?;
            Ok(found.map(|guard| guard.value().to_vec()))
        };
        match self.guard(read) {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) if row::verify(table, key, &bytes).is_some() => {
                Ok(Some(RowBytes::Stored(bytes)))
            }
            Ok(Some(_)) | Err(Error::Damaged { .. }) => Err(damaged()),
            Err(error) => Err(error),
        }
    }

    /// The number of the last release; 0 before the first.
    #[inline]
    #[must_use]
    pub fn release(&self) -> u64 {
        self.at.release
    }

    /// The named record that the last release or its return left.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Io`], [`Error::Damaged`].
    pub fn record(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.guard(|| {
            let table = match self.txn()?.open_table(RECORDS) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table.map_err(self.shared.fail("open records"))?,
            };
            let Some(bytes) = table.get(name).map_err(self.shared.fail("read record"))? else {
                return Ok(None);
            };
            codec::open_bytes(Kind::Named, name.as_bytes(), bytes.value())
                .map(|content| Some(content.to_vec()))
                .map_err(|_error| self.shared.damaged(format!("record {name}")))
        })
    }

    /// The time of the watermark `name`.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Io`], [`Error::Damaged`].
    pub fn watermark(&self, name: &str) -> Result<Option<EventTime>> {
        self.guard(|| {
            let table = self
                .txn()?
                .open_table(WATERMARKS)
                .map_err(self.shared.fail("open"))?;
            let Some(bytes) = table
                .get(name)
                .map_err(self.shared.fail("read watermark"))?
            else {
                return Ok(None);
            };
            let record: codec::Watermark =
                codec::decode(Kind::Watermark, name.as_bytes(), bytes.value())
                    .map_err(|_error| self.shared.damaged(format!("watermark {name}")))?;
            Ok(Some(EventTime(record.micros)))
        })
    }

    /// What is known of the queued write `id`; `None` when the id was never given out, or so long
    /// ago that its outcome is forgotten.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Io`], [`Error::Damaged`].
    pub fn ticket(&self, id: u64) -> Result<Option<TicketState>> {
        self.guard(|| {
            let txn = self.txn()?;
            let tickets = txn.open_table(TICKETS).map_err(self.shared.fail("open"))?;
            if let Some(bytes) = tickets.get(id).map_err(self.shared.fail("read ticket"))? {
                let record: codec::Ticket =
                    codec::decode(Kind::Ticket, &id.to_le_bytes(), bytes.value())
                        .map_err(|_error| self.shared.damaged(format!("ticket {id}")))?;
                let codec::Ticket {
                    written,
                    superseded,
                } = record;
                return Ok(Some(TicketState::Applied {
                    written,
                    superseded,
                }));
            }
            let queue = txn.open_table(QUEUE).map_err(self.shared.fail("open"))?;
            let waiting = queue.get(id).map_err(self.shared.fail("read ticket"))?;
            Ok(waiting.map(|_| TicketState::Pending))
        })
    }

    /// Calls `f` with every key and row of the file, in key order, until it breaks.
    ///
    /// # Errors
    /// [`Error::DamagedRow`] at the first row whose checksum fails, [`Error::Damaged`] when the
    /// file cannot be walked; [`Error::UnknownTable`], [`Error::Poisoned`], [`Error::Io`].
    pub fn scan(&self, table: TableId, f: &mut Visitor<'_>) -> Result<()> {
        let mut damaged = false;
        self.walk(table, &mut |key, row| {
            damaged = row::verify(table, key, row).is_none();
            if damaged {
                ControlFlow::Break(())
            } else {
                f(key, row)
            }
        })?;
        if damaged {
            Err(Error::DamagedRow {
                table: self.name(table),
            })
        } else {
            Ok(())
        }
    }

    /// As [`Snapshot::scan`], without verifying the rows.
    pub(crate) fn walk(&self, table: TableId, f: &mut Visitor<'_>) -> Result<()> {
        let view = self.view(table)?;
        self.guard(|| {
            let stored = self.stored(table, view)?;
            for entry in stored
                .range::<&[u8]>(..)
                .map_err(self.shared.fail("scan"))?
            {
                let (key, row) = entry.map_err(self.shared.fail("scan"))?;
                if f(key.value(), row.value()).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Rows of `table` as the file's own tree counts them.
    pub(crate) fn stored_rows(&self, table: TableId) -> Result<u64> {
        let view = self.view(table)?;
        self.guard(|| {
            self.stored(table, view)?
                .len()
                .map_err(self.shared.fail("count"))
        })
    }

    /// Runs `body`, which reads the file. A failure of the handle in use asks for a recovery; one
    /// of a handle that was given up since does not.
    pub(crate) fn guard<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let result = self.shared.guard(body);
        if let Err(Error::Io { .. } | Error::Poisoned { .. }) = &result
            && self.opened == self.shared.opened()
        {
            self.shared.poison();
        }
        result
    }

    fn stored<'v>(&self, table: TableId, view: &'v View) -> Result<&'v Handle> {
        if let Some(handle) = view.stored.get() {
            return Ok(handle);
        }
        let name = data_name(table);
        let handle = self
            .txn()?
            .open_table(Data::new(&name))
            .map_err(self.shared.fail("open"))?;
        Ok(view.stored.get_or_init(|| handle))
    }

    pub(crate) fn txn(&self) -> Result<&Arc<ReadTransaction>> {
        self.txn
            .as_ref()
            .ok_or_else(|| self.shared.poisoned_error())
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn shared_txn(&self) -> Option<Arc<ReadTransaction>> {
        self.txn.clone()
    }

    #[inline]
    pub(crate) fn view(&self, table: TableId) -> Result<&View> {
        match self.views.get(table.0 as usize) {
            Some(Some(view)) => Ok(view),
            _ => Err(Error::UnknownTable { table }),
        }
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = (&Table, &View)> {
        self.catalog
            .tables
            .values()
            .filter_map(|table| Some((table, self.view(table.id).ok()?)))
    }

    pub(crate) fn name(&self, table: TableId) -> String {
        let known = self.catalog.tables.get(&table);
        known.map_or_else(|| table.0.to_string(), |table| table.name.to_string())
    }
}

//! The store: one writer behind a lock, readers on snapshots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use galley_types::EventTime;
use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend};

use crate::batch::{Applied, Group};
use crate::build::Log;
use crate::catalog::{Catalog, EMPTY, Installed, TableSpec};
use crate::codec::{self, Meta, Queued, Stats};
use crate::commit::{Draft, Transaction};
use crate::index::TableIndex;
use crate::open::{BackendOpener, FileOpener, OpenProgress, Opener, read_meta};
use crate::shared::Shared;
use crate::snapshot::{IndexState, Snapshot, View};
use crate::space::Space;
use crate::{CommitSeq, Result, StoreConfig, TableId};

/// Bytes of one commit after which the free space is read anew.
const COMMIT_BYTES_LARGE: u64 = 1 << 20;

/// The online store of one file. All methods may be called from any thread; writes wait for each
/// other, reads never wait.
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: StoreConfig,
    pub(crate) current: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
    opener: Box<dyn Opener>,
    space: Option<Space>,
}

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
    database: Option<Database>,
    meta: Meta,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) slots: BTreeMap<TableId, Slot>,
}

/// The figures of one table.
#[derive(Clone, Debug)]
pub struct TableStats {
    /// The table.
    pub table: TableId,
    /// Its name; several epochs of a table have the same.
    pub name: String,
    /// Counts the tables of this name, from 1.
    pub epoch: u32,
    /// A later epoch took its place.
    pub retired: bool,
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
    /// Whether no table waits for its index any more.
    pub index_ready: bool,
    /// False after an I/O error, until [`Store::recover`] succeeds.
    pub healthy: bool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

// === opening ===

impl Store {
    /// Opens the store in the file `path`, which is created when it is missing. A file that was not
    /// closed cleanly is verified first, with `progress`. A file that cannot be used is left as
    /// it is.
    ///
    /// # Errors
    /// [`Error::InUse`](crate::Error::InUse), [`Error::Damaged`](crate::Error::Damaged),
    /// [`Error::FormatTooNew`](crate::Error::FormatTooNew), [`Error::Io`](crate::Error::Io).
    pub fn open(
        path: &Path,
        config: StoreConfig,
        progress: &mut dyn FnMut(OpenProgress),
    ) -> Result<Self> {
        let opener = FileOpener {
            path: path.to_owned(),
            cache_bytes: config.cache_bytes,
        };
        let space = Some(Space::new(path, &config));
        Self::with(Box::new(opener), path.to_owned(), (config, space), progress)
    }

    /// Opens the store in a storage backend. Free space is not watched, and
    /// [`Store::recover`] cannot reopen it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn with_backend(backend: impl StorageBackend, config: StoreConfig) -> Result<Self> {
        let once = Mutex::new(Some(backend));
        Self::with_backends(
            move || once.lock().unwrap_or_else(PoisonError::into_inner).take(),
            config,
        )
    }

    /// Opens the store in the backends that `make` makes: one now, and one for each
    /// [`Store::recover`]. Free space is not watched.
    ///
    /// # Errors
    /// As [`Store::open`]; [`Error::Poisoned`](crate::Error::Poisoned) when there is no backend.
    pub fn with_backends<B, F>(make: F, config: StoreConfig) -> Result<Self>
    where
        B: StorageBackend,
        F: Fn() -> Option<B> + Send + Sync + 'static,
    {
        let opener = BackendOpener {
            make,
            cache_bytes: config.cache_bytes,
        };
        let path = PathBuf::from("(backend)");
        Self::with(Box::new(opener), path, (config, None), &mut |_| {})
    }

    fn with(
        opener: Box<dyn Opener>,
        path: PathBuf,
        (config, space): (StoreConfig, Option<Space>),
        progress: &mut dyn FnMut(OpenProgress),
    ) -> Result<Self> {
        let shared = Arc::new(Shared::new(path));
        let database = opener.open(&shared, progress)?;
        let (writer, txn) = Writer::load(&shared, database)?;
        let snapshot = writer.snapshot(&shared, Some(txn));
        Ok(Self {
            shared,
            config,
            current: ArcSwap::from_pointee(snapshot),
            writer: Mutex::new(writer),
            opener,
            space,
        })
    }

    /// Reopens the file after an I/O error. Look-ups in indexed tables go on meanwhile, others
    /// answer [`Error::Poisoned`](crate::Error::Poisoned). When the file turns out to hold another
    /// commit than the index (the failed one reached the disk after all), the index is built anew
    /// before this returns. Does nothing when the store is healthy.
    ///
    /// # Errors
    /// As [`Store::open`]; the store then stays as it was and this may be tried again.
    pub fn recover(&self) -> Result<()> {
        let mut writer = self.lock();
        if !self.shared.is_poisoned() && writer.database.is_some() {
            return Ok(());
        }
        self.current
            .store(Arc::new(writer.snapshot(&self.shared, None)));
        // Closes the file, whatever readers of older snapshots still do.
        writer.database = None;
        let database = self.opener.open(&self.shared, &mut |_| {})?;
        let (mut fresh, txn) = Writer::load(&self.shared, database)?;
        if fresh.meta.commit == writer.meta.commit {
            for (table, slot) in &mut fresh.slots {
                if let Some(old) = writer.slots.remove(table) {
                    slot.index = old.index;
                    slot.state = old.state;
                    slot.log = old.log;
                }
            }
        }
        *writer = fresh;
        self.shared.set_poisoned(false);
        self.current
            .store(Arc::new(writer.snapshot(&self.shared, Some(txn))));
        let pending = writer
            .slots
            .values()
            .any(|slot| slot.state == IndexState::Pending);
        drop(writer);
        if pending { self.build_index() } else { Ok(()) }
    }

    /// What is in the store now. Lock-free; whatever is read from one snapshot is one commit.
    #[inline]
    #[must_use]
    pub fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.current.load()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Writer> {
        // No invariant of the writer can be broken by a panic: it changes only after a commit.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // === writing ===

    /// Makes the tables what `tables` say, in one transaction; does nothing when they are. A new
    /// schema keeps the rows. New key types begin a new, empty table and retire the old one.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge), [`Error::StorageFull`](crate::Error::StorageFull),
    /// [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Io`](crate::Error::Io).
    pub fn install(&self, tables: &[TableSpec<'_>]) -> Result<Vec<Installed>> {
        let mut writer = self.lock();
        if !writer.catalog.satisfies(tables) {
            self.check_space(tables.len() as u64, 0)?;
            let shared = Arc::clone(&self.shared);
            self.shared
                .guard(|| writer.install(&shared, tables))
                .inspect_err(|error| {
                    self.after_failure(error);
                })?;
            self.publish(&mut writer);
        }
        let found = tables
            .iter()
            .filter_map(|spec| writer.catalog.find(spec.name));
        Ok(found.map(crate::catalog::Table::installed).collect())
    }

    /// Applies a group of writes in one transaction with one fsync, all or nothing; on return they
    /// are durable and visible to [`Store::load`].
    ///
    /// # Errors
    /// [`Error::UnknownTable`](crate::Error::UnknownTable), [`Error::StorageFull`](crate::Error::StorageFull):
    /// nothing was written. [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Io`](crate::Error::Io),
    /// [`Error::Damaged`](crate::Error::Damaged): nothing is acknowledged; [`Store::recover`] shows what the
    /// file holds.
    pub fn apply(&self, group: &Group<'_>) -> Result<Applied> {
        let mut writer = self.lock();
        if group.is_idle(writer.meta.queued) {
            return Ok(writer.nothing(group));
        }
        let all = || group.writes.iter().chain(group.enqueue);
        let rows: usize = all().map(crate::Write::rows).sum();
        let bytes = all().map(crate::Write::bytes).sum::<usize>() as u64;
        self.check_space(rows as u64, bytes)?;
        let result = self
            .shared
            .guard(|| writer.apply(&self.shared, group, self.index_room()));
        if bytes >= COMMIT_BYTES_LARGE
            && let Some(space) = &self.space
        {
            space.forget();
        }
        let applied = result.inspect_err(|error| self.after_failure(error))?;
        self.publish(&mut writer);
        Ok(applied)
    }

    fn index_room(&self) -> u64 {
        self.config.index_bytes_max
    }

    fn check_space(&self, rows: u64, bytes: u64) -> Result<()> {
        if self.shared.is_poisoned() {
            return Err(self.shared.poisoned_error());
        }
        self.space
            .as_ref()
            .map_or(Ok(()), |space| space.check(rows, bytes))
    }

    fn after_failure(&self, error: &crate::Error) {
        // After damage or a panic nobody knows what redb holds in memory: reopening verifies.
        if matches!(
            error,
            crate::Error::Damaged { .. } | crate::Error::Io { .. }
        ) {
            self.shared.set_poisoned(true);
        }
        tracing::error!(%error, "write failed");
    }

    /// Shows readers what was committed. The commit stands even if it cannot be read back.
    fn publish(&self, writer: &mut Writer) {
        let txn = self.shared.guard(|| writer.begin_read(&self.shared));
        let txn = txn.inspect_err(|error| self.after_failure(error)).ok();
        self.current
            .store(Arc::new(writer.snapshot(&self.shared, txn)));
    }

    /// Shows readers the same commit with other indexes.
    pub(crate) fn republish(&self, writer: &Writer) {
        let txn = self.current.load().shared_txn();
        self.current
            .store(Arc::new(writer.snapshot(&self.shared, txn)));
    }

    // === figures ===

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
                retired: table.retired,
                rows: view.stats.rows,
                index: view.state,
                index_bytes: view.index.as_ref().map_or(0, |index| index.bytes()),
                newest_event_time: (view.stats.rows > 0).then_some(EventTime(view.stats.newest)),
                digest: view.stats.digest,
            })
            .collect();
        let waits = |table: &TableStats| !table.retired && table.index == IndexState::Pending;
        StoreStats {
            path: self.shared.path.clone(),
            file_bytes: std::fs::metadata(&self.shared.path).map_or(0, |meta| meta.len()),
            free_bytes: self.space.as_ref().and_then(Space::free),
            commit: snapshot.commit(),
            commits: self.shared.commits.load(Ordering::Relaxed),
            queued: snapshot.queued(),
            index_ready: !tables.iter().any(waits),
            healthy: !self.shared.is_poisoned(),
            tables,
        }
    }
}

// === impl Writer ===

impl Slot {
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
    fn load(shared: &Shared, database: Database) -> Result<(Self, Arc<ReadTransaction>)> {
        shared.guard(|| {
            let txn = database
                .begin_read()
                .map_err(shared.fail("begin to read"))?;
            let meta = read_meta(shared, &txn)?;
            let (catalog, totals) = Catalog::load(shared, &txn)?;
            let slots = totals
                .into_iter()
                .map(|(id, stats)| (id, Slot::new(stats)))
                .collect();
            let catalog = Arc::new(catalog);
            let writer = Self {
                database: Some(database),
                meta,
                catalog,
                slots,
            };
            Ok((writer, Arc::new(txn)))
        })
    }

    fn database(&self, shared: &Shared) -> Result<&Database> {
        self.database
            .as_ref()
            .ok_or_else(|| shared.poisoned_error())
    }

    fn begin_read(&self, shared: &Shared) -> Result<Arc<ReadTransaction>> {
        let txn = self
            .database(shared)?
            .begin_read()
            .map_err(shared.fail("begin to read"))?;
        Ok(Arc::new(txn))
    }

    fn snapshot(&self, shared: &Arc<Shared>, txn: Option<Arc<ReadTransaction>>) -> Snapshot {
        let at = (CommitSeq(self.meta.commit), self.meta.queued);
        let mut snapshot = Snapshot::new(Arc::clone(shared), Arc::clone(&self.catalog), txn, at);
        for (table, slot) in &self.slots {
            snapshot.put(
                *table,
                View::new(slot.stats, slot.index.clone(), slot.state),
            );
        }
        snapshot
    }

    fn install(&mut self, shared: &Shared, specs: &[TableSpec<'_>]) -> Result<()> {
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
        Transaction {
            shared,
            catalog: &self.catalog,
            txn,
        }
        .commit(&meta)?;
        shared.commits.fetch_add(1, Ordering::Relaxed);
        for table in catalog.tables.values() {
            let slot = self
                .slots
                .entry(table.id)
                .or_insert_with(|| Slot::new(EMPTY));
            if table.retired {
                slot.index = None;
                slot.log = None;
                slot.state = IndexState::Pending;
            }
        }
        self.catalog = Arc::new(catalog);
        self.meta = meta;
        Ok(())
    }

    fn nothing(&self, group: &Group<'_>) -> Applied {
        Applied {
            commit: CommitSeq(self.meta.commit),
            outcomes: vec![crate::Outcome::default(); group.writes.len()],
            tickets: Vec::new(),
            drained: 0,
            queued: self.meta.queued,
        }
    }

    fn apply(&mut self, shared: &Shared, group: &Group<'_>, index_max: u64) -> Result<Applied> {
        let txn = self
            .database(shared)?
            .begin_write()
            .map_err(shared.fail("begin to write"))?;
        let catalog = Arc::clone(&self.catalog);
        let transaction = Transaction {
            shared,
            catalog: &catalog,
            txn,
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
        writes.extend(group.writes.iter().map(crate::Write::parts));
        let totals = self
            .slots
            .iter()
            .map(|(id, slot)| (*id, slot.stats))
            .collect();
        let draft = transaction.apply(&writes, taken.len(), (self.meta, &totals))?;
        let mut meta = draft.meta;
        meta.commit += 1;
        meta.queued = meta.queued.saturating_sub(taken.len() as u64);
        let drained: Vec<u64> = taken.iter().map(|(ticket, _)| *ticket).collect();
        transaction.record(&drained, &draft.outcomes)?;
        let tickets = transaction.enqueue(group.enqueue, &mut meta)?;
        transaction.commit(&meta)?;
        shared.commits.fetch_add(1, Ordering::Relaxed);
        self.meta = meta;
        self.absorb(shared, &draft, index_max);
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

    /// Takes a committed draft into the totals, the indexes and the logs of indexes being built.
    fn absorb(&mut self, shared: &Shared, draft: &Draft<'_>, index_max: u64) {
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
    fn is_idle(&self, queued: u64) -> bool {
        let empty = |write: &crate::Write| write.rows() == 0 && write.watermark.is_none();
        self.enqueue.is_empty()
            && (self.drain_max == 0 || queued == 0)
            && self.writes.iter().all(empty)
    }
}

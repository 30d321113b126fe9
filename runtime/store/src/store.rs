//! The store: one writer behind a lock, readers on snapshots.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use redb::StorageBackend;

use crate::batch::{Applied, Group};
use crate::catalog::{Installed, Table, TableSpec};
use crate::open::{BackendOpener, FileOpener, OpenProgress, Opener};
use crate::shared::Shared;
use crate::snapshot::{IndexState, Snapshot};
use crate::space::Space;
use crate::writer::Writer;
use crate::{Error, Result, StoreConfig, Write};

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

    pub(crate) fn with(
        opener: Box<dyn Opener>,
        path: PathBuf,
        (config, space): (StoreConfig, Option<Space>),
        progress: &mut dyn FnMut(OpenProgress),
    ) -> Result<Self> {
        let shared = Arc::new(Shared::new(path));
        let (writer, txn) = Writer::open(&*opener, &shared, progress)?;
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
        if !self.shared.is_poisoned() && writer.is_open() {
            return Ok(());
        }
        self.shared.poison();
        self.current
            .store(Arc::new(writer.snapshot(&self.shared, None)));
        // Closes the file, whatever readers of older snapshots still do.
        writer.close();
        let (mut fresh, txn) = Writer::open(&*self.opener, &self.shared, &mut |_| {})?;
        fresh.take_indexes(&mut writer);
        *writer = fresh;
        self.shared.reopened();
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

    /// As [`Store::load`], for a snapshot that is held longer or crosses threads.
    #[must_use]
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
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
            self.transact(&mut writer, |writer| writer.install(&self.shared, tables))?;
        }
        let found = tables
            .iter()
            .filter_map(|spec| writer.catalog.find(spec.name));
        Ok(found.map(Table::installed).collect())
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
        if group.is_idle(writer.queued()) {
            return Ok(writer.nothing(group));
        }
        let all = || group.writes.iter().chain(group.enqueue);
        let rows: usize = all().map(Write::rows).sum();
        let bytes = all().map(Write::bytes).sum::<usize>() as u64;
        // What only looks after the outbox may go on on a full disk: it is what makes room.
        if !all().all(Write::is_relief) || group.drain_max > 0 && writer.queued() > 0 {
            self.check_space(rows as u64, bytes)?;
        } else if self.shared.is_poisoned() {
            return Err(self.shared.poisoned_error());
        }
        let applied = self.transact(&mut writer, |writer| {
            writer.apply(&self.shared, group, &self.config)
        });
        if bytes >= COMMIT_BYTES_LARGE
            && let Some(space) = &self.space
        {
            space.forget();
        }
        applied
    }

    pub(crate) fn check_space(&self, rows: u64, bytes: u64) -> Result<()> {
        if self.shared.is_poisoned() {
            return Err(self.shared.poisoned_error());
        }
        self.space
            .as_ref()
            .map_or(Ok(()), |space| space.check(rows, bytes))
    }

    pub(crate) fn free_bytes(&self) -> Option<u64> {
        self.space.as_ref().and_then(Space::free)
    }

    /// Runs one write transaction and shows readers what it left.
    pub(crate) fn transact<T>(
        &self,
        writer: &mut Writer,
        body: impl FnOnce(&mut Writer) -> Result<T>,
    ) -> Result<T> {
        let result = self.shared.guard(|| body(writer));
        match &result {
            Ok(_) => self.publish(writer),
            Err(Error::Damaged { .. }) => {
                writer.suspect();
                self.shared.poison();
            }
            Err(Error::Io { .. } | Error::Poisoned { .. }) => self.shared.poison(),
            Err(_) => {}
        }
        result
    }

    /// Shows readers what was committed. The commit stands even if it cannot be read back.
    fn publish(&self, writer: &Writer) {
        let txn = self.shared.guard(|| writer.begin_read(&self.shared));
        if let Err(error) = &txn {
            self.shared.poison();
            tracing::error!(%error, "a commit stands but cannot be read back, reopening is due");
        }
        self.current
            .store(Arc::new(writer.snapshot(&self.shared, txn.ok())));
    }

    /// Shows readers the same commit with other indexes.
    pub(crate) fn republish(&self, writer: &Writer) {
        let txn = self.current.load().shared_txn();
        self.current
            .store(Arc::new(writer.snapshot(&self.shared, txn)));
    }
}

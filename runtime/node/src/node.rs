//! The node itself.

mod logs;
mod outbox;
mod release;
mod report;
mod work;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use arc_swap::ArcSwapOption;
use galley_registry::{Registry, StoredView};
use galley_store::{Installed, Store, TableId, TableSpec, TicketState, Write};
use galley_types::{Clock, EventTime, KeyType};
use tracing::{info, warn};

use crate::compute::Patience;
use crate::freshness::Sources;
use crate::generation::{Generation, Table};
use crate::get::Setting;
use crate::jobs::Jobs;
use crate::logs::Logs;
use crate::outbox::Sending;
pub use release::{Filling, ReleaseInstall, ReleaseReceipt};

use crate::writer::{Writer, chain};
use crate::{
    Answer, Error, GetRequest, Importer, Materializer, NodeConfig, Pending, PushRequest, Readiness,
    Result, Schedules, Sink, TransformOffer, WriteMode, WriteReceipt, WriteRequest, get, push,
};

/// Releases that may come while one request looks for what it runs on.
const RELEASES_MET_MAX: usize = 64;

/// A node: one store, one registry at a time, many readers and one writer.
#[derive(Debug)]
pub struct Node {
    pub(crate) store: Arc<Store>,
    pub(crate) config: NodeConfig,
    clock: Arc<dyn Clock>,
    pub(crate) generation: ArcSwapOption<Generation>,
    installs: Mutex<Installs>,
    pub(crate) refused: Mutex<Option<String>>,
    transforms_refused: Mutex<Option<String>>,
    refusals: AtomicU64,
    index_started: AtomicBool,
    writer: Writer,
    jobs: Jobs,
    materializer: OnceLock<Arc<dyn Materializer>>,
    importer: OnceLock<Arc<dyn Importer>>,
    schedules: OnceLock<Arc<dyn Schedules>>,
    pub(crate) sources: Sources,
    sending: Sending,
    logs: OnceLock<Logs>,
    logs_thread: Mutex<Option<JoinHandle<()>>>,
    outbox_reserved: Arc<AtomicU64>,
}

/// What is installed: one change at a time.
#[derive(Debug, Default)]
struct Installs {
    /// When the registry was installed.
    registry_at: Option<EventTime>,
    transforms: Vec<TransformOffer>,
}

// === impl Node ===

impl Node {
    /// Puts a node on an open store and starts its writer.
    ///
    /// # Errors
    /// [`Error::Spawn`] when the writer's thread cannot be started.
    pub fn open(store: Store, config: NodeConfig, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        let store = Arc::new(store);
        let writer = Writer::start(Arc::clone(&store), &config)?;
        let node = Arc::new(Self {
            store,
            clock,
            generation: ArcSwapOption::empty(),
            installs: Mutex::default(),
            refused: Mutex::new(None),
            transforms_refused: Mutex::new(None),
            refusals: AtomicU64::new(0),
            index_started: AtomicBool::new(false),
            writer,
            jobs: Jobs::new(config.jobs_kept_max, config.idempotency_age_max),
            materializer: OnceLock::new(),
            importer: OnceLock::new(),
            schedules: OnceLock::new(),
            sources: Sources::default(),
            sending: Sending::default(),
            logs: OnceLock::new(),
            logs_thread: Mutex::default(),
            outbox_reserved: Arc::default(),
            config,
        });
        node.start_logs()?;
        Ok(node)
    }

    /// Makes `registry` the one that is served: its tables are made ready beside the running
    /// generation, then all requests that come after see it, and only it.
    ///
    /// # Errors
    /// [`Error::Store`] when tables cannot be made; the old generation goes on serving.
    pub fn install(&self, registry: Registry) -> Result<()> {
        let mut installs = self.installs.lock().unwrap_or_else(PoisonError::into_inner);
        for warning in registry.warnings() {
            warn!(%warning, "registry");
        }
        let number = self.swap(Arc::new(registry), &installs.transforms)?;
        installs.registry_at = Some(self.now());
        info!(generation = number, "registry installed");
        self.accepted();
        self.start_index();
        Ok(())
    }

    /// Makes `offers` the transformations of the on-demand feature views, in place of all there
    /// were. Each is checked against the view it is for; what does not fit is kept out of service
    /// for that view alone. Look-ups that run go on with those they began with.
    ///
    /// # Errors
    /// [`Error::Store`] when tables cannot be made; the old generation goes on serving.
    pub fn install_transforms(&self, offers: Vec<TransformOffer>) -> Result<()> {
        let mut installs = self.installs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registry) = self.registry() {
            let number = self.swap(registry, &offers)?;
            info!(
                generation = number,
                transforms = offers.len(),
                "transforms installed"
            );
        }
        installs.transforms = offers;
        Ok(())
    }

    /// Builds a generation beside the running one and puts it in its place.
    fn swap(&self, registry: Arc<Registry>, offers: &[TransformOffer]) -> Result<u64> {
        let named = self.named(&registry);
        let tables = assign(&registry, &self.store.install(&specs(&named))?);
        let number = self.next_number();
        let at = (number, self.store.load().release());
        let plans_max = self.config.plans_max;
        self.put(Generation::new(at, (registry, tables), offers, plans_max));
        Ok(number)
    }

    fn next_number(&self) -> u64 {
        let running = self.generation.load();
        running.as_ref().map_or(1, |running| running.number + 1)
    }

    /// Shows a generation to the requests that come. It knows the one before it for those who
    /// loaded the store before it: one step back is as far as they can need.
    fn put(&self, generation: Generation) {
        let before = self.generation.load_full();
        if let Some(before) = &before {
            before.before.store(None);
        }
        generation.before.store(before);
        self.generation.store(Some(Arc::new(generation)));
    }

    /// What was offered is installed.
    fn accepted(&self) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Remembers why a change of the transformations was not made; `None` takes it back.
    pub fn refuse_transforms(&self, reason: Option<String>) {
        if let Some(reason) = &reason {
            warn!(%reason, "transforms refused, those there are go on serving");
        }
        let refused = self.transforms_refused.lock();
        *refused.unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Gives back what transformations hold for calls that do not come. To be called now and then.
    pub fn release_idle(&self) {
        let installs = self.installs.lock().unwrap_or_else(PoisonError::into_inner);
        for transform in installs
            .transforms
            .iter()
            .filter_map(|offer| offer.transform.as_ref().ok())
        {
            transform.release_idle();
        }
    }

    /// Remembers why a registry that was offered was not installed.
    pub fn refuse(&self, reason: String) {
        warn!(%reason, "registry refused, the last good one goes on serving");
        self.refusals.fetch_add(1, Ordering::Relaxed);
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// Answers a look-up: `write` renders it from borrowed rows.
    ///
    /// Takes no lock and does no I/O while the views asked for are in the read index. A
    /// transformation may keep the calling thread for as long as its limits allow.
    ///
    /// # Errors
    /// [`Error::Registry`] for names that are unknown, [`Error::NotReady`] before the first
    /// install, the errors of bad entity columns, and those of transformations.
    pub fn get<R>(
        &self,
        request: &GetRequest<'_>,
        write: impl FnOnce(&Answer<'_>) -> R,
    ) -> Result<R> {
        self.look_up(request, Patience::Waits, write)
    }

    /// Answers a look-up as [`Node::get`] does, where the calling thread has others to serve.
    ///
    /// # Errors
    /// [`Error::WouldWait`] when it needs a transformation that may hold the thread up; all of
    /// [`Node::get`]'s.
    pub fn get_at_once<R>(
        &self,
        request: &GetRequest<'_>,
        write: impl FnOnce(&Answer<'_>) -> R,
    ) -> Result<R> {
        self.look_up(request, Patience::None, write)
    }

    fn look_up<R>(
        &self,
        request: &GetRequest<'_>,
        patience: Patience,
        write: impl FnOnce(&Answer<'_>) -> R,
    ) -> Result<R> {
        let setting = Setting {
            config: &self.config,
            now: self.now(),
            patience,
            logs: self.logs.get(),
        };
        for _ in 0..RELEASES_MET_MAX {
            // The snapshot first: a generation loaded later knows every table and schema in it.
            let snapshot = self.store.load();
            let generation = self.generation.load();
            let generation = generation.as_ref().ok_or(Error::NotReady)?;
            if generation.release == snapshot.release() {
                return get::run(generation, &snapshot, setting, request, write);
            }
            // A release is about to be seen, or came between the two loads.
            if let Some(before) = generation.before.load().as_ref()
                && before.release == snapshot.release()
            {
                return get::run(before, &snapshot, setting, request, write);
            }
        }
        Err(Error::NotReady)
    }

    /// Checks a push whole and hands it to the writer.
    ///
    /// # Errors
    /// What is wrong with the push, naming row, column, expected and got; [`Error::Busy`] when the
    /// queue is full. Nothing is written then.
    pub fn push(&self, request: &PushRequest<'_>) -> Result<Pending> {
        let generation = self.generation.load_full().ok_or(Error::NotReady)?;
        let write = push::plan_push(&generation, &self.config, self.clock.as_ref(), request)?;
        self.submit(write, request.mode)
    }

    /// Whether a write may have to be computed by a transformation, which may hold its thread up.
    #[must_use]
    pub fn computes_writes(&self) -> bool {
        let generation = self.generation.load();
        generation.as_ref().is_some_and(|it| it.computes_writes)
    }

    /// Checks rows for one view whole and hands them to the writer.
    ///
    /// # Errors
    /// As [`Node::push`].
    pub fn write(&self, request: &WriteRequest<'_>) -> Result<Pending> {
        let generation = self.generation.load_full().ok_or(Error::NotReady)?;
        let write = push::plan_write(&generation, &self.config, self.clock.as_ref(), request)?;
        self.submit(write, request.mode)
    }

    /// Commits rows that were encoded by a materialiser or an import, and waits.
    ///
    /// # Errors
    /// [`Error::Commit`], [`Error::Busy`] or [`Error::Closed`]; nothing is written then.
    pub fn commit(&self, write: Write) -> Result<WriteReceipt> {
        self.submit(write, WriteMode::Sync)?.wait_blocking()
    }

    fn submit(&self, write: Write, mode: WriteMode) -> Result<Pending> {
        if write.is_empty() && mode == WriteMode::Sync {
            return Ok(Pending::done(WriteReceipt::none()));
        }
        let reserved = self.reserve(&write)?;
        self.writer.submit((write, reserved), mode)
    }

    /// What became of an asynchronous write; `None` for a ticket never given or long forgotten.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be read.
    pub fn ticket(&self, id: u64) -> Result<Option<TicketState>> {
        Ok(self.store.load().ticket(id)?)
    }

    /// Where a view's rows go, for materialisers and imports; `None` for a view the registry does
    /// not have.
    ///
    /// # Errors
    /// [`Error::NotServable`] when it has no table.
    pub fn sink(&self, view: &str) -> Result<Option<Sink>> {
        let generation = self.generation.load_full().ok_or(Error::NotReady)?;
        let registry = &generation.registry;
        let Some(index) = registry.find_view(view) else {
            return Ok(None);
        };
        let Some(stored) = registry.view(index) else {
            return Ok(None);
        };
        let table = generation
            .table(index)
            .and_then(|table| Some((table.id?, table.schema)));
        match table {
            Some((table, schema)) => Ok(Some(Sink {
                view: stored.clone(),
                table,
                schema,
            })),
            None => Err(Error::NotServable {
                view: view.to_owned(),
                reason: match &stored.servable {
                    Err(reason) => reason.clone(),
                    Ok(()) => "it is not configured to be served online".to_owned(),
                },
            }),
        }
    }

    /// The registry that is served.
    #[must_use]
    pub fn registry(&self) -> Option<Arc<Registry>> {
        self.generation
            .load()
            .as_ref()
            .map(|generation| Arc::clone(&generation.registry))
    }

    /// Whether look-ups are answered.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if self.generation.load().is_none() {
            return Readiness::NotReady("no registry is installed yet".to_owned());
        }
        if !self.writer.alive() {
            return Readiness::NotReady("the writer has stopped".to_owned());
        }
        Readiness::Ready
    }

    /// The node's settings.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// The store, for tools that read or check it whole.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The node's time of day.
    #[must_use]
    pub fn now(&self) -> EventTime {
        self.clock.now()
    }

    /// Takes no more writes, cancels jobs, commits what waits and stops the writer.
    pub fn shutdown(&self) {
        for job in self.jobs.all() {
            job.cancel();
        }
        self.stop_logs();
        self.writer.stop();
    }

    /// Name and keys of the table of every view that may hold rows.
    fn named<'r>(&self, registry: &'r Registry) -> Vec<NamedTable<'r>> {
        let views = registry.views().iter().filter(|view| has_table(view));
        views
            .map(|view| {
                let keys = view.join_keys.iter().map(|key| key.key_type).collect();
                (table_name(registry.project(), &view.name), keys, view)
            })
            .collect()
    }

    /// Builds the read index in the background, once.
    fn start_index(&self) {
        if !self.index_started.swap(true, Ordering::Relaxed) {
            self.rebuild_index();
        }
    }

    /// Builds the read index of tables that have none in the background.
    fn rebuild_index(&self) {
        let store = Arc::clone(&self.store);
        let spawned = std::thread::Builder::new()
            .name("galley-index".to_owned())
            .spawn(move || match store.build_index() {
                Ok(()) => info!("read index ready"),
                Err(error) => {
                    warn!(error = %chain(&error), "read index not built, reading from the store");
                }
            });
        if let Err(error) = spawned {
            warn!(%error, "read index not built: its thread cannot be started");
        }
    }
}

/// Name, key types and view of a table.
type NamedTable<'r> = (String, Vec<KeyType>, &'r StoredView);

fn has_table(view: &StoredView) -> bool {
    view.online && view.servable.is_ok()
}

fn specs<'n>(named: &'n [NamedTable<'_>]) -> Vec<TableSpec<'n>> {
    named
        .iter()
        .map(|(name, keys, view)| TableSpec {
            name,
            keys,
            schema: &view.schema,
        })
        .collect()
}

/// The tables of a registry's views, of what was installed for those that may hold rows.
fn assign(registry: &Registry, installed: &[Installed]) -> Vec<Option<Table>> {
    let mut installed = installed.iter();
    let table = |view: &StoredView| {
        let made = has_table(view).then(|| installed.next()).flatten()?;
        Some(Table::new(made, &view.schema))
    };
    registry.views().iter().map(table).collect()
}

/// The name of a view's table: two projects never share one.
fn table_name(project: &str, view: &str) -> String {
    format!("{project}/{view}")
}

/// The name of a view's watermark. A view whose keys change starts again in a new table, and so does
/// its watermark.
fn watermark_name(project: &str, view: &str, table: TableId) -> String {
    format!("{}#{}", table_name(project, view), table.0)
}

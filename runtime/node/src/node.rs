//! The node itself.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwapOption;
use galley_registry::{Registry, StoredView, ViewKind};
use galley_store::{
    IndexState, RowBatch, Store, TableId, TableSpec, TableStats, TicketState, Write,
};
use galley_types::{Clock, EventTime, KeyType};
use tracing::{info, warn};

use crate::generation::{Generation, Table};
use crate::jobs::Jobs;
use crate::writer::{Writer, chain};
use crate::{
    Answer, Error, GetRequest, Importer, JobId, JobProgress, JobStatus, MaterializeError,
    MaterializeRequest, MaterializeTask, MaterializeView, Materializer, NodeConfig, NodeStatus,
    Pending, PushRequest, Readiness, Result, Sink, ViewStatus, WriteMode, WriteReceipt,
    WriteRequest, get, import, materialize, push,
};

/// A node: one store, one registry at a time, many readers and one writer.
#[derive(Debug)]
pub struct Node {
    store: Arc<Store>,
    config: NodeConfig,
    clock: Arc<dyn Clock>,
    generation: ArcSwapOption<Generation>,
    /// Serialises installs, and remembers the last.
    installs: Mutex<Option<EventTime>>,
    refused: Mutex<Option<String>>,
    refusals: AtomicU64,
    index_started: AtomicBool,
    writer: Writer,
    jobs: Jobs,
    materializer: OnceLock<Arc<dyn Materializer>>,
    importer: OnceLock<Arc<dyn Importer>>,
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
        Ok(Arc::new(Self {
            store,
            clock,
            generation: ArcSwapOption::empty(),
            installs: Mutex::new(None),
            refused: Mutex::new(None),
            refusals: AtomicU64::new(0),
            index_started: AtomicBool::new(false),
            writer,
            jobs: Jobs::new(config.jobs_kept_max),
            materializer: OnceLock::new(),
            importer: OnceLock::new(),
            config,
        }))
    }

    /// Makes `registry` the one that is served: its tables are made ready beside the running
    /// generation, then all requests that come after see it, and only it.
    ///
    /// # Errors
    /// [`Error::Store`] when tables cannot be made; the old generation goes on serving.
    pub fn install(&self, registry: Registry) -> Result<()> {
        let mut installs = self.installs.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = Arc::new(registry);
        let tables = self.tables(&registry)?;
        let number = self
            .generation
            .load()
            .as_ref()
            .map_or(1, |running| running.number + 1);
        for warning in registry.warnings() {
            warn!(%warning, "registry");
        }
        info!(
            generation = number,
            project = registry.project(),
            version = registry.version_id(),
            views = registry.views().len(),
            "registry installed"
        );
        let generation = Generation::new(number, registry, tables, self.config.plans_max);
        self.generation.store(Some(Arc::new(generation)));
        *installs = Some(self.now());
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.start_index();
        Ok(())
    }

    /// Remembers why a registry that was offered was not installed.
    pub fn refuse(&self, reason: String) {
        warn!(%reason, "registry refused, the last good one goes on serving");
        self.refusals.fetch_add(1, Ordering::Relaxed);
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// Answers a look-up: `write` renders it from borrowed rows.
    ///
    /// Takes no lock and does no I/O while the views asked for are in the read index.
    ///
    /// # Errors
    /// [`Error::Registry`] for names that are unknown, [`Error::NotReady`] before the first
    /// install, and the errors of bad entity columns.
    pub fn get<R>(
        &self,
        request: &GetRequest<'_>,
        write: impl FnOnce(&Answer<'_>) -> R,
    ) -> Result<R> {
        // The snapshot first: a generation loaded later knows every table and schema in it.
        let snapshot = self.store.load();
        let generation = self.generation.load();
        let generation = generation.as_ref().ok_or(Error::NotReady)?;
        get::run(
            generation,
            &snapshot,
            (&self.config, self.now()),
            request,
            write,
        )
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
        let empty = write.batches.iter().all(RowBatch::is_empty) && write.watermark.is_none();
        if empty && mode == WriteMode::Sync {
            return Ok(Pending::done(WriteReceipt::none()));
        }
        self.writer.submit(write, mode)
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

    /// Gives the node what reads views' sources; the first one given stays.
    pub fn set_materializer(&self, materializer: Arc<dyn Materializer>) {
        if self.materializer.set(materializer).is_err() {
            warn!("a materialiser is set already, the new one is ignored");
        }
    }

    /// Gives the node what reads files to import; the first one given stays.
    pub fn set_importer(&self, importer: Arc<dyn Importer>) {
        if self.importer.set(importer).is_err() {
            warn!("an importer is set already, the new one is ignored");
        }
    }

    /// Starts an import of a file in the node's folder for imports on its own thread.
    ///
    /// # Errors
    /// [`Error::ImportName`], [`Error::Busy`], [`Error::NotReady`].
    pub fn import(self: &Arc<Self>, file: &str) -> Result<JobId> {
        let importer = Arc::clone(self.importer.get().ok_or(Error::NotReady)?);
        import::check_name(file)?;
        let limit = self.config.jobs_running_max;
        let described = ("import", Vec::new(), self.now());
        let job = self
            .jobs
            .start(described, |running| room_for_job(running.count(), limit))?;
        let (node, file) = (Arc::clone(self), file.to_owned());
        self.spawn_job(&job, move |job| importer.run(&node, &file, job))
    }

    /// Runs a job on its own thread and records how it ended.
    fn spawn_job(
        self: &Arc<Self>,
        job: &Arc<JobProgress>,
        work: impl FnOnce(&JobProgress) -> Result<(), MaterializeError> + Send + 'static,
    ) -> Result<JobId> {
        let (node, for_thread) = (Arc::clone(self), Arc::clone(job));
        std::thread::Builder::new()
            .name(format!("galley-job-{}", job.id().0))
            .spawn(move || materialize::run(&node, &for_thread, work))
            .map_err(|source| {
                let kind = galley_types::ErrorKind::Internal;
                job.finish(Some((kind, source.to_string())), self.now());
                Error::Spawn {
                    what: "a job's thread",
                    source,
                }
            })?;
        Ok(job.id())
    }

    /// Starts a materialisation on its own thread.
    ///
    /// # Errors
    /// [`Error::Registry`] for views that are unknown or cannot be materialised,
    /// [`Error::Window`], [`Error::AlreadyRunning`] unless forced, [`Error::Busy`].
    pub fn materialize(self: &Arc<Self>, request: &MaterializeRequest) -> Result<JobId> {
        let materializer = self.materializer.get().ok_or(Error::NotReady)?;
        let materializer = Arc::clone(materializer);
        let task = self.task(request)?;
        let names: Vec<String> = task.views.iter().map(|view| view.name.clone()).collect();
        let limit = self.config.jobs_running_max;
        let described = ("materialize", names.clone(), self.now());
        let job = self.jobs.start(described, |running| {
            let mut count = 0_usize;
            let mut clash: Vec<String> = Vec::new();
            for job in running {
                count += 1;
                clash.extend(
                    job.views()
                        .iter()
                        .filter(|view| names.contains(view))
                        .cloned(),
                );
            }
            if !clash.is_empty() && !request.force {
                return Err(Error::AlreadyRunning { views: clash });
            }
            room_for_job(count, limit)
        })?;
        self.spawn_job(&job, move |job| materializer.run(&task, job))
    }

    fn task(self: &Arc<Self>, request: &MaterializeRequest) -> Result<MaterializeTask> {
        let generation = self.generation.load_full().ok_or(Error::NotReady)?;
        let registry = Arc::clone(&generation.registry);
        let now = self.now();
        let snapshot = self.store.load();
        let mut views = Vec::new();
        for index in registry.plan_materialize(request.views.as_deref())? {
            let Some(view) = registry.view(index) else {
                continue;
            };
            let Some(table) = generation.table(index).and_then(|table| table.id) else {
                return Err(Error::NotServable {
                    view: view.name.clone(),
                    reason: "it has no table".to_owned(),
                });
            };
            let mark = watermark_name(registry.project(), &view.name, table);
            let (start, end) = request.window(view, snapshot.watermark(&mark)?, now)?;
            let watermark = (mark, end.min(now));
            views.push(MaterializeView {
                index,
                name: view.name.clone(),
                start,
                end,
                watermark,
            });
        }
        Ok(MaterializeTask {
            node: Arc::clone(self),
            registry,
            views,
        })
    }

    /// The jobs under way and the last that ended, oldest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobStatus> {
        self.jobs.all().iter().map(|job| job.status()).collect()
    }

    /// One job; `None` when it is unknown or forgotten.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<JobStatus> {
        self.jobs.find(id).map(|job| job.status())
    }

    /// Waits for a job's end; `None` when it is unknown or forgotten.
    pub fn job_done(&self, id: JobId) -> impl Future<Output = Option<JobStatus>> + Send + 'static {
        let job = self.jobs.find(id);
        async move {
            let job = job?;
            job.subscribe().wait().await;
            Some(job.status())
        }
    }

    /// Asks a job to stop; `false` when it has ended or is unknown.
    #[must_use]
    pub fn cancel_job(&self, id: JobId) -> bool {
        self.jobs.find(id).is_some_and(|job| job.cancel())
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

    /// The node's state.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let store = self.store.stats();
        let snapshot = self.store.load();
        let generation = self.generation.load_full();
        let registry = generation.as_ref().map(|generation| &generation.registry);
        let view = |view: &StoredView| {
            let project = registry.map_or("", |registry| registry.project());
            let name = table_name(project, &view.name);
            let table = store
                .tables
                .iter()
                .find(|table| table.name == name && !table.retired);
            let mark = table.map(|table| watermark_name(project, &view.name, table.table));
            let watermark = mark.and_then(|mark| snapshot.watermark(&mark).ok()?);
            view_status(view, table, watermark)
        };
        let on_demand = |registry: &Arc<Registry>| {
            registry
                .on_demand_views()
                .iter()
                .map(|view| view.name.clone())
                .collect()
        };
        let services = |registry: &Arc<Registry>| {
            registry
                .services()
                .iter()
                .map(|service| service.name.clone())
                .collect()
        };
        let sources = |registry: &Arc<Registry>| {
            registry
                .push_sources()
                .iter()
                .map(|source| source.name.clone())
                .collect()
        };
        NodeStatus {
            readiness: self.readiness(),
            now: self.now(),
            project: registry.map(|registry| registry.project().to_owned()),
            generation: generation
                .as_ref()
                .map_or(0, |generation| generation.number),
            installed: *self.installs.lock().unwrap_or_else(PoisonError::into_inner),
            registry_version: registry.map(|registry| registry.version_id().to_owned()),
            registry_updated: registry.and_then(|registry| registry.last_updated()),
            registry_warnings: registry
                .map(|it| it.warnings().to_vec())
                .unwrap_or_default(),
            registry_refused: self
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            registry_refusals: self.refusals.load(Ordering::Relaxed),
            views: registry
                .map(|it| it.views().iter().map(view).collect())
                .unwrap_or_default(),
            transforms_missing: registry.map(on_demand).unwrap_or_default(),
            services: registry.map(services).unwrap_or_default(),
            push_sources: registry.map(sources).unwrap_or_default(),
            jobs: self.jobs(),
            python_quirks: self.config.python_quirks,
            store,
        }
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
        self.writer.stop();
    }

    /// Tables for every view that may hold rows, made by one transaction.
    fn tables(&self, registry: &Registry) -> Result<Vec<Option<Table>>> {
        let held = |view: &StoredView| view.online && view.servable.is_ok();
        let named: Vec<(String, Vec<KeyType>, &StoredView)> = registry
            .views()
            .iter()
            .filter(|view| held(view))
            .map(|view| {
                let keys = view.join_keys.iter().map(|key| key.key_type).collect();
                (table_name(registry.project(), &view.name), keys, view)
            })
            .collect();
        let specs: Vec<TableSpec<'_>> = named
            .iter()
            .map(|(name, keys, view)| TableSpec {
                name,
                keys,
                schema: &view.schema,
            })
            .collect();
        let mut installed = self.store.install(&specs)?.into_iter();
        Ok(registry
            .views()
            .iter()
            .map(|view| {
                let made = held(view).then(|| installed.next()).flatten()?;
                Some(Table::new(&made, &view.schema))
            })
            .collect())
    }

    /// Builds the read index in the background, once.
    fn start_index(&self) {
        if self.index_started.swap(true, Ordering::Relaxed) {
            return;
        }
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

/// Refuses one more job where `limit` run already.
fn room_for_job(running: usize, limit: usize) -> Result<()> {
    if running < limit {
        return Ok(());
    }
    let (what, setting) = ("the table of running jobs", "limits.jobs_running_max");
    Err(Error::Busy {
        what,
        limit: limit as u64,
        setting,
    })
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

fn view_status(
    view: &StoredView,
    table: Option<&TableStats>,
    watermark: Option<EventTime>,
) -> ViewStatus {
    ViewStatus {
        name: view.name.clone(),
        kind: match view.kind {
            ViewKind::Batch => "batch",
            ViewKind::Stream => "stream",
            ViewKind::Label => "label",
            ViewKind::OnDemand => "on_demand",
        },
        online: view.online,
        enabled: view.enabled,
        problem: view.servable.clone().err(),
        rows: table.map_or(0, |table| table.rows),
        indexed: table.is_some_and(|table| table.index == IndexState::Ready),
        ttl: view.ttl,
        newest_event_time: table.and_then(|table| table.newest_event_time),
        watermark,
        push_source: view.push_source.clone(),
    }
}

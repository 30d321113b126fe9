//! What a node does beside serving: materialisations and imports, as jobs.

use std::future::Future;
use std::sync::Arc;

use galley_types::ErrorKind;
use tracing::warn;

use super::{Node, watermark_name};
use crate::jobs::{Opened, Opening};
use crate::{
    Error, Importer, JobId, JobLog, JobOrigin, JobProgress, JobRecord, JobStatus, MaterializeError,
    MaterializeRequest, MaterializeTask, MaterializeView, Materializer, Result, ScheduleStatus,
    Schedules, import, materialize,
};

impl Node {
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

    /// Gives the node the schedules it is to show; the first ones given stay.
    pub fn set_schedules(&self, schedules: Arc<dyn Schedules>) {
        if self.schedules.set(schedules).is_err() {
            warn!("schedules are set already, the new ones are not shown");
        }
    }

    /// The schedules that start jobs of this node.
    #[must_use]
    pub fn schedules(&self) -> Vec<ScheduleStatus> {
        let schedules = self.schedules.get();
        schedules.map(|it| it.status()).unwrap_or_default()
    }

    /// Shows the jobs of earlier runs, oldest first, and notes in `log` whatever becomes of those to
    /// come; the first log given stays.
    pub fn keep_jobs(&self, log: Arc<dyn JobLog>, past: Vec<JobRecord>) {
        if !self.jobs.keep(log, past) {
            warn!("jobs are kept already, the new log is ignored");
        }
    }

    /// Starts an import of a file in the node's folder for imports on its own thread; a request that
    /// is repeated with its key leads to the job it started before.
    ///
    /// # Errors
    /// [`Error::ImportName`], [`Error::Busy`], [`Error::NotReady`], [`Error::KeyReused`].
    pub fn import(self: &Arc<Self>, file: &str, origin: JobOrigin) -> Result<JobId> {
        let importer = Arc::clone(self.importer.get().ok_or(Error::NotReady)?);
        import::check_name(file)?;
        let (node, file) = (Arc::clone(self), file.to_owned());
        self.run_job("import", origin, move |job| importer.run(&node, &file, job))
    }

    /// Runs `work` as a job on its own thread, beside whatever other jobs do; a request that is
    /// repeated with its key leads to the job it started before.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::KeyReused`], [`Error::Spawn`].
    pub fn run_job(
        self: &Arc<Self>,
        kind: &'static str,
        origin: JobOrigin,
        work: impl FnOnce(&JobProgress) -> Result<(), MaterializeError> + Send + 'static,
    ) -> Result<JobId> {
        let limit = self.config.jobs_running_max;
        let opening = Opening {
            kind,
            views: Vec::new(),
            origin,
            now: self.now(),
        };
        let opened = self
            .jobs
            .start(opening, |running| room_for_job(running.count(), limit))?;
        self.begin(opened, work)
    }

    /// Runs a job that is new on its own thread and records how it ended.
    fn begin(
        self: &Arc<Self>,
        opened: Opened,
        work: impl FnOnce(&JobProgress) -> Result<(), MaterializeError> + Send + 'static,
    ) -> Result<JobId> {
        let job = match opened {
            Opened::New(job) => job,
            Opened::Before(id) => return Ok(id),
        };
        let (node, for_thread) = (Arc::clone(self), Arc::clone(&job));
        std::thread::Builder::new()
            .name(format!("galley-job-{}", job.id().0))
            .spawn(move || materialize::run(&node, &for_thread, work))
            .map_err(|source| {
                let kind = ErrorKind::Internal;
                self.end_job(&job, Some((kind, source.to_string())));
                Error::Spawn {
                    what: "a job's thread",
                    source,
                }
            })?;
        Ok(job.id())
    }

    /// Records how a job ended.
    pub(crate) fn end_job(&self, job: &JobProgress, error: Option<(ErrorKind, String)>) {
        self.jobs.finish(job, error, self.now());
    }

    /// Starts a materialisation on its own thread; a request that is repeated with its key leads to
    /// the job it started before.
    ///
    /// # Errors
    /// [`Error::Registry`] for views that are unknown or cannot be materialised,
    /// [`Error::Window`], [`Error::AlreadyRunning`] unless forced, [`Error::Busy`],
    /// [`Error::KeyReused`].
    pub fn materialize(self: &Arc<Self>, request: &MaterializeRequest) -> Result<JobId> {
        let materializer = self.materializer.get().ok_or(Error::NotReady)?;
        let materializer = Arc::clone(materializer);
        // Looked up before the views are: those may be gone when the request is repeated.
        if let Some(key) = &request.origin.idempotency
            && let Some(before) = self.jobs.repeated(key, self.now())?
        {
            return Ok(before);
        }
        let task = self.task(request)?;
        let names: Vec<String> = task.views.iter().map(|view| view.name.clone()).collect();
        let limit = self.config.jobs_running_max;
        let opening = Opening {
            kind: "materialize",
            views: names.clone(),
            origin: request.origin.clone(),
            now: self.now(),
        };
        let opened = self.jobs.start(opening, |running| {
            let mut count = 0_usize;
            let mut first = None;
            let mut clash: Vec<String> = Vec::new();
            for job in running {
                count += 1;
                let shared = job.views().iter().filter(|view| names.contains(view));
                let before = clash.len();
                clash.extend(shared.cloned());
                if clash.len() > before {
                    first.get_or_insert(job.id());
                }
            }
            if let Some(job) = first.filter(|_| !request.force) {
                return Err(Error::AlreadyRunning { views: clash, job });
            }
            room_for_job(count, limit)
        })?;
        self.begin(opened, move |job| materializer.run(&task, job))
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

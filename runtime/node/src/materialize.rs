//! Materialisation: which views, which window, and the job that runs it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use galley_registry::{Registry, StoredView, ViewIndex};
use galley_store::{SchemaId, TableId};
use galley_types::{ErrorKind, EventTime};

use crate::{Error, JobOrigin, JobProgress, Node, Result};

/// How far back an incremental run goes for a view without a time to live: Feast's 52 weeks.
const LOOK_BACK: Duration = Duration::from_hours(24 * 7 * 52);

/// What is to be materialised.
#[derive(Clone, Debug, Default)]
pub struct MaterializeRequest {
    /// Start of the window, inclusive; needed unless incremental or `disable_event_timestamp`.
    pub start: Option<EventTime>,
    /// End of the window, inclusive; needed unless `disable_event_timestamp`.
    pub end: Option<EventTime>,
    /// The views; `None` is every view that can be.
    pub views: Option<Vec<String>>,
    /// Start each view where its last run ended.
    pub incremental: bool,
    /// Take all rows up to now.
    pub disable_event_timestamp: bool,
    /// Start although one of the views is being materialised.
    pub force: bool,
    /// What asks for it.
    pub origin: JobOrigin,
}

/// One view of a task.
#[derive(Clone, Debug)]
pub struct MaterializeView {
    /// The view.
    pub index: ViewIndex,
    /// Its name.
    pub name: String,
    /// Start of its window, inclusive; `None` is the beginning of time.
    pub start: Option<EventTime>,
    /// End of its window, inclusive.
    pub end: EventTime,
    /// The watermark to commit with the last rows: its name, and the window's end but never a time
    /// past now, so that an end in the future hides nothing from the next incremental run.
    pub watermark: (String, EventTime),
}

/// What a [`Materializer`] is given.
#[derive(Clone, Debug)]
pub struct MaterializeTask {
    /// The node that takes the rows.
    pub node: Arc<Node>,
    /// The registry the windows were computed with.
    pub registry: Arc<Registry>,
    /// The views in order.
    pub views: Vec<MaterializeView>,
}

/// Why a materialisation failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct MaterializeError {
    /// Its kind.
    pub kind: ErrorKind,
    /// What went wrong, with path, place and way out.
    pub message: String,
}

/// Reads views' sources and commits their rows.
pub trait Materializer: Send + Sync + std::fmt::Debug {
    /// Runs a task to its end on the calling thread.
    ///
    /// # Errors
    /// The first failure; what was committed before it stays, the failed view's watermark does not
    /// move.
    fn run(&self, task: &MaterializeTask, job: &JobProgress) -> Result<(), MaterializeError>;
}

/// Where a view's rows go.
#[derive(Clone, Debug)]
pub struct Sink {
    /// The view.
    pub view: StoredView,
    /// Its table.
    pub table: TableId,
    /// The schema its rows are written with.
    pub schema: SchemaId,
}

impl MaterializeRequest {
    /// The window of one view.
    pub(crate) fn window(
        &self,
        view: &StoredView,
        watermark: Option<EventTime>,
        now: EventTime,
    ) -> Result<(Option<EventTime>, EventTime)> {
        if self.disable_event_timestamp {
            return Ok((None, now));
        }
        let Some(end) = self.end else {
            return Err(Error::Window(if self.incremental {
                "end_ts is required".to_owned()
            } else {
                "start_ts and end_ts are required when disable_event_timestamp is False".to_owned()
            }));
        };
        if self.incremental {
            let back = view.ttl.unwrap_or(LOOK_BACK);
            let back = i64::try_from(back.as_micros()).unwrap_or(i64::MAX);
            let start = watermark.unwrap_or(EventTime(now.0.saturating_sub(back)));
            return Ok((Some(start), end));
        }
        let Some(start) = self.start else {
            return Err(Error::Window(
                "start_ts and end_ts are required when disable_event_timestamp is False".to_owned(),
            ));
        };
        if start > end {
            return Err(Error::Window(format!(
                "start_ts ({start}) must be before end_ts ({end})"
            )));
        }
        Ok((Some(start), end))
    }
}

/// Runs a job's work and records how it ended.
pub(crate) fn run(
    node: &Node,
    job: &JobProgress,
    work: impl FnOnce(&JobProgress) -> Result<(), MaterializeError>,
) {
    let error = match std::panic::catch_unwind(AssertUnwindSafe(|| work(job))) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some((error.kind, error.message)),
        Err(_) => Some((
            ErrorKind::Internal,
            "the job panicked; the log has the place".to_owned(),
        )),
    };
    match &error {
        None => tracing::info!(job = job.id().0, "job succeeded"),
        Some((_, message)) => tracing::warn!(job = job.id().0, error = %message, "job failed"),
    }
    node.end_job(job, error);
}

//! Jobs: materialisations under way and the last ones that ended.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use galley_types::{ErrorKind, EventTime};
use tokio::sync::watch;

/// Names a job of this process; numbers start again with the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It runs.
    Running,
    /// It ended well.
    Succeeded,
    /// It ended with an error; what it had committed stays.
    Failed,
    /// It was cancelled; what it had committed stays.
    Cancelled,
}

/// A job as it is shown.
#[derive(Clone, Debug)]
pub struct JobStatus {
    /// Its number.
    pub id: JobId,
    /// What kind of job it is.
    pub kind: &'static str,
    /// Where it stands.
    pub state: JobState,
    /// The views it works on.
    pub views: Vec<String>,
    /// The view it is at.
    pub current_view: Option<String>,
    /// Rows read from sources.
    pub rows_read: u64,
    /// Rows stored.
    pub rows_written: u64,
    /// Rows there are to read, where that is known.
    pub rows_total: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
    /// The kind of that error.
    pub error_kind: Option<ErrorKind>,
    /// When it started.
    pub started: EventTime,
    /// When it ended.
    pub finished: Option<EventTime>,
}

/// A job's own handle: counts its progress and learns whether to stop.
#[derive(Debug)]
pub struct JobProgress {
    id: JobId,
    kind: &'static str,
    views: Vec<String>,
    started: EventTime,
    rows_read: AtomicU64,
    rows_written: AtomicU64,
    rows_total: AtomicU64,
    cancelled: AtomicBool,
    current_view: Mutex<Option<String>>,
    end: watch::Sender<Option<End>>,
}

#[derive(Clone, Debug)]
struct End {
    state: JobState,
    error: Option<(ErrorKind, String)>,
    finished: EventTime,
}

/// The job table.
#[derive(Debug)]
pub(crate) struct Jobs {
    next: AtomicU64,
    kept_max: usize,
    jobs: Mutex<VecDeque<Arc<JobProgress>>>,
}

/// Stands for "not known" in `rows_total`.
const UNKNOWN: u64 = u64::MAX;

// === impl JobProgress ===

impl JobProgress {
    /// The job's number.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Says which view is worked on now.
    pub fn set_view(&self, name: &str) {
        *self
            .current_view
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(name.to_owned());
    }

    /// Counts rows read and rows stored.
    pub fn add_rows(&self, read: u64, written: u64) {
        self.rows_read.fetch_add(read, Ordering::Relaxed);
        self.rows_written.fetch_add(written, Ordering::Relaxed);
    }

    /// Adds to the rows there are to read.
    pub fn add_total(&self, rows: u64) {
        let known = self.rows_total.load(Ordering::Relaxed);
        let total = if known == UNKNOWN {
            rows
        } else {
            known.saturating_add(rows)
        };
        self.rows_total.store(total, Ordering::Relaxed);
    }

    /// Whether the job should stop at the next opportunity.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn cancel(&self) -> bool {
        self.cancelled.store(true, Ordering::Relaxed);
        self.running()
    }

    pub(crate) fn running(&self) -> bool {
        self.end.borrow().is_none()
    }

    pub(crate) fn views(&self) -> &[String] {
        &self.views
    }

    pub(crate) fn finish(&self, error: Option<(ErrorKind, String)>, finished: EventTime) {
        let state = match (&error, self.cancelled()) {
            (None, _) => JobState::Succeeded,
            (Some(_), true) => JobState::Cancelled,
            (Some(_), false) => JobState::Failed,
        };
        self.end.send_replace(Some(End {
            state,
            error,
            finished,
        }));
    }

    pub(crate) fn subscribe(&self) -> Done {
        Done {
            receiver: self.end.subscribe(),
        }
    }

    /// The job as it stands.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        let end = self.end.borrow().clone();
        let total = self.rows_total.load(Ordering::Relaxed);
        let current = self
            .current_view
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (error_kind, error) = match end.as_ref().and_then(|end| end.error.clone()) {
            Some((kind, message)) => (Some(kind), Some(message)),
            None => (None, None),
        };
        JobStatus {
            id: self.id,
            kind: self.kind,
            state: end.as_ref().map_or(JobState::Running, |end| end.state),
            views: self.views.clone(),
            current_view: current.filter(|_| end.is_none()),
            rows_read: self.rows_read.load(Ordering::Relaxed),
            rows_written: self.rows_written.load(Ordering::Relaxed),
            rows_total: (total != UNKNOWN).then_some(total),
            error,
            error_kind,
            started: self.started,
            finished: end.map(|end| end.finished),
        }
    }
}

/// Waits for a job's end.
#[derive(Debug)]
pub(crate) struct Done {
    receiver: watch::Receiver<Option<End>>,
}

impl Done {
    pub(crate) async fn wait(mut self) {
        // The sender lives in the job table as long as anyone may ask; its end is an end too.
        drop(self.receiver.wait_for(Option::is_some).await);
    }
}

// === impl Jobs ===

impl Jobs {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self {
            next: AtomicU64::new(1),
            kept_max,
            jobs: Mutex::new(VecDeque::new()),
        }
    }

    /// Adds a running job unless `refuse` objects to those that run.
    pub(crate) fn start<E>(
        &self,
        (kind, views, started): (&'static str, Vec<String>, EventTime),
        refuse: impl FnOnce(&mut dyn Iterator<Item = &JobProgress>) -> Result<(), E>,
    ) -> Result<Arc<JobProgress>, E> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        refuse(&mut jobs.iter().map(Arc::as_ref).filter(|job| job.running()))?;
        let job = Arc::new(JobProgress {
            id: JobId(self.next.fetch_add(1, Ordering::Relaxed)),
            kind,
            views,
            started,
            rows_read: AtomicU64::new(0),
            rows_written: AtomicU64::new(0),
            rows_total: AtomicU64::new(UNKNOWN),
            cancelled: AtomicBool::new(false),
            current_view: Mutex::new(None),
            end: watch::Sender::new(None),
        });
        while jobs.len() >= self.kept_max {
            let Some(oldest) = jobs.iter().position(|job| !job.running()) else {
                break;
            };
            jobs.remove(oldest);
        }
        jobs.push_back(Arc::clone(&job));
        Ok(job)
    }

    pub(crate) fn find(&self, id: JobId) -> Option<Arc<JobProgress>> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().find(|job| job.id == id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<JobProgress>> {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(jobs: &Jobs) -> Arc<JobProgress> {
        let started = jobs.start::<()>(("test", vec!["v".into()], EventTime(1)), |_| Ok(()));
        started.unwrap()
    }

    #[test]
    fn only_ended_jobs_are_forgotten() {
        let jobs = Jobs::new(2);
        let (first, second) = (start(&jobs), start(&jobs));
        second.finish(None, EventTime(2));
        let third = start(&jobs);
        assert!(jobs.find(first.id()).is_some(), "it still runs");
        assert!(jobs.find(second.id()).is_none());
        assert!(jobs.find(third.id()).is_some());
    }

    #[test]
    fn a_cancelled_job_that_ended_well_succeeded() {
        let jobs = Jobs::new(2);
        let job = start(&jobs);
        assert!(job.cancel());
        job.finish(None, EventTime(3));
        assert_eq!(job.status().state, JobState::Succeeded);
        assert!(!job.cancel(), "it has ended");
    }
}

//! Jobs: materialisations and imports under way, and the last ones that ended.

mod history;
mod totals;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use galley_types::{ErrorKind, EventTime};
use tokio::sync::watch;

pub use history::{JobLog, JobRecord};
pub use totals::JobTotals;

use crate::{Error, Result};

/// Names a job of this node. Where jobs are kept over restarts, so are their numbers.
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
    /// The node stopped while it ran; what it had committed stays.
    Interrupted,
}

/// The key that makes a request for a job safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The key, as the caller chose it.
    pub key: String,
    /// A digest of what was asked, so that a key used for something else is noticed.
    pub fingerprint: [u8; 32],
}

/// What had a job started.
#[derive(Clone, Debug, Default)]
pub struct JobOrigin {
    /// The schedule whose turn it was.
    pub schedule: Option<String>,
    /// The key of the request.
    pub idempotency: Option<Idempotency>,
}

/// A job as it is shown.
#[derive(Clone, Debug)]
pub struct JobStatus {
    /// Its number.
    pub id: JobId,
    /// What kind of job it is.
    pub kind: Cow<'static, str>,
    /// The schedule that started it.
    pub schedule: Option<String>,
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
    /// When it ended; `None` for one that runs or was interrupted.
    pub finished: Option<EventTime>,
}

/// A job's own handle: counts its progress and learns whether to stop.
#[derive(Debug)]
pub struct JobProgress {
    id: JobId,
    kind: Cow<'static, str>,
    views: Vec<String>,
    origin: JobOrigin,
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
    finished: Option<EventTime>,
}

/// The job table.
#[derive(Debug)]
pub(crate) struct Jobs {
    next: AtomicU64,
    kept_max: usize,
    keys_age_max: Duration,
    jobs: Mutex<VecDeque<Arc<JobProgress>>>,
    log: OnceLock<Arc<dyn JobLog>>,
    totals: totals::Totals,
}

/// A job that is about to start.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) kind: &'static str,
    pub(crate) views: Vec<String>,
    pub(crate) origin: JobOrigin,
    pub(crate) now: EventTime,
}

/// What asking for a job came to.
#[derive(Debug)]
pub(crate) enum Opened {
    /// A new one, whose work is to be begun.
    New(Arc<JobProgress>),
    /// The one that the same request started before.
    Before(JobId),
}

/// Stands for "not known" in `rows_total`.
const UNKNOWN: u64 = u64::MAX;

/// What is told of a job that the node's stop cut short.
const INTERRUPTED: &str =
    "the node stopped while the job ran; what it had committed stays, start it again";

// === impl JobProgress ===

impl JobProgress {
    fn new(id: JobId, opening: Opening) -> Self {
        Self {
            id,
            kind: Cow::Borrowed(opening.kind),
            views: opening.views,
            origin: opening.origin,
            started: opening.now,
            rows_read: AtomicU64::new(0),
            rows_written: AtomicU64::new(0),
            rows_total: AtomicU64::new(UNKNOWN),
            cancelled: AtomicBool::new(false),
            current_view: Mutex::new(None),
            end: watch::Sender::new(None),
        }
    }

    /// A job of an earlier run of this node. One that had not ended was cut short by its stop.
    fn restored(record: JobRecord) -> Self {
        let JobRecord {
            status,
            idempotency,
        } = record;
        let (state, error) = match status.state {
            JobState::Running | JobState::Interrupted => (
                JobState::Interrupted,
                Some((ErrorKind::Closed, INTERRUPTED.to_owned())),
            ),
            state => (state, status.error_kind.zip(status.error)),
        };
        // A repeated request for a job that was cut short is to start it again.
        let idempotency = idempotency.filter(|_| state != JobState::Interrupted);
        Self {
            id: status.id,
            kind: status.kind,
            views: status.views,
            origin: JobOrigin {
                schedule: status.schedule,
                idempotency,
            },
            started: status.started,
            rows_read: AtomicU64::new(status.rows_read),
            rows_written: AtomicU64::new(status.rows_written),
            rows_total: AtomicU64::new(status.rows_total.unwrap_or(UNKNOWN)),
            cancelled: AtomicBool::new(false),
            current_view: Mutex::new(None),
            end: watch::Sender::new(Some(End {
                state,
                error,
                finished: status.finished,
            })),
        }
    }

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

    fn ended(&self, error: Option<(ErrorKind, String)>, finished: EventTime) -> End {
        let state = match (&error, self.cancelled()) {
            (None, _) => JobState::Succeeded,
            (Some(_), true) => JobState::Cancelled,
            (Some(_), false) => JobState::Failed,
        };
        End {
            state,
            error,
            finished: Some(finished),
        }
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
        self.status_with(end)
    }

    fn status_with(&self, end: Option<End>) -> JobStatus {
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
            kind: self.kind.clone(),
            schedule: self.origin.schedule.clone(),
            state: end.as_ref().map_or(JobState::Running, |end| end.state),
            views: self.views.clone(),
            current_view: current.filter(|_| end.is_none()),
            rows_read: self.rows_read.load(Ordering::Relaxed),
            rows_written: self.rows_written.load(Ordering::Relaxed),
            rows_total: (total != UNKNOWN).then_some(total),
            error,
            error_kind,
            started: self.started,
            finished: end.and_then(|end| end.finished),
        }
    }

    /// Whether a request with `key` is answered by this job: `None` when it has nothing to do with
    /// it.
    fn answers(&self, key: &Idempotency, not_before: EventTime) -> Option<Result<JobId>> {
        let held = self.origin.idempotency.as_ref()?;
        if held.key != key.key || self.started < not_before {
            return None;
        }
        Some(if held.fingerprint == key.fingerprint {
            Ok(self.id)
        } else {
            Err(Error::KeyReused {
                key: key.key.clone(),
                job: self.id,
            })
        })
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
    pub(crate) fn new(kept_max: usize, keys_age_max: Duration) -> Self {
        Self {
            next: AtomicU64::new(1),
            kept_max,
            keys_age_max,
            jobs: Mutex::new(VecDeque::new()),
            log: OnceLock::new(),
            totals: totals::Totals::default(),
        }
    }

    /// Takes over the jobs of earlier runs, oldest first, and from now on notes all in `log`. The
    /// first log that is given stays.
    pub(crate) fn keep(&self, log: Arc<dyn JobLog>, past: Vec<JobRecord>) -> bool {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if self.log.set(log).is_err() {
            return false;
        }
        let newest = past.iter().map(|record| record.status.id.0).max();
        let next = newest.unwrap_or(0).saturating_add(1);
        self.next.fetch_max(next, Ordering::Relaxed);
        let skipped = past.len().saturating_sub(self.kept_max);
        let restored = past.into_iter().skip(skipped).map(JobProgress::restored);
        for job in restored.rev() {
            jobs.push_front(Arc::new(job));
        }
        true
    }

    /// The job that answers a request with `key`, if it was sent before.
    ///
    /// # Errors
    /// [`Error::KeyReused`] when it asked for something else then.
    pub(crate) fn repeated(&self, key: &Idempotency, now: EventTime) -> Result<Option<JobId>> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        self.find_key(&jobs, key, now)
    }

    fn find_key(
        &self,
        jobs: &VecDeque<Arc<JobProgress>>,
        key: &Idempotency,
        now: EventTime,
    ) -> Result<Option<JobId>> {
        let not_before = self.keys_not_before(now);
        let mut found = jobs.iter().rev();
        found
            .find_map(|job| job.answers(key, not_before))
            .transpose()
    }

    fn keys_not_before(&self, now: EventTime) -> EventTime {
        let age = i64::try_from(self.keys_age_max.as_micros()).unwrap_or(i64::MAX);
        EventTime(now.0.saturating_sub(age))
    }

    /// Adds a running job unless its key was seen or `refuse` objects to those that run.
    ///
    /// # Errors
    /// [`Error::KeyReused`], and those of `refuse`.
    pub(crate) fn start(
        &self,
        opening: Opening,
        refuse: impl FnOnce(&mut dyn Iterator<Item = &JobProgress>) -> Result<()>,
    ) -> Result<Opened> {
        let now = opening.now;
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &opening.origin.idempotency
            && let Some(before) = self.find_key(&jobs, key, now)?
        {
            return Ok(Opened::Before(before));
        }
        refuse(&mut jobs.iter().map(Arc::as_ref).filter(|job| job.running()))?;
        let id = JobId(self.next.fetch_add(1, Ordering::Relaxed));
        let job = Arc::new(JobProgress::new(id, opening));
        self.make_room(&mut jobs, now);
        jobs.push_back(Arc::clone(&job));
        drop(jobs);
        self.note(&job, None);
        Ok(Opened::New(job))
    }

    /// Forgets ended jobs, those first whose key nobody can repeat any more.
    fn make_room(&self, jobs: &mut VecDeque<Arc<JobProgress>>, now: EventTime) {
        let not_before = self.keys_not_before(now);
        let plain = |job: &Arc<JobProgress>| {
            !job.running() && (job.origin.idempotency.is_none() || job.started < not_before)
        };
        while jobs.len() >= self.kept_max {
            let oldest = jobs.iter().position(plain);
            let oldest = oldest.or_else(|| jobs.iter().position(|job| !job.running()));
            let Some(oldest) = oldest else {
                break;
            };
            jobs.remove(oldest);
        }
    }

    /// Records how a job ended: in the log first, then for everyone.
    pub(crate) fn finish(
        &self,
        job: &JobProgress,
        error: Option<(ErrorKind, String)>,
        finished: EventTime,
    ) {
        let end = job.ended(error, finished);
        self.totals.count(&job.status_with(Some(end.clone())));
        self.note(job, Some(end.clone()));
        job.end.send_replace(Some(end));
    }

    fn note(&self, job: &JobProgress, end: Option<End>) {
        if let Some(log) = self.log.get() {
            log.note(&JobRecord {
                status: job.status_with(end),
                idempotency: job.origin.idempotency.clone(),
            });
        }
    }

    pub(crate) fn find(&self, id: JobId) -> Option<Arc<JobProgress>> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().find(|job| job.id == id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<JobProgress>> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().cloned().collect()
    }

    pub(crate) fn totals(&self) -> Vec<(String, JobTotals)> {
        self.totals.all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn opening(key: Option<(&str, u8)>, now: i64) -> Opening {
        let idempotency = key.map(|(key, byte)| Idempotency {
            key: key.to_owned(),
            fingerprint: [byte; 32],
        });
        Opening {
            kind: "test",
            views: vec!["v".into()],
            origin: JobOrigin {
                idempotency,
                ..JobOrigin::default()
            },
            now: EventTime::from_seconds(now),
        }
    }

    fn start(jobs: &Jobs) -> Arc<JobProgress> {
        begin(jobs, opening(None, 1)).unwrap()
    }

    /// A new job; `Err` has the one before it.
    fn begin(jobs: &Jobs, opening: Opening) -> std::result::Result<Arc<JobProgress>, JobId> {
        match jobs.start(opening, |_| Ok(())).unwrap() {
            Opened::New(job) => Ok(job),
            Opened::Before(id) => Err(id),
        }
    }

    #[test]
    fn only_ended_jobs_are_forgotten() {
        let jobs = Jobs::new(2, HOUR);
        let (first, second) = (start(&jobs), start(&jobs));
        jobs.finish(&second, None, EventTime(2));
        let third = start(&jobs);
        assert!(jobs.find(first.id()).is_some(), "it still runs");
        assert!(jobs.find(second.id()).is_none());
        assert!(jobs.find(third.id()).is_some());
    }

    #[test]
    fn a_cancelled_job_that_ended_well_succeeded() {
        let jobs = Jobs::new(2, HOUR);
        let job = start(&jobs);
        assert!(job.cancel());
        jobs.finish(&job, None, EventTime(3));
        assert_eq!(job.status().state, JobState::Succeeded);
        assert!(!job.cancel(), "it has ended");
        assert_eq!(jobs.totals()[0].1.succeeded, 1);
    }

    #[test]
    fn a_key_leads_to_its_job_until_it_is_too_old() {
        let jobs = Jobs::new(9, HOUR);
        let first = begin(&jobs, opening(Some(("k", 1)), 0)).unwrap();
        assert_eq!(
            begin(&jobs, opening(Some(("k", 1)), 10)).unwrap_err(),
            first.id()
        );
        jobs.finish(&first, None, EventTime(3));
        assert_eq!(
            begin(&jobs, opening(Some(("k", 1)), 3600)).unwrap_err(),
            first.id()
        );
        let other = jobs.start(opening(Some(("k", 2)), 3600), |_| Ok(()));
        assert!(
            matches!(other, Err(Error::KeyReused { job, .. }) if job == first.id()),
            "{other:?}"
        );
        let late = begin(&jobs, opening(Some(("k", 2)), 3601)).unwrap();
        assert_ne!(late.id(), first.id());
    }

    #[test]
    fn jobs_with_keys_that_count_are_forgotten_last() {
        let jobs = Jobs::new(2, HOUR);
        let keyed = begin(&jobs, opening(Some(("k", 1)), 0)).unwrap();
        jobs.finish(&keyed, None, EventTime(1));
        for _ in 0..5 {
            let job = start(&jobs);
            jobs.finish(&job, None, EventTime(2));
        }
        assert!(jobs.find(keyed.id()).is_some());
        assert_eq!(jobs.all().len(), 2);
    }

    /// Notes in memory.
    #[derive(Debug, Default)]
    struct Notes(Mutex<Vec<JobRecord>>);

    impl JobLog for Notes {
        fn note(&self, job: &JobRecord) {
            self.0.lock().unwrap().push(job.clone());
        }
    }

    #[test]
    fn a_job_that_a_stop_cut_short_is_interrupted_and_its_key_free() {
        let notes = Arc::new(Notes::default());
        let jobs = Jobs::new(9, HOUR);
        assert!(jobs.keep(Arc::clone(&notes) as Arc<dyn JobLog>, Vec::new()));
        let done = begin(&jobs, opening(Some(("done", 1)), 0)).unwrap();
        jobs.finish(&done, None, EventTime(5));
        let cut = begin(&jobs, opening(Some(("cut", 1)), 0)).unwrap();
        let noted = notes.0.lock().unwrap().clone();
        let states: Vec<_> = noted.iter().map(|note| note.status.state).collect();
        assert_eq!(
            states,
            [JobState::Running, JobState::Succeeded, JobState::Running]
        );

        let again = Jobs::new(9, HOUR);
        assert!(again.keep(notes, noted[1..].to_vec()));
        let status = |id| again.find(id).unwrap().status();
        assert_eq!(status(cut.id()).state, JobState::Interrupted);
        assert!(status(cut.id()).error.unwrap().contains("stopped"));
        assert_eq!(status(done.id()).state, JobState::Succeeded);
        let repeated = begin(&again, opening(Some(("done", 1)), 9)).unwrap_err();
        assert_eq!(repeated, done.id());
        let anew = begin(&again, opening(Some(("cut", 1)), 9)).unwrap();
        assert_eq!(anew.id(), JobId(3), "numbers go on");
    }
}

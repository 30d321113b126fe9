//! Schedules: materialisations that a node starts by itself, for those who have no scheduler.
//!
//! One thread looks at the clock at least once a second, so that it notices soon when a machine
//! slept or the clock was set. However many turns went by meanwhile, one run makes up for them; a
//! clock that was set back does not keep schedules waiting for a time that lies years ahead. What
//! a turn comes to is decided in [`Keeper`], which knows neither threads nor the time of day.

mod runner;
#[cfg(test)]
mod tests;
mod timing;

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use galley_node::{
    Error as NodeError, JobState, JobStatus, Node, ScheduleOutcome, ScheduleStatus, Schedules,
};
use galley_types::{Clock, EventTime};

use crate::error::{Error, Result, chain};
use runner::{NodeRunner, Runner};
use timing::{Timing, Turn};

/// The longest time between two looks at the clock.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// The same while a job runs that a schedule started, so that its end is seen soon.
const LOOK_RUNNING: Duration = Duration::from_millis(200);
/// The shortest.
const LOOK_MIN: Duration = Duration::from_millis(5);
/// How long a run that found no place among the jobs waits before it tries again.
const PLACE_WAIT: i64 = 1_000_000;
/// A clock that goes back by less does not change what comes next: its turns have been taken.
const SET_BACK_MIN: i64 = 60_000_000;
/// Turns gone by that are counted at one look.
const MISSED_MAX: u64 = 1_000;
/// Schedules of one node.
const SCHEDULES_MAX: usize = 256;
/// Bytes of a schedule's name, which labels metrics.
const NAME_BYTES_MAX: usize = 64;

/// What a schedule materialises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleTarget {
    /// Every view that can be.
    All,
    /// These views.
    Views(Vec<String>),
    /// The views of this feature service.
    Service(String),
}

/// How far back a run of a schedule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleKind {
    /// To where the last run ended.
    Incremental,
    /// So far; `None` is the beginning of time.
    Full(Option<Duration>),
}

/// A schedule as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its name, of visible ASCII.
    pub name: String,
    /// Five fields of cron, six with seconds first, or a nickname such as `@hourly`.
    pub cron: String,
    /// The name of a time zone.
    pub timezone: String,
    /// What it materialises.
    pub target: ScheduleTarget,
    /// How far back.
    pub kind: ScheduleKind,
    /// Runs begin later than their time by less than this, each by another amount.
    pub jitter: Duration,
}

/// Keeps the schedules of a node until it is dropped.
#[derive(Debug)]
pub struct Scheduler {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The table that the node shows.
#[derive(Debug, Default)]
struct Shown(Mutex<Vec<ScheduleStatus>>);

/// Decides what is due.
struct Keeper<R> {
    runner: R,
    entries: Vec<Entry>,
    salt: u64,
    seen: EventTime,
}

struct Entry {
    schedule: Schedule,
    timing: Timing,
    turn: Option<Turn>,
    status: ScheduleStatus,
}

// === impl Scheduler ===

impl Scheduler {
    /// Checks schedules as [`Scheduler::start`] does and gives the next time of each.
    ///
    /// # Errors
    /// [`Error::Schedule`] for the first that cannot be kept.
    pub fn check(schedules: &[Schedule], now: EventTime) -> Result<Vec<Option<EventTime>>> {
        let timings = timings(schedules)?;
        Ok(timings.iter().map(|timing| timing.after(now)).collect())
    }

    /// Starts the thread that keeps `schedules` for `node`, and has the node show them. A turn that
    /// went by while the node was down is made up for at once, where the history of jobs tells of a
    /// run before it.
    ///
    /// # Errors
    /// [`Error::Schedule`], [`Error::Thread`].
    pub fn start(
        node: &Arc<Node>,
        schedules: Vec<Schedule>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let runner = NodeRunner(Arc::clone(node));
        let salt = u64::from(std::process::id()) ^ clock.now().0.unsigned_abs();
        let mut keeper = Keeper::new(runner, schedules, salt, (clock.now(), &node.jobs()))?;
        for entry in &keeper.entries {
            if let Some(problem) = &entry.status.problem {
                tracing::warn!(schedule = %entry.schedule.name, %problem, "schedule");
            }
        }
        let shown = Arc::new(Shown::default());
        shown.show(&keeper.entries);
        node.set_schedules(Arc::clone(&shown) as Arc<dyn Schedules>);
        let (stop, stopped) = sync_channel(1);
        let run = move || {
            loop {
                let wait = keeper.look(clock.now());
                shown.show(&keeper.entries);
                match stopped.recv_timeout(wait) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let name = "galley-schedules";
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|source| Error::Thread { name, source })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps schedules had panicked");
        }
    }
}

// === impl Shown ===

impl Shown {
    fn show(&self, entries: &[Entry]) {
        let table = entries.iter().map(|entry| entry.status.clone()).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = table;
    }
}

impl Schedules for Shown {
    fn status(&self) -> Vec<ScheduleStatus> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.clone()
    }
}

fn timings(schedules: &[Schedule]) -> Result<Vec<Timing>> {
    let refused = |schedule: &Schedule, reason: String| Error::Schedule {
        name: schedule.name.clone(),
        reason,
    };
    let mut timings = Vec::with_capacity(schedules.len().min(SCHEDULES_MAX));
    for (index, schedule) in schedules.iter().enumerate() {
        let name = &schedule.name;
        if index >= SCHEDULES_MAX {
            let reason = format!("it is one more than the {SCHEDULES_MAX} a node keeps");
            return Err(refused(schedule, reason));
        }
        let sane = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !sane {
            let reason = format!("a name has 1 to {NAME_BYTES_MAX} visible ASCII characters");
            return Err(refused(schedule, reason));
        }
        let before = schedules.iter().take(index);
        if before.clone().any(|other| other.name == *name) {
            return Err(refused(schedule, "another one has this name".to_owned()));
        }
        let timing = Timing::parse(&schedule.cron, &schedule.timezone, schedule.jitter);
        timings.push(timing.map_err(|reason| refused(schedule, reason))?);
    }
    Ok(timings)
}

// === impl Keeper ===

impl<R: Runner> Keeper<R> {
    fn new(
        runner: R,
        schedules: Vec<Schedule>,
        salt: u64,
        (now, past): (EventTime, &[JobStatus]),
    ) -> Result<Self> {
        let timings = timings(&schedules)?;
        let mut keeper = Self {
            runner,
            entries: Vec::with_capacity(schedules.len()),
            salt,
            seen: now,
        };
        for (schedule, timing) in schedules.into_iter().zip(timings) {
            let mut entry = Entry::new(schedule, timing);
            let is_ours = |job: &&JobStatus| job.schedule.as_ref() == Some(&entry.schedule.name);
            let last = past.iter().rev().find(is_ours);
            if let Some(last) = last {
                entry.status.last_run = Some(last.started);
                entry.status.last_job = Some(last.id);
                entry.status.last_outcome = Some(outcome_of(last.state));
                entry.status.last_error.clone_from(&last.error);
            }
            let since = last.map_or(now, |last| last.started.min(now));
            entry.plan(since, salt);
            entry.status.problem = keeper.runner.problem(&entry.schedule);
            keeper.entries.push(entry);
        }
        Ok(keeper)
    }

    /// Does what is due at `now`; the time until the next look.
    fn look(&mut self, now: EventTime) -> Duration {
        let set_back = self.seen.0.saturating_sub(now.0) > SET_BACK_MIN;
        if set_back {
            tracing::warn!(from = %self.seen, to = %now, "the clock was set back, schedules planned anew");
        }
        self.seen = if set_back { now } else { self.seen.max(now) };
        let mut wait = LOOK_MAX;
        for entry in &mut self.entries {
            entry.follow(&self.runner);
            entry.status.problem = self.runner.problem(&entry.schedule);
            if set_back {
                entry.plan(now, self.salt);
            }
            if let Some(turn) = entry.turn.filter(|turn| turn.due <= now) {
                entry.take(turn, now, (&self.runner, self.salt));
            }
            if entry.status.last_outcome == Some(ScheduleOutcome::Running) {
                wait = wait.min(LOOK_RUNNING);
            }
            if let Some(turn) = entry.turn {
                let left = turn.due.0.saturating_sub(now.0).max(0);
                wait = wait.min(Duration::from_micros(left.unsigned_abs()));
            }
        }
        wait.max(LOOK_MIN)
    }
}

fn outcome_of(state: JobState) -> ScheduleOutcome {
    match state {
        JobState::Running => ScheduleOutcome::Running,
        JobState::Succeeded => ScheduleOutcome::Succeeded,
        JobState::Failed | JobState::Interrupted => ScheduleOutcome::Failed,
        JobState::Cancelled => ScheduleOutcome::Cancelled,
    }
}

// === impl Entry ===

impl Entry {
    fn new(schedule: Schedule, timing: Timing) -> Self {
        let (kind, window) = match schedule.kind {
            ScheduleKind::Incremental => ("incremental", None),
            ScheduleKind::Full(window) => ("full", window),
        };
        let (views, service) = match &schedule.target {
            ScheduleTarget::All => (Vec::new(), None),
            ScheduleTarget::Views(views) => (views.clone(), None),
            ScheduleTarget::Service(service) => (Vec::new(), Some(service.clone())),
        };
        let status = ScheduleStatus {
            name: schedule.name.clone(),
            cron: schedule.cron.clone(),
            timezone: schedule.timezone.clone(),
            kind,
            window,
            views,
            service,
            jitter: schedule.jitter,
            next_run: None,
            last_run: None,
            last_job: None,
            last_outcome: None,
            last_error: None,
            problem: None,
            started: 0,
            skipped: 0,
            refused: 0,
            missed: 0,
        };
        Self {
            schedule,
            timing,
            turn: None,
            status,
        }
    }

    /// The next turn is the first after `time`.
    fn plan(&mut self, time: EventTime, salt: u64) {
        self.turn = self.timing.turn_after(time, salt);
        self.status.next_run = self.turn.map(|turn| turn.due);
    }

    /// Looks how the job of the last turn fares.
    fn follow(&mut self, runner: &impl Runner) {
        if self.status.last_outcome != Some(ScheduleOutcome::Running) {
            return;
        }
        let job = self.status.last_job.and_then(|job| runner.job(job));
        // A job that is forgotten has ended, and nobody can tell how.
        let (state, error) = job.unwrap_or((JobState::Succeeded, None));
        self.status.last_outcome = Some(outcome_of(state));
        self.status.last_error = error;
    }

    /// Takes a turn that is due.
    fn take(&mut self, turn: Turn, now: EventTime, (runner, salt): (&impl Runner, u64)) {
        match runner.start(&self.schedule, now) {
            Ok(job) => {
                let name = &self.schedule.name;
                tracing::info!(schedule = %name, job = job.0, tick = %turn.tick, "scheduled job");
                self.status.started += 1;
                self.status.last_job = Some(job);
                self.ended(ScheduleOutcome::Running, None, now);
            }
            Err(NodeError::Busy { .. }) if self.may_wait(turn, now) => {
                let due = EventTime(now.0.saturating_add(PLACE_WAIT));
                self.turn = Some(Turn { due, ..turn });
                self.status.next_run = Some(due);
                return;
            }
            Err(error @ (NodeError::AlreadyRunning { .. } | NodeError::Busy { .. })) => {
                self.status.skipped += 1;
                self.ended(ScheduleOutcome::Skipped, Some(chain(&error)), now);
            }
            Err(error) => {
                self.status.refused += 1;
                self.ended(ScheduleOutcome::Refused, Some(chain(&error)), now);
            }
        }
        self.status.missed += self.gone_by(turn, now);
        self.plan(now.max(turn.tick), salt);
    }

    fn ended(&mut self, outcome: ScheduleOutcome, error: Option<String>, now: EventTime) {
        if let Some(reason) = &error {
            let (schedule, outcome) = (&self.schedule.name, outcome.label());
            tracing::warn!(%schedule, outcome, %reason, "scheduled job not started");
        }
        self.status.last_run = Some(now);
        self.status.last_outcome = Some(outcome);
        self.status.last_error = error;
    }

    /// Whether a run that found no place can try again before the next turn.
    fn may_wait(&self, turn: Turn, now: EventTime) -> bool {
        let again = EventTime(now.0.saturating_add(PLACE_WAIT));
        let next = self.timing.after(turn.tick);
        next.is_none_or(|next| next > again)
    }

    /// Turns after `turn` that are over as well.
    fn gone_by(&self, turn: Turn, now: EventTime) -> u64 {
        let mut tick = turn.tick;
        for count in 0..MISSED_MAX {
            match self.timing.after(tick).filter(|next| *next <= now) {
                Some(next) => tick = next,
                None => return count,
            }
        }
        MISSED_MAX
    }
}

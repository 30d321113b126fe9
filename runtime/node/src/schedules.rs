//! What a node tells of its schedules; they are kept by whoever starts jobs at their times.

use std::time::Duration;

use galley_types::EventTime;

use crate::JobId;

/// How a schedule's last turn went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleOutcome {
    /// Its job runs.
    Running,
    /// Its job ended well.
    Succeeded,
    /// Its job ended with an error, or was cut short.
    Failed,
    /// Its job was cancelled.
    Cancelled,
    /// No job was started: one was at work on these views.
    Skipped,
    /// No job was started: it was refused.
    Refused,
}

/// One schedule.
#[derive(Clone, Debug)]
pub struct ScheduleStatus {
    /// Its name.
    pub name: String,
    /// The cron expression.
    pub cron: String,
    /// The time zone it is read in.
    pub timezone: String,
    /// `incremental` or `full`.
    pub kind: &'static str,
    /// How far back a full run goes; `None` is the beginning of time.
    pub window: Option<Duration>,
    /// The views that are named; none and no service stand for all.
    pub views: Vec<String>,
    /// The service whose views are meant.
    pub service: Option<String>,
    /// How much later than its time a run may begin.
    pub jitter: Duration,
    /// When the next run begins; `None` when there is none.
    pub next_run: Option<EventTime>,
    /// When it was last its turn.
    pub last_run: Option<EventTime>,
    /// The last job that it started.
    pub last_job: Option<JobId>,
    /// How its last turn went.
    pub last_outcome: Option<ScheduleOutcome>,
    /// Why its last turn did not start a job, or why that job failed.
    pub last_error: Option<String>,
    /// What is wrong with it now, such as a view that the registry does not have.
    pub problem: Option<String>,
    /// Jobs started since the node's start.
    pub started: u64,
    /// Turns at which a job was at work on these views.
    pub skipped: u64,
    /// Turns at which the job was refused.
    pub refused: u64,
    /// Turns that went by while nobody looked (a machine asleep, a clock set forward), beyond the
    /// one that was made up for.
    pub missed: u64,
}

/// Whoever keeps the schedules of a node.
pub trait Schedules: Send + Sync + std::fmt::Debug {
    /// All of them, in the order of the configuration.
    fn status(&self) -> Vec<ScheduleStatus>;
}

// === impl ScheduleOutcome ===

impl ScheduleOutcome {
    /// All there are, in the order of their labels.
    pub const ALL: [Self; 6] = [
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Skipped,
        Self::Refused,
    ];

    /// Its name.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
        }
    }
}

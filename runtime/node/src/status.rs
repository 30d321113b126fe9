//! What a node says of itself.

use std::time::Duration;

use galley_store::StoreStats;
use galley_types::EventTime;

use crate::{FreshnessStatus, JobStatus, JobTotals, OutboxStatus, ScheduleStatus, TransformStatus};

/// Whether look-ups are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They are.
    Ready,
    /// They are not, for this reason.
    NotReady(String),
}

/// One feature view.
#[derive(Clone, Debug)]
pub struct ViewStatus {
    /// Its name.
    pub name: String,
    /// `batch`, `stream`, `label` or `on_demand`.
    pub kind: &'static str,
    /// Whether it is configured to be served online.
    pub online: bool,
    /// Whether it is enabled.
    pub enabled: bool,
    /// Why it cannot be served, if so.
    pub problem: Option<String>,
    /// Rows stored.
    pub rows: u64,
    /// Whether look-ups are served from the read index.
    pub indexed: bool,
    /// Time to live.
    pub ttl: Option<Duration>,
    /// The newest event time stored.
    pub newest_event_time: Option<EventTime>,
    /// The end of its last materialisation.
    pub watermark: Option<EventTime>,
    /// The push source that feeds it.
    pub push_source: Option<String>,
}

/// A node's state at one moment.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Whether look-ups are answered.
    pub readiness: Readiness,
    /// When the state was taken.
    pub now: EventTime,
    /// Feast's project.
    pub project: Option<String>,
    /// Installs since the start.
    pub generation: u64,
    /// When the running registry was installed.
    pub installed: Option<EventTime>,
    /// The running registry's `version_id`.
    pub registry_version: Option<String>,
    /// When Feast wrote it.
    pub registry_updated: Option<EventTime>,
    /// What the registry holds that is not understood or not served.
    pub registry_warnings: Vec<String>,
    /// Why the last registry offered was refused, if it was.
    pub registry_refused: Option<String>,
    /// Registries refused since the start.
    pub registry_refusals: u64,
    /// The views.
    pub views: Vec<ViewStatus>,
    /// On-demand feature views and the transformations that compute them.
    pub transforms: Vec<TransformStatus>,
    /// Why the last change of the transformations was not made, if it was not.
    pub transforms_refused: Option<String>,
    /// Feature services.
    pub services: Vec<String>,
    /// Push sources.
    pub push_sources: Vec<String>,
    /// The store.
    pub store: StoreStats,
    /// Jobs under way and the last that ended.
    pub jobs: Vec<JobStatus>,
    /// How old what is served is.
    pub freshness: FreshnessStatus,
    /// The schedules.
    pub schedules: Vec<ScheduleStatus>,
    /// How materialisations ended since the start, by view.
    pub job_totals: Vec<(String, JobTotals)>,
    /// Whether the Python server's ways are on.
    pub python_quirks: bool,
    /// What waits for the centre and how the sending goes, where there is an outbox.
    pub outbox: Option<OutboxStatus>,
}

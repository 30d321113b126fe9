//! The settings of a node.

use std::time::Duration;

use crate::{FreshnessConfig, LogsConfig, OutboxConfig};

/// Settings of a node; every bound has its name here.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Behave as Feast's Python server where it differs from Feast's documents: the time to live
    /// is ignored, a stored null is `PRESENT`, integer event times are nanoseconds.
    pub python_quirks: bool,
    /// Entity rows of one look-up.
    pub entity_rows_max: usize,
    /// Features of one look-up.
    pub features_max: usize,
    /// Entity rows times features of one look-up.
    pub cells_max: usize,
    /// Rows of one push.
    pub push_rows_max: usize,
    /// Pushes that wait for the writer; beyond it they are refused as busy.
    pub write_queue_max: usize,
    /// Pushes of one commit.
    pub group_writes_max: usize,
    /// Rows of one commit, above which no further push joins it.
    pub group_rows_max: usize,
    /// How long a commit waits for pushes that are under way, once pushes come in parallel.
    pub group_wait: Duration,
    /// Queued asynchronous writes applied with one commit.
    pub drain_max: usize,
    /// Asynchronous writes that may be queued; beyond it they are refused as busy.
    pub queued_writes_max: u64,
    /// Materialisation jobs that run at the same time.
    pub jobs_running_max: usize,
    /// Jobs whose state is kept, with the keys of their requests.
    pub jobs_kept_max: usize,
    /// How long a request for a job that is repeated with its key is answered by that job.
    pub idempotency_age_max: Duration,
    /// Compiled plans kept per generation.
    pub plans_max: usize,
    /// How old what is served may be.
    pub freshness: FreshnessConfig,
    /// How much may wait for the centre; `None`: nothing is sent, and pushes to the offline store
    /// are refused.
    pub outbox: Option<OutboxConfig>,
    /// How serving logs are taken.
    pub logs: LogsConfig,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            python_quirks: false,
            entity_rows_max: 10_000,
            features_max: 1_000,
            cells_max: 2_000_000,
            push_rows_max: 50_000,
            write_queue_max: 4_096,
            group_writes_max: 1_024,
            group_rows_max: 100_000,
            group_wait: Duration::from_micros(500),
            drain_max: 64,
            queued_writes_max: 100_000,
            jobs_running_max: 4,
            jobs_kept_max: 200,
            idempotency_age_max: Duration::from_hours(24),
            plans_max: 4_096,
            freshness: FreshnessConfig::default(),
            outbox: None,
            logs: LogsConfig::default(),
        }
    }
}

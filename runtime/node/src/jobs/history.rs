//! What of jobs outlives the process.

use crate::{Idempotency, JobStatus};

/// One job as it is kept over restarts.
#[derive(Clone, Debug)]
pub struct JobRecord {
    /// The job as it stood when it was noted.
    pub status: JobStatus,
    /// The key its request was sent with.
    pub idempotency: Option<Idempotency>,
}

/// Keeps jobs over restarts.
pub trait JobLog: Send + Sync + std::fmt::Debug {
    /// Notes a job that began or ended, before anyone is told of it. What cannot be noted is told
    /// to the log: a job does not fail because its history cannot be written.
    fn note(&self, job: &JobRecord);
}

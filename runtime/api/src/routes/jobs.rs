//! `/v1/jobs` and `/v1/tickets`.

use galley_node::store::TicketState;
use galley_node::{Error, JobId, JobState, JobStatus, Node};
use galley_types::{ErrorKind, EventTime};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::json as json_reply;
use crate::failure::Failure;
use crate::reply::Reply;
use crate::status;

/// All jobs that are known.
pub(super) fn list(node: &Node) -> Result<Reply, Failure> {
    let jobs: Vec<Value> = node.jobs().iter().map(tree).collect();
    Ok(json_reply(StatusCode::OK, &json!({"jobs": jobs})))
}

/// One job.
pub(super) fn show(node: &Node, id: &str) -> Result<Reply, Failure> {
    let job = find(node, id)?;
    Ok(json_reply(StatusCode::OK, &tree(&job)))
}

/// Asks a job to stop: 202, or 409 when it has ended.
pub(super) fn cancel(node: &Node, id: &str) -> Result<Reply, Failure> {
    let job = find(node, id)?;
    if node.cancel_job(job.id) {
        return Ok(json_reply(StatusCode::ACCEPTED, &tree(&job)));
    }
    let message = format!("job {} has ended: it is {}", job.id.0, state(job.state));
    Err(Failure::refused(ErrorKind::Conflict, &message))
}

pub(super) fn find(node: &Node, id: &str) -> Result<JobStatus, Failure> {
    let number = id.parse().ok().map(JobId);
    number.and_then(|id| node.job(id)).ok_or_else(|| {
        let message = format!("no job '{id}': jobs are forgotten after a while");
        Failure::refused(ErrorKind::NotFound, &message)
    })
}

/// Why a job was not started.
pub(super) fn refusal(error: &Error) -> Failure {
    match error {
        Error::AlreadyRunning { views, job } => {
            let tree = json!({
                "error": format!("{error}: ?force=true overrides this"),
                "feature_views": views,
                "job": job.0,
            });
            let kind = ErrorKind::Conflict;
            let body = tree.to_string().into_bytes();
            Failure::json(status::of(kind, None), status::code(kind), body)
        }
        Error::KeyReused { .. } => Failure::detail(
            StatusCode::UNPROCESSABLE_ENTITY,
            "key_reused",
            &error.to_string(),
        ),
        other => Failure::of(other),
    }
}

/// A job as JSON.
pub(super) fn tree(job: &JobStatus) -> Value {
    json!({
        "id": job.id.0,
        "kind": job.kind,
        "schedule": job.schedule,
        "state": state(job.state),
        "feature_views": job.views,
        "current_view": job.current_view,
        "rows_read": job.rows_read,
        "rows_written": job.rows_written,
        "rows_total": job.rows_total,
        "error": job.error,
        "error_code": job.error_kind.map(status::code),
        "started": job.started.to_string(),
        "finished": job.finished.as_ref().map(EventTime::to_string),
    })
}

fn state(state: JobState) -> &'static str {
    match state {
        JobState::Running => "running",
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
        JobState::Interrupted => "interrupted",
    }
}

/// What became of an asynchronous write.
pub(super) fn ticket(node: &Node, id: &str) -> Result<Reply, Failure> {
    let unknown = || {
        let message = format!("no ticket '{id}': it was never given, or long ago");
        Failure::refused(ErrorKind::NotFound, &message)
    };
    let number: u64 = id.parse().map_err(|_: std::num::ParseIntError| unknown())?;
    let found = node.ticket(number).map_err(|error| Failure::of(&error))?;
    let tree = match found.ok_or_else(unknown)? {
        TicketState::Pending => json!({"ticket": number, "status": "queued"}),
        TicketState::Applied {
            written,
            superseded,
        } => json!({
            "ticket": number,
            "status": "applied",
            "rows_written": written,
            "rows_superseded": superseded,
        }),
    };
    Ok(json_reply(StatusCode::OK, &tree))
}

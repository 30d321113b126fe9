//! `/v1/schedules`.

use std::time::Duration;

use galley_node::{Node, ScheduleStatus};
use galley_types::EventTime;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::json as json_reply;
use crate::reply::Reply;

/// All schedules.
pub(super) fn list(node: &Node) -> Reply {
    let schedules: Vec<Value> = node.schedules().iter().map(tree).collect();
    json_reply(StatusCode::OK, &json!({"schedules": schedules}))
}

/// A schedule as JSON.
pub(super) fn tree(schedule: &ScheduleStatus) -> Value {
    json!({
        "name": schedule.name,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "kind": schedule.kind,
        "window_seconds": schedule.window.as_ref().map(Duration::as_secs_f64),
        "jitter_seconds": schedule.jitter.as_secs_f64(),
        "feature_views": schedule.views,
        "feature_service": schedule.service,
        "next_run": schedule.next_run.as_ref().map(EventTime::to_string),
        "last_run": schedule.last_run.as_ref().map(EventTime::to_string),
        "last_job": schedule.last_job.map(|job| job.0),
        "last_outcome": schedule.last_outcome.map(|outcome| outcome.label()),
        "last_error": schedule.last_error,
        "problem": schedule.problem,
        "started": schedule.started,
        "skipped": schedule.skipped,
        "refused": schedule.refused,
        "missed": schedule.missed,
    })
}

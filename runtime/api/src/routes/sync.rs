//! `POST /v1/sync` and `POST /v1/rollback`.

use std::sync::Arc;
use std::time::Duration;

use galley_types::ErrorKind;
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use serde_json::{Value, json};

use super::{Call, json as json_reply, on_pool, query};
use crate::failure::Failure;
use crate::reply::Reply;
use crate::{FeedAgent, FeedCommand, FeedStatus};

/// How long a caller waits unless it says otherwise, and at most.
const WAIT_SECONDS: (u64, u64) = (30, 600);

/// Asks the agent, and answers with what came of it; 202 when that is not known in time.
pub(super) async fn answer(
    call: Call<'_>,
    body: Incoming,
    command: FeedCommand,
) -> Result<Reply, Failure> {
    if !body.is_end_stream() {
        call.pulse.set_body_unread();
    }
    let wait = match query::value(call.query, "wait") {
        None => WAIT_SECONDS.0,
        Some(text) => text.parse().map_err(|_error| {
            let message = format!("wait={text}: expected a number of seconds");
            Failure::refused(ErrorKind::Invalid, &message)
        })?,
    };
    let wait = Duration::from_secs(wait.min(WAIT_SECONDS.1));
    let agent: Arc<dyn FeedAgent> = call.service.slot.feed().ok_or_else(|| {
        let message = "this node follows no feed: set sync.feed and sync.root in galley.toml";
        Failure::refused(ErrorKind::Conflict, message)
    })?;
    match on_pool(move || agent.ask(command, wait)).await? {
        Some(Ok(outcome)) => Ok(json_reply(
            StatusCode::OK,
            &json!({
                "outcome": outcome.outcome,
                "version": outcome.version,
                "rows": outcome.rows,
            }),
        )),
        Some(Err((code, message))) => {
            let kind = match code {
                "nothing_before" => ErrorKind::Conflict,
                _ => ErrorKind::Unavailable,
            };
            Err(Failure::refused(kind, &format!("{code}: {message}")))
        }
        None => Ok(json_reply(
            StatusCode::ACCEPTED,
            &json!({ "outcome": "running" }),
        )),
    }
}

/// Adds the agent's status to what is shown of the feed.
pub(super) fn describe(status: &FeedStatus, shown: &mut Value) {
    match (shown.as_object_mut(), tree(status)) {
        (Some(fields), Value::Object(more)) => fields.extend(more),
        (_, tree) => *shown = tree,
    }
}

fn tree(status: &FeedStatus) -> Value {
    let time = |time: Option<galley_types::EventTime>| time.map(|time| time.to_string());
    json!({
        "location": status.location,
        "state": status.state,
        "feature_view": status.view,
        "version": status.version,
        "published_at": time(status.published_at),
        "installed_at": time(status.installed_at),
        "previous_version": status.previous,
        "held_version": status.held,
        "seen_version": status.seen,
        "expires_at": time(status.expires_at),
        "frozen": status.frozen,
        "checked_at": time(status.checked_at),
        "next_at": time(status.next_at),
        "error_code": status.error.as_ref().map(|(code, _)| code),
        "error": status.error.as_ref().map(|(_, message)| message),
        "failures": status.failures,
        "polls": status.polls,
        "installs": status.installs,
        "refused": status.refused,
        "bytes_fetched": status.bytes,
        "rows": status.rows,
    })
}

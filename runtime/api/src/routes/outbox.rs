//! `/v1/outbox`: what waits for the centre, what it refused, and what becomes of that.

use std::sync::Arc;

use galley_node::store::OutboxKind;
use galley_node::{OutboxStatus, ParkedReport, ParkedTarget};
use galley_types::ErrorKind;
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use serde_json::{Value, json};

use super::{Call, json as json_reply, on_pool, status};
use crate::failure::Failure;
use crate::json::{Form, Spare, parse_tree};
use crate::reply::Reply;

/// What is to become of what is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// It is sent again.
    Retry,
    /// It is dropped.
    Drop,
}

/// Everything there is to say of the outbox.
pub(super) async fn list(call: Call<'_>, body: Incoming) -> Result<Reply, Failure> {
    let node = Arc::clone(call.node(&body)?);
    if !body.is_end_stream() {
        call.pulse.set_body_unread();
    }
    let service = Arc::clone(call.service);
    let _permit = service.admit()?;
    let answer = move || {
        let outbox = node.outbox_status();
        let parked = node.outbox_parked(usize::MAX);
        let parked = parked.map_err(|error| Failure::of(&error))?;
        let tree = outbox.map(|outbox| status::outbox_tree(&OutboxStatus { parked, ..outbox }));
        Ok(json_reply(StatusCode::OK, &json!({ "outbox": tree })))
    };
    let guarded = Arc::clone(&service);
    on_pool(move || guarded.guarded(answer)).await?
}

/// Retries or drops what is parked of one target or of all.
pub(super) async fn change(
    call: Call<'_>,
    body: Incoming,
    demand: Demand,
) -> Result<Reply, Failure> {
    let node = Arc::clone(call.node(&body)?);
    let body = call.body(body).await?;
    let service = Arc::clone(call.service);
    let _permit = service.admit()?;
    let answer = move || {
        let target = chosen(&body.bytes, demand)?;
        let changed = match demand {
            Demand::Retry => node.outbox_retry(target.as_deref()),
            Demand::Drop => node.outbox_drop(target.as_deref()),
        };
        let changed = changed.map_err(|error| Failure::of(&error))?;
        let tree = json!({
            "parts": changed.parts,
            "entries": changed.entries,
            "bytes": changed.bytes,
        });
        Ok(json_reply(StatusCode::OK, &tree))
    };
    let guarded = Arc::clone(&service);
    on_pool(move || guarded.guarded(answer)).await?
}

/// The target that a body names, or none for all of them. All are not dropped by leaving it out.
fn chosen(bytes: &[u8], demand: Demand) -> Result<Option<String>, Failure> {
    let (target, all) = if bytes.is_empty() {
        (None, false)
    } else {
        let spare = Spare::default();
        let tree = parse_tree(bytes, &spare).map_err(|error| Failure::json_invalid(&error))?;
        let mut form = Form::open(tree, &[])?;
        let target = form.optional_text("target");
        let all = form.flag("all", false);
        form.finish()?;
        (target.map(|target| target.into_owned()), all)
    };
    let refused = |message: &str| Err(Failure::refused(ErrorKind::Invalid, message));
    match (&target, all, demand) {
        (Some(_), true, _) => refused("either \"target\" or \"all\": true is given, not both"),
        (None, false, Demand::Drop) => refused(
            "name the view or service as \"target\", or say \"all\": true to drop everything that \
             is parked",
        ),
        _ => Ok(target),
    }
}

/// What is parked.
pub(super) fn tree(outbox: &OutboxStatus) -> Value {
    let totals = &outbox.waiting.parked;
    let ParkedReport { targets, complete } = &outbox.parked;
    json!({
        "parts": totals.parts,
        "due_parts": totals.due,
        "entries": totals.entries,
        "bytes": totals.bytes,
        "oldest": totals.oldest.map(|oldest| oldest.to_string()),
        "oldest_age_seconds": outbox.parked_age.map(|age| age.as_secs()),
        "refused_entries": outbox.parked_entries,
        "dropped_entries": outbox.dropped_entries,
        "targets": targets.iter().map(target_tree).collect::<Vec<_>>(),
        "complete": complete,
    })
}

fn target_tree(target: &ParkedTarget) -> Value {
    json!({
        "target": target.target,
        "kind": match target.kind {
            OutboxKind::Rows => "rows",
            OutboxKind::Log => "logs",
        },
        "parts": target.parts,
        "due_parts": target.due,
        "entries": target.entries,
        "bytes": target.bytes,
        "oldest": target.oldest.to_string(),
        "parked": target.parked.to_string(),
        "refused": target.tried.to_string(),
        "attempts": target.attempts,
        "reason": target.reason,
    })
}

//! `POST /v1/imports`: rows of another online store, from a file in the data folder.

use galley_node::JobOrigin;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::LOCATION;

use super::materialize::JOB;
use super::{Call, idempotency, jobs, json as json_reply};
use crate::failure::Failure;
use crate::json::{Form, Spare, parse_tree};
use crate::reply::Reply;

/// Starts an import and answers 202 with its job.
pub(super) async fn answer(call: Call<'_>, body: Incoming) -> Result<Reply, Failure> {
    let service = call.service;
    let node = call.node(&body)?;
    let body = call.body(body).await?;
    let _permit = service.admit()?;
    service.guarded(|| {
        if body.bytes.is_empty() {
            return Err(Failure::body_missing());
        }
        let spare = Spare::default();
        let tree =
            parse_tree(&body.bytes, &spare).map_err(|error| Failure::json_invalid(&error))?;
        let mut form = Form::open(tree, &["file"])?;
        let file = form.text("file", "");
        form.finish()?;
        let origin = JobOrigin {
            idempotency: idempotency::key(call.headers, "import", &body.bytes)?,
            ..JobOrigin::default()
        };
        let id = node
            .import(&file, origin)
            .map_err(|error| jobs::refusal(&error))?;
        let tree = node.job(id).map(|job| jobs::tree(&job)).unwrap_or_default();
        let location = format!("/v1/jobs/{}", id.0);
        Ok(json_reply(StatusCode::ACCEPTED, &tree)
            .with(JOB, &id.0.to_string())
            .with(LOCATION, &location))
    })
}

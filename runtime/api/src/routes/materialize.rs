//! `POST /materialize` and `POST /materialize-incremental`.

use galley_node::{JobOrigin, JobState, JobStatus, MaterializeRequest};
use galley_types::{ErrorKind, EventTime};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{HeaderName, LOCATION};
use serde_json::json;

use super::{Call, idempotency, jobs, json as json_reply, query};
use crate::failure::Failure;
use crate::json::{Form, Spare, parse_tree};
use crate::reply::Reply;
use crate::service::bug;

/// The number of the job that a materialisation is.
pub(super) const JOB: HeaderName = HeaderName::from_static("x-galley-job");

const NO_VERSIONS: &str = "Version-aware materialization requires \
    'enable_online_feature_view_versioning: true' under 'registry' in feature_store.yaml.";

/// Starts a materialisation, and waits for its end unless `?async=true`.
pub(super) async fn answer(
    call: Call<'_>,
    body: Incoming,
    incremental: bool,
) -> Result<Reply, Failure> {
    let service = call.service;
    let node = call.node(&body)?;
    let flags = query::flag(call.query, "async")
        .and_then(|run_async| Ok((run_async, query::flag(call.query, "force")?)));
    let body = call.body(body).await?;
    let (run_async, force) = flags?;
    let _permit = service.admit()?;
    let mut started = None;
    service.guarded(|| {
        let mut request = request(&body.bytes, incremental, force)?;
        let asked = if incremental { "incremental" } else { "window" };
        request.origin.idempotency = idempotency::key(call.headers, asked, &body.bytes)?;
        let id = node.materialize(&request);
        started = Some(id.map_err(|error| jobs::refusal(&error))?);
        Ok(Reply::empty())
    })?;
    let id = started.ok_or_else(|| bug("a job that began has no number".to_owned()))?;
    let location = format!("/v1/jobs/{}", id.0);
    if run_async {
        let views = node.job(id).map(|job| job.views).unwrap_or_default();
        let tree = json!({"status": "accepted", "feature_views": views});
        return Ok(json_reply(StatusCode::ACCEPTED, &tree)
            .with(JOB, &id.0.to_string())
            .with(LOCATION, &location));
    }
    // The job goes on when the client goes away.
    match node.job_done(id).await {
        Some(job) => finished(&job).map(|reply| reply.with(JOB, &id.0.to_string())),
        None => Err(bug(format!("job {} was forgotten while it ran", id.0))),
    }
}

fn finished(job: &JobStatus) -> Result<Reply, Failure> {
    match job.state {
        JobState::Succeeded => Ok(Reply::null()),
        JobState::Cancelled => {
            let message = format!(
                "job {} was cancelled; what it had committed stays",
                job.id.0
            );
            Err(Failure::refused(ErrorKind::Conflict, &message))
        }
        JobState::Failed | JobState::Interrupted | JobState::Running => {
            let kind = match job.error_kind.unwrap_or(ErrorKind::Internal) {
                // The damage is in a source, not here: asking again, as Feast's SDK does after a
                // 500, would not mend it.
                ErrorKind::Corrupt => ErrorKind::Invalid,
                kind => kind,
            };
            let message = job.error.clone().unwrap_or_default();
            if kind == ErrorKind::Internal {
                return Err(bug(message));
            }
            Err(Failure::refused(kind, &message).because(message))
        }
    }
}

fn request(body: &[u8], incremental: bool, force: bool) -> Result<MaterializeRequest, Failure> {
    if body.is_empty() {
        return Err(Failure::body_missing());
    }
    let spare = Spare::default();
    let tree = parse_tree(body, &spare).map_err(|error| Failure::json_invalid(&error))?;
    let required: &[&'static str] = if incremental { &["end_ts"] } else { &[] };
    let mut form = Form::open(tree, required)?;
    let (start, end) = if incremental {
        (None, Some(form.text("end_ts", "")))
    } else {
        (form.optional_text("start_ts"), form.optional_text("end_ts"))
    };
    let views = form.optional_texts("feature_views");
    let disable_event_timestamp = !incremental && form.flag("disable_event_timestamp", false);
    form.flag("full_feature_names", false);
    let version = form.optional_text("version");
    form.finish()?;
    if version.is_some_and(|version| !version.is_empty()) {
        return Err(Failure::refused(ErrorKind::Invalid, NO_VERSIONS));
    }
    Ok(MaterializeRequest {
        start: time("start_ts", start.as_deref())?,
        end: time("end_ts", end.as_deref())?,
        views: views.map(|views| views.into_iter().map(|view| view.into_owned()).collect()),
        incremental,
        disable_event_timestamp,
        force,
        origin: JobOrigin::default(),
    })
}

fn time(field: &str, text: Option<&str>) -> Result<Option<EventTime>, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    EventTime::parse(text)
        .map(Some)
        .map_err(|error| Failure::refused(ErrorKind::Invalid, &format!("{field}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str, incremental: bool) -> (u16, String) {
        let failure = request(body.as_bytes(), incremental, false).unwrap_err();
        let text = String::from_utf8_lossy(failure.body()).into_owned();
        (failure.status().as_u16(), text)
    }

    #[test]
    fn bodies_are_feasts() {
        let body = br#"{"start_ts":"2026-01-01T00:00:00Z","end_ts":"2026-06-01","feature_views":["v"],"full_feature_names":true,"version":null}"#;
        let read = request(body, false, true).unwrap();
        assert_eq!(read.start, Some(EventTime::from_seconds(1_767_225_600)));
        assert_eq!(read.views.as_deref(), Some(&["v".to_owned()][..]));
        assert!(read.force && !read.incremental && !read.disable_event_timestamp);
        let read = request(
            br#"{"end_ts":"2026-06-01","feature_views":null}"#,
            true,
            false,
        )
        .unwrap();
        assert!(read.incremental && read.views.is_none() && read.start.is_none());
        let read = request(br#"{"disable_event_timestamp":true}"#, false, false).unwrap();
        assert!(read.disable_event_timestamp && read.end.is_none());
    }

    #[test]
    fn refusals_name_the_field() {
        let (status, text) = refusal(r#"{"start_ts":5,"end_ts":"2026-06-01"}"#, false);
        let expected = r#"{"detail":[{"type":"string_type","loc":["body","start_ts"],"msg":"Input should be a valid string","input":5}]}"#;
        assert_eq!((status, text.as_str()), (422, expected));
        let (status, text) = refusal("{}", true);
        let expected = r#"{"detail":[{"type":"missing","loc":["body","end_ts"],"msg":"Field required","input":{}}]}"#;
        assert_eq!((status, text.as_str()), (422, expected));
        let (status, text) = refusal(r#"{"end_ts":"zzz"}"#, true);
        assert!(
            status == 400 && text.contains("end_ts: 'zzz' is not a time"),
            "{text}"
        );
        let (status, text) = refusal(r#"{"version":"v1"}"#, false);
        assert!(
            status == 400 && text.contains("enable_online_feature_view_versioning"),
            "{text}"
        );
    }
}

//! `galley materialize` and `galley materialize-incremental`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use galley_types::{Clock as _, EventTime, SystemClock};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::args::{ClientArgs, IncrementalArgs, MaterializeArgs};
use crate::client::{Client, with_node};
use crate::output;

/// How often a job is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn window(args: &MaterializeArgs) -> Result<ExitCode> {
    let mut body = json!({
        "feature_views": views(&args.views),
        "disable_event_timestamp": args.disable_event_timestamp,
    });
    if let (Some(start), Some(end)) = (&args.start, &args.end) {
        let times = [
            ("start_ts", time("START", start)?),
            ("end_ts", time("END", end)?),
        ];
        for (key, time) in times {
            if let Some(object) = body.as_object_mut() {
                object.insert(key.to_owned(), time.into());
            }
        }
    }
    run(&args.client, "/materialize?async=true", &body)
}

pub(crate) fn incremental(args: &IncrementalArgs) -> Result<ExitCode> {
    let body = json!({ "end_ts": time("END", &args.end)?, "feature_views": views(&args.views) });
    run(&args.client, "/materialize-incremental?async=true", &body)
}

fn views(views: &[String]) -> Value {
    if views.is_empty() {
        Value::Null
    } else {
        json!(views)
    }
}

fn time(name: &str, text: &str) -> Result<String> {
    if text.eq_ignore_ascii_case("now") {
        return Ok(SystemClock.now().to_string());
    }
    let time = EventTime::parse(text).map_err(|error| anyhow!("{name}: {error}"))?;
    Ok(time.to_string())
}

fn run(args: &ClientArgs, path: &str, body: &Value) -> Result<ExitCode> {
    let done = with_node(args, |client| {
        let answer = client.post(path, body)?;
        let job = answer
            .job
            .ok_or_else(|| anyhow!("{} named no job", client.url()))?;
        follow(client, job)
    })?;
    if args.output.json {
        output::json(&done);
    }
    let state = done
        .get("state")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let written = count(&done, "rows_written");
    let read = count(&done, "rows_read");
    if state != "succeeded" {
        let error = done
            .get("error")
            .and_then(Value::as_str)
            .unwrap_or("no reason given");
        bail!("materialization {state} after {read} rows: {error}");
    }
    if !args.output.json {
        let views = done
            .get("feature_views")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        output::line(format!(
            "{views} feature views: {read} rows read, {written} rows stored"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows a job's progress until it ends.
pub(crate) fn follow(client: &Client, job: u64) -> Result<Value> {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template(
        "{spinner} {msg} {wide_bar} {human_pos}/{human_len} rows {eta}",
    ) {
        bar.set_style(style);
    }
    loop {
        let status = client.get(&format!("/v1/jobs/{job}"))?.body;
        let view = status
            .get("current_view")
            .and_then(Value::as_str)
            .unwrap_or_default();
        bar.set_message(view.to_owned());
        bar.set_position(count(&status, "rows_read"));
        if status.get("rows_total").is_some_and(Value::is_u64) {
            bar.set_length(count(&status, "rows_total"));
        }
        if status.get("state").and_then(Value::as_str) != Some("running") {
            bar.finish_and_clear();
            return Ok(status);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn count(status: &Value, key: &str) -> u64 {
    status.get(key).and_then(Value::as_u64).unwrap_or(0)
}

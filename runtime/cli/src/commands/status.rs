//! `galley status`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use crate::args::StatusArgs;
use crate::client::with_node;
use crate::{output, table};

/// Characters of a digest that are shown.
const DIGEST_CHARS: usize = 12;

pub(crate) fn run(args: &StatusArgs) -> Result<ExitCode> {
    let (status, url) = with_node(&args.client, |client| {
        Ok((client.get("/status")?.body, client.url().to_owned()))
    })?;
    if args.client.output.json {
        output::json(&status);
    } else {
        show(&status, &url);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(status: &Value, url: &str) {
    let text = |pointer: &str| status.pointer(pointer).map(plain).unwrap_or_default();
    output::line(format!("node      {url}, {}", text("/status")));
    output::line(format!(
        "registry  project {}, version {}, generation {}",
        text("/project"),
        text("/registry/version_id"),
        text("/registry/generation")
    ));
    if let Some(reason) = status.get("reason").and_then(Value::as_str) {
        output::line(format!("NOT READY {reason}"));
    }
    if let Some(reason) = status.pointer("/registry/refused").and_then(Value::as_str) {
        output::line(format!("REFUSED   {reason}"));
    }
    for reason in list(status, "/degraded_reasons") {
        output::line(format!("DEGRADED  {}", plain(reason)));
    }
    output::line(format!(
        "store     commit {}, {} bytes on disk, index {}",
        text("/store/commit"),
        text("/store/file_bytes"),
        if status.pointer("/store/index_ready") == Some(&Value::Bool(true)) {
            "ready"
        } else {
            "being built"
        }
    ));
    let columns = [
        ("feature view", "/name"),
        ("kind", "/kind"),
        ("rows", "/rows"),
        ("newest event", "/newest_event_time"),
        ("age s", "/freshness/age_seconds"),
        ("objective s", "/freshness/objective_seconds"),
        ("fresh", "/freshness/state"),
        ("materialized to", "/materialized_until"),
        ("problem", "/problem"),
    ];
    show_table(list(status, "/feature_views"), &columns);
    show_schedules(status);
    show_outbox(status);
    show_transforms(status);
    show_components(status);
}

fn list<'a>(status: &'a Value, pointer: &str) -> &'a [Value] {
    let items = status.pointer(pointer).and_then(Value::as_array);
    items.map_or(&[], Vec::as_slice)
}

fn show_table(items: &[Value], columns: &[(&str, &str)]) {
    let headings = columns.iter().map(|(heading, _)| (*heading).to_owned());
    let mut rows = vec![headings.collect::<Vec<_>>()];
    for item in items {
        let cell =
            |(_, pointer): &(&str, &str)| item.pointer(pointer).map(whole).unwrap_or_default();
        rows.push(columns.iter().map(cell).collect());
    }
    output::line("");
    output::line(table::lay_out(&rows));
}

/// A value as [`plain`] shows it, but whole seconds.
fn whole(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() => format!("{number:.0}"),
        _ => plain(value),
    }
}

fn show_schedules(status: &Value) {
    let schedules = list(status, "/schedules");
    if schedules.is_empty() {
        return;
    }
    let columns = [
        ("schedule", "/name"),
        ("cron", "/cron"),
        ("kind", "/kind"),
        ("next run", "/next_run"),
        ("last run", "/last_run"),
        ("job", "/last_job"),
        ("outcome", "/last_outcome"),
        ("skipped", "/skipped"),
        ("problem", "/problem"),
    ];
    show_table(schedules, &columns);
    for schedule in schedules {
        if let Some(error) = schedule.get("last_error").and_then(Value::as_str) {
            let name = schedule.get("name").map(plain).unwrap_or_default();
            output::line(format!("SCHEDULE {name}: {error}"));
        }
    }
}

fn show_outbox(status: &Value) {
    let Some(outbox) = status.get("outbox").filter(|it| it.is_object()) else {
        return;
    };
    let text = |key: &str| outbox.get(key).map(plain).unwrap_or_default();
    output::line("");
    output::line(format!(
        "outbox    to {}, {} entries of {} bytes wait, the oldest since {}, {} sent",
        text("to"),
        text("entries"),
        text("bytes"),
        text("oldest"),
        text("sent_entries"),
    ));
    if let Some(reason) = outbox.get("failure").and_then(Value::as_str) {
        output::line(format!("UNSENT    {reason}"));
    }
    for target in list(outbox, "/parked/targets") {
        let text = |key: &str| target.get(key).map(plain).unwrap_or_default();
        output::line(format!(
            "PARKED    {} entries of {}: {} (see galley outbox)",
            text("entries"),
            text("target"),
            text("reason"),
        ));
    }
}

fn show_transforms(status: &Value) {
    let transforms = status.pointer("/transforms").and_then(Value::as_array);
    let Some(transforms) = transforms.filter(|transforms| !transforms.is_empty()) else {
        return;
    };
    let headings = [
        "on-demand view",
        "state",
        "component",
        "version",
        "digest",
        "calls",
        "p50 us",
        "p99 us",
        "trapped",
        "limited",
        "breaker",
    ];
    let keys = [
        "/on_demand_feature_view",
        "/state",
        "/component",
        "/version",
        "/digest",
        "/calls",
        "/p50_micros",
        "/p99_micros",
        "/outcomes/trapped",
        "/outcomes/limited",
        "/breaker",
    ];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    for transform in transforms {
        let cell = |key: &&str| {
            let text = transform.pointer(key).map(plain).unwrap_or_default();
            match text.strip_prefix("sha256:") {
                Some(digest) => digest.chars().take(DIGEST_CHARS).collect(),
                None => text,
            }
        };
        rows.push(keys.iter().map(cell).collect());
    }
    output::line("");
    output::line(table::lay_out(&rows));
    for transform in transforms {
        let reasons = transform.get("reasons").and_then(Value::as_array);
        for reason in reasons.into_iter().flatten() {
            let view = transform.get("on_demand_feature_view").map(plain);
            let view = view.unwrap_or_default();
            output::line(format!("QUARANTINED {view}: {}", plain(reason)));
        }
    }
}

fn show_components(status: &Value) {
    let components = list(status, "/http_components");
    if components.is_empty() {
        return;
    }
    let columns = [
        ("HTTP component", "/name"),
        ("route", "/route"),
        ("state", "/state"),
        ("calls", "/calls"),
        ("p50 us", "/p50_micros"),
        ("p99 us", "/p99_micros"),
        ("failed", "/outcomes/failed"),
        ("late", "/outcomes/deadline"),
        ("limited", "/outcomes/limited"),
        ("kept", "/kept"),
        ("breaker", "/breaker"),
    ];
    show_table(components, &columns);
    for component in components {
        if let Some(reason) = component.get("reason").and_then(Value::as_str) {
            let name = component.get("name").map(plain).unwrap_or_default();
            output::line(format!("REFUSED   {name}: {reason}"));
        }
    }
}

/// A value as a table shows it.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

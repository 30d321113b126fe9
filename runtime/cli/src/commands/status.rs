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
    for line in feed_lines(status) {
        output::line(line);
    }
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

/// What a node that follows a feed says of it, and nothing for others.
fn feed_lines(status: &Value) -> Vec<String> {
    let feed = status
        .get("feed")
        .filter(|feed| feed.get("location").is_some());
    let Some(feed) = feed else {
        return Vec::new();
    };
    let text = |key: &str| feed.get(key).map(plain).unwrap_or_default();
    let view = feed.get("feature_view").and_then(Value::as_str);
    let at = view.map_or_else(String::new, |view| format!(" the rows of {view}"));
    let mut lines = vec![
        format!(
            "feed      {}, release {} of {}, {}{at}",
            text("location"),
            text("version"),
            text("published_at"),
            text("state"),
        ),
        format!(
            "          newest seen {}, confirmed {}, good until {}, {} bytes and {} rows fetched, \
             next look {}",
            text("seen_version"),
            text("checked_at"),
            text("expires_at"),
            text("bytes_fetched"),
            text("rows"),
            text("next_at"),
        ),
    ];
    if let Some(held) = feed.get("held_version").filter(|held| !held.is_null()) {
        lines.push(format!(
            "HELD      release {held} was rolled back and stays away, a newer one will come"
        ));
    }
    if feed.get("frozen") == Some(&Value::Bool(true)) {
        lines.push(format!(
            "FROZEN    what vouches for the feed expired at {}: publish again, or find what holds \
             the feed back",
            text("expires_at")
        ));
    }
    if let Some(reason) = feed.get("error").and_then(Value::as_str) {
        lines.push(format!(
            "REFUSED   {reason} ({}, {} in a row)",
            text("error_code"),
            text("failures")
        ));
    }
    lines
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_feed_is_shown_with_what_is_wrong_with_it() {
        assert!(feed_lines(&json!({ "feed": null })).is_empty());
        // The freshness of a registry that is followed elsewhere is no feed.
        assert!(feed_lines(&json!({ "feed": { "age_seconds": 3 } })).is_empty());
        let feed = json!({ "feed": {
            "location": "https://features.example.com/feed", "version": 7, "state": "fetching",
            "feature_view": "ships", "seen_version": 8, "held_version": 6, "frozen": true,
            "expires_at": "2026-03-01T12:00:00Z", "error_code": "wrong_digest", "failures": 3,
            "error": "targets/x does not have the SHA-256 that was signed for it",
        }});
        let lines = feed_lines(&feed);
        let begins = [
            "feed      https://features",
            "          newest seen 8,",
            "HELD      release 6",
        ];
        for (line, begin) in lines.iter().zip(begins) {
            assert!(line.starts_with(begin), "{line}");
        }
        assert!(
            lines[0].ends_with("release 7 of , fetching the rows of ships"),
            "{}",
            lines[0]
        );
        assert!(lines[3].contains("2026-03-01T12:00:00Z"), "{}", lines[3]);
        assert!(
            lines[4].ends_with("(wrong_digest, 3 in a row)"),
            "{}",
            lines[4]
        );
    }
}

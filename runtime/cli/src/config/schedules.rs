//! The parts of `galley.toml` that are no single settings: `[[schedule]]` and `[freshness.views]`.

use std::collections::BTreeMap;
use std::time::Duration;

use galley_sync::{Schedule, ScheduleKind, ScheduleTarget};
use toml::{Table, Value};

use super::nearest;
use super::units::duration;

/// What stands in a `[[schedule]]`.
const KEYS: [&str; 8] = [
    "name", "cron", "views", "service", "kind", "window", "jitter", "timezone",
];

/// Reads every `[[schedule]]`. Cron expressions and time zones are looked at later.
pub(super) fn read(value: &Value) -> Result<Vec<Schedule>, String> {
    let Value::Array(entries) = value else {
        return Err("schedule: write [[schedule]], once for each".to_owned());
    };
    let mut schedules: Vec<Schedule> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let at = |reason: String| format!("[[schedule]] number {}: {reason}", index + 1);
        let Value::Table(entry) = entry else {
            return Err(at("expected a table".to_owned()));
        };
        let mut schedule = one(entry).map_err(at)?;
        if schedule.name.is_empty() {
            schedule.name = free_name(&schedule, &schedules);
        }
        schedules.push(schedule);
    }
    Ok(schedules)
}

/// Reads `[freshness.views]`: an objective for each view named.
pub(super) fn objectives(value: &Value) -> Result<BTreeMap<String, Duration>, String> {
    let Value::Table(views) = value else {
        return Err("freshness.views: expected a table of durations by view".to_owned());
    };
    let mut objectives = BTreeMap::new();
    for (view, objective) in views {
        let objective = match objective {
            Value::String(text) => duration(text),
            other => Err(format!("expected a duration such as \"15m\", got {other}")),
        };
        let objective = objective.map_err(|reason| format!("freshness.views.{view}: {reason}"))?;
        objectives.insert(view.clone(), objective);
    }
    Ok(objectives)
}

fn one(entry: &Table) -> Result<Schedule, String> {
    if let Some(key) = entry.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let known = KEYS.iter().map(|key| (*key).to_owned());
        return Err(format!("unknown key '{key}'{}", nearest(key, known)));
    }
    let span = |key| match text(entry, key)? {
        Some(span) => duration(&span)
            .map(Some)
            .map_err(|reason| format!("{key}: {reason}")),
        None => Ok(None),
    };
    let target = match (views(entry)?, text(entry, "service")?) {
        (Some(_), Some(_)) => return Err("'views' and 'service' exclude each other".to_owned()),
        (Some(views), None) => ScheduleTarget::Views(views),
        (None, Some(service)) => ScheduleTarget::Service(service),
        (None, None) => ScheduleTarget::All,
    };
    let window = span("window")?;
    let kind = match (text(entry, "kind")?.as_deref(), window) {
        (None | Some("incremental"), None) => ScheduleKind::Incremental,
        (None | Some("incremental"), Some(_)) => {
            return Err("'window' is for kind = \"full\"".to_owned());
        }
        (Some("full"), window) => ScheduleKind::Full(window),
        (Some(other), _) => {
            return Err(format!("kind: expected incremental or full, got '{other}'"));
        }
    };
    Ok(Schedule {
        name: text(entry, "name")?.unwrap_or_default(),
        cron: text(entry, "cron")?.ok_or("'cron' is missing, such as cron = \"*/5 * * * *\"")?,
        timezone: text(entry, "timezone")?.unwrap_or_else(|| "UTC".to_owned()),
        target,
        kind,
        jitter: span("jitter")?.unwrap_or_default(),
    })
}

fn text(entry: &Table, key: &str) -> Result<Option<String>, String> {
    match entry.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(format!("{key}: expected a text, got {other}")),
    }
}

fn views(entry: &Table) -> Result<Option<Vec<String>>, String> {
    let Some(value) = entry.get("views") else {
        return Ok(None);
    };
    let expected = || format!("views: expected names such as [\"driver_stats\"], got {value}");
    let Value::Array(items) = value else {
        return Err(expected());
    };
    let names: Option<Vec<String>> = items
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect();
    match names {
        Some(names) if !names.is_empty() => Ok(Some(names)),
        _ => Err(expected()),
    }
}

/// A name for a schedule without one: what it is for, and a number if another has that.
fn free_name(schedule: &Schedule, before: &[Schedule]) -> String {
    let base = match &schedule.target {
        ScheduleTarget::All => "all",
        ScheduleTarget::Service(name) => name,
        ScheduleTarget::Views(views) => views.first().map_or("all", String::as_str),
    };
    // A name labels metrics; views may be called what they like.
    let base: String = base
        .chars()
        .filter(char::is_ascii_graphic)
        .take(48)
        .collect();
    let is_taken = |name: &String| before.iter().any(|other| other.name == *name);
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let mut names = std::iter::once(base.clone()).chain(numbered);
    // Of one more name than there are schedules, one is free.
    let found = names.find(|name| !name.is_empty() && !is_taken(name));
    found.unwrap_or(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedules(text: &str) -> Result<Vec<Schedule>, String> {
        let table: Table = text.parse().unwrap();
        read(&table["schedule"])
    }

    #[test]
    fn schedules_have_defaults_and_names() {
        let read = schedules(
            "[[schedule]]\ncron = '@hourly'\n\
             [[schedule]]\ncron = '* * * * *'\nviews = ['v', 'w']\njitter = '10s'\n\
             [[schedule]]\ncron = '0 3 * * *'\nviews = ['v']\nkind = 'full'\nwindow = '48h'\n\
             [[schedule]]\nname = 'n'\ncron = '@daily'\nservice = 's'\ntimezone = 'Europe/Berlin'\nkind = 'full'\n",
        )
        .unwrap();
        let names: Vec<&str> = read.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["all", "v", "v-2", "n"]);
        assert_eq!(read[0].target, ScheduleTarget::All);
        assert_eq!(
            (read[0].kind, read[0].timezone.as_str()),
            (ScheduleKind::Incremental, "UTC")
        );
        assert_eq!(read[1].jitter, Duration::from_secs(10));
        let window = Duration::from_secs(48 * 3600);
        assert_eq!(read[2].kind, ScheduleKind::Full(Some(window)));
        assert_eq!(read[3].kind, ScheduleKind::Full(None));
        assert_eq!(read[3].target, ScheduleTarget::Service("s".to_owned()));
    }

    #[test]
    fn what_is_wrong_with_a_schedule_is_named() {
        let check = |text: &str, wanted: &str| {
            let error = schedules(text).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        };
        check("[schedule]\ncron = '@daily'", "write [[schedule]]");
        check("[[schedule]]\nviews = ['v']", "number 1: 'cron' is missing");
        check(
            "[[schedule]]\ncron = '@daily'\n[[schedule]]\ncrom = 'x'",
            "number 2: unknown key 'crom'; did you mean 'cron'",
        );
        check(
            "[[schedule]]\ncron = '@daily'\nviews = []",
            "expected names",
        );
        check(
            "[[schedule]]\ncron = '@daily'\nviews = ['v']\nservice = 's'",
            "exclude each other",
        );
        check(
            "[[schedule]]\ncron = '@daily'\nwindow = '1h'",
            "for kind = \"full\"",
        );
        check(
            "[[schedule]]\ncron = '@daily'\nkind = 'weekly'",
            "got 'weekly'",
        );
        check(
            "[[schedule]]\ncron = '@daily'\njitter = '9'",
            "jitter: expected a duration",
        );
    }
}

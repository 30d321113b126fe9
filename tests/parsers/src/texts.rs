//! Short texts: times, durations, sizes, references to features.

use std::time::Duration;

use galley_sync::{Schedule, ScheduleKind, ScheduleTarget, Scheduler};
use galley_types::{EventTime, FeatureRef, write_rfc3339};

/// Seconds since the epoch at which years have four digits, and no longer have.
const YEAR_1: i64 = -62_135_596_800;
const YEAR_10000: i64 = 253_402_300_800;

/// One text, as everything that texts are read as.
pub(crate) fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // Years that have no four digits are shown as the first or the last that have.
    if let Ok(time) = EventTime::parse(text)
        && (YEAR_1..YEAR_10000).contains(&time.seconds())
    {
        let mut written = Vec::new();
        write_rfc3339(time, &mut written);
        let written = String::from_utf8(written).expect("a time is text");
        assert_eq!(
            EventTime::parse(&written).ok(),
            Some(time),
            "{text} is written as {written}"
        );
    }
    let _ = galley_manifest::duration(text);
    let _ = galley_manifest::size(text);
    let _ = FeatureRef::parse(text);
    cron(text);
}

/// An expression of cron, and behind a line's end the name of a time zone.
fn cron(text: &str) {
    let (cron, timezone) = text.split_once('\n').unwrap_or((text, "Europe/Berlin"));
    let schedule = Schedule {
        name: "a".to_owned(),
        cron: cron.to_owned(),
        timezone: timezone.to_owned(),
        target: ScheduleTarget::All,
        kind: ScheduleKind::Incremental,
        jitter: Duration::ZERO,
    };
    let now = EventTime::from_seconds(1_767_225_600);
    if let Ok(next) = Scheduler::check(&[schedule], now) {
        assert!(next.iter().flatten().all(|time| *time > now), "{text}");
    }
}

//! Figures of a node that follows a feed.

use std::fmt::Error as FmtError;

use galley_types::EventTime;

use super::export::Families;
use crate::FeedStatus;

/// Writes what the agent says of itself.
pub(super) fn encode(
    status: &FeedStatus,
    now: EventTime,
    families: &mut Families<'_>,
) -> Result<(), FmtError> {
    let counters = [
        ("galley_sync_polls", "Looks at the feed", status.polls),
        (
            "galley_sync_installs",
            "Releases installed",
            status.installs,
        ),
        ("galley_sync_refused", "Releases refused", status.refused),
        (
            "galley_sync_fetched_bytes",
            "Bytes fetched from the feed",
            status.bytes,
        ),
        (
            "galley_sync_rows",
            "Rows taken in from the feed",
            status.rows,
        ),
    ];
    for (name, help, value) in counters {
        families.counters(name, help, |family| family.counter(&[], value))?;
    }
    let gauges = [
        (
            "galley_feed_version",
            "The release that serves",
            status.version.unwrap_or(0),
        ),
        (
            "galley_feed_seen_version",
            "The newest release seen",
            status.seen.unwrap_or(0),
        ),
        (
            "galley_feed_frozen",
            "1 while what vouches for the feed has expired",
            status.frozen.into(),
        ),
        (
            "galley_sync_failures",
            "Looks in a row that came to nothing",
            status.failures.into(),
        ),
    ];
    for (name, help, value) in gauges {
        families.gauges(name, help, |family| family.amount(&[], value))?;
    }
    let ages = [
        (
            "galley_snapshot_age_seconds",
            "Seconds since the release that serves was published",
            status.published_at,
        ),
        (
            "galley_feed_age_seconds",
            "Seconds since the feed was last found as it should be",
            status.checked_at,
        ),
    ];
    for (name, help, since) in ages {
        families.gauges(name, help, |family| match since {
            Some(since) => family.gauge(&[], seconds_between(since, now)),
            None => Ok(()),
        })?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "an age for a graph")]
fn seconds_between(from: EventTime, to: EventTime) -> f64 {
    to.0.saturating_sub(from.0).max(0) as f64 / 1e6
}

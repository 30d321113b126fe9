//! Figures of a node that follows a feed.

use std::fmt::Error as FmtError;

use super::export::Families;
use crate::FeedStatus;

/// Writes what the agent says of itself.
pub(super) fn encode(status: &FeedStatus, families: &mut Families<'_>) -> Result<(), FmtError> {
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
    Ok(())
}

//! Figures of the outbox.

use std::fmt::Error as FmtError;

use galley_node::OutboxStatus;

use super::export::Families;

/// Writes what waits for the centre and how the sending goes.
pub(super) fn encode(
    outbox: Option<&OutboxStatus>,
    families: &mut Families<'_>,
) -> Result<(), FmtError> {
    let Some(outbox) = outbox else { return Ok(()) };
    let oldest = outbox.oldest_age.map_or(0, |age| age.as_secs());
    for (name, help, value) in [
        (
            "galley_outbox_entries",
            "Pushes and logs that wait for the centre",
            outbox.waiting.entries,
        ),
        ("galley_outbox_bytes", "Their bytes", outbox.waiting.bytes),
        (
            "galley_outbox_oldest_seconds",
            "How long the oldest of them has waited",
            oldest,
        ),
    ] {
        families.gauges(name, help, |family| family.amount(&[], value))?;
    }
    for (name, help, value) in [
        (
            "galley_outbox_sent",
            "Entries that the centre acknowledged",
            outbox.sent_entries,
        ),
        ("galley_outbox_sent_rows", "Their rows", outbox.sent_rows),
        (
            "galley_outbox_failures",
            "Attempts to send that failed",
            outbox.failures,
        ),
        (
            "galley_outbox_damaged",
            "Entries that could not be sent because their records were damaged on the disk",
            outbox.damaged,
        ),
        (
            "galley_serving_log_rows",
            "Rows of served features kept for the offline store",
            outbox.log_rows,
        ),
        (
            "galley_serving_log_dropped",
            "Rows of sampled served features that were dropped because there was no room for them",
            outbox.log_rows_dropped,
        ),
    ] {
        families.counters(name, help, |family| family.counter(&[], value))?;
    }
    Ok(())
}

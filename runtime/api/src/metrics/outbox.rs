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
    parked(outbox, families)?;
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
            "galley_outbox_refused",
            "Entries that were parked because the centre refused them",
            outbox.parked_entries,
        ),
        (
            "galley_outbox_dropped",
            "Parked entries that were dropped on demand",
            outbox.dropped_entries,
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

/// Writes what the centre refused.
fn parked(outbox: &OutboxStatus, families: &mut Families<'_>) -> Result<(), FmtError> {
    for (name, help, value) in [
        (
            "galley_outbox_parked_parts",
            "Batches that the centre refused and that are kept until somebody decides",
            outbox.waiting.parked.parts,
        ),
        (
            "galley_outbox_parked_due",
            "Those of them that are to be sent again",
            outbox.waiting.parked.due,
        ),
        (
            "galley_outbox_parked_entries",
            "Pushes and logs that are parked",
            outbox.waiting.parked.entries,
        ),
        (
            "galley_outbox_parked_bytes",
            "Their bytes",
            outbox.waiting.parked.bytes,
        ),
        (
            "galley_outbox_parked_oldest_seconds",
            "How long the oldest of them has waited",
            outbox.parked_age.map_or(0, |age| age.as_secs()),
        ),
    ] {
        families.gauges(name, help, |family| family.amount(&[], value))?;
    }
    Ok(())
}

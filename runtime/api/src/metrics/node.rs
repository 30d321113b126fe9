//! The node's own figures.

use std::fmt::Error as FmtError;

use galley_node::{JobState, JobTotals, NodeStatus, Readiness};

use super::export::Families;
use super::{freshness, outbox, transforms};

/// Writes what a node says of itself.
pub(super) fn encode(status: &NodeStatus, families: &mut Families<'_>) -> Result<(), FmtError> {
    views(status, families)?;
    store(status, families)?;
    transforms::encode(status, families)?;
    jobs(status, families)?;
    freshness::encode(status, families)?;
    outbox::encode(status.outbox.as_ref(), families)?;
    registry(status, families)
}

fn views(status: &NodeStatus, families: &mut Families<'_>) -> Result<(), FmtError> {
    let project = status.project.as_deref().unwrap_or_default();
    let help = "Seconds since the end of the view's last materialisation window";
    families.gauges("feast_feature_freshness_seconds", help, |family| {
        for view in &status.views {
            if let Some(watermark) = view.watermark {
                let labels = [("feature_view", view.name.as_str()), ("project", project)];
                family.gauge(&labels, seconds_between(watermark.0, status.now.0))?;
            }
        }
        Ok(())
    })?;
    let help = "Seconds since the newest event time stored";
    families.gauges("galley_view_newest_event_age_seconds", help, |family| {
        for view in &status.views {
            if let Some(newest) = view.newest_event_time {
                let labels = [("feature_view", view.name.as_str()), ("project", project)];
                family.gauge(&labels, seconds_between(newest.0, status.now.0))?;
            }
        }
        Ok(())
    })?;
    families.gauges("galley_view_rows", "Rows stored", |family| {
        for view in &status.views {
            let labels = [("feature_view", view.name.as_str()), ("project", project)];
            family.amount(&labels, view.rows)?;
        }
        Ok(())
    })
}

#[expect(clippy::cast_precision_loss, reason = "an age for a graph")]
fn seconds_between(from_micros: i64, to_micros: i64) -> f64 {
    to_micros.saturating_sub(from_micros).max(0) as f64 / 1e6
}

fn store(status: &NodeStatus, families: &mut Families<'_>) -> Result<(), FmtError> {
    let store = &status.store;
    let index_bytes = store.tables.iter().map(|table| table.index_bytes).sum();
    let rows = store.tables.iter().map(|table| table.rows).sum();
    let gauges = [
        ("galley_store_rows", "Rows stored, all tables", rows),
        (
            "galley_store_file_bytes",
            "Bytes of the store's file",
            store.file_bytes,
        ),
        (
            "galley_store_free_bytes",
            "Bytes free on its file system",
            store.free_bytes.unwrap_or(0),
        ),
        (
            "galley_store_index_bytes",
            "Bytes of the read index",
            index_bytes,
        ),
        (
            "galley_store_index_ready",
            "1 once the read index is built",
            store.index_ready.into(),
        ),
        (
            "galley_store_healthy",
            "0 after an I/O error until recovered",
            store.healthy.into(),
        ),
        (
            "galley_store_queue_depth",
            "Asynchronous writes waiting",
            store.queued,
        ),
    ];
    for (name, help, value) in gauges {
        families.gauges(name, help, |family| family.amount(&[], value))?;
    }
    for (name, help) in [
        ("galley_store_commits", "Commits since the store was opened"),
        (
            "galley_store_fsyncs",
            "Syncs of the file since it was opened: one for each commit",
        ),
    ] {
        families.counters(name, help, |family| family.counter(&[], store.commits))?;
    }
    Ok(())
}

fn jobs(status: &NodeStatus, families: &mut Families<'_>) -> Result<(), FmtError> {
    let help = "Materialisations that ended, by view";
    families.counters("feast_materialization_result", help, |family| {
        for (view, totals) in &status.job_totals {
            let view = view.as_str();
            let success = [("feature_view", view), ("status", "success")];
            family.counter(&success, totals.succeeded)?;
            let failure = [("feature_view", view), ("status", "failure")];
            family.counter(&failure, totals.failed)?;
        }
        Ok(())
    })?;
    let help = "Seconds of the materialisation a view was part of";
    families.histograms("feast_materialization_duration_seconds", help, |family| {
        for (view, totals) in &status.job_totals {
            let bounds = JobTotals::BOUNDS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(totals.seconds).collect();
            let labels = [("feature_view", view.as_str())];
            family.buckets(&labels, totals.seconds_sum, &buckets)?;
        }
        Ok(())
    })?;
    families.gauges("galley_jobs_running", "Jobs under way", |family| {
        let jobs = status.jobs.iter();
        let running = jobs.filter(|job| job.state == JobState::Running).count();
        family.amount(&[], running as u64)
    })
}

fn registry(status: &NodeStatus, families: &mut Families<'_>) -> Result<(), FmtError> {
    let help = "Registries installed since the start";
    families.gauges("galley_registry_generation", help, |family| {
        family.amount(&[], status.generation)
    })?;
    let help = "Registries that were offered and refused";
    families.counters("galley_registry_refused", help, |family| {
        family.counter(&[], status.registry_refusals)
    })?;
    let ready = status.readiness == Readiness::Ready;
    families.gauges("galley_ready", "1 while look-ups are answered", |family| {
        family.amount(&[], ready.into())
    })
}

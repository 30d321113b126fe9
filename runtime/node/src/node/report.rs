//! What a node says of itself.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use galley_registry::{Registry, StoredView, ViewKind};
use galley_store::{IndexState, TableStats};
use galley_types::EventTime;

use super::{Node, table_name, watermark_name};
use crate::{NodeStatus, ViewStatus};

impl Node {
    /// The node's state.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let store = self.store.stats();
        let snapshot = self.store.load();
        let generation = self.generation.load_full();
        let registry = generation.as_ref().map(|generation| &generation.registry);
        let view = |view: &StoredView| {
            let project = registry.map_or("", |registry| registry.project());
            let name = table_name(project, &view.name);
            let table = store
                .tables
                .iter()
                .find(|table| table.name == name && table.live);
            let mark = table.map(|table| watermark_name(project, &view.name, table.table));
            let watermark = mark.and_then(|mark| snapshot.watermark(&mark).ok()?);
            view_status(view, table, watermark)
        };
        // Before the locks below are taken: they are held until the whole status is made.
        let freshness = self.freshness();
        NodeStatus {
            readiness: self.readiness(),
            now: self.now(),
            project: registry.map(|registry| registry.project().to_owned()),
            generation: generation
                .as_ref()
                .map_or(0, |generation| generation.number),
            installed: self
                .installs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .registry_at,
            registry_version: registry.map(|registry| registry.version_id().to_owned()),
            registry_updated: registry.and_then(|registry| registry.last_updated()),
            registry_warnings: registry
                .map(|it| it.warnings().to_vec())
                .unwrap_or_default(),
            registry_refused: self
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            registry_refusals: self.refusals.load(Ordering::Relaxed),
            views: registry
                .map(|it| it.views().iter().map(view).collect())
                .unwrap_or_default(),
            transforms: generation
                .as_ref()
                .map(|it| it.bindings.status(&it.registry))
                .unwrap_or_default(),
            transforms_refused: self
                .transforms_refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            services: registry.map(service_names).unwrap_or_default(),
            push_sources: registry.map(source_names).unwrap_or_default(),
            jobs: self.jobs(),
            freshness,
            schedules: self.schedules(),
            job_totals: self.jobs.totals(),
            python_quirks: self.config.python_quirks,
            outbox: self.outbox_status(),
            store,
        }
    }
}

fn service_names(registry: &Arc<Registry>) -> Vec<String> {
    let services = registry.services().iter();
    services.map(|service| service.name.clone()).collect()
}

fn source_names(registry: &Arc<Registry>) -> Vec<String> {
    let sources = registry.push_sources().iter();
    sources.map(|source| source.name.clone()).collect()
}

fn view_status(
    view: &StoredView,
    table: Option<&TableStats>,
    watermark: Option<EventTime>,
) -> ViewStatus {
    ViewStatus {
        name: view.name.clone(),
        kind: match view.kind {
            ViewKind::Batch => "batch",
            ViewKind::Stream => "stream",
            ViewKind::Label => "label",
            ViewKind::OnDemand => "on_demand",
        },
        online: view.online,
        enabled: view.enabled,
        problem: view.servable.clone().err(),
        rows: table.map_or(0, |table| table.rows),
        indexed: table.is_some_and(|table| table.index == IndexState::Ready),
        ttl: view.ttl,
        newest_event_time: table.and_then(|table| table.newest_event_time),
        watermark,
        push_source: view.push_source.clone(),
    }
}

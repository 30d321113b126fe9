//! `/status`.

use galley_node::store::StoreStats;
use galley_node::{NodeStatus, OutboxStatus, Readiness, ViewFreshness, ViewStatus};
use galley_types::EventTime;
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::{admin, freshness, jobs, json as json_reply, outbox, schedules, sync};
use crate::HttpComponentStatus;
use crate::reply::Reply;
use crate::service::Service;

/// Everything there is to say of server and node; 200 even while it starts.
pub(super) fn answer(service: &Service) -> Reply {
    let mut tree = match service.slot.node() {
        Some(node) => node_tree(&node.status()),
        None => admin::starting(service),
    };
    if let Some(fields) = tree.as_object_mut() {
        let uptime = service.started.elapsed().as_secs();
        let components = service.slot.components();
        let components = components.map(|components| components.status());
        let components = components.iter().flatten().map(component_tree);
        let components: Vec<Value> = components.collect();
        fields.insert("http_components".to_owned(), json!(components));
        if let Some(agent) = service.slot.feed() {
            // What is known of its freshness stands there already.
            let feed = fields.entry("feed").or_insert_with(|| json!({}));
            sync::describe(&agent.status(), feed);
        }
        fields.insert("version".to_owned(), json!(service.info.version));
        fields.insert("uptime_seconds".to_owned(), json!(uptime));
    }
    json_reply(StatusCode::OK, &tree)
}

fn node_tree(status: &NodeStatus) -> Value {
    let degraded = &status.freshness.degraded;
    let (word, reason) = match &status.readiness {
        Readiness::Ready if !degraded.is_empty() => ("degraded", None),
        Readiness::Ready => ("ready", None),
        Readiness::NotReady(reason) => ("not_ready", Some(reason)),
    };
    json!({
        "status": word,
        "reason": reason,
        "degraded_reasons": degraded,
        "now": status.now.to_string(),
        "project": status.project,
        "python_quirks": status.python_quirks,
        "registry": {
            "generation": status.generation,
            "installed": time(status.installed),
            "version_id": status.registry_version,
            "last_updated": time(status.registry_updated),
            "warnings": status.registry_warnings,
            "refused": status.registry_refused,
            "refusals": status.registry_refusals,
        },
        "snapshot": freshness::age(&status.freshness.snapshot, "confirmed"),
        "feed": status.freshness.feed.as_ref().map(|age| freshness::age(age, "confirmed")),
        "feature_views": view_trees(status),
        "feature_services": status.services,
        "push_sources": status.push_sources,
        "transforms": super::transforms::trees(&status.transforms),
        "transforms_refused": status.transforms_refused,
        "store": store_tree(&status.store),
        "schedules": status.schedules.iter().map(schedules::tree).collect::<Vec<_>>(),
        "outbox": status.outbox.as_ref().map(outbox_tree),
        "jobs": status.jobs.iter().map(jobs::tree).collect::<Vec<_>>(),
    })
}

fn component_tree(status: &HttpComponentStatus) -> Value {
    let micros = |time: std::time::Duration| time.as_nanos() as f64 / 1_000.0;
    if let Some(reason) = &status.refused {
        return json!({
            "name": status.name,
            "route": status.route,
            "state": "refused",
            "reason": reason,
        });
    }
    let counts = |outcomes: &[(&'static str, u64)]| -> Map<String, Value> {
        outcomes
            .iter()
            .map(|(outcome, count)| ((*outcome).to_owned(), json!(count)))
            .collect()
    };
    let limits: Map<String, Value> = status
        .limits
        .iter()
        .map(|(limit, value)| ((*limit).to_owned(), json!(value)))
        .collect();
    json!({
        "name": status.name,
        "route": status.route,
        "state": "ready",
        "digest": status.digest,
        "limits": limits,
        "key_value_stores": status.key_value_stores,
        "calls": status.outcomes.iter().map(|(_, count)| count).sum::<u64>(),
        "outcomes": counts(&status.outcomes),
        "outbound": counts(&status.outbound),
        "instances": status.instances,
        "kept": status.kept,
        "breaker": status.breaker,
        "breaker_opened": status.breaker_opened,
        "running": status.running,
        "waiting": status.waiting,
        "p50_micros": micros(status.p50),
        "p99_micros": micros(status.p99),
    })
}

fn view_trees(status: &NodeStatus) -> Vec<Value> {
    let ages = &status.freshness.views;
    let tree = |view: &ViewStatus| {
        let age = ages.iter().find(|age| age.view == view.name);
        view_tree(view, age)
    };
    status.views.iter().map(tree).collect()
}

fn view_tree(view: &ViewStatus, age: Option<&ViewFreshness>) -> Value {
    let age = age.map(|view| freshness::age(&view.age, "newest_event_time"));
    json!({
        "name": view.name,
        "kind": view.kind,
        "online": view.online,
        "enabled": view.enabled,
        "problem": view.problem,
        "rows": view.rows,
        "indexed": view.indexed,
        "ttl_seconds": view.ttl.map(|ttl| ttl.as_secs()),
        "newest_event_time": time(view.newest_event_time),
        "materialized_until": time(view.watermark),
        "push_source": view.push_source,
        "freshness": age,
    })
}

fn store_tree(store: &StoreStats) -> Value {
    let index_bytes: u64 = store.tables.iter().map(|table| table.index_bytes).sum();
    let rows: u64 = store.tables.iter().map(|table| table.rows).sum();
    json!({
        "healthy": store.healthy,
        "rows": rows,
        "file_bytes": store.file_bytes,
        "free_bytes": store.free_bytes,
        "commit": store.commit.0,
        "commits": store.commits,
        "queue_depth": store.queued,
        "index_ready": store.index_ready,
        "index_bytes": index_bytes,
    })
}

/// The outbox as `/status` and `/v1/outbox` show it.
#[must_use]
pub fn outbox_tree(outbox: &OutboxStatus) -> Value {
    json!({
        "to": outbox.to,
        "entries": outbox.waiting.entries,
        "bytes": outbox.waiting.bytes,
        "bytes_max": outbox.bytes_max,
        "oldest": time(outbox.waiting.oldest),
        "oldest_age_seconds": outbox.oldest_age.map(|age| age.as_secs()),
        "age_max_seconds": outbox.age_max.as_secs(),
        "producer": outbox.waiting.producer.map(|it| format!("{it:032x}")),
        "next_sequence": outbox.waiting.next_sequence,
        "sending_up_to": outbox.waiting.flight.map(|flight| flight.last),
        "sent_entries": outbox.sent_entries,
        "sent_rows": outbox.sent_rows,
        "last_sent": time(outbox.last_sent),
        "failures": outbox.failures,
        "failure": outbox.failure,
        "parked": outbox::tree(outbox),
        "damaged": outbox.damaged,
        "log_rows": outbox.log_rows,
        "log_rows_dropped": outbox.log_rows_dropped,
    })
}

fn time(time: Option<EventTime>) -> Option<String> {
    time.map(|time| time.to_string())
}

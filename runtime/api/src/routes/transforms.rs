//! `GET /v1/transforms`.

use galley_node::transform::{Isolation, Outcome, Transform};
use galley_node::{Node, TransformState, TransformStatus};
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::json as json_reply;
use crate::reply::Reply;

/// Every on-demand feature view with what computes it.
pub(super) fn list(node: &Node) -> Reply {
    let transforms = trees(&node.status().transforms);
    json_reply(StatusCode::OK, &json!({ "transforms": transforms }))
}

/// The transformations as they are shown.
pub(super) fn trees(transforms: &[TransformStatus]) -> Vec<Value> {
    transforms.iter().map(tree).collect()
}

fn tree(status: &TransformStatus) -> Value {
    let (state, reasons) = match &status.state {
        TransformState::Ready => ("ready", None),
        TransformState::Quarantined(reasons) => ("quarantined", Some(reasons)),
        TransformState::Missing => ("missing", None),
        TransformState::Unused => ("unused", None),
    };
    let mut tree = json!({
        "on_demand_feature_view": status.view,
        "computed_at": if status.at_write { "write" } else { "read" },
        "component": status.component,
        "state": state,
    });
    if let Some(fields) = tree.as_object_mut() {
        if let Some(reasons) = reasons {
            fields.insert("reasons".to_owned(), json!(reasons));
        }
        if let Some(transform) = &status.transform {
            describe(transform, fields);
        }
    }
    tree
}

fn describe(transform: &Transform, fields: &mut Map<String, Value>) {
    let stats = transform.stats();
    let isolation = match transform.isolation() {
        Isolation::Fresh => "fresh",
        Isolation::Pooled { .. } => "pooled",
    };
    let limits: Map<String, Value> = transform
        .limits()
        .all()
        .map(|(limit, value)| (limit.setting().to_owned(), value.to_string().into()))
        .collect();
    let outcomes: Map<String, Value> = Outcome::ALL
        .iter()
        .map(|outcome| (outcome.name().to_owned(), stats.count(*outcome).into()))
        .collect();
    let micros = |time: std::time::Duration| time.as_nanos() as f64 / 1_000.0;
    let more = json!({
        "digest": format!("sha256:{}", transform.digest()),
        "version": transform.signature().version,
        "isolation": isolation,
        "puts_back": transform.puts_back(),
        "limits": limits,
        "calls": stats.calls,
        "rows": stats.rows,
        "outcomes": outcomes,
        "instances": stats.instances,
        "running": stats.running,
        "p50_micros": micros(stats.p50),
        "p99_micros": micros(stats.p99),
        "breaker": stats.breaker.name(),
        "breaker_opened": stats.breaker_opened,
        "log_lines_dropped": stats.log_lines_dropped,
    });
    if let Value::Object(more) = more {
        fields.extend(more);
    }
}

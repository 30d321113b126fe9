//! How old what is served is, as JSON.

use std::time::Duration;

use galley_node::{Age, Freshness, Node, Plan, ViewFreshness};
use galley_types::EventTime;
use hyper::header::HeaderName;
use serde_json::{Value, json};

/// The worst state of the views of a look-up, where it was asked for.
pub(super) const FRESHNESS: HeaderName = HeaderName::from_static("x-galley-freshness");

/// An age; `since` says what it is measured from.
pub(super) fn age(age: &Age, since: &str) -> Value {
    json!({
        since: age.since.as_ref().map(EventTime::to_string),
        "age_seconds": age.age.as_ref().map(Duration::as_secs_f64),
        "objective_seconds": age.objective.as_ref().map(Duration::as_secs_f64),
        "state": age.state.label(),
    })
}

/// The views that a look-up read, as JSON for its metadata, and the worst of their states.
pub(super) fn of_plan(node: &Node, plan: &Plan) -> (String, Freshness) {
    let views = node.freshness_of(plan);
    let is = |state| views.iter().any(|view| view.age.state == state);
    let worst = if is(Freshness::Stale) {
        Freshness::Stale
    } else if is(Freshness::Unknown) || views.is_empty() {
        Freshness::Unknown
    } else {
        Freshness::Ok
    };
    let trees: Vec<Value> = views.iter().map(tree).collect();
    (Value::Array(trees).to_string(), worst)
}

fn tree(view: &ViewFreshness) -> Value {
    let mut tree = age(&view.age, "newest_event_time");
    if let Some(fields) = tree.as_object_mut() {
        fields.insert("feature_view".to_owned(), json!(view.view));
    }
    tree
}

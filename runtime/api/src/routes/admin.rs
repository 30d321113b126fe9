//! `/live`, `/health`, `/ready`, `/metrics` and `/openapi.json`.

use galley_node::Readiness;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{json as json_reply, query};
use crate::failure::Failure;
use crate::metrics;
use crate::reply::{Media, Reply};
use crate::service::Service;

const OPENAPI: &str = include_str!("../openapi.json");

/// 200 while the server answers at all.
pub(super) fn live() -> Reply {
    json_reply(StatusCode::OK, &json!({"status": "live"}))
}

/// Feast's health: 200 without a body, or 503 with the reason. With `?detail=true` the 200 says
/// whether the node is degraded and why; that never makes it a 503.
pub(super) fn health(service: &Service, query: &str) -> Result<Reply, Failure> {
    let with_detail = query::flag(query, "detail")?;
    readiness(service)?;
    let node = service.slot.node().filter(|_| with_detail);
    Ok(node.map_or_else(Reply::empty, |node| {
        let reasons = node.freshness().degraded;
        let word = if reasons.is_empty() { "ok" } else { "degraded" };
        let tree = json!({"status": word, "degraded_reasons": reasons});
        json_reply(StatusCode::OK, &tree)
    }))
}

/// 200 once look-ups are answered, else 503 with the reason.
pub(super) fn ready(service: &Service) -> Result<Reply, Failure> {
    readiness(service).map(|()| json_reply(StatusCode::OK, &json!({"status": "ready"})))
}

fn readiness(service: &Service) -> Result<(), Failure> {
    let Some(node) = service.slot.node() else {
        return Err(unavailable("starting", &starting(service)));
    };
    match node.readiness() {
        Readiness::Ready => Ok(()),
        Readiness::NotReady(reason) => {
            let tree = json!({"status": "not_ready", "reason": reason});
            Err(unavailable("not_ready", &tree))
        }
    }
}

/// How far the start has come.
pub(super) fn starting(service: &Service) -> Value {
    let startup = service.slot.startup();
    json!({
        "status": "starting",
        "step": startup.step,
        "progress": startup.percent,
    })
}

fn unavailable(code: &'static str, tree: &Value) -> Failure {
    let body = tree.to_string().into_bytes();
    Failure::json(StatusCode::SERVICE_UNAVAILABLE, code, body)
}

/// The metrics page.
pub(super) fn metrics(service: &Service) -> Reply {
    let node = service.slot.node().map(AsRef::as_ref);
    let uptime = service.started.elapsed().as_secs_f64();
    let components = service.slot.components();
    let components = components.map(|components| components.status());
    let feed = service.slot.feed().map(|agent| agent.status());
    let told = (node, components.unwrap_or_default(), feed);
    let page = metrics::render(&service.metrics, told, (&service.info.version, uptime));
    Reply {
        media: Media::Metrics,
        ..Reply::json(StatusCode::OK, page)
    }
}

/// The API's description.
pub(super) fn openapi() -> Reply {
    Reply::json(StatusCode::OK, OPENAPI)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_has_every_route_and_method() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().unwrap();
        let mut described: Vec<String> = Vec::new();
        for (path, methods) in paths {
            for method in methods.as_object().unwrap().keys() {
                described.push(format!("{method} {path}"));
            }
        }
        let mut expected: Vec<String> = Vec::new();
        let with_ids = [
            "/v1/jobs/{id}",
            "/v1/jobs/{id}/events",
            "/v1/tickets/{id}",
            "/v1/vector_stores/{id}",
            "/v1/vector_stores/{id}/search",
        ];
        let fixed = crate::routes::FIXED.iter().map(|(path, _)| *path);
        for path in fixed.chain(with_ids) {
            let uri: hyper::Uri = path.replace("{id}", "1").parse().unwrap();
            let Ok(route) = crate::routes::Route::of(&uri) else {
                panic!("{path} is not served")
            };
            for method in route
                .methods()
                .split(", ")
                .filter(|method| *method != "HEAD")
            {
                expected.push(format!("{} {path}", method.to_lowercase()));
            }
        }
        described.sort();
        expected.sort();
        assert_eq!(described, expected);
    }
}

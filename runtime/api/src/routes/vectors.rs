//! What this server says where Feast's has vector search.

use galley_types::ErrorKind;
use hyper::StatusCode;
use serde_json::json;

use super::json as json_reply;
use super::query::decode;
use crate::failure::Failure;
use crate::reply::Reply;

/// No vector store.
pub(super) fn list() -> Reply {
    json_reply(StatusCode::OK, &json!({"object": "list", "data": []}))
}

/// 404 in the shape of OpenAI's API.
pub(super) fn unknown(id: &str) -> Failure {
    let message = format!("No vector store found with id '{}'", decode(id));
    let tree = json!({"error": {"message": message, "type": "not_found_error"}});
    let body = tree.to_string().into_bytes();
    Failure::json(StatusCode::NOT_FOUND, "not_found", body)
}

/// 501.
pub(super) fn unsupported() -> Failure {
    Failure::refused(
        ErrorKind::Unsupported,
        "vector search is not available on this server: look features up by entity key with \
         /get-online-features, or send searches to a Feast feature server",
    )
}

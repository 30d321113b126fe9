//! Metadata as it is written and signed.

use galley_types::EventTime;
use serde_json::{Map, Value, json};

use super::canonical::canonical;
use super::key::{KeyPair, hex, sha256};
use super::metadata::Role;

/// The version of the specification that is written.
const SPEC_VERSION: &str = "1.0.31";

/// What all roles' metadata has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) version: u64,
    pub(super) expires: EventTime,
}

/// Metadata with the signatures of `keys`.
pub(super) fn signed(body: &Value, keys: &[&KeyPair]) -> Result<Vec<u8>, String> {
    let message = canonical(body)?;
    let signatures: Vec<Value> = keys.iter().map(|key| key.sign(&message)).collect();
    Ok(envelope(body, &signatures))
}

/// Metadata with signatures that are made already.
pub(super) fn envelope(body: &Value, signatures: &[Value]) -> Vec<u8> {
    json!({ "signatures": signatures, "signed": body })
        .to_string()
        .into_bytes()
}

/// A root that trusts, for each role, the given public keys from a threshold on.
pub(super) fn root(stamp: Stamp, roles: &[(Role, Vec<Value>, u32)]) -> Result<Value, String> {
    let mut keys = Map::new();
    let mut wire = Map::new();
    for (role, own, threshold) in roles {
        let mut ids = Vec::with_capacity(own.len());
        for key in own {
            let id = super::key::key_id(key)?;
            keys.insert(id.clone(), key.clone());
            ids.push(Value::String(id));
        }
        let entry = json!({ "keyids": ids, "threshold": threshold });
        wire.insert(role.name().to_owned(), entry);
    }
    let mut body = head(Role::Root, stamp);
    body.insert("consistent_snapshot".to_owned(), Value::Bool(true));
    body.insert("keys".to_owned(), Value::Object(keys));
    body.insert("roles".to_owned(), Value::Object(wire));
    Ok(Value::Object(body))
}

/// A timestamp that names snapshot number `version`, whose bytes are `snapshot`.
pub(super) fn timestamp(
    stamp: Stamp,
    signed_at: EventTime,
    (version, snapshot): (u64, &[u8]),
) -> Value {
    let mut body = head(Role::Timestamp, stamp);
    body.insert(
        "meta".to_owned(),
        json!({ "snapshot.json": named(version, snapshot) }),
    );
    body.insert(
        "galley".to_owned(),
        json!({ "signed_at": seconds(signed_at) }),
    );
    Value::Object(body)
}

/// A snapshot that names targets number `version`, whose bytes are `targets`.
pub(super) fn snapshot(stamp: Stamp, (version, targets): (u64, &[u8])) -> Value {
    let mut body = head(Role::Snapshot, stamp);
    body.insert(
        "meta".to_owned(),
        json!({ "targets.json": named(version, targets) }),
    );
    Value::Object(body)
}

/// Targets: what a release says of itself, and its files.
pub(super) fn targets(stamp: Stamp, galley: Value, files: Map<String, Value>) -> Value {
    let mut body = head(Role::Targets, stamp);
    body.insert("galley".to_owned(), galley);
    body.insert("targets".to_owned(), Value::Object(files));
    Value::Object(body)
}

/// A file of a release as targets name it; `galley` says what it is for.
pub(super) fn target((length, digest): (u64, &[u8; 32]), galley: &Value) -> Value {
    json!({ "length": length, "hashes": { "sha256": hex(digest) }, "custom": { "galley": galley } })
}

/// A time as metadata writes it: whole seconds, rounded down.
pub(super) fn seconds(time: EventTime) -> String {
    EventTime::from_seconds(time.seconds()).to_string()
}

fn named(version: u64, bytes: &[u8]) -> Value {
    json!({
        "version": version,
        "length": bytes.len(),
        "hashes": { "sha256": hex(&sha256(bytes)) },
    })
}

fn head(role: Role, stamp: Stamp) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("_type".to_owned(), json!(role.name()));
    body.insert("spec_version".to_owned(), json!(SPEC_VERSION));
    body.insert("version".to_owned(), json!(stamp.version));
    body.insert("expires".to_owned(), json!(seconds(stamp.expires)));
    body
}

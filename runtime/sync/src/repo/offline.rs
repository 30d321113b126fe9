//! The offline store a repo names.

use std::path::Path;

use serde_saphyr::Spanned;

use super::wire::{Section, Source, line};
use crate::grpc::{GrpcAddress, GrpcTls};

/// The port of Feast's offline server.
const PORT: &str = "8815";

/// Where the rows of batch sources come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfflineStore {
    /// The files of the sources are read here.
    Files,
    /// Feast's offline server is asked.
    Server(GrpcAddress),
    /// A store that only Feast speaks with, by its type.
    Other(String),
    /// What stands in the file makes no sense: place and reason. It matters only when rows are to
    /// be read or written.
    Broken(String),
}

/// The offline store of `section`, and its type.
pub(super) fn offline_store_of(
    dir: &Path,
    section: Option<Spanned<Section>>,
    source: &Source<'_>,
) -> (OfflineStore, String) {
    let Some(section) = section else {
        return (OfflineStore::Files, "file".to_owned());
    };
    let at = line(&section);
    let table = match section.value {
        Section::Word(kind) => return (of_kind(&kind), kind),
        Section::Table(table) => table,
    };
    let kind = table.kind.unwrap_or_else(|| "file".to_owned());
    if kind != "remote" {
        return (of_kind(&kind), kind);
    }
    let broken = |reason: String| {
        OfflineStore::Broken(source.config("offline_store", at, reason).to_string())
    };
    for text in [&table.host.0, &table.port.0, &table.cert.0] {
        if let Err(error) = source.check_text("offline_store", at, text) {
            return (OfflineStore::Broken(error.to_string()), kind);
        }
    }
    if table.host.0.is_empty() {
        let reason = "give the host of the offline server, as in 'host: feast.example'";
        return (broken(reason.to_owned()), kind);
    }
    let tls = (table.scheme.0 == "https").then(|| GrpcTls {
        ca_file: (!table.cert.0.is_empty()).then(|| dir.join(&table.cert.0)),
        ..GrpcTls::default()
    });
    let port = if table.port.0.is_empty() {
        PORT
    } else {
        &table.port.0
    };
    let store = match GrpcAddress::parse(&format!("{}:{port}", table.host.0), tls) {
        Ok(address) => OfflineStore::Server(address),
        Err(error) => broken(error.detail),
    };
    (store, kind)
}

/// The store of a type that needs no more than its name. What reads files in Feast reads the same
/// Parquet files that are read here.
fn of_kind(kind: &str) -> OfflineStore {
    match kind {
        "file" | "dask" | "duckdb" => OfflineStore::Files,
        "remote" => OfflineStore::Broken(
            "offline_store: a remote one is a table: give 'type: remote' and 'host'".to_owned(),
        ),
        kind => OfflineStore::Other(kind.to_owned()),
    }
}

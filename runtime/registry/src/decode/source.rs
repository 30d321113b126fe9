//! Data sources: where rows come from.

use super::{Builder, Warnings};
use crate::error::shown;
use crate::model::{BatchSource, FileFormat, SourceLocation};
use crate::proto::DataSource;

/// Feast's numbers of the kinds of sources (`feast.core.DataSource.SourceType`).
pub(super) const FILE: i32 = 1;
const KAFKA: i32 = 3;
const KINESIS: i32 = 4;
pub(super) const REQUEST: i32 = 7;
pub(super) const PUSH: i32 = 9;

/// The column of event times where a source names none.
pub(super) const TIMESTAMP_FIELD: &str = "event_timestamp";

/// Where the rows of a view come from.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) batch: Option<BatchSource>,
    pub(super) push: Option<String>,
    pub(super) timestamp_field: String,
    pub(super) created_field: Option<String>,
}

// === impl Sources ===

impl Sources {
    /// Joins a view's batch source and stream source; `place` names the view in warnings.
    pub(super) fn new(
        batch: Option<DataSource>,
        stream: Option<&DataSource>,
        place: &str,
        warnings: &mut Warnings,
    ) -> Self {
        let mut timestamp_field = String::new();
        let mut created = String::new();
        let push = stream.and_then(|stream| push_name(stream, place, warnings));
        let behind = stream.and_then(|stream| stream.batch_source.clone());
        let batch = batch
            .or_else(|| behind.map(|behind| *behind))
            .map(innermost);
        for source in batch.iter().chain(stream) {
            if timestamp_field.is_empty() {
                timestamp_field.clone_from(&source.timestamp_field);
            }
            if created.is_empty() {
                created.clone_from(&source.created_timestamp_column);
            }
        }
        Self {
            batch: batch.and_then(|batch| batch_source(batch, place, warnings)),
            push,
            timestamp_field: or_default(timestamp_field),
            created_field: Some(created).filter(|created| !created.is_empty()),
        }
    }
}

/// The name of `stream` if rows can be pushed to it, else a warning.
fn push_name(stream: &DataSource, place: &str, warnings: &mut Warnings) -> Option<String> {
    if stream.kind == PUSH {
        return Some(stream.name.clone());
    }
    let kind = match stream.kind {
        KAFKA => "Kafka",
        KINESIS => "Kinesis",
        kind => location(kind).unwrap_or("unknown"),
    };
    warnings.push(format!(
        "{place}: its stream source '{}' ({kind}) is not read by this node: write its rows to the \
         view, or materialize it",
        shown(&stream.name)
    ));
    None
}

/// What stands behind push and stream sources. Nesting is bounded by the decoder.
fn innermost(mut source: DataSource) -> DataSource {
    while let Some(inner) = source.batch_source.take() {
        source = *inner;
    }
    source
}

fn batch_source(source: DataSource, place: &str, warnings: &mut Warnings) -> Option<BatchSource> {
    let location = match (source.kind, source.file_options) {
        (FILE, Some(file)) => {
            let delta = file
                .file_format
                .is_some_and(|format| format.delta_format.is_some());
            SourceLocation::File {
                uri: file.uri,
                format: if delta {
                    FileFormat::Delta
                } else {
                    FileFormat::Parquet
                },
                s3_endpoint: (!file.s3_endpoint_override.is_empty())
                    .then_some(file.s3_endpoint_override),
            }
        }
        (PUSH | KAFKA | KINESIS | REQUEST, _) => return None,
        (kind, _) => match location(kind) {
            Some(name) => SourceLocation::Other(name),
            None => {
                warnings.push(format!(
                    "{place}: its source '{}' is of a kind that is not known (number {kind}, \
                     class '{}'): it cannot be materialized here",
                    shown(&source.name),
                    shown(&source.data_source_class_type)
                ));
                SourceLocation::Other("unknown")
            }
        },
    };
    Some(BatchSource {
        name: source.name,
        location,
        timestamp_field: or_default(source.timestamp_field),
        created_field: Some(source.created_timestamp_column).filter(|name| !name.is_empty()),
        field_mapping: source.field_mapping.into_iter().collect(),
    })
}

fn or_default(timestamp_field: String) -> String {
    if timestamp_field.is_empty() {
        TIMESTAMP_FIELD.to_owned()
    } else {
        timestamp_field
    }
}

/// Feast's name of the system that holds sources of a kind.
fn location(kind: i32) -> Option<&'static str> {
    Some(match kind {
        FILE => "File",
        2 => "BigQuery",
        KAFKA => "Kafka",
        KINESIS => "Kinesis",
        5 => "Redshift",
        6 => "Custom",
        REQUEST => "Request",
        8 => "Snowflake",
        PUSH => "Push",
        10 => "Trino",
        11 => "Spark",
        12 => "Athena",
        13 => "Iceberg",
        _ => return None,
    })
}

// === impl Builder ===

impl Builder {
    /// Names the project's sources that are of no known kind.
    pub(super) fn note_sources(&mut self, sources: &[DataSource], project: &str) {
        for source in sources.iter().filter(|source| source.project == project) {
            if location(source.kind).is_none() {
                self.warnings.push(format!(
                    "data source '{}' is of a kind that is not known (number {}, class '{}')",
                    shown(&source.name),
                    source.kind,
                    shown(&source.data_source_class_type)
                ));
            }
        }
    }
}

//! Feast's offline server as the centre: `offline_write_batch` and `write_logged_features`.
//!
//! The server appends what it is sent and keeps no names, so that a shipment whose answer was lost
//! may be there twice: at least once, where a landing has exactly once. Only the one part that was
//! under way is ever sent again, and it is the same rows in the same order, created times and ids of
//! requests included. Readers that take one row for a key and time see it once.
//!
//! It goes on writing after its caller is gone, and two writes of one file at once cost the whole file.
//! So nothing is sent while it says that it is at work on what was sent before.
//!
//! Looking whether it arrived before it is sent again would not change that:
//!
//! * The server goes on writing after its caller is gone. A look that comes before it is done finds
//!   nothing, and both writes take place.
//! * Tables of served features are no data sources of the registry, so the server reads none of them
//!   back; and in a log, equal rows of one request may both have been served.
//! * Rows of a view could be read back by the window of their event times alone, whose size nothing
//!   bounds, and in the types that the table made of them.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{ArrayRef, NullArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema};
use galley_node::store::OutboxKind;
use galley_registry::{BatchSource, FileFormat, Registry, SourceLocation};
use serde_json::{Value, json};

use super::{Centre, Shipment, Undelivered};
use crate::flight::OfflineClient;
use crate::remote::{RemoteError, RemoteErrorKind};

/// The registry that is served, as it is now.
pub type CurrentRegistry = Box<dyn Fn() -> Option<Arc<Registry>> + Send + Sync>;

/// Feast's offline server.
pub struct OfflineStore {
    client: OfflineClient,
    registry: CurrentRegistry,
    /// The command of the last write whose answer was lost.
    unanswered: Mutex<Option<Value>>,
}

impl std::fmt::Debug for OfflineStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OfflineStore")
            .field(&self.client.location())
            .finish()
    }
}

// === impl OfflineStore ===

impl OfflineStore {
    /// Sends through `client`; `registry` knows the views' batch sources.
    #[must_use]
    pub fn new(client: OfflineClient, registry: CurrentRegistry) -> Self {
        Self {
            client,
            registry,
            unanswered: Mutex::new(None),
        }
    }

    fn batch_source(&self, view: &str) -> Result<BatchSource, RemoteError> {
        let registry = (self.registry)().ok_or_else(|| {
            let detail = "there is no registry yet that knows the views' batch sources";
            RemoteError::new(RemoteErrorKind::Unreachable, self.client.location(), detail)
        })?;
        let source = registry.find_view(view).and_then(|index| {
            let stored = registry.view(index)?;
            stored.batch_source.clone()
        });
        source.ok_or_else(|| {
            let detail = format!(
                "feature view '{view}' has no batch source in the registry any more: apply it again, \
                 or set outbox.to to a folder or bucket to have its rows land there"
            );
            RemoteError::new(RemoteErrorKind::NotFound, self.client.location(), detail)
        })
    }

    /// The rows in the columns that the server wants, which are the source's own in their order.
    fn rows(&self, shipment: &Shipment<'_>) -> Result<RecordBatch, RemoteError> {
        let source = self.batch_source(shipment.target)?;
        let SourceLocation::File { uri, format, .. } = &source.location else {
            // Only the server knows the others; it refuses what does not fit.
            return Ok(shipment.rows.clone());
        };
        let wanted = self.client.table_columns(&message(&source, uri, *format))?;
        arrange(&shipment.rows, &wanted).map_err(|column| {
            let detail = format!(
                "the table of batch source '{}' has no column '{column}', which feature view '{}' has",
                source.name, shipment.target
            );
            RemoteError::new(RemoteErrorKind::Invalid, self.client.location(), detail)
        })
    }
}

/// What an answer of the server means for the shipment it was given to. Credentials concern all
/// shipments, and are for somebody to set right.
fn told(error: RemoteError) -> Undelivered {
    match error.kind {
        RemoteErrorKind::NotFound | RemoteErrorKind::Invalid | RemoteErrorKind::Unsupported => {
            Undelivered::Refused(error)
        }
        RemoteErrorKind::Denied | RemoteErrorKind::Unreachable => Undelivered::Later(error),
    }
}

impl OfflineStore {
    /// Makes sure that the server is not in the middle of a write whose answer was lost. It goes on
    /// after its caller is gone, and of two writes at once one reads the file that the other has just
    /// begun anew: the whole table would be lost.
    fn at_rest(&self, command: &Value, again: bool) -> Result<(), RemoteError> {
        let mut unanswered = self
            .unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let own = (again && unanswered.as_ref() != Some(command)).then_some(command);
        for asked in unanswered.iter().chain(own) {
            if self.client.is_at_work(asked)? {
                let detail = "the server is still writing what it was sent before";
                let kind = RemoteErrorKind::Unreachable;
                return Err(RemoteError::new(kind, self.client.location(), detail));
            }
        }
        *unanswered = None;
        Ok(())
    }

    fn send(&self, shipment: &Shipment<'_>, command: Value) -> Result<(), RemoteError> {
        let rows = match shipment.kind {
            OutboxKind::Rows => self.rows(shipment)?,
            OutboxKind::Log => shipment.rows.clone(),
        };
        let outcome = self.client.put(&command, rows.schema(), vec![rows]);
        if let Err(error) = &outcome
            && error.kind == RemoteErrorKind::Unreachable
        {
            let mut unanswered = self
                .unanswered
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *unanswered = Some(command);
        }
        outcome
    }
}

impl Centre for OfflineStore {
    fn deliver(&self, shipment: &Shipment<'_>) -> Result<(), Undelivered> {
        self.client.reach().map_err(Undelivered::Later)?;
        let command = command(shipment);
        self.at_rest(&command, shipment.again)
            .map_err(Undelivered::Later)?;
        self.send(shipment, command).map_err(told)
    }

    fn location(&self) -> String {
        self.client.location().to_owned()
    }
}

/// What the server is asked to do with a shipment, the same each time it is sent: by its id the server
/// is asked whether it is still at it.
fn command(shipment: &Shipment<'_>) -> Value {
    let (producer, first, last) = (shipment.producer, shipment.first, shipment.last);
    let id = format!("{producer:032x}-{first:016x}-{last:016x}");
    match shipment.kind {
        OutboxKind::Rows => json!({
            "command_id": id,
            "api": "offline_write_batch",
            "feature_view_names": [shipment.target],
            "name_aliases": [null],
            "progress": null,
        }),
        OutboxKind::Log => json!({
            "command_id": id,
            "api": "write_logged_features",
            "feature_service_name": shipment.target,
        }),
    }
}

/// Feast's message of a file source, in protobuf's JSON.
fn message(source: &BatchSource, uri: &str, format: FileFormat) -> Value {
    let format = match format {
        FileFormat::Parquet => json!({"parquetFormat": {}}),
        FileFormat::Delta => json!({"deltaFormat": {}}),
    };
    json!({
        "type": "BATCH_FILE",
        "name": source.name,
        "timestampField": source.timestamp_field,
        "createdTimestampColumn": source.created_field.as_deref().unwrap_or_default(),
        "fileOptions": {"uri": uri, "fileFormat": format},
        "dataSourceClassType": "feast.infra.offline_stores.file_source.FileSource",
    })
}

/// The columns of `rows` as `wanted` lists them; those that no pushed row fills are null. A column
/// that is not wanted is the error.
fn arrange(rows: &RecordBatch, wanted: &[String]) -> Result<RecordBatch, String> {
    let schema = rows.schema();
    let unwanted = schema
        .fields()
        .iter()
        .find(|it| !wanted.contains(it.name()));
    if let Some(field) = unwanted {
        return Err(field.name().clone());
    }
    let row_count = rows.num_rows();
    let columns = wanted.iter().map(|name| {
        let nothing = || {
            (
                DataType::Null,
                Arc::new(NullArray::new(row_count)) as ArrayRef,
            )
        };
        let (data_type, array) = rows
            .column_by_name(name)
            .map_or_else(nothing, |it| (it.data_type().clone(), Arc::clone(it)));
        (Field::new(name, data_type, true), array)
    });
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(row_count));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| error.to_string())
}

//! The columns of a table of the offline store, as its server knows them.

use arrow_array::cast::AsArray as _;
use arrow_schema::DataType;
use serde_json::{Value, json};

use super::{Ended, OfflineClient, identified};
use crate::remote::{RemoteError, RemoteErrorKind};

/// Columns of one table.
const COLUMNS_MAX: usize = 10_000;

impl OfflineClient {
    /// The columns of a data source, in their order. `data_source` is Feast's message of it, in
    /// protobuf's JSON.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn table_columns(&self, data_source: &Value) -> Result<Vec<String>, RemoteError> {
        let command = identified(&json!({
            "api": "get_table_column_names_and_types_from_data_source",
            "data_source_proto": data_source.to_string(),
        }));
        let mut names: Vec<String> = Vec::new();
        let never = &mut || Ok::<(), RemoteError>(());
        let mut each = |batch: arrow_array::RecordBatch| {
            let column = batch
                .column_by_name("name")
                .filter(|column| *column.data_type() == DataType::Utf8)
                .ok_or_else(|| self.invalid("columns without names"))?;
            let texts = column.as_string::<i32>();
            names.extend(texts.iter().flatten().map(str::to_owned));
            if names.len() > COLUMNS_MAX {
                return Err(self.invalid("a table of too many columns"));
            }
            Ok(())
        };
        let outcome = match self.exchange(&command, never, &mut each) {
            Err(Ended::Failed(error)) if error.kind == RemoteErrorKind::Unsupported => {
                self.put_and_get(&command, never, &mut each)
            }
            outcome => outcome,
        };
        match outcome {
            Ok(()) => Ok(names),
            Err(Ended::Stopped(error) | Ended::Failed(error)) => Err(error),
        }
    }
}

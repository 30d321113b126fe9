//! Which columns of a source a view needs, and where they lie in a file.

use std::path::Path;

use arrow_schema::Schema;
use galley_registry::{BatchSource, JoinKey};
use galley_types::{KeyType, RowSchema, ValueType};

use crate::error::{Error, MissingColumn, Result};

/// Columns listed in an error at most.
const COLUMNS_SHOWN_MAX: usize = 50;

/// What is read of a source, by the names in the source.
#[derive(Debug)]
pub(crate) struct ViewPlan {
    pub(crate) view: String,
    pub(crate) timestamp: String,
    pub(crate) created: Option<String>,
    pub(crate) keys: Vec<(String, KeyType)>,
    pub(crate) features: Vec<(String, ValueType)>,
}

/// The plan laid over one file: positions among the projected columns.
#[derive(Debug)]
pub(crate) struct FilePlan {
    /// Positions of the projected columns in the file, ascending.
    pub(crate) roots: Vec<usize>,
    pub(crate) timestamp: usize,
    pub(crate) created: Option<usize>,
    pub(crate) keys: Vec<usize>,
    pub(crate) features: Vec<usize>,
}

// === impl ViewPlan ===

impl ViewPlan {
    pub(crate) fn new(
        view: &str,
        source: &BatchSource,
        join_keys: &[JoinKey],
        schema: &RowSchema,
    ) -> Self {
        // The mapping holds for the time columns as for the rest, as in Feast.
        let column = |name: &str| {
            source
                .field_mapping
                .iter()
                .find(|(_, mapped)| mapped == name)
                .map_or_else(|| name.to_owned(), |(column, _)| column.clone())
        };
        Self {
            view: view.to_owned(),
            timestamp: column(&source.timestamp_field),
            created: source
                .created_field
                .as_deref()
                .filter(|name| !name.is_empty())
                .map(column),
            keys: join_keys
                .iter()
                .map(|key| (column(&key.name), key.key_type))
                .collect(),
            features: schema
                .fields
                .iter()
                .map(|field| (column(&field.name), field.value_type))
                .collect(),
        }
    }

    /// Finds the columns in a file.
    ///
    /// # Errors
    /// [`Error::ColumnMissing`] naming the first that is not there, [`Error::ColumnTwice`].
    pub(crate) fn over(&self, path: &Path, schema: &Schema) -> Result<FilePlan> {
        let find = |column: &str, role: &dyn Fn() -> String| {
            // What Arrow would say of it is only that it is not there.
            let index = schema.index_of(column).map_err(|_absent| {
                let have = schema.fields().iter().take(COLUMNS_SHOWN_MAX);
                Error::ColumnMissing(Box::new(MissingColumn {
                    path: path.to_owned(),
                    view: self.view.clone(),
                    column: column.to_owned(),
                    role: role(),
                    have: have.map(|field| field.name().clone()).collect(),
                }))
            })?;
            let mut behind = schema.fields().iter().skip(index + 1);
            if behind.any(|field| field.name() == column) {
                return Err(Error::ColumnTwice {
                    path: path.to_owned(),
                    view: self.view.clone(),
                    column: column.to_owned(),
                });
            }
            Ok(index)
        };
        let timestamp = find(&self.timestamp, &|| "event timestamp".to_owned())?;
        let created = match &self.created {
            Some(column) => Some(find(column, &|| "created timestamp".to_owned())?),
            None => None,
        };
        let mut keys = Vec::with_capacity(self.keys.len());
        for (column, _) in &self.keys {
            keys.push(find(column, &|| "join key".to_owned())?);
        }
        let mut features = Vec::with_capacity(self.features.len());
        for (column, value_type) in &self.features {
            features.push(find(column, &|| format!("feature of type {value_type}"))?);
        }
        let mut roots: Vec<usize> = keys.iter().chain(&features).copied().collect();
        roots.push(timestamp);
        roots.extend(created);
        roots.sort_unstable();
        roots.dedup();
        let place = |root: usize| roots.binary_search(&root).unwrap_or(usize::MAX);
        Ok(FilePlan {
            timestamp: place(timestamp),
            created: created.map(place),
            keys: keys.into_iter().map(place).collect(),
            features: features.into_iter().map(place).collect(),
            roots,
        })
    }
}

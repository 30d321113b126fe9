//! One view's part of a pushed data frame, from columns of input to encoded rows.

use galley_registry::{StoredView, ViewKind};
use galley_store::{RowBatch, RowWriter, SchemaId, TableId};
use std::borrow::Cow;

use galley_types::{EntityKey, EventTime, KeyType, Limits, Value, ValueType};

use crate::generation::Table;
use crate::get::key_value;
use crate::push::Frame;
use crate::{Error, Input, Result, coerce};

/// Names Feast's own SDK gives the time columns whatever the source calls them.
const SDK_TIMESTAMP: &str = "event_timestamp";
const SDK_CREATED: &str = "created";

/// A frame's columns in the places where a view needs them.
pub(crate) struct FrameView<'f, 'a> {
    view: &'f StoredView,
    quirks: bool,
    keys: Vec<(KeyType, &'f str, &'f [Input<'a>])>,
    features: Vec<(ValueType, &'f str, FeatureValues<'f, 'a>)>,
    event_time: Option<(&'f str, &'f [Input<'a>])>,
    created: Option<(&'f str, &'f [Input<'a>])>,
}

/// The values of one feature.
#[derive(Clone, Copy)]
enum FeatureValues<'f, 'a> {
    /// As they came.
    Sent(&'f [Input<'a>]),
    /// As they were computed.
    Computed(&'f [Value]),
}

// === impl FrameView ===

impl<'f, 'a> FrameView<'f, 'a> {
    /// Finds every column the view needs; columns it does not need are ignored, as in Feast.
    pub(crate) fn new(view: &'f StoredView, columns: &'f Frame<'a>, quirks: bool) -> Result<Self> {
        Self::find(view, columns, quirks, |_, name| {
            let column = columns.iter().find(|(column, _)| column == name);
            match column {
                Some((column, values)) => Ok((column, FeatureValues::Sent(values))),
                None => Err(missing(view, name, columns)),
            }
        })
    }

    /// Finds keys and times; the features are computed, one list for each of the view's.
    pub(crate) fn computed(
        view: &'f StoredView,
        columns: &'f Frame<'a>,
        quirks: bool,
        features: &'f [Vec<Value>],
    ) -> Result<Self> {
        Self::find(view, columns, quirks, |index, name| {
            let values = features.get(index).map(Vec::as_slice).unwrap_or_default();
            Ok((name, FeatureValues::Computed(values)))
        })
    }

    fn find(
        view: &'f StoredView,
        columns: &'f Frame<'a>,
        quirks: bool,
        feature: impl Fn(usize, &'f str) -> Result<(&'f str, FeatureValues<'f, 'a>)>,
    ) -> Result<Self> {
        let find = |name: &str| {
            columns
                .iter()
                .find(|(column, _)| column == name)
                .map(|(column, values)| (&**column, values.as_slice()))
        };
        let need = |name: &str| find(name).ok_or_else(|| missing(view, name, columns));
        let mut keys = Vec::with_capacity(view.join_keys.len());
        for key in &view.join_keys {
            let (name, values) = need(&key.name)?;
            keys.push((key.key_type, name, values));
        }
        let mut features = Vec::with_capacity(view.schema.fields.len());
        for (index, field) in view.schema.fields.iter().enumerate() {
            let (name, values) = feature(index, &field.name)?;
            features.push((field.value_type, name, values));
        }
        let mut event_time = find(&view.timestamp_field).or_else(|| find(SDK_TIMESTAMP));
        // Feast's server gives them its own time, whatever time they bring.
        if quirks && view.kind == ViewKind::OnDemand {
            event_time = None;
        }
        // Rows of an on-demand view may come without a time: they are of now.
        if event_time.is_none() && view.kind != ViewKind::OnDemand {
            return Err(missing(view, &view.timestamp_field, columns));
        }
        let created = match &view.created_field {
            Some(name) => match find(name).or_else(|| find(SDK_CREATED)) {
                Some(column) => Some(column),
                None => return Err(missing(view, name, columns)),
            },
            None => None,
        };
        Ok(Self {
            view,
            quirks,
            keys,
            features,
            event_time,
            created,
        })
    }

    /// Encodes every row; the first bad one refuses the frame.
    pub(crate) fn encode(&self, table: &Table, now: EventTime) -> Result<RowBatch> {
        let Some(id) = table.id else {
            return Err(Error::NotServable {
                view: self.view.name.clone(),
                reason: "it has no table".to_owned(),
            });
        };
        self.encode_as((id, table.schema), now)
    }

    /// As [`FrameView::encode`], for rows that go to no table of the store.
    pub(crate) fn encode_outgoing(&self, now: EventTime) -> Result<RowBatch> {
        self.encode_as((TableId(0), SchemaId(0)), now)
    }

    fn encode_as(&self, (id, schema): (TableId, SchemaId), now: EventTime) -> Result<RowBatch> {
        let mut batch = RowBatch::new(id);
        let mut writer = RowWriter::new(&self.view.schema, schema);
        let mut key = EntityKey::new();
        let row_count = self.row_count();
        for row in 0..row_count {
            self.encode_key(row, &mut key)?;
            writer.begin(self.event_time(row, now)?, self.created(row)?);
            for (slot, (value_type, name, values)) in self.features.iter().enumerate() {
                let value = match values {
                    FeatureValues::Sent(values) => {
                        let input = values.get(row).unwrap_or(&Input::Null);
                        Cow::Owned(coerce::value(input, *value_type).map_err(|expected| {
                            wrong_type(row, name, expected.into_owned(), input)
                        })?)
                    }
                    FeatureValues::Computed(values) => {
                        Cow::Borrowed(values.get(row).unwrap_or(&Value::Null))
                    }
                };
                writer
                    .set(slot, &value)
                    .map_err(|error| self.refused(row, name, error))?;
            }
            batch.push(key.as_bytes(), &mut writer)?;
        }
        Ok(batch)
    }

    fn row_count(&self) -> usize {
        let columns = self.keys.first().map(|(_, _, values)| values.len());
        let features = self.features.first().map(|(_, _, values)| match values {
            FeatureValues::Sent(values) => values.len(),
            FeatureValues::Computed(values) => values.len(),
        });
        columns
            .or(features)
            .or(self.event_time.map(|(_, values)| values.len()))
            .unwrap_or(0)
    }

    fn encode_key(&self, row: usize, key: &mut EntityKey) -> Result<()> {
        key.clear();
        for (index, (key_type, name, values)) in self.keys.iter().enumerate() {
            let input = values.get(row).unwrap_or(&Input::Null);
            let value = coerce::key(input, *key_type)
                .map_err(|expected| wrong_type(row, name, expected.into_owned(), input))?;
            let last = index + 1 == self.keys.len();
            let pushed = key_value(&value).map(|value| key.push(value, last));
            if !matches!(pushed, Some(Ok(()))) {
                let view = self.view.name.clone();
                return Err(Error::KeyTooLong {
                    row,
                    view,
                    limit: Limits::KEY_BYTES_MAX,
                });
            }
        }
        Ok(())
    }

    fn event_time(&self, row: usize, now: EventTime) -> Result<EventTime> {
        let Some((name, values)) = self.event_time else {
            return Ok(now);
        };
        let input = values.get(row).unwrap_or(&Input::Null);
        coerce::time(input, self.quirks)
            .map_err(|expected| wrong_type(row, name, expected.into_owned(), input))
    }

    fn created(&self, row: usize) -> Result<Option<EventTime>> {
        let Some((name, values)) = self.created else {
            return Ok(None);
        };
        match values.get(row).unwrap_or(&Input::Null) {
            Input::Null => Ok(None),
            input => coerce::time(input, self.quirks)
                .map(Some)
                .map_err(|expected| wrong_type(row, name, expected.into_owned(), input)),
        }
    }

    #[cold]
    fn refused(&self, row: usize, feature: &str, error: galley_store::Error) -> Error {
        match error {
            galley_store::Error::Value { source, .. } => Error::Value {
                row,
                feature: feature.to_owned(),
                source,
            },
            other => Error::Store(other),
        }
    }
}

#[cold]
pub(crate) fn missing(view: &StoredView, column: &str, columns: &Frame<'_>) -> Error {
    Error::MissingColumn {
        column: column.to_owned(),
        view: view.name.clone(),
        sent: columns
            .iter()
            .map(|(name, _)| name.clone().into_owned())
            .collect(),
    }
}

#[cold]
fn wrong_type(row: usize, column: &str, expected: String, input: &Input<'_>) -> Error {
    Error::WrongType {
        row,
        column: column.to_owned(),
        expected,
        got: input.describe(),
    }
}

//! Pushed rows on their way to the offline store: what goes there, and under which names.
//!
//! Rows go home to the batch source behind a view. Where several views of a push source share one,
//! they go there once, under the name of the view that has the most of its columns.

use std::borrow::Cow;

use galley_registry::{StoredView, ViewIndex};
use galley_store::{OutboxEntry, OutboxKind, RowBatch};
use galley_types::{EventTime, Field};

use crate::frame::FrameView;
use crate::generation::Generation;
use crate::parcel::{self, ParcelColumn, ParcelRole};
use crate::push::{PushRequest, checked_rows};
use crate::{Error, NodeConfig, Result};

/// A batch source that a push brings rows for.
struct Home<'g> {
    /// The view its rows go under.
    index: ViewIndex,
    /// That view, with what the source holds for other views beside it.
    view: Cow<'g, StoredView>,
    columns: Vec<ParcelColumn>,
}

/// The outbox entries of a push, one for each batch source behind it. Rows that are written here
/// too are not encoded a second time.
pub(crate) fn outgoing(
    generation: &Generation,
    config: &NodeConfig,
    now: EventTime,
    (request, encoded): (&PushRequest<'_>, &[RowBatch]),
) -> Result<Vec<OutboxEntry>> {
    let frame = &request.columns;
    let row_count = checked_rows(frame, config)?;
    let plan = generation.registry.plan_push_offline(&request.source)?;
    let mut entries = Vec::new();
    if row_count == 0 {
        return Ok(entries);
    }
    for home in homes(generation, &plan.views)? {
        let table = generation.table(home.index).and_then(|table| table.id);
        let written = match home.view {
            Cow::Borrowed(_) => encoded.iter().find(|batch| table == Some(batch.table())),
            Cow::Owned(_) => None,
        };
        let payload = match written {
            Some(batch) => parcel::seal(&home.columns, batch.as_bytes()),
            None => {
                let rows = FrameView::new(&home.view, frame, config.python_quirks)?;
                parcel::seal(&home.columns, rows.encode_outgoing(now)?.as_bytes())
            }
        };
        entries.push(OutboxEntry {
            kind: OutboxKind::Rows,
            target: home.view.name.clone(),
            accepted: now,
            payload,
        });
    }
    Ok(entries)
}

/// The batch sources behind `views`, each once.
fn homes<'g>(generation: &'g Generation, views: &[ViewIndex]) -> Result<Vec<Home<'g>>> {
    let mut homes: Vec<Home<'g>> = Vec::new();
    for &index in views {
        let view = generation.registry.view(index).ok_or(Error::NotReady)?;
        let columns = home_columns(view)?;
        let same = homes
            .iter_mut()
            .find(|home| home.view.batch_source == view.batch_source);
        match same {
            None => homes.push(Home {
                index,
                view: Cow::Borrowed(view),
                columns,
            }),
            Some(home) if columns.len() > home.columns.len() => {
                let smaller = std::mem::replace(
                    home,
                    Home {
                        index,
                        view: Cow::Borrowed(view),
                        columns,
                    },
                );
                home.join(&smaller.view, &smaller.columns)?;
            }
            Some(home) => home.join(view, &columns)?,
        }
    }
    Ok(homes)
}

impl Home<'_> {
    /// Adds the columns of another view of the same source.
    fn join(&mut self, other: &StoredView, columns: &[ParcelColumn]) -> Result<()> {
        let mut fields = Vec::new();
        for column in columns {
            if self.columns.iter().any(|known| known.name == column.name) {
                continue;
            }
            let name = match column.role {
                ParcelRole::Key(place) => {
                    let key = other.join_keys.get(usize::from(place));
                    key.map(|key| &key.name)
                }
                ParcelRole::Feature(slot) => {
                    let field = other.schema.fields.get(usize::from(slot));
                    field.map(|field| &field.name)
                }
                ParcelRole::EventTime | ParcelRole::Created | ParcelRole::Date => None,
            };
            fields.extend(name.map(|name| Field {
                name: name.clone(),
                value_type: column.value_type,
            }));
        }
        if !fields.is_empty() {
            self.view.to_mut().schema.fields.extend(fields);
            self.columns = home_columns(&self.view)?;
        }
        Ok(())
    }
}

/// The columns of a view's batch source that pushed rows fill, under the source's names.
fn home_columns(view: &StoredView) -> Result<Vec<ParcelColumn>> {
    let Some(source) = &view.batch_source else {
        return Err(Error::Unsupported {
            what: format!(
                "push to the offline store of feature view '{}', which has no batch source",
                view.name
            ),
            way_out: "give its push source a batch_source and apply, or push with \"to\": \"online\"",
        });
    };
    let home = |name: &str| -> String {
        let mapped = source.field_mapping.iter().find(|(_, here)| here == name);
        mapped.map_or(name, |(there, _)| there.as_str()).to_owned()
    };
    let mut columns: Vec<ParcelColumn> = Vec::new();
    for (place, key) in view.join_keys.iter().enumerate() {
        let role = ParcelRole::Key(parcel::position(place));
        let value_type = key.key_type.value_type();
        columns.push(ParcelColumn::new(&home(&key.name), role, value_type));
    }
    let times = [
        (Some(&source.timestamp_field), ParcelRole::EventTime),
        (source.created_field.as_ref(), ParcelRole::Created),
    ];
    let is_time = |name: &str| {
        times
            .iter()
            .any(|(time, _)| time.is_some_and(|it| it == name))
    };
    for (slot, field) in view.schema.fields.iter().enumerate() {
        let name = home(&field.name);
        // Stream views list their join keys among the features.
        if columns.iter().all(|column| column.name != name) && !is_time(&name) {
            let role = ParcelRole::Feature(parcel::position(slot));
            columns.push(ParcelColumn::new(&name, role, field.value_type));
        }
    }
    for (name, role) in times {
        columns.extend(name.map(|name| ParcelColumn::time(name, role)));
    }
    Ok(columns)
}

//! Readers of bytes from outside that other rooms only reach by a file, a server or a signature: one
//! function of the bytes each, for the fuzzers and for the replay of what they found.

use std::path::Path;

use arrow_flight::FlightData;
use bytes::Bytes;
use futures_util::stream;
use galley_node::store::{RowBatch, RowWriter, SchemaId, TableId};
use galley_registry::StoredView;
use galley_types::EventTime;

use crate::error::{Error, Result, chain};
pub use crate::import::from_outside::{feast_key, feast_value};
use crate::parquet::ViewFiles;
use crate::rows::{Collect, MaterializeConfig, Staging, Taker, ViewPlan, Window, batch_source};

/// Any time.
const ALWAYS: Window = Window {
    start: None,
    end: EventTime(i64::MAX),
};

/// Encodes the rows it takes as they would be stored, and counts them.
struct Counting<'a> {
    view: &'a StoredView,
    batch: RowBatch,
    rows: u64,
}

// === impl Counting ===

impl<'a> Counting<'a> {
    fn new(view: &'a StoredView) -> Self {
        Self {
            view,
            batch: RowBatch::new(TableId(0)),
            rows: 0,
        }
    }
}

impl Taker for Counting<'_> {
    fn read(&mut self, _rows: u64) -> Result<()> {
        Ok(())
    }

    fn take(&mut self, staged: &mut Staging, _last: bool) -> Result<()> {
        let mut writer = RowWriter::new(&self.view.schema, SchemaId(0));
        self.batch.clear();
        staged
            .drain_into(&mut self.batch, &mut writer)
            .map_err(|source| Error::Row {
                view: self.view.name.clone(),
                source,
            })?;
        self.rows = self.rows.saturating_add(self.batch.len() as u64);
        Ok(())
    }
}

/// Reads the Parquet files behind `view` in the repo at `repo_dir`, as a materialisation does, and
/// returns the number of rows that would be stored.
///
/// # Errors
/// The whole message.
pub fn parquet(
    repo_dir: &Path,
    view: &StoredView,
    config: &MaterializeConfig,
) -> std::result::Result<u64, String> {
    let mut taker = Counting::new(view);
    ViewFiles::open(repo_dir, view)
        .and_then(|files| files.collect(view, (None, ALWAYS.end), config, &mut taker))
        .map_err(|error| chain(&error))?;
    Ok(taker.rows)
}

/// Reads an offline server's answer for `view`, messages of header and body, and returns the number of
/// rows that would be stored.
///
/// # Errors
/// The whole message.
pub fn flight(
    messages: Vec<(Bytes, Bytes)>,
    view: &StoredView,
    config: &MaterializeConfig,
) -> std::result::Result<u64, String> {
    let messages = messages.into_iter().map(|(data_header, data_body)| {
        Ok(FlightData {
            data_header,
            data_body,
            ..FlightData::default()
        })
    });
    let mut batches = crate::flight::checked(stream::iter(messages.collect::<Vec<_>>()));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let told = |error: Error| chain(&error);
    let source = batch_source(view).map_err(told)?;
    let plan = ViewPlan::new(&view.name, source, &view.join_keys, &view.schema);
    let mut taker = Counting::new(view);
    let mut collect = Collect::new(view, &plan, ALWAYS, config, &mut taker);
    let mut first = 0_u64;
    while let Some(batch) = runtime.block_on(crate::flight::next(&mut batches)) {
        let batch = batch.map_err(|error| chain(&error))?;
        crate::flight::take(&mut collect, &batch, (Path::new("the answer"), first))
            .map_err(told)?;
        first = first.saturating_add(batch.num_rows() as u64);
    }
    collect.finish().map_err(told)?;
    Ok(taker.rows)
}

//! Record batches, wherever they come from, as the newest row of every key.
//!
//! The newest row of every key within the window is kept in memory and committed as one write when
//! the last batch is in. When the keys do not fit in [`MaterializeConfig::memory_max`], what is
//! staged is committed on the way: the store's event-time rule makes the end result the same, only
//! it is no longer visible all at once.

pub(crate) mod cell;
mod fill;
mod fit;
pub(crate) mod fold;
mod plan;
pub(crate) mod staging;

use std::path::Path;

use arrow_array::RecordBatch;
use galley_node::store::{RowBatch, RowWriter, Write};
use galley_node::{JobProgress, MaterializeTask, MaterializeView, Node, Sink};
use galley_registry::BatchSource;
use galley_types::EventTime;

use crate::error::{Error, RefusedValue, Result};
pub(crate) use fold::Window;
use fold::{Bad, Scratch};
pub(crate) use plan::{FilePlan, ViewPlan};
use staging::Staging;

/// Bytes of a row beside its key and values, roughly: room for a batch is made at once.
const ROW_OVERHEAD: usize = 16;

/// Settings of materialisation.
#[derive(Clone, Debug)]
pub struct MaterializeConfig {
    /// Bytes of staged rows before they are committed on the way; at most 1 GiB is used. The
    /// commit itself needs about as much again.
    pub memory_max: u64,
    /// Rows decoded at a time.
    pub batch_rows_max: usize,
    /// Bytes decoded at a time, as far as the file tells before it is read.
    pub batch_bytes_max: usize,
    /// Bytes of a file that is fetched from elsewhere; it lies on this machine's disk while it is
    /// read.
    pub download_bytes_max: u64,
}

/// The work on one view.
#[derive(Debug)]
pub(crate) struct ViewRows<'a> {
    node: &'a Node,
    pub(crate) job: &'a JobProgress,
    pub(crate) config: &'a MaterializeConfig,
    sink: Sink,
    pub(crate) source: BatchSource,
    pub(crate) plan: ViewPlan,
    pub(crate) window: Window,
    watermark: (String, EventTime),
}

/// The rows of a view that are staged so far.
pub(crate) struct Work {
    staging: Staging,
    scratch: Scratch,
}

/// Where a batch comes from, for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The file, or what else it is.
    pub(crate) path: &'a Path,
    /// The row group, where there is one.
    pub(crate) row_group: Option<usize>,
    /// The number of the batch's first row.
    pub(crate) first: u64,
}

// === impl MaterializeConfig ===

impl Default for MaterializeConfig {
    fn default() -> Self {
        Self {
            memory_max: 256 << 20,
            batch_rows_max: 8192,
            batch_bytes_max: 32 << 20,
            download_bytes_max: 4 << 30,
        }
    }
}

// === impl ViewRows ===

impl<'a> ViewRows<'a> {
    /// The work on `view`.
    ///
    /// # Errors
    /// [`Error::SourceUnsupported`] for a view whose rows no source has.
    pub(crate) fn new(
        task: &'a MaterializeTask,
        view: &MaterializeView,
        job: &'a JobProgress,
        config: &'a MaterializeConfig,
    ) -> Result<Self> {
        let unsupported = |found: &str| Error::SourceUnsupported {
            view: view.name.clone(),
            found: found.to_owned(),
        };
        let sink = task
            .node
            .sink(&view.name)?
            .ok_or_else(|| unsupported("a view that is no longer in the registry"))?;
        if sink.view.batch_transformed {
            return Err(unsupported(
                "a view whose batches Feast computes with a function or aggregations",
            ));
        }
        let source = sink.view.batch_source.clone();
        let source = source.ok_or_else(|| unsupported("a view without a batch source"))?;
        Ok(Self {
            node: &task.node,
            job,
            config,
            plan: ViewPlan::new(&view.name, &source, &sink.view.join_keys, &sink.view.schema),
            source,
            sink,
            window: Window {
                start: view.start,
                end: view.end,
            },
            watermark: view.watermark.clone(),
        })
    }

    /// Room for the view's rows.
    pub(crate) fn begin(&self) -> Work {
        self.job.set_view(&self.plan.view);
        Work {
            staging: Staging::new(&self.sink.view.schema),
            scratch: Scratch::default(),
        }
    }

    /// Folds a batch whose columns are those of `plan`, in slices when its values would swell beyond
    /// the bound on a batch.
    pub(crate) fn fold(
        &self,
        work: &mut Work,
        batch: &RecordBatch,
        plan: &FilePlan,
        place: Place<'_>,
    ) -> Result<()> {
        let heap: usize = batch
            .columns()
            .iter()
            .map(|column| fold::heap_bytes(column.as_ref()))
            .fold(0, usize::saturating_add);
        let parts = heap.div_ceil(self.config.batch_bytes_max.max(1)).max(1);
        let step = batch.num_rows().div_ceil(parts).max(1);
        let mut offset = 0_usize;
        while offset < batch.num_rows() {
            if self.job.cancelled() {
                return Err(Error::Cancelled);
            }
            let length = step.min(batch.num_rows() - offset);
            let slice = batch.slice(offset, length);
            let Work { staging, scratch } = work;
            fold::batch(staging, &slice, (&self.plan, plan), self.window, scratch).map_err(
                |mut bad| {
                    bad.row += offset;
                    self.refused(bad, place)
                },
            )?;
            let limit = usize::try_from(self.config.memory_max).unwrap_or(usize::MAX);
            if staging.bytes() >= limit.min(Staging::BYTES_MAX) {
                self.commit(staging, None)?;
            }
            offset += length;
        }
        self.job.add_rows(batch.num_rows() as u64, 0);
        Ok(())
    }

    /// Commits what is staged, and moves the watermark.
    pub(crate) fn finish(&self, mut work: Work) -> Result<()> {
        self.commit(&mut work.staging, Some(self.watermark.clone()))?;
        tracing::debug!(view = %self.plan.view, "view materialised");
        Ok(())
    }

    fn commit(&self, staging: &mut Staging, watermark: Option<(String, EventTime)>) -> Result<()> {
        let rows = staging.len();
        let bytes = staging
            .bytes()
            .saturating_add(rows.saturating_mul(ROW_OVERHEAD));
        let mut batch = RowBatch::with_capacity(self.sink.table, bytes);
        let mut writer = RowWriter::new(&self.sink.view.schema, self.sink.schema);
        staging
            .drain_into(&mut batch, &mut writer)
            .map_err(|source| Error::Row {
                view: self.plan.view.clone(),
                source,
            })?;
        let batches = if rows == 0 { Vec::new() } else { vec![batch] };
        let receipt = self.node.commit(Write { batches, watermark })?;
        self.job.add_rows(0, receipt.written);
        Ok(())
    }

    /// The error for a value that does not fit.
    pub(crate) fn refused(&self, bad: Bad, place: Place<'_>) -> Error {
        Error::ValueRefused(Box::new(RefusedValue {
            path: place.path.to_owned(),
            view: self.plan.view.clone(),
            row_group: place.row_group,
            row: place.first.saturating_add(bad.row as u64),
            column: bad.column,
            expected: bad.expected,
            got: bad.got,
        }))
    }
}

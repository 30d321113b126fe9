//! Materialisation from Parquet files on local disk.
//!
//! A view's files are streamed batch by batch; the newest row of every key within the window is
//! kept in memory and committed as one write when the last file is read. When the keys do not fit
//! in [`MaterializeConfig::memory_max`], what is staged is committed on the way: the store's
//! event-time rule makes the end result the same, only it is no longer visible all at once.

mod cell;
mod fill;
mod fit;
mod fold;
mod plan;
mod reader;
mod source;
mod staging;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use galley_node::store::{RowBatch, RowWriter, Write};
use galley_node::{
    JobProgress, MaterializeError, MaterializeTask, MaterializeView, Materializer, Node, Sink,
};
use galley_types::{Classify as _, EventTime};

use crate::error::{Error, RefusedValue, Result, chain};
use fold::{Bad, Scratch, Window};
use plan::{FilePlan, ViewPlan};
use reader::{BatchBounds, ParquetFile, Step};
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
}

/// Reads the Parquet files of feature views' batch sources.
#[derive(Clone, Debug)]
pub struct ParquetMaterializer {
    repo_dir: PathBuf,
    config: MaterializeConfig,
}

/// The work on one view.
struct ViewJob<'a> {
    node: &'a Node,
    job: &'a JobProgress,
    config: &'a MaterializeConfig,
    sink: Sink,
    plan: ViewPlan,
    window: Window,
    watermark: (String, EventTime),
    files: Vec<PathBuf>,
}

// === impl MaterializeConfig ===

impl Default for MaterializeConfig {
    fn default() -> Self {
        Self {
            memory_max: 256 << 20,
            batch_rows_max: 8192,
            batch_bytes_max: 32 << 20,
        }
    }
}

// === impl ParquetMaterializer ===

impl ParquetMaterializer {
    /// A materialiser for the repo in `repo_dir`, where relative paths of sources start.
    #[must_use]
    pub fn new(repo_dir: impl Into<PathBuf>, config: MaterializeConfig) -> Self {
        Self {
            repo_dir: repo_dir.into(),
            config,
        }
    }

    fn prepare<'a>(
        &'a self,
        task: &'a MaterializeTask,
        view: &MaterializeView,
        job: &'a JobProgress,
    ) -> Result<ViewJob<'a>> {
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
        let source = sink
            .view
            .batch_source
            .as_ref()
            .ok_or_else(|| unsupported("a view without a batch source"))?;
        let files = source::files(&self.repo_dir, &view.name, source)?;
        let plan = ViewPlan::new(&view.name, source, &sink.view.join_keys, &sink.view.schema);
        for path in &files {
            let file = ParquetFile::open(path)?;
            // A file without rows, such as pandas writes of an empty frame, may lack columns.
            if file.rows() > 0 {
                plan.over(path, file.schema())?;
            }
            job.add_total(file.rows());
        }
        Ok(ViewJob {
            node: &task.node,
            job,
            config: &self.config,
            plan,
            sink,
            window: Window {
                start: view.start,
                end: view.end,
            },
            watermark: view.watermark.clone(),
            files,
        })
    }

    fn run_all(&self, task: &MaterializeTask, job: &JobProgress) -> Result<()> {
        // All footers are read before the first row is: a missing file or column stops the job
        // while nothing is written yet.
        let mut jobs = Vec::with_capacity(task.views.len());
        for view in &task.views {
            jobs.push(self.prepare(task, view, job)?);
        }
        for view in jobs {
            job.set_view(&view.plan.view);
            view.run()?;
        }
        Ok(())
    }
}

impl Materializer for ParquetMaterializer {
    fn run(
        &self,
        task: &MaterializeTask,
        job: &JobProgress,
    ) -> std::result::Result<(), MaterializeError> {
        self.run_all(task, job).map_err(|error| MaterializeError {
            kind: error.kind(),
            message: chain(&error),
        })
    }
}

// === impl ViewJob ===

impl ViewJob<'_> {
    fn run(&self) -> Result<()> {
        let mut staging = Staging::new(&self.sink.view.schema);
        let mut scratch = Scratch::default();
        for path in &self.files {
            self.file(path, &mut staging, &mut scratch)?;
        }
        self.commit(&mut staging, Some(self.watermark.clone()))?;
        tracing::debug!(view = %self.plan.view, files = self.files.len(), "view materialised");
        Ok(())
    }

    fn file(&self, path: &Path, staging: &mut Staging, scratch: &mut Scratch) -> Result<()> {
        let file = ParquetFile::open(path)?;
        if file.rows() == 0 {
            return Ok(());
        }
        let plan = self.plan.over(path, file.schema())?;
        let row_bytes = self.plan.features.len() * 9 + 64;
        let bounds = BatchBounds {
            rows: self
                .config
                .batch_rows_max
                .min(self.config.batch_bytes_max / row_bytes)
                .max(1),
            bytes: self.config.batch_bytes_max,
        };
        let columns = (plan.roots.as_slice(), self.plan.timestamp.as_str());
        file.read(columns, self.window, bounds, &mut |step| {
            if self.job.cancelled() {
                return Err(Error::Cancelled);
            }
            match step {
                Step::Skipped(rows) => self.job.add_rows(rows, 0),
                Step::Batch {
                    batch,
                    group,
                    first,
                } => {
                    self.fold(staging, batch, &plan, scratch)
                        .map_err(|failure| failure.at(self, path, (group, first)))?;
                    self.job.add_rows(batch.num_rows() as u64, 0);
                }
            }
            Ok(())
        })
    }

    /// Folds a batch, in slices when its values would swell beyond the bound on a batch.
    fn fold(
        &self,
        staging: &mut Staging,
        batch: &arrow_array::RecordBatch,
        plan: &FilePlan,
        scratch: &mut Scratch,
    ) -> std::result::Result<(), Failure> {
        let heap: usize = batch
            .columns()
            .iter()
            .map(|column| fold::heap_bytes(column.as_ref()))
            .fold(0, usize::saturating_add);
        let parts = heap.div_ceil(self.config.batch_bytes_max.max(1)).max(1);
        let step = batch.num_rows().div_ceil(parts).max(1);
        let mut offset = 0_usize;
        while offset < batch.num_rows() {
            let length = step.min(batch.num_rows() - offset);
            let slice = batch.slice(offset, length);
            fold::batch(staging, &slice, (&self.plan, plan), self.window, scratch).map_err(
                |mut bad| {
                    bad.row += offset;
                    Failure::Bad(bad)
                },
            )?;
            let limit = usize::try_from(self.config.memory_max).unwrap_or(usize::MAX);
            if staging.bytes() >= limit.min(Staging::BYTES_MAX) {
                self.commit(staging, None).map_err(Failure::Error)?;
            }
            offset += length;
        }
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
        let receipt = self.node.commit(Write {
            batches,
            watermark,
            ..Write::default()
        })?;
        self.job.add_rows(0, receipt.written);
        Ok(())
    }
}

/// Why a batch could not be folded, before it is known where it lies.
enum Failure {
    Bad(Bad),
    Error(Error),
}

impl Failure {
    fn at(self, view: &ViewJob<'_>, path: &Path, (row_group, first): (usize, u64)) -> Error {
        match self {
            Self::Error(error) => error,
            Self::Bad(bad) => Error::ValueRefused(Box::new(RefusedValue {
                path: path.to_owned(),
                view: view.plan.view.clone(),
                row_group,
                row: first.saturating_add(bad.row as u64),
                column: bad.column,
                expected: bad.expected,
                got: bad.got,
            })),
        }
    }
}

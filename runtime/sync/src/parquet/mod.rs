//! Materialisation from Parquet files on local disk.
//!
//! A view's files are streamed batch by batch; the newest row of every key within the window is
//! kept in memory and committed as one write when the last file is read. When the keys do not fit
//! in [`MaterializeConfig::memory_max`], what is staged is committed on the way: the store's
//! event-time rule makes the end result the same, only it is no longer visible all at once.

mod cell;
mod collect;
mod fill;
mod fit;
mod fold;
mod plan;
mod reader;
mod source;
mod staging;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use galley_node::store::{RowBatch, RowWriter, Write};
use galley_node::{
    JobProgress, MaterializeError, MaterializeTask, MaterializeView, Materializer, Node, Sink,
};
use galley_types::{Classify as _, EventTime};

use crate::error::{Error, Result, chain};
pub(crate) use collect::{Taker, ViewFiles};
pub(crate) use staging::Staging;

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
    window: (Option<EventTime>, EventTime),
    watermark: (String, EventTime),
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
    ) -> Result<(ViewJob<'a>, ViewFiles)> {
        let sink = task.node.sink(&view.name)?;
        let sink = sink.ok_or_else(|| Error::SourceUnsupported {
            view: view.name.clone(),
            found: "a view that is no longer in the registry".to_owned(),
        })?;
        let files = ViewFiles::open(&self.repo_dir, &sink.view)?;
        job.add_total(files.rows);
        let job = ViewJob {
            node: &task.node,
            job,
            config: &self.config,
            sink,
            window: (view.start, view.end),
            watermark: view.watermark.clone(),
        };
        Ok((job, files))
    }

    fn run_all(&self, task: &MaterializeTask, job: &JobProgress) -> Result<()> {
        // All footers are read before the first row is: a missing file or column stops the job
        // while nothing is written yet.
        let mut jobs = Vec::with_capacity(task.views.len());
        for view in &task.views {
            jobs.push(self.prepare(task, view, job)?);
        }
        for (view, files) in jobs {
            job.set_view(&view.sink.view.name);
            view.run(&files)?;
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
    fn run(self, files: &ViewFiles) -> Result<()> {
        let view = self.sink.view.clone();
        let (window, config) = (self.window, self.config);
        let mut taker = self;
        files.collect(&view, window, config, &mut taker)?;
        tracing::debug!(view = %view.name, files = files.files.len(), "view materialised");
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
                view: self.sink.view.name.clone(),
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

impl Taker for ViewJob<'_> {
    fn read(&mut self, rows: u64) -> Result<()> {
        if self.job.cancelled() {
            return Err(Error::Cancelled);
        }
        self.job.add_rows(rows, 0);
        Ok(())
    }

    fn take(&mut self, staged: &mut Staging, last: bool) -> Result<()> {
        let watermark = last.then(|| self.watermark.clone());
        self.commit(staged, watermark)
    }
}

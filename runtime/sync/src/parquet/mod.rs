//! Materialisation from Parquet files: of this machine, of buckets and of web servers.
//!
//! A file of this machine is read where it is. One that is elsewhere is fetched first, as it would be
//! read nearly whole anyway, and removed when it is read.

mod budget;
mod column;
mod delta;
mod fetch;
mod files;
mod footer;
mod header;
mod pages;
mod reader;
mod source;
#[cfg(test)]
mod tests;
mod thrift;
mod unpack;

use std::path::PathBuf;

use galley_node::{JobProgress, MaterializeError, MaterializeTask, Materializer};
use galley_types::Classify as _;

use crate::error::{Result, chain};
use crate::remote::RemoteConfig;
use crate::rows::ViewJob;

pub(crate) use crate::rows::MaterializeConfig;
pub(crate) use crate::rows::{Staging, Taker};
pub(crate) use files::{Origin, ViewFiles};

/// Reads the Parquet files of feature views' batch sources.
#[derive(Clone, Debug)]
pub struct ParquetMaterializer {
    origin: Origin,
    config: MaterializeConfig,
}

// === impl ParquetMaterializer ===

impl ParquetMaterializer {
    /// A materialiser for the repo in `repo_dir`, where relative paths of sources start.
    #[must_use]
    pub fn new(repo_dir: impl Into<PathBuf>, config: MaterializeConfig) -> Self {
        Self {
            origin: Origin::new(repo_dir),
            config,
        }
    }

    /// Fetches files from elsewhere as `remote` says, into `folder`.
    #[must_use]
    pub fn with_remote(mut self, remote: &RemoteConfig, folder: impl Into<PathBuf>) -> Self {
        self.origin = self.origin.with_remote(remote, folder);
        self
    }

    fn run_all(&self, task: &MaterializeTask, job: &JobProgress) -> Result<()> {
        // All footers are read before the first row is: a missing file or column stops the job
        // while nothing is written yet.
        let mut views = Vec::with_capacity(task.views.len());
        for view in &task.views {
            let view = ViewJob::new(task, view, job)?;
            let files = ViewFiles::open(self.origin.clone(), &view.sink.view)?;
            job.add_total(files.rows);
            views.push((view, files));
        }
        for (mut taker, files) in views {
            let view = taker.sink.view.clone();
            let window = (taker.window.start, taker.window.end);
            job.set_view(&view.name);
            files.collect(&view, window, &self.config, &mut taker)?;
            tracing::debug!(view = %view.name, "view materialised");
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

//! Materialisation from Parquet files: of this machine, of buckets and of web servers.
//!
//! A file of this machine is read where it is. One that is elsewhere is fetched first, as it would be
//! read nearly whole anyway, and removed when it is read.

mod fetch;
mod reader;
mod source;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use galley_node::{JobProgress, MaterializeError, MaterializeTask, Materializer};
use galley_types::Classify as _;

use crate::error::{Error, Result, chain};
use crate::remote::RemoteConfig;
use crate::rows::{MaterializeConfig, Place, ViewRows, Work};
use reader::{BatchBounds, ParquetFile, Step};
use source::SourceFile;

/// Reads the Parquet files of feature views' batch sources.
#[derive(Clone, Debug)]
pub struct ParquetMaterializer {
    repo_dir: PathBuf,
    config: MaterializeConfig,
    remote: RemoteConfig,
    /// Where files from elsewhere lie while they are read.
    folder: PathBuf,
}

// === impl ParquetMaterializer ===

impl ParquetMaterializer {
    /// A materialiser for the repo in `repo_dir`, where relative paths of sources start.
    #[must_use]
    pub fn new(repo_dir: impl Into<PathBuf>, config: MaterializeConfig) -> Self {
        Self {
            repo_dir: repo_dir.into(),
            config,
            remote: RemoteConfig::default(),
            folder: std::env::temp_dir(),
        }
    }

    /// Fetches files from elsewhere as `remote` says, into `folder`.
    #[must_use]
    pub fn with_remote(mut self, remote: &RemoteConfig, folder: impl Into<PathBuf>) -> Self {
        // Sources are named by the registry: the token is not meant for wherever they point.
        self.remote = RemoteConfig {
            token: None,
            ..remote.clone()
        };
        self.folder = folder.into();
        self
    }

    fn prepare<'a>(&self, rows: ViewRows<'a>) -> Result<(ViewRows<'a>, Vec<SourceFile>)> {
        let files = source::files(&self.repo_dir, &rows.plan.view, &rows.source, &self.remote)?;
        for file in &files {
            // What is elsewhere is looked at when it is here.
            if let SourceFile::Here(path) = file {
                let file = ParquetFile::open(path, path)?;
                // A file without rows, such as pandas writes of an empty frame, may lack columns.
                if file.rows() > 0 {
                    rows.plan.over(path, file.schema())?;
                }
                rows.job.add_total(file.rows());
            }
        }
        Ok((rows, files))
    }

    fn run_all(&self, task: &MaterializeTask, job: &JobProgress) -> Result<()> {
        // All footers are read before the first row is: a missing file or column stops the job
        // while nothing is written yet.
        let mut views = Vec::with_capacity(task.views.len());
        for view in &task.views {
            views.push(self.prepare(ViewRows::new(task, view, job, &self.config)?)?);
        }
        for (rows, files) in views {
            let mut work = rows.begin();
            for file in &files {
                match file {
                    SourceFile::Here(path) => read(&rows, &mut work, path, path)?,
                    SourceFile::Elsewhere(file) => {
                        let purpose = fetch::Purpose {
                            view: &rows.plan.view,
                            bytes_max: self.config.download_bytes_max,
                            cancelled: &|| job.cancelled(),
                        };
                        let fetched = fetch::file(purpose, file, &self.folder)?;
                        let shown = PathBuf::from(file.location());
                        let rows_here = ParquetFile::open(fetched.path(), &shown)?.rows();
                        rows.job.add_total(rows_here);
                        read(&rows, &mut work, fetched.path(), &shown)?;
                    }
                }
            }
            rows.finish(work)?;
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

/// Folds the rows of the file at `path`, which messages call `shown`.
fn read(rows: &ViewRows<'_>, work: &mut Work, path: &Path, shown: &Path) -> Result<()> {
    let file = ParquetFile::open(path, shown)?;
    if file.rows() == 0 {
        return Ok(());
    }
    let plan = rows.plan.over(shown, file.schema())?;
    let row_bytes = rows.plan.features.len() * 9 + 64;
    let bounds = BatchBounds {
        rows: rows
            .config
            .batch_rows_max
            .min(rows.config.batch_bytes_max / row_bytes)
            .max(1),
        bytes: rows.config.batch_bytes_max,
    };
    let columns = (plan.roots.as_slice(), rows.plan.timestamp.as_str());
    file.read(columns, rows.window, bounds, &mut |step| {
        if rows.job.cancelled() {
            return Err(Error::Cancelled);
        }
        match step {
            Step::Skipped(skipped) => rows.job.add_rows(skipped, 0),
            Step::Batch {
                batch,
                group,
                first,
            } => {
                let place = Place {
                    path: shown,
                    row_group: Some(group),
                    first,
                };
                rows.fold(work, batch, &plan, place)?;
            }
        }
        Ok(())
    })
}

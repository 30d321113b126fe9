//! The files of a view, and the columns in them.

use std::path::{Path, PathBuf};

use galley_registry::StoredView;
use galley_types::EventTime;

use super::reader::{BatchBounds, ParquetFile, Step};
use super::source::{self, SourceFile};
use super::{MaterializeConfig, Taker, fetch};
use crate::error::Result;
use crate::remote::RemoteConfig;
use crate::rows::{Collect, Place, ViewPlan, Window, batch_source};

/// Where sources lie, and how those that are elsewhere are fetched.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Relative paths start here.
    repo_dir: PathBuf,
    remote: RemoteConfig,
    /// Where files from elsewhere lie while they are read.
    folder: PathBuf,
}

/// What is read of a view: its files, and the columns in them.
#[derive(Debug)]
pub(crate) struct ViewFiles {
    origin: Origin,
    plan: ViewPlan,
    files: Vec<SourceFile>,
    /// Rows of the files that are on this machine, whatever their times.
    pub(crate) rows: u64,
}

// === impl Origin ===

impl Origin {
    /// Relative paths of sources start at `repo_dir`.
    pub(crate) fn new(repo_dir: impl Into<PathBuf>) -> Self {
        Self {
            repo_dir: repo_dir.into(),
            remote: RemoteConfig::default(),
            folder: std::env::temp_dir(),
        }
    }

    /// Fetches files from elsewhere as `remote` says, into `folder`.
    pub(crate) fn with_remote(mut self, remote: &RemoteConfig, folder: impl Into<PathBuf>) -> Self {
        // Sources are named by the registry: the token is not meant for wherever they point.
        self.remote = RemoteConfig {
            token: None,
            identity: None,
            ..remote.clone()
        };
        self.folder = folder.into();
        self
    }
}

impl From<&Path> for Origin {
    fn from(repo_dir: &Path) -> Self {
        Self::new(repo_dir)
    }
}

// === impl ViewFiles ===

impl ViewFiles {
    /// Finds a view's files and checks that those of this machine have the columns it needs; the
    /// others are looked at when they are here.
    ///
    /// # Errors
    /// [`Error::SourceUnsupported`](crate::Error::SourceUnsupported),
    /// [`Error::SourceAway`](crate::Error::SourceAway),
    /// [`Error::ColumnMissing`](crate::Error::ColumnMissing),
    /// [`Error::ParquetDamaged`](crate::Error::ParquetDamaged),
    /// [`Error::TooLarge`](crate::Error::TooLarge), [`Error::Io`](crate::Error::Io).
    pub(crate) fn open(origin: impl Into<Origin>, view: &StoredView) -> Result<Self> {
        let origin = origin.into();
        let source = batch_source(view)?;
        let files = source::files(&origin.repo_dir, &view.name, source, &origin.remote)?;
        let plan = ViewPlan::new(&view.name, source, &view.join_keys, &view.schema);
        let mut rows = 0_u64;
        for file in &files {
            if let SourceFile::Here(path) = file {
                let file = ParquetFile::open(path, path)?;
                // A file without rows, such as pandas writes of an empty frame, may lack columns.
                if file.rows() > 0 {
                    plan.over(path, file.schema())?;
                }
                rows = rows.saturating_add(file.rows());
            }
        }
        Ok(Self {
            origin,
            plan,
            files,
            rows,
        })
    }

    /// Reads the rows of a window, inclusive at both ends.
    ///
    /// # Errors
    /// Of the files and of `taker`.
    pub(crate) fn collect(
        &self,
        view: &StoredView,
        (start, end): (Option<EventTime>, EventTime),
        config: &MaterializeConfig,
        taker: &mut dyn Taker,
    ) -> Result<()> {
        let window = Window { start, end };
        let mut collect = Collect::new(view, &self.plan, window, config, taker);
        for file in &self.files {
            match file {
                SourceFile::Here(path) => read(&mut collect, path, path)?,
                SourceFile::Elsewhere(file) => {
                    let purpose = fetch::Purpose {
                        view: &view.name,
                        bytes_max: config.download_bytes_max,
                        wanted: &mut || collect.skip(0),
                    };
                    let fetched = fetch::file(purpose, file, &self.origin.folder)?;
                    let shown = PathBuf::from(file.location());
                    read(&mut collect, fetched.path(), &shown)?;
                }
            }
        }
        collect.finish()
    }
}

/// Folds the rows of the file at `path`, which messages call `shown`.
fn read(collect: &mut Collect<'_>, path: &Path, shown: &Path) -> Result<()> {
    let file = ParquetFile::open(path, shown)?;
    if file.rows() == 0 {
        return Ok(());
    }
    collect.begin(file.size());
    let plan = collect.plan.over(shown, file.schema())?;
    let row_bytes = collect.plan.features.len() * 9 + 64;
    let bounds = BatchBounds {
        rows: collect
            .config
            .batch_rows_max
            .min(collect.config.batch_bytes_max / row_bytes)
            .max(1),
        bytes: collect.config.batch_bytes_max,
        pages_bytes: collect.config.decode_bytes_max,
    };
    let columns = (plan.roots.as_slice(), collect.plan.timestamp.as_str());
    let window = collect.window;
    file.read(columns, window, bounds, &mut |step| match step {
        Step::Skipped(rows) => collect.skip(rows),
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
            collect.batch(batch, &plan, place)
        }
    })
}

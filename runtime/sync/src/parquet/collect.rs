//! The newest row of every key of a view within a window, handed over in pieces that fit in memory.

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use galley_registry::StoredView;
use galley_types::EventTime;

use super::MaterializeConfig;
use super::fold::{self, Bad, Scratch, Window};
use super::plan::{FilePlan, ViewPlan};
use super::reader::{BatchBounds, ParquetFile, Step};
use super::source;
use super::staging::Staging;
use crate::error::{Error, RefusedValue, Result};

/// What is read of a view: its files, and the columns in them.
#[derive(Debug)]
pub(crate) struct ViewFiles {
    pub(super) plan: ViewPlan,
    pub(super) files: Vec<PathBuf>,
    /// Rows of the files, whatever their times.
    pub(crate) rows: u64,
}

/// Where the rows of a view go.
pub(crate) trait Taker {
    /// Rows were read or passed over.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when no more are wanted.
    fn read(&mut self, rows: u64) -> Result<()>;

    /// The newest rows so far, when they fill the memory or are the last; `staged` is empty
    /// afterwards. A key may come in several pieces.
    ///
    /// # Errors
    /// Whatever keeps them from being taken.
    fn take(&mut self, staged: &mut Staging, last: bool) -> Result<()>;
}

/// A reading of a view.
struct Collect<'a> {
    view: &'a StoredView,
    files: &'a ViewFiles,
    window: Window,
    config: &'a MaterializeConfig,
    taker: &'a mut dyn Taker,
}

// === impl ViewFiles ===

impl ViewFiles {
    /// Finds a view's files and checks that they have the columns it needs.
    ///
    /// # Errors
    /// [`Error::SourceUnsupported`], [`Error::ColumnMissing`], [`Error::ParquetDamaged`],
    /// [`Error::TooLarge`], [`Error::Io`].
    pub(crate) fn open(repo_dir: &Path, view: &StoredView) -> Result<Self> {
        let unsupported = |found: &str| Error::SourceUnsupported {
            view: view.name.clone(),
            found: found.to_owned(),
        };
        if view.batch_transformed {
            return Err(unsupported(
                "a view whose batches Feast computes with a function or aggregations",
            ));
        }
        let source = view.batch_source.as_ref();
        let source = source.ok_or_else(|| unsupported("a view without a batch source"))?;
        let files = source::files(repo_dir, &view.name, source)?;
        let plan = ViewPlan::new(&view.name, source, &view.join_keys, &view.schema);
        let mut rows = 0_u64;
        for path in &files {
            let file = ParquetFile::open(path)?;
            // A file without rows, such as pandas writes of an empty frame, may lack columns.
            if file.rows() > 0 {
                plan.over(path, file.schema())?;
            }
            rows = rows.saturating_add(file.rows());
        }
        Ok(Self { plan, files, rows })
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
        let mut collect = Collect {
            view,
            files: self,
            window: Window { start, end },
            config,
            taker,
        };
        let mut staged = Staging::new(&view.schema);
        let mut scratch = Scratch::default();
        for path in &self.files {
            collect.file(path, &mut staged, &mut scratch)?;
        }
        collect.taker.take(&mut staged, true)
    }
}

// === impl Collect ===

impl Collect<'_> {
    fn file(&mut self, path: &Path, staged: &mut Staging, scratch: &mut Scratch) -> Result<()> {
        let file = ParquetFile::open(path)?;
        if file.rows() == 0 {
            return Ok(());
        }
        let plan = self.files.plan.over(path, file.schema())?;
        let row_bytes = self.files.plan.features.len() * 9 + 64;
        let bounds = BatchBounds {
            rows: self
                .config
                .batch_rows_max
                .min(self.config.batch_bytes_max / row_bytes)
                .max(1),
            bytes: self.config.batch_bytes_max,
        };
        let columns = (plan.roots.as_slice(), self.files.plan.timestamp.as_str());
        file.read(columns, self.window, bounds, &mut |step| match step {
            Step::Skipped(rows) => self.taker.read(rows),
            Step::Batch {
                batch,
                group,
                first,
            } => {
                // A job that was cancelled stops before the work, not after it.
                self.taker.read(0)?;
                self.fold(staged, batch, &plan, scratch)
                    .map_err(|failure| failure.at(self.view, path, (group, first)))?;
                self.taker.read(batch.num_rows() as u64)
            }
        })
    }

    /// Folds a batch, in slices when its values would swell beyond the bound on a batch.
    fn fold(
        &mut self,
        staged: &mut Staging,
        batch: &RecordBatch,
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
            let plans = (&self.files.plan, plan);
            fold::batch(staged, &slice, plans, self.window, scratch).map_err(|mut bad| {
                bad.row += offset;
                Failure::Bad(bad)
            })?;
            let limit = usize::try_from(self.config.memory_max).unwrap_or(usize::MAX);
            if staged.bytes() >= limit.min(Staging::BYTES_MAX) {
                self.taker.take(staged, false).map_err(Failure::Error)?;
            }
            offset += length;
        }
        Ok(())
    }
}

/// Why a batch could not be folded, before it is known where it lies.
enum Failure {
    Bad(Bad),
    Error(Error),
}

impl Failure {
    fn at(self, view: &StoredView, path: &Path, (row_group, first): (usize, u64)) -> Error {
        match self {
            Self::Error(error) => error,
            Self::Bad(bad) => Error::ValueRefused(Box::new(RefusedValue {
                path: path.to_owned(),
                view: view.name.clone(),
                row_group,
                row: first.saturating_add(bad.row as u64),
                column: bad.column,
                expected: bad.expected,
                got: bad.got,
            })),
        }
    }
}

//! The newest row of every key of a view within a window, handed over in pieces that fit in memory.

use std::path::Path;

use arrow_array::RecordBatch;
use galley_registry::StoredView;

use super::MaterializeConfig;
use super::fold::{self, Bad, Scratch, Window};
use super::plan::{FilePlan, ViewPlan};
use super::staging::Staging;
use crate::error::{Error, RefusedValue, Result};

/// Bytes that the texts of a source of any size may come to, and how many more for each of its bytes: a
/// word that stands there once may be meant by all rows, and each of them is stored with its own.
const TEXTS_ANY: u64 = 256 << 20;
const TEXTS_PER_BYTE: u64 = 256;

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
pub(crate) struct Collect<'a> {
    view: &'a StoredView,
    pub(crate) plan: &'a ViewPlan,
    pub(crate) window: Window,
    pub(crate) config: &'a MaterializeConfig,
    taker: &'a mut dyn Taker,
    staged: Staging,
    scratch: Scratch,
    /// Bytes of all files or messages so far, and of the texts they came to.
    bytes: u64,
    texts: u64,
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

// === impl Collect ===

impl<'a> Collect<'a> {
    /// A reading of the rows of `view` within `window`, whose columns are those of `plan`.
    pub(crate) fn new(
        view: &'a StoredView,
        plan: &'a ViewPlan,
        window: Window,
        config: &'a MaterializeConfig,
        taker: &'a mut dyn Taker,
    ) -> Self {
        Self {
            view,
            plan,
            window,
            config,
            taker,
            staged: Staging::new(&view.schema),
            scratch: Scratch::default(),
            bytes: 0,
            texts: 0,
        }
    }

    /// A file or message of `bytes` comes next: its texts may be written once and meant often,
    /// within reason.
    pub(crate) fn begin(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Passes over rows that are not wanted.
    pub(crate) fn skip(&mut self, rows: u64) -> Result<()> {
        self.taker.read(rows)
    }

    /// Folds a batch, in slices when its values would swell beyond the bound on a batch.
    pub(crate) fn batch(
        &mut self,
        batch: &RecordBatch,
        plan: &FilePlan,
        place: Place<'_>,
    ) -> Result<()> {
        let heap: usize = batch
            .columns()
            .iter()
            .map(|column| fold::heap_bytes(column.as_ref()))
            .fold(0, usize::saturating_add);
        let texts: usize = batch
            .columns()
            .iter()
            .map(|column| fold::text_bytes(column.as_ref()))
            .fold(0, usize::saturating_add);
        self.texts = self.texts.saturating_add(texts as u64);
        let max = TEXTS_ANY.saturating_add(self.bytes.saturating_mul(TEXTS_PER_BYTE));
        if self.texts > max {
            return Err(Error::SourceSwells {
                path: place.path.to_owned(),
                bytes: self.bytes,
                max,
            });
        }
        let parts = heap.div_ceil(self.config.batch_bytes_max.max(1)).max(1);
        let step = batch.num_rows().div_ceil(parts).max(1);
        let mut offset = 0_usize;
        while offset < batch.num_rows() {
            // A job that was cancelled stops before the work, not after it.
            self.taker.read(0)?;
            let length = step.min(batch.num_rows() - offset);
            let slice = batch.slice(offset, length);
            let plans = (self.plan, plan);
            fold::batch(
                &mut self.staged,
                &slice,
                plans,
                self.window,
                &mut self.scratch,
            )
            .map_err(|mut bad| {
                bad.row += offset;
                self.refused(bad, place)
            })?;
            let limit = usize::try_from(self.config.memory_max).unwrap_or(usize::MAX);
            if self.staged.bytes() >= limit.min(Staging::BYTES_MAX) {
                self.taker.take(&mut self.staged, false)?;
            }
            offset += length;
        }
        self.taker.read(batch.num_rows() as u64)
    }

    /// Hands over what is left.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.taker.take(&mut self.staged, true)
    }

    /// The error for a value that does not fit.
    pub(crate) fn refused(&self, bad: Bad, place: Place<'_>) -> Error {
        Error::ValueRefused(Box::new(RefusedValue {
            path: place.path.to_owned(),
            view: self.view.name.clone(),
            row_group: place.row_group,
            row: place.first.saturating_add(bad.row as u64),
            column: bad.column,
            expected: bad.expected,
            got: bad.got,
        }))
    }
}

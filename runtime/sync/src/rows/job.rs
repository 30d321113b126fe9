//! The rows of a view on their way into the store.

use galley_node::store::{RowBatch, RowWriter, Write};
use galley_node::{JobProgress, MaterializeTask, MaterializeView, Node, Sink};
use galley_registry::{BatchSource, StoredView};
use galley_types::EventTime;

use super::collect::Taker;
use super::fold::Window;
use super::staging::Staging;
use crate::error::{Error, Result};

/// Bytes of a row beside its key and values, roughly: room for a batch is made at once.
const ROW_OVERHEAD: usize = 16;

/// The work on one view: a view that fits in memory is stored by one commit. When its keys do not
/// fit, what is staged is committed on the way: the store's event-time rule makes the end result the
/// same, only it is no longer visible all at once.
#[derive(Debug)]
pub(crate) struct ViewJob<'a> {
    node: &'a Node,
    pub(crate) job: &'a JobProgress,
    pub(crate) sink: Sink,
    pub(crate) window: Window,
    watermark: (String, EventTime),
}

// === impl ViewJob ===

impl<'a> ViewJob<'a> {
    /// The work on `view`.
    ///
    /// # Errors
    /// [`Error::SourceUnsupported`] for a view that is gone.
    pub(crate) fn new(
        task: &'a MaterializeTask,
        view: &MaterializeView,
        job: &'a JobProgress,
    ) -> Result<Self> {
        let sink = task.node.sink(&view.name)?;
        let sink = sink.ok_or_else(|| Error::SourceUnsupported {
            view: view.name.clone(),
            found: "a view that is no longer in the registry".to_owned(),
        })?;
        Ok(Self {
            node: &task.node,
            job,
            sink,
            window: Window {
                start: view.start,
                end: view.end,
            },
            watermark: view.watermark.clone(),
        })
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

/// The batch source of a view whose rows it has as they are.
///
/// # Errors
/// [`Error::SourceUnsupported`].
pub(crate) fn batch_source(view: &StoredView) -> Result<&BatchSource> {
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
    source.ok_or_else(|| unsupported("a view without a batch source"))
}

//! The answer to a look-up: rows of one commit, and the cells in them.

use galley_store::Row;
use galley_types::{Cell, EventTime, FieldStatus, Value};

use crate::Result;
use crate::plan::{Output, Plan};

/// A column of join keys as it is echoed: coerced, under the join key's name.
#[derive(Clone, Debug)]
pub struct EntityColumn {
    /// Join key or alias.
    pub name: String,
    /// One value a row, never null.
    pub values: Vec<Value>,
}

/// One row of one view of the answer.
#[derive(Clone, Copy, Debug)]
pub struct PartRow<'a> {
    /// `Present`, `NotFound` or `OutsideMaxAge`.
    pub status: FieldStatus,
    /// The row's event time, the epoch where there is no row.
    pub event_time: EventTime,
    pub(crate) row: Option<Row<'a>>,
    /// Whether the row's slots are the view's features.
    pub(crate) is_current: bool,
}

/// An answer, borrowed from one commit of the store.
#[derive(Debug)]
pub struct Answer<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) columns: &'a [EntityColumn],
    pub(crate) rows: Vec<PartRow<'a>>,
    pub(crate) row_count: usize,
    pub(crate) quirks: bool,
}

// === impl Answer ===

impl<'a> Answer<'a> {
    /// Number of entity rows.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.row_count
    }

    /// The join keys that came, in the request's order.
    #[must_use]
    pub fn entity_columns(&self) -> &'a [EntityColumn] {
        self.columns
    }

    /// The plan that was run.
    #[must_use]
    pub fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// Whether the Python server's ways are wanted.
    #[must_use]
    pub fn quirks(&self) -> bool {
        self.quirks
    }

    /// The rows of one part, one for each entity row.
    #[must_use]
    pub fn part_rows(&self, part: usize) -> &[PartRow<'a>] {
        let start = part * self.row_count;
        self.rows
            .get(start..start + self.row_count)
            .unwrap_or_default()
    }

    /// The status of one output of a fixed-width type in one row, and its bits where it is present:
    /// what [`Answer::cell`] says, for the loop over a column. Nulls are told by `None`.
    #[inline]
    #[must_use]
    pub fn bits(&self, output: &Output, row: usize) -> (FieldStatus, Option<u64>) {
        let missing = (FieldStatus::NotFound, None);
        let Some(found) = self.rows.get(output.part * self.row_count + row) else {
            return missing;
        };
        let Some(stored) = &found.row else {
            return missing;
        };
        let slot = if found.is_current {
            output.feature
        } else {
            let table = self.plan.parts.get(output.part).map(|part| &part.table);
            match table.and_then(|table| table.slot(stored.schema(), output.feature)) {
                Some(slot) => slot,
                None => return missing,
            }
        };
        match (found.status, stored.bits(slot)) {
            (FieldStatus::Present, None) if !self.quirks => (FieldStatus::NullValue, None),
            (FieldStatus::Present, bits) => (FieldStatus::Present, bits),
            (status, _) => (status, None),
        }
    }

    /// The value and status of one output in one row.
    ///
    /// # Errors
    /// [`Error::Store`] of kind `Corrupt` when the stored value does not decode.
    #[inline]
    pub fn cell(&self, output: usize, row: usize) -> Result<(FieldStatus, Cell<'a>)> {
        let missing = Ok((FieldStatus::NotFound, Cell::Null));
        let Some(output) = self.plan.outputs().get(output) else {
            return missing;
        };
        let Some(part) = self.plan.parts.get(output.part) else {
            return missing;
        };
        let Some(found) = self.rows.get(output.part * self.row_count + row) else {
            return missing;
        };
        let Some(stored) = &found.row else {
            return missing;
        };
        let Some(slot) = part.table.slot(stored.schema(), output.feature) else {
            return missing;
        };
        if found.status != FieldStatus::Present {
            return Ok((found.status, Cell::Null));
        }
        match stored.cell(slot, output.value_type)? {
            Cell::Null if self.quirks => Ok((FieldStatus::Present, Cell::Null)),
            Cell::Null => Ok((FieldStatus::NullValue, Cell::Null)),
            cell => Ok((FieldStatus::Present, cell)),
        }
    }
}

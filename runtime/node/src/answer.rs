//! The answer to a look-up: rows of one commit, and the cells in them.

use galley_store::Row;
use galley_types::{Cell, EventTime, FieldStatus, Value, ValueType};
use smallvec::SmallVec;

use crate::Result;
use crate::columns::{FixedColumn, FixedColumns};
use crate::compute::{self, Computed};
use crate::generation::Table;
use crate::plan::{Output, Plan, PlanTransform};
use crate::request::RequestColumn;

/// A column of join keys as it is echoed: coerced, under the join key's name.
#[derive(Clone, Debug)]
pub struct EntityColumn<'a> {
    /// Join key or alias.
    pub name: &'a str,
    /// One value a row, never null.
    pub values: KeyValues,
}

/// Values of a join key; the one of a single row takes no memory of its own.
pub type KeyValues = SmallVec<[Value; 1]>;

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
    pub(crate) columns: &'a [EntityColumn<'a>],
    /// Part by part, those of computed parts without a row.
    pub(crate) rows: &'a [PartRow<'a>],
    pub(crate) computed: &'a [Computed],
    pub(crate) fixed: &'a FixedColumns,
    pub(crate) row_count: usize,
    pub(crate) quirks: bool,
    /// The request's own columns that transformations used, in the order of the plan.
    pub(crate) requested: &'a [RequestColumn],
}

// === impl PartRow ===

impl PartRow<'_> {
    /// A row of an on-demand feature view: it has no time of its own.
    pub(crate) fn computed() -> Self {
        Self {
            status: FieldStatus::Present,
            event_time: EventTime::EPOCH,
            row: None,
            is_current: true,
        }
    }
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
    pub fn entity_columns(&self) -> &'a [EntityColumn<'a>] {
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

    /// The event time of one output in one row; the epoch where there is none.
    pub(crate) fn time(&self, output: usize, row: usize) -> EventTime {
        let part = self.plan.outputs().get(output).map(|output| output.part);
        let found = part.and_then(|part| self.part_rows(part).get(row));
        found.map_or(EventTime::EPOCH, |found| found.event_time)
    }

    /// The values of an output of a fixed-width type; nothing for one of another type. Nulls are
    /// told as such, whoever's ways are wanted.
    #[inline]
    #[must_use]
    pub fn column(&self, output: &Output) -> FixedColumn<'_> {
        let column = output.column.map(|column| self.fixed.column(column));
        column.unwrap_or_default()
    }

    /// The value and status of one output in one row.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) of kind `Corrupt` when the stored value does not
    /// decode, [`Error::Output`](crate::Error::Output) when a computed one is not of its type.
    #[inline]
    pub fn cell(&self, output: usize, row: usize) -> Result<(FieldStatus, Cell<'a>)> {
        let missing = (FieldStatus::NotFound, Cell::Null);
        let Some(output) = self.plan.outputs().get(output) else {
            return Ok(missing);
        };
        let Some(table) = self.plan.table(output.part) else {
            return self.computed_cell(output, row);
        };
        let Some(found) = self.rows.get(output.part * self.row_count + row) else {
            return Ok(missing);
        };
        match stored_cell(table, found, output.feature, output.value_type)? {
            (FieldStatus::NullValue, _) if self.quirks => Ok((FieldStatus::Present, Cell::Null)),
            cell => Ok(cell),
        }
    }

    /// The transformation that computes an output and what it computed.
    fn computed(&self, output: &Output) -> Option<(&'a PlanTransform, &'a Computed)> {
        let at = output.part.checked_sub(self.plan.part_count())?;
        self.plan.transforms().get(at).zip(self.computed.get(at))
    }

    fn null(&self) -> FieldStatus {
        if self.quirks {
            FieldStatus::Present
        } else {
            FieldStatus::NullValue
        }
    }

    fn computed_cell(&self, output: &Output, row: usize) -> Result<(FieldStatus, Cell<'a>)> {
        let Some((transform, computed)) = self.computed(output) else {
            return Ok((FieldStatus::NotFound, Cell::Null));
        };
        let Some(answer) = computed else {
            return Ok((self.null(), Cell::Null));
        };
        let bound = &transform.bound;
        // What is as it crosses needs no copy.
        if let ValueType::Scalar(scalar) = output.value_type
            && compute::crosses_as_is(scalar)
            && let Some(column) = compute::column(bound, answer, output.feature)
            && let Some(cell) = column.cell(row)
        {
            return Ok(match cell {
                Cell::Null => (self.null(), Cell::Null),
                cell => (FieldStatus::Present, cell),
            });
        }
        let feature = (output.feature, output.value_type);
        match compute::output_value(bound, answer, feature, row)? {
            Value::Null => Ok((self.null(), Cell::Null)),
            value => Ok((FieldStatus::Present, Cell::Tree(value))),
        }
    }
}

/// The value and status of a feature in a row of its view.
#[inline]
pub(crate) fn stored_cell<'a>(
    table: &Table,
    found: &PartRow<'a>,
    feature: usize,
    value_type: ValueType,
) -> Result<(FieldStatus, Cell<'a>)> {
    let missing = Ok((FieldStatus::NotFound, Cell::Null));
    let Some(stored) = &found.row else {
        return missing;
    };
    let Some(slot) = table.slot(stored.schema(), feature) else {
        return missing;
    };
    if found.status != FieldStatus::Present {
        return Ok((found.status, Cell::Null));
    }
    match stored.cell(slot, value_type)? {
        Cell::Null => Ok((FieldStatus::NullValue, Cell::Null)),
        cell => Ok((FieldStatus::Present, cell)),
    }
}

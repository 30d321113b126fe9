//! Fixed-width outputs, column by column.
//!
//! Rows hold the features of one entity; answers list one feature of all entities. Rows are many and
//! lie wherever they lie, so each is looked at once, when all that is asked of it is copied into the
//! columns; writing a column then reads memory from one end to the other.

use std::cell::Cell;

use galley_store::Row;
use galley_types::FieldStatus;

use crate::answer::PartRow;
use crate::generation::Table;

/// An output of a fixed-width type that a part has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedOutput {
    /// Its position among the columns.
    pub column: usize,
    /// Its position in the view's schema.
    pub feature: usize,
}

/// Statuses and bits of the outputs of fixed-width types.
#[derive(Debug, Default)]
pub(crate) struct FixedColumns {
    row_count: usize,
    statuses: Vec<FieldStatus>,
    bits: Vec<u64>,
}

/// One output of a fixed-width type: what is said of each row, in their order.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedColumn<'a> {
    /// What is known of the values.
    pub statuses: &'a [FieldStatus],
    /// The bits of those that are present, as in a row's slot.
    pub bits: &'a [u64],
}

/// Values whose memory is kept for the next look-up of the same thread.
const VALUES_KEPT_MAX: usize = 64 << 10;

thread_local! {
    static SPARE: Cell<FixedColumns> = Cell::default();
}

// === impl FixedColumns ===

impl FixedColumns {
    /// Columns in which nothing was found yet, in memory that was used before.
    pub(crate) fn new(columns: usize, row_count: usize) -> Self {
        let mut spare = SPARE.take();
        spare.row_count = row_count;
        spare.statuses.clear();
        spare
            .statuses
            .resize(columns * row_count, FieldStatus::NotFound);
        spare.bits.clear();
        spare.bits.resize(columns * row_count, 0);
        spare
    }

    /// Leaves the memory to the next look-up.
    pub(crate) fn give_back(self) {
        if self.bits.capacity() <= VALUES_KEPT_MAX {
            SPARE.set(self);
        }
    }

    /// Sets one value; no bits are a null.
    #[inline]
    pub(crate) fn set(&mut self, column: usize, row: usize, bits: Option<u64>) {
        let status = match bits {
            Some(_) => FieldStatus::Present,
            None => FieldStatus::NullValue,
        };
        self.put(column, row, status, bits.unwrap_or(0));
    }

    #[inline]
    fn put(&mut self, column: usize, row: usize, status: FieldStatus, bits: u64) {
        let at = column * self.row_count + row;
        if let (Some(to_status), Some(to_bits)) = (self.statuses.get_mut(at), self.bits.get_mut(at))
        {
            *to_status = status;
            *to_bits = bits;
        }
    }

    /// Takes from a row of a view all that is asked of it.
    #[inline]
    pub(crate) fn gather(
        &mut self,
        outputs: &[FixedOutput],
        row: usize,
        found: &PartRow<'_>,
        table: &Table,
    ) {
        match &found.row {
            None => {}
            Some(stored) if found.is_current && found.status == FieldStatus::Present => {
                for output in outputs {
                    self.set(output.column, row, stored.bits(output.feature));
                }
            }
            Some(stored) => self.gather_with_care(outputs, row, (stored, found.status), table),
        }
    }

    /// As [`FixedColumns::gather`], from a row that is too old or was written with another schema.
    #[cold]
    fn gather_with_care(
        &mut self,
        outputs: &[FixedOutput],
        row: usize,
        (stored, status): (&Row<'_>, FieldStatus),
        table: &Table,
    ) {
        for output in outputs {
            let Some(slot) = table.slot(stored.schema(), output.feature) else {
                continue;
            };
            if status == FieldStatus::Present {
                self.set(output.column, row, stored.bits(slot));
            } else {
                self.put(output.column, row, status, 0);
            }
        }
    }

    /// One of the columns.
    #[inline]
    pub(crate) fn column(&self, column: usize) -> FixedColumn<'_> {
        let range = column * self.row_count..(column + 1) * self.row_count;
        FixedColumn {
            statuses: self.statuses.get(range.clone()).unwrap_or_default(),
            bits: self.bits.get(range).unwrap_or_default(),
        }
    }
}

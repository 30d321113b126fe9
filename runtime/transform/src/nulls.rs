//! Rows that are kept back from a transformation because of their nulls.

use crate::column::{
    Arrays, Batch, Column, ColumnRef, Columns, Packed, PackedRef, Scalars, ScalarsRef, Values,
    ValuesRef, bit, bitmap_bytes,
};
use crate::signature::{NullHandling, Signature};

/// The rows handed over, where some are kept back.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Positions of the rows handed over.
    rows: Vec<u32>,
    /// Number of rows there were.
    total: u32,
}

impl Kept {
    /// Finds the rows to keep back; `None` when there are none.
    pub(crate) fn find(signature: &Signature, batch: &Batch<'_>) -> Option<Self> {
        let all = signature.null_handling == NullHandling::NullInNullOut;
        let strict: Vec<&[u8]> = signature
            .inputs
            .iter()
            .zip(batch.columns)
            .filter(|(field, _)| all || !field.nullable)
            .filter_map(|(_, column)| column.validity)
            .collect();
        if strict.is_empty() {
            return None;
        }
        let rows: Vec<u32> = (0..batch.rows)
            .filter(|row| {
                strict
                    .iter()
                    .all(|validity| bit(Some(validity), *row as usize))
            })
            .collect();
        (rows.len() < batch.rows as usize).then_some(Self {
            rows,
            total: batch.rows,
        })
    }

    pub(crate) fn rows(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(self.total)
    }

    /// The position in the whole batch of a row of those handed over.
    pub(crate) fn position(&self, row: u32) -> Option<u32> {
        self.rows.get(row as usize).copied()
    }

    /// The columns of the rows handed over.
    pub(crate) fn gather(&self, columns: &[ColumnRef<'_>]) -> Vec<Column> {
        let rows: Vec<Option<u32>> = self.rows.iter().copied().map(Some).collect();
        columns.iter().map(|column| take(column, &rows)).collect()
    }

    /// The answer for all rows: what the transformation gave for those handed over, null for the
    /// others.
    pub(crate) fn scatter(&self, given: &Columns) -> Columns {
        let mut rows = vec![None; self.total as usize];
        for (position, row) in self.rows.iter().zip(0_u32..) {
            if let Some(slot) = rows.get_mut(*position as usize) {
                *slot = Some(row);
            }
        }
        Columns {
            rows: self.total,
            columns: given
                .columns
                .iter()
                .map(|column| take(&column.as_ref(), &rows))
                .collect(),
        }
    }

    /// An answer of nulls for all rows.
    pub(crate) fn nothing(&self, signature: &Signature) -> Columns {
        let rows = vec![None; self.total as usize];
        Columns {
            rows: self.total,
            columns: signature
                .outputs
                .iter()
                .map(|field| take(&Column::empty(field.data_type).as_ref(), &rows))
                .collect(),
        }
    }
}

/// The column of the given rows of `column`, `None` standing for null.
fn take(column: &ColumnRef<'_>, rows: &[Option<u32>]) -> Column {
    let values = match &column.values {
        ValuesRef::Scalar(scalars) => Values::Scalar(take_scalars(scalars, rows)),
        ValuesRef::Array(arrays) => {
            let mut offsets = Vec::with_capacity(rows.len() + 1);
            offsets.push(0);
            let mut items = Vec::new();
            for row in rows {
                items.extend(row.iter().flat_map(|row| {
                    let row = *row as usize;
                    let at = |index: usize| arrays.offsets.get(index).copied().unwrap_or(0);
                    (at(row)..at(row + 1)).map(Some)
                }));
                offsets.push(u32::try_from(items.len()).unwrap_or(u32::MAX));
            }
            Values::Array(Arrays {
                offsets,
                items: take_scalars(&arrays.items, &items),
            })
        }
    };
    let mut bitmap = vec![0_u8; bitmap_bytes(rows.len())];
    let mut nulls = false;
    for (index, row) in rows.iter().enumerate() {
        let valid = row.is_some_and(|row| bit(column.validity, row as usize));
        nulls |= !valid;
        if let Some(byte) = bitmap.get_mut(index / 8) {
            *byte |= u8::from(valid) << (index % 8);
        }
    }
    Column {
        values,
        validity: nulls.then_some(bitmap),
    }
}

fn take_scalars(scalars: &ScalarsRef<'_>, rows: &[Option<u32>]) -> Scalars {
    match scalars {
        ScalarsRef::Boolean(values) => Scalars::Boolean(take_fixed(values, rows)),
        ScalarsRef::Int32(values) => Scalars::Int32(take_fixed(values, rows)),
        ScalarsRef::Int64(values) => Scalars::Int64(take_fixed(values, rows)),
        ScalarsRef::Float32(values) => Scalars::Float32(take_fixed(values, rows)),
        ScalarsRef::Float64(values) => Scalars::Float64(take_fixed(values, rows)),
        ScalarsRef::TimestampMicros(values) => Scalars::TimestampMicros(take_fixed(values, rows)),
        ScalarsRef::Utf8(packed) => Scalars::Utf8(take_packed(packed, rows)),
        ScalarsRef::Binary(packed) => Scalars::Binary(take_packed(packed, rows)),
    }
}

fn take_fixed<T: Copy + Default>(values: &[T], rows: &[Option<u32>]) -> Vec<T> {
    let at = |row: &Option<u32>| row.and_then(|row| values.get(row as usize).copied());
    rows.iter().map(|row| at(row).unwrap_or_default()).collect()
}

fn take_packed(packed: &PackedRef<'_>, rows: &[Option<u32>]) -> Packed {
    let mut taken = Packed {
        offsets: Vec::with_capacity(rows.len() + 1),
        data: Vec::new(),
    };
    taken.offsets.push(0);
    for row in rows {
        let value = row.and_then(|row| packed.get(row as usize));
        taken.data.extend_from_slice(value.unwrap_or_default());
        // Never longer than the column it is taken from, whose offsets are of the same width.
        taken
            .offsets
            .push(u32::try_from(taken.data.len()).unwrap_or(u32::MAX));
    }
    taken
}

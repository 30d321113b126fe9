//! The answer of a guest, checked whole before anybody reads it.

use crate::column::{Column, Columns, Packed, Scalars, Values, bit, bitmap_bytes};
use crate::limits::{Limit, Limits};
use crate::signature::{Field, Kind, Signature};
use crate::text::clip;

/// Why an answer cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not what the signature says.
    Shape(String),
    /// It passes a limit.
    Limit(Limit),
}

type Checked = Result<(), Fault>;

/// Checks that `columns` answers `rows` rows as `signature` says.
pub(crate) fn check(
    columns: &Columns,
    rows: u32,
    signature: &Signature,
    limits: &Limits,
) -> Checked {
    if columns.rows != rows {
        return shape(format!("it has {} rows, {rows} were asked", columns.rows));
    }
    if columns.columns.len() != signature.outputs.len() {
        return shape(format!(
            "it has {} columns, the signature {}",
            columns.columns.len(),
            signature.outputs.len()
        ));
    }
    for (column, field) in columns.columns.iter().zip(&signature.outputs) {
        check_column(column, field, rows as usize, limits).map_err(|fault| match fault {
            Fault::Shape(what) => {
                Fault::Shape(format!("column '{}': {what}", clip(&field.name, 128)))
            }
            limit @ Fault::Limit(_) => limit,
        })?;
    }
    Ok(())
}

fn shape(what: String) -> Checked {
    Err(Fault::Shape(what))
}

fn check_column(column: &Column, field: &Field, rows: usize, limits: &Limits) -> Checked {
    let found = column.as_ref().data_type();
    if found != field.data_type {
        return shape(format!(
            "it is {found}, the signature says {}",
            field.data_type
        ));
    }
    if let Some(validity) = &column.validity {
        let expect = bitmap_bytes(rows);
        if validity.len() != expect {
            return shape(format!(
                "its validity has {} bytes, {rows} rows take {expect}",
                validity.len()
            ));
        }
        if !field.nullable && (0..rows).any(|row| !bit(Some(validity), row)) {
            return shape("it has nulls, the signature says it has none".to_owned());
        }
    }
    match &column.values {
        Values::Scalar(scalars) => check_scalars(scalars, rows, "rows", limits),
        Values::Array(arrays) => {
            let items = arrays.items.as_ref().len();
            check_offsets(&arrays.offsets, rows, items, "lists")?;
            let width = match arrays.items.as_ref().kind() {
                Kind::Boolean => 1,
                Kind::Int32 | Kind::Float32 => 4,
                Kind::Utf8 | Kind::Binary => 0,
                _ => 8,
            };
            check_widths(&arrays.offsets, width, limits)?;
            check_scalars(&arrays.items, items, "items", limits)
        }
    }
}

fn check_scalars(scalars: &Scalars, count: usize, what: &str, limits: &Limits) -> Checked {
    if let Scalars::Utf8(packed) | Scalars::Binary(packed) = scalars {
        check_offsets(&packed.offsets, count, packed.data.len(), "values")?;
        check_widths(&packed.offsets, 1, limits)?;
    }
    let found = scalars.as_ref().len();
    if found != count {
        return shape(format!("it has {found} values for {count} {what}"));
    }
    match scalars {
        Scalars::Utf8(packed) => check_text(packed),
        Scalars::Boolean(values) if values.iter().any(|value| *value > 1) => {
            shape("a boolean is neither 0 nor 1".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_offsets(offsets: &[u32], count: usize, end: usize, what: &str) -> Checked {
    if offsets.len().checked_sub(1) != Some(count) {
        return shape(format!(
            "it has {} offsets for {count} {what}",
            offsets.len()
        ));
    }
    if offsets.first() != Some(&0) {
        return shape("its offsets do not start with 0".to_owned());
    }
    if !offsets.is_sorted() {
        return shape("its offsets fall".to_owned());
    }
    match offsets.last() {
        Some(last) if *last as usize == end => Ok(()),
        _ => shape("its offsets do not end with the data".to_owned()),
    }
}

fn check_widths(offsets: &[u32], width: usize, limits: &Limits) -> Checked {
    let widest = offsets
        .array_windows::<2>()
        .map(|[start, end]| end.saturating_sub(*start) as usize)
        .max()
        .unwrap_or(0);
    if widest.saturating_mul(width) > limits.cell_bytes_max {
        return Err(Fault::Limit(Limit::Cell));
    }
    Ok(())
}

/// Every value must be UTF-8 by itself: the whole is, and no offset lies inside a character.
fn check_text(packed: &Packed) -> Checked {
    let bad = || Fault::Shape("it has text that is not UTF-8".to_owned());
    let text = std::str::from_utf8(&packed.data).map_err(|_| bad())?;
    if packed
        .offsets
        .iter()
        .all(|offset| text.is_char_boundary(*offset as usize))
    {
        Ok(())
    } else {
        Err(bad())
    }
}

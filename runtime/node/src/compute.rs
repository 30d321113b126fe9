//! Calls of transformations: columns from rows, requests and frames, outputs back as features.

use std::cell::{Cell as Counter, RefCell};
use std::hash::BuildHasher;

use galley_transform::{Batch, CallContext, ColumnBuilder, ColumnRef, Columns};
use galley_types::{Cell, EventTime, FieldStatus, ScalarType, Value, ValueType};
use smallvec::SmallVec;

use crate::answer::{PartRow, stored_cell};
use crate::columns::FixedColumns;
use crate::plan::{Plan, PlanTransform, TransformInput};
use crate::request::RequestColumn;
use crate::transforms::{Bound, BoundInput, OnError};
use crate::{Error, Input, Result, coerce, json_of};

/// Rows of a batch whose buffers are kept for the next call of the same thread.
const ROWS_KEPT_MAX: usize = 1_024;
/// Columns of a call whose references take no memory of their own.
const COLUMNS_INLINE: usize = 8;
/// Buffers kept by a thread.
const BUILDERS_KEPT_MAX: usize = 64;

/// Whether a look-up may wait for a transformation that is slow or busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It may: it runs where nothing else is held up.
    Waits,
    /// It may not, and ends with [`Error::WouldWait`] instead.
    None,
}

/// What a look-up's transformations compute from.
pub(crate) struct Sources<'a, 'r> {
    pub(crate) plan: &'a Plan,
    pub(crate) rows: &'a [PartRow<'r>],
    pub(crate) row_count: usize,
    /// Values of the plan's key columns.
    pub(crate) keys: &'a dyn Fn(usize) -> Option<&'a [Value]>,
    /// Values of the plan's request columns.
    pub(crate) requested: &'a [RequestColumn],
    pub(crate) now: EventTime,
}

/// The outputs of a transformation, in the order of its signature; `None` where it failed and its
/// features are null for that.
pub(crate) type Computed = Option<Columns>;

thread_local! {
    static BUILDERS: RefCell<Vec<ColumnBuilder>> = const { RefCell::new(Vec::new()) };
    static SEEDS: (foldhash::quality::RandomState, Counter<u64>) =
        (foldhash::quality::RandomState::default(), Counter::new(0));
}

impl Sources<'_, '_> {
    /// Runs every transformation of the plan.
    pub(crate) fn compute(&self, patience: Patience) -> Result<SmallVec<[Computed; 1]>> {
        let transforms = self.plan.transforms();
        if patience == Patience::None
            && transforms.iter().any(|it| it.bound.transform.may_hold_up())
        {
            return Err(Error::WouldWait);
        }
        let context = CallContext {
            now: self.now,
            seed: seed(),
        };
        let mut computed = SmallVec::with_capacity(transforms.len());
        for transform in transforms {
            computed.push(match self.call(transform, &context, patience) {
                Ok(columns) => Some(columns),
                Err(Error::Transform(error))
                    if transform.bound.on_error == OnError::Null && error.is_outage() =>
                {
                    None
                }
                Err(error) => return Err(error),
            });
        }
        Ok(computed)
    }

    fn call(
        &self,
        transform: &PlanTransform,
        context: &CallContext,
        patience: Patience,
    ) -> Result<Columns> {
        let how = (context, self.row_count, patience);
        call(&transform.bound, how, |index, builder| {
            let Some(input) = transform.inputs.get(index) else {
                return Ok(());
            };
            match *input {
                TransformInput::Stored {
                    part,
                    feature,
                    value_type,
                } => self.push_stored(part, feature, value_type, builder),
                TransformInput::Key(key) => {
                    let values = (self.keys)(key).unwrap_or_default();
                    push_values(values, builder)
                }
                TransformInput::Requested(column) => {
                    let values = self.requested.get(column).map(SmallVec::as_slice);
                    push_values(values.unwrap_or_default(), builder)
                }
            }
        })
    }

    fn push_stored(
        &self,
        part: usize,
        feature: usize,
        value_type: ValueType,
        builder: &mut ColumnBuilder,
    ) -> Result<()> {
        let start = part * self.row_count;
        let rows = self.rows.get(start..start + self.row_count);
        let table = self.plan.table(part);
        let fixed = value_type.fixed();
        for row in rows.unwrap_or_default() {
            let cell = match (table, row.status, &row.row, fixed) {
                // As it lies there, which most do.
                (_, FieldStatus::Present, Some(stored), Some(scalar)) if row.is_current => stored
                    .bits(feature)
                    .map_or(Cell::Null, |bits| Cell::from_bits(scalar, bits)),
                (Some(table), FieldStatus::Present, ..) => {
                    stored_cell(table, row, feature, value_type)?.1
                }
                _ => Cell::Null,
            };
            push(&cell, builder)?;
        }
        Ok(())
    }
}

/// Runs a write-time transformation over `row_count` rows, in calls of as many rows as it takes at a
/// time, and gives the values of each feature of the view.
pub(crate) fn compute_written<'f, 'a: 'f>(
    bound: &Bound,
    features: &[ValueType],
    (row_count, now): (usize, EventTime),
    column: impl Fn(&BoundInput) -> Result<&'f [Input<'a>]>,
) -> Result<Vec<Vec<Value>>> {
    let mut columns = Vec::with_capacity(bound.inputs.len());
    for input in &bound.inputs {
        columns.push(column(input)?);
    }
    let rows_max = usize::try_from(bound.transform.limits().rows_max).unwrap_or(usize::MAX);
    let context = CallContext { now, seed: seed() };
    let mut outputs: Vec<Vec<Value>> = features
        .iter()
        .map(|_| Vec::with_capacity(row_count))
        .collect();
    let mut start = 0;
    while start < row_count {
        let rows = (row_count - start).min(rows_max.max(1));
        let how = (&context, rows, Patience::Waits);
        let answer = call(bound, how, |index, builder| {
            let input = bound.inputs.get(index).zip(columns.get(index));
            let Some((input, values)) = input else {
                return Ok(());
            };
            for (row, value) in values.iter().enumerate().skip(start).take(rows) {
                let value = coerced(value, input.value_type, (row, &input.name))?;
                push(&value.as_cell(), builder)?;
            }
            Ok(())
        })?;
        for ((feature, value_type), values) in features.iter().enumerate().zip(&mut outputs) {
            for row in 0..rows {
                values.push(output_value(bound, &answer, (feature, *value_type), row)?);
            }
        }
        start += rows;
    }
    Ok(outputs)
}

/// A value of a request or a frame as the type the view has.
pub(crate) fn coerced(
    input: &Input<'_>,
    value_type: ValueType,
    (row, column): (usize, &str),
) -> Result<Value> {
    coerce::value(input, value_type).map_err(|expected| Error::WrongType {
        row,
        column: column.to_owned(),
        expected: expected.into_owned(),
        got: input.describe(),
    })
}

/// Fills the columns of one call, by `fill` for each input, and makes it.
fn call(
    bound: &Bound,
    (context, row_count, patience): (&CallContext, usize, Patience),
    mut fill: impl FnMut(usize, &mut ColumnBuilder) -> Result<()>,
) -> Result<Columns> {
    let mut builders = BUILDERS.with_borrow_mut(std::mem::take);
    builders.truncate(bound.inputs.len());
    for (index, input) in bound.inputs.iter().enumerate() {
        match builders.get_mut(index) {
            Some(builder) if builder.data_type() == input.data_type => builder.clear(),
            Some(builder) => *builder = ColumnBuilder::new(input.data_type),
            None => builders.push(ColumnBuilder::new(input.data_type)),
        }
        if let Some(builder) = builders.get_mut(index) {
            fill(index, builder)?;
        }
    }
    let columns: SmallVec<[ColumnRef<'_>; COLUMNS_INLINE]> =
        builders.iter().map(ColumnBuilder::column).collect();
    let batch = Batch {
        rows: u32::try_from(row_count).unwrap_or(u32::MAX),
        columns: &columns,
    };
    let answer = match patience {
        Patience::Waits => bound.transform.call(context, batch)?,
        Patience::None => bound.transform.call_at_once(context, batch)?,
    };
    drop(columns);
    if row_count <= ROWS_KEPT_MAX && builders.len() <= BUILDERS_KEPT_MAX {
        BUILDERS.with_borrow_mut(|kept| *kept = builders);
    }
    Ok(answer)
}

fn push_values(values: &[Value], builder: &mut ColumnBuilder) -> Result<()> {
    values
        .iter()
        .try_for_each(|value| push(&value.as_cell(), builder))
}

/// Appends a value; maps, structs and nested lists as JSON text.
#[inline]
fn push(cell: &Cell<'_>, builder: &mut ColumnBuilder) -> Result<()> {
    match cell {
        Cell::Tree(value) => {
            let text = json_of(value).to_string();
            builder.push(&Cell::Text(&text))?;
        }
        cell => builder.push(cell)?,
    }
    Ok(())
}

/// The value of a feature in a row of an answer.
///
/// # Errors
/// [`Error::Output`] when it is not of the feature's type: a text that is no UUID, say.
pub(crate) fn output_value(
    bound: &Bound,
    answer: &Columns,
    (feature, value_type): (usize, ValueType),
    row: usize,
) -> Result<Value> {
    let bad = |reason: String| {
        let outputs = &bound.transform.signature().outputs;
        let column = bound.outputs.get(feature).and_then(|at| outputs.get(*at));
        Error::Output {
            view: bound.transform.name().to_owned(),
            feature: column.map(|field| field.name.clone()).unwrap_or_default(),
            row,
            reason,
        }
    };
    let value = column(bound, answer, feature)
        .ok_or_else(|| bad("there is no such column".to_owned()))?
        .value(row, value_type)
        .map_err(|error| bad(error.to_string()))?;
    if is_text_checked(value_type)
        && let Value::Text(text) = &value
    {
        let text = Input::Text(text.as_str().into());
        return coerce::value(&text, value_type)
            .map_err(|expected| bad(format!("expected {expected}, got {}", text.describe())));
    }
    Ok(value)
}

/// The column of an answer that holds a feature.
#[inline]
pub(crate) fn column<'a>(
    bound: &Bound,
    answer: &'a Columns,
    feature: usize,
) -> Option<ColumnRef<'a>> {
    let at = *bound.outputs.get(feature)?;
    answer.columns.get(at).map(|column| column.as_ref())
}

/// Whether what crosses for a value of this type is that value: every text is a string, but not every
/// text a UUID.
pub(crate) fn crosses_as_is(scalar: ScalarType) -> bool {
    !matches!(
        scalar,
        ScalarType::Uuid | ScalarType::TimeUuid | ScalarType::Decimal | ScalarType::ZonedTimestamp
    )
}

/// Whether values of this type cross as text that not every text is.
fn is_text_checked(value_type: ValueType) -> bool {
    match value_type {
        ValueType::Scalar(scalar) => !crosses_as_is(scalar),
        ValueType::List(_) | ValueType::Set(_) => false,
        _ => true,
    }
}

/// Puts the computed outputs of fixed-width types into their columns.
pub(crate) fn gather(plan: &Plan, computed: &[Computed], to: &mut FixedColumns, row_count: usize) {
    for output in plan.outputs() {
        let at = output.part.checked_sub(plan.part_count());
        let transform = at.and_then(|at| plan.transforms().get(at).zip(computed.get(at)));
        let (Some(column), Some((transform, answer))) = (output.column, transform) else {
            continue;
        };
        let from = answer.as_ref();
        let from = from.and_then(|answer| self::column(&transform.bound, answer, output.feature));
        for row in 0..row_count {
            let cell = from.as_ref().and_then(|from| from.cell(row));
            to.set(column, row, cell.as_ref().and_then(bits));
        }
    }
}

/// The bits of a fixed-width cell as they lie in a row's slot.
#[inline]
fn bits(cell: &Cell<'_>) -> Option<u64> {
    Some(match cell {
        Cell::Bool(value) => u64::from(*value),
        Cell::Int32(value) => i64::from(*value).cast_unsigned(),
        Cell::Int64(value) | Cell::UnixTimestamp(value) => value.cast_unsigned(),
        Cell::Float(value) => u64::from(value.to_bits()),
        Cell::Double(value) => value.to_bits(),
        _ => return None,
    })
}

/// A number for one request: nobody can tell the next from the last.
fn seed() -> u64 {
    SEEDS.with(|(state, count)| {
        count.set(count.get().wrapping_add(1));
        state.hash_one(count.get())
    })
}

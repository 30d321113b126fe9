//! A request's own data: what transformations need beside rows and join keys.

use galley_types::{ScalarType, Value, ValueType};
use smallvec::SmallVec;

use crate::compute::coerced;
use crate::plan::Plan;
use crate::{Error, GetRequest, Input, Result};

/// Values of one column of a request's own data, one a row.
pub(crate) type RequestColumn = SmallVec<[Value; 1]>;
/// The columns of a request's own data, in the order of the plan.
pub(crate) type RequestColumns = SmallVec<[RequestColumn; 4]>;

/// Appends the request data that transformations need, coerced.
pub(crate) fn request_values(
    plan: &Plan,
    request: &GetRequest<'_>,
    columns: &mut RequestColumns,
) -> Result<()> {
    let sent = |name: &str| request.entities.iter().find(|(sent, _)| sent == name);
    let mut missing = Vec::new();
    for column in &plan.request_columns {
        let Some((_, inputs)) = sent(&column.name) else {
            missing.push(column.name.clone());
            continue;
        };
        columns.push(RequestColumn::new());
        let Some(values) = columns.last_mut() else {
            continue;
        };
        values.reserve_exact(inputs.len());
        for (row, input) in inputs.iter().enumerate() {
            let place = (row, column.name.as_str());
            values.push(request_value(input, column.value_type, place)?);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let views = plan.transforms().iter().map(|it| it.name.clone());
    Err(Error::MissingRequestData {
        missing,
        views: views.collect(),
    })
}

/// A value of the request's own data. A fraction is not cut off to make an integer: nobody would know.
fn request_value(
    input: &Input<'_>,
    value_type: ValueType,
    (row, column): (usize, &str),
) -> Result<Value> {
    let is_integer = matches!(
        value_type,
        ValueType::Scalar(ScalarType::Int32 | ScalarType::Int64)
    );
    match input {
        Input::Float(value) if is_integer && value.fract() != 0.0 => Err(Error::WrongType {
            row,
            column: column.to_owned(),
            expected: format!("{value_type}, without a fraction"),
            got: input.describe(),
        }),
        input => coerced(input, value_type, (row, column)),
    }
}

//! Returns NaN and infinities, which are values like others.

use galley_hostile::*;

hostile!("ret_nan", Float64, |input| {
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let values = values
        .iter()
        .copied()
        .cycle()
        .take(input.rows as usize)
        .collect();
    Ok(batch(input.rows, ScalarValues::Float64(values)))
});

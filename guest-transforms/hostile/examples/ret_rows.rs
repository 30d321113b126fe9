//! Says that there are twice as many rows.

use galley_hostile::*;

hostile!("ret_rows", Int64, |input| Ok(batch(
    input.rows * 2,
    ScalarValues::Int64(vec![1; input.rows as usize * 2])
)));

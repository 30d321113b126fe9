//! Returns a value less than it says.

use galley_hostile::*;

hostile!("ret_short", Int64, |input| Ok(batch(
    input.rows,
    ScalarValues::Int64(vec![1; input.rows as usize - 1])
)));

//! Returns truths that are neither 0 nor 1.

use galley_hostile::*;

hostile!("ret_boolean", Boolean, |input| Ok(batch(
    input.rows,
    ScalarValues::Boolean(vec![7; input.rows as usize])
)));

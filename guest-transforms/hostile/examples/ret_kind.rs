//! Returns another kind than it declares.

use galley_hostile::*;

hostile!("ret_kind", Int64, |input| Ok(batch(
    input.rows,
    ScalarValues::Float64(vec![1.0; input.rows as usize])
)));

//! Returns 8 MiB where a few bytes are due.

use galley_hostile::*;

hostile!("ret_huge", Int64, |input| Ok(batch(
    input.rows,
    ScalarValues::Int64(vec![7; 1 << 20])
)));

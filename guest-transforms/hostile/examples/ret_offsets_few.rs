//! Returns too few offsets.

use galley_hostile::*;

hostile!("ret_offsets_few", Utf8, |input| Ok(batch(
    input.rows,
    ScalarValues::Utf8(Packed {
        offsets: vec![0],
        data: Vec::new()
    })
)));

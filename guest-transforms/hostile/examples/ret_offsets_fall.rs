//! Returns texts whose offsets fall.

use galley_hostile::*;

hostile!("ret_offsets_fall", Utf8, |input| {
    let mut offsets: Vec<u32> = (0..=input.rows).collect();
    offsets.reverse();
    Ok(batch(
        input.rows,
        ScalarValues::Utf8(Packed {
            offsets,
            data: vec![b'x'; input.rows as usize],
        }),
    ))
});

//! Returns texts that end past the data.

use galley_hostile::*;

hostile!("ret_offsets_past", Utf8, |input| {
    let offsets = (0..=input.rows).map(|row| row * 1_000_000).collect();
    Ok(batch(
        input.rows,
        ScalarValues::Utf8(Packed {
            offsets,
            data: vec![b'x'; 10],
        }),
    ))
});

//! Returns text that is not UTF-8.

use galley_hostile::*;

hostile!("ret_utf8", Utf8, |input| {
    let offsets = (0..=input.rows).map(|row| row * 2).collect();
    let data = [0xc3, 0x28].repeat(input.rows as usize);
    Ok(batch(
        input.rows,
        ScalarValues::Utf8(Packed { offsets, data }),
    ))
});

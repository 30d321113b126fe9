//! Returns text that is UTF-8 as a whole but not row by row.

use galley_hostile::*;

hostile!("ret_utf8_split", Utf8, |input| {
    let offsets = (0..=input.rows)
        .map(|row| if row == input.rows { row * 2 } else { row })
        .collect();
    let data = "\u{fc}".repeat(input.rows as usize).into_bytes();
    Ok(batch(
        input.rows,
        ScalarValues::Utf8(Packed { offsets, data }),
    ))
});

//! Returns one text of 8 MiB for every row.

use galley_hostile::*;

hostile!("ret_huge_text", Utf8, |input| {
    let text = Packed {
        offsets: vec![0, 8 << 20],
        data: vec![b'x'; 8 << 20],
    };
    Ok(batch(1, ScalarValues::Utf8(text)))
});

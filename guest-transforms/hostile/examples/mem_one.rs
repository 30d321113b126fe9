//! Asks for all the memory there is, at once.

use galley_hostile::*;

hostile!("mem_one", Int64, |input| {
    let mut hoard = vec![0_u8; std::hint::black_box(1 << 30)];
    hoard.fill(1);
    std::hint::black_box(&hoard);
    Ok(batch(
        input.rows,
        ScalarValues::Int64(vec![
            std::hint::black_box(hoard.len()) as i64;
            input.rows as usize
        ]),
    ))
});

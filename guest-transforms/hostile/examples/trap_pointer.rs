//! Reads where there is no memory.

use galley_hostile::*;

hostile!("trap_pointer", Int64, |input| {
    let far = std::hint::black_box(0xffff_fff0_usize) as *const i64;
    // SAFETY: none; that is the point. The sandbox has to catch it.
    let value = unsafe { far.read_volatile() };
    Ok(batch(
        input.rows,
        ScalarValues::Int64(vec![value; input.rows as usize]),
    ))
});

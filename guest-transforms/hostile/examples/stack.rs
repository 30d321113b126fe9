//! Calls itself without end.

use galley_hostile::*;

#[inline(never)]
fn descend(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if frame[1] == 0 {
        0
    } else {
        descend(depth + 1).wrapping_add(frame[2])
    }
}

hostile!("stack", Int64, |input| {
    let depth = descend(std::hint::black_box(1));
    Ok(batch(
        input.rows,
        ScalarValues::Int64(vec![depth as i64; input.rows as usize]),
    ))
});

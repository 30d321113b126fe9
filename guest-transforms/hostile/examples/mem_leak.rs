//! Leaks a megabyte a call: only a fresh instance forgets it.

use galley_hostile::*;

hostile!("mem_leak", Int64, |input| {
    std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
    Ok(input)
});

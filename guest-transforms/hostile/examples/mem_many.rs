//! Asks for memory bit by bit, and touches it.

use galley_hostile::*;

hostile!("mem_many", Int64, |input| {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![hoard.len() as u8 | 1; 64 << 10]);
        std::hint::black_box(&hoard);
    }
});

//! Counts the calls of its instance: 1 each time where every call has a fresh one.

use galley_hostile::*;

use std::sync::atomic::{AtomicU64, Ordering};

hostile!("iso_counter", Int64, |input| {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(batch(
        input.rows,
        ScalarValues::Int64(vec![calls as i64; input.rows as usize]),
    ))
});

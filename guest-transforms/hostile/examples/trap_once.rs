//! Traps in every other call of an instance.

use galley_hostile::*;

use std::sync::atomic::{AtomicU64, Ordering};

hostile!("trap_once", Int64, |input| {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    if CALLS.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
        panic!("the second call");
    }
    Ok(input)
});

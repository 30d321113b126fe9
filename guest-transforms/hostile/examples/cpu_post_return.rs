//! Spins while the host has the result of `apply` freed.

use galley_hostile::*;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

struct Trapdoor;

static ARMED: AtomicBool = AtomicBool::new(false);

// SAFETY: hands everything to the system's allocator, or never returns.
unsafe impl GlobalAlloc for Trapdoor {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if ARMED.load(Ordering::Relaxed) {
            spin();
        }
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Trapdoor = Trapdoor;

hostile!("cpu_post_return", Int64, |input| {
    let answer = batch(
        input.rows,
        ScalarValues::Int64(vec![1; input.rows as usize]),
    );
    drop(input);
    ARMED.store(true, Ordering::Relaxed);
    Ok(answer)
});

//! Spins while the host writes the arguments of the second call of an instance, or of the first after `describe`.

use galley_hostile::*;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

struct Trapdoor;

static ARMED: AtomicBool = AtomicBool::new(false);

// SAFETY: hands everything to the system's allocator, or never returns.
unsafe impl GlobalAlloc for Trapdoor {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if ARMED.load(Ordering::Relaxed) {
            spin();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Trapdoor = Trapdoor;

hostile!("cpu_realloc", Int64, |input| {
    ARMED.store(true, Ordering::Relaxed);
    Ok(input)
});

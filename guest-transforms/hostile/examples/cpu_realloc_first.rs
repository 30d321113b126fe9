//! Spins while the host writes the arguments of the first call: any larger block is a trap.

use galley_hostile::*;

use std::alloc::{GlobalAlloc, Layout, System};

struct Trapdoor;

// SAFETY: hands everything to the system's allocator, or never returns.
unsafe impl GlobalAlloc for Trapdoor {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= 16 && layout.align() >= 8 {
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

hostile!("cpu_realloc_first", Int64, |input| Ok(input));

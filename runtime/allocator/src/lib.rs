//! The memory allocator of the binary: mimalloc, asked the short way.
//!
//! The crate `mimalloc` names an alignment with every request. mimalloc then looks for a block that
//! happens to be aligned, and where none is at hand takes a larger one and gives a place inside it: for
//! sizes that are no power of two it does so nearly always, at twice the cost, and each such block
//! costs again when it is freed. Every block of mimalloc is aligned for a pointer, which is all that
//! nearly everything asks for.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc,
    mi_zalloc_aligned,
};

#[expect(unsafe_code, reason = "a function that the crate leaves out")]
unsafe extern "C" {
    fn mi_collect(force: bool);
}

/// What every block is aligned to, in bytes.
const ALIGNMENT: usize = align_of::<*const ()>();

/// To be made the global allocator of a program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

#[expect(unsafe_code, reason = "the trait is unsafe, and so is C")]
// SAFETY: mimalloc gives blocks that overlap no others, are as large as asked and, where a request
// names none, aligned to ALIGNMENT; and it never unwinds.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the arguments are any size and a power of two.
        unsafe {
            if layout.align() <= ALIGNMENT {
                mi_malloc(layout.size()).cast()
            } else {
                mi_malloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe {
            if layout.align() <= ALIGNMENT {
                mi_zalloc(layout.size()).cast()
            } else {
                mi_zalloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller's block is one of these, and mimalloc knows its size.
        unsafe { mi_free(block.cast::<c_void>()) };
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as in `alloc` and `dealloc`.
        unsafe {
            if layout.align() <= ALIGNMENT {
                mi_realloc(block.cast(), size).cast()
            } else {
                mi_realloc_aligned(block.cast(), size, layout.align()).cast()
            }
        }
    }
}

/// Gives memory back to the system that was freed a while ago. The allocator does so by itself as long as
/// threads go on asking it for memory; after a large load has ended nobody does.
#[expect(unsafe_code, reason = "a function of the allocator's own library")]
pub fn give_back() {
    // SAFETY: the function takes any value and may be called by any thread at any time.
    unsafe { mi_collect(false) };
}

#[cfg(test)]
mod tests {
    use super::Allocator;

    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator;

    #[repr(align(128))]
    #[derive(Clone)]
    struct Wide(u8);

    fn is_aligned<T>(values: &[T]) -> bool {
        values.as_ptr().cast::<T>().is_aligned()
    }

    #[test]
    fn blocks_of_every_size_hold_what_is_put_there() {
        let blocks: Vec<Vec<u64>> = (1..400).map(|size| vec![size; size as usize]).collect();
        for (block, size) in blocks.iter().zip(1..) {
            assert!(is_aligned(block));
            assert!(block.iter().all(|value| *value == size));
        }
        assert!(vec![0_u8; 100_000].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn growing_keeps_what_is_there_and_its_alignment() {
        let (mut wide, mut narrow) = (Vec::new(), Vec::new());
        for value in 0..=u8::MAX {
            wide.push(Wide(value));
            narrow.push(u128::from(value));
            assert!(is_aligned(&wide) && is_aligned(&narrow));
        }
        assert!(wide.iter().map(|wide| wide.0).eq(0..=u8::MAX));
        assert!(narrow.into_iter().eq(0..=u128::from(u8::MAX)));
    }
}

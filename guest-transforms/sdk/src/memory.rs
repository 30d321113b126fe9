//! The allocator inside the sandbox.
//!
//! Rust's own asks the host for new memory at its first allocation, and that costs more than a
//! call. Here what a call needs comes out of an arena that is part of the memory a component starts
//! with, by moving a mark. Freed memory is used again when the block freed is the last one, and
//! when no block is left: after every call, unless the author's code keeps something. What does not
//! fit goes to Rust's allocator, which grows the memory up to what the host allows.
//!
//! The host may ask for a block that holds the lists of this call and of those that come: it stays at the
//! foot of the arena and is never freed, nor are the lists in it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};

/// Enough for a batch of 1,000 rows with a dozen numbers each.
const ARENA_BYTES: usize = 128 << 10;

/// The alignment by which the host asks for a block that holds many lists; nothing else has it.
const BLOCK_ALIGNMENT: usize = 16;

/// Bytes of the longest block: half of the arena is for what functions allocate.
const BLOCK_BYTES_MAX: usize = ARENA_BYTES / 2;

/// Tells the host that it may.
#[cfg(target_arch = "wasm32")]
#[used]
#[unsafe(link_section = "galley:list-block")]
static LIST_BLOCK: [u8; 1] = [1];

/// The marks lie beside the first blocks, so that a small call touches a single page.
#[repr(C, align(16))]
pub(crate) struct Arena {
    /// Where the next block may begin, counted from the start of `bytes`.
    top: Cell<usize>,
    /// Bytes given and not freed, above the host's.
    live: Cell<usize>,
    /// Bytes at the start that are the host's, for the lists of calls.
    block: Cell<usize>,
    /// Whether the lists of the call that runs lie there.
    in_block: Cell<bool>,
    bytes: UnsafeCell<Bytes>,
}

/// Aligned as a block for the host is.
#[repr(C, align(16))]
struct Bytes([u8; ARENA_BYTES]);

const _: () = assert!(align_of::<Bytes>() == BLOCK_ALIGNMENT);

// SAFETY: it is only ever the allocator of a component, which has one thread.
unsafe impl Sync for Arena {}

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ARENA: Arena = Arena::new();

/// Memory for what the host hands over, which it asks for once for every list: in the place of
/// wit-bindgen's, which gets there by four calls.
///
/// # Safety
///
/// The host keeps to the canonical ABI: it grows nothing, and asks for sound alignments.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(
    old: *mut u8,
    old_size: usize,
    align: usize,
    size: usize,
) -> *mut u8 {
    if old_size == 0 && size == 0 {
        return std::ptr::without_provenance_mut(align);
    }
    if align == BLOCK_ALIGNMENT {
        // The host has read the last answer. Where there is no room now it asks for each list.
        crate::export::let_go();
        return ARENA.block(size).unwrap_or(std::ptr::null_mut());
    }
    // SAFETY: the caller's promise.
    let layout = |size| unsafe { Layout::from_size_align_unchecked(size, align) };
    // SAFETY: neither is empty, and a block that is there came from here.
    let block = unsafe {
        if old_size == 0 {
            ARENA.alloc(layout(size))
        } else {
            ARENA.realloc(old, layout(old_size), size)
        }
    };
    if block.is_null() {
        std::arch::wasm32::unreachable();
    }
    block
}

/// Begins a call for which the host wrote `columns`; says whether they and their lists lie in its block.
#[cfg(target_arch = "wasm32")]
#[inline]
pub(crate) fn begin(columns: *mut u8) -> bool {
    let in_block = ARENA.is_in_block(columns);
    ARENA.in_block.set(in_block);
    in_block
}

/// Whether the lists of the call that runs lie in the host's block.
#[cfg(target_arch = "wasm32")]
#[inline]
pub(crate) fn are_lists_in_block() -> bool {
    ARENA.in_block.get()
}

impl Arena {
    pub(crate) const fn new() -> Self {
        Self {
            top: Cell::new(0),
            live: Cell::new(0),
            block: Cell::new(0),
            in_block: Cell::new(false),
            bytes: UnsafeCell::new(Bytes([0; ARENA_BYTES])),
        }
    }

    /// The place of a block within the arena, if it lies there.
    #[inline]
    fn place(&self, block: *mut u8) -> Option<usize> {
        let place = block.addr().wrapping_sub(self.bytes.get().addr());
        (place < ARENA_BYTES).then_some(place)
    }

    /// A block of the arena, if there is room.
    #[inline]
    fn take(&self, align: usize, size: usize) -> Option<*mut u8> {
        let start = self.bytes.get().cast::<u8>();
        let top = start.addr() + self.top.get();
        let place = top.next_multiple_of(align) - start.addr();
        // No size is larger than half of all addresses, so this does not overflow.
        let end = place + size;
        if end > ARENA_BYTES {
            return None;
        }
        self.top.set(end);
        self.live.set(self.live.get() + size);
        // SAFETY: `place <= end <= ARENA_BYTES`.
        Some(unsafe { start.add(place) })
    }

    /// A block for the host, in the place of the one that it had. There is none while anything is alive
    /// that would lie in its way.
    fn block(&self, size: usize) -> Option<*mut u8> {
        if size > self.block.get() {
            if self.live.get() > 0 || size > BLOCK_BYTES_MAX {
                return None;
            }
            self.block.set(size);
            self.top.set(size);
        }
        Some(self.bytes.get().cast())
    }

    #[inline]
    fn is_in_block(&self, block: *mut u8) -> bool {
        block.addr().wrapping_sub(self.bytes.get().addr()) < self.block.get()
    }

    /// Counts bytes that were freed.
    #[inline]
    fn freed(&self, bytes: usize) {
        let live = self.live.get() - bytes;
        self.live.set(live);
        if live == 0 {
            self.top.set(self.block.get());
        }
    }

    /// Counts what a block has grown or shrunk by.
    #[inline]
    fn resized(&self, from: usize, to: usize) {
        self.live.set(self.live.get() - from + to);
    }
}

// SAFETY: blocks lie between the marks `place` and `top`, which only ever grow over blocks that are
// alive, so no two of them overlap; all others are the system allocator's.
unsafe impl GlobalAlloc for Arena {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout.align(), layout.size()) {
            Some(block) => block,
            // SAFETY: the caller's promises are passed on.
            None => unsafe { System.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(place) = self.place(block) else {
            // SAFETY: it is not ours, so the system allocator gave it, for this layout.
            return unsafe { System.dealloc(block, layout) };
        };
        if place < self.block.get() {
            return;
        }
        if place + layout.size() == self.top.get() {
            self.top.set(place);
        }
        self.freed(layout.size());
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(place) = self.place(block) else {
            // SAFETY: it is not ours, so the system allocator gave it, for this layout.
            return unsafe { System.realloc(block, layout, size) };
        };
        let is_in_block = place < self.block.get();
        let last = !is_in_block && place + layout.size() == self.top.get();
        if last && size <= ARENA_BYTES - place {
            self.top.set(place + size);
            self.resized(layout.size(), size);
            return block;
        }
        if size <= layout.size() {
            if !is_in_block {
                self.resized(layout.size(), size);
            }
            return block;
        }
        // SAFETY: the alignment is that of a layout, and the caller promises that the size fits.
        let grown = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: `grown` is not empty, since it is larger than what there was.
        let new = unsafe { self.alloc(grown) };
        if !new.is_null() {
            // SAFETY: both blocks hold `layout.size()` bytes, and both are alive.
            unsafe {
                std::ptr::copy_nonoverlapping(block, new, layout.size());
                self.dealloc(block, layout);
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn blocks_do_not_overlap_and_the_arena_is_whole_again_when_none_is_left() {
        let arena = Arena::new();
        // SAFETY: blocks are freed with the layouts they were asked for.
        unsafe {
            let bytes = arena.alloc(layout(3, 1));
            let words = arena.alloc(layout(16, 8));
            assert!(words.addr().is_multiple_of(8) && words.addr() >= bytes.addr() + 3);
            bytes.write_bytes(1, 3);
            words.write_bytes(2, 16);
            // It cannot grow where it is, so it moves.
            let moved = arena.realloc(bytes, layout(3, 1), 100);
            assert!(moved.addr() >= words.addr() + 16);
            assert_eq!(std::slice::from_raw_parts(moved, 3), [1, 1, 1]);
            // The last one grows in place.
            assert_eq!(arena.realloc(moved, layout(100, 1), 5_000), moved);
            arena.dealloc(words, layout(16, 8));
            assert_ne!(arena.top.get(), 0);
            arena.dealloc(moved, layout(5_000, 1));
            assert_eq!((arena.top.get(), arena.live.get()), (0, 0));
        }
    }

    #[test]
    fn the_hosts_block_stays_where_it_is_and_its_lists_are_never_freed() {
        let arena = Arena::new();
        let block = arena.block(64).unwrap();
        assert!(block.addr().is_multiple_of(BLOCK_ALIGNMENT) && arena.is_in_block(block));
        // SAFETY: blocks are freed with the layouts they were asked for, and 64 bytes are the host's.
        unsafe {
            block.write_bytes(7, 64);
            let own = arena.alloc(layout(3, 1));
            assert!(!arena.is_in_block(own));
            arena.dealloc(block.add(8), layout(56, 8));
            assert_eq!(arena.live.get(), 3);
            // A list that grows leaves the block.
            let grown = arena.realloc(block, layout(8, 8), 16);
            assert!(!arena.is_in_block(grown));
            assert_eq!(std::slice::from_raw_parts(grown, 8), [7; 8]);
            assert_eq!(arena.realloc(block, layout(8, 8), 4), block);
            // Nothing may lie in the way of a longer block, and a shorter one is the same.
            assert!(arena.block(65).is_none());
            assert_eq!(arena.block(10), Some(block));
            arena.dealloc(grown, layout(16, 8));
            arena.dealloc(own, layout(3, 1));
            assert_eq!((arena.top.get(), arena.live.get()), (64, 0));
            assert_eq!(arena.block(96), Some(block));
            assert_eq!(arena.top.get(), 96);
        }
        assert!(arena.block(BLOCK_BYTES_MAX + 1).is_none());
    }

    #[test]
    fn what_was_made_smaller_counts_for_less() {
        let arena = Arena::new();
        // SAFETY: blocks are freed with the layouts they have by then.
        unsafe {
            let first = arena.alloc(layout(100, 4));
            let second = arena.alloc(layout(100, 4));
            assert_eq!(arena.realloc(first, layout(100, 4), 10), first);
            assert_eq!(arena.realloc(second, layout(100, 4), 20), second);
            arena.dealloc(first, layout(10, 4));
            arena.dealloc(second, layout(20, 4));
        }
        assert_eq!((arena.top.get(), arena.live.get()), (0, 0));
    }

    #[test]
    fn what_does_not_fit_comes_from_elsewhere() {
        let arena = Arena::new();
        // SAFETY: blocks are freed with the layouts they were asked for.
        unsafe {
            let small = arena.alloc(layout(ARENA_BYTES - 10, 1));
            let large = arena.alloc(layout(11, 1));
            assert!(arena.place(small).is_some() && arena.place(large).is_none());
            let larger = arena.realloc(small, layout(ARENA_BYTES - 10, 1), ARENA_BYTES + 1);
            assert!(arena.place(larger).is_none());
            assert_eq!((arena.top.get(), arena.live.get()), (0, 0));
            arena.dealloc(large, layout(11, 1));
            arena.dealloc(larger, layout(ARENA_BYTES + 1, 1));
        }
    }
}

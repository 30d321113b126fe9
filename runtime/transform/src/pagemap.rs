//! Which pages of a piece of memory were ever written, as the kernel knows (`PAGEMAP_SCAN`, Linux 6.7).

use std::fs::File;
use std::ops::Range;
use std::sync::OnceLock;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::mm::{Advice, madvise};

/// Ranges asked for at once; memory that was written in more places is not worth restoring.
const RANGES_MAX: usize = 32;

const SCAN: Opcode = opcode::read_write::<Scan>(b'f', 16);

// Categories of pages.
const FILE: u64 = 1 << 2;
const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;
const ZERO: u64 = 1 << 5;

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    ranges: u64,
    ranges_max: u64,
    pages_max: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct PageRange {
    start: u64,
    end: u64,
    categories: u64,
}

/// Calls `each` with the ranges of bytes of `memory` that lie in pages of their own, which all that were
/// written do: a page that was only read is still one of a file's or the page of zeros. Ends early when
/// `each` does.
///
/// Returns `None` when the kernel does not tell, or when there are more than `pages_max` pages or
/// [`RANGES_MAX`] ranges.
pub(crate) fn each_written(
    memory: &mut [u8],
    pages_max: usize,
    mut each: impl FnMut(&mut [u8], Range<usize>) -> Option<()>,
) -> Option<()> {
    let start = memory.as_ptr().addr();
    let end = start.checked_add(memory.len())?;
    let mut found = [PageRange::default(); RANGES_MAX];
    let mut scan = Scan {
        size: size_of::<Scan>() as u64,
        flags: 0,
        start: start as u64,
        end: end as u64,
        walk_end: 0,
        ranges: found.as_mut_ptr().expose_provenance() as u64,
        ranges_max: RANGES_MAX as u64,
        pages_max: pages_max as u64,
        category_inverted: FILE | ZERO,
        category_mask: FILE | ZERO,
        category_anyof_mask: PRESENT | SWAPPED,
        return_mask: 0,
    };
    scan_pages(&mut scan)?;
    for range in found.iter().take_while(|range| range.end != 0) {
        let from = usize::try_from(range.start).ok()?.checked_sub(start)?;
        let to = usize::try_from(range.end).ok()?.checked_sub(start)?;
        each(memory, from..to)?;
    }
    (scan.walk_end == end as u64).then_some(())
}

#[expect(unsafe_code, reason = "the kernel is asked by number and address")]
fn scan_pages(scan: &mut Scan) -> Option<()> {
    static PAGEMAP: OnceLock<Option<File>> = OnceLock::new();
    let pagemap = PAGEMAP.get_or_init(|| File::open("/proc/self/pagemap").ok());
    // SAFETY: `SCAN` is the opcode of PAGEMAP_SCAN and `Scan` its argument. Without flags the kernel
    // changes nothing of the memory that is looked at; it writes to the argument and to at most
    // `ranges_max` ranges, which the caller holds.
    unsafe { ioctl(pagemap.as_ref()?, Updater::<SCAN, Scan>::new(scan)) }.ok()
}

/// Lets go of the pages of `memory` that were read and not written. They read as before; but each that is
/// there is looked at in every scan of this memory and of what takes its place. Returns as
/// [`each_written`].
pub(crate) fn forget_read(memory: &mut [u8]) -> Option<()> {
    let mut from = 0;
    each_written(memory, memory.len(), |memory, written| {
        forget(memory.get_mut(from..written.start)?);
        from = written.end;
        Some(())
    })?;
    forget(memory.get_mut(from..)?);
    Some(())
}

/// Lets go of pages that were not written.
#[expect(unsafe_code, reason = "the kernel is told by address")]
fn forget(unwritten: &mut [u8]) {
    let (start, bytes) = (unwritten.as_mut_ptr(), unwritten.len());
    // SAFETY: the memory is the caller's alone. What the kernel gives back for a page that nobody wrote
    // is what was there: a page of the file that is mapped, or zeros.
    let _ = unsafe { madvise(start.cast(), bytes, Advice::LinuxDontNeed) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_were_written_are_found_and_no_others() {
        let page = rustix::param::page_size();
        // Fresh from the kernel, so none of its pages is there yet.
        let mut memory = vec![0_u8; 4 << 20];
        let first = memory.as_ptr().addr().next_multiple_of(page) - memory.as_ptr().addr();
        let memory = &mut memory[first..][..256 * page];
        let read = memory[7 * page];
        memory[3 * page + 5] = 1;
        memory[9 * page] = 1;
        memory[10 * page] = 1;
        let mut found = Vec::new();
        let all = each_written(memory, 64, |_, range| {
            found.push(range);
            Some(())
        });
        if all.is_none() && File::open("/proc/self/pagemap").is_err() {
            return;
        }
        assert_eq!((all, read), (Some(()), 0));
        assert_eq!(found, [3 * page..4 * page, 9 * page..11 * page]);
        assert_eq!(each_written(memory, 2, |_, _| Some(())), None);
    }
}

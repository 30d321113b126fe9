//! Putting an instance back to what it was when it had just come to be.
//!
//! A fresh instance for every call costs several times what the call does. Where a component's state is
//! one memory and a few numbers ([`crate::reset`]) the same is had by restoring the pages that the call
//! wrote and calling the function that puts the numbers back. What does not go exactly that way leads to
//! a new instance.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::param::page_size;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext,
};
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, Instance, Lower, TypedFunc,
};
use wasmtime::{Error, Result, Store};

use crate::inspect::Inspection;
use crate::pagemap::{each_written, forget_read};
use crate::reset::RESET;
use crate::state::State;

/// Memory a component may begin with to be restored.
const MEMORY_BYTES_MAX: usize = 16 << 20;
/// Pages that are not zero in it.
const IMAGE_PAGES_MAX: usize = 256;
/// Pages that are restored after a call; a call that writes more is better given another instance.
const WRITTEN_PAGES_MAX: usize = 64;

/// How the instances of a component are put back.
pub(crate) struct Rewind {
    reset: ComponentExportIndex,
    /// Taken from the first instance that is made for a call: most components that are loaded together
    /// are not called for long, if ever.
    image: OnceLock<Option<Image>>,
}

/// The function of an instance that puts its numbers back, called with what is done to the memory.
pub(crate) type Reset<'a> = TypedFunc<(Memory<'a>,), ()>;

/// What is done to the memory of an instance while its reset is called.
#[derive(Clone, Copy)]
pub(crate) enum Memory<'a> {
    Copy(&'a OnceLock<Option<Image>>),
    Restore(&'a Image, &'a AtomicBool),
}

/// The memory a component begins with.
pub(crate) struct Image {
    bytes: usize,
    /// Pages that are not zero, in order.
    pages: Box<[Page]>,
}

/// What a page holds between the zeros it begins and ends with.
struct Page {
    /// Where the page begins.
    at: usize,
    zeros: usize,
    rest: Box<[u8]>,
}

// === impl Rewind ===

impl Rewind {
    /// `None` when the component is none that can be put back.
    pub(crate) fn of(component: &Component, inspection: &Inspection) -> Option<Self> {
        // An author's own function of that name is not what was added.
        if inspection.exports.iter().any(|export| export == RESET) {
            return None;
        }
        Some(Self {
            reset: component.get_export_index(None, RESET)?,
            image: OnceLock::new(),
        })
    }

    /// Whether instances can be put back, as far as the first of them has shown.
    pub(crate) fn is_possible(&self) -> bool {
        self.image.get().is_none_or(Option::is_some)
    }

    /// The function of an instance that nobody has called yet; `None` when it cannot be put back.
    pub(crate) fn reset(
        &self,
        instance: &Instance,
        store: &mut Store<State>,
    ) -> Option<Reset<'static>> {
        let reset: Reset<'_> = instance.get_typed_func(&mut *store, self.reset).ok()?;
        let image = self.image.get_or_init(|| {
            let reset: &Reset<'_> = &reset;
            let copy = OnceLock::new();
            reset.call(store, (Memory::Copy(&copy),)).ok()?;
            copy.into_inner()?
        });
        image.is_some().then_some(reset)
    }

    /// Whether the instance is as if new: its memory was restored whole and its numbers are back.
    pub(crate) fn rewind(&self, reset: &Reset<'static>, store: &mut Store<State>) -> bool {
        let Some(Some(image)) = self.image.get() else {
            return false;
        };
        let is_restored = AtomicBool::new(false);
        let reset: &Reset<'_> = reset;
        let memory = Memory::Restore(image, &is_restored);
        reset.call(store, (memory,)).is_ok() && is_restored.into_inner()
    }
}

// === impl Memory ===

impl Memory<'_> {
    fn see_to(self, memory: &mut [u8]) {
        match self {
            Self::Copy(copy) => {
                let image = Image::of(memory);
                // Where the kernel does not tell what was written nothing can be put back.
                let is_told = forget_read(memory).is_some();
                // Nobody else sets it.
                drop(copy.set(image.filter(|_| is_told)));
            }
            Self::Restore(image, is_restored) => {
                is_restored.store(image.restore(memory).is_some(), Relaxed);
            }
        }
    }
}

#[expect(
    unsafe_code,
    reason = "the trait is unsafe: it is the u32 of the function's type"
)]
// SAFETY: all is that of `u32`.
unsafe impl ComponentType for Memory<'_> {
    type Lower = <u32 as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <u32 as ComponentType>::ABI;
    const MAY_REQUIRE_REALLOC: bool = false;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <u32 as ComponentType>::typecheck(ty, types)
    }
}

#[expect(unsafe_code, reason = "the trait is unsafe: the guest must find a u32")]
// SAFETY: what is lowered is a `u32`. The memory is the guest's own to have written, and the guest does
// not run meanwhile.
unsafe impl Lower for Memory<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        self.see_to(cx.as_slice_mut());
        0_u32.linear_lower_to_flat(cx, ty, dst)
    }

    fn linear_lower_to_memory<T>(
        &self,
        _cx: &mut LowerContext<'_, T>,
        _ty: InterfaceType,
        _offset: usize,
    ) -> Result<()> {
        Err(Error::msg("a reset has no parameters in memory"))
    }
}

// === impl Image ===

impl Image {
    fn of(memory: &[u8]) -> Option<Self> {
        if memory.len() > MEMORY_BYTES_MAX {
            return None;
        }
        let page = page_size();
        let zeros = vec![0; page];
        let mut pages = Vec::new();
        for (number, bytes) in memory.chunks(page).enumerate() {
            // Most are.
            if zeros.get(..bytes.len()) == Some(bytes) {
                continue;
            }
            let first = bytes.iter().position(|byte| *byte != 0);
            let last = bytes.iter().rposition(|byte| *byte != 0);
            let (Some(first), Some(last)) = (first, last) else {
                continue;
            };
            if pages.len() == IMAGE_PAGES_MAX {
                return None;
            }
            pages.push(Page {
                at: number * page,
                zeros: first,
                rest: bytes.get(first..=last)?.into(),
            });
        }
        Some(Self {
            bytes: memory.len(),
            pages: pages.into(),
        })
    }

    /// Gives the written pages of `memory` the content they began with; `None` when some may have kept
    /// another.
    fn restore(&self, memory: &mut [u8]) -> Option<()> {
        // A memory that has grown does not shrink.
        if memory.len() != self.bytes {
            return None;
        }
        each_written(memory, WRITTEN_PAGES_MAX, |memory, range| {
            self.restore_range(memory, range)
        })
    }

    fn restore_range(&self, memory: &mut [u8], range: Range<usize>) -> Option<()> {
        let first = range.start;
        let written = memory.get_mut(range)?;
        let from = self.pages.partition_point(|page| page.at < first);
        let mut pages = self.pages.get(from..)?.iter().peekable();
        let mut at = first;
        for written in written.chunks_mut(page_size()) {
            match pages.next_if(|page| page.at == at) {
                Some(page) => page.restore(written)?,
                None => written.fill(0),
            }
            at += written.len();
        }
        Some(())
    }
}

// === impl Page ===

impl Page {
    fn restore(&self, written: &mut [u8]) -> Option<()> {
        let (zeros, rest) = written.split_at_mut_checked(self.zeros)?;
        let (same, after) = rest.split_at_mut_checked(self.rest.len())?;
        zeros.fill(0);
        same.copy_from_slice(&self.rest);
        after.fill(0);
        Some(())
    }
}

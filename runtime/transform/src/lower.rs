//! Borrowed columns into a guest's memory, as the canonical ABI lays records, variants and lists out.
//!
//! What the engine derives for such types looks the guest's memory up again for every field of four
//! bytes, seven times for a column of one number. Here each list is one look-up and the column another.
//!
//! The guest is asked for the memory of each list, and being asked costs as much as a small transformation.
//! One that says so ([`LIST_BLOCK`]) is asked for a block that holds them all, without gaps, and lends it for
//! the calls that follow too.

use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use smallvec::SmallVec;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext,
};
use wasmtime::component::{ComponentType, Lower};
use wasmtime::{Error, Result, ValRaw};

use crate::column::{Batch, ColumnRef, PackedRef, ScalarsRef, ValuesRef};

/// The custom section of a core module by which a guest says that it lends a block of memory for the lists it
/// is handed. It is asked for one with an alignment of [`BLOCK_ALIGNMENT`] and may give none. The block is the
/// host's until it asks for another; the guest frees neither the block nor the lists in it.
pub(crate) const LIST_BLOCK: &str = "galley:list-block";

/// No value of the contract is aligned so.
const BLOCK_ALIGNMENT: u32 = 16;

/// Bytes of the smallest block that is asked for.
const BLOCK_BYTES_MIN: usize = 512;

/// Bytes of a list: where it lies and how long it is.
pub(crate) const LIST: usize = 8;
/// Bytes of `scalar-values`: the case, and room for two lists.
const SCALARS: usize = 4 + 2 * LIST;
/// Bytes of `values`: the case, and room for a list and `scalar-values`.
pub(crate) const VALUES: usize = 4 + LIST + SCALARS;
/// Bytes of a column: its values, and whether there is a validity and which.
pub(crate) const COLUMN: usize = VALUES + 4 + LIST;

const _: () = {
    assert!(<ScalarsRef<'_> as ComponentType>::SIZE32 == SCALARS);
    assert!(<ValuesRef<'_> as ComponentType>::SIZE32 == VALUES);
    assert!(<ColumnRef<'_> as ComponentType>::SIZE32 == COLUMN);
};

/// A list in the guest's memory, as records hold it.
type Placed = [u8; LIST];

/// A batch on its way into a guest.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Handed<'a> {
    rows: u32,
    columns: Lists<'a>,
}

/// Columns on their way into a guest.
pub(crate) struct Lists<'a> {
    columns: &'a [ColumnRef<'a>],
    block: Option<&'a ListBlock>,
}

/// The block that an instance has lent, if it has: where it begins in the upper half, its bytes in the lower.
/// There is one call at a time.
#[derive(Debug, Default)]
pub(crate) struct ListBlock(AtomicU64);

/// Where in the guest's memory there is room for a list.
enum Room {
    /// Where the guest said, list by list in the order in which they are written.
    Asked(SmallVec<[usize; LISTS_INLINE]>, usize),
    /// In a block, from these places on: for values of eight bytes, of four, and of one.
    Block([usize; 3]),
}

/// Lists whose places take no memory of their own.
const LISTS_INLINE: usize = 16;

// === impl ListBlock ===

impl ListBlock {
    fn get(&self) -> (usize, usize) {
        let block = self.0.load(Relaxed);
        ((block >> 32) as usize, (block & 0xffff_ffff) as usize)
    }

    /// Notes a block; addresses and lengths in a guest's memory have 32 bits.
    fn set(&self, start: usize, bytes: usize) {
        self.0.store((start as u64) << 32 | bytes as u64, Relaxed);
    }

    /// The instance was put back to what it was before it lent anything.
    pub(crate) fn forget(&self) {
        self.0.store(0, Relaxed);
    }
}

// === impl Handed ===

impl<'a> Handed<'a> {
    /// `block` is that of the instance, where it lends one.
    pub(crate) fn new(batch: Batch<'a>, block: Option<&'a ListBlock>) -> Self {
        Self {
            rows: batch.rows,
            columns: Lists {
                columns: batch.columns,
                block,
            },
        }
    }
}

// === impl Lists ===

#[expect(
    unsafe_code,
    reason = "the trait is unsafe: it is the list of columns of the function's type"
)]
// SAFETY: all is that of a list of columns.
unsafe impl ComponentType for Lists<'_> {
    type Lower = <[ColumnRef<'static>] as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <[ColumnRef<'static>] as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[ColumnRef<'_>] as ComponentType>::typecheck(ty, types)
    }
}

#[expect(
    unsafe_code,
    reason = "the trait is unsafe: guests must find what its type promises"
)]
// SAFETY: what is written is the canonical ABI's form of a list, as where it lies and how long it is, of
// the type that `ComponentType` is derived for: a record of `values` and `validity`, each a variant whose
// case is its first byte and whose payload begins at the fourth. Sizes are compared above, and a test
// sends every case through a guest that gives back what lies in its memory.
unsafe impl Lower for Lists<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        _ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        let mut room = self.room(cx)?;
        let memory = cx.as_slice_mut();
        let start = room.take(4, self.columns.len().saturating_mul(COLUMN))?;
        let mut at = start;
        for column in self.columns {
            let column = place_column(memory, column, &mut room)?;
            let place = memory.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
            *place.ok_or_else(no_memory)? = column;
            at += COLUMN;
        }
        // The engine reads numbers of 64 bits, whichever the memory has.
        let placed = [start, self.columns.len()].map(i64::try_from);
        let [start, length] = placed;
        dst.write([ValRaw::i64(start?), ValRaw::i64(length?)]);
        Ok(())
    }

    fn linear_lower_to_memory<T>(
        &self,
        _cx: &mut LowerContext<'_, T>,
        _ty: InterfaceType,
        _offset: usize,
    ) -> Result<()> {
        Err(Error::msg("a batch is handed over as an argument"))
    }
}

impl Lists<'_> {
    /// Room for all lists. A guest that lends no block of that size is asked for each.
    fn room<T>(&self, cx: &mut LowerContext<'_, T>) -> Result<Room> {
        if let Some(block) = self.block {
            let mut sizes = [0_usize; 3];
            let [eights, fours, ones] = &mut sizes;
            self.each(|width, length| {
                let size = match width {
                    8 => &mut *eights,
                    4 => &mut *fours,
                    _ => &mut *ones,
                };
                *size = size.saturating_add(length.saturating_mul(width));
                Ok(())
            })?;
            let [eights, fours, ones] = sizes;
            let size = eights.saturating_add(fours).saturating_add(ones);
            if let Some(start) = lent(cx, block, size)? {
                return Ok(Room::Block([start, start + eights, start + eights + fours]));
            }
        }
        let mut places = SmallVec::new();
        self.each(|width, length| {
            let alignment = u32::try_from(width)?;
            places.push(cx.realloc(0, 0, alignment, length.saturating_mul(width))?);
            Ok(())
        })?;
        Ok(Room::Asked(places, 0))
    }

    /// Calls `list` with the width of the values of each list and how many there are, in the order in which
    /// they are written; width is alignment as well.
    #[inline]
    fn each(&self, mut list: impl FnMut(usize, usize) -> Result<()>) -> Result<()> {
        list(4, self.columns.len().saturating_mul(COLUMN / 4))?;
        for column in self.columns {
            let scalars = match &column.values {
                ValuesRef::Scalar(scalars) => scalars,
                ValuesRef::Array(arrays) => {
                    list(4, arrays.offsets.len())?;
                    &arrays.items
                }
            };
            match scalars {
                ScalarsRef::Utf8(packed) | ScalarsRef::Binary(packed) => {
                    list(4, packed.offsets.len())?;
                    list(1, packed.data.len())?;
                }
                ScalarsRef::Boolean(values) => list(1, values.len())?,
                ScalarsRef::Int32(values) => list(4, values.len())?,
                ScalarsRef::Float32(values) => list(4, values.len())?,
                ScalarsRef::Float64(values) => list(8, values.len())?,
                ScalarsRef::Int64(values) | ScalarsRef::TimestampMicros(values) => {
                    list(8, values.len())?;
                }
            }
            if let Some(validity) = column.validity {
                list(1, validity.len())?;
            }
        }
        Ok(())
    }
}

/// Where the instance's block begins; `None` where it lends none of `size` bytes.
fn lent<T>(cx: &mut LowerContext<'_, T>, block: &ListBlock, size: usize) -> Result<Option<usize>> {
    let (start, bytes) = block.get();
    if size <= bytes {
        return Ok(Some(start));
    }
    // A little more than is needed, so that it is not asked for with every call that has one row more.
    let bytes = size
        .checked_next_power_of_two()
        .unwrap_or(size)
        .max(BLOCK_BYTES_MIN);
    block.forget();
    // The engine has seen that all of it is inside the memory, which never gets smaller.
    match cx.realloc(0, 0, BLOCK_ALIGNMENT, bytes)? {
        0 => Ok(None),
        start => {
            block.set(start, bytes);
            Ok(Some(start))
        }
    }
}

// === impl Room ===

impl Room {
    /// Room for `size` bytes of values that are `width` bytes each and aligned to that.
    #[inline]
    fn take(&mut self, width: usize, size: usize) -> Result<usize> {
        let [eights, fours, ones] = match self {
            Self::Asked(places, next) => {
                let place = places.get(*next).copied().ok_or_else(no_memory);
                *next += 1;
                return place;
            }
            Self::Block(places) => places,
        };
        let next = match width {
            8 => eights,
            4 => fours,
            _ => ones,
        };
        // Where a list lies that is empty nobody asks, as long as it is aligned.
        let start = if size == 0 { width } else { *next };
        *next = next.saturating_add(size);
        Ok(start)
    }
}

#[cold]
fn no_memory() -> Error {
    Error::msg("the guest gave memory that it does not have")
}

/// Writes the lists of a column; gives the column that refers to them.
fn place_column(memory: &mut [u8], from: &ColumnRef<'_>, room: &mut Room) -> Result<[u8; COLUMN]> {
    let mut column = [0; COLUMN];
    let (values, validity) = column.split_at_mut(VALUES);
    match &from.values {
        ValuesRef::Scalar(scalars) => {
            put(values, 0, 0, &[]);
            place_scalars(memory, scalars, room, values, 4)?;
        }
        ValuesRef::Array(arrays) => {
            let offsets = place(memory, room, arrays.offsets, u32::to_le_bytes)?;
            put(values, 0, 1, &[offsets]);
            place_scalars(memory, &arrays.items, room, values, 4 + LIST)?;
        }
    }
    if let Some(bits) = from.validity {
        put(validity, 0, 1, &[place(memory, room, bits, |byte| [byte])?]);
    }
    Ok(column)
}

/// Writes `scalar-values` at `at`.
fn place_scalars(
    memory: &mut [u8],
    scalars: &ScalarsRef<'_>,
    room: &mut Room,
    to: &mut [u8],
    at: usize,
) -> Result<()> {
    let mut packed = |packed: &PackedRef<'_>| -> Result<[Placed; 2]> {
        let offsets = place(memory, room, packed.offsets, u32::to_le_bytes)?;
        Ok([offsets, place(memory, room, packed.data, |byte| [byte])?])
    };
    match scalars {
        ScalarsRef::Utf8(text) => put(to, at, 5, &packed(text)?),
        ScalarsRef::Binary(bytes) => put(to, at, 6, &packed(bytes)?),
        ScalarsRef::Boolean(values) => {
            put(to, at, 0, &[place(memory, room, values, |byte| [byte])?]);
        }
        ScalarsRef::Int32(values) => {
            put(to, at, 1, &[place(memory, room, values, i32::to_le_bytes)?]);
        }
        ScalarsRef::Int64(values) => {
            put(to, at, 2, &[place(memory, room, values, i64::to_le_bytes)?]);
        }
        ScalarsRef::Float32(values) => {
            put(to, at, 3, &[place(memory, room, values, f32::to_le_bytes)?]);
        }
        ScalarsRef::Float64(values) => {
            put(to, at, 4, &[place(memory, room, values, f64::to_le_bytes)?]);
        }
        ScalarsRef::TimestampMicros(values) => {
            put(to, at, 7, &[place(memory, room, values, i64::to_le_bytes)?]);
        }
    }
    Ok(())
}

/// Writes the case of a variant, and lists from four bytes after it.
fn put(to: &mut [u8], at: usize, case: u8, lists: &[Placed]) {
    if let Some(place) = to.get_mut(at) {
        *place = case;
    }
    let payload = to.get_mut(at + 4..).unwrap_or_default();
    for (place, list) in payload.as_chunks_mut::<LIST>().0.iter_mut().zip(lists) {
        *place = *list;
    }
}

/// Copies values, which are as wide as they are aligned, into the guest's memory.
#[inline]
fn place<V: Copy, const BYTES: usize>(
    memory: &mut [u8],
    room: &mut Room,
    values: &[V],
    bytes: impl Fn(V) -> [u8; BYTES],
) -> Result<Placed> {
    let size = values.len().saturating_mul(BYTES);
    let start = room.take(BYTES, size)?;
    let place = start.checked_add(size).map(|end| start..end);
    let place = place
        .and_then(|place| memory.get_mut(place))
        .ok_or_else(no_memory)?;
    for (place, value) in place.as_chunks_mut::<BYTES>().0.iter_mut().zip(values) {
        *place = bytes(*value);
    }
    let mut placed = [0; LIST];
    let (at, length) = placed.split_at_mut(LIST / 2);
    at.copy_from_slice(&u32::try_from(start)?.to_le_bytes());
    length.copy_from_slice(&u32::try_from(values.len())?.to_le_bytes());
    Ok(placed)
}

//! Borrowed columns into a guest's memory, as the canonical ABI lays records, variants and lists out.
//!
//! What the engine derives for such types looks the guest's memory up again for every field of four
//! bytes, seven times for a column of one number. Here each list is one look-up and the column another.
//!
//! The guest is asked for the memory of each list, and being asked costs as much as a small transformation.
//! One that says so ([`ONE_BLOCK`]) is asked once a call for a block that holds them all, without gaps.

use std::mem::MaybeUninit;

use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext,
};
use wasmtime::component::{ComponentType, Lower};
use wasmtime::{Error, Result, ValRaw};

use crate::column::{Batch, ColumnRef, PackedRef, ScalarsRef, ValuesRef};

/// The custom section of a core module by which a guest says that the lists it is handed may lie in
/// one block. It is asked for the block with an alignment of [`BLOCK_ALIGNMENT`] and may give none,
/// and it frees each list by itself.
pub(crate) const ONE_BLOCK: &str = "galley:one-block";

/// No value of the contract is aligned so.
const BLOCK_ALIGNMENT: u32 = 16;

/// Bytes of a list: where it lies and how long it is.
const LIST: usize = 8;
/// Bytes of `scalar-values`: the case, and room for two lists.
const SCALARS: usize = 4 + 2 * LIST;
/// Bytes of `values`: the case, and room for a list and `scalar-values`.
const VALUES: usize = 4 + LIST + SCALARS;
/// Bytes of a column: its values, and whether there is a validity and which.
const COLUMN: usize = VALUES + 4 + LIST;

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
    in_one_block: bool,
}

/// Where in the guest's memory there is room for a list.
enum Room {
    /// Wherever the guest says, list by list.
    Asked,
    /// In a block, from these places on: for values of eight bytes, of four, and of one.
    Block([usize; 3]),
}

// === impl Handed ===

impl<'a> Handed<'a> {
    pub(crate) fn new(batch: Batch<'a>, in_one_block: bool) -> Self {
        Self {
            rows: batch.rows,
            columns: Lists {
                columns: batch.columns,
                in_one_block,
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
        let size = self.columns.len().saturating_mul(COLUMN);
        let start = room.take(cx, 4, size)?;
        for (index, column) in self.columns.iter().enumerate() {
            let column = place_column(cx, column, &mut room)?;
            *cx.get::<COLUMN>(start + index * COLUMN) = column;
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
    /// Room for all lists. A guest that has no block of that size is asked for each.
    fn room<T>(&self, cx: &mut LowerContext<'_, T>) -> Result<Room> {
        if !self.in_one_block || self.columns.is_empty() {
            return Ok(Room::Asked);
        }
        let [eights, fours, ones] = self.sizes();
        let size = [eights, fours, ones]
            .into_iter()
            .fold(0, usize::saturating_add);
        Ok(match cx.realloc(0, 0, BLOCK_ALIGNMENT, size)? {
            0 => Room::Asked,
            // The engine has seen that all of it is inside the memory.
            start => Room::Block([start, start + eights, start + eights + fours]),
        })
    }

    /// Bytes of all lists of values of eight bytes, of four, and of one.
    fn sizes(&self) -> [usize; 3] {
        let mut sizes = [0, self.columns.len().saturating_mul(COLUMN), 0];
        let [eights, fours, ones] = &mut sizes;
        let grow = |size: &mut usize, length: usize, width: usize| {
            *size = size.saturating_add(length.saturating_mul(width));
        };
        for column in self.columns {
            let scalars = match &column.values {
                ValuesRef::Scalar(scalars) => scalars,
                ValuesRef::Array(arrays) => {
                    grow(fours, arrays.offsets.len(), 4);
                    &arrays.items
                }
            };
            match scalars {
                ScalarsRef::Utf8(packed) | ScalarsRef::Binary(packed) => {
                    grow(fours, packed.offsets.len(), 4);
                    grow(ones, packed.data.len(), 1);
                }
                ScalarsRef::Boolean(values) => grow(ones, values.len(), 1),
                ScalarsRef::Int32(values) => grow(fours, values.len(), 4),
                ScalarsRef::Float32(values) => grow(fours, values.len(), 4),
                ScalarsRef::Float64(values) => grow(eights, values.len(), 8),
                ScalarsRef::Int64(values) | ScalarsRef::TimestampMicros(values) => {
                    grow(eights, values.len(), 8);
                }
            }
            grow(ones, column.validity.map_or(0, <[u8]>::len), 1);
        }
        sizes
    }
}

// === impl Room ===

impl Room {
    /// Room for `size` bytes of values that are `width` bytes each and aligned to that.
    #[inline]
    fn take<T>(
        &mut self,
        cx: &mut LowerContext<'_, T>,
        width: usize,
        size: usize,
    ) -> Result<usize> {
        let Self::Block([eights, fours, ones]) = self else {
            return cx.realloc(0, 0, u32::try_from(width)?, size);
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

/// Writes the lists of a column; gives the column that refers to them.
fn place_column<T>(
    cx: &mut LowerContext<'_, T>,
    from: &ColumnRef<'_>,
    room: &mut Room,
) -> Result<[u8; COLUMN]> {
    let mut column = [0; COLUMN];
    let (values, validity) = column.split_at_mut(VALUES);
    match &from.values {
        ValuesRef::Scalar(scalars) => {
            put(values, 0, 0, &[]);
            place_scalars(cx, scalars, room, values, 4)?;
        }
        ValuesRef::Array(arrays) => {
            let offsets = place(cx, room, arrays.offsets, u32::to_le_bytes)?;
            put(values, 0, 1, &[offsets]);
            place_scalars(cx, &arrays.items, room, values, 4 + LIST)?;
        }
    }
    if let Some(bits) = from.validity {
        put(validity, 0, 1, &[place(cx, room, bits, |byte| [byte])?]);
    }
    Ok(column)
}

/// Writes `scalar-values` at `at`.
fn place_scalars<T>(
    cx: &mut LowerContext<'_, T>,
    scalars: &ScalarsRef<'_>,
    room: &mut Room,
    to: &mut [u8],
    at: usize,
) -> Result<()> {
    let mut packed = |packed: &PackedRef<'_>| -> Result<[Placed; 2]> {
        let offsets = place(cx, room, packed.offsets, u32::to_le_bytes)?;
        Ok([offsets, place(cx, room, packed.data, |byte| [byte])?])
    };
    match scalars {
        ScalarsRef::Utf8(text) => put(to, at, 5, &packed(text)?),
        ScalarsRef::Binary(bytes) => put(to, at, 6, &packed(bytes)?),
        ScalarsRef::Boolean(values) => put(to, at, 0, &[place(cx, room, values, |byte| [byte])?]),
        ScalarsRef::Int32(values) => {
            put(to, at, 1, &[place(cx, room, values, i32::to_le_bytes)?]);
        }
        ScalarsRef::Int64(values) => {
            put(to, at, 2, &[place(cx, room, values, i64::to_le_bytes)?]);
        }
        ScalarsRef::Float32(values) => {
            put(to, at, 3, &[place(cx, room, values, f32::to_le_bytes)?]);
        }
        ScalarsRef::Float64(values) => {
            put(to, at, 4, &[place(cx, room, values, f64::to_le_bytes)?]);
        }
        ScalarsRef::TimestampMicros(values) => {
            put(to, at, 7, &[place(cx, room, values, i64::to_le_bytes)?]);
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
fn place<T, V: Copy, const BYTES: usize>(
    cx: &mut LowerContext<'_, T>,
    room: &mut Room,
    values: &[V],
    bytes: impl Fn(V) -> [u8; BYTES],
) -> Result<Placed> {
    let size = values.len().saturating_mul(BYTES);
    let start = room.take(cx, BYTES, size)?;
    let place = start.checked_add(size).map(|end| start..end);
    let memory = cx.as_slice_mut();
    let place = place
        .and_then(|place| memory.get_mut(place))
        .ok_or_else(|| Error::msg("the guest gave memory that it does not have"))?;
    for (place, value) in place.as_chunks_mut::<BYTES>().0.iter_mut().zip(values) {
        *place = bytes(*value);
    }
    let mut placed = [0; LIST];
    let (at, length) = placed.split_at_mut(LIST / 2);
    at.copy_from_slice(&u32::try_from(start)?.to_le_bytes());
    length.copy_from_slice(&u32::try_from(values.len())?.to_le_bytes());
    Ok(placed)
}

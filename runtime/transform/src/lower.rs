//! Borrowed columns into a guest's memory, as the canonical ABI lays records, variants and lists out.
//!
//! What the engine derives for such types looks the guest's memory up again for every field of four
//! bytes, seven times for a column of one number. Here each list is one look-up and the column another.

use std::mem::MaybeUninit;

use wasmtime::component::__internal::{InterfaceType, LowerContext};
use wasmtime::component::{ComponentType, Lower};
use wasmtime::{Error, Result};

use crate::column::{ColumnRef, PackedRef, ScalarsRef, ValuesRef};

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

#[expect(
    unsafe_code,
    reason = "the trait is unsafe: guests must find what its type promises"
)]
// SAFETY: what is written is the canonical ABI's form of the type that `ComponentType` is derived for:
// a record of `values` and `validity`, each a variant whose case is its first byte and whose payload
// begins at the fourth. Sizes are compared above, and a test sends every case through a guest that gives
// back what lies in its memory.
unsafe impl Lower for ColumnRef<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        _cx: &mut LowerContext<'_, T>,
        _ty: InterfaceType,
        _dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        // Columns come in lists, and lists lie in memory.
        Err(Error::msg("a column is no argument by itself"))
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        _ty: InterfaceType,
        offset: usize,
    ) -> Result<()> {
        let mut column = [0; COLUMN];
        let (values, validity) = column.split_at_mut(VALUES);
        match &self.values {
            ValuesRef::Scalar(scalars) => {
                put(values, 0, 0, &[]);
                place_scalars(cx, scalars, values, 4)?;
            }
            ValuesRef::Array(arrays) => {
                let offsets = place(cx, arrays.offsets, u32::to_le_bytes)?;
                put(values, 0, 1, &[offsets]);
                place_scalars(cx, &arrays.items, values, 4 + LIST)?;
            }
        }
        if let Some(bits) = self.validity {
            put(validity, 0, 1, &[place(cx, bits, |byte| [byte])?]);
        }
        *cx.get::<COLUMN>(offset) = column;
        Ok(())
    }
}

/// Writes `scalar-values` at `at`.
fn place_scalars<T>(
    cx: &mut LowerContext<'_, T>,
    scalars: &ScalarsRef<'_>,
    to: &mut [u8],
    at: usize,
) -> Result<()> {
    let mut packed = |packed: &PackedRef<'_>| -> Result<[Placed; 2]> {
        let offsets = place(cx, packed.offsets, u32::to_le_bytes)?;
        Ok([offsets, place(cx, packed.data, |byte| [byte])?])
    };
    match scalars {
        ScalarsRef::Utf8(text) => put(to, at, 5, &packed(text)?),
        ScalarsRef::Binary(bytes) => put(to, at, 6, &packed(bytes)?),
        ScalarsRef::Boolean(values) => put(to, at, 0, &[place(cx, values, |byte| [byte])?]),
        ScalarsRef::Int32(values) => put(to, at, 1, &[place(cx, values, i32::to_le_bytes)?]),
        ScalarsRef::Int64(values) => put(to, at, 2, &[place(cx, values, i64::to_le_bytes)?]),
        ScalarsRef::Float32(values) => put(to, at, 3, &[place(cx, values, f32::to_le_bytes)?]),
        ScalarsRef::Float64(values) => put(to, at, 4, &[place(cx, values, f64::to_le_bytes)?]),
        ScalarsRef::TimestampMicros(values) => {
            put(to, at, 7, &[place(cx, values, i64::to_le_bytes)?]);
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

/// Copies values, which are as wide as they are aligned, into memory that the guest gives.
fn place<T, V: Copy, const BYTES: usize>(
    cx: &mut LowerContext<'_, T>,
    values: &[V],
    bytes: impl Fn(V) -> [u8; BYTES],
) -> Result<Placed> {
    let size = values.len().saturating_mul(BYTES);
    let start = cx.realloc(0, 0, u32::try_from(BYTES)?, size)?;
    let room = start.checked_add(size).map(|end| start..end);
    let memory = cx.as_slice_mut();
    let room = room
        .and_then(|room| memory.get_mut(room))
        .ok_or_else(|| Error::msg("the guest gave memory that it does not have"))?;
    for (place, value) in room.as_chunks_mut::<BYTES>().0.iter_mut().zip(values) {
        *place = bytes(*value);
    }
    let mut placed = [0; LIST];
    let (at, length) = placed.split_at_mut(LIST / 2);
    at.copy_from_slice(&u32::try_from(start)?.to_le_bytes());
    length.copy_from_slice(&u32::try_from(values.len())?.to_le_bytes());
    Ok(placed)
}

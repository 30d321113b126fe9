//! Columns out of a guest's memory, as the canonical ABI lays records, variants and lists out.
//!
//! What the engine derives for such types looks the types of every field and case up in its tables.
//! Here a column is read from its bytes, and each of its lists is one copy. All that the engine holds
//! a guest to it is held to here, in the same words.

use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift};
use wasmtime::{Error, Result};

use crate::column::{Arrays, Column, Columns, Packed, Scalars, Values};
use crate::lower::{COLUMN, LIST, VALUES};

/// A batch on its way out of a guest.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Given {
    rows: u32,
    columns: Lists,
}

/// Columns on their way out of a guest.
pub(crate) struct Lists(Vec<Column>);

/// The memory of a guest, and how much may still be copied out of it.
struct Reader<'c, 'm> {
    cx: &'c mut LiftContext<'m>,
    memory: &'m [u8],
}

// === impl Given ===

impl From<Given> for Columns {
    fn from(given: Given) -> Self {
        Self {
            rows: given.rows,
            columns: given.columns.0,
        }
    }
}

// === impl Lists ===

#[expect(
    unsafe_code,
    reason = "the trait is unsafe: it is the list of columns of the function's type"
)]
// SAFETY: all is that of a list of columns.
unsafe impl ComponentType for Lists {
    type Lower = <[Column] as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <[Column] as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[Column] as ComponentType>::typecheck(ty, types)
    }
}

#[expect(
    unsafe_code,
    reason = "the trait is unsafe: what a guest gives must be read as its type says"
)]
// SAFETY: what is read is the canonical ABI's form of a list of the type that `ComponentType` is derived
// for, with every bound, alignment and case compared; nothing is read but by safe code.
unsafe impl Lift for Lists {
    fn linear_lift_from_flat(
        _cx: &mut LiftContext<'_>,
        _ty: InterfaceType,
        _src: &Self::Lower,
    ) -> Result<Self> {
        Err(Error::msg("a batch is given in memory"))
    }

    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        _ty: InterfaceType,
        bytes: &[u8],
    ) -> Result<Self> {
        let memory = cx.memory();
        let mut reader = Reader { cx, memory };
        let columns = reader.list(part(bytes, 0)?, COLUMN, 4, size_of::<Column>())?;
        let columns = columns.as_chunks::<COLUMN>().0;
        let read = columns.iter().map(|column| reader.column(column));
        Ok(Self(read.collect::<Result<_>>()?))
    }
}

// === impl Reader ===

impl<'m> Reader<'_, 'm> {
    fn column(&mut self, column: &[u8; COLUMN]) -> Result<Column> {
        let values = match case(column, 0)? {
            0 => Values::Scalar(self.scalars(column, 4)?),
            1 => Values::Array(Arrays {
                offsets: self.values(column, 4, u32::from_le_bytes)?,
                items: self.scalars(column, 4 + LIST)?,
            }),
            case => return Err(no_case(case)),
        };
        let validity = match case(column, VALUES)? {
            0 => None,
            1 => Some(self.bytes(column, VALUES + 4)?),
            _ => return Err(Error::msg("invalid option discriminant")),
        };
        Ok(Column { values, validity })
    }

    /// Reads `scalar-values` at `at`.
    fn scalars(&mut self, column: &[u8; COLUMN], at: usize) -> Result<Scalars> {
        let list = at + 4;
        Ok(match case(column, at)? {
            0 => Scalars::Boolean(self.bytes(column, list)?),
            1 => Scalars::Int32(self.values(column, list, i32::from_le_bytes)?),
            2 => Scalars::Int64(self.values(column, list, i64::from_le_bytes)?),
            3 => Scalars::Float32(self.values(column, list, f32::from_le_bytes)?),
            4 => Scalars::Float64(self.values(column, list, f64::from_le_bytes)?),
            5 => Scalars::Utf8(self.packed(column, list)?),
            6 => Scalars::Binary(self.packed(column, list)?),
            7 => Scalars::TimestampMicros(self.values(column, list, i64::from_le_bytes)?),
            case => return Err(no_case(case)),
        })
    }

    fn packed(&mut self, column: &[u8; COLUMN], at: usize) -> Result<Packed> {
        Ok(Packed {
            offsets: self.values(column, at, u32::from_le_bytes)?,
            data: self.bytes(column, at + LIST)?,
        })
    }

    fn bytes(&mut self, column: &[u8; COLUMN], at: usize) -> Result<Vec<u8>> {
        Ok(self.list(part(column, at)?, 1, 1, 1)?.to_vec())
    }

    /// Copies values, which are as wide as they are aligned.
    fn values<V, const BYTES: usize>(
        &mut self,
        column: &[u8; COLUMN],
        at: usize,
        value: impl Fn([u8; BYTES]) -> V,
    ) -> Result<Vec<V>> {
        let list = self.list(part(column, at)?, BYTES, BYTES, BYTES)?;
        let values = list.as_chunks::<BYTES>().0.iter();
        Ok(values.map(|bytes| value(*bytes)).collect())
    }

    /// The bytes of a list of items that are `width` bytes each in the guest and `own` in the host.
    fn list(
        &mut self,
        list: &[u8; LIST],
        width: usize,
        alignment: usize,
        own: usize,
    ) -> Result<&'m [u8]> {
        let [start, length] = [part(list, 0)?, part(list, LIST / 2)?]
            .map(|number| u32::from_le_bytes(*number) as usize);
        let place = length
            .checked_mul(width)
            .and_then(|size| start.checked_add(size))
            .and_then(|end| self.memory.get(start..end))
            .ok_or_else(|| Error::msg("list pointer/length out of bounds of memory"))?;
        self.cx.consume_fuel_array(length, own)?;
        if !start.is_multiple_of(alignment) {
            return Err(Error::msg("list pointer is not aligned"));
        }
        Ok(place)
    }
}

/// The case of the variant at `at`.
fn case(column: &[u8; COLUMN], at: usize) -> Result<u8> {
    Ok(u8::from_le_bytes(*part(column, at)?))
}

#[cold]
fn no_case(case: u8) -> Error {
    Error::msg(format!("unexpected discriminant: {case}"))
}

/// The bytes of a field at `at`.
#[inline]
fn part<const BYTES: usize>(record: &[u8], at: usize) -> Result<&[u8; BYTES]> {
    record
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .ok_or_else(|| Error::msg("a record is shorter than its type"))
}

//! Whole columns of a record batch into the staged rows.

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrowPrimitiveType, PrimitiveArray, types};
use arrow_schema::{DataType, TimeUnit};
use galley_types::{Limits, ScalarType, ValueType};

use super::cell::{self, Misfit, micros};
use super::fit;
use super::staging::Staging;

/// A row of the batch and the entry it fills.
pub(crate) type Target = (u32, u32);

/// A cell that does not fit: its row in the batch and what is there.
pub(crate) type Refused = (usize, Misfit);

/// Fills feature number `feature` of all targets from `array`.
pub(crate) fn column(
    staging: &mut Staging,
    targets: &[Target],
    feature: usize,
    value_type: ValueType,
    array: &dyn Array,
) -> Result<(), Refused> {
    let mut sink = Sink {
        staging,
        targets,
        feature,
    };
    match value_type {
        ValueType::Scalar(scalar) => match (scalar, array.data_type()) {
            (ScalarType::Double, DataType::Float64) => {
                sink.numbers::<types::Float64Type>(array, |value| value.to_le_bytes())
            }
            (ScalarType::Double, DataType::Float32) => {
                sink.numbers::<types::Float32Type>(array, |value| f64::from(value).to_le_bytes())
            }
            (ScalarType::Float, DataType::Float32) => sink
                .numbers::<types::Float32Type>(array, |value| {
                    u64::from(value.to_bits()).to_le_bytes()
                }),
            (ScalarType::Int64, DataType::Int64) => {
                sink.numbers::<types::Int64Type>(array, i64::to_le_bytes)
            }
            (ScalarType::Int64 | ScalarType::Int32, DataType::Int32) => {
                sink.numbers::<types::Int32Type>(array, |value| i64::from(value).to_le_bytes())
            }
            (ScalarType::UnixTimestamp, DataType::Timestamp(unit, _)) => {
                sink.instants(array, *unit)
            }
            (ScalarType::Bool, DataType::Boolean) => {
                let array = array.as_boolean();
                sink.present(array, |staging, row, entry| {
                    let slot = u64::from(array.value(row)).to_le_bytes();
                    staging.set_slot(entry, feature, slot);
                    Ok(())
                })
            }
            (ScalarType::String | ScalarType::Json, DataType::Utf8View) => {
                let array = array.as_string_view();
                sink.bytes(array, |row| array.value(row).as_bytes())
            }
            (ScalarType::String | ScalarType::Json, DataType::Utf8) => {
                let array = array.as_string::<i32>();
                sink.bytes(array, |row| array.value(row).as_bytes())
            }
            (ScalarType::Bytes, DataType::BinaryView) => {
                let array = array.as_binary_view();
                sink.bytes(array, |row| array.value(row))
            }
            _ => sink.general(array, value_type),
        },
        ValueType::List(element) => sink.lists(array, element),
        _ => sink.general(array, value_type),
    }
}

struct Sink<'a> {
    staging: &'a mut Staging,
    targets: &'a [Target],
    feature: usize,
}

// === impl Sink ===

impl Sink<'_> {
    /// Calls `set` for every target whose cell is not null.
    #[inline]
    fn present(
        &mut self,
        array: &dyn Array,
        mut set: impl FnMut(&mut Staging, usize, u32) -> Result<(), Misfit>,
    ) -> Result<(), Refused> {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        for (row, entry) in self.targets {
            let row = *row as usize;
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                set(self.staging, row, *entry).map_err(|misfit| (row, misfit))?;
            }
        }
        Ok(())
    }

    fn numbers<T: ArrowPrimitiveType>(
        &mut self,
        array: &dyn Array,
        slot: impl Fn(T::Native) -> [u8; 8],
    ) -> Result<(), Refused> {
        let array: &PrimitiveArray<T> = array.as_primitive();
        let feature = self.feature;
        self.present(array, |staging, row, entry| {
            staging.set_slot(entry, feature, slot(array.value(row)));
            Ok(())
        })
    }

    fn instants(&mut self, array: &dyn Array, unit: TimeUnit) -> Result<(), Refused> {
        let feature = self.feature;
        self.present(array, |staging, row, entry| {
            let raw = cell::timestamp(array, unit, row);
            let time = micros(unit, raw)
                .ok_or_else(|| Misfit(format!("a timestamp out of range ({raw})")))?;
            staging.set_slot(entry, feature, time.to_le_bytes());
            Ok(())
        })
    }

    fn bytes<'b>(
        &mut self,
        array: &'b dyn Array,
        value: impl Fn(usize) -> &'b [u8],
    ) -> Result<(), Refused> {
        let feature = self.feature;
        self.present(array, |staging, row, entry| {
            let bytes = value(row);
            bounded(bytes.len())?;
            staging.set_heap(entry, feature, |heap| {
                heap.extend_from_slice(bytes);
                Ok(())
            })
        })
    }

    /// Lists of numbers of the declared type are copied as they lie; others go the careful way.
    fn lists(&mut self, array: &dyn Array, element: ScalarType) -> Result<(), Refused> {
        let feature = self.feature;
        self.present(array, |staging, row, entry| {
            if let cell::Item::List(items) = cell::item(array, row)?
                && items.null_count() == 0
                && let Some(count) = u32::try_from(items.len()).ok()
            {
                let each = items.data_type().primitive_width().unwrap_or(1);
                bounded(items.len().saturating_mul(each).saturating_add(4))?;
                let done = staging.set_heap(entry, feature, |heap| {
                    let start = heap.len();
                    heap.extend_from_slice(&count.to_le_bytes());
                    if packed(items.as_ref(), element, heap) {
                        Ok(())
                    } else {
                        heap.truncate(start);
                        Err(())
                    }
                });
                if done.is_ok() {
                    return Ok(());
                }
            }
            general_cell(
                staging,
                (array, row),
                (entry, feature),
                ValueType::List(element),
            )
        })
    }

    fn general(&mut self, array: &dyn Array, value_type: ValueType) -> Result<(), Refused> {
        let feature = self.feature;
        for (row, entry) in self.targets {
            let row = *row as usize;
            general_cell(self.staging, (array, row), (*entry, feature), value_type)
                .map_err(|misfit| (row, misfit))?;
        }
        Ok(())
    }
}

fn general_cell(
    staging: &mut Staging,
    (array, row): (&dyn Array, usize),
    (entry, feature): (u32, usize),
    value_type: ValueType,
) -> Result<(), Misfit> {
    let value = fit::value(array, row, value_type)?;
    if value.is_null() {
        return Ok(());
    }
    if let Some(slot) = value.to_slot() {
        staging.set_slot(entry, feature, slot);
        return Ok(());
    }
    staging.set_heap(entry, feature, |heap| {
        let start = heap.len();
        value
            .write_heap(value_type, heap)
            .map_err(|error| Misfit(error.to_string()))?;
        bounded(heap.len() - start)
    })
}

fn bounded(bytes: usize) -> Result<(), Misfit> {
    if bytes > Limits::ROW_BYTES_MAX {
        return Err(Misfit(format!(
            "{bytes} bytes, more than the {} a row may have",
            Limits::ROW_BYTES_MAX
        )));
    }
    Ok(())
}

/// Appends the elements of a list of the very type `element`; `false` when it is of another type.
fn packed(items: &dyn Array, element: ScalarType, heap: &mut Vec<u8>) -> bool {
    macro_rules! copy {
        ($t:ty) => {
            for value in items.as_primitive::<$t>().values() {
                heap.extend_from_slice(&value.to_le_bytes());
            }
        };
    }
    match (element, items.data_type()) {
        (ScalarType::Double, DataType::Float64) => copy!(types::Float64Type),
        (ScalarType::Float, DataType::Float32) => copy!(types::Float32Type),
        (ScalarType::Int64, DataType::Int64) => copy!(types::Int64Type),
        (ScalarType::Int32, DataType::Int32) => copy!(types::Int32Type),
        _ => return false,
    }
    true
}

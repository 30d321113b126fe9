//! Columns as the arguments of a function.

use std::borrow::Cow;

use crate::Timestamp;
use crate::bindings::galley::transform::types::{
    ArrayValues, Batch, Column, DataType, Error, Kind, ScalarValues, Values,
};

/// A type that an argument may have: one row of a column.
pub trait Arg<'a>: Sized {
    /// A column of it, ready to be read.
    type Reader;
    /// The type of the column.
    const TYPE: DataType;
    /// Whether it can hold a null.
    const NULLABLE: bool = false;

    /// Reads the first `rows` values. `None`: the column is of another type, or has fewer.
    fn reader(column: &'a Column, rows: usize) -> Option<Self::Reader>;
    /// The value of a row; a zero where there is none.
    fn read(reader: &Self::Reader, row: usize) -> Self;
}

/// A type that a column may consist of when a function works over columns.
pub trait Item<'a>: Arg<'a> + Clone {
    /// The first `rows` of the column without a copy, where it is held the same way.
    fn borrow(_column: &'a Column, _rows: usize) -> Option<&'a [Self]> {
        None
    }
}

/// A column that is being read row by row.
#[derive(Debug)]
pub struct Open<'a, T: Arg<'a>> {
    reader: T::Reader,
    validity: Option<&'a [u8]>,
}

impl<'a, T: Arg<'a>> Open<'a, T> {
    /// Whether there may be a row that [`Open::withholds`].
    #[inline]
    #[must_use]
    pub fn may_withhold(&self) -> bool {
        !T::NULLABLE && self.validity.is_some()
    }

    /// Whether the function is not called for this row, because it cannot take the null here.
    #[inline]
    #[must_use]
    pub fn withholds(&self, row: usize) -> bool {
        !T::NULLABLE && is_row_null(self.validity, row)
    }

    /// The value of the row.
    #[inline]
    #[must_use]
    pub fn get(&self, row: usize) -> T {
        T::read(&self.reader, row)
    }
}

/// Whether the bit of `row` says that there is no value.
#[inline]
#[must_use]
pub fn is_row_null(validity: Option<&[u8]>, row: usize) -> bool {
    validity.is_some_and(|bits| {
        bits.get(row / 8)
            .is_none_or(|byte| byte >> (row % 8) & 1 == 0)
    })
}

/// A batch that the host handed over. Lists that lie together are not freed one by one.
#[derive(Debug)]
pub struct Taken(Batch);

impl Taken {
    /// Takes a batch.
    #[must_use]
    pub fn new(batch: Batch) -> Self {
        Self(batch)
    }
}

impl std::ops::Deref for Taken {
    type Target = Batch;

    #[inline]
    fn deref(&self) -> &Batch {
        &self.0
    }
}

#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
impl Drop for Taken {
    fn drop(&mut self) {
        if crate::memory::are_lists_in_block() {
            // SAFETY: fewer than there are; the others own nothing.
            unsafe { self.0.columns.set_len(0) };
        }
    }
}

/// The number of rows of a batch that has `count` columns.
pub fn columns(batch: &Batch, count: usize) -> Result<usize, Error> {
    if batch.columns.len() == count {
        Ok(batch.rows as usize)
    } else {
        Err(Error::InvalidInput(format!(
            "{} columns came, the signature has {count}",
            batch.columns.len()
        )))
    }
}

/// Opens the column at `index`.
pub fn open<'a, T: Arg<'a>>(
    batch: &'a Batch,
    index: usize,
    name: &str,
) -> Result<Open<'a, T>, Error> {
    let column = batch.columns.get(index);
    let reader = column.and_then(|column| T::reader(column, batch.rows as usize));
    match (column, reader) {
        (Some(column), Some(reader)) => Ok(Open {
            reader,
            validity: column.validity.as_deref(),
        }),
        _ => Err(unfit(name, T::TYPE)),
    }
}

/// The whole column at `index`.
pub fn whole<'a, T: Item<'a>>(
    batch: &'a Batch,
    index: usize,
    name: &str,
) -> Result<Cow<'a, [T]>, Error> {
    let rows = batch.rows as usize;
    let open = open::<T>(batch, index, name)?;
    if (0..rows).any(|row| open.withholds(row)) {
        return Err(Error::InvalidInput(format!(
            "input {name} holds a null and is not declared to"
        )));
    }
    let borrowed = batch
        .columns
        .get(index)
        .and_then(|column| T::borrow(column, rows));
    match borrowed {
        Some(items) if items.len() == rows => Ok(Cow::Borrowed(items)),
        Some(_) => Err(unfit(name, T::TYPE)),
        None => Ok(Cow::Owned((0..rows).map(|row| open.get(row)).collect())),
    }
}

fn unfit(name: &str, expected: DataType) -> Error {
    Error::InvalidInput(format!("input {name} is not a column of {expected:?}"))
}

/// Where row `row` lies between `offsets`.
#[inline]
fn span(offsets: &[u32], row: usize) -> std::ops::Range<usize> {
    match (offsets.get(row), offsets.get(row + 1)) {
        (Some(&start), Some(&end)) => start as usize..end as usize,
        _ => 0..0,
    }
}

// === numbers ===

macro_rules! number {
    ($type:ty, $case:ident) => {
        impl<'a> Arg<'a> for $type {
            type Reader = &'a [$type];
            const TYPE: DataType = DataType::Scalar(Kind::$case);

            #[inline]
            fn reader(column: &'a Column, rows: usize) -> Option<Self::Reader> {
                match &column.values {
                    Values::Scalar(ScalarValues::$case(items)) => items.get(..rows),
                    _ => None,
                }
            }

            #[inline]
            fn read(reader: &Self::Reader, row: usize) -> Self {
                reader.get(row).copied().unwrap_or_default()
            }
        }

        impl<'a> Item<'a> for $type {
            fn borrow(column: &'a Column, rows: usize) -> Option<&'a [Self]> {
                Self::reader(column, rows)
            }
        }

        impl<'a> Arg<'a> for &'a [$type] {
            type Reader = (&'a [u32], &'a [$type]);
            const TYPE: DataType = DataType::Array(Kind::$case);

            fn reader(column: &'a Column, rows: usize) -> Option<Self::Reader> {
                match &column.values {
                    Values::Array(ArrayValues {
                        offsets,
                        items: ScalarValues::$case(items),
                    }) => Some((offsets.get(..=rows)?, items)),
                    _ => None,
                }
            }

            #[inline]
            fn read((offsets, items): &Self::Reader, row: usize) -> Self {
                items.get(span(offsets, row)).unwrap_or_default()
            }
        }

        impl<'a> Item<'a> for &'a [$type] {}
        owned_list!($type);
    };
}

/// `Vec<T>` where the slice of the same is an argument already.
macro_rules! owned_list {
    ($type:ty) => {
        impl<'a> Arg<'a> for Vec<$type> {
            type Reader = <&'a [$type] as Arg<'a>>::Reader;
            const TYPE: DataType = <&'a [$type] as Arg<'a>>::TYPE;

            fn reader(column: &'a Column, rows: usize) -> Option<Self::Reader> {
                <&'a [$type]>::reader(column, rows)
            }

            fn read(reader: &Self::Reader, row: usize) -> Self {
                <&'a [$type]>::read(reader, row).to_vec()
            }
        }

        impl<'a> Item<'a> for Vec<$type> {}
    };
}

number!(i32, Int32);
number!(i64, Int64);
number!(f32, Float32);
number!(f64, Float64);

/// Kinds that are held as another type than the author sees.
macro_rules! converted {
    ($type:ty, $case:ident, $held:ty, $convert:expr) => {
        impl<'a> Arg<'a> for $type {
            type Reader = &'a [$held];
            const TYPE: DataType = DataType::Scalar(Kind::$case);

            fn reader(column: &'a Column, rows: usize) -> Option<Self::Reader> {
                match &column.values {
                    Values::Scalar(ScalarValues::$case(items)) => items.get(..rows),
                    _ => None,
                }
            }

            #[inline]
            fn read(reader: &Self::Reader, row: usize) -> Self {
                $convert(reader.get(row).copied().unwrap_or_default())
            }
        }

        impl<'a> Item<'a> for $type {}

        impl<'a> Arg<'a> for Vec<$type> {
            type Reader = (&'a [u32], &'a [$held]);
            const TYPE: DataType = DataType::Array(Kind::$case);

            fn reader(column: &'a Column, rows: usize) -> Option<Self::Reader> {
                match &column.values {
                    Values::Array(ArrayValues {
                        offsets,
                        items: ScalarValues::$case(items),
                    }) => Some((offsets.get(..=rows)?, items)),
                    _ => None,
                }
            }

            fn read((offsets, items): &Self::Reader, row: usize) -> Self {
                let held = items.get(span(offsets, row)).unwrap_or_default();
                held.iter().copied().map($convert).collect()
            }
        }

        impl<'a> Item<'a> for Vec<$type> {}
    };
}

converted!(bool, Boolean, u8, |byte: u8| byte != 0);
converted!(Timestamp, TimestampMicros, i64, Timestamp::from_micros);

// === text and bytes ===

/// Text end to end, checked once as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    offsets: &'a [u32],
    text: &'a str,
}

impl<'a> Texts<'a> {
    fn new(offsets: &'a [u32], data: &'a [u8]) -> Option<Self> {
        Some(Self {
            offsets,
            text: std::str::from_utf8(data).ok()?,
        })
    }

    #[inline]
    fn get(&self, index: usize) -> &'a str {
        self.text.get(span(self.offsets, index)).unwrap_or_default()
    }
}

impl<'a> Arg<'a> for &'a str {
    type Reader = Texts<'a>;
    const TYPE: DataType = DataType::Scalar(Kind::Utf8);

    fn reader(column: &'a Column, rows: usize) -> Option<Self::Reader> {
        match &column.values {
            Values::Scalar(ScalarValues::Utf8(packed)) => {
                let offsets = packed.offsets.get(..=rows)?;
                Texts::new(offsets, &packed.data)
            }
            _ => None,
        }
    }

    #[inline]
    fn read(reader: &Self::Reader, row: usize) -> Self {
        reader.get(row)
    }
}

impl<'a> Item<'a> for &'a str {}

impl<'a> Arg<'a> for &'a [u8] {
    type Reader = (&'a [u32], &'a [u8]);
    const TYPE: DataType = DataType::Scalar(Kind::Binary);

    fn reader(column: &'a Column, rows: usize) -> Option<Self::Reader> {
        match &column.values {
            Values::Scalar(ScalarValues::Binary(packed)) => {
                Some((packed.offsets.get(..=rows)?, &packed.data))
            }
            _ => None,
        }
    }

    #[inline]
    fn read((offsets, data): &Self::Reader, row: usize) -> Self {
        data.get(span(offsets, row)).unwrap_or_default()
    }
}

impl<'a> Item<'a> for &'a [u8] {}
owned_list!(u8);

impl<'a> Arg<'a> for Vec<&'a str> {
    type Reader = (&'a [u32], Texts<'a>);
    const TYPE: DataType = DataType::Array(Kind::Utf8);

    fn reader(column: &'a Column, rows: usize) -> Option<Self::Reader> {
        match &column.values {
            Values::Array(ArrayValues {
                offsets,
                items: ScalarValues::Utf8(packed),
            }) => {
                let texts = Texts::new(&packed.offsets, &packed.data)?;
                Some((offsets.get(..=rows)?, texts))
            }
            _ => None,
        }
    }

    fn read((offsets, texts): &Self::Reader, row: usize) -> Self {
        span(offsets, row).map(|index| texts.get(index)).collect()
    }
}

impl<'a> Item<'a> for Vec<&'a str> {}

/// Owned text where the borrowed form is an argument already.
macro_rules! owned_text {
    ($type:ty, $borrowed:ty, $convert:expr) => {
        impl<'a> Arg<'a> for $type {
            type Reader = <$borrowed as Arg<'a>>::Reader;
            const TYPE: DataType = <$borrowed as Arg<'a>>::TYPE;

            fn reader(column: &'a Column, rows: usize) -> Option<Self::Reader> {
                <$borrowed as Arg<'a>>::reader(column, rows)
            }

            fn read(reader: &Self::Reader, row: usize) -> Self {
                $convert(<$borrowed as Arg<'a>>::read(reader, row))
            }
        }

        impl<'a> Item<'a> for $type {}
    };
}

owned_text!(String, &'a str, str::to_owned);
owned_text!(Vec<String>, Vec<&'a str>, |texts: Vec<&str>| {
    texts.into_iter().map(str::to_owned).collect()
});

// === nulls ===

impl<'a, T: Arg<'a>> Arg<'a> for Option<T> {
    type Reader = (T::Reader, Option<&'a [u8]>);
    const TYPE: DataType = T::TYPE;
    const NULLABLE: bool = true;

    fn reader(column: &'a Column, rows: usize) -> Option<Self::Reader> {
        Some((T::reader(column, rows)?, column.validity.as_deref()))
    }

    #[inline]
    fn read((reader, validity): &Self::Reader, row: usize) -> Self {
        (!is_row_null(*validity, row)).then(|| T::read(reader, row))
    }
}

impl<'a, T: Item<'a>> Item<'a> for Option<T> {}

//! What a function returns, as columns.

use crate::Timestamp;
use crate::bindings::galley::transform::types::{
    ArrayValues, Batch, Column, DataType, Error, Field, Kind, Packed, Rejection, ScalarValues,
    Values,
};

/// A type that one output may have.
pub trait Value: Sized {
    /// How a column of it is gathered.
    type Store;
    /// The type of the column.
    const TYPE: DataType;
    /// Whether it can be a null.
    const NULLABLE: bool = false;

    /// Room for `rows` rows, which are then stored or skipped from the first to the last.
    fn room(rows: usize) -> Self::Store;
    /// Puts the value at `row`; `false` when it is a null, for which something else is put there.
    fn store(self, store: &mut Self::Store, row: usize) -> bool;
    /// Puts there what stands in the place of a null.
    fn skip(store: &mut Self::Store, row: usize);
    /// The gathered values.
    fn values(store: Self::Store) -> Values;
}

/// Gathers the column of one output.
#[derive(Debug)]
pub struct Builder<V: Value> {
    store: V::Store,
    nulls: Nulls,
}

/// Which rows are null.
#[derive(Debug)]
struct Nulls {
    rows: usize,
    /// There from the first null on.
    validity: Option<Vec<u8>>,
}

impl Nulls {
    #[cold]
    fn mark(&mut self, row: usize) {
        let rows = self.rows;
        let bits = self
            .validity
            .get_or_insert_with(|| vec![0xff; rows.div_ceil(8)]);
        if let Some(byte) = bits.get_mut(row / 8) {
            *byte &= !(1 << (row % 8));
        }
    }
}

impl<V: Value> Builder<V> {
    /// Room for `rows` rows.
    #[inline]
    #[must_use]
    pub fn new(rows: usize) -> Self {
        Self {
            store: V::room(rows),
            nulls: Nulls {
                rows,
                validity: None,
            },
        }
    }

    /// Sets row `row`; rows come in their order.
    #[inline]
    pub fn set(&mut self, row: usize, value: V) {
        if !value.store(&mut self.store, row) {
            self.nulls.mark(row);
        }
    }

    /// Makes row `row` a null; rows come in their order.
    pub fn set_null(&mut self, row: usize) {
        V::skip(&mut self.store, row);
        self.nulls.mark(row);
    }

    /// The column.
    #[must_use]
    pub fn finish(self) -> Column {
        Column {
            values: V::values(self.store),
            validity: self.nulls.validity,
        }
    }
}

/// What a function may return for one row: a [`Value`], a tuple of them, or a struct with
/// `#[derive(Outputs)]`.
pub trait Outputs: Sized {
    /// The columns while they are gathered.
    type Columns;

    /// The outputs, called `names` where they have no names of their own. `nulls`: rows may be
    /// left out by the macro's code.
    fn fields(names: &[&str], nulls: bool) -> Vec<Field>;
    /// Room for `rows` rows.
    fn room(rows: usize) -> Self::Columns;
    /// Writes row `row`; rows come in their order.
    fn write_row(self, columns: &mut Self::Columns, row: usize);
    /// Writes a row of nulls.
    fn write_nulls(columns: &mut Self::Columns, row: usize);
    /// The columns.
    fn close(columns: Self::Columns) -> Vec<Column>;
}

/// What a function over columns may return: a vector of [`Outputs`], or a tuple of vectors of
/// [`Value`]s.
pub trait Columns: Sized {
    /// The outputs; see [`Outputs::fields`].
    fn fields(names: &[&str], nulls: bool) -> Vec<Field>;
    /// The columns; an error names the output that has not `rows` values.
    fn finish(self, rows: usize) -> Result<Vec<Column>, Error>;
}

/// One output of the signature.
#[must_use]
pub fn field<V: Value>(name: &str, nulls: bool) -> Field {
    Field {
        name: name.to_owned(),
        data_type: V::TYPE,
        nullable: nulls || V::NULLABLE,
    }
}

/// The answer of a transformation.
pub fn batch(rows: usize, columns: Vec<Column>) -> Result<Batch, Error> {
    let rows = u32::try_from(rows).map_err(|_| Error::Internal("too many rows".to_owned()))?;
    Ok(Batch { rows, columns })
}

/// Closes the gathered columns.
#[must_use]
pub fn finish<O: Outputs>(columns: O::Columns) -> Vec<Column> {
    O::close(columns)
}

/// The author's function refused the data.
#[must_use]
pub fn rejected(row: Option<usize>, message: &dyn std::fmt::Display) -> Error {
    Error::Rejected(Rejection {
        row: row.and_then(|row| u32::try_from(row).ok()),
        message: message.to_string(),
    })
}

fn wrong_length(output: usize, values: usize, rows: usize) -> Error {
    Error::Internal(format!(
        "output {output} (counted from 0) has {values} values for {rows} rows"
    ))
}

// === impl Outputs, Columns ===

impl<V: Value> Outputs for V {
    type Columns = Builder<V>;

    fn fields(names: &[&str], nulls: bool) -> Vec<Field> {
        names
            .iter()
            .take(1)
            .map(|name| field::<V>(name, nulls))
            .collect()
    }

    fn room(rows: usize) -> Self::Columns {
        Builder::new(rows)
    }

    #[inline]
    fn write_row(self, columns: &mut Self::Columns, row: usize) {
        columns.set(row, self);
    }

    fn write_nulls(columns: &mut Self::Columns, row: usize) {
        columns.set_null(row);
    }

    fn close(columns: Self::Columns) -> Vec<Column> {
        vec![columns.finish()]
    }
}

impl<O: Outputs> Columns for Vec<O> {
    fn fields(names: &[&str], nulls: bool) -> Vec<Field> {
        O::fields(names, nulls)
    }

    fn finish(self, rows: usize) -> Result<Vec<Column>, Error> {
        if self.len() != rows {
            return Err(wrong_length(0, self.len(), rows));
        }
        let mut columns = O::room(rows);
        for (row, value) in self.into_iter().enumerate() {
            value.write_row(&mut columns, row);
        }
        Ok(O::close(columns))
    }
}

macro_rules! tuples {
    ($(($($type:ident $position:tt),+))+) => {$(
        impl<$($type: Value),+> Outputs for ($($type,)+) {
            type Columns = ($(Builder<$type>,)+);

            fn fields(names: &[&str], nulls: bool) -> Vec<Field> {
                let mut names = names.iter();
                let mut fields = Vec::new();
                $(fields.extend(names.next().map(|name| field::<$type>(name, nulls)));)+
                fields
            }

            fn room(rows: usize) -> Self::Columns {
                ($(Builder::<$type>::new(rows),)+)
            }

            #[inline]
            fn write_row(self, columns: &mut Self::Columns, row: usize) {
                $(columns.$position.set(row, self.$position);)+
            }

            fn write_nulls(columns: &mut Self::Columns, row: usize) {
                $(columns.$position.set_null(row);)+
            }

            fn close(columns: Self::Columns) -> Vec<Column> {
                vec![$(columns.$position.finish()),+]
            }
        }

        impl<$($type: Value),+> Columns for ($(Vec<$type>,)+) {
            fn fields(names: &[&str], nulls: bool) -> Vec<Field> {
                <($($type,)+) as Outputs>::fields(names, nulls)
            }

            fn finish(self, rows: usize) -> Result<Vec<Column>, Error> {
                let mut columns = Vec::new();
                $(
                    if self.$position.len() != rows {
                        return Err(wrong_length($position, self.$position.len(), rows));
                    }
                    let mut builder = Builder::<$type>::new(rows);
                    for (row, value) in self.$position.into_iter().enumerate() {
                        builder.set(row, value);
                    }
                    columns.push(builder.finish());
                )+
                Ok(columns)
            }
        }
    )+};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

// === impl Value ===

/// A kind that is held as `$held`.
macro_rules! plain {
    ($type:ty, $case:ident, $held:ty, $convert:expr) => {
        impl Value for $type {
            type Store = Vec<$held>;
            const TYPE: DataType = DataType::Scalar(Kind::$case);

            fn room(rows: usize) -> Self::Store {
                vec![<$held>::default(); rows]
            }

            #[inline]
            fn store(self, store: &mut Self::Store, row: usize) -> bool {
                if let Some(place) = store.get_mut(row) {
                    *place = $convert(self);
                }
                true
            }

            fn skip(_store: &mut Self::Store, _row: usize) {}

            fn values(store: Self::Store) -> Values {
                Values::Scalar(ScalarValues::$case(store))
            }
        }

        impl Value for Vec<$type> {
            type Store = Lists<Vec<$held>>;
            const TYPE: DataType = DataType::Array(Kind::$case);

            fn room(rows: usize) -> Self::Store {
                Lists::new(rows, Vec::new())
            }

            fn store(self, store: &mut Self::Store, _row: usize) -> bool {
                store.items.extend(self.into_iter().map($convert));
                store.close(store.items.len());
                true
            }

            fn skip(store: &mut Self::Store, _row: usize) {
                store.close(store.items.len());
            }

            fn values(store: Self::Store) -> Values {
                store.values(ScalarValues::$case)
            }
        }
    };
}

plain!(i32, Int32, i32, |value: i32| value);
plain!(i64, Int64, i64, |value: i64| value);
plain!(f32, Float32, f32, |value: f32| value);
plain!(f64, Float64, f64, |value: f64| value);
plain!(bool, Boolean, u8, u8::from);
plain!(Timestamp, TimestampMicros, i64, Timestamp::micros);

/// Lists of `I`'s items.
#[derive(Debug)]
pub struct Lists<I> {
    offsets: Vec<u32>,
    items: I,
}

impl<I> Lists<I> {
    fn new(rows: usize, items: I) -> Self {
        Self {
            offsets: offsets(rows),
            items,
        }
    }

    /// Ends the list of a row at item `end`.
    fn close(&mut self, end: usize) {
        self.offsets.push(as_offset(end));
    }

    fn values(self, case: impl FnOnce(I) -> ScalarValues) -> Values {
        Values::Array(ArrayValues {
            offsets: self.offsets,
            items: case(self.items),
        })
    }
}

/// The first of the offsets of `count` values, with room for the others.
fn offsets(count: usize) -> Vec<u32> {
    let mut offsets = Vec::with_capacity(count + 1);
    offsets.push(0);
    offsets
}

/// wasm32 has no longer buffers.
fn as_offset(end: usize) -> u32 {
    u32::try_from(end).unwrap_or(u32::MAX)
}

/// Texts or bytes, end to end.
#[derive(Debug)]
pub struct Pack {
    offsets: Vec<u32>,
    data: Vec<u8>,
}

impl Pack {
    fn new(values: usize) -> Self {
        Self {
            offsets: offsets(values),
            data: Vec::new(),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
        self.offsets.push(as_offset(self.data.len()));
    }

    fn packed(self) -> Packed {
        Packed {
            offsets: self.offsets,
            data: self.data,
        }
    }
}

macro_rules! packed {
    ($($type:ty, $case:ident, $bytes:expr);+) => {$(
        impl Value for $type {
            type Store = Pack;
            const TYPE: DataType = DataType::Scalar(Kind::$case);

            fn room(rows: usize) -> Self::Store {
                Pack::new(rows)
            }

            fn store(self, store: &mut Self::Store, _row: usize) -> bool {
                store.push($bytes(&self));
                true
            }

            fn skip(store: &mut Self::Store, _row: usize) {
                store.push(&[]);
            }

            fn values(store: Self::Store) -> Values {
                Values::Scalar(ScalarValues::$case(store.packed()))
            }
        }

        impl Value for Vec<$type> {
            type Store = Lists<Pack>;
            const TYPE: DataType = DataType::Array(Kind::$case);

            fn room(rows: usize) -> Self::Store {
                Lists::new(rows, Pack::new(0))
            }

            fn store(self, store: &mut Self::Store, _row: usize) -> bool {
                for text in &self {
                    store.items.push($bytes(text));
                }
                store.close(store.items.offsets.len() - 1);
                true
            }

            fn skip(store: &mut Self::Store, _row: usize) {
                store.close(store.items.offsets.len() - 1);
            }

            fn values(store: Self::Store) -> Values {
                store.values(|items| ScalarValues::$case(items.packed()))
            }
        }
    )+};
}

packed! {
    String, Utf8, String::as_bytes;
    &'static str, Utf8, |text: &&'static str| text.as_bytes();
    Vec<u8>, Binary, Vec::as_slice
}

impl<V: Value> Value for Option<V> {
    type Store = V::Store;
    const TYPE: DataType = V::TYPE;
    const NULLABLE: bool = true;

    fn room(rows: usize) -> Self::Store {
        V::room(rows)
    }

    #[inline]
    fn store(self, store: &mut Self::Store, row: usize) -> bool {
        match self {
            Some(value) => value.store(store, row),
            None => {
                V::skip(store, row);
                false
            }
        }
    }

    fn skip(store: &mut Self::Store, row: usize) {
        V::skip(store, row);
    }

    fn values(store: Self::Store) -> Values {
        V::values(store)
    }
}

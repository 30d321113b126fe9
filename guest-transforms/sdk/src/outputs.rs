//! What a function returns, as columns.

use crate::Timestamp;
use crate::bindings::galley::transform::types::{
    ArrayValues, Batch, Column, DataType, Error, Field, Kind, Packed, Rejection, ScalarValues,
    Values,
};

/// A type that one output may have.
pub trait Value: Sized {
    /// How a column of it is gathered.
    type Store: Default;
    /// The type of the column.
    const TYPE: DataType;
    /// Whether it can be a null.
    const NULLABLE: bool = false;

    /// Adds the value; `false` when it is a null, in whose place something was put.
    fn store(self, store: &mut Self::Store) -> bool;
    /// Adds what stands in the place of a null.
    fn skip(store: &mut Self::Store);
    /// The gathered values.
    fn values(store: Self::Store) -> Values;
}

/// Gathers the column of one output.
#[derive(Debug)]
pub struct Builder<V: Value> {
    store: V::Store,
    /// Written from the first null on.
    validity: Option<Vec<u8>>,
    rows: usize,
}

impl<V: Value> Default for Builder<V> {
    fn default() -> Self {
        Self {
            store: V::Store::default(),
            validity: None,
            rows: 0,
        }
    }
}

impl<V: Value> Builder<V> {
    /// Adds a row.
    #[inline]
    pub fn push(&mut self, value: V) {
        let present = value.store(&mut self.store);
        self.mark(present);
    }

    /// Adds a null.
    pub fn push_null(&mut self) {
        V::skip(&mut self.store);
        self.mark(false);
    }

    #[inline]
    fn mark(&mut self, present: bool) {
        let row = self.rows;
        self.rows += 1;
        if present && self.validity.is_none() {
            return;
        }
        let bits = self
            .validity
            .get_or_insert_with(|| vec![0xff; row.div_ceil(8)]);
        if bits.len() <= row / 8 {
            bits.push(0);
        }
        if let Some(byte) = bits.get_mut(row / 8) {
            let bit = 1 << (row % 8);
            *byte = if present { *byte | bit } else { *byte & !bit };
        }
    }

    /// The column.
    #[must_use]
    pub fn finish(self) -> Column {
        Column {
            values: V::values(self.store),
            validity: self.validity,
        }
    }
}

/// What a function may return for one row: a [`Value`], a tuple of them, or a struct with
/// `#[derive(Outputs)]`.
pub trait Outputs: Sized {
    /// The columns while they are gathered.
    type Columns: Default;

    /// The outputs, called `names` where they have no names of their own. `nulls`: rows may be
    /// left out by the macro's code.
    fn fields(names: &[&str], nulls: bool) -> Vec<Field>;
    /// Adds a row.
    fn write_row(self, columns: &mut Self::Columns);
    /// Adds a row of nulls.
    fn write_nulls(columns: &mut Self::Columns);
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

    #[inline]
    fn write_row(self, columns: &mut Self::Columns) {
        columns.push(self);
    }

    fn write_nulls(columns: &mut Self::Columns) {
        columns.push_null();
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
        let mut columns = O::Columns::default();
        for row in self {
            row.write_row(&mut columns);
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

            #[inline]
            fn write_row(self, columns: &mut Self::Columns) {
                $(columns.$position.push(self.$position);)+
            }

            fn write_nulls(columns: &mut Self::Columns) {
                $(columns.$position.push_null();)+
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
                    let mut builder = Builder::<$type>::default();
                    for value in self.$position {
                        builder.push(value);
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

            #[inline]
            fn store(self, store: &mut Self::Store) -> bool {
                store.push($convert(self));
                true
            }

            fn skip(store: &mut Self::Store) {
                store.push(<$held>::default());
            }

            fn values(store: Self::Store) -> Values {
                Values::Scalar(ScalarValues::$case(store))
            }
        }

        impl Value for Vec<$type> {
            type Store = Lists<Vec<$held>>;
            const TYPE: DataType = DataType::Array(Kind::$case);

            fn store(self, store: &mut Self::Store) -> bool {
                store.items.extend(self.into_iter().map($convert));
                store.close(store.items.len());
                true
            }

            fn skip(store: &mut Self::Store) {
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

impl<I: Default> Default for Lists<I> {
    fn default() -> Self {
        Self {
            offsets: vec![0],
            items: I::default(),
        }
    }
}

impl<I> Lists<I> {
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

impl Default for Pack {
    fn default() -> Self {
        Self {
            offsets: vec![0],
            data: Vec::new(),
        }
    }
}

impl Pack {
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

            fn store(self, store: &mut Self::Store) -> bool {
                store.push($bytes(&self));
                true
            }

            fn skip(store: &mut Self::Store) {
                store.push(&[]);
            }

            fn values(store: Self::Store) -> Values {
                Values::Scalar(ScalarValues::$case(store.packed()))
            }
        }

        impl Value for Vec<$type> {
            type Store = Lists<Pack>;
            const TYPE: DataType = DataType::Array(Kind::$case);

            fn store(self, store: &mut Self::Store) -> bool {
                for text in &self {
                    store.items.push($bytes(text));
                }
                store.close(store.items.offsets.len() - 1);
                true
            }

            fn skip(store: &mut Self::Store) {
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

    #[inline]
    fn store(self, store: &mut Self::Store) -> bool {
        match self {
            Some(value) => value.store(store),
            None => {
                V::skip(store);
                false
            }
        }
    }

    fn skip(store: &mut Self::Store) {
        V::skip(store);
    }

    fn values(store: Self::Store) -> Values {
        V::values(store)
    }
}

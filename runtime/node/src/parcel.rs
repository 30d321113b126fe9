//! What an entry of the outbox holds: rows with all that is needed to read them later.
//!
//! A view may look different by the time its rows leave, so that they bring their columns along.
//!
//! ```text
//! offset  size  field
//! 0       1     version, 1
//! 1       2     number of columns, little-endian as all that follows
//! then for each column
//!         1     role: 0 join key, 1 event time, 2 created time, 3 feature, 4 day of the event time
//!         2     position: of the join key in the entity key, of the feature in the row
//!         4     Feast's number of the type
//!         2     bytes of the name
//!         n     the name
//! then    rest  keys and rows, as a batch of the store keeps them
//! ```

use galley_store::{Row, RowBatch};
use galley_types::{Cell, EntityKey, EventTime, KeyType, ScalarType, Value, ValueType};

use crate::{Error, Result};

const VERSION: u8 = 1;

/// Where a column's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParcelRole {
    /// In the entity key, at this position.
    Key(u16),
    /// The row's event time.
    EventTime,
    /// The row's created time.
    Created,
    /// The day of the row's event time, in UTC.
    Date,
    /// In the row, at this position.
    Feature(u16),
}

/// A column of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParcelColumn {
    /// Its name at the centre.
    pub name: String,
    /// Where its values are.
    pub role: ParcelRole,
    /// What they are.
    pub value_type: ValueType,
}

/// Rows on their way to the centre.
#[derive(Clone, Debug)]
pub struct Parcel<'a> {
    columns: Vec<ParcelColumn>,
    key_types: Vec<KeyType>,
    rows: &'a [u8],
}

/// One row of a parcel.
#[derive(Clone, Debug)]
pub struct ParcelRow<'a> {
    keys: Vec<Value>,
    row: Row<'a>,
}

// === impl ParcelRole ===

impl ParcelRole {
    fn code(self) -> (u8, u16) {
        match self {
            Self::Key(position) => (0, position),
            Self::EventTime => (1, 0),
            Self::Created => (2, 0),
            Self::Feature(position) => (3, position),
            Self::Date => (4, 0),
        }
    }

    fn from_code(code: u8, position: u16) -> Option<Self> {
        match code {
            0 => Some(Self::Key(position)),
            1 => Some(Self::EventTime),
            2 => Some(Self::Created),
            3 => Some(Self::Feature(position)),
            4 => Some(Self::Date),
            _ => None,
        }
    }
}

// === impl ParcelColumn ===

impl ParcelColumn {
    pub(crate) fn new(name: &str, role: ParcelRole, value_type: ValueType) -> Self {
        Self {
            name: name.to_owned(),
            role,
            value_type,
        }
    }

    /// A column of times.
    pub(crate) fn time(name: &str, role: ParcelRole) -> Self {
        Self::new(name, role, ValueType::Scalar(ScalarType::UnixTimestamp))
    }
}

/// A position within a row or a key: schemas and keys are bounded far below.
pub(crate) fn position(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// The bytes of a parcel.
pub(crate) fn seal(columns: &[ParcelColumn], rows: &[u8]) -> Vec<u8> {
    let names: usize = columns.iter().map(|column| column.name.len() + 9).sum();
    let mut out = Vec::with_capacity(3 + names + rows.len());
    out.push(VERSION);
    out.extend_from_slice(&position(columns.len()).to_le_bytes());
    for column in columns {
        let (role, place) = column.role.code();
        out.push(role);
        out.extend_from_slice(&place.to_le_bytes());
        out.extend_from_slice(&column.value_type.feast().to_le_bytes());
        out.extend_from_slice(&position(column.name.len()).to_le_bytes());
        out.extend_from_slice(column.name.as_bytes());
    }
    out.extend_from_slice(rows);
    out
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<[u8; N]> {
    let (head, rest): (&'a [u8; N], _) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn column(bytes: &mut &[u8]) -> Option<ParcelColumn> {
    let [role] = take(bytes)?;
    let place = u16::from_le_bytes(take(bytes)?);
    let value_type = ValueType::from_feast(i32::from_le_bytes(take(bytes)?))?;
    let length = u16::from_le_bytes(take(bytes)?);
    let (name, rest) = bytes.split_at_checked(usize::from(length))?;
    *bytes = rest;
    Some(ParcelColumn {
        name: std::str::from_utf8(name).ok()?.to_owned(),
        role: ParcelRole::from_code(role, place)?,
        value_type,
    })
}

// === impl Parcel ===

impl<'a> Parcel<'a> {
    /// Reads the payload of an outbox entry; `None` when it is none.
    #[must_use]
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        let [version] = take(&mut rest)?;
        if version != VERSION {
            return None;
        }
        let count = u16::from_le_bytes(take(&mut rest)?);
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(column(&mut rest)?);
        }
        let mut key_types = Vec::new();
        for key in &columns {
            if let ParcelRole::Key(place) = key.role {
                // Keys are listed in the order in which they were encoded.
                if usize::from(place) != key_types.len() {
                    return None;
                }
                key_types.push(KeyType::from_value_type(key.value_type)?);
            }
        }
        Some(Self {
            columns,
            key_types,
            rows: rest,
        })
    }

    /// The columns, in the order in which they are sent.
    #[must_use]
    pub fn columns(&self) -> &[ParcelColumn] {
        &self.columns
    }

    /// The rows, in the order in which they were pushed.
    pub fn rows(&self) -> impl Iterator<Item = Result<ParcelRow<'a>>> + use<'a, '_> {
        RowBatch::rows_in(self.rows).map(|(key, row)| {
            let keys = EntityKey::decode(&self.key_types, key).map_err(|_error| malformed())?;
            let row = Row::parse(row)?;
            Ok(ParcelRow { keys, row })
        })
    }
}

#[cold]
fn malformed() -> Error {
    Error::Store(galley_store::Error::MalformedRow {
        what: "entity key of an outbox entry",
    })
}

// === impl ParcelRow ===

impl ParcelRow<'_> {
    /// The value of a column in this row.
    ///
    /// # Errors
    /// [`Error::Store`] when the stored value does not decode.
    pub fn cell(&self, column: &ParcelColumn) -> Result<Cell<'_>> {
        let time = |time: EventTime| Cell::UnixTimestamp(time.0);
        Ok(match column.role {
            ParcelRole::EventTime | ParcelRole::Date => time(self.row.event_time()),
            ParcelRole::Created => self.row.created().map_or(Cell::Null, time),
            ParcelRole::Feature(slot) => self.row.cell(usize::from(slot), column.value_type)?,
            ParcelRole::Key(place) => match self.keys.get(usize::from(place)) {
                Some(Value::Int64(value)) => Cell::Int64(*value),
                Some(Value::Int32(value)) => Cell::Int32(*value),
                Some(Value::Text(text)) => Cell::Text(text),
                Some(Value::Bytes(bytes)) => Cell::Bytes(bytes),
                Some(Value::UnixTimestamp(micros)) => Cell::UnixTimestamp(*micros),
                _ => Cell::Null,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use galley_store::{RowWriter, SchemaId, TableId};
    use galley_types::{Field, KeyValue, RowSchema};

    use super::*;

    fn columns() -> Vec<ParcelColumn> {
        vec![
            ParcelColumn::new(
                "driver_id",
                ParcelRole::Key(0),
                ValueType::Scalar(ScalarType::Int64),
            ),
            ParcelColumn::new(
                "rate",
                ParcelRole::Feature(0),
                ValueType::Scalar(ScalarType::Double),
            ),
            ParcelColumn::time("ts", ParcelRole::EventTime),
            ParcelColumn::time("created", ParcelRole::Created),
        ]
    }

    fn parcel() -> Vec<u8> {
        let schema = RowSchema {
            fields: vec![Field {
                name: "rate".to_owned(),
                value_type: ValueType::Scalar(ScalarType::Double),
            }],
        };
        let mut writer = RowWriter::new(&schema, SchemaId(0));
        let mut batch = RowBatch::new(TableId(0));
        let mut key = EntityKey::new();
        key.push(KeyValue::Int64(-7), true).unwrap();
        writer.begin(EventTime(5), None);
        writer.set(0, &Value::Double(0.5)).unwrap();
        batch.push(key.as_bytes(), &mut writer).unwrap();
        seal(&columns(), batch.as_bytes())
    }

    #[test]
    fn a_parcel_brings_its_columns_and_rows_along() {
        let bytes = parcel();
        let parcel = Parcel::open(&bytes).unwrap();
        assert_eq!(parcel.columns(), columns());
        let rows: Vec<_> = parcel.rows().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 1);
        let cells: Vec<_> = parcel
            .columns()
            .iter()
            .map(|column| rows[0].cell(column).unwrap())
            .collect();
        let expect = [
            Cell::Int64(-7),
            Cell::Double(0.5),
            Cell::UnixTimestamp(5),
            Cell::Null,
        ];
        assert_eq!(cells, expect);
    }

    #[test]
    fn bytes_cut_anywhere_are_refused_or_have_fewer_rows() {
        let bytes = parcel();
        for end in 0..bytes.len() {
            if let Some(parcel) = Parcel::open(&bytes[..end]) {
                assert_eq!(parcel.rows().filter(Result::is_ok).count(), 0, "{end}");
            }
        }
        let mut other = bytes;
        other[0] = 2;
        assert!(Parcel::open(&other).is_none());
    }
}

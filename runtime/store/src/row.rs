//! The row format: how the features of one entity lie in bytes.
//!
//! ```text
//! offset   size     field
//! 0        1        version, 1
//! 1        1        flags: bit 0 = a created time follows the event time,
//!                   bit 1 = the row came with a release; the others are 0
//! 2        2        schema id, u16 LE
//! 4        4        CRC-32C, u32 LE, over table id (u32 LE), key length (u32 LE), key,
//!                   and the row without these 4 bytes
//! 8        8        event time, i64 LE, microseconds since the epoch
//! 16       8        created time, i64 LE, microseconds; only with flag bit 0
//! h        2        n, the number of slots, u16 LE            (h = 16 or 24)
//! h+2      ceil(n/8) validity bitmap, bit i of byte i/8 (least significant first): 1 = a value
//! s        8 * n    slots in schema order                     (s = h + 2 + ceil(n/8))
//! s + 8n   rest     heap
//! ```
//! A fixed-width value lies in its slot, little-endian (booleans 0 or 1, 32-bit integers widened
//! with their sign, singles in the low 4 bytes). The slot of any other value holds the offset of
//! its bytes in the heap and their length, each u32 LE. The slot of a null is zero. Every feature is
//! found in constant time without reading the others.

use galley_types::{Cell, EventTime, Limits, RowSchema, ScalarType, Value, ValueType};

use crate::{Error, Result, SchemaId, TableId};

const VERSION: u8 = 1;
const HAS_CREATED: u8 = 1;
const OF_RELEASE: u8 = 2;
const CRC_AT: usize = 4;
const HEAD: usize = 16;

/// One row, borrowed; reading it never copies.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    event_time: EventTime,
    created: Option<EventTime>,
    of_release: bool,
    schema: SchemaId,
    validity: &'a [u8],
    slots: &'a [u8],
    heap: &'a [u8],
}

/// What decides between two rows of one key: the greater one stays, of equals the later arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age {
    event_time: i64,
    created: i64,
}

impl Age {
    /// Microseconds since the epoch.
    pub(crate) fn event_time(self) -> i64 {
        self.event_time
    }
}

/// Builds rows of one schema, reusing its buffers from row to row.
#[derive(Clone, Debug)]
pub struct RowWriter {
    schema: SchemaId,
    types: Vec<ValueType>,
    of_release: bool,
    event_time: EventTime,
    created: Option<EventTime>,
    validity: Vec<u8>,
    slots: Vec<u8>,
    heap: Vec<u8>,
}

// === impl Row ===

impl<'a> Row<'a> {
    /// Reads the header: constant time, whatever the number of features. The checksum is not
    /// verified here; rows that come from a [`Snapshot`](crate::Snapshot) have passed it.
    ///
    /// # Errors
    /// [`Error::MalformedRow`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let (head, rest) = bytes
            .split_first_chunk::<HEAD>()
            .ok_or_else(|| malformed("shorter than its header"))?;
        let [version, flags, s0, s1, _, _, _, _, time @ ..] = *head;
        if version != VERSION {
            return Err(malformed("unknown version"));
        }
        let (created, rest) = match flags & !OF_RELEASE {
            0 => (None, rest),
            HAS_CREATED => {
                let (created, rest) = rest
                    .split_first_chunk::<8>()
                    .ok_or_else(|| malformed("shorter than its header"))?;
                (Some(EventTime(i64::from_le_bytes(*created))), rest)
            }
            _ => return Err(malformed("unknown flags")),
        };
        let (count, rest) = rest
            .split_first_chunk::<2>()
            .ok_or_else(|| malformed("shorter than its header"))?;
        let count = usize::from(u16::from_le_bytes(*count));
        let (validity, rest) = rest
            .split_at_checked(count.div_ceil(8))
            .ok_or_else(|| malformed("shorter than its validity bitmap"))?;
        let (slots, heap) = rest
            .split_at_checked(count * 8)
            .ok_or_else(|| malformed("shorter than its slots"))?;
        Ok(Self {
            event_time: EventTime(i64::from_le_bytes(time)),
            created,
            of_release: flags & OF_RELEASE != 0,
            schema: SchemaId(u16::from_le_bytes([s0, s1])),
            validity,
            slots,
            heap,
        })
    }

    /// When what the row says was so.
    #[inline]
    #[must_use]
    pub fn event_time(&self) -> EventTime {
        self.event_time
    }

    /// When the row was made at its source, if that is known.
    #[inline]
    #[must_use]
    pub fn created(&self) -> Option<EventTime> {
        self.created
    }

    /// The schema the row was written with.
    #[inline]
    #[must_use]
    pub fn schema(&self) -> SchemaId {
        self.schema
    }

    /// The number of slots.
    #[must_use]
    pub fn slot_count(&self) -> usize {
        self.slots.len() / 8
    }

    /// Whether the value at position `slot` of the row's schema is null or not there at all.
    #[inline]
    #[must_use]
    pub fn is_null(&self, slot: usize) -> bool {
        self.validity
            .get(slot / 8)
            .is_none_or(|byte| byte & (1 << (slot % 8)) == 0)
    }

    /// The value at position `slot` of the row's schema, which says that it is a `value_type`;
    /// [`Cell::Null`] when it is null. Constant time.
    ///
    /// # Errors
    /// [`Error::MalformedRow`] when the row has no such slot or the value does not decode.
    #[inline]
    pub fn cell(&self, slot: usize, value_type: ValueType) -> Result<Cell<'a>> {
        let start = slot.saturating_mul(8);
        let bytes = self
            .slots
            .get(start..start.saturating_add(8))
            .and_then(|bytes| bytes.first_chunk::<8>())
            .ok_or_else(|| malformed("no such slot"))?;
        if self.is_null(slot) {
            return Ok(Cell::Null);
        }
        match value_type.fixed() {
            Some(scalar) => Ok(Cell::from_slot(scalar, *bytes)),
            None => self.heap_cell(*bytes, value_type),
        }
    }

    /// The bits of the fixed-width value at position `slot`; `None` when it is null or not there.
    /// The way of tight loops: nothing but the bits goes through memory.
    #[inline]
    #[must_use]
    pub fn bits(&self, slot: usize) -> Option<u64> {
        if self.is_null(slot) {
            return None;
        }
        let start = slot.checked_mul(8)?;
        let bytes = self.slots.get(start..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*bytes))
    }

    fn heap_cell(&self, slot: [u8; 8], value_type: ValueType) -> Result<Cell<'a>> {
        let [o0, o1, o2, o3, l0, l1, l2, l3] = slot;
        let offset = u32::from_le_bytes([o0, o1, o2, o3]) as usize;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let bytes = self
            .heap
            .get(offset..offset.saturating_add(length))
            .ok_or_else(|| malformed("a value lies outside the heap"))?;
        Cell::from_heap(value_type, bytes)
            .map_err(|_error| malformed("a value does not decode as its type"))
    }

    /// Whether the row came with a release.
    pub(crate) fn is_of_release(&self) -> bool {
        self.of_release
    }

    pub(crate) fn age(&self) -> Age {
        Age {
            event_time: self.event_time.0,
            created: self.created.map_or(i64::MIN, |created| created.0),
        }
    }
}

// === checksum ===

fn checksum(table: TableId, key: &[u8], before: &[u8], after: &[u8]) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "keys are bounded to 4 KiB")]
    let length = (key.len() as u32).to_le_bytes();
    let [t0, t1, t2, t3] = table.0.to_le_bytes();
    let [l0, l1, l2, l3] = length;
    let crc = crc32c::crc32c(&[t0, t1, t2, t3, l0, l1, l2, l3]);
    let crc = crc32c::crc32c_append(crc, key);
    crc32c::crc32c_append(crc32c::crc32c_append(crc, before), after)
}

/// The row under `key`, once its checksum has proved that it is the one that was written there.
pub(crate) fn verify<'a>(table: TableId, key: &[u8], bytes: &'a [u8]) -> Option<Row<'a>> {
    let (before, rest) = bytes.split_at_checked(CRC_AT)?;
    let (crc, after) = rest.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*crc) != checksum(table, key, before, after) {
        return None;
    }
    Row::parse(bytes).ok()
}

/// Appends the row `bytes` to `out` as a row of `table`, whose schemas have the same ids.
pub(crate) fn reseal(table: TableId, key: &[u8], bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(bytes);
    let Some((before, rest)) = out
        .get_mut(start..)
        .and_then(|row| row.split_at_mut_checked(CRC_AT))
    else {
        return;
    };
    if let Some((crc, after)) = rest.split_first_chunk_mut::<4>() {
        *crc = checksum(table, key, before, after).to_le_bytes();
    }
}

// === impl RowWriter ===

impl RowWriter {
    /// A writer of rows of `schema`, which the store knows as `id`.
    #[must_use]
    pub fn new(schema: &RowSchema, id: SchemaId) -> Self {
        let types: Vec<_> = schema.fields.iter().map(|field| field.value_type).collect();
        Self {
            schema: id,
            of_release: false,
            event_time: EventTime::EPOCH,
            created: None,
            validity: vec![0; types.len().div_ceil(8)],
            slots: vec![0; types.len() * 8],
            heap: Vec::new(),
            types,
        }
    }

    /// Marks the rows as those of a release, which may be taken back as a whole.
    #[must_use]
    pub fn of_release(mut self) -> Self {
        self.of_release = true;
        self
    }

    /// Starts the next row: every slot is null until it is set.
    pub fn begin(&mut self, event_time: EventTime, created: Option<EventTime>) {
        self.event_time = event_time;
        self.created = created;
        self.validity.fill(0);
        self.slots.fill(0);
        self.heap.clear();
    }

    /// Sets the value at position `slot` of the schema.
    ///
    /// # Errors
    /// [`Error::BadSlot`] for a position the schema does not have, [`Error::Value`] when the value
    /// is not of the slot's type or too large.
    pub fn set(&mut self, slot: usize, value: &Value) -> Result<()> {
        let value_type = *self.types.get(slot).ok_or_else(|| bad_slot(slot))?;
        let wrong = |source| Error::Value { slot, source };
        if value.is_null() {
            return self.clear(slot);
        }
        if value_type.fixed().is_some() {
            let bytes = value
                .to_slot()
                .filter(|_| value_type.accepts(value))
                .ok_or_else(|| {
                    wrong(galley_types::ValueError::WrongType {
                        expected: value_type,
                    })
                })?;
            return self.put(slot, bytes);
        }
        let start = self.heap.len();
        if let Err(error) = value.write_heap(value_type, &mut self.heap) {
            self.heap.truncate(start);
            return Err(wrong(error));
        }
        self.point(slot, start)
    }

    /// Sets a fixed-width value from its 8 bytes, as in [`Value::to_slot`].
    ///
    /// # Errors
    /// [`Error::BadSlot`] when the schema has no fixed-width value there.
    #[inline]
    pub fn set_slot(&mut self, slot: usize, bytes: [u8; 8]) -> Result<()> {
        match self
            .types
            .get(slot)
            .and_then(|value_type| value_type.fixed())
        {
            Some(_) => self.put(slot, bytes),
            None => Err(bad_slot(slot)),
        }
    }

    /// Sets a variable-width value from its bytes, as in [`Value::write_heap`]. They are not looked
    /// at: bytes that do not decode make reading this cell an error.
    ///
    /// # Errors
    /// [`Error::BadSlot`] when the schema has no variable-width value there, [`Error::TooLarge`].
    pub fn set_heap(&mut self, slot: usize, bytes: &[u8]) -> Result<()> {
        match self.types.get(slot).map(|value_type| value_type.fixed()) {
            Some(None) => {}
            Some(Some(_)) | None => return Err(bad_slot(slot)),
        }
        let start = self.heap.len();
        if bytes.len() > Limits::ROW_BYTES_MAX {
            return Err(row_too_large(bytes.len()));
        }
        self.heap.extend_from_slice(bytes);
        self.point(slot, start)
    }

    /// The scalar type of a fixed-width slot; `None` for variable-width and unknown slots.
    #[must_use]
    pub fn fixed(&self, slot: usize) -> Option<ScalarType> {
        self.types
            .get(slot)
            .and_then(|value_type| value_type.fixed())
    }

    fn point(&mut self, slot: usize, start: usize) -> Result<()> {
        let length = self.heap.len() - start;
        let too_large = |_| row_too_large(length);
        let [o0, o1, o2, o3] = u32::try_from(start).map_err(too_large)?.to_le_bytes();
        let [l0, l1, l2, l3] = u32::try_from(length).map_err(too_large)?.to_le_bytes();
        self.put(slot, [o0, o1, o2, o3, l0, l1, l2, l3])
    }

    #[inline]
    fn put(&mut self, slot: usize, bytes: [u8; 8]) -> Result<()> {
        let to = self
            .slots
            .get_mut(slot * 8..slot * 8 + 8)
            .and_then(|bytes| bytes.first_chunk_mut::<8>())
            .ok_or_else(|| bad_slot(slot))?;
        *to = bytes;
        if let Some(byte) = self.validity.get_mut(slot / 8) {
            *byte |= 1 << (slot % 8);
        }
        Ok(())
    }

    fn clear(&mut self, slot: usize) -> Result<()> {
        self.put(slot, [0; 8])?;
        if let Some(byte) = self.validity.get_mut(slot / 8) {
            *byte &= !(1 << (slot % 8));
        }
        Ok(())
    }

    /// Bytes of the row as it stands.
    pub(crate) fn size(&self) -> usize {
        let created = if self.created.is_some() { 8 } else { 0 };
        HEAD + created + 2 + self.validity.len() + self.slots.len() + self.heap.len()
    }

    /// Appends the row, with its checksum for `key` in `table`.
    pub(crate) fn finish(&self, table: TableId, key: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let count = u16::try_from(self.types.len()).map_err(|_error| Error::TooLarge {
            what: "number of features of a row",
            size: self.types.len() as u64,
            limit: Limits::FEATURES_MAX as u64,
        })?;
        let start = out.len();
        let created = if self.created.is_some() {
            HAS_CREATED
        } else {
            0
        };
        let flags = created | if self.of_release { OF_RELEASE } else { 0 };
        let [s0, s1] = self.schema.0.to_le_bytes();
        out.extend_from_slice(&[VERSION, flags, s0, s1, 0, 0, 0, 0]);
        out.extend_from_slice(&self.event_time.0.to_le_bytes());
        if let Some(created) = self.created {
            out.extend_from_slice(&created.0.to_le_bytes());
        }
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&self.validity);
        out.extend_from_slice(&self.slots);
        out.extend_from_slice(&self.heap);
        let parts = out
            .get(start..)
            .and_then(|row| row.split_at_checked(CRC_AT));
        let crc = match parts.map(|(before, rest)| (before, rest.split_at_checked(4))) {
            Some((before, Some((_, after)))) => checksum(table, key, before, after),
            _ => 0,
        };
        if let Some(field) = out.get_mut(start + CRC_AT..start + CRC_AT + 4) {
            field.copy_from_slice(&crc.to_le_bytes());
        }
        Ok(())
    }
}

// Out of the way of the paths that build no error.
#[cold]
fn malformed(what: &'static str) -> Error {
    Error::MalformedRow { what }
}

#[cold]
fn bad_slot(slot: usize) -> Error {
    Error::BadSlot { slot }
}

pub(crate) fn row_too_large(size: usize) -> Error {
    Error::TooLarge {
        what: "row in bytes",
        size: size as u64,
        limit: Limits::ROW_BYTES_MAX as u64,
    }
}

#[cfg(test)]
mod tests {
    use galley_types::{Field, ListBuilder, ListItem};
    use proptest::prelude::*;

    use super::*;
    use crate::RowBatch;

    fn value_of(value_type: ValueType, seed: i64) -> Value {
        let text = || "t".repeat(seed.unsigned_abs() as usize % 9);
        match value_type {
            ValueType::Scalar(ScalarType::Bool) => Value::Bool(seed % 2 == 0),
            ValueType::Scalar(ScalarType::Int32) => Value::Int32(seed as i32),
            ValueType::Scalar(ScalarType::Int64) => Value::Int64(seed),
            ValueType::Scalar(ScalarType::Float) => Value::Float(seed as f32),
            ValueType::Scalar(ScalarType::Double) => Value::Double(seed as f64 / 3.0),
            ValueType::Scalar(ScalarType::UnixTimestamp) => Value::UnixTimestamp(seed),
            ValueType::Scalar(ScalarType::Bytes) => Value::Bytes(text().into_bytes()),
            ValueType::Scalar(ScalarType::ZonedTimestamp) => Value::Zoned {
                micros: seed,
                zone: "UTC".into(),
            },
            ValueType::Scalar(_) => Value::Text(text()),
            ValueType::List(ScalarType::Int64) => {
                let mut list = ListBuilder::new(ScalarType::Int64);
                for item in 0..seed.unsigned_abs() % 4 {
                    list.push(ListItem::Int64(item as i64)).unwrap();
                }
                Value::List(list.finish())
            }
            ValueType::Map => Value::Map(vec![(text(), Value::Int64(seed))]),
            _ => Value::Null,
        }
    }

    fn types() -> Vec<ValueType> {
        let mut types: Vec<_> = ScalarType::ALL.map(ValueType::Scalar).to_vec();
        types.extend([ValueType::List(ScalarType::Int64), ValueType::Map]);
        types
    }

    fn schema(types: &[ValueType]) -> RowSchema {
        let fields = types.iter().map(|value_type| Field {
            name: "f".into(),
            value_type: *value_type,
        });
        RowSchema {
            fields: fields.collect(),
        }
    }

    fn encode(types: &[ValueType], values: &[Value], created: Option<i64>) -> Vec<u8> {
        let mut writer = RowWriter::new(&schema(types), SchemaId(7));
        writer.begin(EventTime(1), None);
        writer.set(0, &value_of(types[0], 8)).unwrap();
        // What an earlier row left behind must not show.
        writer.begin(EventTime(-3), created.map(EventTime));
        for (slot, value) in values.iter().enumerate() {
            writer.set(slot, value).unwrap();
        }
        let mut out = Vec::new();
        writer.finish(TableId(5), b"key", &mut out).unwrap();
        assert_eq!(out.len(), writer.size());
        out
    }

    #[test]
    fn the_layout_of_version_1_does_not_change() {
        let types = [
            ValueType::Scalar(ScalarType::Int32),
            ValueType::Scalar(ScalarType::String),
            ValueType::Scalar(ScalarType::Double),
        ];
        let values = [Value::Int32(-2), Value::Text("hi".into()), Value::Null];
        let row = encode(&types, &values, Some(4));
        let mut expect = vec![1, 1, 7, 0];
        expect.extend_from_slice(&row[4..8]);
        expect.extend_from_slice(&(-3_i64).to_le_bytes());
        expect.extend_from_slice(&4_i64.to_le_bytes());
        expect.extend_from_slice(&[3, 0, 0b011]);
        expect.extend_from_slice(&(-2_i64).to_le_bytes());
        expect.extend_from_slice(&[0, 0, 0, 0, 2, 0, 0, 0]);
        expect.extend_from_slice(&[0; 8]);
        expect.extend_from_slice(b"hi");
        assert_eq!(row, expect);
        let mut covered = vec![5, 0, 0, 0, 3, 0, 0, 0];
        covered.extend_from_slice(b"key");
        covered.extend_from_slice(&row[..4]);
        covered.extend_from_slice(&row[8..]);
        assert_eq!(row[4..8], crc32c::crc32c(&covered).to_le_bytes());
    }

    #[test]
    fn a_row_is_proved_to_be_this_row_of_this_key_of_this_table() {
        let row = encode(&types(), &[Value::Bytes(vec![1])], None);
        assert!(verify(TableId(5), b"key", &row).is_some());
        assert!(verify(TableId(6), b"key", &row).is_none());
        assert!(verify(TableId(5), b"kez", &row).is_none());
        for bit in 0..row.len() * 8 {
            let mut damaged = row.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(TableId(5), b"key", &damaged).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused_by_slot() {
        let mut writer = RowWriter::new(&schema(&types()), SchemaId(1));
        writer.begin(EventTime(0), None);
        assert!(matches!(
            writer.set(0, &Value::Int64(1)),
            Err(Error::Value { slot: 0, .. })
        ));
        assert!(matches!(
            writer.set(2, &Value::Int64(1)),
            Err(Error::Value { slot: 2, .. })
        ));
        assert!(matches!(
            writer.set(99, &Value::Null),
            Err(Error::BadSlot { slot: 99 })
        ));
        assert!(matches!(
            writer.set_slot(0, [0; 8]),
            Err(Error::BadSlot { slot: 0 })
        ));
        assert!(matches!(
            writer.set_heap(2, b""),
            Err(Error::BadSlot { slot: 2 })
        ));
        let big = vec![0; Limits::ROW_BYTES_MAX];
        writer.set_heap(0, &big).unwrap();
        let mut batch = RowBatch::new(TableId(1));
        assert!(matches!(
            batch.push(b"k", &mut writer),
            Err(Error::TooLarge { .. })
        ));
        writer.begin(EventTime(0), None);
        let key = vec![0; Limits::KEY_BYTES_MAX + 1];
        assert!(matches!(
            batch.push(&key, &mut writer),
            Err(Error::TooLarge { .. })
        ));
        assert!(batch.is_empty() && batch.bytes() == 0);
        writer.set(0, &Value::Bytes(vec![1])).unwrap();
        writer.set(0, &Value::Null).unwrap();
        batch.push(b"k", &mut writer).unwrap();
        let (_, row) = batch.iter().next().unwrap();
        assert!(Row::parse(row).unwrap().is_null(0));
    }

    proptest! {
        #[test]
        fn rows_round_trip(
            seeds in proptest::collection::vec(proptest::option::of(any::<i64>()), 15),
            created in proptest::option::of(any::<i64>()),
        ) {
            let types = types();
            let values: Vec<Value> = types
                .iter()
                .zip(&seeds)
                .map(|(value_type, seed)| seed.map_or(Value::Null, |seed| value_of(*value_type, seed)))
                .collect();
            let bytes = encode(&types, &values, created);
            let row = verify(TableId(5), b"key", &bytes).unwrap();
            prop_assert_eq!(row.event_time(), EventTime(-3));
            prop_assert_eq!(row.created(), created.map(EventTime));
            prop_assert_eq!(row.schema(), SchemaId(7));
            prop_assert_eq!(row.slot_count(), types.len());
            for (slot, (value_type, value)) in types.iter().zip(&values).enumerate() {
                prop_assert_eq!(row.cell(slot, *value_type).unwrap().to_value(), value.clone());
                prop_assert_eq!(row.is_null(slot), value.is_null());
            }
            prop_assert!(row.cell(types.len(), types[0]).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
            sound in any::<bool>(),
        ) {
            if sound && bytes.len() > 2 {
                bytes[0] = VERSION;
                bytes[1] &= HAS_CREATED;
            }
            if let Ok(row) = Row::parse(&bytes) {
                for slot in [0, 1, 7, row.slot_count(), usize::MAX] {
                    for value_type in types() {
                        let _ = row.cell(slot, value_type);
                    }
                    let _ = row.is_null(slot);
                }
            }
            let _ = verify(TableId(1), b"k", &bytes);
            prop_assert!(crate::batch::entries(&bytes).count() <= bytes.len());
        }
    }
}

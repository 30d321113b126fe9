//! Small internal records: bincode's fixed-int little-endian layout inside a checked envelope.
//!
//! ```text
//! offset  size  field
//! 0       1     version, 1
//! 1       4     CRC-32C, little-endian, over kind (1 byte), key length (u32 LE), key, body
//! 5       n     body: the record in bincode's fixed-int little-endian layout
//! ```
//! The kind and the key under which the record is stored are part of the checksum, so a record
//! that lands in the wrong place is refused. Layout of bodies: integers little-endian at their full
//! width, `bool` and the tag of an `Option` one byte, text and lists a `u64` count before their
//! elements, structs their fields in order. Reading borrows from the bytes and grows lists element
//! by element: no length in a damaged record can make it allocate more than the record's own size.

#![expect(
    clippy::mem_forget,
    reason = "the code that wincode derives disarms its guards with it"
)]

use galley_types::{Field, RowSchema, ValueType};
use wincode::config::DefaultConfig;
use wincode::io::Reader;
use wincode::{SchemaRead, SchemaWrite};

/// Version of every record's layout.
const VERSION: u8 = 1;
const ENVELOPE: usize = 5;

/// What a record is; part of its checksum.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Meta = 1,
    Table = 2,
    Schema = 3,
    Stats = 4,
    Watermark = 5,
    Queued = 6,
    Ticket = 7,
    Release = 8,
    Named = 9,
    Outgoing = 10,
    OutboxTotals = 11,
    Producer = 12,
    ParkedPart = 13,
    ParkedTotals = 14,
}

/// A record failed its checksum or does not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadRecord;

/// The one record about the whole store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::Decode))]
pub(crate) struct Meta {
    /// Sequence number of the transaction that wrote this.
    pub(crate) commit: u64,
    /// The next ticket to give out.
    pub(crate) ticket_next: u64,
    /// The next table id to give out.
    pub(crate) table_next: u32,
    /// Entries in the queue.
    pub(crate) queued: u64,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::BorrowDecode))]
pub(crate) struct Table<'a> {
    pub(crate) name: &'a str,
    /// Counts the tables of this name, from 1.
    pub(crate) epoch: u32,
    /// Codes of the key types.
    pub(crate) keys: &'a [u8],
    /// The schema new rows carry.
    pub(crate) schema: u16,
    /// Schemas have the ids 1 to this.
    pub(crate) schemas: u16,
    /// 0 live, 1 retired, 2 staged.
    pub(crate) state: u8,
}

/// The last release, and what it replaced.
#[derive(Clone, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::BorrowDecode))]
pub(crate) struct Release<'a> {
    /// Counts releases and returns from them.
    pub(crate) number: u64,
    /// Whether it can be taken back.
    pub(crate) kept: bool,
    /// Pairs of table ids, each `u32` little-endian: the one that was replaced or 0, the new one.
    pub(crate) swaps: &'a [u8],
}

/// One field of a schema.
#[derive(Clone, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::BorrowDecode))]
struct FieldRecord<'a> {
    name: &'a str,
    /// Feast's number of the type.
    value_type: i32,
}

/// Running totals of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::Decode))]
pub(crate) struct Stats {
    pub(crate) rows: u64,
    /// Newest event time, microseconds; `i64::MIN` when empty.
    pub(crate) newest: i64,
    pub(crate) digest: u64,
}

/// How far a named source has been taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::Decode))]
pub(crate) struct Watermark {
    pub(crate) micros: i64,
}

/// What became of a queued write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::Decode))]
pub(crate) struct Ticket {
    pub(crate) written: u64,
    pub(crate) superseded: u64,
}

/// An entry of the outbox.
#[derive(Clone, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::BorrowDecode))]
pub(crate) struct Outgoing<'a> {
    /// 1: rows of a view, 2: served features of a service.
    pub(crate) kind: u8,
    pub(crate) target: &'a str,
    /// Microseconds.
    pub(crate) accepted: i64,
    pub(crate) payload: &'a [u8],
}

/// What the outbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::Decode))]
pub(crate) struct OutboxTotals {
    /// The next sequence to give out.
    pub(crate) next: u64,
    pub(crate) entries: u64,
    /// Bytes of the entries' records.
    pub(crate) bytes: u64,
    /// When the oldest entry was accepted, microseconds.
    pub(crate) oldest: i64,
    /// The last sequence of the range that is being sent; 0: none is.
    pub(crate) flight_last: u64,
    /// Parts of that range that have been acknowledged.
    pub(crate) flight_done: u32,
    /// Who sends the entries before the first that the table of producers knows of; 0: nobody yet.
    pub(crate) producer_high: u64,
    pub(crate) producer_low: u64,
}

/// Who sends the entries from one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::Decode))]
pub(crate) struct Producer {
    pub(crate) high: u64,
    pub(crate) low: u64,
}

/// Entries that the centre refused, which it is to get together or not at all.
#[derive(Clone, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::BorrowDecode))]
pub(crate) struct ParkedPart<'a> {
    /// As in [`Outgoing`].
    pub(crate) kind: u8,
    pub(crate) target: &'a str,
    /// The last sequence in the part's name; the first is its key.
    pub(crate) last: u64,
    pub(crate) entries: u64,
    /// Bytes of the entries' records.
    pub(crate) bytes: u64,
    /// When the oldest entry was accepted, microseconds.
    pub(crate) oldest: i64,
    /// When it was set aside, microseconds.
    pub(crate) parked: i64,
    /// When it was last refused, microseconds.
    pub(crate) tried: i64,
    /// How often it was refused.
    pub(crate) attempts: u32,
    /// 1: it is to be sent again.
    pub(crate) due: u8,
    /// The producer in the part's name.
    pub(crate) producer_high: u64,
    pub(crate) producer_low: u64,
    /// Why it was refused last.
    pub(crate) reason: &'a str,
}

/// What is parked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::Decode))]
pub(crate) struct ParkedTotals {
    pub(crate) parts: u64,
    /// Parts that are to be sent again.
    pub(crate) due: u64,
    pub(crate) entries: u64,
    /// Bytes of the entries' records.
    pub(crate) bytes: u64,
    /// When the oldest entry was accepted, microseconds.
    pub(crate) oldest: i64,
}

/// A watermark carried by a queued write.
#[derive(Clone, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::BorrowDecode))]
pub(crate) struct Mark<'a> {
    pub(crate) name: &'a str,
    pub(crate) micros: i64,
}

/// The rows a queued write has for one table.
#[derive(Clone, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(bincode::Encode, bincode::BorrowDecode))]
pub(crate) struct Rows<'a> {
    pub(crate) table: u32,
    /// Entries as in a row batch.
    pub(crate) arena: &'a [u8],
}

/// A queued write.
#[derive(Clone, Debug, PartialEq, Eq, SchemaWrite)]
#[cfg_attr(test, derive(bincode::Encode, bincode::BorrowDecode))]
pub(crate) struct Queued<'a> {
    pub(crate) mark: Option<Mark<'a>>,
    pub(crate) rows: Vec<Rows<'a>>,
}

#[derive(SchemaWrite)]
struct SchemaRecord<'a> {
    fields: Vec<FieldRecord<'a>>,
}

// === envelope ===

fn checksum(kind: Kind, key: &[u8], body: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&[kind as u8]);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "keys are bounded far below 4 GiB"
    )]
    let length = key.len() as u32;
    let crc = crc32c::crc32c_append(crc, &length.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, key), body)
}

fn seal(kind: Kind, key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENVELOPE + body.len());
    out.push(VERSION);
    out.extend_from_slice(&checksum(kind, key, body).to_le_bytes());
    out.extend_from_slice(body);
    out
}

fn unseal<'a>(kind: Kind, key: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], BadRecord> {
    let (head, body) = bytes.split_first_chunk::<ENVELOPE>().ok_or(BadRecord)?;
    let [version, crc @ ..] = *head;
    if version == VERSION && u32::from_le_bytes(crc) == checksum(kind, key, body) {
        Ok(body)
    } else {
        Err(BadRecord)
    }
}

/// The sealed bytes of a record that others than the store encode.
pub(crate) fn seal_bytes(kind: Kind, key: &[u8], body: &[u8]) -> Vec<u8> {
    seal(kind, key, body)
}

/// The bytes of a record that others than the store encoded.
pub(crate) fn open_bytes<'a>(
    kind: Kind,
    key: &[u8],
    bytes: &'a [u8],
) -> Result<&'a [u8], BadRecord> {
    unseal(kind, key, bytes)
}

/// The sealed bytes of a record stored under `key`.
pub(crate) fn encode<T>(kind: Kind, key: &[u8], record: &T) -> Result<Vec<u8>, BadRecord>
where
    T: SchemaWrite<DefaultConfig, Src = T>,
{
    let body = wincode::serialize(record).map_err(|_error| BadRecord)?;
    Ok(seal(kind, key, &body))
}

/// The record sealed in `bytes`, borrowed from them where it holds text.
pub(crate) fn decode<'a, T>(kind: Kind, key: &[u8], bytes: &'a [u8]) -> Result<T, BadRecord>
where
    T: SchemaRead<'a, DefaultConfig, Dst = T>,
{
    wincode::deserialize_exact(unseal(kind, key, bytes)?).map_err(|_error| BadRecord)
}

fn next<'a, T>(rest: &mut &'a [u8]) -> Result<T, BadRecord>
where
    T: SchemaRead<'a, DefaultConfig, Dst = T>,
{
    T::get(rest.by_ref()).map_err(|_error| BadRecord)
}

/// Reads a list without trusting its count: it grows only by elements that are there.
fn list<'a, T>(rest: &mut &'a [u8]) -> Result<Vec<T>, BadRecord>
where
    T: SchemaRead<'a, DefaultConfig, Dst = T>,
{
    let count: u64 = next(rest)?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(next(rest)?);
    }
    Ok(items)
}

fn exact<T>(rest: &[u8], value: T) -> Result<T, BadRecord> {
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(BadRecord)
    }
}

/// The sealed bytes of a schema stored under `key`.
pub(crate) fn encode_schema(key: &[u8], schema: &RowSchema) -> Result<Vec<u8>, BadRecord> {
    let fields = schema
        .fields
        .iter()
        .map(|field| FieldRecord {
            name: &field.name,
            value_type: field.value_type.feast(),
        })
        .collect();
    encode(Kind::Schema, key, &SchemaRecord { fields })
}

/// The schema sealed in `bytes`.
pub(crate) fn decode_schema(key: &[u8], bytes: &[u8]) -> Result<RowSchema, BadRecord> {
    let mut rest = unseal(Kind::Schema, key, bytes)?;
    let records: Vec<FieldRecord<'_>> = list(&mut rest)?;
    let fields = records
        .iter()
        .map(|record| {
            Ok(Field {
                name: record.name.to_owned(),
                value_type: ValueType::from_feast(record.value_type).ok_or(BadRecord)?,
            })
        })
        .collect::<Result<_, BadRecord>>()?;
    exact(rest, RowSchema { fields })
}

/// The queued write sealed in `bytes`.
pub(crate) fn decode_queued<'a>(key: &[u8], bytes: &'a [u8]) -> Result<Queued<'a>, BadRecord> {
    let mut rest = unseal(Kind::Queued, key, bytes)?;
    let mark = next(&mut rest)?;
    let rows = list(&mut rest)?;
    exact(rest, Queued { mark, rows })
}

#[cfg(test)]
mod tests {
    use bincode::config::legacy;
    use galley_types::ScalarType;
    use proptest::prelude::*;

    use super::*;

    /// Checks that bincode and we write the same bytes and read each other's.
    macro_rules! check_layout {
        ($kind:expr, $record:expr, $type:ty) => {{
            let record: $type = $record;
            let sealed = encode($kind, b"key", &record).unwrap();
            let body = unseal($kind, b"key", &sealed).unwrap();
            assert_eq!(body, bincode::encode_to_vec(&record, legacy()).unwrap());
            let (theirs, size): ($type, usize) =
                bincode::borrow_decode_from_slice(body, legacy()).unwrap();
            assert_eq!((&theirs, size), (&record, body.len()));
            record
        }};
    }

    #[test]
    fn bincode_and_we_read_each_others_bytes() {
        let meta = Meta {
            commit: 1,
            ticket_next: u64::MAX,
            table_next: 3,
            queued: 4,
        };
        check_layout!(Kind::Meta, meta, Meta);
        assert_eq!(
            decode(Kind::Meta, b"", &encode(Kind::Meta, b"", &meta).unwrap()),
            Ok(meta)
        );
        let table = Table {
            name: "caf\u{e9}",
            epoch: 2,
            keys: &[1, 2],
            schema: 1,
            schemas: 3,
            state: 1,
        };
        let table = check_layout!(Kind::Table, table, Table<'_>);
        let sealed = encode(Kind::Table, b"", &table).unwrap();
        assert_eq!(decode(Kind::Table, b"", &sealed), Ok(table));
        let stats = Stats {
            rows: 1,
            newest: i64::MIN,
            digest: 9,
        };
        check_layout!(Kind::Stats, stats, Stats);
        check_layout!(Kind::Watermark, Watermark { micros: -5 }, Watermark);
        let ticket = Ticket {
            written: 1,
            superseded: 2,
        };
        check_layout!(Kind::Ticket, ticket, Ticket);
        outbox_layouts();
        for mark in [
            None,
            Some(Mark {
                name: "w",
                micros: 1,
            }),
        ] {
            let rows = vec![
                Rows {
                    table: 1,
                    arena: &[1, 2, 3],
                },
                Rows {
                    table: 2,
                    arena: &[],
                },
            ];
            let queued = check_layout!(Kind::Queued, Queued { mark, rows }, Queued<'_>);
            let sealed = encode(Kind::Queued, b"", &queued).unwrap();
            assert_eq!(decode_queued(b"", &sealed), Ok(queued));
        }
    }

    fn outbox_layouts() {
        let outgoing = Outgoing {
            kind: 1,
            target: "driver_stats",
            accepted: -3,
            payload: &[7, 8],
        };
        let outgoing = check_layout!(Kind::Outgoing, outgoing, Outgoing<'_>);
        let sealed = encode(Kind::Outgoing, b"", &outgoing).unwrap();
        assert_eq!(decode(Kind::Outgoing, b"", &sealed), Ok(outgoing));
        let totals = OutboxTotals {
            entries: 3,
            producer_low: u64::MAX,
            ..OutboxTotals::NEW
        };
        check_layout!(Kind::OutboxTotals, totals, OutboxTotals);
        check_layout!(Kind::Producer, Producer { high: 1, low: 2 }, Producer);
        let part = ParkedPart {
            kind: 2,
            target: "served",
            last: 9,
            entries: 3,
            bytes: 300,
            oldest: -1,
            parked: 2,
            tried: 3,
            attempts: 5,
            due: 1,
            producer_high: 4,
            producer_low: 5,
            reason: "no such service",
        };
        check_layout!(Kind::ParkedPart, part, ParkedPart<'_>);
        let parked = ParkedTotals {
            parts: 1,
            oldest: -7,
            ..ParkedTotals::default()
        };
        check_layout!(Kind::ParkedTotals, parked, ParkedTotals);
    }

    fn schema() -> RowSchema {
        let types = (1..=48).filter_map(ValueType::from_feast);
        let fields = types.enumerate().map(|(i, value_type)| Field {
            name: format!("f{i}"),
            value_type,
        });
        RowSchema {
            fields: fields.collect(),
        }
    }

    #[test]
    fn schemas_of_every_type_round_trip_and_are_what_bincode_writes() {
        let sealed = encode_schema(b"k", &schema()).unwrap();
        assert_eq!(decode_schema(b"k", &sealed), Ok(schema()));
        let records: Vec<(String, i32)> = schema()
            .fields
            .into_iter()
            .map(|field| (field.name, field.value_type.feast()))
            .collect();
        let theirs = bincode::encode_to_vec(records, legacy()).unwrap();
        assert_eq!(&sealed[ENVELOPE..], theirs);
        let text = ValueType::Scalar(ScalarType::String);
        assert!(schema().fields.iter().any(|field| field.value_type == text));
    }

    #[test]
    fn a_changed_bit_another_key_or_another_kind_is_refused() {
        let sealed = encode_schema(b"k", &schema()).unwrap();
        assert_eq!(decode_schema(b"l", &sealed), Err(BadRecord));
        assert_eq!(decode_queued(b"k", &sealed), Err(BadRecord));
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_schema(b"k", &damaged), Err(BadRecord), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn any_body_decodes_or_is_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            // The envelope is right, so that the body is really looked at.
            for kind in [Kind::Meta, Kind::Table, Kind::Schema, Kind::Queued, Kind::Stats] {
                let sealed = seal(kind, b"k", &body);
                let _ = decode::<Meta>(kind, b"k", &sealed);
                let _ = decode::<Table<'_>>(kind, b"k", &sealed);
                let _ = decode::<Outgoing<'_>>(kind, b"k", &sealed);
                let _ = decode::<ParkedPart<'_>>(kind, b"k", &sealed);
                let _ = decode_schema(b"k", &sealed);
                let _ = decode_queued(b"k", &sealed);
            }
        }

        #[test]
        fn hostile_lengths_do_not_allocate(length in any::<u64>(), tail in any::<[u8; 16]>()) {
            let mut body = length.to_le_bytes().to_vec();
            body.extend_from_slice(&tail);
            if length > 16 {
                prop_assert!(decode_schema(b"k", &seal(Kind::Schema, b"k", &body)).is_err());
                prop_assert!(
                    decode::<Table<'_>>(Kind::Table, b"k", &seal(Kind::Table, b"k", &body)).is_err()
                );
            }
        }
    }
}

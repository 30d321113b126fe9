//! The header of a page: read from the file, and written again for what the decoder is given.

use super::thrift::{Fault, Kind, Thrift};

/// How values and levels are written, by Parquet's numbers.
pub(super) const PLAIN: u8 = 0;
pub(super) const PLAIN_DICTIONARY: u8 = 2;
pub(super) const RLE: u8 = 3;
pub(super) const DELTA_BINARY_PACKED: u8 = 5;
pub(super) const DELTA_LENGTH_BYTE_ARRAY: u8 = 6;
pub(super) const DELTA_BYTE_ARRAY: u8 = 7;
pub(super) const RLE_DICTIONARY: u8 = 8;
const ENCODING_LAST: i64 = 9;

/// A page's header. Of its sizes none is believed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the page in the file.
    pub(super) packed: u32,
    /// Bytes of the page once it is unpacked.
    pub(super) size: u32,
    pub(super) body: Body,
}

/// What kind of page it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Dictionary {
        values: u32,
    },
    Data {
        values: u32,
        encoding: u8,
        definition: u8,
        repetition: u8,
    },
    /// Of the second version: its levels come first and are never packed.
    DataV2 {
        values: u32,
        nulls: u32,
        rows: u32,
        encoding: u8,
        definition_bytes: u32,
        repetition_bytes: u32,
        packed: bool,
    },
    /// An index, which is passed over.
    Other,
}

// === impl Header ===

impl Header {
    /// Reads the header in front of `thrift`.
    pub(super) fn read(thrift: &mut Thrift<'_>) -> Result<Self, Fault> {
        let mut outer = [None; 4];
        let (mut data, mut dictionary, mut v2) = (None, None, None);
        let mut last = 0;
        while let Some((id, kind)) = thrift.field(&mut last)? {
            let slot = usize::try_from(id).ok().and_then(|id| outer.get_mut(id));
            match (id, kind, slot) {
                (1..=3, _, Some(slot)) => *slot = Some(thrift.int(kind)?),
                (5, Kind::Struct, _) => data = Some(thrift.ints::<5>()?),
                (7, Kind::Struct, _) => dictionary = Some(thrift.ints::<4>()?),
                (8, Kind::Struct, _) => v2 = Some(thrift.ints::<8>()?),
                _ => thrift.skip(kind)?,
            }
        }
        let [_, kind, size, packed] = outer;
        let body = match (kind, data, dictionary, v2) {
            (Some(0), Some(data), _, _) => Body::data(data)?,
            (Some(2), _, Some(dictionary), _) => Body::dictionary(dictionary)?,
            (Some(3), _, _, Some(v2)) => Body::data_v2(v2)?,
            (Some(1), ..) => Body::Other,
            _ => return Err(Fault::Bad("a page of no known kind")),
        };
        Ok(Self {
            packed: count(packed)?,
            size: count(size)?,
            body,
        })
    }

    /// The header of the same page when it has `bytes` and is not packed.
    pub(super) fn unpacked(&self, bytes: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        let (kind, field, inner): (u32, u8, &[u32]) = match self.body {
            Body::Dictionary { values } => (2, 7, &[values, u32::from(PLAIN)]),
            Body::Data {
                values,
                encoding,
                definition,
                repetition,
            } => (
                0,
                5,
                &[
                    values,
                    encoding.into(),
                    definition.into(),
                    repetition.into(),
                ],
            ),
            Body::DataV2 {
                values,
                nulls,
                rows,
                encoding,
                definition_bytes,
                repetition_bytes,
                ..
            } => (
                3,
                8,
                &[
                    values,
                    nulls,
                    rows,
                    encoding.into(),
                    definition_bytes,
                    repetition_bytes,
                ],
            ),
            Body::Other => (1, 6, &[]),
        };
        numbers(&mut out, &[kind, bytes, bytes]);
        // A struct, so many fields after the third.
        out.push((field - 3) << 4 | 12);
        numbers(&mut out, inner);
        if matches!(self.body, Body::DataV2 { .. }) {
            // Not packed: the seventh field, a boolean.
            out.push(1 << 4 | 2);
        }
        out.extend([0, 0]);
        out
    }
}

// === impl Body ===

impl Body {
    /// Values of the page, and how they are written; nothing for a dictionary.
    pub(super) fn values(&self) -> Option<(u32, u8)> {
        match *self {
            Self::Data {
                values, encoding, ..
            }
            | Self::DataV2 {
                values, encoding, ..
            } => Some((values, encoding)),
            Self::Dictionary { .. } | Self::Other => None,
        }
    }

    fn data([_, values, value, definition, repetition]: [Option<i64>; 5]) -> Result<Self, Fault> {
        Ok(Self::Data {
            values: count(values)?,
            encoding: encoding(value)?,
            definition: encoding(definition)?,
            repetition: encoding(repetition)?,
        })
    }

    fn dictionary([_, values, value, _]: [Option<i64>; 4]) -> Result<Self, Fault> {
        match encoding(value)? {
            PLAIN | PLAIN_DICTIONARY => Ok(Self::Dictionary {
                values: count(values)?,
            }),
            _ => Err(Fault::Bad("a dictionary that is encoded")),
        }
    }

    fn data_v2(fields: [Option<i64>; 8]) -> Result<Self, Fault> {
        let [
            _,
            values,
            nulls,
            rows,
            value,
            definition,
            repetition,
            packed,
        ] = fields;
        let (values, nulls) = (count(values)?, count(nulls)?);
        if nulls > values {
            return Err(Fault::Bad("more nulls than values"));
        }
        Ok(Self::DataV2 {
            values,
            nulls,
            rows: count(rows)?,
            encoding: encoding(value)?,
            definition_bytes: count(definition)?,
            repetition_bytes: count(repetition)?,
            packed: packed != Some(0),
        })
    }
}

/// The first fields of a struct, as numbers of 32 bits.
fn numbers(out: &mut Vec<u8>, values: &[u32]) {
    for value in values {
        out.push(1 << 4 | 5);
        let mut rest = u64::from(*value) << 1;
        while rest >= 0x80 {
            out.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        out.push((rest & 0x7f) as u8);
    }
}

/// A size or a count: 31 bits.
fn count(value: Option<i64>) -> Result<u32, Fault> {
    let count = value.and_then(|value| i32::try_from(value).ok());
    let count = count.and_then(|value| u32::try_from(value).ok());
    count.ok_or(Fault::Bad("a size or count that cannot be"))
}

fn encoding(value: Option<i64>) -> Result<u8, Fault> {
    let known = value.filter(|value| *value <= ENCODING_LAST);
    let known = known.and_then(|value| u8::try_from(value).ok());
    known.ok_or(Fault::Bad("an encoding that is not known"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_written_as_it_is_read() {
        let bodies = [
            Body::Dictionary { values: 0 },
            Body::Data {
                values: 20_000,
                encoding: DELTA_BYTE_ARRAY,
                definition: RLE,
                repetition: 4,
            },
            Body::DataV2 {
                values: u32::from(u16::MAX),
                nulls: 5,
                rows: 77,
                encoding: RLE_DICTIONARY,
                definition_bytes: 1,
                repetition_bytes: 1 << 20,
                packed: false,
            },
            Body::Other,
        ];
        for body in bodies {
            let header = Header {
                packed: 7,
                size: 9,
                body,
            };
            let bytes = header.unpacked(0x7fff_ffff);
            let mut thrift = Thrift::new(&bytes, 0);
            let expect = Header {
                packed: 0x7fff_ffff,
                size: 0x7fff_ffff,
                body,
            };
            assert_eq!(Header::read(&mut thrift), Ok(expect));
            assert_eq!(thrift.left(), 0);
            for end in 0..bytes.len() {
                let cut = Header::read(&mut Thrift::new(&bytes[..end], 0));
                assert_eq!(cut, Err(Fault::Short));
            }
        }
    }

    #[test]
    fn sizes_below_zero_are_refused() {
        // A page of data whose unpacked size is -1.
        let bytes = [0x15, 0x00, 0x15, 0x01, 0x15, 0x02, 0x00];
        assert!(matches!(
            Header::read(&mut Thrift::new(&bytes, 0)),
            Err(Fault::Bad(_))
        ));
    }
}

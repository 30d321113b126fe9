//! The self-describing encoding of values that are neither scalars nor lists of scalars.
//!
//! A node is a tag byte and its payload; lengths and counts are `u32` little-endian:
//!
//! | tag | node | payload |
//! |---|---|---|
//! | 0x00 | null | none |
//! | 0x01..0x3f | scalar, tag = [`ScalarType::code`] | bool 1 byte, 32-bit 4, 64-bit 8, zoned `i64` then text; others length and bytes |
//! | 0x40 | list of scalars | element code (1), length, list payload |
//! | 0x41 | values | count, nodes |
//! | 0x42 | map | count, (length, key, node)* |
//! | 0x43 | scalar map | count, (node, node)* |

use crate::value::ValueError;
use crate::{Limits, List, ScalarType, Value};

const NULL: u8 = 0x00;
const LIST: u8 = 0x40;
const VALUES: u8 = 0x41;
const MAP: u8 = 0x42;
const SCALAR_MAP: u8 = 0x43;

/// Appends `value` to `out`.
pub(crate) fn encode(value: &Value, out: &mut Vec<u8>) -> Result<(), ValueError> {
    encode_node(value, out, 0)
}

/// Reads one value that fills `bytes`.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, ValueError> {
    let mut reader = Reader { bytes };
    let value = reader.node(0)?;
    if reader.bytes.is_empty() {
        Ok(value)
    } else {
        Err(MALFORMED)
    }
}

const MALFORMED: ValueError = ValueError::Malformed { what: "value tree" };

fn encode_node(value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), ValueError> {
    if depth > Limits::VALUE_DEPTH_MAX {
        return Err(ValueError::TooDeep);
    }
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(value) => out.extend_from_slice(&[ScalarType::Bool.code(), u8::from(*value)]),
        Value::Int32(value) => fixed(out, ScalarType::Int32, &value.to_le_bytes()),
        Value::Int64(value) => fixed(out, ScalarType::Int64, &value.to_le_bytes()),
        Value::Float(value) => fixed(out, ScalarType::Float, &value.to_le_bytes()),
        Value::Double(value) => fixed(out, ScalarType::Double, &value.to_le_bytes()),
        Value::UnixTimestamp(value) => fixed(out, ScalarType::UnixTimestamp, &value.to_le_bytes()),
        Value::Text(text) => variable(out, ScalarType::String, text.as_bytes())?,
        Value::Bytes(bytes) => variable(out, ScalarType::Bytes, bytes)?,
        Value::Zoned { micros, zone } => {
            fixed(out, ScalarType::ZonedTimestamp, &micros.to_le_bytes());
            length(out, zone.len())?;
            out.extend_from_slice(zone.as_bytes());
        }
        Value::List(list) => {
            out.extend_from_slice(&[LIST, list.element().code()]);
            length(out, list.payload().len())?;
            out.extend_from_slice(list.payload());
        }
        Value::Values(values) => {
            out.push(VALUES);
            length(out, values.len())?;
            for value in values {
                encode_node(value, out, depth + 1)?;
            }
        }
        Value::Map(entries) => {
            out.push(MAP);
            length(out, entries.len())?;
            for (key, value) in entries {
                length(out, key.len())?;
                out.extend_from_slice(key.as_bytes());
                encode_node(value, out, depth + 1)?;
            }
        }
        Value::ScalarMap(entries) => {
            out.push(SCALAR_MAP);
            length(out, entries.len())?;
            for (key, value) in entries {
                encode_node(key, out, depth + 1)?;
                encode_node(value, out, depth + 1)?;
            }
        }
    }
    Ok(())
}

fn fixed(out: &mut Vec<u8>, scalar: ScalarType, bytes: &[u8]) {
    out.push(scalar.code());
    out.extend_from_slice(bytes);
}

fn variable(out: &mut Vec<u8>, scalar: ScalarType, bytes: &[u8]) -> Result<(), ValueError> {
    out.push(scalar.code());
    length(out, bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

fn length(out: &mut Vec<u8>, length: usize) -> Result<(), ValueError> {
    let length = u32::try_from(length).map_err(|_| ValueError::TooLarge)?;
    out.extend_from_slice(&length.to_le_bytes());
    Ok(())
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], ValueError> {
        let (head, tail) = self.bytes.split_at_checked(length).ok_or(MALFORMED)?;
        self.bytes = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ValueError> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(MALFORMED)?;
        self.bytes = tail;
        Ok(*head)
    }

    fn prefixed(&mut self) -> Result<&'a [u8], ValueError> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, ValueError> {
        let bytes = self.prefixed()?;
        Ok(std::str::from_utf8(bytes)
            .map_err(|_| MALFORMED)?
            .to_owned())
    }

    /// A count of nodes: each takes a byte at least, so a larger count is a lie.
    fn count(&mut self) -> Result<usize, ValueError> {
        let count = u32::from_le_bytes(self.array()?) as usize;
        if count > self.bytes.len() {
            Err(MALFORMED)
        } else {
            Ok(count)
        }
    }

    fn node(&mut self, depth: usize) -> Result<Value, ValueError> {
        if depth > Limits::VALUE_DEPTH_MAX {
            return Err(ValueError::TooDeep);
        }
        let [tag] = self.array()?;
        match tag {
            NULL => Ok(Value::Null),
            LIST => {
                let [code] = self.array()?;
                let element = ScalarType::from_code(code).ok_or(MALFORMED)?;
                Ok(Value::List(List::from_payload(
                    element,
                    self.prefixed()?.to_vec(),
                )?))
            }
            VALUES => {
                let count = self.count()?;
                (0..count)
                    .map(|_| self.node(depth + 1))
                    .collect::<Result<_, _>>()
                    .map(Value::Values)
            }
            MAP => {
                let count = self.count()?;
                (0..count)
                    .map(|_| Ok((self.text()?, self.node(depth + 1)?)))
                    .collect::<Result<_, _>>()
                    .map(Value::Map)
            }
            SCALAR_MAP => {
                let count = self.count()?;
                (0..count)
                    .map(|_| Ok((self.node(depth + 1)?, self.node(depth + 1)?)))
                    .collect::<Result<_, _>>()
                    .map(Value::ScalarMap)
            }
            code => self.scalar(ScalarType::from_code(code).ok_or(MALFORMED)?),
        }
    }

    fn scalar(&mut self, scalar: ScalarType) -> Result<Value, ValueError> {
        Ok(match scalar {
            ScalarType::Bool => {
                let [byte] = self.array()?;
                Value::Bool(byte != 0)
            }
            ScalarType::Int32 => Value::Int32(i32::from_le_bytes(self.array()?)),
            ScalarType::Int64 => Value::Int64(i64::from_le_bytes(self.array()?)),
            ScalarType::Float => Value::Float(f32::from_le_bytes(self.array()?)),
            ScalarType::Double => Value::Double(f64::from_le_bytes(self.array()?)),
            ScalarType::UnixTimestamp => Value::UnixTimestamp(i64::from_le_bytes(self.array()?)),
            ScalarType::Bytes => Value::Bytes(self.prefixed()?.to_vec()),
            ScalarType::ZonedTimestamp => {
                let micros = i64::from_le_bytes(self.array()?);
                Value::Zoned {
                    micros,
                    zone: self.text()?,
                }
            }
            _ => Value::Text(self.text()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ListBuilder, ListItem};

    fn sample() -> Value {
        let mut list = ListBuilder::new(ScalarType::Int64);
        list.push(ListItem::Int64(-1)).unwrap();
        Value::Map(vec![
            (
                "a".into(),
                Value::Values(vec![Value::Null, Value::List(list.finish())]),
            ),
            (
                "\u{e9}".into(),
                Value::ScalarMap(vec![(Value::Int32(1), Value::Double(0.5))]),
            ),
            (
                "z".into(),
                Value::Zoned {
                    micros: 7,
                    zone: "UTC".into(),
                },
            ),
            ("b".into(), Value::Bytes(vec![0, 255])),
            ("t".into(), Value::Text("x".into())),
            ("f".into(), Value::Bool(true)),
        ])
    }

    #[test]
    fn trees_round_trip() {
        let mut bytes = Vec::new();
        encode(&sample(), &mut bytes).unwrap();
        assert_eq!(decode(&bytes).unwrap(), sample());
    }

    #[test]
    fn damaged_trees_are_errors_not_panics() {
        let mut bytes = Vec::new();
        encode(&sample(), &mut bytes).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err());
        }
        for index in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[index] ^= flip;
                let _ = decode(&damaged);
            }
        }
    }

    #[test]
    fn depth_is_bounded_both_ways() {
        let mut deep = Value::Null;
        for _ in 0..=Limits::VALUE_DEPTH_MAX {
            deep = Value::Values(vec![deep]);
        }
        assert_eq!(encode(&deep, &mut Vec::new()), Err(ValueError::TooDeep));
        let mut bytes = Vec::new();
        for _ in 0..100 {
            bytes.extend_from_slice(&[VALUES, 1, 0, 0, 0]);
        }
        bytes.push(NULL);
        assert_eq!(decode(&bytes), Err(ValueError::TooDeep));
    }
}

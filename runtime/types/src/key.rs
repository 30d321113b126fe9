//! Entity keys: the typed values of a view's join keys, in a compact order-preserving encoding.
//!
//! The components stand in the order of their join-key names, as in Feast. Integers and instants
//! are big-endian with the sign bit flipped (4 or 8 bytes). Text and bytes stand as they are when
//! they come last; before another component each `00` becomes `00 ff` and `00 00` ends them. The
//! types are not part of the key: a view whose key types change gets a new table. The key of an
//! entity-less view is empty.

use std::fmt;

use crate::{Limits, ScalarType, ValueType};

/// The type of one join key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum KeyType {
    /// Raw bytes.
    Bytes = 1,
    /// UTF-8 text.
    String = 2,
    /// Signed 32-bit integer.
    Int32 = 3,
    /// Signed 64-bit integer.
    Int64 = 4,
    /// Microseconds since the epoch.
    UnixTimestamp = 8,
}

/// One component of an entity key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyValue<'a> {
    /// Raw bytes.
    Bytes(&'a [u8]),
    /// UTF-8 text.
    String(&'a str),
    /// Signed 32-bit integer.
    Int32(i32),
    /// Signed 64-bit integer.
    Int64(i64),
    /// Microseconds since the epoch.
    UnixTimestamp(i64),
}

/// Why a key could not be encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Longer than [`Limits::KEY_BYTES_MAX`].
    #[error("the entity key is longer than {} bytes", Limits::KEY_BYTES_MAX)]
    TooLong,
    /// The bytes are not a key of these types.
    #[error("malformed entity key")]
    Malformed,
}

/// An encoded entity key, reused from row to row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityKey {
    bytes: Vec<u8>,
}

// === impl KeyType ===

impl KeyType {
    /// The key type of an entity's declared type; `None` for types Feast cannot use as keys.
    #[must_use]
    pub fn from_value_type(value_type: ValueType) -> Option<Self> {
        match value_type {
            ValueType::Scalar(ScalarType::Bytes) => Some(Self::Bytes),
            ValueType::Scalar(ScalarType::String) => Some(Self::String),
            ValueType::Scalar(ScalarType::Int32) => Some(Self::Int32),
            ValueType::Scalar(ScalarType::Int64) => Some(Self::Int64),
            ValueType::Scalar(ScalarType::UnixTimestamp) => Some(Self::UnixTimestamp),
            _ => None,
        }
    }

    /// The value type of this key.
    #[must_use]
    pub fn value_type(self) -> ValueType {
        ValueType::Scalar(match self {
            Self::Bytes => ScalarType::Bytes,
            Self::String => ScalarType::String,
            Self::Int32 => ScalarType::Int32,
            Self::Int64 => ScalarType::Int64,
            Self::UnixTimestamp => ScalarType::UnixTimestamp,
        })
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value_type().fmt(f)
    }
}

// === impl EntityKey ===

impl EntityKey {
    /// An empty key.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The encoded bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The encoded bytes, owned.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Empties the key for the next row.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends one component; `last` says that none follows.
    ///
    /// # Errors
    /// [`KeyError::TooLong`].
    #[inline]
    pub fn push(&mut self, value: KeyValue<'_>, last: bool) -> Result<(), KeyError> {
        match value {
            KeyValue::Int32(value) => {
                self.bytes
                    .extend_from_slice(&(value.cast_unsigned() ^ (1 << 31)).to_be_bytes());
            }
            KeyValue::Int64(value) | KeyValue::UnixTimestamp(value) => {
                self.bytes
                    .extend_from_slice(&(value.cast_unsigned() ^ (1 << 63)).to_be_bytes());
            }
            KeyValue::String(text) => self.push_bytes(text.as_bytes(), last),
            KeyValue::Bytes(bytes) => self.push_bytes(bytes, last),
        }
        if self.bytes.len() > Limits::KEY_BYTES_MAX {
            Err(KeyError::TooLong)
        } else {
            Ok(())
        }
    }

    fn push_bytes(&mut self, bytes: &[u8], last: bool) {
        if last {
            self.bytes.extend_from_slice(bytes);
            return;
        }
        for byte in bytes {
            self.bytes.push(*byte);
            if *byte == 0 {
                self.bytes.push(0xff);
            }
        }
        self.bytes.extend_from_slice(&[0, 0]);
    }

    /// The components of an encoded key, for tools and tests: text keys that held `00` come back
    /// with it, so the components are owned.
    ///
    /// # Errors
    /// [`KeyError::Malformed`].
    pub fn decode(types: &[KeyType], bytes: &[u8]) -> Result<Vec<crate::Value>, KeyError> {
        let mut rest = bytes;
        let mut values = Vec::with_capacity(types.len());
        for (index, key_type) in types.iter().enumerate() {
            let last = index + 1 == types.len();
            values.push(decode_component(*key_type, last, &mut rest)?);
        }
        if rest.is_empty() {
            Ok(values)
        } else {
            Err(KeyError::Malformed)
        }
    }
}

fn decode_component(
    key_type: KeyType,
    last: bool,
    rest: &mut &[u8],
) -> Result<crate::Value, KeyError> {
    use crate::Value;
    let integer = |rest: &mut &[u8]| {
        let (head, tail) = rest.split_first_chunk::<8>().ok_or(KeyError::Malformed)?;
        *rest = tail;
        Ok((u64::from_be_bytes(*head) ^ (1 << 63)).cast_signed())
    };
    Ok(match key_type {
        KeyType::Int32 => {
            let (head, tail) = rest.split_first_chunk::<4>().ok_or(KeyError::Malformed)?;
            *rest = tail;
            Value::Int32((u32::from_be_bytes(*head) ^ (1 << 31)).cast_signed())
        }
        KeyType::Int64 => Value::Int64(integer(rest)?),
        KeyType::UnixTimestamp => Value::UnixTimestamp(integer(rest)?),
        KeyType::Bytes => Value::Bytes(unescape(last, rest)?),
        KeyType::String => {
            Value::Text(String::from_utf8(unescape(last, rest)?).map_err(|_| KeyError::Malformed)?)
        }
    })
}

fn unescape(last: bool, rest: &mut &[u8]) -> Result<Vec<u8>, KeyError> {
    if last {
        return Ok(std::mem::take(rest).to_vec());
    }
    let mut out = Vec::new();
    while let Some((byte, tail)) = rest.split_first() {
        *rest = tail;
        if *byte != 0 {
            out.push(*byte);
            continue;
        }
        let (mark, tail) = rest.split_first().ok_or(KeyError::Malformed)?;
        *rest = tail;
        match mark {
            0 => return Ok(out),
            0xff => out.push(0),
            _ => return Err(KeyError::Malformed),
        }
    }
    Err(KeyError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    fn key(values: &[KeyValue<'_>]) -> EntityKey {
        let mut key = EntityKey::new();
        for (index, value) in values.iter().enumerate() {
            key.push(*value, index + 1 == values.len()).unwrap();
        }
        key
    }

    #[test]
    fn encoding_keeps_the_order_of_values() {
        let numbers = [i64::MIN, -2, -1, 0, 1, 1001, i64::MAX];
        for pair in numbers.windows(2) {
            assert!(key(&[KeyValue::Int64(pair[0])]) < key(&[KeyValue::Int64(pair[1])]));
        }
        let texts = ["", "\0", "\0a", "a", "a\0", "ab", "b"];
        for pair in texts.windows(2) {
            let with = |text| key(&[KeyValue::String(text), KeyValue::Int32(0)]);
            assert!(with(pair[0]) < with(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn keys_decode_to_what_was_pushed() {
        let types = [KeyType::String, KeyType::Int32, KeyType::Bytes];
        let encoded = key(&[
            KeyValue::String("a\0b"),
            KeyValue::Int32(-7),
            KeyValue::Bytes(&[0, 1]),
        ]);
        let expect = vec![
            Value::Text("a\0b".into()),
            Value::Int32(-7),
            Value::Bytes(vec![0, 1]),
        ];
        assert_eq!(EntityKey::decode(&types, encoded.as_bytes()), Ok(expect));
        assert!(EntityKey::decode(&types, &[0, 1]).is_err());
    }

    #[test]
    fn overlong_keys_are_refused() {
        let long = "x".repeat(Limits::KEY_BYTES_MAX + 1);
        assert_eq!(
            EntityKey::new().push(KeyValue::String(&long), true),
            Err(KeyError::TooLong)
        );
    }
}

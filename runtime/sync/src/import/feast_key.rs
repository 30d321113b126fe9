//! Feast's serialized entity keys, versions 1 to 3.
//!
//! Version 3: the number of keys (u32 LE), for each join key its type (always STRING), the length
//! of its name and the name, then for each value its type, length and bytes. Versions 1 and 2 have
//! neither the number nor the lengths of the names; version 1 writes 64-bit integers in as many
//! bytes as the machine's `long` has.

use galley_types::{EntityKey, KeyType, KeyValue};

/// A join key of the view a key is read for.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) key_type: KeyType,
}

/// The join key of rows without entities, always with an empty text.
const DUMMY: &str = "__dummy_id";
const STRING: u32 = 2;

/// Reads `bytes` into `key` in this node's encoding. `components` are the view's join keys sorted by
/// name; empty for a view without entities. `false` for a row that Feast itself cannot reach: one
/// written straight to a view without entities, which it puts under a key of no components.
///
/// # Errors
/// What does not fit.
pub(super) fn decode(
    bytes: &[u8],
    components: &[Component],
    key: &mut EntityKey,
) -> Result<bool, String> {
    key.clear();
    if components.is_empty() {
        if bytes == [0, 0, 0, 0] || bytes.is_empty() {
            return Ok(false);
        }
        let dummy = Component {
            name: DUMMY.to_owned(),
            key_type: KeyType::String,
        };
        return values(bytes, std::slice::from_ref(&dummy)).map(|_| true);
    }
    let values = values(bytes, components)?;
    let last = components.len() - 1;
    for (index, (value, component)) in values.iter().zip(components).enumerate() {
        let value = fit(*value, component)?;
        key.push(value, index == last)
            .map_err(|error| error.to_string())?;
    }
    Ok(true)
}

/// One value as it is written: its type number and bytes.
type Raw<'a> = (u32, &'a [u8]);

fn values<'a>(bytes: &'a [u8], components: &[Component]) -> Result<Vec<Raw<'a>>, String> {
    version_3(bytes, components)
        .or_else(|| version_2(bytes, components))
        .ok_or_else(|| {
            let names: Vec<_> = components.iter().map(|part| part.name.as_str()).collect();
            format!(
                "the entity key is not one of join keys {} in Feast's encoding 1, 2 or 3",
                names.join(", ")
            )
        })
}

fn version_3<'a>(bytes: &'a [u8], components: &[Component]) -> Option<Vec<Raw<'a>>> {
    let mut rest = bytes;
    if number(&mut rest)? as usize != components.len() {
        return None;
    }
    for component in components {
        if number(&mut rest)? != STRING || prefixed(&mut rest)? != component.name.as_bytes() {
            return None;
        }
    }
    tail(rest, components.len())
}

fn version_2<'a>(bytes: &'a [u8], components: &[Component]) -> Option<Vec<Raw<'a>>> {
    let mut rest = bytes;
    for component in components {
        if number(&mut rest)? != STRING {
            return None;
        }
        rest = rest.strip_prefix(component.name.as_bytes())?;
    }
    tail(rest, components.len())
}

fn tail(mut rest: &[u8], count: usize) -> Option<Vec<Raw<'_>>> {
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push((number(&mut rest)?, prefixed(&mut rest)?));
    }
    rest.is_empty().then_some(values)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (head, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    Some(u32::from_le_bytes(*head))
}

fn prefixed<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(rest)? as usize;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn fit<'a>((number, bytes): Raw<'a>, component: &Component) -> Result<KeyValue<'a>, String> {
    let Component { name, key_type } = component;
    let integer = || match bytes.len() {
        4 => bytes
            .first_chunk()
            .map(|raw| i64::from(i32::from_le_bytes(*raw))),
        8 => bytes.first_chunk().map(|raw| i64::from_le_bytes(*raw)),
        _ => None,
    };
    let value = match (key_type, number) {
        (KeyType::Bytes, 1 | 2) => Some(KeyValue::Bytes(bytes)),
        (KeyType::String, 2) => std::str::from_utf8(bytes).ok().map(KeyValue::String),
        (KeyType::Int64, 3 | 4) => integer().map(KeyValue::Int64),
        (KeyType::Int32, 3 | 4) => integer()
            .and_then(|value| i32::try_from(value).ok())
            .map(KeyValue::Int32),
        (KeyType::UnixTimestamp, 4 | 8) => integer()
            .and_then(|seconds| seconds.checked_mul(1_000_000))
            .map(KeyValue::UnixTimestamp),
        _ => None,
    };
    value.ok_or_else(|| {
        format!(
            "join key {name}: expected {key_type}, got {} bytes of Feast's type number {number}",
            bytes.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use galley_types::Value;
    use proptest::prelude::*;

    fn parts(parts: &[(&str, KeyType)]) -> Vec<Component> {
        parts
            .iter()
            .map(|(name, key_type)| Component {
                name: (*name).into(),
                key_type: *key_type,
            })
            .collect()
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len() / 2)
            .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap())
            .collect()
    }

    fn check(bytes: &str, components: &[(&str, KeyType)], expect: &[Value]) {
        let mut key = EntityKey::new();
        decode(&hex(bytes), &parts(components), &mut key).unwrap();
        let types: Vec<_> = components.iter().map(|(_, key_type)| *key_type).collect();
        assert_eq!(EntityKey::decode(&types, key.as_bytes()).unwrap(), expect);
    }

    #[test]
    fn keys_of_all_versions_are_read() {
        let driver = [("driver_id", KeyType::Int64)];
        let v3 = "01000000 02000000 09000000 6472697665725f6964 04000000 08000000 e903000000000000";
        let v2 = "02000000 6472697665725f6964 04000000 08000000 e903000000000000";
        let v1 = "02000000 6472697665725f6964 04000000 04000000 e9030000";
        for bytes in [v3, v2, v1] {
            check(bytes, &driver, &[Value::Int64(1001)]);
        }
        check(v3, &[("driver_id", KeyType::Int32)], &[Value::Int32(1001)]);
        check(
            "02000000 02000000 0B000000 637573746F6D65725F6964 02000000 09000000 6472697665725F6964 \
             02000000 04000000 43303034 04000000 08000000 EB03000000000000",
            &[
                ("customer_id", KeyType::String),
                ("driver_id", KeyType::Int64),
            ],
            &[Value::Text("C004".into()), Value::Int64(1003)],
        );
    }

    #[test]
    fn the_dummy_key_is_our_empty_key() {
        let mut key = EntityKey::new();
        let dummy = "01000000 02000000 0A000000 5F5F64756D6D795F6964 02000000 00000000";
        assert_eq!(decode(&hex(dummy), &[], &mut key), Ok(true));
        assert!(key.as_bytes().is_empty());
        assert_eq!(decode(&hex("00000000"), &[], &mut key), Ok(false));
    }

    #[test]
    fn a_key_of_another_type_or_name_is_refused() {
        let v3 =
            hex("01000000 02000000 09000000 6472697665725f6964 04000000 08000000 e903000000000000");
        let mut key = EntityKey::new();
        let message = decode(&v3, &parts(&[("driver_id", KeyType::String)]), &mut key).unwrap_err();
        assert!(message.contains("driver_id: expected STRING"), "{message}");
        let message =
            decode(&v3, &parts(&[("customer_id", KeyType::Int64)]), &mut key).unwrap_err();
        assert!(message.contains("join keys customer_id"), "{message}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80), two in any::<bool>()) {
            let one = [("a", KeyType::Int64), ("b", KeyType::String)];
            let components = parts(if two { &one } else { &one[..1] });
            let _ = decode(&bytes, &components, &mut EntityKey::new());
            let _ = decode(&bytes, &[], &mut EntityKey::new());
        }
    }
}

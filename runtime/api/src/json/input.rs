//! Bodies as trees of borrowed values.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::fmt;

use galley_node::Input;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::JsonError;

/// How deep a body may nest.
pub(crate) const DEPTH_MAX: u8 = 64;
/// What the error says when it nests deeper.
pub(super) const TOO_DEEP: &str = "nested deeper than 64 levels";
/// From how many entries on an object looks for its repeated keys with a table.
const LINEAR_ENTRIES_MAX: usize = 16;
/// How many values a body may hold; each takes more memory than text.
pub(crate) const VALUES_MAX: usize = 2_000_000;
/// What the error says when it holds more.
pub(super) const TOO_MANY: &str = "more than 2000000 values in one body";
/// How deep the columns of a body lie; what is deeper is mostly short.
const COLUMN_DEPTH: u8 = 2;

/// What outlives a body's reading: room for a text whose bare `NaN` and `Infinity` had to be
/// rewritten, and the count of its values.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    text: OnceCell<Vec<u8>>,
    values: Cell<usize>,
}

/// Reads `body` as one JSON value.
///
/// # Errors
/// [`JsonError`] with the place and the reason, in the words of Python's `json`.
pub(crate) fn parse_tree<'a>(body: &'a [u8], spare: &'a Spare) -> Result<Input<'a>, JsonError> {
    match read(body, spare) {
        Ok(input) => Ok(input),
        Err(error) => match rewritten(body, spare) {
            Some(text) => read(text, spare).map_err(|_| JsonError::of(&error, body)),
            None => Err(JsonError::of(&error, body)),
        },
    }
}

fn read<'a>(body: &'a [u8], spare: &Spare) -> Result<Input<'a>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let input = InputSeed::new(spare, 0).deserialize(&mut reader)?;
    reader.end()?;
    Ok(input)
}

/// `body` with the tokens that only Python writes put into quotes, or `None` where it has none.
pub(super) fn rewritten<'a>(body: &[u8], spare: &'a Spare) -> Option<&'a [u8]> {
    let text = quote_constants(body)?;
    Some(spare.text.get_or_init(|| text))
}

/// Puts `NaN`, `Infinity` and `-Infinity` outside strings into quotes.
fn quote_constants(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut rest, mut in_string, mut found) = (body, false, false);
    while let Some((byte, tail)) = rest.split_first() {
        let token = match byte {
            b'N' if !in_string => "NaN",
            b'I' if !in_string => "Infinity",
            b'-' if !in_string => "-Infinity",
            _ => "",
        };
        if !token.is_empty()
            && let Some(after) = rest.strip_prefix(token.as_bytes())
        {
            found = true;
            out.push(b'"');
            out.extend_from_slice(token.as_bytes());
            out.push(b'"');
            rest = after;
            continue;
        }
        out.push(*byte);
        rest = tail;
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                if let Some((escaped, after)) = rest.split_first() {
                    out.push(*escaped);
                    rest = after;
                }
            }
            _ => {}
        }
    }
    found.then_some(out)
}

/// Reads one value at a depth.
#[derive(Clone, Copy)]
pub(super) struct InputSeed<'s> {
    /// How many lists and objects lie around the value.
    depth: u8,
    values: &'s Cell<usize>,
}

/// Reads a string, borrowed where it has no escapes.
pub(super) struct TextSeed;

// === impl InputSeed ===

impl<'de> DeserializeSeed<'de> for InputSeed<'_> {
    type Value = Input<'de>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'s> InputSeed<'s> {
    /// A seed for a value with so many lists and objects around it. At depth 0 the count starts.
    pub(super) fn new(spare: &'s Spare, depth: u8) -> Self {
        if depth == 0 {
            spare.values.set(0);
        }
        Self {
            depth,
            values: &spare.values,
        }
    }

    /// The seed of what lies in this value.
    pub(super) fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(TOO_DEEP));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }

    fn count<E: serde::de::Error>(self) -> Result<(), E> {
        let count = self.values.get() + 1;
        self.values.set(count);
        if count > VALUES_MAX {
            return Err(E::custom(TOO_MANY));
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for InputSeed<'_> {
    type Value = Input<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Input::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Input::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Input::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Input::UInt(value), Input::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Input::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Input::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Input::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Input::Text(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        self.list(items).map(Input::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let seed = self.inner()?;
        let mut fields = Fields::default();
        while let Some(name) = entries.next_key_seed(TextSeed)? {
            let value = entries.next_value_seed(seed)?;
            self.count()?;
            fields.set(name, value);
        }
        Ok(Input::Object(fields.entries))
    }
}

impl InputSeed<'_> {
    /// Reads the elements of a list.
    pub(super) fn list<'de, A: SeqAccess<'de>>(
        self,
        mut items: A,
    ) -> Result<Vec<Input<'de>>, A::Error> {
        let seed = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(seed)? {
            self.count()?;
            if list.is_empty() && self.depth > COLUMN_DEPTH {
                list.reserve_exact(1);
            }
            list.push(item);
        }
        Ok(list)
    }
}

// === impl TextSeed ===

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text))
    }
}

/// The entries of an object while they are read: of a repeated key the last value stands, at the
/// place of the first, as in a Python dict.
pub(super) struct Fields<'a, V> {
    /// What was read.
    pub(super) entries: Vec<(Cow<'a, str>, V)>,
    /// Made when there are more than are searched.
    places: Option<HashMap<Cow<'a, str>, usize>>,
}

impl<V> Default for Fields<'_, V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            places: None,
        }
    }
}

impl<'a, V> Fields<'a, V> {
    /// Adds an entry, or replaces the one of the same name.
    pub(super) fn set(&mut self, name: Cow<'a, str>, value: V) {
        if let Some(place) = self.place(&name)
            && let Some((_, held)) = self.entries.get_mut(place)
        {
            *held = value;
            return;
        }
        if self.entries.len() >= LINEAR_ENTRIES_MAX {
            let places = self.places.get_or_insert_default();
            places.insert(name.clone(), self.entries.len());
        }
        if self.entries.is_empty() {
            // Many small objects should not each take the room of four entries.
            self.entries.reserve_exact(1);
        }
        self.entries.push((name, value));
    }

    /// The first entries are searched, later ones looked up, so that a body of very many keys
    /// costs no more than its length.
    fn place(&self, name: &str) -> Option<usize> {
        let first = self.entries.iter().take(LINEAR_ENTRIES_MAX);
        first
            .clone()
            .position(|(held, _)| held == name)
            .or_else(|| self.places.as_ref()?.get(name).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<String, JsonError> {
        let spare = Spare::default();
        parse_tree(body.as_bytes(), &spare).map(|input| format!("{input:?}"))
    }

    #[test]
    fn numbers_keep_their_exact_value() {
        assert_eq!(parse("9007199254740993").unwrap(), "Int(9007199254740993)");
        assert_eq!(
            parse("18446744073709551615").unwrap(),
            "UInt(18446744073709551615)"
        );
        assert_eq!(
            parse("-9223372036854775808").unwrap(),
            "Int(-9223372036854775808)"
        );
        assert_eq!(parse("1.0").unwrap(), "Float(1.0)");
        // Shortest text of a double whose naive reading is off by one unit in the last place.
        assert_eq!(
            parse("0.9868011474609375").unwrap(),
            "Float(0.9868011474609375)"
        );
        assert_eq!(
            parse("2.638344616030823e-256").unwrap(),
            "Float(2.638344616030823e-256)"
        );
    }

    #[test]
    fn the_last_of_repeated_keys_stands() {
        let spare = Spare::default();
        let body = br#"{"a":1,"b":2,"a":3}"#;
        let Input::Object(entries) = parse_tree(body, &spare).unwrap() else {
            panic!("not an object")
        };
        assert_eq!(entries.len(), 2);
        assert!(matches!(entries[0].1, Input::Int(3)));
        let many: String = (0..100).map(|n| format!("\"k{}\":{n},", n % 40)).collect();
        let body = format!("{{{many}\"z\":0}}");
        let Input::Object(entries) = parse_tree(body.as_bytes(), &spare).unwrap() else {
            panic!("not an object")
        };
        assert_eq!(entries.len(), 41);
        assert!(matches!(entries[19].1, Input::Int(99)));
        assert!(matches!(entries[20].1, Input::Int(60)));
    }

    #[test]
    fn pythons_constants_are_read_outside_strings_only() {
        let text = parse(r#"{"a":[NaN,Infinity,-Infinity,-1],"b":"NaN \" NaN"}"#).unwrap();
        assert!(text.contains(r#"Text("-Infinity"), Int(-1)"#), "{text}");
        assert!(text.contains(r#"Text("NaN \" NaN")"#), "{text}");
        assert!(parse("[NaN,]").is_err());
        assert!(parse("[Nan]").is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(64)).is_ok());
        let error = parse(&nested(65)).unwrap_err();
        assert_eq!(error.reason, TOO_DEEP);
        assert!(parse(&"[".repeat(1 << 20)).is_err());
        assert!(parse(&"{\"a\":".repeat(1 << 18)).is_err());
    }

    #[test]
    fn values_are_counted() {
        let body = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
        assert!(parse(&body(VALUES_MAX)).is_ok());
        assert_eq!(parse(&body(VALUES_MAX + 1)).unwrap_err().reason, TOO_MANY);
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        for bad in [
            "",
            "{",
            "tru",
            "[1 2]",
            "1 1",
            "\"\\ud800\"",
            "01",
            "'a'",
            "[1,]",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let spare = Spare::default();
        assert!(parse_tree(b"\"\xff\"", &spare).is_err());
    }
}

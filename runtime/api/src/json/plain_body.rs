//! Bodies of look-ups as nearly all clients write them, read in one pass over their bytes.
//!
//! What is read here is a part of JSON: texts without escapes, and columns of texts, numbers, truth
//! values and nulls. Every other body, one that is no JSON at all too, is left to the reader of all
//! JSON ([`super::get_body`]), and what both read means the same to both.

use std::borrow::Cow;
use std::cell::RefCell;

use galley_node::Input;

use super::get_body::{
    ENTITIES, FEATURES, FRESHNESS, FULL_NAMES, Features, GetBody, SERVICE, VERSIONS,
};
use super::input::Fields;

/// Bytes of a body that is read here: it holds fewer values than a body may.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Digits of an integer that is read here: it fits 64 bits.
const DIGITS_MAX: usize = 18;
/// Columns for which room is made at first.
const COLUMNS_EXPECTED: usize = 4;

/// Bytes of a list of features that is remembered.
const REMEMBERED_BYTES_MAX: usize = 16 << 10;

thread_local! {
    /// The list of features read last: most look-ups ask for what another has asked for.
    static REMEMBERED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Eight bytes of value one each.
const ONES: u64 = u64::from_le_bytes([1; 8]);
/// The highest bit of eight bytes each.
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// Reads a body; `None` when it is not one that is read here.
pub(super) fn read(body: &[u8]) -> Option<GetBody<'_>> {
    if body.len() > BODY_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    let mut cursor = Cursor { text, at: 0 };
    let read = cursor.body()?;
    cursor.peek().is_none().then_some(read)
}

/// A text and how far it is read.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The next byte that is no space, without passing it.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Passes `word` and gives what it means.
    fn word<T>(&mut self, word: &str, meaning: T) -> Option<T> {
        self.rest().starts_with(word.as_bytes()).then(|| {
            self.at += word.len();
            meaning
        })
    }

    /// Passes elements with commas between them.
    #[inline]
    fn each(
        &mut self,
        (open, close): (u8, u8),
        mut element: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.take(open)?;
        if self.take(close).is_some() {
            return Some(());
        }
        loop {
            element(self)?;
            let byte = self.peek()?;
            self.at += 1;
            if byte == close {
                return Some(());
            }
            if byte != b',' {
                return None;
            }
        }
    }

    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let rest = self.rest();
        let length = plain_length(rest)?;
        if rest.get(length) != Some(&b'"') {
            return None;
        }
        let text = self.text.get(self.at..self.at + length)?;
        self.at += length + 1;
        Some(text)
    }

    fn body(&mut self) -> Option<GetBody<'a>> {
        let mut body = GetBody::default();
        let mut has_entities = false;
        self.each((b'{', b'}'), |cursor| {
            let name = cursor.string()?;
            cursor.take(b':')?;
            match name {
                ENTITIES => {
                    has_entities = true;
                    body.entities = cursor.columns()?;
                }
                SERVICE => body.service = cursor.optional_string()?,
                FEATURES => body.features = Features::Text(cursor.strings()?),
                FULL_NAMES => body.full_feature_names = cursor.flag()?,
                VERSIONS => body.version_metadata = cursor.flag()?,
                FRESHNESS => body.freshness = cursor.flag()?,
                _ => return None,
            }
            Some(())
        })?;
        has_entities.then_some(body)
    }

    fn optional_string(&mut self) -> Option<Option<Cow<'a, str>>> {
        match self.peek()? {
            b'n' => self.word("null", None),
            _ => self.string().map(|text| Some(Cow::Borrowed(text))),
        }
    }

    fn flag(&mut self) -> Option<bool> {
        match self.peek()? {
            b't' => self.word("true", true),
            _ => self.word("false", false),
        }
    }

    /// Passes a list of texts and gives it as it stands.
    fn strings(&mut self) -> Option<&'a str> {
        self.peek()?;
        let start = self.at;
        REMEMBERED.with_borrow_mut(|remembered| {
            // What begins as a list that was read before ends where that list ended.
            if !remembered.is_empty() && self.rest().starts_with(remembered.as_bytes()) {
                self.at += remembered.len();
                return self.text.get(start..self.at);
            }
            self.each((b'[', b']'), |cursor| cursor.string().map(drop))?;
            let list = self.text.get(start..self.at)?;
            if list.len() <= REMEMBERED_BYTES_MAX {
                list.clone_into(remembered);
            }
            Some(list)
        })
    }

    fn columns(&mut self) -> Option<Vec<(Cow<'a, str>, Vec<Input<'a>>)>> {
        let mut columns = Fields::default();
        columns.entries.reserve_exact(COLUMNS_EXPECTED);
        self.each((b'{', b'}'), |cursor| {
            let name = cursor.string()?;
            cursor.take(b':')?;
            let mut values = Vec::with_capacity(1);
            cursor.each((b'[', b']'), |cursor| {
                values.push(cursor.value()?);
                Some(())
            })?;
            columns.set(Cow::Borrowed(name), values);
            Some(())
        })?;
        Some(columns.entries)
    }

    #[inline]
    fn value(&mut self) -> Option<Input<'a>> {
        match self.peek()? {
            b'"' => self.string().map(|text| Input::Text(Cow::Borrowed(text))),
            b'n' => self.word("null", Input::Null),
            b't' => self.word("true", Input::Bool(true)),
            b'f' => self.word("false", Input::Bool(false)),
            _ => self.number(),
        }
    }

    #[inline]
    fn number(&mut self) -> Option<Input<'a>> {
        let rest = self.rest();
        let is_negative = rest.first() == Some(&b'-');
        let digits = rest.get(usize::from(is_negative)..)?;
        let mut number = 0_i64;
        let mut count = 0;
        for byte in digits.iter().take(DIGITS_MAX) {
            if !byte.is_ascii_digit() {
                break;
            }
            number = number * 10 + i64::from(byte - b'0');
            count += 1;
        }
        match digits.get(count) {
            Some(b'.' | b'e' | b'E') => return self.float(),
            Some(b'0'..=b'9') => return None,
            _ => {}
        }
        // A zero leads no integer, and with a sign it is none.
        let is_zero_first = digits.first() == Some(&b'0');
        if count == 0 || (is_zero_first && (count > 1 || is_negative)) {
            return None;
        }
        self.at += usize::from(is_negative) + count;
        Some(Input::Int(if is_negative { -number } else { number }))
    }

    fn float(&mut self) -> Option<Input<'a>> {
        let is_of_number =
            |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = self.rest().iter().take_while(is_of_number).count();
        let text = self.text.get(self.at..self.at + length)?;
        let number = serde_json::from_str(text).ok()?;
        self.at += length;
        Some(Input::Float(number))
    }
}

/// Bytes before the first that ends a text or needs care: a quote, a backslash or a control character.
#[inline]
fn plain_length(bytes: &[u8]) -> Option<usize> {
    let zeros = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes & HIGH;
    let all = |byte: u8| ONES * u64::from(byte);
    let (eights, rest) = bytes.as_chunks::<8>();
    for (index, eight) in eights.iter().enumerate() {
        let eight = u64::from_le_bytes(*eight);
        let below_space = eight.wrapping_sub(all(b' ')) & !eight & HIGH;
        // The lowest bit that is set is never a mistaken one.
        let found = zeros(eight ^ all(b'"')) | zeros(eight ^ all(b'\\')) | below_space;
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let at = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
    rest.iter()
        .position(at)
        .map(|found| eights.len() * 8 + found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::input::Spare;
    use super::*;

    /// What is read here is read by the reader of all JSON and means the same.
    fn check(body: &[u8]) -> bool {
        let Some(read) = read(body) else {
            return false;
        };
        let spare = Spare::default();
        let general = GetBody::read(body, &spare);
        let shown = String::from_utf8_lossy(body);
        assert_eq!(Some(read), general.ok(), "{shown}");
        true
    }

    #[test]
    fn what_clients_write_is_read_here() {
        for body in [
            r#"{"features":["v:f","v:g"],"entities":{"a":[1,-2,0],"b":["x","\u00e9 y",""]}}"#
                .replace("\\u00e9", "\u{e9}"),
            "{\"entities\": {\"a\": [1.5, -0.25, 1e5, -0.0, 123456789012345678]},\n\t\"features\": [\"v:f\", \"w:g\"], \"full_feature_names\": true}\r\n".to_owned(),
            r#"{"feature_service":"s","entities":{"a":[true,false,null]},"include_freshness":false,"include_feature_view_version_metadata":true}"#.to_owned(),
            r#"{"features":[],"feature_service":null,"entities":{}}"#.to_owned(),
            r#"{"entities":{"a":[1]},"entities":{"b":[1],"b":[2]},"features":["x"],"features":["y"]}"#.to_owned(),
        ] {
            assert!(check(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn everything_else_is_left_to_the_other_reader() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"features":["v:f"]}"#,
            r#"{"entities":{"a":[1]}"#,
            r#"{"entities":{"a":[1]}} x"#,
            r#"{"entities":{"a":[1],}}"#,
            r#"{"entities":{"a":[01]}}"#,
            r#"{"entities":{"a":[-0]}}"#,
            r#"{"entities":{"a":[-]}}"#,
            r#"{"entities":{"a":[1.]}}"#,
            r#"{"entities":{"a":[.5]}}"#,
            r#"{"entities":{"a":[1e999]}}"#,
            r#"{"entities":{"a":[1234567890123456789]}}"#,
            r#"{"entities":{"a":[-9999999999999999999]}}"#,
            r#"{"entities":{"a":[999999999999999999999999]}}"#,
            r#"{"entities":{"a":[999999999999999999999999.5]}}"#,
            r#"{"entities":{"a":[nul]}}"#,
            r#"{"entities":{"a":[NaN]}}"#,
            r#"{"entities":{"a":[[1]]}}"#,
            r#"{"entities":{"a":["\n"]}}"#,
            r#"{"entities":{"a":["\u0041"]}}"#,
            "{\"entities\":{\"a\":[\"\n\"]}}",
            r#"{"entities":{"a":[1]},"features":"v:f"}"#,
            r#"{"entities":{"a":[1]},"features":["v:f" "v:g"]}"#,
            r#"{"entities":{"a":[1]},"full_feature_names":1}"#,
            r#"{"entities":{"a":[1]},"unknown":1}"#,
        ] {
            assert!(!check(body.as_bytes()), "{body}");
        }
        assert!(!check(b"{\"entities\":{\"\xff\":[1]}}"));
    }

    #[test]
    fn a_list_that_begins_as_the_last_is_read_to_its_own_end() {
        for features in [
            r#"["v:f"]"#,
            r#"["v:f","v:g"]"#,
            r#"["v:f"]"#,
            r#"["v:f" ]"#,
            r#"["v:fg"]"#,
            r#"[]"#,
            r#"["v:f"]"#,
        ] {
            let body = format!(r#"{{"features":{features},"entities":{{"a":[1]}}}}"#);
            assert!(check(body.as_bytes()), "{body}");
            let more = format!(r#"{{"features":{features}],"entities":{{"a":[1]}}}}"#);
            assert!(!check(more.as_bytes()), "{more}");
        }
    }

    #[test]
    fn what_needs_care_is_found_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[at] = byte;
                let expected = matches!(byte, b'"' | b'\\' | 0..b' ').then_some(at);
                assert_eq!(plain_length(&bytes), expected, "{byte} at {at}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn no_body_means_two_things(
            numbers in prop::collection::vec(any::<i64>(), 0..4),
            floats in prop::collection::vec(any::<f64>(), 0..4),
            texts in prop::collection::vec(".{0,12}", 0..4),
            written in prop::collection::vec("-?[0-9]{1,24}(\\.[0-9]{0,3})?(e[+-]?[0-9]{1,3})?", 0..4),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let body = serde_json::json!({
                "features": texts,
                "entities": {"a": numbers, "b": floats, "c": texts},
                "full_feature_names": numbers.is_empty(),
            });
            check(format!(r#"{{"entities":{{"a":[{}]}}}}"#, written.join(" , ")).as_bytes());
            let mut body = body.to_string().into_bytes();
            check(&body);
            for (place, byte) in changes {
                let at = place.index(body.len());
                // Mostly bytes that mean something.
                let meaningful = b"{}[]:,\"\\ -.eE0159ntf";
                body[at] = *meaningful.get(usize::from(byte)).unwrap_or(&byte);
                check(&body);
            }
        }
    }
}

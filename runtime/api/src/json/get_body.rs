//! The body of a look-up, read without a tree.

use std::borrow::Cow;
use std::fmt;

use galley_node::Input;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::form::Form;
use super::input::{Fields, InputSeed, Spare, TextSeed, parse_tree, rewritten};
use super::plain_body;
use crate::failure::Failure;

/// What a look-up asks for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct GetBody<'a> {
    /// Feature references.
    pub(crate) features: Features<'a>,
    /// The feature service, which goes before the features; empty counts as none.
    pub(crate) service: Option<Cow<'a, str>>,
    /// Columns by their name.
    pub(crate) entities: Vec<(Cow<'a, str>, Vec<Input<'a>>)>,
    /// Whether outputs are named `view__feature`.
    pub(crate) full_feature_names: bool,
    /// Whether the answer tells the versions of the views.
    pub(crate) version_metadata: bool,
    /// Whether the answer tells how old the rows of the views are.
    pub(crate) freshness: bool,
}

/// Feature references, taken apart only when that is needed.
#[derive(Debug, PartialEq)]
pub(crate) enum Features<'a> {
    /// One by one.
    List(Vec<Cow<'a, str>>),
    /// The text of a JSON value that should be a list of them.
    Text(&'a str),
}

pub(super) const ENTITIES: &str = "entities";
pub(super) const SERVICE: &str = "feature_service";
pub(super) const FEATURES: &str = "features";
pub(super) const FULL_NAMES: &str = "full_feature_names";
/// Room made at first for the references of a look-up.
const FEATURES_EXPECTED: usize = 64;
pub(super) const FRESHNESS: &str = "include_freshness";
pub(super) const VERSIONS: &str = "include_feature_view_version_metadata";

// === impl Features ===

impl<'a> Features<'a> {
    /// The references in the text of a JSON list; `None` when it is none.
    pub(crate) fn take_apart(text: &'a str) -> Option<Vec<Cow<'a, str>>> {
        TextsSeed
            .deserialize(&mut serde_json::Deserializer::from_str(text))
            .ok()
    }

    /// How many there are, or a few more: a text is only counted over.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::List(features) => features.len(),
            Self::Text(text) => text.bytes().filter(|byte| *byte == b',').count() + 1,
        }
    }
}

impl Default for Features<'_> {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

// === impl GetBody ===

impl<'a> GetBody<'a> {
    /// Reads a body: straight into columns when it is what it should be, in one pass over its bytes
    /// when it is also written as most are, else once more into a tree that tells what is wrong with
    /// it or gives way where FastAPI does.
    ///
    /// # Errors
    /// A 422 with FastAPI's details.
    pub(crate) fn parse(body: &'a [u8], spare: &'a Spare) -> Result<Self, Failure> {
        if let Some(read) = plain_body::read(body) {
            return Ok(read);
        }
        if let Ok(read) = Self::read(body, spare) {
            return Ok(read);
        }
        if let Some(text) = rewritten(body, spare)
            && let Ok(read) = Self::read(text, spare)
        {
            return Ok(read);
        }
        Self::parse_slowly(body, spare)
    }

    /// Reads a body into a tree first: every field is looked at.
    ///
    /// # Errors
    /// As [`GetBody::parse`].
    pub(crate) fn parse_slowly(body: &'a [u8], spare: &'a Spare) -> Result<Self, Failure> {
        if body.is_empty() {
            return Err(Failure::body_missing());
        }
        let tree = parse_tree(body, spare).map_err(|error| Failure::json_invalid(&error))?;
        Self::from_tree(tree)
    }

    pub(super) fn read<'b>(
        body: &'b [u8],
        spare: &Spare,
    ) -> Result<GetBody<'b>, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let read = reader.deserialize_map(BodyVisitor(InputSeed::new(spare, 0)))?;
        reader.end()?;
        Ok(read)
    }

    fn from_tree(tree: Input<'a>) -> Result<Self, Failure> {
        let mut form = Form::open(tree, &[ENTITIES])?;
        let body = Self {
            entities: form.columns(ENTITIES),
            service: form.optional_text(SERVICE),
            features: Features::List(form.texts(FEATURES).unwrap_or_default()),
            full_feature_names: form.flag(FULL_NAMES, false),
            version_metadata: form.flag(VERSIONS, false),
            freshness: form.flag(FRESHNESS, false),
        };
        form.finish()?;
        Ok(body)
    }

    /// Rows of the longest column.
    pub(crate) fn row_count(&self) -> usize {
        let lengths = self.entities.iter().map(|(_, column)| column.len());
        lengths.max().unwrap_or(0)
    }
}

/// Reads the body's fields; it holds the seed of the body itself.
struct BodyVisitor<'s>(InputSeed<'s>);

impl<'de> Visitor<'de> for BodyVisitor<'_> {
    type Value = GetBody<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of a look-up")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut body = GetBody::default();
        let mut has_entities = false;
        while let Some(name) = fields.next_key_seed(TextSeed)? {
            // A repeated key leaves nothing of the value before it.
            match name.as_ref() {
                ENTITIES => {
                    has_entities = true;
                    body.entities = fields.next_value_seed(ColumnsSeed(self.0.inner()?))?;
                }
                SERVICE => body.service = fields.next_value_seed(OptionalTextSeed)?,
                FEATURES => {
                    body.features = Features::Text(fields.next_value::<&RawValue>()?.get());
                }
                FULL_NAMES => body.full_feature_names = fields.next_value()?,
                VERSIONS => body.version_metadata = fields.next_value()?,
                FRESHNESS => body.freshness = fields.next_value()?,
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        if has_entities {
            Ok(body)
        } else {
            Err(A::Error::missing_field(ENTITIES))
        }
    }
}

struct TextsSeed;

impl<'de> DeserializeSeed<'de> for TextsSeed {
    type Value = Vec<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for TextsSeed {
    type Value = Vec<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::with_capacity(FEATURES_EXPECTED);
        while let Some(text) = items.next_element_seed(TextSeed)? {
            texts.push(text);
        }
        Ok(texts)
    }
}

struct OptionalTextSeed;

impl<'de> DeserializeSeed<'de> for OptionalTextSeed {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for OptionalTextSeed {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or null")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        TextSeed.deserialize(reader).map(Some)
    }
}

/// Reads the entities.
struct ColumnsSeed<'s>(InputSeed<'s>);

impl<'de> DeserializeSeed<'de> for ColumnsSeed<'_> {
    type Value = Vec<(Cow<'de, str>, Vec<Input<'de>>)>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ColumnsSeed<'_> {
    type Value = Vec<(Cow<'de, str>, Vec<Input<'de>>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lists by their column's name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let seed = self.0.inner()?;
        let mut fields = Fields::default();
        while let Some(name) = entries.next_key_seed(TextSeed)? {
            let column = entries.next_value_seed(ColumnSeed(seed))?;
            fields.set(name, column);
        }
        Ok(fields.entries)
    }
}

/// Reads one column.
struct ColumnSeed<'s>(InputSeed<'s>);

impl<'de> DeserializeSeed<'de> for ColumnSeed<'_> {
    type Value = Vec<Input<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ColumnSeed<'_> {
    type Value = Vec<Input<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        self.0.list(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> (u16, String) {
        let spare = Spare::default();
        let failure = GetBody::parse_slowly(body.as_bytes(), &spare).unwrap_err();
        let text = String::from_utf8(failure.body().to_vec()).unwrap();
        (failure.status().as_u16(), text)
    }

    #[test]
    fn a_sound_body_is_read_without_copies() {
        let spare = Spare::default();
        let body = br#"{"unknown":{"x":[1]},"features":["v:f","v:g"],"entities":{"a":[1,"2",null],"b":[]},"full_feature_names":true,"feature_service":null}"#;
        let read = GetBody::read(body, &spare).unwrap();
        let Features::Text(text) = read.features else {
            panic!("the references were taken apart")
        };
        assert_eq!(text, r#"["v:f","v:g"]"#);
        let features = Features::take_apart(text).unwrap();
        assert!(matches!(
            features[..],
            [Cow::Borrowed("v:f"), Cow::Borrowed("v:g")]
        ));
        assert!(Features::take_apart("[1]").is_none());
        assert_eq!(read.entities.len(), 2);
        assert_eq!(read.row_count(), 3);
        assert!(read.full_feature_names && !read.version_metadata && read.service.is_none());
        assert!(GetBody::parse(body, &spare).is_ok());
    }

    #[test]
    fn bodies_that_fastapi_takes_are_taken() {
        let check = |body: &str, full: bool| {
            let spare = Spare::default();
            let read = GetBody::parse(body.as_bytes(), &spare).unwrap();
            assert_eq!(read.full_feature_names, full, "{body}");
        };
        check(
            r#"{"entities":{"a":[1]},"full_feature_names":"true"}"#,
            true,
        );
        check(r#"{"entities":{"a":[1]},"full_feature_names":1}"#, true);
        check(
            r#"{"entities":{"a":[NaN]},"full_feature_names":"off"}"#,
            false,
        );
        check(
            r#"{"entities":{"a":[1]},"entities":{"b":[1]},"full_feature_names":0.0}"#,
            false,
        );
    }

    #[test]
    fn refusals_are_fastapis() {
        let check = |body: &str, detail: &str| {
            assert_eq!(
                refusal(body),
                (422, format!("{{\"detail\":[{detail}]}}")),
                "{body}"
            );
        };
        check(
            r#"{"features":["v:f"],"entities":{"driver_id":1001}}"#,
            r#"{"type":"list_type","loc":["body","entities","driver_id"],"msg":"Input should be a valid list","input":1001}"#,
        );
        check(
            r#"{"features":["v:f"],"entities":[{"driver_id":1001}]}"#,
            r#"{"type":"dict_type","loc":["body","entities"],"msg":"Input should be a valid dictionary","input":[{"driver_id":1001}]}"#,
        );
        check(
            r#"{"features":["v:f"]}"#,
            r#"{"type":"missing","loc":["body","entities"],"msg":"Field required","input":{"features":["v:f"]}}"#,
        );
        check(
            r#"{"features":"v:f","entities":{"a":[1]}}"#,
            r#"{"type":"list_type","loc":["body","features"],"msg":"Input should be a valid list","input":"v:f"}"#,
        );
        check(
            r#"{"features":[1],"entities":{"a":[1]}}"#,
            r#"{"type":"string_type","loc":["body","features",0],"msg":"Input should be a valid string","input":1}"#,
        );
        check(
            r#"{"entities":{"a":[1]},"full_feature_names":2}"#,
            r#"{"type":"bool_parsing","loc":["body","full_feature_names"],"msg":"Input should be a valid boolean, unable to interpret input","input":2}"#,
        );
        check(
            "{not json",
            r#"{"type":"json_invalid","loc":["body",1],"msg":"JSON decode error","input":{},"ctx":{"error":"Expecting property name enclosed in double quotes"}}"#,
        );
        check(
            "",
            r#"{"type":"missing","loc":["body"],"msg":"Field required","input":null}"#,
        );
        check(
            "[]",
            r#"{"type":"model_attributes_type","loc":["body"],"msg":"Input should be a valid dictionary or object to extract fields from","input":[]}"#,
        );
    }
}

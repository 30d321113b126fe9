//! One table of the manifest, read key by key: what nobody asked for is unknown.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, Result};
use crate::units;

/// How alike two keys must be for one to be proposed for the other.
const NEAR: f64 = 0.75;

/// The text that is read, and where it is from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
}

/// A table that is read.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    pub(crate) file: File<'a>,
    /// The table as a person would write it: `[component.score]`.
    pub(crate) name: String,
    at: usize,
    table: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

/// A value and where it stands.
type Entry<'a> = &'a Spanned<DeValue<'a>>;

impl<'a> File<'a> {
    /// The line a byte is in, from 1.
    pub(crate) fn line(self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// The whole document as a section.
    pub(crate) fn section(self, table: &'a Spanned<DeTable<'a>>) -> Section<'a> {
        Section {
            file: self,
            name: "the manifest".to_owned(),
            at: 0,
            table: table.get_ref(),
            asked: RefCell::default(),
        }
    }
}

// === impl Section ===

impl<'a> Section<'a> {
    /// Where the table begins.
    pub(crate) fn line(&self) -> usize {
        self.file.line(self.at)
    }

    /// The keys that are there, with the lines they are on.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'a str, usize)> {
        let file = self.file;
        self.table
            .iter()
            .map(move |(key, _)| (key.get_ref().as_ref(), file.line(key.span().start)))
    }

    fn get(&self, key: &'static str) -> Option<Entry<'a>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    /// Notes that `key` may be there, whatever it holds; says whether it is.
    pub(crate) fn accept(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn text(&self, key: &'static str) -> Result<Option<String>> {
        self.get(key)
            .map(|value| self.text_of(key, value))
            .transpose()
    }

    pub(crate) fn required_text(&self, key: &'static str, example: &'static str) -> Result<String> {
        match self.text(key)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(self.missing(key, example)),
        }
    }

    pub(crate) fn flag(&self, key: &'static str) -> Result<Option<bool>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(Some(*flag)),
            _ => Err(self.wrong(key, "true or false", value)),
        }
    }

    /// A whole number from 0 up.
    pub(crate) fn count<N: TryFrom<u64>>(&self, key: &'static str) -> Result<Option<N>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        match number.and_then(|number| N::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(key, "a whole number", value)),
        }
    }

    /// A number from 1 up.
    pub(crate) fn some_count<N: TryFrom<u64>>(&self, key: &'static str) -> Result<Option<N>> {
        match (self.count::<u64>(key)?, self.table.get(key)) {
            (Some(0), Some(value)) => Err(self.wrong(key, "a whole number from 1 up", value)),
            _ => self.count(key),
        }
    }

    /// Bytes, more than 0.
    pub(crate) fn size(&self, key: &'static str) -> Result<Option<u64>> {
        self.parsed(key, units::SIZE, |text| {
            units::size(text).filter(|bytes| *bytes > 0)
        })
    }

    /// A time; `0ms` is one.
    pub(crate) fn time(&self, key: &'static str) -> Result<Option<Duration>> {
        self.parsed(key, units::DURATION, units::duration)
    }

    /// A time that is longer than none.
    pub(crate) fn some_time(&self, key: &'static str) -> Result<Option<Duration>> {
        self.parsed(key, units::DURATION, |text| {
            units::duration(text).filter(|time| !time.is_zero())
        })
    }

    /// A text that `parse` understands.
    pub(crate) fn parsed<T>(
        &self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.get_ref().as_str().and_then(parse) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(self.wrong(key, expected, value)),
        }
    }

    /// A list of texts; none where the key is not there.
    pub(crate) fn texts(&self, key: &'static str) -> Result<Vec<String>> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let Some(items) = value.get_ref().as_array() else {
            return Err(self.wrong(key, "a list of strings", value));
        };
        items.iter().map(|item| self.text_of(key, item)).collect()
    }

    /// One text, or a list of them.
    pub(crate) fn one_or_more(&self, key: &'static str) -> Result<Vec<String>> {
        match self.table.get(key).map(Spanned::get_ref) {
            Some(DeValue::String(_)) => Ok(self.text(key)?.into_iter().collect()),
            _ => self.texts(key),
        }
    }

    /// A table of texts.
    pub(crate) fn text_map(&self, key: &'static str) -> Result<BTreeMap<String, String>> {
        let Some(value) = self.get(key) else {
            return Ok(BTreeMap::new());
        };
        let Some(table) = value.get_ref().as_table() else {
            return Err(self.wrong(key, "a table of strings", value));
        };
        let pairs = table.iter().map(|(name, value)| {
            let name = name.get_ref().as_ref();
            Ok((name.to_owned(), self.text_of(name, value)?))
        });
        pairs.collect()
    }

    /// The table under `key`, called `name` in messages.
    pub(crate) fn table(&self, key: &'static str, name: &str) -> Result<Option<Self>> {
        self.get(key)
            .map(|value| self.section_of(key, name, value))
            .transpose()
    }

    /// The tables under each key of this one; `name` makes their names.
    pub(crate) fn children(
        &self,
        name: impl Fn(&str) -> String,
    ) -> impl Iterator<Item = Result<(&'a str, Section<'a>)>> {
        self.table.iter().map(move |(key, value)| {
            let key = key.get_ref().as_ref();
            Ok((key, self.section_of(key, &name(key), value)?))
        })
    }

    /// The tables of each list of this one that `wanted` names.
    pub(crate) fn list(&self, key: &'static str, name: &str) -> Result<Vec<Self>> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let Some(items) = value.get_ref().as_array() else {
            return Err(self.wrong(key, &format!("tables that begin with {name}"), value));
        };
        items
            .iter()
            .map(|item| self.section_of(key, name, item))
            .collect()
    }

    /// Whether what stands under `key` is a table rather than a text.
    pub(crate) fn holds_table(&self, key: &str) -> bool {
        self.table
            .get(key)
            .is_some_and(|value| value.get_ref().is_table())
    }

    /// Refuses keys that nobody asked for.
    pub(crate) fn finish(self) -> Result<()> {
        let asked = self.asked.into_inner();
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if !asked.contains(&name) {
                return Err(Error::UnknownKey {
                    path: self.file.path.to_path_buf(),
                    line: self.file.line(key.span().start),
                    table: self.name,
                    key: name.to_owned(),
                    nearest: nearest(name, asked.iter().copied()),
                });
            }
        }
        Ok(())
    }

    pub(crate) fn missing(&self, key: &'static str, example: &'static str) -> Error {
        Error::MissingKey {
            path: self.file.path.to_path_buf(),
            line: self.line(),
            table: self.name.clone(),
            key,
            example,
        }
    }

    pub(crate) fn contradiction(&self, reason: String) -> Error {
        Error::Contradiction {
            path: self.file.path.to_path_buf(),
            line: self.line(),
            table: self.name.clone(),
            reason,
        }
    }

    /// The value of `key`, which is there, is not what it should be.
    pub(crate) fn wrong_key(&self, key: &str, expected: &str) -> Error {
        match self.table.get(key) {
            Some(value) => self.wrong(key, expected, value),
            None => self.contradiction(format!("'{key}' should be {expected}")),
        }
    }

    fn section_of(&self, key: &str, name: &str, value: Entry<'a>) -> Result<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong(key, "a table", value));
        };
        Ok(Section {
            file: self.file,
            name: name.to_owned(),
            at: value.span().start,
            table,
            asked: RefCell::default(),
        })
    }

    fn text_of(&self, key: &str, value: Entry<'a>) -> Result<String> {
        match value.get_ref().as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(self.wrong(key, "a string", value)),
        }
    }

    fn wrong(&self, key: &str, expected: &str, value: Entry<'a>) -> Error {
        let got = match value.get_ref() {
            DeValue::String(text) => format!("{:?}", clip(text)),
            DeValue::Integer(number) => clip(number.as_str()),
            DeValue::Float(number) => clip(number.as_str()),
            DeValue::Boolean(flag) => flag.to_string(),
            other => format!("a value of type {}", other.type_str()),
        };
        Error::Value {
            path: self.file.path.to_path_buf(),
            line: self.file.line(value.span().start),
            table: self.name.as_str().into(),
            key: key.into(),
            expected: expected.into(),
            got: got.into(),
        }
    }
}

/// The name of `known` that is most like `name`, if one is near.
pub(crate) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.to_owned())
}

/// As much of a value as fits a message.
fn clip(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut clipped: String = text.chars().take(CHARS_MAX).collect();
    if clipped.len() < text.len() {
        clipped.push_str("...");
    }
    clipped
}

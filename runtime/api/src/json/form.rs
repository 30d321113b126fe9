//! Typed fields of a body, checked as pydantic checks them in its lax mode.

use std::borrow::Cow;

use galley_node::Input;

use super::write::{write_input, write_string};
use crate::failure::Failure;

/// A refused input is echoed up to this many bytes; a longer one as null.
const ECHO_BYTES_MAX: usize = 16 << 10;
/// Details told of one body.
const DETAILS_MAX: usize = 64;

/// One step of the way to a value.
#[derive(Clone, Debug)]
pub(crate) enum Place<'a> {
    /// A field's name.
    Name(Cow<'a, str>),
    /// A position in a list or in the body.
    Index(usize),
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug)]
pub(crate) struct Detail<'a> {
    /// pydantic's name of it.
    pub(crate) kind: &'static str,
    /// Where, from `body` or `query` on.
    pub(crate) place: Vec<Place<'a>>,
    /// pydantic's words.
    pub(crate) message: Cow<'static, str>,
    /// The input as JSON.
    pub(crate) input: Vec<u8>,
    /// More of it, for errors in the JSON itself.
    pub(crate) context: Option<&'static str>,
}

/// The fields of a body on their way to being a request.
#[derive(Debug)]
pub(crate) struct Form<'a> {
    fields: Vec<(Cow<'a, str>, Input<'a>)>,
    details: Vec<Detail<'a>>,
}

// === impl Detail ===

impl<'a> Detail<'a> {
    /// A detail with the input it is about.
    pub(crate) fn new(kind: &'static str, place: Vec<Place<'a>>, input: &Input<'_>) -> Self {
        Self {
            kind,
            place,
            message: Cow::Borrowed(message(kind)),
            input: echo(input),
            context: None,
        }
    }

    /// Appends the detail as JSON.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":");
        write_string(self.kind, out);
        out.extend_from_slice(b",\"loc\":[");
        for (index, place) in self.place.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            match place {
                Place::Name(name) => write_string(name, out),
                Place::Index(index) => {
                    out.extend_from_slice(itoa::Buffer::new().format(*index).as_bytes());
                }
            }
        }
        out.extend_from_slice(b"],\"msg\":");
        write_string(&self.message, out);
        out.extend_from_slice(b",\"input\":");
        out.extend_from_slice(&self.input);
        if let Some(error) = self.context {
            out.extend_from_slice(b",\"ctx\":{\"error\":");
            write_string(error, out);
            out.push(b'}');
        }
        out.push(b'}');
    }
}

fn message(kind: &str) -> &'static str {
    match kind {
        "missing" => "Field required",
        "list_type" => "Input should be a valid list",
        "dict_type" => "Input should be a valid dictionary",
        "string_type" => "Input should be a valid string",
        "bool_type" => "Input should be a valid boolean",
        "bool_parsing" => "Input should be a valid boolean, unable to interpret input",
        "json_invalid" => "JSON decode error",
        "model_attributes_type" => {
            "Input should be a valid dictionary or object to extract fields from"
        }
        _ => "Input is not valid",
    }
}

fn echo(input: &Input<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write_input(input, &mut out);
    if out.len() > ECHO_BYTES_MAX {
        b"null".to_vec()
    } else {
        out
    }
}

/// A truth value as pydantic reads it, or the name of what is wrong.
pub(crate) fn lax_bool(input: &Input<'_>) -> Result<bool, &'static str> {
    const TRUE: [&str; 6] = ["1", "on", "t", "true", "y", "yes"];
    const FALSE: [&str; 6] = ["0", "off", "f", "false", "n", "no"];
    match input {
        Input::Bool(value) => Ok(*value),
        Input::Int(0) => Ok(false),
        Input::Int(1) => Ok(true),
        Input::Float(value) if *value == 0.0 => Ok(false),
        Input::Float(value) if *value == 1.0 => Ok(true),
        Input::Text(text) if TRUE.iter().any(|word| text.eq_ignore_ascii_case(word)) => Ok(true),
        Input::Text(text) if FALSE.iter().any(|word| text.eq_ignore_ascii_case(word)) => Ok(false),
        Input::Int(_) | Input::UInt(_) | Input::Float(_) | Input::Text(_) => Err("bool_parsing"),
        Input::Null | Input::List(_) | Input::Object(_) => Err("bool_type"),
    }
}

// === impl Form ===

impl<'a> Form<'a> {
    /// Starts on a body, which must be an object that has the `required` fields; what is missing
    /// is told together with what is wrong.
    ///
    /// # Errors
    /// A 422 when the body is no object.
    pub(crate) fn open(tree: Input<'a>, required: &[&'static str]) -> Result<Self, Failure> {
        let fields = match tree {
            Input::Object(fields) => fields,
            Input::Null => return Err(Failure::body_missing()),
            other => {
                let detail = Detail::new("model_attributes_type", body_place(None), &other);
                return Err(Failure::validation(&[detail]));
            }
        };
        let missing = |name: &&&str| !fields.iter().any(|(held, _)| held == **name);
        let missing: Vec<&'static str> = required.iter().filter(missing).copied().collect();
        let mut details = Vec::new();
        if !missing.is_empty() {
            let whole = Input::Object(fields);
            for name in missing {
                details.push(Detail::new("missing", body_place(Some(name)), &whole));
            }
            let Input::Object(fields) = whole else {
                return Err(Failure::body_missing());
            };
            return Ok(Self { fields, details });
        }
        Ok(Self { fields, details })
    }

    fn take(&mut self, name: &str) -> Option<Input<'a>> {
        let (_, value) = self.fields.iter_mut().find(|(held, _)| held == name)?;
        Some(std::mem::replace(value, Input::Null))
    }

    fn refuse(&mut self, kind: &'static str, name: &'static str, input: &Input<'_>) {
        self.refuse_at(kind, body_place(Some(name)), input);
    }

    fn refuse_at(&mut self, kind: &'static str, place: Vec<Place<'a>>, input: &Input<'_>) {
        if self.details.len() < DETAILS_MAX {
            self.details.push(Detail::new(kind, place, input));
        }
    }

    /// A string, or `default` where the field is absent.
    pub(crate) fn text(&mut self, name: &'static str, default: &'static str) -> Cow<'a, str> {
        match self.take(name) {
            None => Cow::Borrowed(default),
            Some(Input::Text(text)) => text,
            Some(other) => {
                self.refuse("string_type", name, &other);
                Cow::Borrowed(default)
            }
        }
    }

    /// A string or null.
    pub(crate) fn optional_text(&mut self, name: &'static str) -> Option<Cow<'a, str>> {
        match self.take(name)? {
            Input::Null => None,
            Input::Text(text) => Some(text),
            other => {
                self.refuse("string_type", name, &other);
                None
            }
        }
    }

    /// A truth value.
    pub(crate) fn flag(&mut self, name: &'static str, default: bool) -> bool {
        let Some(input) = self.take(name) else {
            return default;
        };
        lax_bool(&input).unwrap_or_else(|kind| {
            self.refuse(kind, name, &input);
            default
        })
    }

    /// A list of strings; `None` where the field is absent.
    pub(crate) fn texts(&mut self, name: &'static str) -> Option<Vec<Cow<'a, str>>> {
        let items = match self.take(name)? {
            Input::List(items) => items,
            other => {
                self.refuse("list_type", name, &other);
                return None;
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Input::Text(text) => texts.push(text),
                other => {
                    let mut place = body_place(Some(name));
                    place.push(Place::Index(index));
                    self.refuse_at("string_type", place, &other);
                }
            }
        }
        Some(texts)
    }

    /// A list of strings, or null.
    pub(crate) fn optional_texts(&mut self, name: &'static str) -> Option<Vec<Cow<'a, str>>> {
        let is_null = |(held, value): &(Cow<'a, str>, Input<'a>)| {
            held == name && matches!(value, Input::Null)
        };
        if self.fields.iter().any(is_null) {
            return None;
        }
        self.texts(name)
    }

    /// An object of anything.
    pub(crate) fn dict(&mut self, name: &'static str) -> Vec<(Cow<'a, str>, Input<'a>)> {
        match self.take(name) {
            None => Vec::new(),
            Some(Input::Object(entries)) => entries,
            Some(other) => {
                self.refuse("dict_type", name, &other);
                Vec::new()
            }
        }
    }

    /// An object of lists.
    pub(crate) fn columns(&mut self, name: &'static str) -> Vec<(Cow<'a, str>, Vec<Input<'a>>)> {
        let mut columns = Vec::new();
        for (column, value) in self.dict(name) {
            match value {
                Input::List(items) => columns.push((column, items)),
                other => {
                    let mut place = body_place(Some(name));
                    place.push(Place::Name(column));
                    self.refuse_at("list_type", place, &other);
                }
            }
        }
        columns
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// A 422 with everything that was wrong.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        if self.details.is_empty() {
            Ok(())
        } else {
            Err(Failure::validation(&self.details))
        }
    }
}

fn body_place<'a>(name: Option<&'static str>) -> Vec<Place<'a>> {
    let mut place = vec![Place::Name(Cow::Borrowed("body"))];
    place.extend(name.map(|name| Place::Name(Cow::Borrowed(name))));
    place
}

//! What a caller sends, before the registry's types are known to apply to it.

use std::borrow::Cow;

/// A value as a JSON body holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum Input<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits 64 bits with a sign.
    Int(i64),
    /// An integer that fits 64 bits only without one.
    UInt(u64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// An array.
    List(Vec<Self>),
    /// An object, in the order of the text.
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl Input<'_> {
    /// The value in a few characters, for messages; long text is cut.
    #[must_use]
    pub fn describe(&self) -> String {
        const TEXT_CHARS_MAX: usize = 40;
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::UInt(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(text) => {
                let mut shown: String = text.chars().take(TEXT_CHARS_MAX).collect();
                if shown.len() < text.len() {
                    shown.push_str("...");
                }
                format!("{shown:?}")
            }
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Object(entries) => format!("an object of {}", entries.len()),
        }
    }
}

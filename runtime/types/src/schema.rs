//! The schema of a feature view's rows.

use crate::ValueType;

/// A named, typed feature or column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// The name.
    pub name: String,
    /// The type.
    pub value_type: ValueType,
}

/// The features of a view in the order in which rows hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RowSchema {
    /// The features.
    pub fields: Vec<Field>,
}

impl RowSchema {
    /// The position of the feature named `name`.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}

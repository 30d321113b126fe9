//! What an answer says of one cell.

/// Feast's `FieldStatus`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FieldStatus {
    /// The value is there.
    Present = 1,
    /// A row is there and the value is null.
    NullValue = 2,
    /// No row, or a row from before the feature existed.
    #[default]
    NotFound = 3,
    /// The row is older than the view's time to live; the value is withheld.
    OutsideMaxAge = 4,
}

impl FieldStatus {
    /// The name on Feast's wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "PRESENT",
            Self::NullValue => "NULL_VALUE",
            Self::NotFound => "NOT_FOUND",
            Self::OutsideMaxAge => "OUTSIDE_MAX_AGE",
        }
    }
}

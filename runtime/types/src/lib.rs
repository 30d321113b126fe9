//! The words every room of Galley speaks: value types and values, cells and lists as they lie in
//! rows, entity keys, feature references, event times, statuses, error kinds and limits.
//!
//! Nothing here does I/O, reads the time of day by itself or knows a wire format: the numbers Feast
//! gives its value types are the one exception, because they are the names of the types.

mod cell;
mod error;
mod key;
mod limits;
mod list;
mod reference;
mod schema;
mod status;
mod time;
mod tree;
mod value;
mod value_type;

pub use cell::Cell;
pub use error::{Classify, ErrorKind};
pub use key::{EntityKey, KeyError, KeyType, KeyValue};
pub use limits::Limits;
pub use list::{List, ListBuilder, ListItem, ListRef};
pub use reference::{FeatureRef, ReferenceError};
pub use schema::{Field, RowSchema};
pub use status::FieldStatus;
pub use time::{Clock, EventTime, SystemClock, TimeError, write_rfc3339};
pub use value::{Value, ValueError};
pub use value_type::{ScalarType, ValueType};

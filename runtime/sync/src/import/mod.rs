//! Taking over what another online store holds.

mod feast_key;
mod feast_sqlite;
mod feast_value;
pub(crate) mod from_outside;
mod proto;

pub use feast_sqlite::{ImportReport, ImportedView, feast_sqlite};

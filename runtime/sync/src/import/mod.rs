//! Taking over what another online store holds.

mod feast_key;
mod feast_sqlite;
mod feast_value;
mod proto;

pub use feast_sqlite::{ImportReport, ImportedView, feast_sqlite};

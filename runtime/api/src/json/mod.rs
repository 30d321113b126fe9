//! JSON in: bodies read into borrowed values, and the refusals of bodies that are not what a route
//! takes. JSON out: strings and echoed input.

mod error;
mod form;
mod get_body;
mod input;
mod plain_body;
mod write;

pub(crate) use error::JsonError;
pub(crate) use form::{Detail, Form, Place, lax_bool};
pub(crate) use get_body::{Features, GetBody};
pub(crate) use input::{Spare, VALUES_MAX, parse_tree};
#[cfg(test)]
pub(crate) use write::write_input;
pub(crate) use write::{write_ascii_string, write_string};

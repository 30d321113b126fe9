//! What is done to a component before it is compiled: for the fuzzers and for the replay of what they
//! found.

pub use crate::reset::with_reset;

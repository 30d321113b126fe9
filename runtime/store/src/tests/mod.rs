//! The promises of the store, each tested through its public interface.

mod basics;
mod support;

//! The promises of the store, each tested through its public interface.

mod basics;
mod crash;
mod damage;
pub(crate) mod disk;
mod golden;
mod model;
mod outbox;
mod prepare;
mod release;
mod spill;
mod support;

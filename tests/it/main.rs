//! Promises of the product, kept by tests that start the real `galley` binary.
//!
//! Run through `cargo xtask test`, which builds the binary, prepares Feast's own SDK, the client of
//! The Update Framework and servers of buckets, and sets `GALLEY_BIN`, `GALLEY_FEAST_VENV`,
//! `GALLEY_TUF_VENV`, `GALLEY_PLACES_VENV` and, where there is npm, `GALLEY_AZURITE`. Long loops run only with `GALLEY_LONG=1`.

#![expect(
    clippy::disallowed_methods,
    reason = "tests read their environment, look at the clock and at files directly"
)]

mod support;

mod authors;
mod bad_input;
mod bombs;
mod buckets;
mod clock;
mod commands;
mod crash;
mod damage;
mod disk_full;
mod feast_auth;
mod feast_sdk;
mod feed;
mod follow;
mod freshness;
mod front_door;
mod gcs_and_azure;
mod golden_replay;
mod guests;
mod hostile;
mod http_components;
mod jobs;
mod outbox;
mod reload;
mod schedules;
mod sent_twice;
mod sigterm;
mod stock_feast;
mod tidy;
mod transforms;
mod wire;

//! The HTTP front door: the wire of Feast's feature server, admin pages, metrics.
//!
//! [`Server`] accepts connections within the bounds of [`ApiConfig`] and answers them from the node
//! in a [`NodeSlot`]. A look-up runs on the thread that took the connection, from the body's bytes
//! to the answer's, without a lock.

mod buffers;
mod components;
mod config;
mod failure;
mod feed;
#[doc(hidden)]
pub mod from_outside;
mod json;
mod metrics;
mod render;
mod reply;
mod request_id;
mod routes;
mod serve;
mod service;
mod slot;
mod status;

pub use components::{
    ComponentAnswer, ComponentFailure, HttpComponentStatus, HttpComponents, own_paths,
};
pub use config::{ApiConfig, ServerInfo};
pub use feed::{FeedAgent, FeedAnswer, FeedCommand, FeedOutcome, FeedStatus};
pub use routes::outbox_tree;
pub use serve::Server;
pub use slot::{NodeSlot, Startup};

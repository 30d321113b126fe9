//! The HTTP front door: the wire of Feast's feature server, admin pages, metrics.

mod config;
mod failure;
mod json;
mod render;
mod reply;
mod status;

pub use config::{ApiConfig, ServerInfo};

//! Components for a node: read from a manifest, loaded, and kept at what the files say.

mod config;
mod fetch;
mod follower;
mod loader;

pub use config::{breaker_config, engine_config, transform_config};
pub use follower::TransformFollower;
pub use loader::{ComponentSource, Environment, TransformLoader};

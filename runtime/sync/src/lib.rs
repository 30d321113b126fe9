//! What reaches a node from elsewhere: the Feast repo, its registry file, Parquet sources, imports.

mod error;
mod files;
mod follow;
pub mod import;
pub mod outbox;
mod parquet;
mod registry_follower;
pub mod remote;
mod repo;
#[cfg(test)]
mod testing;
mod transforms;
mod variables;

pub use crate::parquet::{MaterializeConfig, ParquetMaterializer};
pub use error::{Error, MissingColumn, RefusedValue, Result, chain};
pub use follow::{Follow, Stamp};
pub use registry_follower::RegistryFollower;
pub use repo::{OnlineStore, Repo};
pub use transforms::{
    ComponentSource, Environment, TransformFollower, TransformLoader, engine_config,
    transform_config,
};

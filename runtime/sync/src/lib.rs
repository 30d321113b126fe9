//! What reaches a node from elsewhere: the Feast repo, its registry file, Parquet sources, imports.

pub mod agent;
mod error;
pub mod feed;
mod files;
pub mod flight;
mod follow;
#[doc(hidden)]
pub mod from_outside;
mod grpc;
mod identity;
pub mod import;
mod materialize;
pub mod outbox;
mod parquet;
mod registry_follower;
mod registry_source;
pub mod remote;
mod repo;
mod rows;
mod schedules;
#[cfg(test)]
mod testing;
mod tls;
mod transforms;
mod variables;

pub use crate::parquet::ParquetMaterializer;
pub use crate::rows::MaterializeConfig;
pub use error::{Error, MissingColumn, RefusedValue, Result, chain};
pub use follow::{Follow, Stamp};
pub use grpc::{GrpcAddress, GrpcTls};
pub use identity::Identity;
pub use materialize::materializer;
pub use registry_follower::RegistryFollower;
pub use repo::{OfflineStore, OnlineStore, RegistryPlace, Repo};
pub use schedules::{Schedule, ScheduleKind, ScheduleTarget, Scheduler};
pub use tls::https_client;
pub use transforms::{
    ComponentSource, Environment, TransformFollower, TransformLoader, breaker_config,
    engine_config, transform_config,
};

/// Makes ring the provider of cryptography for TLS in this process, unless one was chosen before.
/// Clients cannot be made without one; calling it again changes nothing.
pub fn use_ring() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // Refused only when there is a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

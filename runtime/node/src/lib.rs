//! The heart of a Galley node: it joins the registry's plans with the store's rows.
//!
//! A [`Node`] answers look-ups from an immutable [`generation`](Node::install) and one snapshot of
//! the store, takes pushes through a single writer that commits many of them at once, and runs
//! materialisation jobs while it goes on serving.

mod answer;
mod coerce;
mod columns;
mod compute;
mod config;
mod error;
mod frame;
mod freshness;
mod generation;
mod get;
mod home;
mod import;
mod input;
mod jobs;
mod json;
mod logs;
mod materialize;
mod node;
mod outbox;
mod parcel;
mod parked;
mod plan;
mod push;
mod request;
mod schedules;
mod status;
mod transforms;
mod writer;

/// The online store's own types, for those who hand rows to a node.
pub use galley_store as store;
/// The transformations' own types, for those who load them.
pub use galley_transform as transform;

pub use answer::{Answer, EntityColumn, KeyValues, PartRow};
pub use columns::FixedColumn;
pub use config::NodeConfig;
pub use error::{Error, Result};
pub use freshness::{Age, FeedState, Freshness, FreshnessConfig, FreshnessStatus, ViewFreshness};
pub use galley_registry::{DecodeOptions, Registry, StoredView, ViewIndex, ViewKind};
pub use get::{GetRequest, Selection, SelectionText};
pub use import::Importer;
pub use input::Input;
pub use jobs::{
    Idempotency, JobId, JobLog, JobOrigin, JobProgress, JobRecord, JobState, JobStatus, JobTotals,
};
pub use json::json_of;
pub use logs::LogsConfig;
pub use materialize::{
    MaterializeError, MaterializeRequest, MaterializeTask, MaterializeView, Materializer, Sink,
};
pub use node::{Filling, Node, ReleaseInstall, ReleaseReceipt};
pub use outbox::{OutboxConfig, OutboxStatus, Sending};
pub use parcel::{Parcel, ParcelColumn, ParcelRole, ParcelRow};
pub use parked::{ParkedChange, ParkedReport, ParkedTarget};
pub use plan::{Output, Plan};
pub use push::{Frame, PushRequest, PushTo, WriteMode, WriteRequest};
pub use schedules::{ScheduleOutcome, ScheduleStatus, Schedules};
pub use status::{NodeStatus, Readiness, ViewStatus};
pub use transforms::{
    FieldCheck, OnError, TransformOffer, TransformState, TransformStatus, check_signature,
};
pub use writer::{Pending, WriteReceipt};

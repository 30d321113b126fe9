//! Feast's registry, understood: bytes become an immutable [`Registry`], and requests become plans.
//!
//! Nothing here does I/O. [`Registry::decode`] reads the protobuf file that `feast apply` writes and
//! keeps one project of it. What it cannot understand it names in [`Registry::warnings`]; only a
//! file that is damaged, too large or without the project is refused. The pickled bodies of
//! user-defined functions are never read.
//!
//! A plan ([`ReadPlan`], [`PushPlan`]) says which views a request touches, which columns it needs
//! and what the answer holds, so that serving a row needs no name.

mod decode;
mod error;
mod inputs;
mod model;
mod plan;
pub mod proto;
mod registry;
mod write;

pub use decode::DecodeOptions;
pub use error::{Error, Result};
pub use inputs::{InputColumn, InputSource};
pub use model::{
    BatchSource, FeatureService, FileFormat, JoinKey, OnDemandView, ProjectKey, Projection,
    PushSource, RequestSource, SourceLocation, StoredView, Transformation, ViewIndex, ViewKind,
};
pub use plan::{
    PlanKey, PlanOutput, PlanPart, PlanRequestColumn, PlanTransform, ReadPlan, ReadRequest,
    Selection,
};
pub use registry::Registry;
pub use write::PushPlan;

#[cfg(test)]
mod testing;

//! The application manifest, `spin.toml` in Spin's format 2: which component answers which on-demand
//! feature view or route, where it comes from, how it is built and what it may use.
//!
//! A key that nobody knows is an error, because a misspelt limit is no limit. Where Spin leaves keys
//! free (other triggers, other tools), so do we. What Spin knows and a node does not do is a warning.
//!
//! Nothing here runs a command, fetches a component or reads the environment: the caller does.

mod apply;
mod component;
mod edit;
mod error;
mod manifest;
mod section;
mod settings;
mod template;
mod trigger;
mod units;

pub use apply::{set, set_count, set_size};
pub use component::{Build, Component, Source};
pub use edit::{Binding, BuildStep, bind, relocate};
pub use error::{Error, Result};
pub use manifest::{Application, Manifest, Variable};
pub use settings::{
    BreakerSettings, EngineSettings, HttpHostSettings, HttpSettings, Isolation, OnError,
    TransformSettings,
};
pub use template::ENVIRONMENT_PREFIX;
pub use trigger::{HttpTrigger, TransformTrigger};
pub use units::{duration, size};

//! Spin HTTP components inside the node: WebAssembly components that export `wasi:http/handler@0.3`
//! and read features in process.
//!
//! A component gets what the manifest grants it and nothing else: `galley:features/online`
//! (look-ups and pushes through the node), `spin:key-value` (stores by label, on a redb file of
//! their own, within quotas), `spin:variables`, outbound HTTP to the hosts it may reach, clocks,
//! randomness, and standard output, which goes to the log. There are no files and no sockets; a
//! component that imports either is refused when it is loaded, by name.
//!
//! [`HttpApp::load`] compiles components in the same bounded child process as transformations, for
//! an asynchronous engine of their own, and checks their routes. [`HttpApp::handle`] runs one
//! request on threads that serve nothing else, in a fresh instance unless reuse was asked for, under
//! limits that all have a name ([`HttpLimits`]). Whatever the guest does, the caller gets an answer
//! and the node goes on.

mod app;
mod bounds;
mod call;
mod component;
mod config;
mod engine;
mod error;
mod grants;
mod inspect;
mod key_value;
mod log;
mod online;
mod outbound;
mod pool;
mod route;
mod spin;
mod state;
mod status;

pub use app::{HttpApp, Refused, Surroundings};
pub use bounds::{HttpLimits, KeyValueLimits, Limit};
pub use config::{HttpComponentConfig, HttpEngineConfig};
pub use engine::HttpEngine;
pub use error::{Error, Result};
pub use key_value::{KeyValue, StoreUsage};
pub use outbound::OutboundOutcome;
pub use status::{ComponentStatus, Outcome};

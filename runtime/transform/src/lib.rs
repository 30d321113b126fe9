//! The host of on-demand transformations: WebAssembly components that implement the world
//! `galley:transform/transform` for one on-demand feature view each.
//!
//! A component is hostile until it has answered. It is inspected before it is compiled, compiled in
//! a process of its own ([`Cache`]), linked against the contract and nothing else, asked what it is
//! in a throw-away instance ([`Transform::load`]), and called under limits that all have a name
//! ([`Limits`]). What it answers is checked whole before it is given to anybody
//! ([`Transform::call`]).
//!
//! Nothing here knows of registries, stores or requests. What any host of components needs, be it for
//! transformations or for HTTP components, is shared: [`Cache::code`], [`Ticker`], [`Inspection::of`],
//! [`Breaker`], [`Keeping`], [`Times`].

mod breaker;
mod builder;
mod cache;
mod call;
mod check;
mod column;
mod engine;
mod error;
mod fault;
#[doc(hidden)]
pub mod from_outside;
mod gate;
mod inspect;
mod keep;
mod key;
mod lift;
mod limits;
mod lower;
mod nulls;
mod pagemap;
mod pool;
mod reset;
mod rewind;
mod section;
mod signature;
mod state;
mod stats;
mod target;
mod text;
mod ticker;
mod transform;
mod worker;

pub use breaker::{Breaker, BreakerState};
pub use builder::ColumnBuilder;
pub use cache::{Cache, Code, Digest, Loaded, Source, digest};
pub use column::{
    Arrays, ArraysRef, Batch, Column, ColumnRef, Columns, LogLevel, Packed, PackedRef, Scalars,
    ScalarsRef, Values, ValuesRef,
};
pub use engine::{Engine, EngineConfig};
pub use error::{Error, Phase, Result};
pub use inspect::Inspection;
pub use keep::{Keep, Keeping};
pub use limits::{BreakerConfig, CompileLimits, Limit, LimitValue, Limits};
pub use section::SIGNATURE_SECTION;
pub use signature::{DataType, Field, Kind, NullHandling, Signature, Volatility};
pub use state::{LogSink, TraceSink};
pub use stats::{Outcome, Stats, Times};
pub use target::Target;
pub use text::clip;
pub use ticker::{Running, Ticker};
pub use transform::{CallContext, Isolation, Transform, TransformConfig};
pub use worker::{COMPILE_WORKER, Worker, compile_worker_main, end_compiling};

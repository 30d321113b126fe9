//! Write an on-demand transformation for Galley as a plain function.
//!
//! ```
//! /// The driver's conversion rate, moved by what the request says.
//! #[galley::transform(name = "transformed_conv_rate", output = "conv_rate_plus_val")]
//! fn plus(conv_rate: f64, val_to_add: i64) -> f64 {
//!     conv_rate + val_to_add as f64
//! }
//! ```
//!
//! The function stays what it is, so a `#[test]` can call it. Around it the macro writes the
//! component that Galley loads: what it is called, what it takes (the arguments, under their own
//! names) and what it gives.
//!
//! # Arguments
//!
//! | Rust | Feast |
//! | --- | --- |
//! | `bool`, `i32`, `i64`, `f32`, `f64` | Bool, Int32, Int64, Float32, Float64 |
//! | `&str`, `String` | String, and everything that crosses as text: Json, Uuid, Decimal, Map, Struct |
//! | `&[u8]`, `Vec<u8>` | Bytes |
//! | [`Timestamp`] | UnixTimestamp |
//! | `&[i32]`, `&[i64]`, `&[f32]`, `&[f64]`, `Vec<T>` | Array(T), Set(T) |
//! | `Option<T>` | the same, and the function is called for nulls too |
//!
//! `#[name("view__feature")]` before an argument takes the input of that name.
//!
//! # Nulls
//!
//! A row with a null in an argument that is not an `Option` never reaches the function: its
//! outputs are null.
//!
//! # Outputs
//!
//! One value (named by `output = ".."`, else like the function), a tuple (`outputs("a", "b")`), or
//! a struct with [`Outputs`](macro@Outputs) derived, whose fields are the outputs. `Option<T>`
//! gives nulls. `Result<_, E>` with any `E: Display` rejects the request, naming the row.
//!
//! # Over columns
//!
//! `#[galley::transform(columns, ..)]`: every argument is a column (`&[f64]`, or `&[Option<f64>]`
//! to be handed nulls too), and every output is a `Vec` as long. Worth it where work is shared
//! between rows; numbers arrive without being copied.
//!
//! # What else there is
//!
//! [`request`] tells the request's time, a seed and variables; [`log`] writes to the operator's log.
//! Nothing else is there: no clock, no files, no network. A panic ends the call, and the log has
//! its file and line.

mod args;
#[doc(hidden)]
pub mod bindings;
#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
mod export;
pub mod log;
#[cfg(any(test, all(target_arch = "wasm32", feature = "allocator")))]
mod memory;
mod outputs;
pub mod request;
mod time;

pub use galley_transform_macros::{Outputs, transform};
pub use outputs::{Outputs, Value};
pub use time::Timestamp;

/// What the macros' code calls. Not for use by hand, and free to change.
#[doc(hidden)]
pub mod rt {
    pub use crate::args::{Arg, Item, Taken, columns, open, whole};
    #[cfg(not(feature = "allocator"))]
    pub use crate::bindings::export;
    pub use crate::bindings::exports::galley::transform::transformer::Guest;
    pub use crate::bindings::galley::transform::types::{
        Batch, Column, DataType, Error, Field, Kind, NullHandling, Signature, Volatility,
    };
    pub use crate::outputs::{Builder, Columns, Outputs, batch, field, finish, rejected};
    pub use crate::request::begin;
    #[cfg(all(target_arch = "wasm32", feature = "allocator"))]
    pub use crate::{__export as export, export::apply};
}

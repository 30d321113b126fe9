//! Sockets: accepting, bounds and time-outs of connections, shutdown.

mod admission;
mod body;
mod connection;
mod direct;
mod head;
mod plain;
mod pulse;
mod server;

pub(crate) use body::{BodyBudget, HeldBody, read as read_body};
pub(crate) use plain::request as plain_request;
pub(crate) use pulse::{Phase, Pulse};
pub use server::Server;

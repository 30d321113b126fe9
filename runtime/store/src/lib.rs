//! The embedded online store: redb tables, row codec, event-time rule, read index.
//!
//! One redb file holds one table per name and epoch, keyed by encoded entity keys, valued by
//! [rows](Row). All writes go through [`Store::apply`]: one transaction, one fsync, all or nothing.
//! All reads go through a [`Snapshot`]: one commit, from a hash index in memory where there is one,
//! else from the file. Every row carries a checksum over its table, its key and itself, so that a
//! damaged row is an error and never a value.
//!
//! A row replaces another of its key only if its pair of event time and created time is not older
//! (a missing created time is older than any); of equal ones the later arrival stays. What the
//! store holds therefore does not depend on the order in which rows with different times arrive.

mod batch;
mod build;
mod catalog;
mod check;
mod codec;
mod commit;
mod digest;
mod error;
#[doc(hidden)]
pub mod from_outside;
mod index;
mod install;
mod layout;
mod merge;
mod open;
mod outbox;
mod parked;
mod peek;
mod prepare;
mod producers;
mod release;
mod row;
mod shard;
mod shared;
mod snapshot;
mod space;
mod staged;
mod stats;
mod store;
mod take_back;
#[cfg(test)]
mod tests;
mod writer;

pub use batch::{Applied, Group, Outcome, RowBatch, TicketState, Write};
pub use catalog::{Installed, TableSpec};
pub use check::{CheckReport, OutboxCheck, TableCheck};
pub use error::{Error, Result};
pub use open::OpenProgress;
pub use outbox::{Flight, OutboxChange, OutboxEntry, OutboxItem, OutboxKind, OutboxStats};
pub use parked::{Park, ParkedPart, ParkedStats, Refusal};
pub use prepare::PreparedIndex;
pub use release::{Release, Released, Spill};
pub use row::{Row, RowWriter};
pub use snapshot::{IndexState, RowBytes, Snapshot, Visitor};
pub use stats::{StoreStats, TableStats};
pub use store::Store;

/// A table: one name with one set of key types. Never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub u32);

/// A schema within its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaId(pub u16);

/// The sequence number of a transaction; it grows by one with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitSeq(pub u64);

/// How a store uses memory and disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Bytes of file pages kept in memory.
    pub cache_bytes: u64,
    /// Bytes the read indexes of all tables may take.
    pub index_bytes_max: u64,
    /// Bytes of the file system that must stay free.
    pub free_space_min_bytes: u64,
    /// Share of the file system that must stay free, in percent. The larger of both counts, but
    /// never more than a quarter of the file system.
    pub free_space_min_percent: u8,
    /// The producer under which what joins the outbox from now on is sent: random, and never used by
    /// another opening of this file or of a copy of it. Without one the outbox keeps the one it has.
    pub producer: Option<u128>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            cache_bytes: 256 << 20,
            index_bytes_max: 4 << 30,
            free_space_min_bytes: 256 << 20,
            free_space_min_percent: 5,
            producer: None,
        }
    }
}

//! The redb tables of a store file, and what they hold.
//!
//! ```text
//! meta        "format"  u32 LE, the format of the file: 1
//!             "store"   record Meta: commit sequence, next ticket, next table id, queue length
//!             "release" record Release: its number, the tables that took the place of others
//!             "outbox"  record OutboxTotals: totals, next sequence, flight, first producer
//!             "parked"  record ParkedTotals; there once something was parked
//! tables      u32 table id -> record Table
//! schemas     u64 (table id << 16 | schema id) -> record Schema
//! stats       u32 table id -> record Stats: rows, newest event time, digest
//! watermarks  text name -> record Watermark
//! queue       u64 ticket -> record Queued
//! tickets     u64 ticket -> record Ticket, the last 10,000
//! records     text name -> record of bytes that others encode
//! undo        u32 BE table id, entity key -> u64 LE hash of the row a release wrote, the row before
//! outbox      u64 sequence -> record Outgoing; there once something is to be sent
//! producers   u64 sequence -> record Producer: who sends the entries from this one on
//! parked_parts  u64 first sequence -> record ParkedPart: what the centre refused, and why
//! parked      u64 first sequence of the part, u64 sequence -> record Outgoing, as it was in outbox
//! d/<id>      entity key -> row, one such table per table id
//! ```

use redb::TableDefinition;

use crate::{SchemaId, TableId};

/// The format this version writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;

pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(crate) const TABLES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("tables");
pub(crate) const SCHEMAS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("schemas");
pub(crate) const STATS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("stats");
pub(crate) const WATERMARKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("watermarks");
pub(crate) const QUEUE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("queue");
pub(crate) const TICKETS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("tickets");

/// Made when first needed.
pub(crate) const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
pub(crate) const UNDO: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("undo");

pub(crate) const META_RELEASE: &str = "release";
/// Made, as those below, when it is first written to: files of older versions do not have
/// them.
pub(crate) const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");
pub(crate) const PRODUCERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("producers");
pub(crate) const PARKED_PARTS: TableDefinition<'_, u64, &[u8]> =
    TableDefinition::new("parked_parts");
pub(crate) const PARKED: TableDefinition<'static, (u64, u64), &'static [u8]> =
    TableDefinition::new("parked");

pub(crate) const META_FORMAT: &str = "format";
pub(crate) const META_STORE: &str = "store";
pub(crate) const META_OUTBOX: &str = "outbox";
pub(crate) const META_PARKED: &str = "parked";

/// A table of rows.
pub(crate) type Data<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

pub(crate) fn data_name(table: TableId) -> String {
    format!("d/{}", table.0)
}

pub(crate) fn schema_key(table: TableId, schema: SchemaId) -> u64 {
    (u64::from(table.0) << 16) | u64::from(schema.0)
}

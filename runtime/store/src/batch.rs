//! What is handed to the store: batches of rows, writes made of them, groups of writes.

use galley_types::{EventTime, Limits};

use crate::codec::{self, Kind, Mark, Queued, Rows};
use crate::row::{self, row_too_large};
use crate::{CommitSeq, Error, OutboxChange, Result, RowWriter, TableId};

/// Encoded keys and rows for one table, in the order of their arrival, in one piece of memory.
///
/// Each entry is `row length (u32 LE) | key length (u16 LE) | key | row`; queued writes keep the
/// same bytes.
#[derive(Clone, Debug)]
pub struct RowBatch {
    table: TableId,
    rows: usize,
    arena: Vec<u8>,
}

/// One write: it takes effect as a whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct Write {
    /// The rows; several batches may be for one table.
    pub batches: Vec<RowBatch>,
    /// A watermark to move forward to this time; it never moves back.
    pub watermark: Option<(String, EventTime)>,
    /// What becomes of the outbox in the transaction that accepts this write: for a queued write
    /// the one that puts it in the queue.
    pub outbox: OutboxChange,
}

/// What one transaction does, in this order: the oldest queued writes are applied, then `writes`,
/// then `enqueue` joins the queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Group<'a> {
    /// Writes to apply now.
    pub writes: &'a [Write],
    /// Writes to keep durably and apply in a later transaction.
    pub enqueue: &'a [Write],
    /// How many queued writes to apply at most.
    pub drain_max: usize,
}

/// What became of one write's rows, as if it had been the only one in its transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows that took their key's place.
    pub written: u64,
    /// Rows that found a newer one there.
    pub superseded: u64,
}

/// What a group did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The transaction.
    pub commit: CommitSeq,
    /// One per write of [`Group::writes`].
    pub outcomes: Vec<Outcome>,
    /// One per write of [`Group::enqueue`].
    pub tickets: Vec<u64>,
    /// Queued writes applied.
    pub drained: usize,
    /// Queued writes that remain.
    pub queued: u64,
}

/// What is known of a queued write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketState {
    /// It waits in the queue.
    Pending,
    /// It was applied.
    Applied {
        /// Rows that took their key's place.
        written: u64,
        /// Rows that found a newer one there.
        superseded: u64,
    },
}

// === impl RowBatch ===

impl RowBatch {
    /// Bytes of one batch.
    pub const BYTES_MAX: usize = 1 << 30;

    /// An empty batch for `table`.
    #[must_use]
    pub fn new(table: TableId) -> Self {
        Self {
            table,
            rows: 0,
            arena: Vec::new(),
        }
    }

    /// An empty batch with room for `bytes` of keys and rows.
    #[must_use]
    pub fn with_capacity(table: TableId, bytes: usize) -> Self {
        let mut batch = Self::new(table);
        batch.arena.reserve(bytes.min(Self::BYTES_MAX));
        batch
    }

    /// The same rows for another table, which knows the same schemas by the same ids.
    #[must_use]
    pub fn moved(&self, table: TableId) -> Self {
        let mut moved = Self::with_capacity(table, self.arena.len());
        let mut row = Vec::new();
        for (key, bytes) in entries(&self.arena) {
            row.clear();
            row::reseal(table, key, bytes, &mut row);
            push_entry(key, &row, &mut moved.arena);
        }
        moved.rows = self.rows;
        moved
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> TableId {
        self.table
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of keys and rows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Empties the batch, keeping its memory.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.arena.clear();
    }

    /// Adds the row that `row` holds under `key`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the key, the row or the batch passes its bound.
    pub fn push(&mut self, key: &[u8], row: &mut RowWriter) -> Result<()> {
        let size = row.size();
        if size > Limits::ROW_BYTES_MAX {
            return Err(row_too_large(size));
        }
        let key_too_long = || Error::TooLarge {
            what: "entity key in bytes",
            size: key.len() as u64,
            limit: Limits::KEY_BYTES_MAX as u64,
        };
        if key.len() > Limits::KEY_BYTES_MAX {
            return Err(key_too_long());
        }
        let whole = self.arena.len() + ENTRY_HEAD + key.len() + size;
        if whole > Self::BYTES_MAX {
            return Err(Error::TooLarge {
                what: "batch of rows in bytes",
                size: whole as u64,
                limit: Self::BYTES_MAX as u64,
            });
        }
        let row_length = u32::try_from(size).map_err(|_error| row_too_large(size))?;
        let key_length = u16::try_from(key.len()).map_err(|_error| key_too_long())?;
        self.arena.reserve(ENTRY_HEAD + key.len() + size);
        self.arena.extend_from_slice(&row_length.to_le_bytes());
        self.arena.extend_from_slice(&key_length.to_le_bytes());
        self.arena.extend_from_slice(key);
        row.finish(self.table, key, &mut self.arena)?;
        self.rows += 1;
        Ok(())
    }

    /// The keys and rows as they are kept; [`RowBatch::rows_in`] takes them apart.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.arena
    }

    /// The keys and rows of a batch that is kept as [bytes](RowBatch::as_bytes); ends early where
    /// they are none.
    pub fn rows_in(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        entries(bytes)
    }

    /// The keys and rows, in the order in which they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        entries(&self.arena)
    }
}

/// Bytes of an entry before its key.
pub(crate) const ENTRY_HEAD: usize = 6;

/// The key and row at the start of `bytes`, and what follows them.
#[inline]
pub(crate) fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<ENTRY_HEAD>()?;
    let [r0, r1, r2, r3, k0, k1] = *head;
    let row = u32::from_le_bytes([r0, r1, r2, r3]) as usize;
    let key = usize::from(u16::from_le_bytes([k0, k1]));
    let (key, rest) = rest.split_at_checked(key)?;
    let (row, rest) = rest.split_at_checked(row)?;
    Some((key, row, rest))
}

/// Appends an entry; `key` and `row` come from a batch or a table and are within their bounds.
pub(crate) fn push_entry(key: &[u8], row: &[u8], out: &mut Vec<u8>) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounded when they were pushed"
    )]
    let (row_length, key_length) = (row.len() as u32, key.len() as u16);
    let [r0, r1, r2, r3] = row_length.to_le_bytes();
    let [k0, k1] = key_length.to_le_bytes();
    out.reserve(ENTRY_HEAD + key.len() + row.len());
    out.extend_from_slice(&[r0, r1, r2, r3, k0, k1]);
    out.extend_from_slice(key);
    out.extend_from_slice(row);
}

/// The entries of an arena; ends early where the bytes are no entry.
pub(crate) fn entries(arena: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = arena;
    std::iter::from_fn(move || {
        let (key, row, after) = split_entry(rest)?;
        rest = after;
        Some((key, row))
    })
}

// === impl Write ===

impl Write {
    /// Rows of all batches.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RowBatch::len).sum()
    }

    /// Bytes of all batches and of what joins the outbox.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(RowBatch::bytes).sum::<usize>() + self.outbox.bytes()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows() == 0 && self.watermark.is_none() && self.outbox.is_empty()
    }

    /// Whether it does nothing but look after the outbox: it takes no room, and may make some.
    #[must_use]
    pub fn is_relief(&self) -> bool {
        let rows = self.rows() == 0 && self.watermark.is_none();
        rows && self.outbox.is_relief()
    }

    pub(crate) fn parts(&self) -> Queued<'_> {
        Queued {
            mark: self.watermark.as_ref().map(|(name, time)| Mark {
                name,
                micros: time.0,
            }),
            rows: self
                .batches
                .iter()
                .map(|batch| Rows {
                    table: batch.table.0,
                    arena: &batch.arena,
                })
                .collect(),
        }
    }

    /// The queue entry of this write under `ticket`.
    pub(crate) fn seal(&self, ticket: u64) -> Result<Vec<u8>> {
        codec::encode(Kind::Queued, &ticket.to_le_bytes(), &self.parts()).map_err(|_error| {
            Error::TooLarge {
                what: "queued write in bytes",
                size: self.bytes() as u64,
                limit: RowBatch::BYTES_MAX as u64,
            }
        })
    }
}

//! Reading the outbox, without changing it.

use redb::ReadableTable as _;

use crate::layout::OUTBOX;
use crate::outbox::{OutboxItem, opened};
use crate::{OutboxCheck, OutboxEntry, Result, Snapshot};

// === impl Snapshot ===

impl Snapshot {
    /// The oldest entries of the outbox in their order, all of one producer, at most `entries_max` and
    /// none after the sequence `up_to`; they end before the one that would make their records more than
    /// `bytes_max`, but the first is always there.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Io`], [`Error::Damaged`].
    pub fn outbox_peek(
        &self,
        (entries_max, bytes_max): (usize, u64),
        up_to: u64,
    ) -> Result<Vec<OutboxItem>> {
        self.guard(|| {
            let shared = self.shared();
            let table = match self.txn()?.open_table(OUTBOX) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(shared.fail("open outbox")(error)),
            };
            let up_to = up_to.min(self.outbox().producer_last.unwrap_or(u64::MAX));
            let mut items = Vec::new();
            let mut bytes = 0_u64;
            for record in table
                .range(..=up_to)
                .map_err(shared.fail("read outbox"))?
                .take(entries_max)
            {
                let (sequence, record) = record.map_err(shared.fail("read outbox"))?;
                let (sequence, record) = (sequence.value(), record.value());
                bytes += record.len() as u64;
                if bytes > bytes_max && !items.is_empty() {
                    break;
                }
                items.push(opened(sequence, record));
            }
            Ok(items)
        })
    }

    /// Reads every entry, parked ones too.
    pub(crate) fn check_outbox(&self) -> Result<OutboxCheck> {
        self.guard(|| {
            let shared = self.shared();
            let expected = self.outbox();
            let (entries, entries_damaged) = self.check_parked()?;
            let mut found = OutboxCheck {
                entries_expected: expected.entries + expected.parked.entries,
                entries,
                entries_damaged,
            };
            let table = match self.txn()?.open_table(OUTBOX) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(found),
                Err(error) => return Err(shared.fail("open outbox")(error)),
            };
            for record in table.iter().map_err(shared.fail("read outbox"))? {
                let (sequence, record) = record.map_err(shared.fail("read outbox"))?;
                found.entries += 1;
                let entry = OutboxEntry::open(sequence.value(), record.value());
                found.entries_damaged += u64::from(entry.is_none());
            }
            Ok(found)
        })
    }
}

//! What the pages of one batch may take in memory.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes each column may have beside the bound: one page and one dictionary of the usual size.
const COLUMN_BYTES: u64 = 2 << 20;

/// Counts the bytes of pages that are alive: those read for a batch, and the one each column has
/// begun. Used by one thread; atomics because the decoder wants its sources to be movable.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_max: u64,
    /// Of dictionaries and begun pages.
    held: AtomicU64,
    /// As `held` was when the batch began, and what was read since: the batch may still point into
    /// pages that were read to their end.
    batch: AtomicU64,
}

// === impl Budget ===

impl Budget {
    /// A budget of `bytes_max` for `columns`.
    pub(super) fn new(bytes_max: u64, columns: usize) -> Self {
        let columns = u64::try_from(columns).unwrap_or(u64::MAX);
        Self {
            bytes_max: bytes_max.saturating_add(columns.saturating_mul(COLUMN_BYTES)),
            held: AtomicU64::new(0),
            batch: AtomicU64::new(0),
        }
    }

    /// The batch before is gone.
    pub(super) fn begin_batch(&self) {
        let held = self.held.load(Ordering::Relaxed);
        self.batch.store(held, Ordering::Relaxed);
    }

    /// Whether there is room for `bytes` more.
    ///
    /// # Errors
    /// The reason, which names the setting.
    pub(super) fn fits(&self, bytes: u64) -> Result<(), String> {
        let batch = self.batch.load(Ordering::Relaxed);
        if batch.saturating_add(bytes) <= self.bytes_max {
            return Ok(());
        }
        Err(format!(
            "with {bytes} bytes more, the pages of one batch take more than {} (write smaller pages \
             or row groups, or raise materialize.decode_max)",
            self.bytes_max
        ))
    }

    /// Takes `bytes` for what replaces `instead` bytes of the same column, and notes them there.
    ///
    /// # Errors
    /// As [`Self::fits`].
    pub(super) fn take(&self, bytes: u64, instead: &mut u64) -> Result<(), String> {
        self.fits(bytes)?;
        self.batch.fetch_add(bytes, Ordering::Relaxed);
        self.held.fetch_sub(*instead, Ordering::Relaxed);
        self.held.fetch_add(bytes, Ordering::Relaxed);
        *instead = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_what_the_one_before_left_begun_and_no_more() {
        let budget = Budget::new(100, 0);
        let (mut first, mut second) = (0, 0);
        budget.take(60, &mut first).unwrap();
        // The page before may still be pointed into.
        assert!(budget.take(60, &mut first).is_err());
        budget.take(40, &mut second).unwrap();
        assert!(budget.fits(1).is_err());
        budget.begin_batch();
        assert!(budget.fits(1).is_err(), "both are begun");
        // A small page takes the place of a large one: the next batch has the room.
        let (budget, mut begun) = (Budget::new(100, 0), 0);
        budget.take(60, &mut begun).unwrap();
        budget.take(10, &mut begun).unwrap();
        assert!(budget.fits(31).is_err());
        budget.begin_batch();
        assert!(budget.fits(90).is_ok());
        assert!(Budget::new(100, 1).fits(1 << 20).is_ok());
    }
}

//! The way home: what waits for the centre, taken out by whoever sends it.

use galley_store::{OutboxChange, OutboxItem, OutboxStats, Write};

use super::Node;
use crate::outbox::{OutboxStatus, Reservation, Sending};
use crate::{Result, WriteMode};

impl Node {
    /// What waits.
    #[must_use]
    pub fn outbox(&self) -> OutboxStats {
        self.store.load().outbox()
    }

    /// The oldest entries that wait, at most so many of at most so many bytes (but one at least),
    /// and none after the sequence `up_to`.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) when they cannot be read.
    pub fn outbox_peek(&self, bounds: (usize, u64), up_to: u64) -> Result<Vec<OutboxItem>> {
        Ok(self.store.load().outbox_peek(bounds, up_to)?)
    }

    /// Changes the outbox through the writer, and waits for the commit.
    ///
    /// # Errors
    /// As [`Node::commit`].
    pub fn outbox_change(&self, outbox: OutboxChange) -> Result<()> {
        let write = Write {
            outbox,
            ..Write::default()
        };
        let pending = self.writer.submit((write, None), WriteMode::Sync)?;
        pending.wait_blocking().map(drop)
    }

    /// Where whoever sends notes how it goes.
    #[must_use]
    pub fn sending(&self) -> &Sending {
        &self.sending
    }

    /// The outbox and its sending; `None` when this node has none and nothing is left in it.
    #[must_use]
    pub fn outbox_status(&self) -> Option<OutboxStatus> {
        let waiting = self.outbox();
        let config = match &self.config.outbox {
            Some(config) => config.clone(),
            None if waiting.entries > 0 => crate::OutboxConfig::default(),
            None => return None,
        };
        let at = (waiting, self.now());
        Some(self.sending.status(&config, at, self.logged_rows()))
    }

    /// Room in the outbox for what a write adds to it.
    pub(super) fn reserve(&self, write: &Write) -> Result<Option<Reservation>> {
        let Some(config) = &self.config.outbox else {
            return Ok(None);
        };
        if write.outbox.add.is_empty() {
            return Ok(None);
        }
        let at = (self.outbox(), self.now());
        let bytes = write.outbox.bytes() as u64;
        Reservation::take(&self.outbox_reserved, config, at, bytes).map(Some)
    }
}

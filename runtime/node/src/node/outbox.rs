//! The way home: what waits for the centre, taken out by whoever sends it.

use galley_store::{OutboxChange, OutboxItem, OutboxStats, Write};

use super::Node;
use crate::outbox::{OutboxStatus, Reservation, Sending};
use crate::{Error, ParkedChange, ParkedReport, Result, WriteMode, parked};

/// Parked parts that a status looks at.
const STATUS_PARTS_MAX: usize = 1_000;

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
            None if waiting.entries > 0 || waiting.parked.parts > 0 => {
                crate::OutboxConfig::default()
            }
            None => return None,
        };
        // A store that is being reopened says so itself.
        let parked = self.outbox_parked(STATUS_PARTS_MAX).unwrap_or_default();
        let at = (waiting, self.now());
        let sending = &self.sending;
        Some(sending.status((&config, parked), at, self.logged_rows()))
    }

    /// What the centre refused, by view and service; `parts_max` bounds how many parts are looked at.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) when it cannot be read.
    pub fn outbox_parked(&self, parts_max: usize) -> Result<ParkedReport> {
        let snapshot = self.store.load_full();
        let mut report = ParkedReport::default();
        if snapshot.outbox().parked.parts == 0 {
            // The file need not be asked.
            report.complete = true;
            return Ok(report);
        }
        for part in parked::parts(&snapshot).take(parts_max) {
            report.add(&part?);
        }
        report.complete = report.parts() >= snapshot.outbox().parked.parts;
        Ok(report)
    }

    /// Has parked parts sent again: those of the view or service `target`, or all. They go under the
    /// names they had; what is refused again stays parked.
    ///
    /// # Errors
    /// [`Error::NotParked`](crate::Error::NotParked); as [`Node::commit`].
    pub fn outbox_retry(&self, target: Option<&str>) -> Result<ParkedChange> {
        let change = self.change_parked(target, &|due| OutboxChange {
            due,
            ..OutboxChange::default()
        })?;
        tracing::info!(
            target_name = target,
            ?change,
            "parked entries are sent again"
        );
        Ok(change)
    }

    /// Drops parked parts with their entries for good: those of the view or service `target`, or all.
    ///
    /// # Errors
    /// As [`Node::outbox_retry`]; what was dropped before the error stays dropped.
    pub fn outbox_drop(&self, target: Option<&str>) -> Result<ParkedChange> {
        let change = self.change_parked(target, &|unpark| OutboxChange {
            unpark,
            ..OutboxChange::default()
        })?;
        self.sending.dropped(change.entries);
        tracing::warn!(
            target_name = target,
            ?change,
            "parked entries were dropped on demand"
        );
        Ok(change)
    }

    fn change_parked(
        &self,
        target: Option<&str>,
        of: &dyn Fn(Vec<u64>) -> OutboxChange,
    ) -> Result<ParkedChange> {
        let snapshot = self.store.load_full();
        let mut steps = parked::Steps::default();
        for part in parked::parts(&snapshot) {
            let part = part?;
            if target.is_none_or(|target| part.target == target)
                && let Some(step) = steps.add(&part)
            {
                self.outbox_change(of(step))?;
            }
        }
        let (change, rest) = steps.finish();
        if !rest.is_empty() {
            self.outbox_change(of(rest))?;
        }
        match target {
            Some(target) if change.parts == 0 => Err(Error::NotParked {
                target: target.to_owned(),
                parked: self.outbox_parked(STATUS_PARTS_MAX)?.names(),
            }),
            _ => Ok(change),
        }
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

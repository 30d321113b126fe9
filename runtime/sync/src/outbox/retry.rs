//! Parked parts that somebody wants sent again.

use galley_node::store::{OutboxChange, ParkedPart, Refusal};

use super::Undelivered;
use super::drain::{Drain, Name};
use super::parts::parts;
use crate::chain;
use crate::remote::{RemoteError, RemoteErrorKind};

/// Parts that are looked at together for one that is due.
const PAGE_PARTS: usize = 256;

impl Drain {
    /// Sends one parked part that is due, under the name it had; whether there was one.
    pub(super) fn retry(&mut self) -> Result<bool, String> {
        let Some(parked) = self.next_due()? else {
            return Ok(false);
        };
        let (first, last, entries) = (parked.first, parked.last, parked.entries);
        let target_name = parked.target.as_str();
        let change = match self.send_again(&parked) {
            Ok(()) => {
                tracing::info!(
                    target_name,
                    first,
                    last,
                    entries,
                    "the centre took what was parked"
                );
                OutboxChange {
                    unpark: vec![first],
                    ..OutboxChange::default()
                }
            }
            Err(Undelivered::Later(error)) => return Err(error.to_string()),
            Err(Undelivered::Refused(error)) => {
                let reason = error.to_string();
                tracing::error!(
                    target_name,
                    first,
                    last,
                    entries,
                    reason,
                    "the centre refuses what is parked: it stays there"
                );
                self.source().sending().refused_again();
                let at = self.source().now();
                OutboxChange {
                    refused: Some(Refusal { first, reason, at }),
                    ..OutboxChange::default()
                }
            }
        };
        self.change(change)?;
        Ok(true)
    }

    fn send_again(&self, parked: &ParkedPart) -> Result<(), Undelivered> {
        let failed = |kind, reason: String| {
            let what = format!("{}, entries from {}", parked.target, parked.first);
            RemoteError::new(kind, what, reason)
        };
        let items = self.source().parked_items(parked.first).map_err(|error| {
            Undelivered::Later(failed(RemoteErrorKind::Unreachable, chain(&error)))
        })?;
        let (parts, damaged) = parts(&items);
        match parts.as_slice() {
            [] => {}
            [part] => {
                let name = Name {
                    producer: parked.producer,
                    first: parked.first,
                    last: parked.last,
                    again: true,
                };
                let rows = self.deliver(part, name)?;
                let now = self.source().now();
                self.source().sending().sent((part.entries, rows), now);
            }
            _ => {
                let reason = "they are not all of one kind".to_owned();
                let error = failed(RemoteErrorKind::Invalid, reason);
                return Err(Undelivered::Refused(error));
            }
        }
        self.source().sending().damaged(damaged);
        Ok(())
    }

    /// The next part that is due, after the one that was sent again last.
    fn next_due(&mut self) -> Result<Option<ParkedPart>, String> {
        for start in [self.retried, 0] {
            let mut after = start;
            loop {
                let page = self
                    .source()
                    .parked_parts(after, PAGE_PARTS)
                    .map_err(|error| chain(&error))?;
                let Some(last) = page.last().map(|part| part.first) else {
                    break;
                };
                if let Some(part) = page.into_iter().find(|part| part.due) {
                    // One that is not taken now comes first the next time.
                    self.retried = part.first.saturating_sub(1);
                    return Ok(Some(part));
                }
                after = last;
            }
        }
        Ok(None)
    }
}

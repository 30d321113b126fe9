//! One round after the other: gather, record, send, remove. All state that counts is in the outbox
//! itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use galley_node::store::{Flight, OutboxChange, OutboxKind, OutboxStats, Park};

use super::parts::{Part, parts};
use super::{Centre, DrainConfig, OutboxSource, Shipment, Undelivered, batch, fresh_producer};
use crate::chain;
use crate::remote::{RemoteError, RemoteErrorKind};

/// How often the outbox is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Views and services that are known to be refused; with more, some are found out anew.
const REFUSED_MAX: usize = 1_000;

/// Sends what waits, round by round.
pub struct Drain {
    source: Arc<dyn OutboxSource>,
    centre: Arc<dyn Centre>,
    config: DrainConfig,
    /// Failures since the last success.
    failures: u32,
    jitter: u64,
    /// The last range this drain began itself: any other was begun before a restart.
    begun: u64,
    /// Entries before this one were accepted before this drain was there: whoever else has a copy of
    /// them may have sent them.
    own_from: u64,
    /// The first sequence of the part that was refused last, and how often.
    refusals: (u64, u32),
    /// Views and services something of which was parked, and nothing taken since.
    refused: BTreeSet<(OutboxKind, String)>,
    /// The parked part that was last sent again.
    pub(super) retried: u64,
}

/// How one part is named.
#[derive(Clone, Copy)]
pub(super) struct Name {
    pub(super) producer: u128,
    pub(super) first: u64,
    pub(super) last: u64,
    /// Whether it may have been sent under this name before.
    pub(super) again: bool,
}

impl std::fmt::Debug for Drain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drain")
            .field("centre", &self.centre)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

// === impl Drain ===

impl Drain {
    /// Sends from `source` to `centre`; `seed` is for the jitter.
    pub fn new(
        source: Arc<dyn OutboxSource>,
        centre: Arc<dyn Centre>,
        config: DrainConfig,
        seed: u64,
    ) -> Self {
        let own_from = source.stats().next_sequence;
        Self {
            source,
            centre,
            config,
            failures: 0,
            jitter: seed | 1,
            begun: 0,
            own_from,
            refusals: (0, 0),
            refused: BTreeSet::new(),
            retried: 0,
        }
    }

    /// Sends one range and one parked part where they are due, and says how long to wait before the
    /// next round.
    pub fn round(&mut self) -> Duration {
        let stats = self.source.stats();
        let early = self.too_early(&stats);
        let sent = match early {
            Some(left) => Ok(left.min(LOOK_INTERVAL)),
            None => self.send(&stats).map(|()| Duration::ZERO),
        };
        let outcome = sent.and_then(|wait| {
            let retried = stats.parked.due > 0 && self.retry()?;
            Ok(if retried { Duration::ZERO } else { wait })
        });
        match outcome {
            Ok(wait) => {
                self.failures = 0;
                wait
            }
            Err(reason) => {
                self.failures = self.failures.saturating_add(1);
                let wait = self.backoff();
                let wait_ms = wait.as_millis();
                tracing::warn!(%reason, wait_ms, "the outbox could not be sent, trying again later");
                self.source.sending().failed(reason);
                wait
            }
        }
    }

    /// How long there is nothing to send, or it is worth gathering more.
    fn too_early(&self, stats: &OutboxStats) -> Option<Duration> {
        if stats.entries == 0 {
            return Some(LOOK_INTERVAL);
        }
        // Nothing joins a range under way, or what an earlier producer sends.
        if stats.flight.is_some() || stats.producer_last.is_some() {
            return None;
        }
        let full = stats.bytes >= self.config.bytes_max
            || usize::try_from(stats.entries).is_ok_and(|it| it >= self.config.entries_max);
        let oldest = stats.oldest?;
        let waited = self.source.now().0.saturating_sub(oldest.0);
        // A clock that was set back must not keep anything here.
        let waited = Duration::from_micros(u64::try_from(waited).unwrap_or(u64::MAX));
        let left = self.config.wait_max.saturating_sub(waited);
        (!full && !left.is_zero()).then_some(left)
    }

    fn backoff(&mut self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(20);
        let whole = self.config.backoff_min.saturating_mul(1 << doublings);
        let whole = whole.min(self.config.backoff_max);
        // xorshift: between half and all of it, so that nodes that failed together part.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        let half = whole / 2;
        let share = u32::try_from(self.jitter % 1000).unwrap_or(0);
        half + half * share / 1000
    }

    fn send(&mut self, stats: &OutboxStats) -> Result<(), String> {
        let failed = |error: galley_node::Error| chain(&error);
        let producer = self.producer(stats)?;
        let (flight, items) = match stats.flight {
            Some(flight) => {
                let all = (usize::MAX, u64::MAX);
                (flight, self.source.peek(all, flight.last).map_err(failed)?)
            }
            None => {
                let bounds = (self.config.entries_max, self.config.bytes_max);
                let items = self.source.peek(bounds, u64::MAX).map_err(failed)?;
                let Some(last) = items.last().map(|item| item.sequence) else {
                    return Ok(());
                };
                let flight = Flight {
                    last,
                    parts_done: 0,
                };
                self.record(flight)?;
                self.begun = last;
                (flight, items)
            }
        };
        let (parts, damaged) = parts(&items);
        let again = self.begun != flight.last;
        self.begun = 0;
        // Parts that were parked are not among them any more: those done are the first ones still.
        let mut done = flight.parts_done;
        let skipped = usize::try_from(done).unwrap_or(usize::MAX);
        let mut left = parts.into_iter().skip(skipped).peekable();
        while let Some(part) = left.next() {
            let name = Name {
                producer,
                first: part.first,
                last: part.last,
                again: again || part.first < self.own_from,
            };
            let ends = left.peek().is_none();
            match self.deliver(&part, name) {
                Ok(rows) => {
                    let sending = self.source.sending();
                    sending.sent((part.entries, rows), self.source.now());
                    self.refused.remove(&(part.kind, part.target.to_owned()));
                    done = done.saturating_add(1);
                    if !ends {
                        self.record(Flight {
                            last: flight.last,
                            parts_done: done,
                        })?;
                    }
                }
                Err(Undelivered::Later(error)) => return Err(error.to_string()),
                Err(Undelivered::Refused(error)) => {
                    let Some(attempts) = self.refused_enough(&part) else {
                        return Err(error.to_string());
                    };
                    let range_ends = ends.then_some(flight.last);
                    self.park(&part, (producer, attempts, error), range_ends)?;
                    if ends {
                        self.source.sending().damaged(damaged);
                        return Ok(());
                    }
                }
            }
        }
        self.source.sending().damaged(damaged);
        self.change(OutboxChange {
            remove_up_to: Some(flight.last),
            ..OutboxChange::default()
        })
    }

    /// How often a part was refused that is not tried any more.
    fn refused_enough(&mut self, part: &Part<'_>) -> Option<u32> {
        let (first, times) = self.refusals;
        let times = if first == part.first { times } else { 0 };
        let times = times.saturating_add(1);
        self.refusals = (part.first, times);
        let known = self.refused.contains(&(part.kind, part.target.to_owned()));
        let bound = if known { 1 } else { self.config.park_after };
        (self.config.park_after > 0 && times >= bound).then_some(times)
    }

    /// Sets a part of the range under way aside, with the range where it was the last of it.
    fn park(
        &mut self,
        part: &Part<'_>,
        (producer, attempts, error): (u128, u32, RemoteError),
        remove_up_to: Option<u64>,
    ) -> Result<(), String> {
        let (first, last, entries) = (part.first, part.last, part.entries);
        let reason = error.to_string();
        let park = Park {
            kind: part.kind,
            target: part.target.to_owned(),
            producer,
            range: (first, last),
            sequences: part.sequences.clone(),
            bytes: part.bytes,
            attempts,
            reason: reason.clone(),
            at: self.source.now(),
        };
        self.change(OutboxChange {
            park: Some(park),
            remove_up_to,
            ..OutboxChange::default()
        })?;
        self.source.sending().parked(entries);
        tracing::error!(
            target_name = part.target,
            first,
            last,
            entries,
            attempts,
            reason,
            "the centre refuses these entries: they are parked until `galley outbox retry` or `drop`"
        );
        self.refusals = (0, 0);
        if self.refused.len() >= REFUSED_MAX {
            self.refused.clear();
        }
        self.refused.insert((part.kind, part.target.to_owned()));
        Ok(())
    }

    pub(super) fn source(&self) -> &dyn OutboxSource {
        &*self.source
    }

    pub(super) fn change(&self, change: OutboxChange) -> Result<(), String> {
        self.source.change(change).map_err(|error| chain(&error))
    }

    /// Who sends the oldest entries. Stores that were not opened with a producer get one when it is
    /// needed first.
    fn producer(&self, stats: &OutboxStats) -> Result<u128, String> {
        if let Some(producer) = stats.producer {
            return Ok(producer);
        }
        let fresh = fresh_producer().map_err(|error| error.to_string())?;
        self.change(OutboxChange {
            producer: Some(fresh),
            ..OutboxChange::default()
        })?;
        let kept = self.source.stats().producer;
        kept.ok_or_else(|| "the identity of the outbox was not kept".to_owned())
    }

    fn record(&self, flight: Flight) -> Result<(), String> {
        self.change(OutboxChange {
            flight: Some(flight),
            ..OutboxChange::default()
        })
    }

    /// Sends a part; how many rows it has.
    pub(super) fn deliver(&self, part: &Part<'_>, name: Name) -> Result<u64, Undelivered> {
        let (first, last) = (name.first, name.last);
        let rows = batch::of(part.kind, &part.parcels).map_err(|reason| {
            let what = format!("{}, entries {first} to {last}", part.target);
            Undelivered::Refused(RemoteError::new(RemoteErrorKind::Invalid, what, reason))
        })?;
        let row_count = rows.num_rows() as u64;
        self.centre.deliver(&Shipment {
            kind: part.kind,
            target: part.target,
            producer: name.producer,
            first,
            last,
            again: name.again,
            rows,
        })?;
        tracing::debug!(
            target_name = part.target,
            first,
            last,
            row_count,
            "outbox sent"
        );
        Ok(row_count)
    }
}

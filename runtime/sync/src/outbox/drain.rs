//! One round after the other: gather, record, send, remove. All state that counts is in the outbox
//! itself.

use std::sync::Arc;
use std::time::Duration;

use galley_node::Parcel;
use galley_node::store::{Flight, OutboxChange, OutboxItem, OutboxKind, OutboxStats};

use super::{Centre, DrainConfig, OutboxSource, Shipment, batch, random};
use crate::chain;
use crate::remote::{RemoteError, RemoteErrorKind};

/// How often the outbox is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

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
}

impl std::fmt::Debug for Drain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drain")
            .field("centre", &self.centre)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// Entries of one target with the same columns: what is sent in one batch.
struct Part<'a> {
    kind: OutboxKind,
    target: &'a str,
    first: u64,
    last: u64,
    entries: u64,
    parcels: Vec<Parcel<'a>>,
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
        Self {
            source,
            centre,
            config,
            failures: 0,
            jitter: seed | 1,
            begun: 0,
        }
    }

    /// Sends one range if one is due, and says how long to wait before the next round.
    pub fn round(&mut self) -> Duration {
        let stats = self.source.stats();
        if stats.entries == 0 {
            return LOOK_INTERVAL;
        }
        if stats.flight.is_none()
            && let Some(left) = self.too_early(&stats)
        {
            return left.min(LOOK_INTERVAL);
        }
        match self.send(&stats) {
            Ok(()) => {
                self.failures = 0;
                Duration::ZERO
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

    /// How long it is worth gathering more, if it is.
    fn too_early(&self, stats: &OutboxStats) -> Option<Duration> {
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
        let again = self.begun != flight.last;
        self.begun = 0;
        let (parts, damaged) = parts(&items);
        let count = parts.len();
        for (index, part) in (0_u32..).zip(parts) {
            if index < flight.parts_done {
                continue;
            }
            let rows = self.deliver(&part, (producer, again))?;
            let sending = self.source.sending();
            sending.sent((part.entries, rows), self.source.now());
            let next = index.saturating_add(1);
            if (next as usize) < count {
                self.record(Flight {
                    last: flight.last,
                    parts_done: next,
                })?;
            }
        }
        self.source.sending().damaged(damaged);
        let gone = OutboxChange {
            remove_up_to: Some(flight.last),
            ..OutboxChange::default()
        };
        self.source.change(gone).map_err(failed)
    }

    /// The identity of the outbox; made when it is needed first.
    fn producer(&self, stats: &OutboxStats) -> Result<u128, String> {
        if let Some(producer) = stats.producer {
            return Ok(producer);
        }
        let fresh = random().ok_or("the system gives no random bytes")?;
        let change = OutboxChange {
            producer: Some(fresh),
            ..OutboxChange::default()
        };
        self.source.change(change).map_err(|error| chain(&error))?;
        let kept = self.source.stats().producer;
        kept.ok_or_else(|| "the identity of the outbox was not kept".to_owned())
    }

    fn record(&self, flight: Flight) -> Result<(), String> {
        let change = OutboxChange {
            flight: Some(flight),
            ..OutboxChange::default()
        };
        self.source.change(change).map_err(|error| chain(&error))
    }

    fn deliver(&self, part: &Part<'_>, (producer, again): (u128, bool)) -> Result<u64, String> {
        let rows = batch::of(part.kind, &part.parcels).map_err(|reason| {
            let what = format!("{}, entries {} to {}", part.target, part.first, part.last);
            RemoteError::new(RemoteErrorKind::Invalid, what, reason).to_string()
        })?;
        let row_count = rows.num_rows() as u64;
        let shipment = Shipment {
            kind: part.kind,
            target: part.target,
            producer,
            first: part.first,
            last: part.last,
            again,
            rows,
        };
        self.centre
            .deliver(&shipment)
            .map_err(|error| error.to_string())?;
        let (first, last) = (part.first, part.last);
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

/// Cuts a range into parts: always the same ones. Also how many entries are in none, because they
/// were damaged.
fn parts(items: &[OutboxItem]) -> (Vec<Part<'_>>, u64) {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut damaged = 0;
    for item in items {
        let sequence = item.sequence;
        let opened = item.entry.as_ref().and_then(|entry| {
            let parcel = Parcel::open(&entry.payload)?;
            // Every row is looked at before any is sent.
            let sound = parcel.rows().all(|row| {
                row.is_ok_and(|row| parcel.columns().iter().all(|it| row.cell(it).is_ok()))
            });
            sound.then_some((entry, parcel))
        });
        let Some((entry, parcel)) = opened else {
            tracing::error!(
                sequence,
                "an entry of the outbox is damaged and cannot be sent"
            );
            damaged += 1;
            continue;
        };
        let same = parts.iter_mut().find(|part| {
            let columns = part.parcels.first().map(Parcel::columns);
            part.kind == entry.kind
                && part.target == entry.target
                && columns == Some(parcel.columns())
        });
        match same {
            Some(part) => {
                part.last = sequence;
                part.entries += 1;
                part.parcels.push(parcel);
            }
            None => parts.push(Part {
                kind: entry.kind,
                target: &entry.target,
                first: sequence,
                last: sequence,
                entries: 1,
                parcels: vec![parcel],
            }),
        }
    }
    (parts, damaged)
}

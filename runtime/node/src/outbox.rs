//! The way home as the node sees it: how much may wait, and what is known of the sending.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use galley_store::OutboxStats;
use galley_types::EventTime;

use crate::{Error, ParkedReport, Result};

/// How much may wait for the centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// Bytes that may wait, parked ones too; beyond it pushes to the offline store are refused.
    pub bytes_max: u64,
    /// How old the oldest entry may be; beyond it pushes to the offline store are refused.
    pub age_max: Duration,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            bytes_max: 1 << 30,
            age_max: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What is known of the sending; whoever sends keeps it.
#[derive(Debug, Default)]
pub struct Sending {
    to: OnceLock<String>,
    entries: AtomicU64,
    rows: AtomicU64,
    failures: AtomicU64,
    damaged: AtomicU64,
    parked: AtomicU64,
    dropped: AtomicU64,
    last_sent: AtomicI64,
    failure: Mutex<Option<String>>,
}

/// The outbox at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxStatus {
    /// Where entries go, without credentials; `None` when nothing is sent from here.
    pub to: Option<String>,
    /// What waits.
    pub waiting: OutboxStats,
    /// How long the oldest entry has waited.
    pub oldest_age: Option<Duration>,
    /// How long the oldest parked entry has.
    pub parked_age: Option<Duration>,
    /// What is parked, by view and service.
    pub parked: ParkedReport,
    /// Bytes that may wait.
    pub bytes_max: u64,
    /// How long an entry may wait before further ones are refused.
    pub age_max: Duration,
    /// Entries acknowledged since the start.
    pub sent_entries: u64,
    /// Rows acknowledged since the start.
    pub sent_rows: u64,
    /// Attempts that failed since the start.
    pub failures: u64,
    /// Entries since the start that were damaged on the disk and could not be sent.
    pub damaged: u64,
    /// Entries parked since the start, because the centre refused them.
    pub parked_entries: u64,
    /// Parked entries dropped on demand since the start.
    pub dropped_entries: u64,
    /// When something was last acknowledged.
    pub last_sent: Option<EventTime>,
    /// Why the last attempt failed, if it did.
    pub failure: Option<String>,
    /// Rows of serving logs kept since the start.
    pub log_rows: u64,
    /// Rows of serving logs since the start that were dropped because there was no room.
    pub log_rows_dropped: u64,
}

/// Bytes on their way into the outbox that no commit shows yet.
#[derive(Debug)]
pub(crate) struct Reservation {
    bytes: u64,
    all: Arc<AtomicU64>,
}

// === impl Sending ===

impl Sending {
    /// Says where entries go; the first one said stays.
    pub fn set_to(&self, to: String) {
        // Nobody changes the destination of a running node.
        let _ = self.to.set(to);
    }

    /// Entries were acknowledged.
    pub fn sent(&self, (entries, rows): (u64, u64), now: EventTime) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.last_sent.store(now.0, Ordering::Relaxed);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// An attempt failed.
    pub fn failed(&self, reason: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// Entries were found damaged.
    pub fn damaged(&self, entries: u64) {
        self.damaged.fetch_add(entries, Ordering::Relaxed);
    }

    /// Entries were set aside; nothing else is known to be wrong.
    pub fn parked(&self, entries: u64) {
        self.parked.fetch_add(entries, Ordering::Relaxed);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A parked part was refused again.
    pub fn refused_again(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Parked entries were dropped on demand.
    pub(crate) fn dropped(&self, entries: u64) {
        self.dropped.fetch_add(entries, Ordering::Relaxed);
    }

    pub(crate) fn status(
        &self,
        (config, parked): (&OutboxConfig, ParkedReport),
        (waiting, now): (OutboxStats, EventTime),
        (log_rows, log_rows_dropped): (u64, u64),
    ) -> OutboxStatus {
        let last_sent = self.last_sent.load(Ordering::Relaxed);
        OutboxStatus {
            to: self.to.get().cloned(),
            waiting,
            oldest_age: waiting.oldest.map(|oldest| age(oldest, now)),
            parked_age: waiting.parked.oldest.map(|oldest| age(oldest, now)),
            parked,
            bytes_max: config.bytes_max,
            age_max: config.age_max,
            sent_entries: self.entries.load(Ordering::Relaxed),
            sent_rows: self.rows.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            damaged: self.damaged.load(Ordering::Relaxed),
            parked_entries: self.parked.load(Ordering::Relaxed),
            dropped_entries: self.dropped.load(Ordering::Relaxed),
            last_sent: (last_sent != 0).then_some(EventTime(last_sent)),
            failure: self
                .failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            log_rows,
            log_rows_dropped,
        }
    }
}

fn age(then: EventTime, now: EventTime) -> Duration {
    // A clock that was set back makes nothing old.
    Duration::from_micros(u64::try_from(now.0.saturating_sub(then.0)).unwrap_or(0))
}

// === impl Reservation ===

impl Reservation {
    /// Takes room for `bytes` more, if there is room.
    pub(crate) fn take(
        all: &Arc<AtomicU64>,
        config: &OutboxConfig,
        (waiting, now): (OutboxStats, EventTime),
        bytes: u64,
    ) -> Result<Self> {
        for (oldest, parked) in [(waiting.oldest, false), (waiting.parked.oldest, true)] {
            let oldest = oldest.map(|oldest| age(oldest, now));
            if let Some(age) = oldest.filter(|age| *age > config.age_max) {
                return Err(Error::OutboxOld {
                    seconds: age.as_secs(),
                    limit_seconds: config.age_max.as_secs(),
                    parked,
                });
            }
        }
        let before = all.fetch_add(bytes, Ordering::AcqRel);
        let reservation = Self {
            bytes,
            all: Arc::clone(all),
        };
        let parked = waiting.parked.bytes;
        let held = waiting.bytes.saturating_add(parked).saturating_add(before);
        if held.saturating_add(bytes) > config.bytes_max {
            return Err(Error::OutboxFull {
                bytes: held,
                parked,
                more: bytes,
                limit: config.bytes_max,
            });
        }
        Ok(reservation)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

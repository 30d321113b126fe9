//! Leaves a failing component alone for a while.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::limits::BreakerConfig;

/// Whether calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls are made.
    Closed,
    /// Calls are refused.
    Open,
    /// One call is being tried.
    HalfOpen,
}

/// Counts calls and failures in windows of time. Lock-free; a call that crosses the turn of a window
/// may be counted in either.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    window_start_ms: AtomicU64,
    calls: AtomicU32,
    failures: AtomicU32,
    /// When the next call may be tried; 0 while closed.
    open_until_ms: AtomicU64,
    trying: AtomicBool,
    opened: AtomicU64,
}

impl BreakerState {
    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            window_start_ms: AtomicU64::new(0),
            calls: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            open_until_ms: AtomicU64::new(0),
            trying: AtomicBool::new(false),
            opened: AtomicU64::new(0),
        }
    }

    /// Whether a call may be made now. Every call admitted must be followed by one
    /// [`Breaker::note`]. Times are milliseconds from a moment of the caller's choice.
    ///
    /// # Errors
    /// How long until a call may be made.
    pub fn admit(&self, now_ms: impl FnOnce() -> u64) -> Result<(), Duration> {
        let until = self.open_until_ms.load(Relaxed);
        if until == 0 {
            return Ok(());
        }
        let now_ms = now_ms();
        if now_ms < until {
            return Err(Duration::from_millis(until - now_ms));
        }
        if self.trying.swap(true, Relaxed) {
            return Err(self.config.open.min(Duration::from_millis(100)));
        }
        Ok(())
    }

    /// What became of an admitted call: `None` when it says nothing about the guest.
    pub fn note(&self, now_ms: u64, failed: Option<bool>) {
        if self.config.failures_percent == 0 {
            return;
        }
        if self.open_until_ms.load(Relaxed) != 0 {
            self.note_try(now_ms, failed);
            return;
        }
        let Some(failed) = failed else {
            return;
        };
        let start = self.window_start_ms.load(Relaxed);
        if now_ms.saturating_sub(start) >= millis(self.config.window) {
            self.restart(now_ms);
        }
        let calls = self.calls.fetch_add(1, Relaxed).saturating_add(1);
        if !failed {
            return;
        }
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        if calls >= self.config.calls_min
            && u64::from(failures) * 100
                >= u64::from(calls) * u64::from(self.config.failures_percent)
        {
            self.open(now_ms);
        }
    }

    fn note_try(&self, now_ms: u64, failed: Option<bool>) {
        // Calls that were under way when it opened are no tries.
        if !self.trying.load(Relaxed) {
            return;
        }
        match failed {
            Some(true) => self.open(now_ms),
            Some(false) => {
                self.restart(now_ms);
                self.open_until_ms.store(0, Relaxed);
            }
            None => {}
        }
        self.trying.store(false, Relaxed);
    }

    fn open(&self, now_ms: u64) {
        let until = now_ms.saturating_add(millis(self.config.open)).max(1);
        self.open_until_ms.store(until, Relaxed);
        self.opened.fetch_add(1, Relaxed);
    }

    fn restart(&self, now_ms: u64) {
        self.window_start_ms.store(now_ms, Relaxed);
        self.calls.store(0, Relaxed);
        self.failures.store(0, Relaxed);
    }

    /// Whether calls are made now.
    pub fn state(&self, now_ms: u64) -> BreakerState {
        match self.open_until_ms.load(Relaxed) {
            0 => BreakerState::Closed,
            until if now_ms < until => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    /// How often it opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, now_ms: u64, times: u32) {
        for _ in 0..times {
            if breaker.admit(|| now_ms).is_ok() {
                breaker.note(now_ms, Some(true));
            }
        }
    }

    #[test]
    fn twenty_failures_open_it_and_one_success_closes_it() {
        let breaker = Breaker::new(BreakerConfig::default());
        fail(&breaker, 100, 19);
        assert_eq!(breaker.state(100), BreakerState::Closed);
        fail(&breaker, 100, 1);
        assert_eq!(breaker.state(100), BreakerState::Open);
        assert_eq!(breaker.admit(|| 1_100), Err(Duration::from_secs(4)));
        assert_eq!(breaker.state(5_100), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(|| 5_100), Ok(()));
        assert!(breaker.admit(|| 5_100).is_err(), "one try at a time");
        breaker.note(5_200, Some(true));
        assert_eq!(breaker.state(5_200), BreakerState::Open);
        assert_eq!(breaker.admit(|| 10_200), Ok(()));
        breaker.note(10_200, Some(false));
        assert_eq!(breaker.state(10_200), BreakerState::Closed);
        fail(&breaker, 10_300, 19);
        assert_eq!(breaker.state(10_300), BreakerState::Closed);
    }

    #[test]
    fn fewer_failures_than_half_leave_it_closed() {
        let breaker = Breaker::new(BreakerConfig::default());
        for round in 0..1_000 {
            breaker.note(round, Some(round % 3 == 0));
        }
        assert_eq!(breaker.state(1_000), BreakerState::Closed);
    }

    #[test]
    fn old_windows_are_forgotten_and_refused_data_counts_for_nothing() {
        let breaker = Breaker::new(BreakerConfig::default());
        fail(&breaker, 0, 19);
        fail(&breaker, 10_000, 19);
        assert_eq!(breaker.state(10_000), BreakerState::Closed);
        for _ in 0..100 {
            breaker.note(10_001, None);
        }
        assert_eq!(breaker.state(10_001), BreakerState::Closed);
    }
}

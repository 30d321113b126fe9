//! What became of the calls of a transformation.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::breaker::BreakerState;
use crate::error::Error;

/// Counters of a transformation since it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls asked for.
    pub calls: u64,
    /// Rows of calls that were answered.
    pub rows: u64,
    /// Calls by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Instances made; the rest of the calls met one that was kept.
    pub instances: u64,
    /// Log lines dropped because of a limit.
    pub log_lines_dropped: u64,
    /// Calls running now.
    pub running: u32,
    /// Whether calls are made.
    pub breaker: BreakerState,
    /// How often the breaker opened.
    pub breaker_opened: u64,
    /// Half of the answered calls took no longer.
    pub p50: Duration,
    /// 99 of 100 answered calls took no longer.
    pub p99: Duration,
    /// Time of all answered calls together.
    pub time_sum: Duration,
    /// Answered calls by their time: the upper bound of each bucket and the calls in it.
    pub times: Vec<(Duration, u64)>,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered.
    Answered,
    /// The author's code refused the data.
    Rejected,
    /// The author's code said it failed.
    Failed,
    /// The guest trapped.
    Trapped,
    /// A limit was reached.
    Limited,
    /// The answer could not be used.
    BadResult,
    /// The batch did not fit.
    BadInput,
    /// No place was free.
    Busy,
    /// The breaker was open.
    BreakerOpen,
    /// The host failed.
    Internal,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 10] = [
        Self::Answered,
        Self::Rejected,
        Self::Failed,
        Self::Trapped,
        Self::Limited,
        Self::BadResult,
        Self::BadInput,
        Self::Busy,
        Self::BreakerOpen,
        Self::Internal,
    ];

    /// The outcome of a call that ended with `error`.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error {
            Error::Rejected { .. } => Self::Rejected,
            Error::Failed { .. } => Self::Failed,
            Error::Trap { .. } => Self::Trapped,
            Error::Limit { .. } => Self::Limited,
            Error::BadResult { .. } => Self::BadResult,
            Error::BadInput { .. } => Self::BadInput,
            Error::Busy { .. } => Self::Busy,
            Error::BreakerOpen { .. } => Self::BreakerOpen,
            _ => Self::Internal,
        }
    }

    /// Its name in metrics and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Trapped => "trapped",
            Self::Limited => "limited",
            Self::BadResult => "bad_result",
            Self::BadInput => "bad_input",
            Self::Busy => "busy",
            Self::BreakerOpen => "breaker_open",
            Self::Internal => "internal",
        }
    }
}

impl Stats {
    /// The number of calls with this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome as usize).copied().unwrap_or(0)
    }
}

/// Four buckets to each doubling of time, from 256 ns to 17 s.
const BUCKETS: usize = 4 * 26;
const FIRST_BIT: u32 = 8;

/// What a call counts at most in the mean of late: one that had to wait long for its processor says
/// little of the next.
const RECENT_MAX: Duration = Duration::from_millis(4);

#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) rows: AtomicU64,
    pub(crate) instances: AtomicU64,
    /// How long calls took of late, whatever their outcome: a mean in which each call counts an
    /// eighth and [`RECENT_MAX`] at most, so that one that was merely interrupted does not tip it. 0
    /// before the first.
    pub(crate) recent_nanos: AtomicU64,
    /// Calls by outcome, those that were answered aside: `times` counts them.
    outcomes: [AtomicU64; Outcome::ALL.len()],
    pub(crate) times: Times,
}

/// How long calls took: counts in buckets, four to each doubling of time.
#[derive(Debug)]
pub struct Times {
    buckets: [AtomicU64; BUCKETS],
    nanos_sum: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            rows: AtomicU64::new(0),
            instances: AtomicU64::new(0),
            recent_nanos: AtomicU64::new(0),
            outcomes: [const { AtomicU64::new(0) }; _],
            times: Times::default(),
        }
    }

    /// Counts a call that was not answered.
    pub(crate) fn note(&self, outcome: Outcome) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Notes how long a call took, answered or not.
    pub(crate) fn note_recent(&self, took: Duration) {
        let nanos = took.min(RECENT_MAX).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX).max(1);
        let recent = self.recent_nanos.load(Relaxed);
        // Two calls that end together may lose one another's note; the next one mends it.
        let mean = match recent {
            0 => nanos,
            recent => recent - recent / 8 + nanos / 8,
        };
        self.recent_nanos.store(mean.max(1), Relaxed);
    }

    pub(crate) fn outcomes(&self) -> [u64; Outcome::ALL.len()] {
        let mut outcomes = std::array::from_fn(|index| {
            self.outcomes
                .get(index)
                .map_or(0, |count| count.load(Relaxed))
        });
        if let Some(answered) = outcomes.get_mut(Outcome::Answered as usize) {
            *answered = self.times.count();
        }
        outcomes
    }
}

impl Times {
    /// Counts a call.
    pub fn note(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(counter) = self.buckets.get(bucket(nanos)) {
            counter.fetch_add(1, Relaxed);
        }
        self.nanos_sum.fetch_add(nanos, Relaxed);
    }

    /// The number of calls.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// The time of all calls together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos_sum.load(Relaxed))
    }

    /// Calls by time, two doublings to each bucket, from a microsecond: the bound of each bucket and
    /// the calls in it alone.
    #[must_use]
    pub fn buckets(&self) -> Vec<(Duration, u64)> {
        let mut times: Vec<(Duration, u64)> = (0..11)
            .map(|step| (Duration::from_nanos(1 << (10 + 2 * step)), 0))
            .collect();
        times.push((Duration::MAX, 0));
        for (index, count) in self.buckets.iter().enumerate() {
            let bound = Duration::from_nanos(upper(index));
            if let Some((_, sum)) = times.iter_mut().find(|(wider, _)| bound <= *wider) {
                *sum += count.load(Relaxed);
            }
        }
        times
    }

    /// The time that `permille` of a thousand calls did not pass, at most a quarter more than it
    /// was; zero when there were none.
    #[must_use]
    pub fn quantile(&self, permille: u64) -> Duration {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|count| count.load(Relaxed))
            .collect();
        let total: u64 = counts.iter().sum();
        let rank = total.saturating_mul(permille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (index, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper(index));
            }
        }
        Duration::ZERO
    }
}

impl Default for Times {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; _],
            nanos_sum: AtomicU64::new(0),
        }
    }
}

fn bucket(nanos: u64) -> usize {
    let bits = nanos.max(1).ilog2().max(FIRST_BIT);
    let quarter = (nanos >> (bits - 2)) & 3;
    let octave = (bits - FIRST_BIT) as usize;
    let quarter = if nanos >> FIRST_BIT == 0 { 0 } else { quarter };
    (octave * 4 + usize::try_from(quarter).unwrap_or(0)).min(BUCKETS - 1)
}

fn upper(bucket: usize) -> u64 {
    let octave = bucket as u64 / 4;
    let quarter = bucket as u64 % 4;
    (5 + quarter) << (octave + u64::from(FIRST_BIT) - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_a_bucket_not_much_wider_than_itself() {
        for nanos in (0..40).map(|bit| (1_u64 << bit) + (1 << bit) / 3) {
            let bound = upper(bucket(nanos));
            if bucket(nanos) < BUCKETS - 1 {
                assert!(bound >= nanos, "{nanos} {bound}");
                assert!(bound <= (nanos * 5 / 4 + 1).max(320), "{nanos} {bound}");
            }
        }
    }

    #[test]
    fn a_call_that_was_interrupted_does_not_make_a_fast_one_slow_and_slow_ones_are_found_out() {
        let counters = Counters::new();
        let recent = |took: Duration| {
            counters.note_recent(took);
            Duration::from_nanos(counters.recent_nanos.load(Relaxed))
        };
        for _ in 0..100 {
            recent(Duration::from_micros(10));
        }
        let slow = Duration::from_millis(1);
        assert!(recent(Duration::from_millis(40)) < slow);
        assert!(recent(Duration::from_micros(10)) < slow);
        let found_out = (0..4).any(|_| recent(Duration::from_millis(5)) >= slow);
        assert!(found_out);
    }

    #[test]
    fn quantiles_are_those_of_the_calls() {
        let times = Times::default();
        assert_eq!(times.quantile(500), Duration::ZERO);
        for micros in 1..=100 {
            times.note(Duration::from_micros(micros));
        }
        let near = |found: Duration, micros: u128| {
            let found = found.as_micros();
            assert!(found >= micros && found <= micros * 5 / 4 + 1, "{found}");
        };
        assert_eq!(times.sum(), Duration::from_micros(5_050));
        let buckets = times.buckets();
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 100);
        assert_eq!(buckets[1], (Duration::from_nanos(4_096), 3));
        near(times.quantile(500), 50);
        near(times.quantile(990), 99);
    }
}

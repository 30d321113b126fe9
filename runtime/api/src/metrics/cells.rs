//! Counters and histograms made of atomics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts up.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

/// Observations by their size; `N` buckets and one for what is larger.
#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    bounds: &'static [f64; N],
    buckets: [AtomicU64; N],
    beyond: AtomicU64,
    /// Millionths.
    sum: AtomicU64,
}

// === impl Counter ===

impl Counter {
    /// Adds `count`.
    pub(crate) fn add(&self, count: u64) {
        if count > 0 {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The count.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Histogram ===

impl<const N: usize> Histogram<N> {
    /// An empty histogram with these upper bounds, ascending.
    pub(crate) fn new(bounds: &'static [f64; N]) -> Self {
        Self {
            bounds,
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            beyond: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts one observation, not negative.
    pub(crate) fn observe(&self, value: f64) {
        let place = self.bounds.iter().position(|bound| value <= *bound);
        let bucket = place.and_then(|place| self.buckets.get(place));
        bucket
            .unwrap_or(&self.beyond)
            .fetch_add(1, Ordering::Relaxed);
        // Float to integer saturates, and no sum of requests comes near.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and observations are not negative"
        )]
        let millionths = (value * 1e6) as u64;
        self.sum.fetch_add(millionths, Ordering::Relaxed);
    }

    /// Sum, count and the count of each bucket with its bound, the last being infinity.
    pub(crate) fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let mut buckets: Vec<(f64, u64)> = self
            .bounds
            .iter()
            .zip(&self.buckets)
            .map(|(bound, count)| (*bound, count.load(Ordering::Relaxed)))
            .collect();
        buckets.push((f64::INFINITY, self.beyond.load(Ordering::Relaxed)));
        let count = buckets.iter().map(|(_, count)| *count).sum();
        #[expect(clippy::cast_precision_loss, reason = "a metric, not an account")]
        let sum = self.sum.load(Ordering::Relaxed) as f64 / 1e6;
        (sum, count, buckets)
    }

    /// Whether nothing was observed.
    pub(crate) fn is_empty(&self) -> bool {
        self.beyond.load(Ordering::Relaxed) == 0
            && self
                .buckets
                .iter()
                .all(|bucket| bucket.load(Ordering::Relaxed) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_fall_into_their_buckets() {
        let histogram = Histogram::new(&[1.0, 2.0]);
        assert!(histogram.is_empty());
        for value in [0.5, 1.0, 1.5, 9.0] {
            histogram.observe(value);
        }
        let (sum, count, buckets) = histogram.read();
        assert_eq!(buckets, [(1.0, 2), (2.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((sum, count), (12.0, 4));
        assert!(!histogram.is_empty());
    }
}

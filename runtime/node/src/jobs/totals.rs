//! How materialisations ended since the start, by view.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::{JobState, JobStatus};

/// Upper bounds in seconds of the classes in [`JobTotals::seconds`]; the last class has none.
const BOUNDS: [f64; 10] = [
    1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
];

/// Views that are counted by name; those of registries long gone count too.
const VIEWS_MAX: usize = 4096;

/// The materialisations of one view that ended since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobTotals {
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that failed or were cancelled.
    pub failed: u64,
    /// How many took so long, by the classes of [`JobTotals::BOUNDS`] and one above them.
    pub seconds: [u64; BOUNDS.len() + 1],
    /// Seconds that all took together.
    pub seconds_sum: f64,
}

/// Totals by view.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    views: Mutex<BTreeMap<String, JobTotals>>,
}

// === impl JobTotals ===

impl JobTotals {
    /// Upper bounds in seconds of the classes in [`JobTotals::seconds`].
    pub const BOUNDS: [f64; BOUNDS.len()] = BOUNDS;

    fn count(&mut self, succeeded: bool, seconds: f64) {
        if succeeded {
            self.succeeded += 1;
        } else {
            self.failed += 1;
        }
        self.seconds_sum += seconds;
        let class = BOUNDS.iter().filter(|bound| **bound < seconds).count();
        if let Some(count) = self.seconds.get_mut(class) {
            *count += 1;
        }
    }
}

// === impl Totals ===

impl Totals {
    /// Counts a job that ended for each of its views.
    pub(crate) fn count(&self, job: &JobStatus) {
        let Some(finished) = job.finished else {
            return;
        };
        let micros = finished.0.saturating_sub(job.started.0).max(0);
        let seconds = std::time::Duration::from_micros(micros.unsigned_abs()).as_secs_f64();
        let succeeded = job.state == JobState::Succeeded;
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        for view in &job.views {
            if views.len() < VIEWS_MAX || views.contains_key(view) {
                let totals = views.entry(view.clone()).or_default();
                totals.count(succeeded, seconds);
            }
        }
    }

    /// All totals, by view in the order of their names.
    pub(crate) fn all(&self) -> Vec<(String, JobTotals)> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let copied = views.iter().map(|(view, it)| (view.clone(), it.clone()));
        copied.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_class_whose_bound_it_does_not_pass() {
        let mut totals = JobTotals::default();
        totals.count(true, 1.0);
        totals.count(true, 1.1);
        totals.count(false, 9_999.0);
        assert_eq!((totals.succeeded, totals.failed), (2, 1));
        assert_eq!(totals.seconds[..2], [1, 1]);
        assert_eq!(totals.seconds[BOUNDS.len()], 1);
    }
}

//! How many instances are kept between calls, over all components of an engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// Gives out the right to keep instances. Clones share the count.
#[derive(Clone, Debug)]
pub struct Keeping {
    kept: Arc<AtomicU32>,
    max: u32,
}

/// The right to keep one instance, given back when dropped.
#[derive(Debug)]
pub struct Keep(Arc<AtomicU32>);

impl Keeping {
    /// Half of the `instances_max` that an engine has may be kept, so that those who need a fresh
    /// one find a place.
    #[must_use]
    pub fn half_of(instances_max: u32) -> Self {
        Self {
            kept: Arc::default(),
            max: instances_max / 2,
        }
    }

    /// The right to keep one more; `None` when as many as may are kept.
    #[must_use]
    pub fn take(&self) -> Option<Keep> {
        self.take_below(self.max)
    }

    /// The same for one that could be done without: half of all is left to the others, whose
    /// instances cost more to make.
    #[must_use]
    pub fn take_spare(&self) -> Option<Keep> {
        self.take_below(self.max / 2)
    }

    fn take_below(&self, max: u32) -> Option<Keep> {
        self.kept
            .fetch_update(SeqCst, SeqCst, |kept| (kept < max).then_some(kept + 1))
            .ok()
            .map(|_| Keep(Arc::clone(&self.kept)))
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_all_instances_may_be_kept() {
        let keeping = Keeping::half_of(4);
        let kept = [keeping.take().unwrap(), keeping.clone().take().unwrap()];
        assert!(keeping.take().is_none());
        drop(kept);
        assert!(keeping.take().is_some());
    }

    #[test]
    fn half_of_those_are_for_instances_that_cost_more() {
        let keeping = Keeping::half_of(8);
        let spare = [keeping.take_spare().unwrap(), keeping.take_spare().unwrap()];
        assert!(keeping.take_spare().is_none());
        let others = [keeping.take().unwrap(), keeping.take().unwrap()];
        drop(spare);
        assert!(keeping.take_spare().is_none());
        drop(others);
        assert!(keeping.take_spare().is_some());
    }
}

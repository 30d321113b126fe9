//! How many calls of a transformation run at the same time, and how many wait.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A counting semaphore whose waiting is bounded in number and in time.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    freed: Condvar,
    places: u32,
    waiting_max: u32,
    wait_max: Duration,
}

#[derive(Debug, Default)]
struct State {
    taken: u32,
    waiting: u32,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    gate: &'a Gate,
}

impl Gate {
    pub(crate) fn new(places: u32, waiting_max: u32, wait_max: Duration) -> Self {
        Self {
            state: Mutex::default(),
            freed: Condvar::new(),
            places: places.max(1),
            waiting_max,
            wait_max,
        }
    }

    /// A place, or `None` when none came free in time or too many wait already.
    pub(crate) fn enter(&self) -> Option<Place<'_>> {
        let mut state = self.lock();
        if state.taken >= self.places {
            if state.waiting >= self.waiting_max {
                return None;
            }
            state.waiting += 1;
            let (waited, _) = self
                .freed
                .wait_timeout_while(state, self.wait_max, |state| state.taken >= self.places)
                .unwrap_or_else(PoisonError::into_inner);
            state = waited;
            state.waiting -= 1;
            if state.taken >= self.places {
                return None;
            }
        }
        state.taken += 1;
        Some(Place { gate: self })
    }

    /// Whether a call would have to wait for a place.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().taken >= self.places
    }

    /// Calls running now.
    pub(crate) fn taken(&self) -> u32 {
        self.lock().taken
    }

    // The counts are whole at every moment, so a panic elsewhere leaves nothing to repair.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.taken = state.taken.saturating_sub(1);
        if state.waiting > 0 {
            drop(state);
            self.gate.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_once_and_comes_back() {
        let gate = Gate::new(1, 1, Duration::from_millis(5));
        let place = gate.enter().unwrap();
        assert!(gate.enter().is_none());
        drop(place);
        assert!(gate.enter().is_some());
        assert_eq!(gate.taken(), 0);
    }

    #[test]
    fn who_waits_gets_the_place_that_comes_free() {
        let gate = Gate::new(1, 4, Duration::from_secs(10));
        let place = gate.enter().unwrap();
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| gate.enter().is_some()))
                .collect();
            while gate.lock().waiting < 4 {
                std::thread::yield_now();
            }
            assert!(gate.enter().is_none(), "a fifth may not wait");
            drop(place);
            assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
        });
    }
}

//! How many calls of a transformation run at the same time, and how many wait.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A counting semaphore whose waiting is bounded in number and in time. Who finds a place free pays
/// for one atomic operation when coming and one when going.
#[derive(Debug)]
pub(crate) struct Gate {
    taken: AtomicU32,
    /// How many wait; changed under the lock of `queue` only.
    waiting: AtomicU32,
    queue: Mutex<()>,
    freed: Condvar,
    places: u32,
    waiting_max: u32,
    wait_max: Duration,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    gate: &'a Gate,
}

impl Gate {
    pub(crate) fn new(places: u32, waiting_max: u32, wait_max: Duration) -> Self {
        Self {
            taken: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            queue: Mutex::new(()),
            freed: Condvar::new(),
            places: places.max(1),
            waiting_max,
            wait_max,
        }
    }

    /// A place, or `None` when none came free in time or too many wait already.
    pub(crate) fn enter(&self) -> Option<Place<'_>> {
        self.take().or_else(|| self.wait())
    }

    fn take(&self) -> Option<Place<'_>> {
        self.taken
            .fetch_update(SeqCst, SeqCst, |taken| {
                (taken < self.places).then_some(taken + 1)
            })
            .ok()
            .map(|_| Place { gate: self })
    }

    #[cold]
    fn wait(&self) -> Option<Place<'_>> {
        let queue = self.lock();
        if self.waiting.load(SeqCst) >= self.waiting_max {
            return None;
        }
        self.waiting.fetch_add(1, SeqCst);
        // A place that comes free from here on is seen: either the one who leaves it sees that
        // somebody waits, or it is already free when it is looked for.
        let mut place = None;
        let (queue, _) = self
            .freed
            .wait_timeout_while(queue, self.wait_max, |()| {
                place = self.take();
                place.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, SeqCst);
        drop(queue);
        place
    }

    /// Calls running now.
    pub(crate) fn taken(&self) -> u32 {
        self.taken.load(SeqCst)
    }

    // The lock guards nothing that a panic elsewhere could leave half done.
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.gate.taken.fetch_sub(1, SeqCst);
        if self.gate.waiting.load(SeqCst) > 0 {
            // Whoever is about to wait holds the lock until it waits.
            drop(self.gate.lock());
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
            while gate.waiting.load(SeqCst) < 4 {
                std::thread::yield_now();
            }
            assert!(gate.enter().is_none(), "a fifth may not wait");
            drop(place);
            assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
        });
    }
}

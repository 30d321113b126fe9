//! Instances that are kept from one call for the next.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use wasmtime::Store;

use crate::keep::Keep;
use crate::lower::ListBlock;
use crate::rewind::Reset;
use crate::state::State;
use crate::transform::{Apply, Isolation, Transform};

/// Calls an instance serves that is put back after each. It is as new as any, a bound all the same.
const REWOUND_CALLS_MAX: u32 = 100_000;
/// How long it is kept without a call.
const REWOUND_IDLE_MAX: Duration = Duration::from_secs(60);

/// An instance that is kept between calls.
pub(crate) struct Instance {
    pub(crate) store: Store<State>,
    pub(crate) apply: Apply<'static>,
    /// Puts it back, where that is how calls get instances like new.
    pub(crate) reset: Option<Reset<'static>>,
    /// What it has lent for the lists of calls.
    pub(crate) block: ListBlock,
    pub(crate) calls: u32,
    pub(crate) memory_bytes_first: usize,
    pub(crate) used: Instant,
    /// Held once it has been kept.
    pub(crate) keep: Option<Keep>,
}

/// How long instances are kept.
struct Bounds {
    calls_max: u32,
    growth_bytes_max: usize,
    idle_max: Duration,
}

impl Transform {
    /// `None` where every call gets an instance of its own.
    fn bounds(&self) -> Option<Bounds> {
        match self.isolation {
            Isolation::Fresh => self.rewind.is_some().then_some(Bounds {
                calls_max: REWOUND_CALLS_MAX,
                growth_bytes_max: 0,
                idle_max: REWOUND_IDLE_MAX,
            }),
            Isolation::Pooled {
                calls_max,
                growth_bytes_max,
                idle_max,
            } => Some(Bounds {
                calls_max,
                growth_bytes_max,
                idle_max,
            }),
        }
    }

    /// An instance that waits for a call, the one used last: the others grow idle and go.
    pub(crate) fn take_idle(&self) -> Option<Instance> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }

    /// Keeps an instance for the next call, unless it has served enough or has grown.
    pub(crate) fn keep(&self, mut instance: Instance, now: Instant) {
        let Some(Bounds {
            calls_max,
            growth_bytes_max,
            idle_max,
        }) = self.bounds()
        else {
            return;
        };
        let bytes = instance.store.data().used.memory_bytes();
        if instance.calls >= calls_max
            || bytes.saturating_sub(instance.memory_bytes_first) > growth_bytes_max
        {
            return;
        }
        if instance.keep.is_none() {
            instance.keep = self.engine.keep(self.isolation);
            if instance.keep.is_none() {
                return;
            }
        }
        instance.used = now;
        let mut gone = Vec::new();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(instance);
        if idle.len() == 1 {
            return;
        }
        // The oldest stand first. There are never more than calls at the same time.
        let old = |instance: &Instance| now.saturating_duration_since(instance.used) > idle_max;
        let keep_from = idle.iter().position(|instance| !old(instance)).unwrap_or(0);
        gone.extend(idle.drain(..keep_from));
        drop(idle);
        drop(gone);
    }

    /// Lets go of the instances that have waited too long; for a caller that comes by now and then,
    /// since a transformation that is not called does not look by itself.
    pub fn release_idle(&self) {
        let Some(Bounds { idle_max, .. }) = self.bounds() else {
            return;
        };
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut *idle)
            .into_iter()
            .partition(|instance| now.saturating_duration_since(instance.used) > idle_max);
        *idle = kept;
        drop(idle);
        drop(old);
    }
}

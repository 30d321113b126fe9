//! Instances that are kept from one call for the next.

use std::sync::PoisonError;
use std::time::Instant;

use wasmtime::Store;

use crate::keep::Keep;
use crate::state::State;
use crate::transform::{Apply, Isolation, Transform};

/// An instance that is kept between calls.
pub(crate) struct Instance {
    pub(crate) store: Store<State>,
    pub(crate) apply: Apply<'static>,
    pub(crate) calls: u32,
    pub(crate) memory_bytes_first: usize,
    pub(crate) used: Instant,
    /// Held once it has been kept.
    pub(crate) keep: Option<Keep>,
}

impl Transform {
    /// An instance that waits for a call, the one used last: the others grow idle and go.
    pub(crate) fn take_idle(&self) -> Option<Instance> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }

    /// Keeps an instance for the next call, unless it has served enough or has grown.
    pub(crate) fn keep(&self, mut instance: Instance, now: Instant) {
        let Isolation::Pooled {
            calls_max,
            growth_bytes_max,
            idle_max,
        } = self.isolation
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
            instance.keep = self.engine.keep();
            if instance.keep.is_none() {
                return;
            }
        }
        instance.used = now;
        let mut gone = Vec::new();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(instance);
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
        let Isolation::Pooled { idle_max, .. } = self.isolation else {
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

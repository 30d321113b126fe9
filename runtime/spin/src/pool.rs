//! Instances that are kept from one request for the next, and let go when nobody needs them.

use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use galley_transform::Keep;
use tokio::time::sleep_until;
use wasmtime::Store;
use wasmtime_wasi_http::p3::bindings::Service;

use crate::component::HttpComponent;
use crate::state::State;

/// An instance and its store.
pub(crate) struct Live {
    pub(crate) store: Store<State>,
    pub(crate) service: Service,
    /// Requests it has answered.
    answered: u32,
    memory_bytes_first: usize,
    used: Instant,
    /// Held once it has been kept.
    keep: Option<Keep>,
}

/// Instances that wait for a request.
#[derive(Default)]
pub(crate) struct Kept {
    /// The one that has waited longest first.
    idle: Vec<Live>,
    /// Whether somebody comes by to let go of those that have waited too long.
    is_watched: bool,
}

impl Live {
    pub(crate) fn new(store: Store<State>, service: Service) -> Self {
        Self {
            answered: 0,
            memory_bytes_first: store.data().used.memory_bytes(),
            used: Instant::now(),
            keep: None,
            store,
            service,
        }
    }
}

impl HttpComponent {
    /// An instance that was kept, the one used last: the others grow idle and go.
    pub(crate) fn take(&self, deadline: Instant) -> Option<Live> {
        let mut live = self.kept().idle.pop()?;
        State::again(&mut live.store, deadline);
        Some(live)
    }

    /// Keeps an instance for another request, unless it has answered enough or has grown.
    pub(crate) fn keep(self: &Arc<Self>, mut live: Live) {
        let limits = &self.shared.limits;
        live.answered = live.answered.saturating_add(1);
        let bytes = live.store.data().used.memory_bytes();
        let growth_bytes = bytes.saturating_sub(live.memory_bytes_first);
        if live.answered >= limits.instance_reuse_max
            || growth_bytes > limits.instance_growth_bytes_max
            || limits.instance_idle_max.is_zero()
        {
            return;
        }
        if live.keep.is_none() {
            live.keep = self.engine.keeping().take();
        }
        if live.keep.is_none() {
            return;
        }
        live.used = Instant::now();
        let oldest_until = live.used + limits.instance_idle_max;
        let mut kept = self.kept();
        // There are never more than requests at the same time.
        kept.idle.push(live);
        if !std::mem::replace(&mut kept.is_watched, true) {
            let watch = watch(Arc::downgrade(self), oldest_until);
            self.engine.handle().spawn(watch);
        }
    }

    /// Lets go of the instances that have waited too long. Tells when the next one will have; `None`
    /// when there is none, and nobody watches any more.
    fn release_idle(&self) -> Option<Instant> {
        let idle_max = self.shared.limits.instance_idle_max;
        let now = Instant::now();
        let mut kept = self.kept();
        let is_young = |live: &Live| now.saturating_duration_since(live.used) < idle_max;
        let old = kept.idle.iter().position(is_young);
        let old = old.unwrap_or(kept.idle.len());
        let gone: Vec<Live> = kept.idle.drain(..old).collect();
        let next = kept.idle.first().map(|live| live.used + idle_max);
        kept.is_watched = next.is_some();
        drop(kept);
        // Tears down memories: not while others wait for the lock.
        drop(gone);
        next
    }

    /// Instances that wait for a request now.
    pub(crate) fn kept_count(&self) -> usize {
        self.kept().idle.len()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Comes by whenever an instance has waited long enough, for as long as there are any. A component
/// that is replaced takes its instances along.
async fn watch(component: Weak<HttpComponent>, mut next: Instant) {
    loop {
        sleep_until(next.into()).await;
        let Some(component) = component.upgrade() else {
            return;
        };
        match component.release_idle() {
            Some(later) => next = later,
            None => return,
        }
    }
}

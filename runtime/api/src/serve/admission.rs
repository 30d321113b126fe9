//! Which connections may stay.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ApiConfig;
use crate::metrics::Metrics;

/// Counts open connections, in all and by peer.
#[derive(Debug)]
pub(crate) struct Admission {
    connections_max: usize,
    per_ip_max: usize,
    open: Mutex<Open>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    /// Bounded by the connections that are open.
    by_ip: HashMap<IpAddr, usize>,
}

/// The right of one connection to be open.
#[derive(Debug)]
pub(crate) struct Seat {
    admission: Arc<Admission>,
    ip: IpAddr,
}

// === impl Admission ===

impl Admission {
    /// No connection yet.
    pub(crate) fn new(config: &ApiConfig, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            connections_max: config.connections_max,
            per_ip_max: config.connections_per_ip_max,
            open: Mutex::default(),
            metrics,
        })
    }

    /// A seat for a connection from `ip`, unless there are too many.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Seat> {
        let ip = ip.to_canonical();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let held = open.by_ip.get(&ip).copied().unwrap_or(0);
        if open.count >= self.connections_max || held >= self.per_ip_max {
            drop(open);
            self.metrics.connections_refused.add(1);
            return None;
        }
        open.count += 1;
        open.by_ip.insert(ip, held + 1);
        drop(open);
        self.metrics.connections_accepted.add(1);
        self.metrics
            .connections_open
            .fetch_add(1, Ordering::Relaxed);
        Some(Seat {
            admission: Arc::clone(self),
            ip,
        })
    }
}

// === impl Seat ===

impl Drop for Seat {
    fn drop(&mut self) {
        let admission = &self.admission;
        let mut open = admission
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.count = open.count.saturating_sub(1);
        match open.by_ip.get_mut(&self.ip) {
            Some(held) if *held > 1 => *held -= 1,
            _ => drop(open.by_ip.remove(&self.ip)),
        }
        drop(open);
        admission
            .metrics
            .connections_open
            .fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_come_back() {
        let config = ApiConfig {
            connections_max: 3,
            connections_per_ip_max: 2,
            ..ApiConfig::default()
        };
        let admission = Admission::new(&config, Arc::new(Metrics::default()));
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let other: IpAddr = "2001:db8::1".parse().unwrap();
        let first = admission.admit(one).unwrap();
        let second = admission.admit(mapped).unwrap();
        assert!(admission.admit(one).is_none(), "two of one peer");
        let _third = admission.admit(other).unwrap();
        assert!(
            admission.admit("192.0.2.9".parse().unwrap()).is_none(),
            "three in all"
        );
        drop((first, second));
        assert!(admission.admit(one).is_some());
        assert_eq!(admission.open.lock().unwrap().by_ip.len(), 1);
    }
}

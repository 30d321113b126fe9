//! What is told of a component.

use std::time::Duration;

use galley_transform::{BreakerState, Digest};

use crate::bounds::{HttpLimits, Limit};
use crate::error::Error;
use crate::outbound::OutboundOutcome;

/// A component that is loaded, and what became of its requests.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ComponentStatus {
    /// Its name in the manifest.
    pub name: String,
    /// The paths it answers.
    pub route: String,
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// Size of the component.
    pub component_bytes: usize,
    /// What it may use.
    pub limits: HttpLimits,
    /// The key-value stores it may open.
    pub key_value_stores: Vec<String>,
    /// Requests to other hosts by outcome, in the order of [`OutboundOutcome::ALL`].
    pub outbound: [u64; OutboundOutcome::ALL.len()],
    /// Requests by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Instances made; the rest of the requests met one that was kept.
    pub instances: u64,
    /// Instances kept for another request.
    pub kept: usize,
    /// Whether requests are given to it.
    pub breaker: BreakerState,
    /// How often the breaker opened.
    pub breaker_opened: u64,
    /// Requests worked on now.
    pub running: u32,
    /// Requests waiting for a place now.
    pub waiting: u32,
    /// Half of the answered requests took no longer.
    pub p50: Duration,
    /// 99 of 100 answered requests took no longer.
    pub p99: Duration,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The component answered, with whatever status.
    Answered,
    /// The component failed: a trap, a panic, no answer.
    Failed,
    /// It passed its deadline.
    Deadline,
    /// It passed another limit.
    Limited,
    /// No place was free.
    Busy,
    /// It had failed too often, and was left alone.
    BreakerOpen,
    /// The request was too large for it.
    Refused,
    /// The host failed.
    Internal,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::Answered,
        Self::Failed,
        Self::Deadline,
        Self::Limited,
        Self::Busy,
        Self::BreakerOpen,
        Self::Refused,
        Self::Internal,
    ];

    /// The outcome of a request that ended with `error`.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error {
            Error::Limit { limit, .. } => match limit {
                Limit::Deadline | Limit::CpuDeadline => Self::Deadline,
                Limit::RequestBody => Self::Refused,
                _ => Self::Limited,
            },
            Error::Trap { .. } | Error::NoAnswer { .. } => Self::Failed,
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
            Self::Failed => "failed",
            Self::Deadline => "deadline",
            Self::Limited => "limited",
            Self::Busy => "busy",
            Self::BreakerOpen => "breaker_open",
            Self::Refused => "refused",
            Self::Internal => "internal",
        }
    }
}

impl ComponentStatus {
    /// The number of requests with this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome as usize).copied().unwrap_or(0)
    }

    /// The number of requests to other hosts with this outcome.
    #[must_use]
    pub fn outbound_count(&self, outcome: OutboundOutcome) -> u64 {
        self.outbound.get(outcome as usize).copied().unwrap_or(0)
    }

    /// All requests.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.outcomes.iter().sum()
    }
}

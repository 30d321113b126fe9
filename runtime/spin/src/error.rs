//! The one error type of the room.

use std::path::PathBuf;
use std::time::Duration;

use galley_transform::LimitValue;
use galley_types::{Classify, ErrorKind};

use crate::Limit;

/// Result of an operation of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a component could not be loaded, or a request has no answer. Text that came from a guest is
/// cut and has no control characters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine cannot run on this machine or with this configuration.
    #[error("the engine of HTTP components cannot be set up: {reason}")]
    Engine {
        /// Why.
        reason: String,
    },
    /// The bytes are no component, or cannot be compiled or kept.
    #[error("HTTP component '{component}' cannot be loaded")]
    Load {
        /// The component.
        component: String,
        /// Why.
        #[source]
        source: galley_transform::Error,
    },
    /// The component is not there.
    #[error("HTTP component '{component}' is not there: {reason}")]
    Missing {
        /// The component.
        component: String,
        /// Why, and what to do about it.
        reason: String,
    },
    /// The component wants something that HTTP components do not get.
    #[error(
        "HTTP component '{component}' imports what it does not get: {}; it may import wasi:http, \
         wasi:clocks, wasi:random and wasi:cli at 0.3, spin:key-value and spin:variables at 3.0, \
         galley:features at 0.1. Build Rust for wasm32-unknown-unknown: other targets import files \
         and sockets",
        imports.join(", ")
    )]
    ForbiddenImports {
        /// The component.
        component: String,
        /// The imports.
        imports: Vec<String>,
    },
    /// The component answers no HTTP requests.
    #[error(
        "HTTP component '{component}' does not export wasi:http/handler@0.3.0 (it exports \
         {exports}); spin-sdk 7 and later write such components"
    )]
    NotAHandler {
        /// The component.
        component: String,
        /// What it exports.
        exports: String,
    },
    /// The component's types are not those of the interfaces it names.
    #[error("HTTP component '{component}' does not fit its interfaces: {reason}")]
    WrongTypes {
        /// The component.
        component: String,
        /// What does not fit.
        reason: String,
    },
    /// A route that cannot be used.
    #[error("route '{route}' of HTTP component '{component}': {reason}")]
    Route {
        /// The component.
        component: String,
        /// The route.
        route: String,
        /// Why.
        reason: String,
    },
    /// Two components with one name.
    #[error("there are two HTTP components called '{component}'")]
    SameName {
        /// The name.
        component: String,
    },
    /// Something the manifest grants is not understood.
    #[error("{what} '{text}' of HTTP component '{component}': {reason}")]
    Grant {
        /// The component.
        component: String,
        /// What is granted.
        what: &'static str,
        /// As it stands in the manifest.
        text: String,
        /// Why it is not understood.
        reason: String,
    },
    /// The component may send requests over TLS, and nobody can be trusted.
    #[error(
        "HTTP component '{component}' may send requests to https:// hosts, and there is nothing to \
         trust them by: {reason}; mend remote.ca_file in galley.toml, install the system's \
         certificates, or grant http:// hosts only"
    )]
    NoTrust {
        /// The component.
        component: String,
        /// Why.
        reason: String,
    },
    /// The file of key-value stores cannot be used.
    #[error("{action} of key-value stores '{}'", path.display())]
    KeyValue {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The cause.
        #[source]
        source: Box<redb::Error>,
    },
    /// A limit was reached.
    #[error(
        "HTTP component '{component}' was stopped: the limit on {limit} ({} = {value}) was reached; \
         where it needs more, set `{} = {}` under {} in spin.toml",
        limit.setting(), limit.setting(), value.doubled().toml(), limit.table()
    )]
    Limit {
        /// The component.
        component: String,
        /// The limit.
        limit: Limit,
        /// Its value.
        value: LimitValue,
    },
    /// All places are taken.
    #[error(
        "HTTP component '{component}' is busy: the limit on {limit} ({} = {value}) was reached; try \
         again later",
        limit.setting()
    )]
    Busy {
        /// The component.
        component: String,
        /// The limit.
        limit: Limit,
        /// Its value.
        value: LimitValue,
    },
    /// It failed too often and is left alone for a while.
    #[error(
        "HTTP component '{component}' is not asked because it failed too often; the next try is in \
         {} ms",
        retry_after.as_millis()
    )]
    BreakerOpen {
        /// The component.
        component: String,
        /// When it will be tried again.
        retry_after: Duration,
    },
    /// The guest's code failed.
    #[error("HTTP component '{component}' failed")]
    Trap {
        /// The component.
        component: String,
        /// How: for the log.
        what: String,
    },
    /// The guest said it has no answer.
    #[error("HTTP component '{component}' gave no answer")]
    NoAnswer {
        /// The component.
        component: String,
        /// What it said: for the log.
        what: String,
    },
    /// No component's route covers the path.
    #[error("no HTTP component answers '{path}'")]
    NoRoute {
        /// The path.
        path: String,
    },
    /// The component that answers the path was refused when it was loaded.
    #[error(
        "HTTP component '{component}' is not loaded: the node's log and /status have the reason"
    )]
    NotLoaded {
        /// The component.
        component: String,
    },
    /// A bug of ours.
    #[error("the host of HTTP component '{component}' failed")]
    Internal {
        /// The component.
        component: String,
        /// How: for the log.
        what: String,
    },
}

impl Error {
    /// The status of the answer of a request that ended so.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Limit {
                limit: Limit::Deadline | Limit::CpuDeadline,
                ..
            } => 504,
            Self::Limit {
                limit: Limit::RequestBody,
                ..
            } => 413,
            Self::Busy { .. } | Self::BreakerOpen { .. } | Self::NotLoaded { .. } => 503,
            Self::NoRoute { .. } => 404,
            _ => 500,
        }
    }

    /// The stable code of a request that ended so.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Limit {
                limit: Limit::Deadline | Limit::CpuDeadline,
                ..
            } => "component_deadline",
            Self::Limit {
                limit: Limit::RequestBody,
                ..
            } => "too_large",
            Self::Limit { .. } => "component_limit",
            Self::Busy { .. } => "busy",
            Self::BreakerOpen { .. } => "component_breaker_open",
            Self::NoRoute { .. } => "no_route",
            Self::Trap { .. } => "component_failed",
            Self::NoAnswer { .. } => "component_no_answer",
            Self::NotLoaded { .. } => "component_not_loaded",
            _ => "internal",
        }
    }

    /// Whether the component is to blame: what the breaker counts.
    #[must_use]
    pub fn is_guest_fault(&self) -> bool {
        match self {
            Self::Limit { limit, .. } => !matches!(limit, Limit::RequestBody | Limit::Instances),
            Self::Trap { .. } | Self::NoAnswer { .. } => true,
            _ => false,
        }
    }

    /// What only the log should know.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        match self {
            Self::Trap { what, .. } | Self::NoAnswer { what, .. } | Self::Internal { what, .. } => {
                Some(what)
            }
            _ => None,
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Load { source, .. } => source.kind(),
            Self::ForbiddenImports { .. } | Self::NotAHandler { .. } | Self::WrongTypes { .. } => {
                ErrorKind::Unsupported
            }
            Self::Route { .. } | Self::SameName { .. } | Self::Grant { .. } => ErrorKind::Invalid,
            Self::Limit {
                limit: Limit::RequestBody,
                ..
            } => ErrorKind::TooLarge,
            Self::Limit { .. } | Self::Trap { .. } | Self::NoAnswer { .. } => {
                ErrorKind::Unavailable
            }
            Self::KeyValue { .. }
            | Self::NotLoaded { .. }
            | Self::Missing { .. }
            | Self::BreakerOpen { .. }
            | Self::NoTrust { .. } => ErrorKind::Unavailable,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::NoRoute { .. } => ErrorKind::NotFound,
            Self::Engine { .. } | Self::Internal { .. } => ErrorKind::Internal,
        }
    }
}

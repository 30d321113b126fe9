//! A loaded component: its code, its places, the instances it keeps.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use galley_transform::{Breaker, Cache, Digest, LimitValue, Source, Target, Times, clip};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::bounds::Limit;
use crate::config::HttpComponentConfig;
use crate::engine::{BLOCKING_THREADS_MAX, HttpEngine};
use crate::error::{Error, Result};
use crate::grants::OutboundGrants;
use crate::inspect;
use crate::outbound::OutboundCounters;
use crate::pool::Kept;
use crate::route::Route;
use crate::state::{Shared, State};
use crate::status::{ComponentStatus, Outcome};
use crate::{KeyValue, Surroundings};

/// Hosts' addresses that one component asks for at the same time: half of the threads there are for it.
const LOOK_UPS_MAX: usize = BLOCKING_THREADS_MAX / 2;

/// Bytes of an engine's message that are kept.
pub(crate) const REASON_BYTES_MAX: usize = 1_024;

/// A component that answers requests.
pub(crate) struct HttpComponent {
    pub(crate) engine: Arc<HttpEngine>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pre: ServicePre<State>,
    pub(crate) places: Semaphore,
    /// Requests that have a place or wait for one.
    pub(crate) pending: AtomicU32,
    pub(crate) counters: Counters,
    pub(crate) breaker: Breaker,
    pub(crate) kept: Mutex<Kept>,
    route: String,
    digest: Digest,
    component_bytes: usize,
}

/// What became of requests.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) instances: AtomicU64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    times: Times,
}

// === impl HttpComponent ===

impl HttpComponent {
    /// Checks, compiles (or finds the code of) and links a component. Takes seconds when it has to
    /// be compiled.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn load(
        engine: &Arc<HttpEngine>,
        surroundings: &Surroundings<'_>,
        (config, route): (HttpComponentConfig, &Route),
    ) -> Result<Self> {
        if let Some(reason) = config.missing {
            return Err(Error::Missing {
                component: config.name,
                reason,
            });
        }
        check_limits(engine, &config)?;
        inspect::check(&config.name, &config.bytes, &config.limits)?;
        let shared = share(&config, surroundings)?;
        let code = code(engine, surroundings.cache, &config)?;
        let wrong = |error: &wasmtime::Error| Error::WrongTypes {
            component: config.name.clone(),
            reason: clip(&format!("{error:#}"), REASON_BYTES_MAX),
        };
        let pre = engine.linker().instantiate_pre(&code.component);
        let pre = pre
            .and_then(ServicePre::new)
            .map_err(|error| wrong(&error))?;
        Ok(Self {
            engine: Arc::clone(engine),
            places: Semaphore::new(config.limits.concurrency_max as usize),
            pending: AtomicU32::new(0),
            counters: Counters::default(),
            breaker: Breaker::new(config.limits.breaker),
            kept: Mutex::default(),
            route: route.text().to_owned(),
            digest: code.digest,
            component_bytes: config.bytes.len(),
            shared: Arc::new(shared),
            pre,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    pub(crate) fn limit(&self, limit: Limit) -> Error {
        let value = self.shared.limits.value(limit);
        Error::Limit {
            component: self.name().to_owned(),
            limit,
            value: value.unwrap_or_else(|| self.engine.limit(limit)),
        }
    }

    pub(crate) fn busy(&self, limit: Limit) -> Error {
        let value = self.shared.limits.value(limit);
        Error::Busy {
            component: self.name().to_owned(),
            limit,
            value: value.unwrap_or_else(|| self.engine.limit(limit)),
        }
    }

    pub(crate) fn status(&self) -> ComponentStatus {
        let counters = &self.counters;
        let limits = &self.shared.limits;
        let free = u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX);
        let running = limits.concurrency_max.saturating_sub(free);
        ComponentStatus {
            name: self.name().to_owned(),
            route: self.route.clone(),
            digest: self.digest,
            component_bytes: self.component_bytes,
            limits: limits.clone(),
            key_value_stores: self.shared.stores.clone(),
            outbound: self.shared.outbound.all(),
            outcomes: std::array::from_fn(|index| {
                counters
                    .outcomes
                    .get(index)
                    .map_or(0, |count| count.load(Relaxed))
            }),
            instances: counters.instances.load(Relaxed),
            kept: self.kept_count(),
            breaker: self.breaker.state(self.engine.millis(Instant::now())),
            breaker_opened: self.breaker.opened(),
            running,
            waiting: self.pending.load(Relaxed).saturating_sub(running),
            p50: counters.times.quantile(500),
            p99: counters.times.quantile(990),
        }
    }
}

impl fmt::Debug for HttpComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpComponent")
            .field("name", &self.shared.name)
            .field("route", &self.route)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

// === impl Counters ===

impl Counters {
    pub(crate) fn note(&self, outcome: Outcome, took: Duration) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            counter.fetch_add(1, Relaxed);
        }
        if outcome == Outcome::Answered {
            self.times.note(took);
        }
    }
}

/// What one component asks for must fit the engine it shares.
fn check_limits(engine: &HttpEngine, config: &HttpComponentConfig) -> Result<()> {
    let (own, all) = (&config.limits, engine.config());
    let pairs = [
        (
            ("max-memory", own.memory_bytes_max),
            ("max-instance-memory", all.memory_bytes_max),
        ),
        (
            ("max-table-elements", own.table_elements_max),
            ("max-instance-table-elements", all.table_elements_max),
        ),
        (
            ("max-concurrency", own.concurrency_max as usize),
            ("max-instances", all.instances_max as usize),
        ),
    ];
    for ((setting, own), (bound, all)) in pairs {
        if own > all || own == 0 {
            return Err(Error::Grant {
                component: config.name.clone(),
                what: setting,
                text: own.to_string(),
                reason: format!(
                    "it must be between 1 and `{bound}` under [application.trigger.http], which is \
                     {all}"
                ),
            });
        }
    }
    Ok(())
}

fn share(config: &HttpComponentConfig, surroundings: &Surroundings<'_>) -> Result<Shared> {
    let grants =
        OutboundGrants::parse(&config.allowed_outbound_hosts).map_err(|(text, reason)| {
            Error::Grant {
                component: config.name.clone(),
                what: "allowed_outbound_hosts",
                text,
                reason,
            }
        })?;
    let is_label = |label: &&String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.len() <= KeyValue::LABEL_BYTES_MAX && label.bytes().all(plain)
    };
    if let Some(label) = config
        .key_value_stores
        .iter()
        .find(|label| !is_label(label))
    {
        return Err(Error::Grant {
            component: config.name.clone(),
            what: "key_value_stores",
            text: label.clone(),
            reason: "a label has letters, digits, '-' and '_', 64 at most".to_owned(),
        });
    }
    let tls = match surroundings.tls {
        _ if !grants.may_be_secure() => None,
        Ok(tls) => Some(Arc::clone(tls)),
        Err(reason) => {
            return Err(Error::NoTrust {
                component: config.name.clone(),
                reason: reason.clone(),
            });
        }
    };
    Ok(Shared {
        tls,
        look_ups: Arc::new(Semaphore::new(LOOK_UPS_MAX)),
        outbound: OutboundCounters::default(),
        name: config.name.clone(),
        limits: config.limits.clone(),
        variables: config.variables.clone(),
        environment: config.environment.clone(),
        grants,
        stores: config.key_value_stores.clone(),
        node: Arc::clone(surroundings.node),
        key_value: Arc::clone(surroundings.key_value),
    })
}

fn code(
    engine: &HttpEngine,
    cache: &Cache,
    config: &HttpComponentConfig,
) -> Result<galley_transform::Code> {
    let source = Source {
        component: &config.bytes,
        name: &config.name,
        target: Target::HttpComponents,
        limits: &config.limits.compile,
    };
    cache
        .code(engine.wasm(), &source)
        .map_err(|error| match error {
            // The settings of HTTP components stand in another table than those of transformations.
            galley_transform::Error::Limit { limit, .. } => {
                let limit = Limit::of_compilation(limit);
                let value = config.limits.value(limit);
                Error::Limit {
                    component: config.name.clone(),
                    limit,
                    value: value.unwrap_or(LimitValue::Count(0)),
                }
            }
            source => Error::Load {
                component: config.name.clone(),
                source,
            },
        })
}

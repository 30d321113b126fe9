//! One loaded transformation, and calls of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use galley_types::EventTime;
use wasmtime::component::{ComponentExportIndex, InstancePre, TypedFunc};

use crate::breaker::Breaker;
use crate::cache::{Digest, Loaded};
use crate::column::GuestError;
use crate::engine::Engine;
use crate::error::{Error, Phase, Result};
use crate::gate::Gate;
use crate::lift::Given;
use crate::limits::{Limit, Limits};
use crate::lower::Handed;
use crate::pool::Instance;
use crate::rewind::Rewind;
use crate::section::SIGNATURE_SECTION;
use crate::signature::Signature;
use crate::state::{Common, LogSink, State, TraceSink, linker};
use crate::stats::{Counters, Stats};
use crate::text::clip;

/// Bytes of the engine's own messages that are kept.
pub(crate) const REASON_BYTES_MAX: usize = 512;

/// Whether calls share instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Every call meets an instance of its own, or one that was put back to what it began with:
    /// nothing it does is there for the next.
    Fresh,
    /// Calls meet instances that served others before, for speed. What a guest leaves behind in its
    /// memory is there for the next call.
    Pooled {
        /// Calls an instance serves before it is replaced.
        calls_max: u32,
        /// Bytes an instance's memory may grow by before it is replaced.
        growth_bytes_max: usize,
        /// How long an instance is kept without a call.
        idle_max: Duration,
    },
}

/// How a transformation is called.
#[derive(Clone, Debug)]
pub struct TransformConfig {
    /// The name used in messages: that of the on-demand feature view it is bound to.
    pub name: Arc<str>,
    /// What it may use.
    pub limits: Limits,
    /// Whether calls share instances; `None` chooses by what the component is.
    pub isolation: Option<Isolation>,
    /// What `request.variable` tells.
    pub variables: BTreeMap<String, String>,
    /// Where its log lines go.
    pub log: Arc<dyn LogSink>,
}

/// The facts of the request a call belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallContext {
    /// The time of the request: the guest's only clock.
    pub now: EventTime,
    /// The guest's only randomness.
    pub seed: u64,
}

type Describe = TypedFunc<(), (Signature,)>;
pub(crate) type Apply<'a> = TypedFunc<(Handed<'a>,), (std::result::Result<Given, GuestError>,)>;

/// A component that was loaded and said what it is. Calls may come from any number of threads.
pub struct Transform {
    pub(crate) engine: Engine,
    pub(crate) common: Arc<Common>,
    pub(crate) signature: Signature,
    pub(crate) digest: Digest,
    pub(crate) isolation: Isolation,
    pub(crate) pre: InstancePre<State>,
    pub(crate) apply: ComponentExportIndex,
    /// Whether the guest takes all lists of a call in one block.
    pub(crate) lends_block: bool,
    /// How instances are put back after a call, where each call is to meet one like new.
    pub(crate) rewind: Option<Rewind>,
    pub(crate) idle: Mutex<Vec<Instance>>,
    pub(crate) gate: Gate,
    pub(crate) breaker: Breaker,
    pub(crate) counters: Counters,
}

impl Isolation {
    /// Pooled, with the bounds that suit most: 1,000 calls, 4 MiB of growth, a minute of idleness.
    #[must_use]
    pub fn pooled() -> Self {
        Self::Pooled {
            calls_max: 1_000,
            growth_bytes_max: 4 << 20,
            idle_max: Duration::from_secs(60),
        }
    }
}

impl TransformConfig {
    /// The configuration that suits a loaded component, under the name `name`.
    #[must_use]
    pub fn suited(name: &str, loaded: &Loaded) -> Self {
        Self {
            name: name.into(),
            limits: loaded.inspection().limits(),
            isolation: None,
            variables: BTreeMap::new(),
            log: Arc::new(TraceSink),
        }
    }
}

impl Transform {
    /// Links a component and asks it what it is, in an instance of its own under the limits of a
    /// call.
    ///
    /// # Errors
    /// [`Error::WrongWorld`] when imports or exports have other types than the contract;
    /// [`Error::Signature`] when what it says makes no sense; [`Error::Limit`] and [`Error::Trap`]
    /// when it does not come to say it; [`Error::Engine`] when its limits pass those of the engine.
    pub fn load(engine: &Engine, loaded: &Loaded, config: TransformConfig) -> Result<Self> {
        let limits = &config.limits;
        loaded.inspection().check(&config.name, limits)?;
        fits_engine(engine, limits)?;
        let wrong = |error: wasmtime::Error| Error::WrongWorld {
            reason: clip(&format!("{error:#}"), REASON_BYTES_MAX),
        };
        let component = loaded.component();
        let pre = linker(engine)
            .and_then(|linker| linker.instantiate_pre(component))
            .map_err(wrong)?;
        let interface = component
            .get_export_index(None, "galley:transform/transformer@0.1.0")
            .ok_or_else(|| missing("transformer"))?;
        let describe = component
            .get_export_index(Some(&interface), "describe")
            .ok_or_else(|| missing("transformer.describe"))?;
        let apply = component
            .get_export_index(Some(&interface), "apply")
            .ok_or_else(|| missing("transformer.apply"))?;

        let isolation = config.isolation.unwrap_or_else(|| {
            if loaded.inspection().interpreted() {
                Isolation::pooled()
            } else {
                Isolation::Fresh
            }
        });
        let common = Arc::new(Common::new(
            config.name,
            config.limits,
            config.variables,
            config.log,
        ));
        let limits = &common.limits;
        let mut transform = Self {
            engine: engine.clone(),
            digest: loaded.digest(),
            isolation,
            pre,
            apply,
            lends_block: loaded.inspection().list_block,
            rewind: None,
            idle: Mutex::default(),
            gate: Gate::new(limits.concurrency_max, limits.waiting_max, limits.wait_max),
            breaker: Breaker::new(limits.breaker),
            counters: Counters::new(),
            signature: Signature::unknown(),
            common,
        };
        transform.signature = transform.describe(&describe)?;
        transform.signature.check(&transform.common.limits)?;
        if let Some(text) = &loaded.inspection().signature
            && *text != transform.signature.json()
        {
            return Err(Error::Signature {
                what: format!(
                    "its section {SIGNATURE_SECTION} is of another build than its code; build it \
                     again with `galley transform build`"
                ),
            });
        }
        if isolation == Isolation::Fresh {
            transform.rewind = Rewind::of(component, loaded.inspection());
        }
        Ok(transform)
    }

    fn describe(&self, index: &ComponentExportIndex) -> Result<Signature> {
        let _running = self.engine.running();
        let mut store = State::store(&self.engine, &self.common, None);
        let instance = self
            .pre
            .instantiate(&mut store)
            .map_err(|error| self.fault(&error, &store, Phase::Instantiate))?;
        let wrong = |error: wasmtime::Error| Error::WrongWorld {
            reason: clip(&format!("{error:#}"), REASON_BYTES_MAX),
        };
        let _: Apply<'static> = instance
            .get_typed_func(&mut store, self.apply)
            .map_err(wrong)?;
        let describe: Describe = instance.get_typed_func(&mut store, index).map_err(wrong)?;
        let (signature,) = describe
            .call(&mut store, ())
            .map_err(|error| self.fault(&error, &store, Phase::Describe))?;
        Ok(signature)
    }

    /// What it takes and gives.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// SHA-256 of the component.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The name used in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.common.name
    }

    /// What it may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.common.limits
    }

    /// Whether calls share instances.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Whether instances for [`Isolation::Fresh`] are put back after a call rather than made anew for
    /// each, which takes a component whose whole state is known. Whether the machine can do it as well
    /// shows with the first call.
    #[must_use]
    pub fn puts_back(&self) -> bool {
        self.rewind.as_ref().is_some_and(Rewind::is_possible)
    }

    /// Whether a call may keep the calling thread for longer than a look-up should: nothing is known
    /// of its calls yet, or lately they took [`Transform::SLOW`] or more.
    #[inline]
    #[must_use]
    pub fn may_hold_up(&self) -> bool {
        let recent = self.counters.recent_nanos.load(Relaxed);
        recent == 0 || u128::from(recent) >= Self::SLOW.as_nanos()
    }

    /// Calls that take so long are better made where they hold nothing else up.
    pub const SLOW: Duration = Duration::from_millis(1);

    /// What became of its calls.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.counters;
        let outcomes = counters.outcomes();
        Stats {
            calls: outcomes.iter().sum(),
            rows: counters.rows.load(Relaxed),
            outcomes,
            instances: counters.instances.load(Relaxed),
            log_lines_dropped: self.common.lines_dropped.load(Relaxed),
            running: self.gate.taken(),
            breaker: self.breaker.state(self.millis(Instant::now())),
            breaker_opened: self.breaker.opened(),
            p50: counters.times.quantile(500),
            p99: counters.times.quantile(990),
            time_sum: counters.times.sum(),
            times: counters.times.buckets(),
        }
    }

    /// Milliseconds from when it was loaded to `instant`.
    pub(crate) fn millis(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.common.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transform")
            .field("name", &self.common.name)
            .field("digest", &self.digest)
            .field("isolation", &self.isolation)
            .finish_non_exhaustive()
    }
}

pub(crate) fn missing(export: &str) -> Error {
    Error::WrongWorld {
        reason: format!("it does not export galley:transform/{export} at 0.1.0"),
    }
}

fn fits_engine(engine: &Engine, limits: &Limits) -> Result<()> {
    let config = engine.config();
    let sizes = [
        (
            Limit::Memory,
            limits.memory_bytes_max,
            config.memory_bytes_max,
            "max-instance-memory",
        ),
        (
            Limit::TableElements,
            limits.table_elements_max,
            config.table_elements_max,
            "max-instance-table-elements",
        ),
    ];
    for (limit, asked, max, setting) in sizes {
        if asked > max {
            return Err(Error::Engine {
                reason: format!(
                    "{} = {asked} is more than {setting} = {max} under \
                     [application.trigger.galley] in spin.toml",
                    limit.setting()
                ),
            });
        }
    }
    Ok(())
}

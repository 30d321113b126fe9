//! One loaded transformation, and calls of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use galley_types::EventTime;
use wasmtime::component::{ComponentExportIndex, InstancePre, TypedFunc};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::breaker::Breaker;
use crate::cache::{Digest, Loaded};
use crate::check::{self, Fault};
use crate::column::{Batch, Column, ColumnRef, Columns, GuestError};
use crate::engine::{Engine, Keep};
use crate::error::{Error, Phase, Result};
use crate::gate::Gate;
use crate::limits::{Limit, LimitValue, Limits};
use crate::nulls::Kept;
use crate::signature::Signature;
use crate::state::{Common, Facts, LogSink, State, Stopped, TraceSink, linker};
use crate::stats::{Counters, Outcome, Stats};
use crate::text::clip;

/// Bytes of the engine's own messages that are kept.
const REASON_BYTES_MAX: usize = 512;

/// Whether calls share instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Every call meets an instance of its own: nothing it does is there for the next.
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
type Apply<'a> = TypedFunc<(Batch<'a>,), (std::result::Result<Columns, GuestError>,)>;

/// A component that was loaded and said what it is. Calls may come from any number of threads.
pub struct Transform {
    engine: Engine,
    common: Arc<Common>,
    signature: Signature,
    digest: Digest,
    isolation: Isolation,
    pre: InstancePre<State>,
    apply: ComponentExportIndex,
    idle: Mutex<Vec<Instance>>,
    gate: Gate,
    breaker: Breaker,
    counters: Counters,
}

/// An instance that is kept between calls.
struct Instance {
    store: Store<State>,
    apply: Apply<'static>,
    calls: u32,
    memory_bytes_first: usize,
    used: Instant,
    /// Held once it has been kept.
    keep: Option<Keep>,
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
        let limits = if loaded.inspection().interpreted() {
            Limits::interpreted()
        } else {
            Limits::default()
        };
        Self {
            name: name.into(),
            limits,
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
            idle: Mutex::default(),
            gate: Gate::new(limits.concurrency_max, limits.waiting_max, limits.wait_max),
            breaker: Breaker::new(limits.breaker),
            counters: Counters::new(),
            signature: Signature::unknown(),
            common,
        };
        transform.signature = transform.describe(&describe)?;
        transform.signature.check(&transform.common.limits)?;
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

    /// What became of its calls.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.counters;
        Stats {
            calls: counters.calls.load(Relaxed),
            rows: counters.rows.load(Relaxed),
            outcomes: counters.outcomes(),
            instances: counters.instances.load(Relaxed),
            log_lines_dropped: self.common.lines_dropped.load(Relaxed),
            running: self.gate.taken(),
            breaker: self.breaker.state(self.now_ms()),
            breaker_opened: self.breaker.opened(),
            p50: counters.quantile(500),
            p99: counters.quantile(990),
        }
    }

    /// Transforms a batch on the calling thread. The answer is checked whole: it has as many rows
    /// as the batch and the columns of the signature's outputs. A batch without rows is answered
    /// without a call.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the author's code refuses the data; [`Error::Limit`],
    /// [`Error::Trap`], [`Error::BadResult`] and [`Error::Failed`] when the guest is at fault;
    /// [`Error::Busy`] and [`Error::BreakerOpen`] when it is not called at all;
    /// [`Error::BadInput`] when the batch is not as the signature says.
    pub fn call(&self, context: &CallContext, input: Batch<'_>) -> Result<Columns> {
        self.counters.calls.fetch_add(1, Relaxed);
        let answer = self.admit(context, input);
        match &answer {
            Ok(columns) => {
                self.counters
                    .rows
                    .fetch_add(u64::from(columns.rows), Relaxed);
                self.counters.note(Outcome::Answered);
            }
            Err(error) => self.counters.note(Outcome::of(error)),
        }
        answer
    }

    fn admit(&self, context: &CallContext, input: Batch<'_>) -> Result<Columns> {
        self.check_input(&input)?;
        let transform = || Arc::clone(&self.common.name);
        self.breaker
            .admit(self.now_ms())
            .map_err(|retry_after| Error::BreakerOpen {
                transform: transform(),
                retry_after,
            })?;
        let Some(place) = self.gate.enter() else {
            self.breaker.note(self.now_ms(), None);
            return Err(Error::Busy {
                transform: transform(),
                limit: Limit::Concurrency,
                value: LimitValue::Count(u64::from(self.common.limits.concurrency_max)),
            });
        };
        let started = Instant::now();
        let answer = self.call_rows(context, input);
        drop(place);
        let failed = match &answer {
            Ok(_) => {
                self.counters.time(started.elapsed());
                Some(false)
            }
            Err(error) if error.is_guest_fault() => Some(true),
            Err(_) => None,
        };
        self.breaker.note(self.now_ms(), failed);
        answer
    }

    fn check_input(&self, input: &Batch<'_>) -> Result<()> {
        let limits = &self.common.limits;
        if input.rows > limits.rows_max {
            return Err(self.limit(Limit::Rows, Phase::Apply));
        }
        let refuse = |what: String| {
            Err(Error::BadInput {
                transform: Arc::clone(&self.common.name),
                what,
            })
        };
        let fields = &self.signature.inputs;
        if input.columns.len() != fields.len() {
            return refuse(format!(
                "it has {} columns, the signature {}",
                input.columns.len(),
                fields.len()
            ));
        }
        for (column, field) in input.columns.iter().zip(fields) {
            let (found, rows) = (column.data_type(), column.len());
            if found != field.data_type || rows != input.rows as usize {
                return refuse(format!(
                    "column '{}' is {found} of {rows} rows, {} of {} rows is expected",
                    field.name, field.data_type, input.rows
                ));
            }
        }
        Ok(())
    }

    /// Calls with the rows that may be handed over.
    fn call_rows(&self, context: &CallContext, input: Batch<'_>) -> Result<Columns> {
        let Some(kept) = Kept::find(&self.signature, &input) else {
            if input.rows == 0 {
                let empty = |field: &crate::Field| Column::empty(field.data_type);
                return Ok(Columns {
                    rows: 0,
                    columns: self.signature.outputs.iter().map(empty).collect(),
                });
            }
            return self.call_guest(context, input);
        };
        if kept.rows() == 0 {
            return Ok(kept.nothing(&self.signature));
        }
        let gathered = kept.gather(input.columns);
        let columns: Vec<ColumnRef<'_>> = gathered.iter().map(Column::as_ref).collect();
        let batch = Batch {
            rows: kept.rows(),
            columns: &columns,
        };
        match self.call_guest(context, batch) {
            Ok(given) => Ok(kept.scatter(&given)),
            Err(Error::Rejected {
                transform,
                row,
                message,
            }) => Err(Error::Rejected {
                transform,
                row: row.and_then(|row| kept.position(row)),
                message,
            }),
            Err(error) => Err(error),
        }
    }

    fn call_guest(&self, context: &CallContext, input: Batch<'_>) -> Result<Columns> {
        let facts = Facts {
            now_micros: context.now.0,
            seed: context.seed,
        };
        let rows = input.rows;
        let _running = self.engine.running();
        let answer = match self.isolation {
            Isolation::Fresh => {
                let mut instance = self.instantiate(facts)?;
                self.run(&mut instance, input)?
            }
            Isolation::Pooled { .. } => {
                let mut instance = match self.take_idle() {
                    Some(mut instance) => {
                        State::again(&mut instance.store, facts);
                        instance
                    }
                    None => self.instantiate(facts)?,
                };
                let answer = self.run(&mut instance, input)?;
                self.keep(instance);
                answer
            }
        };
        let columns = answer.map_err(|error| self.guest_error(error, rows))?;
        check::check(&columns, rows, &self.signature, &self.common.limits).map_err(|fault| {
            match fault {
                Fault::Limit(limit) => self.limit(limit, Phase::Apply),
                Fault::Shape(what) => Error::BadResult {
                    transform: Arc::clone(&self.common.name),
                    what,
                },
            }
        })?;
        Ok(columns)
    }

    fn instantiate(&self, facts: Facts) -> Result<Instance> {
        self.counters.instances.fetch_add(1, Relaxed);
        let mut store = State::store(&self.engine, &self.common, Some(facts));
        let instance = self
            .pre
            .instantiate(&mut store)
            .map_err(|error| self.fault(&error, &store, Phase::Instantiate))?;
        let apply = instance
            .get_typed_func(&mut store, self.apply)
            .map_err(|error| self.fault(&error, &store, Phase::Instantiate))?;
        Ok(Instance {
            memory_bytes_first: store.data().used.memory_bytes(),
            apply,
            calls: 0,
            used: Instant::now(),
            keep: None,
            store,
        })
    }

    fn run(
        &self,
        instance: &mut Instance,
        input: Batch<'_>,
    ) -> Result<std::result::Result<Columns, GuestError>> {
        instance.calls += 1;
        let apply: Apply<'_> = instance.apply;
        let (answer,) = apply
            .call(&mut instance.store, (input,))
            .map_err(|error| self.fault(&error, &instance.store, Phase::Apply))?;
        Ok(answer)
    }

    /// An instance that waits for a call, the one used last: the others grow idle and go.
    fn take_idle(&self) -> Option<Instance> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }

    /// Keeps an instance for the next call, unless it has served enough or has grown.
    fn keep(&self, mut instance: Instance) {
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
        let now = Instant::now();
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

    fn guest_error(&self, error: GuestError, rows: u32) -> Error {
        let transform = Arc::clone(&self.common.name);
        let clip = |text: &str| clip(text, self.common.limits.error_bytes_max);
        match error {
            GuestError::InvalidInput(message) => Error::BadInput {
                transform,
                what: clip(&message),
            },
            GuestError::Rejected(rejection) => Error::Rejected {
                transform,
                row: rejection.row.filter(|row| *row < rows),
                message: clip(&rejection.message),
            },
            GuestError::Internal(message) => Error::Failed {
                transform,
                message: clip(&message),
            },
        }
    }

    /// The error that says why the engine ended a call.
    fn fault(&self, error: &wasmtime::Error, store: &Store<State>, during: Phase) -> Error {
        if let Some(Stopped(limit)) = error.downcast_ref() {
            return self.limit(*limit, during);
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return Error::Busy {
                transform: Arc::clone(&self.common.name),
                limit: Limit::Instances,
                value: self.engine.limit(Limit::Instances),
            };
        }
        if error.downcast_ref() == Some(&Trap::StackOverflow) {
            return self.limit(Limit::Stack, during);
        }
        if is_fuel_exhausted(error) {
            return self.limit(Limit::Result, during);
        }
        // A guest whose growth was refused mostly aborts: the refusal is the cause.
        if let Some(limit) = store.data().used.refused {
            return self.limit(limit, during);
        }
        let what = clip(&format!("{:#}", error.root_cause()), REASON_BYTES_MAX);
        let transform = Arc::clone(&self.common.name);
        if during == Phase::Apply && error.downcast_ref::<Trap>().is_none() {
            return Error::BadResult { transform, what };
        }
        Error::Trap {
            transform,
            during,
            what,
        }
    }

    fn limit(&self, limit: Limit, during: Phase) -> Error {
        let value = self.common.limits.value(limit);
        Error::Limit {
            transform: Arc::clone(&self.common.name),
            during,
            limit,
            value: value.unwrap_or_else(|| self.engine.limit(limit)),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.common.started.elapsed().as_millis()).unwrap_or(u64::MAX)
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

fn missing(export: &str) -> Error {
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

/// Whether an answer passed the bytes that may be handed over. The engine has no public type for
/// it: the text is that of the version the workspace is pinned to, and a test holds it to that.
fn is_fuel_exhausted(error: &wasmtime::Error) -> bool {
    error
        .root_cause()
        .to_string()
        .starts_with("too much data is being copied between the host and the guest")
}

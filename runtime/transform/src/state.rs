//! What the host keeps beside a running instance: the facts of the request, the clocks, what it has
//! used.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::component::Linker;
use wasmtime::{ResourceLimiter, Store, StoreContextMut, UpdateDeadline};

use crate::column::LogLevel;
use crate::engine::{Engine, TICK};
use crate::limits::{Limit, Limits};
use crate::text::clip;

/// Handles of resources an instance may hold; the contract has no resources.
const HANDLES_MAX: usize = 16;

/// Where the lines go that transformations log. Called while the transformation runs.
pub trait LogSink: Send + Sync + fmt::Debug {
    /// Takes a line of the transformation `transform`. It has no control characters.
    fn line(&self, transform: &str, level: LogLevel, message: &str);
}

/// Hands lines to `tracing`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceSink;

impl LogSink for TraceSink {
    fn line(&self, transform: &str, level: LogLevel, message: &str) {
        match level {
            LogLevel::Debug => tracing::debug!(transform, line = message, "transform says"),
            LogLevel::Info => tracing::info!(transform, line = message, "transform says"),
            LogLevel::Warn => tracing::warn!(transform, line = message, "transform says"),
            LogLevel::Error => tracing::error!(transform, line = message, "transform says"),
        }
    }
}

/// What all calls of a transformation share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) name: Arc<str>,
    pub(crate) limits: Limits,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) sink: Arc<dyn LogSink>,
    pub(crate) started: Instant,
    pub(crate) lines_dropped: AtomicU64,
    second: AtomicU64,
    lines: AtomicU32,
}

/// The facts of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) now_micros: i64,
    pub(crate) seed: u64,
    /// When the call began, by the clock of the host.
    pub(crate) started: Instant,
}

/// The data of a store.
#[derive(Debug)]
pub(crate) struct State {
    common: Arc<Common>,
    /// `None` in `describe`, which may not ask for them.
    facts: Option<Facts>,
    clock: Clock,
    pub(crate) used: Used,
    log_lines: usize,
    log_bytes: usize,
    /// The last line of level error: what a guest says before it gives up.
    pub(crate) last_error: Option<String>,
}

/// The time a call has taken.
#[derive(Debug)]
struct Clock {
    deadline: Duration,
    wall_deadline: Duration,
    started: Instant,
    /// Processor time of the thread at the first tick of the call.
    cpu_started: Option<Duration>,
}

/// The memory and tables an instance has.
#[derive(Debug, Default)]
pub(crate) struct Used {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements_max: usize,
    core_instances_max: usize,
    tables_max: usize,
    memories_max: usize,
    /// The last limit for which something was refused.
    pub(crate) refused: Option<Limit>,
}

/// The reason the host ends a call.
#[derive(Debug, thiserror::Error)]
#[error("the limit on {0} was reached")]
pub(crate) struct Stopped(pub(crate) Limit);

/// An import was called where none may be.
#[derive(Debug, thiserror::Error)]
#[error("describe asked for '{0}', which is there in apply only")]
struct NotInDescribe(&'static str);

impl Common {
    pub(crate) fn new(
        name: Arc<str>,
        limits: Limits,
        variables: BTreeMap<String, String>,
        sink: Arc<dyn LogSink>,
    ) -> Self {
        Self {
            name,
            limits,
            variables,
            sink,
            started: Instant::now(),
            lines_dropped: AtomicU64::new(0),
            second: AtomicU64::new(0),
            lines: AtomicU32::new(0),
        }
    }

    /// Whether one more line may be logged in this second.
    fn may_log(&self) -> bool {
        let second = self.started.elapsed().as_secs();
        if self.second.swap(second, Relaxed) != second {
            self.lines.store(0, Relaxed);
        }
        self.lines.fetch_add(1, Relaxed) < self.limits.log_rate_max
    }
}

impl State {
    /// A store for one instance. `facts` are those of its first call, `None` for `describe`.
    pub(crate) fn store(
        engine: &Engine,
        common: &Arc<Common>,
        facts: Option<Facts>,
    ) -> Store<Self> {
        let limits = &common.limits;
        let state = Self {
            facts,
            clock: Clock::new(
                limits,
                facts.map_or_else(Instant::now, |facts| facts.started),
            ),
            used: Used {
                memory_bytes: 0,
                memory_bytes_max: limits.memory_bytes_max,
                table_elements_max: limits.table_elements_max,
                core_instances_max: limits.core_instances_max,
                tables_max: limits.tables_max,
                memories_max: limits.memories_max,
                refused: None,
            },
            log_lines: 0,
            log_bytes: 0,
            last_error: None,
            common: Arc::clone(common),
        };
        let result_bytes_max = limits.result_bytes_max;
        let mut store = Store::new(engine.wasm(), state);
        store.limiter(|state| &mut state.used);
        store.set_hostcall_fuel(result_bytes_max);
        store.set_max_component_handles(HANDLES_MAX);
        store.epoch_deadline_callback(|mut context| context.data_mut().clock.tick());
        store.set_epoch_deadline(1);
        store
    }

    /// Prepares a store for another call.
    pub(crate) fn again(store: &mut Store<Self>, facts: Facts) {
        let state = store.data_mut();
        state.facts = Some(facts);
        state.clock = Clock::new(&state.common.limits, facts.started);
        state.log_lines = 0;
        state.log_bytes = 0;
        state.last_error = None;
        state.used.refused = None;
        store.set_epoch_deadline(1);
    }

    fn facts(&self, asked: &'static str) -> wasmtime::Result<Facts> {
        self.facts.ok_or_else(|| NotInDescribe(asked).into())
    }

    fn log(&mut self, level: LogLevel, message: &str) {
        let limits = &self.common.limits;
        if level == LogLevel::Error {
            self.last_error = Some(clip(message, limits.error_bytes_max));
        }
        let room = limits.log_bytes_max.saturating_sub(self.log_bytes);
        if self.log_lines >= limits.log_lines_max || room == 0 || !self.common.may_log() {
            self.common.lines_dropped.fetch_add(1, Relaxed);
            return;
        }
        let line = clip(message, room);
        self.log_lines += 1;
        self.log_bytes += line.len();
        self.common.sink.line(&self.common.name, level, &line);
    }
}

impl Used {
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl Clock {
    fn new(limits: &Limits, started: Instant) -> Self {
        Self {
            deadline: limits.deadline,
            wall_deadline: limits.wall_deadline,
            started,
            cpu_started: None,
        }
    }

    /// Called from inside the guest at the first tick of a call and whenever the time given last
    /// has run out. Ticks count time on the clock, which on a busy machine says little of the time
    /// the guest has had; so the processor time of the thread decides. It is first read here, not
    /// when the call starts, so that calls which end before their first tick do not pay for it.
    fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        let wall = self.started.elapsed();
        let cpu = thread_time();
        let used = match self.cpu_started {
            Some(started) => cpu.saturating_sub(started),
            None => {
                self.cpu_started = Some(cpu);
                Duration::ZERO
            }
        };
        if used >= self.deadline {
            return Err(Stopped(Limit::Deadline).into());
        }
        if wall >= self.wall_deadline {
            return Err(Stopped(Limit::WallDeadline).into());
        }
        let left = (self.deadline - used).min(self.wall_deadline - wall);
        let ticks = left.as_nanos().div_ceil(TICK.as_nanos());
        Ok(UpdateDeadline::Continue(
            u64::try_from(ticks).unwrap_or(u64::MAX).max(1),
        ))
    }
}

/// Processor time this thread has used.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

impl ResourceLimiter for Used {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .memory_bytes
            .saturating_sub(current)
            .saturating_add(desired);
        if total > self.memory_bytes_max {
            self.refused = Some(Limit::Memory);
            return Ok(false);
        }
        // Growth past what the module declares fails by itself, whatever is said here.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(true);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.table_elements_max {
            self.refused = Some(Limit::TableElements);
            return Ok(false);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.core_instances_max
    }

    fn tables(&self) -> usize {
        self.tables_max
    }

    fn memories(&self) -> usize {
        self.memories_max
    }
}

/// A linker with the imports of the contract and nothing else.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine.wasm());
    let mut request = linker.instance("galley:transform/request@0.1.0")?;
    request.func_wrap("now-micros", |context: StoreContextMut<'_, State>, ()| {
        Ok((context.data().facts("now-micros")?.now_micros,))
    })?;
    request.func_wrap("seed", |context: StoreContextMut<'_, State>, ()| {
        Ok((context.data().facts("seed")?.seed,))
    })?;
    request.func_wrap(
        "variable",
        |context: StoreContextMut<'_, State>, (name,): (String,)| {
            context.data().facts("variable")?;
            Ok((context.data().common.variables.get(&name).cloned(),))
        },
    )?;
    linker.instance("galley:transform/log@0.1.0")?.func_wrap(
        "log",
        |mut context: StoreContextMut<'_, State>, (level, message): (LogLevel, String)| {
            context.data().facts("log")?;
            context.data_mut().log(level, &message);
            Ok(())
        },
    )?;
    Ok(linker)
}

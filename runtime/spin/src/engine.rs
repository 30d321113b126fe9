//! The asynchronous engine of all HTTP components of a process, and the threads it runs on.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use galley_transform::{Keeping, LimitValue, Target, Ticker};
use tokio::runtime::{Handle, Runtime};
use wasmtime::component::Linker;
use wasmtime::{Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::config::HttpEngineConfig;
use crate::error::{Error, Result};
use crate::state::State;
use crate::{Limit, online, spin};

/// Threads that answer blocking questions of guests, such as the address of a host.
pub(crate) const BLOCKING_THREADS_MAX: usize = 8;

/// How often a guest that runs gives way to the others.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// The engine of HTTP components: one for the process. Beside the engine of transformations, whose
/// calls are synchronous and must not pay for what waiting costs.
pub struct HttpEngine {
    wasm: wasmtime::Engine,
    linker: Linker<State>,
    config: HttpEngineConfig,
    ticker: Arc<Ticker>,
    keeping: Keeping,
    started: Instant,
    handle: Handle,
    /// There until the engine goes.
    runtime: Option<Runtime>,
}

impl HttpEngine {
    /// An engine, with the thread that keeps its time and those that run guests.
    ///
    /// # Errors
    /// [`Error::Engine`] when the machine cannot run it, mostly because address space is limited.
    pub fn new(config: HttpEngineConfig) -> Result<Self> {
        let failed = |reason: String| Error::Engine { reason };
        let wasm = wasmtime::Engine::new(&pooled(&config)).map_err(|error| {
            failed(format!(
                "{error:#}; with little address space, lower `max-instances` under \
                 [application.trigger.http] in spin.toml"
            ))
        })?;
        let linker = linker(&wasm).map_err(|error| failed(format!("{error:#}")))?;
        let ticker = Ticker::start(&wasm, TICK)
            .map_err(|error| failed(format!("its clock thread does not start: {error}")))?;
        let threads = config.threads.unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("galley-http")
            // Guests give way after each tick of a millisecond. With tokio's own intervals, made for
            // tasks of microseconds, one endless loop would keep new requests and deadlines waiting
            // for sixty of them.
            .global_queue_interval(1)
            .event_interval(4)
            .enable_all()
            .build()
            .map_err(|error| failed(format!("its threads do not start: {error}")))?;
        Ok(Self {
            keeping: Keeping::half_of(config.instances_max),
            started: Instant::now(),
            wasm,
            linker,
            config,
            ticker,
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// How it is configured.
    #[must_use]
    pub fn config(&self) -> &HttpEngineConfig {
        &self.config
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.wasm
    }

    pub(crate) fn linker(&self) -> &Linker<State> {
        &self.linker
    }

    pub(crate) fn ticker(&self) -> &Arc<Ticker> {
        &self.ticker
    }

    /// The right to keep instances between requests.
    pub(crate) fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    /// Milliseconds from when it was made to `instant`.
    pub(crate) fn millis(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The value of a limit of the engine.
    pub(crate) fn limit(&self, limit: Limit) -> LimitValue {
        match limit {
            Limit::Stack => LimitValue::Bytes(self.config.stack_bytes_max as u64),
            _ => LimitValue::Count(u64::from(self.config.instances_max)),
        }
    }
}

impl Drop for HttpEngine {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which is not allowed on those of another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for HttpEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpEngine")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Everything an HTTP component may import. What is not granted to it is refused when it is called;
/// what nobody gets is not here.
fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p3::cli::add_to_linker(&mut linker)?;
    wasmtime_wasi::p3::clocks::add_to_linker(&mut linker)?;
    wasmtime_wasi::p3::random::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    online::add_to_linker(&mut linker)?;
    spin::add_to_linker(&mut linker)?;
    Ok(linker)
}

fn pooled(settings: &HttpEngineConfig) -> wasmtime::Config {
    let instances = settings.instances_max;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_memories(instances)
        .total_tables(instances.saturating_mul(4))
        .total_core_instances(settings.core_instances_max)
        .total_stacks(instances.saturating_mul(4))
        .max_memory_size(settings.memory_bytes_max)
        .table_elements(settings.table_elements_max)
        .max_memories_per_component(4)
        .max_tables_per_component(64)
        .max_tables_per_module(16)
        .max_core_instances_per_component(1_024)
        .linear_memory_keep_resident(settings.keep_resident_bytes)
        .table_keep_resident(settings.keep_resident_bytes / 16)
        .async_stack_keep_resident(settings.keep_resident_bytes / 16)
        .pagemap_scan(Enabled::Auto);
    let mut config = Target::HttpComponents.config();
    config
        .max_wasm_stack(settings.stack_bytes_max)
        .async_stack_size(settings.stack_bytes_max.saturating_mul(2))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

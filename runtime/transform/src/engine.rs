//! The WebAssembly engine of all transformations of a process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::error::{Error, Result};
use crate::keep::{Keep, Keeping};
use crate::limits::{Limit, LimitValue};
use crate::target::Target;
use crate::ticker::{Running, Ticker};
use crate::transform::Isolation;

/// Places that instances have left and that keep what the next one of the same component finds warm. A
/// component that was only asked what it is leaves one too.
const WARM_PLACES_MAX: u32 = 64;

/// How often calls look at the clock. It is short against any deadline a look-up can live with, and each
/// tick takes a processor from somebody for some microseconds.
pub(crate) const TICK: Duration = Duration::from_millis(4);

/// What all transformations of a process share. Settable under `[application.trigger.galley]` in
/// spin.toml, by the name given in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Instances alive at the same time, running and kept for reuse (`max-instances`). Each takes
    /// 4 GiB of address space, of which only what a guest touches becomes memory.
    pub instances_max: u32,
    /// Core instances alive at the same time (`max-total-core-instances`); a component of an
    /// interpreted language has more than a hundred.
    pub core_instances_max: u32,
    /// The highest `max-memory` a transformation may be given (`max-instance-memory`).
    pub memory_bytes_max: usize,
    /// The highest `max-table-elements` a transformation may be given
    /// (`max-instance-table-elements`).
    pub table_elements_max: usize,
    /// Stack of a call (`max-stack`).
    pub stack_bytes_max: usize,
    /// Memory kept resident in each place an instance has left, for the next one (`keep-resident`).
    pub keep_resident_bytes: usize,
}

/// The engine: one for the process, shared by clones.
#[derive(Clone)]
pub struct Engine {
    wasm: wasmtime::Engine,
    config: EngineConfig,
    ticker: Arc<Ticker>,
    /// Instances kept for reuse.
    keeping: Keeping,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            instances_max: 256,
            core_instances_max: 8_192,
            memory_bytes_max: 64 << 20,
            table_elements_max: 20_000,
            stack_bytes_max: 512 << 10,
            keep_resident_bytes: 256 << 10,
        }
    }
}

impl Engine {
    /// An engine, with the thread that keeps its time. The thread ends when the last clone of the
    /// engine, and all that was loaded with it, is gone.
    ///
    /// # Errors
    /// [`Error::Engine`] when the machine cannot run it, mostly because address space is limited.
    pub fn new(config: EngineConfig) -> Result<Self> {
        let wasm = wasmtime::Engine::new(&pooled(&config)).map_err(|error| Error::Engine {
            reason: format!(
                "{error:#}; with little address space, lower `max-instances` under \
                 [application.trigger.galley] in spin.toml"
            ),
        })?;
        let ticker = Ticker::start(&wasm, TICK).map_err(|error| Error::Engine {
            reason: format!("its clock thread does not start: {error}"),
        })?;
        Ok(Self {
            keeping: Keeping::half_of(config.instances_max),
            wasm,
            config,
            ticker,
        })
    }

    /// How it is configured.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.wasm
    }

    /// To be held during every call into a guest: without it, no deadline strikes.
    pub(crate) fn running(&self) -> Running<&Ticker> {
        Ticker::running(&self.ticker)
    }

    /// The right to keep one more instance for reuse; for one that is put back after each call, while
    /// there is enough for the others.
    pub(crate) fn keep(&self, isolation: Isolation) -> Option<Keep> {
        match isolation {
            Isolation::Fresh => self.keeping.take_spare(),
            Isolation::Pooled { .. } => self.keeping.take(),
        }
    }

    /// The value of a limit of the engine.
    pub(crate) fn limit(&self, limit: Limit) -> LimitValue {
        match limit {
            Limit::Stack => LimitValue::Bytes(self.config.stack_bytes_max as u64),
            _ => LimitValue::Count(u64::from(self.config.instances_max)),
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn pooled(settings: &EngineConfig) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    let instances = settings.instances_max;
    pool.total_component_instances(instances)
        .total_memories(instances)
        .total_tables(instances.saturating_mul(4))
        .total_core_instances(settings.core_instances_max)
        .max_memory_size(settings.memory_bytes_max)
        .table_elements(settings.table_elements_max)
        .max_memories_per_component(4)
        .max_tables_per_component(64)
        .max_tables_per_module(16)
        .max_core_instances_per_component(1_024)
        .linear_memory_keep_resident(settings.keep_resident_bytes)
        .table_keep_resident(settings.keep_resident_bytes / 16)
        .max_unused_warm_slots(WARM_PLACES_MAX)
        .pagemap_scan(Enabled::Auto);
    let mut config = Target::Transforms.config();
    config
        .max_wasm_stack(settings.stack_bytes_max)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

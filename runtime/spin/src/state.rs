//! What the host keeps beside a running instance.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use galley_node::Node;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::bounds::{HttpLimits, Limit};
use crate::engine::{HttpEngine, TICK};
use crate::grants::OutboundGrants;
use crate::key_value::KeyValue;
use crate::log::{LogBudget, LogStream};
use crate::outbound::{Outbound, OutboundCounters};

/// What all instances of a component share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) limits: HttpLimits,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) grants: OutboundGrants,
    /// There when a grant may need it.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Hosts' addresses asked for at the same time.
    pub(crate) look_ups: Arc<Semaphore>,
    pub(crate) outbound: OutboundCounters,
    pub(crate) stores: Vec<String>,
    pub(crate) node: Arc<Node>,
    pub(crate) key_value: Arc<KeyValue>,
}

/// The data of a store.
pub(crate) struct State {
    pub(crate) shared: Arc<Shared>,
    pub(crate) table: ResourceTable,
    pub(crate) used: Used,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: Outbound,
    log: Arc<LogBudget>,
    deadline: Instant,
    /// Ticks of the engine's clock at which this request was found running.
    ticks: u32,
}

/// The memory an instance has, and what it may have.
#[derive(Debug)]
pub(crate) struct Used {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements_max: usize,
    core_instances_max: usize,
    /// The last limit for which something was refused.
    pub(crate) refused: Option<Limit>,
}

/// The reason the host ends a call.
#[derive(Debug, thiserror::Error)]
#[error("the limit on {0} was reached")]
pub(crate) struct Stopped(pub(crate) Limit);

impl State {
    /// A store for one instance.
    pub(crate) fn store(
        engine: &HttpEngine,
        shared: &Arc<Shared>,
        deadline: Instant,
    ) -> Store<Self> {
        let limits = &shared.limits;
        let log = LogBudget::new(shared.name.clone(), limits.log_bytes_max);
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(LogStream::new(&log, false))
            .stderr(LogStream::new(&log, true));
        for (name, value) in &shared.environment {
            wasi.env(name, value);
        }
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(limits.header_bytes_max);
        let state = Self {
            table: ResourceTable::new(),
            used: Used {
                memory_bytes: 0,
                memory_bytes_max: limits.memory_bytes_max,
                table_elements_max: limits.table_elements_max,
                core_instances_max: limits.core_instances_max,
                refused: None,
            },
            wasi: wasi.build(),
            http,
            outbound: Outbound::new(shared, &log),
            log,
            deadline,
            ticks: 0,
            shared: Arc::clone(shared),
        };
        let mut store = Store::new(engine.wasm(), state);
        store.limiter(|state| &mut state.used);
        store.set_hostcall_fuel(limits.transfer_bytes_max);
        store.set_max_component_handles(limits.handles_max);
        // Guests share their threads with one another: after each tick the next one has its turn.
        store.epoch_deadline_callback(|mut context| context.data_mut().tick());
        store.set_epoch_deadline(1);
        store
    }

    /// Prepares a store for another request.
    pub(crate) fn again(store: &mut Store<Self>, deadline: Instant) {
        let state = store.data_mut();
        state.deadline = deadline;
        state.ticks = 0;
        state.used.refused = None;
        state.log.reset(state.shared.limits.log_bytes_max);
        state.outbound = Outbound::new(&state.shared, &state.log);
        store.set_epoch_deadline(1);
    }

    /// Called from inside the guest when the clock has moved on.
    fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        self.ticks = self.ticks.saturating_add(1);
        if Instant::now() >= self.deadline {
            return Err(Stopped(Limit::Deadline).into());
        }
        if TICK.saturating_mul(self.ticks) > self.shared.limits.cpu_deadline {
            return Err(Stopped(Limit::CpuDeadline).into());
        }
        Ok(UpdateDeadline::Yield(1))
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.outbound,
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("component", &self.shared.name)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

impl Used {
    /// Bytes of all memories together.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl ResourceLimiter for Used {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let others = self.memory_bytes.saturating_sub(current);
        let total = others.saturating_add(desired);
        if total > self.memory_bytes_max {
            self.refused = Some(Limit::Memory);
            return Ok(false);
        }
        // Growth past what the module declares fails by itself, whatever is said here.
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.memory_bytes = total;
        }
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
}

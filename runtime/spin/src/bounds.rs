//! Bounds on what an HTTP component may use, each with the name it has in spin.toml.

use std::fmt;
use std::time::Duration;

use galley_transform::{BreakerConfig, CompileLimits, LimitValue};

/// What one HTTP component may use. Every field can be set under its `[[trigger.http]]` in
/// spin.toml, by the name given in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Time on the clock of one request, from the moment its body is there (`deadline`). Work that a
    /// component goes on with after its answer counts too.
    pub deadline: Duration,
    /// Time one request spends running its code, counted in ticks of a millisecond (`cpu-deadline`).
    pub cpu_deadline: Duration,
    /// Bytes of memory, summed over all memories of an instance (`max-memory`).
    pub memory_bytes_max: usize,
    /// Entries of one table (`max-table-elements`).
    pub table_elements_max: usize,
    /// Core instances of an instance (`max-core-instances`).
    pub core_instances_max: usize,
    /// Requests worked on at the same time (`max-concurrency`).
    pub concurrency_max: u32,
    /// Requests that may wait for a place, until their deadline (`max-waiting`).
    pub waiting_max: u32,
    /// Bytes of a request's body (`max-request-body`).
    pub request_body_bytes_max: usize,
    /// Bytes of an answer's body (`max-response-body`).
    pub response_body_bytes_max: usize,
    /// Requests one instance answers, one after another, before it is replaced
    /// (`max-reuse`). With 1 every request meets a fresh instance and nothing survives it.
    pub instance_reuse_max: u32,
    /// Bytes an instance's memory may grow by before it is replaced (`max-growth`).
    pub instance_growth_bytes_max: usize,
    /// How long an instance is kept without a request (`max-idle`).
    pub instance_idle_max: Duration,
    /// Bytes that one call of an import hands over (`max-transfer`).
    pub transfer_bytes_max: usize,
    /// Handles of streams, bodies, headers and stores that an instance holds (`max-handles`).
    pub handles_max: usize,
    /// Bytes of the header fields of a request or an answer (`max-header`).
    pub header_bytes_max: usize,
    /// Requests to other hosts that one request may make (`max-outbound-requests`).
    pub outbound_requests_max: u32,
    /// Bytes of a request to another host (`max-outbound-request-body`).
    pub outbound_request_bytes_max: usize,
    /// Bytes of an answer from another host (`max-outbound-body`).
    pub outbound_body_bytes_max: usize,
    /// Time to find and connect to another host, TLS included (`outbound-connect`). A component may
    /// ask for less, as for the next one.
    pub outbound_connect_max: Duration,
    /// Time from there to the first byte of the answer (`outbound-first-byte`).
    pub outbound_first_byte_max: Duration,
    /// Time of a request to another host, to the last byte of the answer (`outbound-time`).
    pub outbound_time_max: Duration,
    /// Bytes a request may log; more are dropped (`max-log-bytes`).
    pub log_bytes_max: usize,
    /// Bytes of the component (`max-component`).
    pub component_bytes_max: usize,
    /// When a failing component is left alone for a while (`breaker-failures`, `breaker-calls`,
    /// `breaker-window`, `breaker-open`).
    pub breaker: BreakerConfig,
    /// What compiling the component may use.
    pub compile: CompileLimits,
}

/// What key-value stores may hold. Settable under `[application.trigger.http]` in spin.toml, by the name given in brackets; every bound is of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyValueLimits {
    /// Bytes of keys and values (`max-store`).
    pub store_bytes_max: u64,
    /// Keys (`max-store-keys`).
    pub keys_max: u64,
    /// Bytes of a key (`max-key`).
    pub key_bytes_max: usize,
    /// Bytes of a value (`max-value`).
    pub value_bytes_max: usize,
    /// Writes of all components that wait for the disk (`max-store-queue`).
    pub queue_max: usize,
}

/// A limit, as it stands in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// [`HttpLimits::deadline`].
    Deadline,
    /// [`HttpLimits::cpu_deadline`].
    CpuDeadline,
    /// [`HttpLimits::memory_bytes_max`].
    Memory,
    /// [`HttpLimits::table_elements_max`].
    TableElements,
    /// [`HttpLimits::core_instances_max`].
    CoreInstances,
    /// [`HttpLimits::concurrency_max`].
    Concurrency,
    /// [`HttpLimits::waiting_max`].
    Waiting,
    /// [`HttpLimits::request_body_bytes_max`].
    RequestBody,
    /// [`HttpLimits::response_body_bytes_max`].
    ResponseBody,
    /// [`HttpLimits::transfer_bytes_max`].
    Transfer,
    /// [`HttpLimits::header_bytes_max`].
    Header,
    /// [`HttpLimits::outbound_requests_max`].
    OutboundRequests,
    /// [`HttpLimits::outbound_request_bytes_max`].
    OutboundRequestBody,
    /// [`HttpLimits::outbound_body_bytes_max`].
    OutboundBody,
    /// [`HttpLimits::outbound_connect_max`].
    OutboundConnect,
    /// [`HttpLimits::outbound_first_byte_max`].
    OutboundFirstByte,
    /// [`HttpLimits::outbound_time_max`].
    OutboundTime,
    /// [`HttpLimits::component_bytes_max`].
    Component,
    /// [`CompileLimits::wall`].
    CompileTime,
    /// [`CompileLimits::memory_bytes_max`].
    CompileMemory,
    /// [`CompileLimits::code_bytes_max`].
    Compiled,
    /// [`crate::HttpEngineConfig::stack_bytes_max`].
    Stack,
    /// [`crate::HttpEngineConfig::instances_max`].
    Instances,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(250),
            cpu_deadline: Duration::from_millis(250),
            memory_bytes_max: 64 << 20,
            table_elements_max: 20_000,
            core_instances_max: 64,
            concurrency_max: 32,
            waiting_max: 256,
            request_body_bytes_max: 1 << 20,
            response_body_bytes_max: 4 << 20,
            instance_reuse_max: 1,
            instance_growth_bytes_max: 4 << 20,
            instance_idle_max: Duration::from_secs(60),
            transfer_bytes_max: 16 << 20,
            handles_max: 512,
            header_bytes_max: 32 << 10,
            outbound_requests_max: 8,
            outbound_request_bytes_max: 4 << 20,
            outbound_body_bytes_max: 4 << 20,
            outbound_connect_max: Duration::from_secs(5),
            outbound_first_byte_max: Duration::from_secs(10),
            outbound_time_max: Duration::from_secs(30),
            log_bytes_max: 4 << 10,
            component_bytes_max: 16 << 20,
            breaker: BreakerConfig::default(),
            compile: CompileLimits {
                wall: Duration::from_secs(60),
                memory_bytes_max: 4 << 30,
                code_bytes_max: 256 << 20,
            },
        }
    }
}

impl Default for KeyValueLimits {
    fn default() -> Self {
        Self {
            store_bytes_max: 64 << 20,
            keys_max: 100_000,
            key_bytes_max: 1 << 10,
            value_bytes_max: 1 << 20,
            queue_max: 1_024,
        }
    }
}

// === impl HttpLimits ===

impl HttpLimits {
    /// The value of `limit`; `None` for those of the engine.
    #[must_use]
    pub fn value(&self, limit: Limit) -> Option<LimitValue> {
        let bytes = |bytes: usize| LimitValue::Bytes(bytes as u64);
        let count = |count: usize| LimitValue::Count(count as u64);
        Some(match limit {
            Limit::Deadline => LimitValue::Time(self.deadline),
            Limit::CpuDeadline => LimitValue::Time(self.cpu_deadline),
            Limit::Memory => bytes(self.memory_bytes_max),
            Limit::TableElements => count(self.table_elements_max),
            Limit::CoreInstances => count(self.core_instances_max),
            Limit::Concurrency => LimitValue::Count(u64::from(self.concurrency_max)),
            Limit::Waiting => LimitValue::Count(u64::from(self.waiting_max)),
            Limit::RequestBody => bytes(self.request_body_bytes_max),
            Limit::ResponseBody => bytes(self.response_body_bytes_max),
            Limit::Transfer => bytes(self.transfer_bytes_max),
            Limit::Header => bytes(self.header_bytes_max),
            Limit::OutboundRequests => LimitValue::Count(u64::from(self.outbound_requests_max)),
            Limit::OutboundRequestBody => bytes(self.outbound_request_bytes_max),
            Limit::OutboundBody => bytes(self.outbound_body_bytes_max),
            Limit::OutboundConnect => LimitValue::Time(self.outbound_connect_max),
            Limit::OutboundFirstByte => LimitValue::Time(self.outbound_first_byte_max),
            Limit::OutboundTime => LimitValue::Time(self.outbound_time_max),
            Limit::Component => bytes(self.component_bytes_max),
            Limit::CompileTime => LimitValue::Time(self.compile.wall),
            Limit::CompileMemory => LimitValue::Bytes(self.compile.memory_bytes_max),
            Limit::Compiled => LimitValue::Bytes(self.compile.code_bytes_max),
            Limit::Stack | Limit::Instances => return None,
        })
    }
}

// === impl Limit ===

impl Limit {
    /// Every limit.
    pub const ALL: [Self; 23] = [
        Self::Deadline,
        Self::CpuDeadline,
        Self::Memory,
        Self::TableElements,
        Self::CoreInstances,
        Self::Concurrency,
        Self::Waiting,
        Self::RequestBody,
        Self::ResponseBody,
        Self::Transfer,
        Self::Header,
        Self::OutboundRequests,
        Self::OutboundRequestBody,
        Self::OutboundBody,
        Self::OutboundConnect,
        Self::OutboundFirstByte,
        Self::OutboundTime,
        Self::Component,
        Self::CompileTime,
        Self::CompileMemory,
        Self::Compiled,
        Self::Stack,
        Self::Instances,
    ];

    /// The limit of a compilation that `limit` is.
    pub(crate) fn of_compilation(limit: galley_transform::Limit) -> Self {
        match limit {
            galley_transform::Limit::CompileMemory => Self::CompileMemory,
            galley_transform::Limit::Compiled => Self::Compiled,
            _ => Self::CompileTime,
        }
    }

    /// Its name in spin.toml.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::CpuDeadline => "cpu-deadline",
            Self::Memory => "max-memory",
            Self::TableElements => "max-table-elements",
            Self::CoreInstances => "max-core-instances",
            Self::Concurrency => "max-concurrency",
            Self::Waiting => "max-waiting",
            Self::RequestBody => "max-request-body",
            Self::ResponseBody => "max-response-body",
            Self::Transfer => "max-transfer",
            Self::Header => "max-header",
            Self::OutboundRequests => "max-outbound-requests",
            Self::OutboundRequestBody => "max-outbound-request-body",
            Self::OutboundBody => "max-outbound-body",
            Self::OutboundConnect => "outbound-connect",
            Self::OutboundFirstByte => "outbound-first-byte",
            Self::OutboundTime => "outbound-time",
            Self::Component => "max-component",
            Self::CompileTime => "max-compile-time",
            Self::CompileMemory => "max-compile-memory",
            Self::Compiled => "max-compiled",
            Self::Stack => "max-stack",
            Self::Instances => "max-instances",
        }
    }

    /// The table of spin.toml it stands in.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Stack | Self::Instances => "[application.trigger.http]",
            _ => "its [[trigger.http]]",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deadline => "the time of a request",
            Self::CpuDeadline => "the time a request runs code",
            Self::Memory => "memory",
            Self::TableElements => "entries of a table",
            Self::CoreInstances => "core instances",
            Self::Concurrency => "requests at the same time",
            Self::Waiting => "waiting requests",
            Self::RequestBody => "the body of a request",
            Self::ResponseBody => "the body of an answer",
            Self::Transfer => "bytes handed over at once",
            Self::Header => "header fields",
            Self::OutboundRequests => "requests to other hosts",
            Self::OutboundRequestBody => "the body of a request to another host",
            Self::OutboundBody => "the answer of another host",
            Self::OutboundConnect => "the time to connect to another host",
            Self::OutboundFirstByte => "the time until another host answers",
            Self::OutboundTime => "the time of a request to another host",
            Self::Component => "the size of the component",
            Self::CompileTime => "the time to compile",
            Self::CompileMemory => "the memory to compile",
            Self::Compiled => "the size of the compiled code",
            Self::Stack => "the stack of a call",
            Self::Instances => "live instances of all components",
        })
    }
}

//! What the keys of `[[trigger.galley]]`, `[[trigger.http]]` and their tables of
//! `[application.trigger]` set. What is not set is `None`: the default is the engine's.

use std::time::Duration;

use crate::error::Result;
use crate::section::Section;

/// Whether calls share instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Each call has an instance of its own.
    Fresh,
    /// Calls meet instances that served others before.
    Pooled,
}

/// What becomes of a request when the transformation fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The request is refused, with the reason.
    #[default]
    Fail,
    /// The view's outputs are null for this request.
    Null,
}

/// When a failing component is left alone for a while; each field has the name of its key in brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Share of calls that must fail for the breaker to open, in percent (`breaker-failures`).
    pub failures_percent: Option<u8>,
    /// Calls a window must have before the share counts (`breaker-calls`).
    pub calls_min: Option<u32>,
    /// The window (`breaker-window`).
    pub window: Option<Duration>,
    /// How long calls are refused before one is tried again (`breaker-open`).
    pub open: Option<Duration>,
}

/// What one transformation may use; each field has the name of its key in brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransformSettings {
    /// Whether calls share instances (`isolation = "fresh"` or `"pooled"`).
    pub isolation: Option<Isolation>,
    /// Calls a pooled instance serves before it is replaced (`max-reuse`).
    pub reuse_max: Option<u32>,
    /// Bytes a pooled instance may grow by before it is replaced (`max-growth`).
    pub growth_bytes_max: Option<u64>,
    /// How long a pooled instance is kept without a call (`max-idle`).
    pub idle_max: Option<Duration>,
    /// What becomes of the request on a failure (`on-error = "fail"` or `"null"`).
    pub on_error: Option<OnError>,
    /// Processor time of one call (`deadline`).
    pub deadline: Option<Duration>,
    /// Time on the clock of one call (`wall-deadline`).
    pub wall_deadline: Option<Duration>,
    /// Bytes of memory of an instance (`max-memory`).
    pub memory_bytes_max: Option<u64>,
    /// Entries of one table (`max-table-elements`).
    pub table_elements_max: Option<u32>,
    /// Tables of an instance (`max-tables`).
    pub tables_max: Option<u32>,
    /// Memories of an instance (`max-memories`).
    pub memories_max: Option<u32>,
    /// Core instances of an instance (`max-core-instances`).
    pub core_instances_max: Option<u32>,
    /// Bytes of one answer (`max-result`).
    pub result_bytes_max: Option<u64>,
    /// Rows of one call (`max-rows`).
    pub rows_max: Option<u32>,
    /// Bytes of one value of an answer (`max-cell`).
    pub cell_bytes_max: Option<u64>,
    /// Inputs, and outputs (`max-columns`).
    pub columns_max: Option<u32>,
    /// Lines a call may log (`max-log-lines`).
    pub log_lines_max: Option<u32>,
    /// Bytes a call may log (`max-log-bytes`).
    pub log_bytes_max: Option<u64>,
    /// Log lines a second of all calls together (`max-log-rate`).
    pub log_rate_max: Option<u32>,
    /// Bytes kept of an error text (`max-error-bytes`).
    pub error_bytes_max: Option<u64>,
    /// Calls at the same time (`max-concurrency`).
    pub concurrency_max: Option<u32>,
    /// Calls that may wait for a place (`max-waiting`).
    pub waiting_max: Option<u32>,
    /// How long a call waits for a place (`max-wait`).
    pub wait_max: Option<Duration>,
    /// Bytes of the component (`max-component`).
    pub component_bytes_max: Option<u64>,
    /// When a failing transformation is left alone.
    pub breaker: BreakerSettings,
    /// Time to compile (`max-compile-time`).
    pub compile_wall: Option<Duration>,
    /// Bytes of memory to compile (`max-compile-memory`).
    pub compile_memory_bytes_max: Option<u64>,
    /// Bytes of the compiled code (`max-compiled`).
    pub compiled_bytes_max: Option<u64>,
}

/// What one HTTP component may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpSettings {
    /// Time of one request (`deadline`).
    pub deadline: Option<Duration>,
    /// Time one request spends running code (`cpu-deadline`).
    pub cpu_deadline: Option<Duration>,
    /// Bytes of memory of an instance (`max-memory`).
    pub memory_bytes_max: Option<u64>,
    /// Entries of one table (`max-table-elements`).
    pub table_elements_max: Option<u32>,
    /// Core instances of an instance (`max-core-instances`).
    pub core_instances_max: Option<u32>,
    /// Requests at the same time (`max-concurrency`).
    pub concurrency_max: Option<u32>,
    /// Requests that may wait for a place (`max-waiting`).
    pub waiting_max: Option<u32>,
    /// Bytes of a request's body (`max-request-body`).
    pub request_bytes_max: Option<u64>,
    /// Bytes of an answer's body (`max-response-body`).
    pub response_bytes_max: Option<u64>,
    /// Requests an instance serves, one after another, before it is replaced (`max-reuse`).
    pub reuse_max: Option<u32>,
    /// Bytes an instance may grow by before it is replaced (`max-growth`).
    pub growth_bytes_max: Option<u64>,
    /// How long an instance is kept without a request (`max-idle`).
    pub idle_max: Option<Duration>,
    /// Bytes that one call of an import hands over (`max-transfer`).
    pub transfer_bytes_max: Option<u64>,
    /// Handles an instance holds (`max-handles`).
    pub handles_max: Option<u32>,
    /// Bytes of header fields (`max-header`).
    pub header_bytes_max: Option<u64>,
    /// Requests to other hosts that one request may make (`max-outbound-requests`).
    pub outbound_requests_max: Option<u32>,
    /// Bytes of a request to another host (`max-outbound-request-body`).
    pub outbound_request_bytes_max: Option<u64>,
    /// Bytes of an answer from another host (`max-outbound-body`).
    pub outbound_bytes_max: Option<u64>,
    /// Time to connect to another host (`outbound-connect`).
    pub outbound_connect_max: Option<Duration>,
    /// Time until another host begins to answer (`outbound-first-byte`).
    pub outbound_first_byte_max: Option<Duration>,
    /// Time of a request to another host (`outbound-time`).
    pub outbound_time_max: Option<Duration>,
    /// Bytes a request may log (`max-log-bytes`).
    pub log_bytes_max: Option<u64>,
    /// Bytes of the component (`max-component`).
    pub component_bytes_max: Option<u64>,
    /// When a failing component is left alone.
    pub breaker: BreakerSettings,
    /// Time to compile (`max-compile-time`).
    pub compile_wall: Option<Duration>,
    /// Bytes of memory to compile (`max-compile-memory`).
    pub compile_memory_bytes_max: Option<u64>,
    /// Bytes of the compiled code (`max-compiled`).
    pub compiled_bytes_max: Option<u64>,
}

/// What HTTP components share beside their engine: `[application.trigger.http]` too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpHostSettings {
    /// Threads that run components (`threads`).
    pub threads: Option<u32>,
    /// Bytes of one key-value store (`max-store`).
    pub store_bytes_max: Option<u64>,
    /// Keys of one key-value store (`max-store-keys`).
    pub store_keys_max: Option<u64>,
    /// Bytes of a key (`max-key`).
    pub key_bytes_max: Option<u64>,
    /// Bytes of a value (`max-value`).
    pub value_bytes_max: Option<u64>,
    /// Writes of key-value stores that wait for the disk (`max-store-queue`).
    pub store_queue_max: Option<u32>,
}

/// What all components of a kind share: `[application.trigger.galley]`, `[application.trigger.http]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineSettings {
    /// Instances alive at the same time (`max-instances`).
    pub instances_max: Option<u32>,
    /// Core instances alive at the same time (`max-total-core-instances`).
    pub core_instances_max: Option<u32>,
    /// The highest `max-memory` one may be given (`max-instance-memory`).
    pub memory_bytes_max: Option<u64>,
    /// The highest `max-table-elements` one may be given (`max-instance-table-elements`).
    pub table_elements_max: Option<u32>,
    /// Bytes of stack of a call (`max-stack`).
    pub stack_bytes_max: Option<u64>,
    /// Bytes kept resident in each place an instance has left (`keep-resident`).
    pub keep_resident_bytes: Option<u64>,
}

impl BreakerSettings {
    fn read(section: &Section<'_>) -> Result<Self> {
        Ok(Self {
            failures_percent: percent(section, "breaker-failures")?,
            calls_min: section.some_count("breaker-calls")?,
            window: section.some_time("breaker-window")?,
            open: section.some_time("breaker-open")?,
        })
    }
}

impl TransformSettings {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self> {
        Ok(Self {
            isolation: section.parsed(
                "isolation",
                "\"fresh\" or \"pooled\"",
                |text| match text {
                    "fresh" => Some(Isolation::Fresh),
                    "pooled" => Some(Isolation::Pooled),
                    _ => None,
                },
            )?,
            reuse_max: section.some_count("max-reuse")?,
            growth_bytes_max: section.size("max-growth")?,
            idle_max: section.time("max-idle")?,
            on_error: section.parsed("on-error", "\"fail\" or \"null\"", |text| match text {
                "fail" => Some(OnError::Fail),
                "null" => Some(OnError::Null),
                _ => None,
            })?,
            deadline: section.some_time("deadline")?,
            wall_deadline: section.some_time("wall-deadline")?,
            memory_bytes_max: section.size("max-memory")?,
            table_elements_max: section.some_count("max-table-elements")?,
            tables_max: section.some_count("max-tables")?,
            memories_max: section.some_count("max-memories")?,
            core_instances_max: section.some_count("max-core-instances")?,
            result_bytes_max: section.size("max-result")?,
            rows_max: section.some_count("max-rows")?,
            cell_bytes_max: section.size("max-cell")?,
            columns_max: section.some_count("max-columns")?,
            log_lines_max: section.count("max-log-lines")?,
            log_bytes_max: section.size("max-log-bytes")?,
            log_rate_max: section.count("max-log-rate")?,
            error_bytes_max: section.size("max-error-bytes")?,
            concurrency_max: section.some_count("max-concurrency")?,
            waiting_max: section.count("max-waiting")?,
            wait_max: section.time("max-wait")?,
            component_bytes_max: section.size("max-component")?,
            breaker: BreakerSettings::read(section)?,
            compile_wall: section.some_time("max-compile-time")?,
            compile_memory_bytes_max: section.size("max-compile-memory")?,
            compiled_bytes_max: section.size("max-compiled")?,
        })
    }
}

impl HttpSettings {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self> {
        Ok(Self {
            deadline: section.some_time("deadline")?,
            cpu_deadline: section.some_time("cpu-deadline")?,
            memory_bytes_max: section.size("max-memory")?,
            table_elements_max: section.some_count("max-table-elements")?,
            core_instances_max: section.some_count("max-core-instances")?,
            concurrency_max: section.some_count("max-concurrency")?,
            waiting_max: section.count("max-waiting")?,
            request_bytes_max: section.size("max-request-body")?,
            response_bytes_max: section.size("max-response-body")?,
            reuse_max: section.some_count("max-reuse")?,
            growth_bytes_max: section.size("max-growth")?,
            idle_max: section.time("max-idle")?,
            transfer_bytes_max: section.size("max-transfer")?,
            handles_max: section.some_count("max-handles")?,
            header_bytes_max: section.size("max-header")?,
            outbound_requests_max: section.count("max-outbound-requests")?,
            outbound_request_bytes_max: section.size("max-outbound-request-body")?,
            outbound_bytes_max: section.size("max-outbound-body")?,
            outbound_connect_max: section.some_time("outbound-connect")?,
            outbound_first_byte_max: section.some_time("outbound-first-byte")?,
            outbound_time_max: section.some_time("outbound-time")?,
            log_bytes_max: section.size("max-log-bytes")?,
            component_bytes_max: section.size("max-component")?,
            breaker: BreakerSettings::read(section)?,
            compile_wall: section.some_time("max-compile-time")?,
            compile_memory_bytes_max: section.size("max-compile-memory")?,
            compiled_bytes_max: section.size("max-compiled")?,
        })
    }
}

impl HttpHostSettings {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self> {
        Ok(Self {
            threads: section.some_count("threads")?,
            store_bytes_max: section.size("max-store")?,
            store_keys_max: section.some_count("max-store-keys")?,
            key_bytes_max: section.size("max-key")?,
            value_bytes_max: section.size("max-value")?,
            store_queue_max: section.some_count("max-store-queue")?,
        })
    }
}

impl EngineSettings {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self> {
        Ok(Self {
            instances_max: section.some_count("max-instances")?,
            core_instances_max: section.some_count("max-total-core-instances")?,
            memory_bytes_max: section.size("max-instance-memory")?,
            table_elements_max: section.some_count("max-instance-table-elements")?,
            stack_bytes_max: section.size("max-stack")?,
            keep_resident_bytes: section.size("keep-resident")?,
        })
    }
}

fn percent(section: &Section<'_>, key: &'static str) -> Result<Option<u8>> {
    match section.count::<u8>(key)? {
        Some(101..) => Err(section.wrong_key(key, "a percentage from 0 to 100")),
        percent => Ok(percent),
    }
}

//! Bounds on what a transformation may use, each with the name it has in spin.toml.

use std::fmt;
use std::time::Duration;

/// What one transformation may use. Every field can be set under its `[[trigger.galley]]` in
/// spin.toml, by the name given in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Processor time of one call, instantiation and clean-up included (`deadline`).
    pub deadline: Duration,
    /// Time on the clock of one call, whatever the machine is busy with (`wall-deadline`).
    pub wall_deadline: Duration,
    /// Bytes of memory, summed over all memories of an instance (`max-memory`).
    pub memory_bytes_max: usize,
    /// Entries of one table (`max-table-elements`).
    pub table_elements_max: usize,
    /// Tables of an instance (`max-tables`).
    pub tables_max: usize,
    /// Memories of an instance (`max-memories`).
    pub memories_max: usize,
    /// Core instances of an instance (`max-core-instances`).
    pub core_instances_max: usize,
    /// Bytes of one answer, or of what one call of an import hands over (`max-result`).
    pub result_bytes_max: usize,
    /// Rows of one call (`max-rows`).
    pub rows_max: u32,
    /// Bytes of one text, binary or list value of an answer (`max-cell`).
    pub cell_bytes_max: usize,
    /// Inputs, and outputs (`max-columns`).
    pub columns_max: usize,
    /// Lines a call may log; more are dropped and counted (`max-log-lines`).
    pub log_lines_max: usize,
    /// Bytes a call may log; more are dropped and counted (`max-log-bytes`).
    pub log_bytes_max: usize,
    /// Log lines a second of all calls together; more are dropped and counted (`max-log-rate`).
    pub log_rate_max: u32,
    /// Bytes kept of an error text; the rest is cut off (`max-error-bytes`).
    pub error_bytes_max: usize,
    /// Calls at the same time (`max-concurrency`).
    pub concurrency_max: u32,
    /// Calls that may wait for a place (`max-waiting`).
    pub waiting_max: u32,
    /// How long a call waits for a place (`max-wait`).
    pub wait_max: Duration,
    /// Bytes of the component (`max-component`).
    pub component_bytes_max: usize,
    /// When a failing transformation is left alone for a while (`breaker`).
    pub breaker: BreakerConfig,
    /// What compiling the component may use.
    pub compile: CompileLimits,
}

/// When calls of a failing component are refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Share of calls in a window that must fail, in percent; 0 switches the breaker off
    /// (`breaker-failures`).
    pub failures_percent: u8,
    /// Calls a window must have before the share counts (`breaker-calls`).
    pub calls_min: u32,
    /// The window (`breaker-window`).
    pub window: Duration,
    /// How long calls are refused before one is tried again (`breaker-open`).
    pub open: Duration,
}

/// What the compilation of one component may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Time that the worker may work (`max-compile-time`). On the clock it may be twelve times that,
    /// as it waits for its turn on a busy machine.
    pub wall: Duration,
    /// Address space of the worker process, in bytes (`max-compile-memory`).
    pub memory_bytes_max: u64,
    /// Bytes of the compiled code (`max-compiled`).
    pub code_bytes_max: u64,
}

/// A limit, as it stands in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// [`Limits::deadline`].
    Deadline,
    /// [`Limits::wall_deadline`].
    WallDeadline,
    /// [`Limits::memory_bytes_max`].
    Memory,
    /// [`Limits::table_elements_max`].
    TableElements,
    /// [`Limits::tables_max`].
    Tables,
    /// [`Limits::memories_max`].
    Memories,
    /// [`Limits::core_instances_max`].
    CoreInstances,
    /// [`Limits::result_bytes_max`].
    Result,
    /// [`Limits::rows_max`].
    Rows,
    /// [`Limits::cell_bytes_max`].
    Cell,
    /// [`Limits::concurrency_max`].
    Concurrency,
    /// [`Limits::component_bytes_max`].
    Component,
    /// [`CompileLimits::wall`].
    CompileTime,
    /// [`CompileLimits::memory_bytes_max`].
    CompileMemory,
    /// [`CompileLimits::code_bytes_max`].
    Compiled,
    /// [`crate::EngineConfig::stack_bytes_max`].
    Stack,
    /// [`crate::EngineConfig::instances_max`].
    Instances,
}

/// The value of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitValue {
    /// A time.
    Time(Duration),
    /// A size in bytes.
    Bytes(u64),
    /// A number of things.
    Count(u64),
}

impl Limits {
    /// Memory a component must start with to be taken for an interpreter with a program in it.
    pub const INTERPRETER_MEMORY_MIN: u64 = 8 << 20;

    /// The limits for components that carry an interpreter (Python, JavaScript): larger, slower to
    /// compile, of many core modules.
    #[must_use]
    pub fn interpreted() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            table_elements_max: 16_384,
            tables_max: 16,
            core_instances_max: 256,
            component_bytes_max: 32 << 20,
            compile: CompileLimits {
                wall: Duration::from_secs(300),
                memory_bytes_max: 4 << 30,
                code_bytes_max: 256 << 20,
            },
            ..Self::default()
        }
    }

    /// Every limit of a transformation with its value.
    pub fn all(&self) -> impl Iterator<Item = (Limit, LimitValue)> {
        Limit::ALL
            .into_iter()
            .filter_map(|limit| Some((limit, self.value(limit)?)))
    }

    /// The value of `limit`; `None` for those of the engine.
    #[must_use]
    pub fn value(&self, limit: Limit) -> Option<LimitValue> {
        let count = |count: usize| LimitValue::Count(count as u64);
        let bytes = |bytes: usize| LimitValue::Bytes(bytes as u64);
        Some(match limit {
            Limit::Deadline => LimitValue::Time(self.deadline),
            Limit::WallDeadline => LimitValue::Time(self.wall_deadline),
            Limit::Memory => bytes(self.memory_bytes_max),
            Limit::TableElements => count(self.table_elements_max),
            Limit::Tables => count(self.tables_max),
            Limit::Memories => count(self.memories_max),
            Limit::CoreInstances => count(self.core_instances_max),
            Limit::Result => bytes(self.result_bytes_max),
            Limit::Rows => LimitValue::Count(u64::from(self.rows_max)),
            Limit::Cell => bytes(self.cell_bytes_max),
            Limit::Concurrency => LimitValue::Count(u64::from(self.concurrency_max)),
            Limit::Component => bytes(self.component_bytes_max),
            Limit::CompileTime | Limit::CompileMemory | Limit::Compiled => {
                return self.compile.value(limit);
            }
            Limit::Stack | Limit::Instances => return None,
        })
    }
}

impl CompileLimits {
    /// The value of `limit`; `None` for those that do not bound a compilation.
    #[must_use]
    pub fn value(&self, limit: Limit) -> Option<LimitValue> {
        match limit {
            Limit::CompileTime => Some(LimitValue::Time(self.wall)),
            Limit::CompileMemory => Some(LimitValue::Bytes(self.memory_bytes_max)),
            Limit::Compiled => Some(LimitValue::Bytes(self.code_bytes_max)),
            _ => None,
        }
    }
}

impl Default for Limits {
    /// The limits for compiled components (Rust, C).
    fn default() -> Self {
        let cores = std::thread::available_parallelism()
            .map_or(2, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
        Self {
            deadline: Duration::from_millis(50),
            wall_deadline: Duration::from_millis(500),
            memory_bytes_max: 16 << 20,
            table_elements_max: 10_000,
            tables_max: 4,
            memories_max: 1,
            core_instances_max: 8,
            result_bytes_max: 4 << 20,
            rows_max: 10_000,
            cell_bytes_max: 64 << 10,
            columns_max: 1_024,
            log_lines_max: 16,
            log_bytes_max: 4 << 10,
            log_rate_max: 100,
            error_bytes_max: 1 << 10,
            concurrency_max: cores,
            waiting_max: cores.saturating_mul(8),
            wait_max: Duration::from_millis(50),
            component_bytes_max: 8 << 20,
            breaker: BreakerConfig::default(),
            compile: CompileLimits::default(),
        }
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures_percent: 50,
            calls_min: 20,
            window: Duration::from_secs(10),
            open: Duration::from_secs(5),
        }
    }
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(10),
            memory_bytes_max: 1 << 30,
            code_bytes_max: 64 << 20,
        }
    }
}

// === impl Limit ===

impl Limit {
    /// Every limit that a message may name.
    pub const ALL: [Self; 17] = [
        Self::Deadline,
        Self::WallDeadline,
        Self::Memory,
        Self::TableElements,
        Self::Tables,
        Self::Memories,
        Self::CoreInstances,
        Self::Result,
        Self::Rows,
        Self::Cell,
        Self::Concurrency,
        Self::Component,
        Self::CompileTime,
        Self::CompileMemory,
        Self::Compiled,
        Self::Stack,
        Self::Instances,
    ];

    /// Its name in spin.toml.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::WallDeadline => "wall-deadline",
            Self::Memory => "max-memory",
            Self::TableElements => "max-table-elements",
            Self::Tables => "max-tables",
            Self::Memories => "max-memories",
            Self::CoreInstances => "max-core-instances",
            Self::Result => "max-result",
            Self::Rows => "max-rows",
            Self::Cell => "max-cell",
            Self::Concurrency => "max-concurrency",
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
            Self::Stack | Self::Instances => "[application.trigger.galley]",
            _ => "its [[trigger.galley]]",
        }
    }

    /// What it bounds.
    fn what(self) -> &'static str {
        match self {
            Self::Deadline => "processor time of a call",
            Self::WallDeadline => "time of a call",
            Self::Memory => "memory",
            Self::TableElements => "entries of a table",
            Self::Tables => "tables",
            Self::Memories => "memories",
            Self::CoreInstances => "core instances",
            Self::Result => "bytes handed to the host at once",
            Self::Rows => "rows of a call",
            Self::Cell => "bytes of one value",
            Self::Concurrency => "calls at the same time",
            Self::Component => "size of the component",
            Self::CompileTime => "time to compile",
            Self::CompileMemory => "memory to compile",
            Self::Compiled => "size of the compiled code",
            Self::Stack => "stack of a call",
            Self::Instances => "live instances of all transforms",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what())
    }
}

// === impl LimitValue ===

impl LimitValue {
    /// The next value worth trying: twice as much.
    #[must_use]
    pub fn doubled(self) -> Self {
        match self {
            Self::Time(time) => Self::Time(time.saturating_mul(2)),
            Self::Bytes(bytes) => Self::Bytes(bytes.saturating_mul(2)),
            Self::Count(count) => Self::Count(count.saturating_mul(2)),
        }
    }

    /// The value as it is written in spin.toml, quotes included.
    #[must_use]
    pub fn toml(self) -> String {
        match self {
            Self::Count(count) => count.to_string(),
            Self::Time(_) | Self::Bytes(_) => format!("\"{self}\""),
        }
    }
}

impl fmt::Display for LimitValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Time(time) => {
                let micros = time.as_micros();
                match micros {
                    0.. if micros % 1_000_000 == 0 => write!(f, "{}s", micros / 1_000_000),
                    0.. if micros % 1_000 == 0 => write!(f, "{}ms", micros / 1_000),
                    _ => write!(f, "{micros}us"),
                }
            }
            Self::Bytes(bytes) => match bytes {
                0 => f.write_str("0B"),
                _ if bytes % (1 << 30) == 0 => write!(f, "{}GiB", bytes >> 30),
                _ if bytes % (1 << 20) == 0 => write!(f, "{}MiB", bytes >> 20),
                _ if bytes % (1 << 10) == 0 => write!(f, "{}KiB", bytes >> 10),
                _ => write!(f, "{bytes}B"),
            },
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

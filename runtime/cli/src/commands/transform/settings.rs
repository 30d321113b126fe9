//! From what spin.toml sets to what the engine is given.

use galley_manifest::{Isolation as Wanted, TransformSettings};
use galley_transform::{Isolation, Limits};

/// `suited` with what `settings` say otherwise.
pub(crate) fn limits(suited: Limits, settings: &TransformSettings) -> Limits {
    let mut limits = suited;
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    macro_rules! set {
        ($($field:ident $(. $part:ident)? = $value:expr;)+) => {
            $(if let Some(value) = $value { limits.$field $(. $part)? = value; })+
        };
    }
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    set! {
        deadline = settings.deadline;
        wall_deadline = settings.wall_deadline;
        memory_bytes_max = settings.memory_bytes_max.map(bytes);
        table_elements_max = settings.table_elements_max.map(count);
        tables_max = settings.tables_max.map(count);
        memories_max = settings.memories_max.map(count);
        core_instances_max = settings.core_instances_max.map(count);
        result_bytes_max = settings.result_bytes_max.map(bytes);
        rows_max = settings.rows_max;
        cell_bytes_max = settings.cell_bytes_max.map(bytes);
        columns_max = settings.columns_max.map(count);
        log_lines_max = settings.log_lines_max.map(count);
        log_bytes_max = settings.log_bytes_max.map(bytes);
        log_rate_max = settings.log_rate_max;
        error_bytes_max = settings.error_bytes_max.map(bytes);
        concurrency_max = settings.concurrency_max;
        waiting_max = settings.waiting_max;
        wait_max = settings.wait_max;
        component_bytes_max = settings.component_bytes_max.map(bytes);
        compile.wall = settings.compile_wall;
        compile.memory_bytes_max = settings.compile_memory_bytes_max;
        compile.code_bytes_max = settings.compiled_bytes_max;
    }
    limits
}

/// Whether calls share instances, where `settings` say anything about it.
pub(crate) fn isolation(settings: &TransformSettings) -> Option<Isolation> {
    let Isolation::Pooled {
        calls_max,
        growth_bytes_max,
        idle_max,
    } = Isolation::pooled()
    else {
        return None;
    };
    let pooled = Isolation::Pooled {
        calls_max: settings.reuse_max.unwrap_or(calls_max),
        growth_bytes_max: settings.growth_bytes_max.map_or(growth_bytes_max, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        }),
        idle_max: settings.idle_max.unwrap_or(idle_max),
    };
    settings.isolation.map(|wanted| match wanted {
        Wanted::Fresh => Isolation::Fresh,
        Wanted::Pooled => pooled,
    })
}

//! The settings of the manifest as the transformations' host takes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use galley_manifest::{
    BreakerSettings, EngineSettings, TransformSettings, set, set_count, set_size,
};
use galley_node::OnError;
use galley_node::transform::{
    BreakerConfig, EngineConfig, Inspection, Isolation, Limits, TraceSink, TransformConfig,
};

/// How a component is called under these settings; what is not set is what suits the component.
#[must_use]
pub fn transform_config(
    view: &str,
    inspection: &Inspection,
    settings: &TransformSettings,
    variables: BTreeMap<String, String>,
) -> TransformConfig {
    TransformConfig {
        name: view.into(),
        limits: limits(inspection, settings),
        isolation: isolation(inspection, settings),
        variables,
        log: Arc::new(TraceSink),
    }
}

/// The engine under these settings.
#[must_use]
pub fn engine_config(settings: &EngineSettings) -> EngineConfig {
    let mut config = EngineConfig::default();
    set(&mut config.instances_max, settings.instances_max);
    set(&mut config.core_instances_max, settings.core_instances_max);
    set_size(&mut config.memory_bytes_max, settings.memory_bytes_max);
    set_count(&mut config.table_elements_max, settings.table_elements_max);
    set_size(&mut config.stack_bytes_max, settings.stack_bytes_max);
    set_size(
        &mut config.keep_resident_bytes,
        settings.keep_resident_bytes,
    );
    config
}

/// What becomes of look-ups when the component fails.
pub(super) fn on_error(settings: &TransformSettings) -> OnError {
    match settings.on_error {
        Some(galley_manifest::OnError::Null) => OnError::Null,
        Some(galley_manifest::OnError::Fail) | None => OnError::Fail,
    }
}

fn isolation(inspection: &Inspection, settings: &TransformSettings) -> Option<Isolation> {
    let pooled = match settings.isolation {
        Some(galley_manifest::Isolation::Fresh) => return Some(Isolation::Fresh),
        Some(galley_manifest::Isolation::Pooled) => Isolation::pooled(),
        None if inspection.interpreted() => Isolation::pooled(),
        None => return None,
    };
    let Isolation::Pooled {
        mut calls_max,
        mut growth_bytes_max,
        mut idle_max,
    } = pooled
    else {
        return Some(pooled);
    };
    set(&mut calls_max, settings.reuse_max);
    set_size(&mut growth_bytes_max, settings.growth_bytes_max);
    set(&mut idle_max, settings.idle_max);
    Some(Isolation::Pooled {
        calls_max,
        growth_bytes_max,
        idle_max,
    })
}

fn limits(inspection: &Inspection, settings: &TransformSettings) -> Limits {
    let mut limits = inspection.limits();
    set(&mut limits.deadline, settings.deadline);
    set(&mut limits.wall_deadline, settings.wall_deadline);
    set_size(&mut limits.memory_bytes_max, settings.memory_bytes_max);
    set_count(&mut limits.table_elements_max, settings.table_elements_max);
    set_count(&mut limits.tables_max, settings.tables_max);
    set_count(&mut limits.memories_max, settings.memories_max);
    set_count(&mut limits.core_instances_max, settings.core_instances_max);
    set_size(&mut limits.result_bytes_max, settings.result_bytes_max);
    set(&mut limits.rows_max, settings.rows_max);
    set_size(&mut limits.cell_bytes_max, settings.cell_bytes_max);
    set_count(&mut limits.columns_max, settings.columns_max);
    set_count(&mut limits.log_lines_max, settings.log_lines_max);
    set_size(&mut limits.log_bytes_max, settings.log_bytes_max);
    set(&mut limits.log_rate_max, settings.log_rate_max);
    set_size(&mut limits.error_bytes_max, settings.error_bytes_max);
    set(&mut limits.concurrency_max, settings.concurrency_max);
    set(&mut limits.waiting_max, settings.waiting_max);
    set(&mut limits.wait_max, settings.wait_max);
    set_size(
        &mut limits.component_bytes_max,
        settings.component_bytes_max,
    );
    limits.breaker = breaker_config(&settings.breaker);
    let compile = &mut limits.compile;
    set(&mut compile.wall, settings.compile_wall);
    set(
        &mut compile.memory_bytes_max,
        settings.compile_memory_bytes_max,
    );
    set(&mut compile.code_bytes_max, settings.compiled_bytes_max);
    limits
}

/// When a failing component is left alone: its settings, and defaults for the rest.
#[must_use]
pub fn breaker_config(settings: &BreakerSettings) -> BreakerConfig {
    let mut breaker = BreakerConfig::default();
    set(&mut breaker.failures_percent, settings.failures_percent);
    set(&mut breaker.calls_min, settings.calls_min);
    set(&mut breaker.window, settings.window);
    set(&mut breaker.open, settings.open);
    breaker
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use galley_manifest::Manifest;
    use galley_node::transform::Limit;

    use super::*;

    /// A component is not needed to see what settings do to the limits of one.
    fn plain() -> Inspection {
        Inspection::of(b"\0asm\x0d\0\x01\0").unwrap()
    }

    #[test]
    fn every_limit_can_be_set_by_the_name_its_message_gives() {
        for limit in Limit::ALL {
            if limit.table() != "its [[trigger.galley]]" {
                continue;
            }
            let default = limits(&plain(), &TransformSettings::default());
            let other = default.value(limit).unwrap().doubled();
            let text = format!(
                "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.galley]]\n\
                 component = \"c\"\non-demand-feature-view = \"v\"\n{} = {}\n[component.c]\n\
                 source = \"c.wasm\"\n",
                limit.setting(),
                other.toml(),
            );
            let manifest = Manifest::parse(&text, "spin.toml".as_ref()).unwrap();
            let set = limits(&plain(), &manifest.transforms[0].settings);
            assert_eq!(set.value(limit), Some(other), "{limit:?}");
        }
    }

    #[test]
    fn pooled_instances_are_bounded_as_the_settings_say() {
        let settings = TransformSettings {
            isolation: Some(galley_manifest::Isolation::Pooled),
            reuse_max: Some(7),
            idle_max: Some(Duration::from_secs(3)),
            ..TransformSettings::default()
        };
        let Some(Isolation::Pooled {
            calls_max,
            idle_max,
            ..
        }) = isolation(&plain(), &settings)
        else {
            panic!("it is pooled")
        };
        assert_eq!((calls_max, idle_max), (7, Duration::from_secs(3)));
        assert_eq!(isolation(&plain(), &TransformSettings::default()), None);
    }
}

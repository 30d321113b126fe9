//! Figures of the transformations.

use std::fmt::Error as FmtError;
use std::time::Duration;

use galley_node::transform::{BreakerState, Outcome, Stats, Transform};
use galley_node::{NodeStatus, TransformState, TransformStatus};

use super::export::Families;

/// A transformation that is in use, with what became of its calls.
struct Used<'a> {
    status: &'a TransformStatus,
    transform: &'a Transform,
    stats: Stats,
}

/// Name, help and value of a counter.
type CounterOf = (&'static str, &'static str, fn(&Stats) -> u64);

impl Used<'_> {
    fn view(&self) -> &str {
        &self.status.view
    }
}

/// Writes what became of the calls of each transformation.
pub(super) fn encode(status: &NodeStatus, families: &mut Families<'_>) -> Result<(), FmtError> {
    let used: Vec<Used<'_>> = status
        .transforms
        .iter()
        .filter_map(|status| {
            let transform = status.transform.as_deref()?;
            Some(Used {
                status,
                transform,
                stats: transform.stats(),
            })
        })
        .collect();
    states(status, families)?;
    durations(&used, families)?;
    calls(&used, families)?;
    pressure(&used, families)
}

fn states(status: &NodeStatus, families: &mut Families<'_>) -> Result<(), FmtError> {
    let help = "1 for each on-demand feature view, by the state of what computes it";
    families.gauges("galley_transform_state", help, |family| {
        for transform in &status.transforms {
            let state = match transform.state {
                TransformState::Ready => "ready",
                TransformState::Quarantined(_) => "quarantined",
                TransformState::Missing => "missing",
                TransformState::Unused => "unused",
            };
            let labels = [("odfv_name", transform.view.as_str()), ("state", state)];
            family.amount(&labels, 1)?;
        }
        Ok(())
    })
}

fn durations(used: &[Used<'_>], families: &mut Families<'_>) -> Result<(), FmtError> {
    let families_of = [
        (
            "feast_feature_server_transformation_duration_seconds",
            "Seconds of an on-demand feature view's transformation when it is read",
            false,
        ),
        (
            "feast_feature_server_write_transformation_duration_seconds",
            "Seconds of an on-demand feature view's transformation when it is written",
            true,
        ),
    ];
    for (name, help, at_write) in families_of {
        families.histograms(name, help, |family| {
            for used in used.iter().filter(|it| it.status.at_write == at_write) {
                let labels = [("odfv_name", used.view()), ("mode", "wasm")];
                let buckets: Vec<(f64, u64)> = used
                    .stats
                    .times
                    .iter()
                    .map(|(bound, count)| (seconds(*bound), *count))
                    .collect();
                family.buckets(&labels, used.stats.time_sum.as_secs_f64(), &buckets)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn seconds(bound: Duration) -> f64 {
    if bound == Duration::MAX {
        f64::INFINITY
    } else {
        bound.as_secs_f64()
    }
}

fn calls(used: &[Used<'_>], families: &mut Families<'_>) -> Result<(), FmtError> {
    let help = "Calls of a transformation by what became of them";
    families.counters("galley_transform_calls", help, |family| {
        for used in used {
            for outcome in Outcome::ALL {
                let labels = [("odfv_name", used.view()), ("outcome", outcome.name())];
                family.counter(&labels, used.stats.count(outcome))?;
            }
        }
        Ok(())
    })?;
    let counters: [CounterOf; 4] = [
        (
            "galley_transform_rows",
            "Rows that transformations answered",
            |stats| stats.rows,
        ),
        (
            "galley_transform_instances",
            "Instances made; other calls met one that was kept",
            |stats| stats.instances,
        ),
        (
            "galley_transform_log_lines_dropped",
            "Log lines past a limit",
            |stats| stats.log_lines_dropped,
        ),
        (
            "galley_transform_breaker_opened",
            "How often a transformation was left alone for its failures",
            |stats| stats.breaker_opened,
        ),
    ];
    for (name, help, value) in counters {
        families.counters(name, help, |family| {
            for used in used {
                family.counter(&[("odfv_name", used.view())], value(&used.stats))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn pressure(used: &[Used<'_>], families: &mut Families<'_>) -> Result<(), FmtError> {
    let help = "Calls of a transformation under way";
    families.gauges("galley_transform_running", help, |family| {
        for used in used {
            let running = u64::from(used.stats.running);
            family.amount(&[("odfv_name", used.view())], running)?;
        }
        Ok(())
    })?;
    let help = "1 while a transformation is not called for its failures";
    families.gauges("galley_transform_breaker_open", help, |family| {
        for used in used {
            let open = used.stats.breaker != BreakerState::Closed;
            family.amount(&[("odfv_name", used.view())], open.into())?;
        }
        Ok(())
    })?;
    let help = "The component behind an on-demand feature view";
    families.gauges("galley_transform_component", help, |family| {
        for used in used {
            let digest = used.transform.digest().to_string();
            let version = &used.transform.signature().version;
            let labels = [
                ("odfv_name", used.view()),
                ("digest", &digest),
                ("version", version),
            ];
            family.amount(&labels, 1)?;
        }
        Ok(())
    })
}

//! Figures of the HTTP components.

use std::fmt::Error as FmtError;

use super::export::Families;
use crate::HttpComponentStatus;

/// Name, help and value of a figure of each component that serves.
type FigureOf = (&'static str, &'static str, fn(&HttpComponentStatus) -> u64);

const COUNTERS: [FigureOf; 2] = [
    (
        "galley_component_instances",
        "Instances made; other requests met one that was kept",
        |component| component.instances,
    ),
    (
        "galley_component_breaker_opened",
        "How often an HTTP component was left alone for its failures",
        |component| component.breaker_opened,
    ),
];

const GAUGES: [FigureOf; 3] = [
    (
        "galley_component_breaker_open",
        "1 while an HTTP component is not asked for its failures",
        |component| (component.breaker != "closed").into(),
    ),
    (
        "galley_component_kept",
        "Instances of an HTTP component that wait for a request",
        |component| u64::try_from(component.kept).unwrap_or(u64::MAX),
    ),
    (
        "galley_component_running",
        "Requests of an HTTP component under way",
        |component| component.running.into(),
    ),
];

/// Writes what became of the requests of each component.
pub(super) fn encode(
    components: &[HttpComponentStatus],
    families: &mut Families<'_>,
) -> Result<(), FmtError> {
    let help = "1 for each HTTP component, by whether it serves";
    families.gauges("galley_component_state", help, |family| {
        for component in components {
            let state = match component.refused {
                Some(_) => "refused",
                None => "ready",
            };
            let labels = [("component", component.name.as_str()), ("state", state)];
            family.amount(&labels, 1)?;
        }
        Ok(())
    })?;
    outcomes(components, families)?;
    for (name, help, value) in COUNTERS {
        families.counters(name, help, |family| {
            for component in serving(components) {
                family.counter(&[("component", &component.name)], value(component))?;
            }
            Ok(())
        })?;
    }
    for (name, help, value) in GAUGES {
        families.gauges(name, help, |family| {
            for component in serving(components) {
                family.amount(&[("component", &component.name)], value(component))?;
            }
            Ok(())
        })?;
    }
    let help = "Seconds that answered requests of an HTTP component took no longer than, by share";
    families.gauges("galley_component_duration_seconds", help, |family| {
        for component in serving(components) {
            for (share, time) in [("0.5", component.p50), ("0.99", component.p99)] {
                let labels = [("component", component.name.as_str()), ("quantile", share)];
                family.gauge(&labels, time.as_secs_f64())?;
            }
        }
        Ok(())
    })
}

fn outcomes(
    components: &[HttpComponentStatus],
    families: &mut Families<'_>,
) -> Result<(), FmtError> {
    let help = "Requests of an HTTP component by what became of them";
    families.counters("galley_component_requests", help, |family| {
        for component in components {
            for (outcome, count) in &component.outcomes {
                let labels = [("component", component.name.as_str()), ("outcome", outcome)];
                family.counter(&labels, *count)?;
            }
        }
        Ok(())
    })?;
    let help = "Requests of an HTTP component to other hosts by what became of them";
    families.counters("galley_component_outbound_requests", help, |family| {
        for component in components {
            for (outcome, count) in &component.outbound {
                let labels = [("component", component.name.as_str()), ("outcome", outcome)];
                family.counter(&labels, *count)?;
            }
        }
        Ok(())
    })
}

fn serving(components: &[HttpComponentStatus]) -> impl Iterator<Item = &HttpComponentStatus> {
    components
        .iter()
        .filter(|component| component.refused.is_none())
}

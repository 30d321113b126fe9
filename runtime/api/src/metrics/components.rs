//! Figures of the HTTP components.

use std::fmt::Error as FmtError;

use super::export::Families;
use crate::HttpComponentStatus;

/// Writes what became of the requests of each component.
pub(super) fn encode(
    components: &[HttpComponentStatus],
    families: &mut Families<'_>,
) -> Result<(), FmtError> {
    let help = "1 for each HTTP component, by whether it serves";
    families.gauges("galley_component_state", help, |family| {
        for component in components {
            let state = match component.refused {
                None => "ready",
                Some(_) => "refused",
            };
            let labels = [("component", component.name.as_str()), ("state", state)];
            family.amount(&labels, 1)?;
        }
        Ok(())
    })?;
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
    })?;
    let help = "Instances made; other requests met one that was kept";
    families.counters("galley_component_instances", help, |family| {
        for component in serving(components) {
            family.counter(&[("component", &component.name)], component.instances)?;
        }
        Ok(())
    })?;
    let help = "How often an HTTP component was left alone for its failures";
    families.counters("galley_component_breaker_opened", help, |family| {
        for component in serving(components) {
            family.counter(&[("component", &component.name)], component.breaker_opened)?;
        }
        Ok(())
    })?;
    let help = "1 while an HTTP component is not asked for its failures";
    families.gauges("galley_component_breaker_open", help, |family| {
        for component in serving(components) {
            let is_open = component.breaker != "closed";
            family.amount(&[("component", &component.name)], is_open.into())?;
        }
        Ok(())
    })?;
    let help = "Instances of an HTTP component that wait for a request";
    families.gauges("galley_component_kept", help, |family| {
        for component in serving(components) {
            let kept = u64::try_from(component.kept).unwrap_or(u64::MAX);
            family.amount(&[("component", &component.name)], kept)?;
        }
        Ok(())
    })?;
    let help = "Requests of an HTTP component under way";
    families.gauges("galley_component_running", help, |family| {
        for component in serving(components) {
            let running = u64::from(component.running);
            family.amount(&[("component", &component.name)], running)?;
        }
        Ok(())
    })?;
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

fn serving(components: &[HttpComponentStatus]) -> impl Iterator<Item = &HttpComponentStatus> {
    components
        .iter()
        .filter(|component| component.refused.is_none())
}

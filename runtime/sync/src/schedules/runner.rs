//! What starts the jobs of schedules.

use std::sync::Arc;

use galley_node::{Error, JobId, JobOrigin, JobState, MaterializeRequest, Node, Registry, Result};
use galley_types::EventTime;

use super::{Schedule, ScheduleKind, ScheduleTarget};

/// Starts jobs and knows how they fare.
pub(super) trait Runner {
    /// Starts the job of a turn.
    ///
    /// # Errors
    /// Those of [`Node::materialize`].
    fn start(&self, schedule: &Schedule, now: EventTime) -> Result<JobId>;

    /// Where a job stands, and its error; `None` when it is forgotten.
    fn job(&self, id: JobId) -> Option<(JobState, Option<String>)>;

    /// What is wrong with what a schedule names.
    fn problem(&self, schedule: &Schedule) -> Option<String>;
}

/// Starts jobs of a node.
#[derive(Debug)]
pub(super) struct NodeRunner(pub(super) Arc<Node>);

impl Runner for NodeRunner {
    fn start(&self, schedule: &Schedule, now: EventTime) -> Result<JobId> {
        let registry = self.0.registry().ok_or(Error::NotReady)?;
        let views = views(&registry, &schedule.target);
        if views.as_ref().is_some_and(Vec::is_empty) {
            let unknown = unknown(&registry, &schedule.target);
            let reason = unknown.unwrap_or_else(|| "none of its views can be".to_owned());
            return Err(Error::NothingToDo { reason });
        }
        let origin = JobOrigin {
            schedule: Some(schedule.name.clone()),
            ..JobOrigin::default()
        };
        let plain = MaterializeRequest {
            views,
            origin,
            end: Some(now),
            ..MaterializeRequest::default()
        };
        let request = match schedule.kind {
            ScheduleKind::Incremental => MaterializeRequest {
                incremental: true,
                ..plain
            },
            ScheduleKind::Full(None) => MaterializeRequest {
                disable_event_timestamp: true,
                ..plain
            },
            ScheduleKind::Full(Some(window)) => {
                let window = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
                MaterializeRequest {
                    start: Some(EventTime(now.0.saturating_sub(window))),
                    ..plain
                }
            }
        };
        self.0.materialize(&request)
    }

    fn job(&self, id: JobId) -> Option<(JobState, Option<String>)> {
        let job = self.0.job(id)?;
        Some((job.state, job.error))
    }

    fn problem(&self, schedule: &Schedule) -> Option<String> {
        unknown(&*self.0.registry()?, &schedule.target)
    }
}

/// What is named that the registry does not have.
fn unknown(registry: &Registry, target: &ScheduleTarget) -> Option<String> {
    match target {
        ScheduleTarget::All => None,
        ScheduleTarget::Views(names) => {
            let unknown: Vec<&String> = names.iter().filter(|it| !has(registry, it)).collect();
            let what = || format!("the registry has no feature view {unknown:?}");
            (!unknown.is_empty()).then(what)
        }
        ScheduleTarget::Service(name) => {
            let found = registry.find_service(name).is_some();
            (!found).then(|| format!("the registry has no feature service '{name}'"))
        }
    }
}

fn has(registry: &Registry, view: &str) -> bool {
    registry.find_view(view).is_some() || registry.find_on_demand_view(view).is_some()
}

/// The views that are meant, `None` for all. Names that are not there do not keep the others
/// waiting: the registry may have them later.
fn views(registry: &Registry, target: &ScheduleTarget) -> Option<Vec<String>> {
    match target {
        ScheduleTarget::All => None,
        ScheduleTarget::Views(names) => {
            let known = names.iter().filter(|name| has(registry, name));
            Some(known.cloned().collect())
        }
        ScheduleTarget::Service(name) => {
            let projections = registry.find_service(name).map(|it| &it.projections);
            let mut named: Vec<&str> = Vec::new();
            for projection in projections.into_iter().flatten() {
                match registry.find_on_demand_view(&projection.view) {
                    // What it computes from is what there is to materialise.
                    Some(view) => named.extend(view.sources.iter().map(|it| it.view.as_str())),
                    None => named.push(&projection.view),
                }
            }
            // Without names it gives those that can be materialised.
            let all = registry.plan_materialize(None).unwrap_or_default();
            let all = all.into_iter().filter_map(|index| registry.view(index));
            let meant = all.filter(|view| named.contains(&view.name.as_str()));
            Some(meant.map(|view| view.name.clone()).collect())
        }
    }
}

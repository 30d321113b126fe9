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
        let (views, unknown) = views(&registry, &schedule.target);
        if views.as_ref().is_some_and(Vec::is_empty) {
            let what = format!("schedule '{}'", schedule.name);
            let reason = unknown.unwrap_or_else(|| "no view of it can be materialised".to_owned());
            return Err(Error::NotServable { view: what, reason });
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
        views(&*self.0.registry()?, &schedule.target).1
    }
}

/// The views that are meant, `None` for all, and what is named that is not there. Names that are
/// not there do not keep the others waiting: the registry may have them later.
fn views(registry: &Registry, target: &ScheduleTarget) -> (Option<Vec<String>>, Option<String>) {
    match target {
        ScheduleTarget::All => (None, None),
        ScheduleTarget::Views(names) => {
            let known = |name: &&String| {
                registry.find_view(name).is_some() || registry.find_on_demand_view(name).is_some()
            };
            let (known, unknown): (Vec<&String>, Vec<&String>) = names.iter().partition(known);
            let known = known.into_iter().cloned().collect();
            let problem = (!unknown.is_empty())
                .then(|| format!("the registry has no feature view {unknown:?}"));
            (Some(known), problem)
        }
        ScheduleTarget::Service(name) => match registry.find_service(name) {
            None => {
                let problem = format!("the registry has no feature service '{name}'");
                (Some(Vec::new()), Some(problem))
            }
            Some(service) => {
                let mut named: Vec<&str> = Vec::new();
                for projection in &service.projections {
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
                (Some(meant.map(|view| view.name.clone()).collect()), None)
            }
        },
    }
}

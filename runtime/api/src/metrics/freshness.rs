//! Ages against their objectives, and schedules.

use std::fmt::Error as FmtError;

use galley_node::{Age, Freshness, NodeStatus, ScheduleOutcome, ScheduleStatus};

use super::export::Families;

type Done = Result<(), FmtError>;

/// One counter of a schedule's turns: its label and its value.
type Turns = (&'static str, fn(&ScheduleStatus) -> u64);

/// Writes how old what is served is, and how schedules fare.
pub(super) fn encode(status: &NodeStatus, families: &mut Families<'_>) -> Done {
    objectives(status, families)?;
    let freshness = &status.freshness;
    let help = "Seconds since the registry was last found to be its source's";
    age(
        "galley_snapshot_age_seconds",
        help,
        Some(&freshness.snapshot),
        families,
    )?;
    let help = "Seconds since the feed was last found to be its source's";
    age(
        "galley_feed_age_seconds",
        help,
        freshness.feed.as_ref(),
        families,
    )?;
    let help =
        "1 while something is not as fresh as its objective, or refused; /status has the reasons";
    families.gauges("galley_degraded", help, |family| {
        family.amount(&[], (!freshness.degraded.is_empty()).into())
    })?;
    schedules(&status.schedules, families)
}

fn objectives(status: &NodeStatus, families: &mut Families<'_>) -> Done {
    let project = status.project.as_deref().unwrap_or_default();
    let views = &status.freshness.views;
    let help = "Seconds that the newest event time of a view may be old";
    families.gauges("galley_view_freshness_objective_seconds", help, |family| {
        for view in views {
            if let Some(objective) = view.age.objective {
                let labels = [("feature_view", view.view.as_str()), ("project", project)];
                family.gauge(&labels, objective.as_secs_f64())?;
            }
        }
        Ok(())
    })?;
    let help = "1 for a view that meets its objective, 0 for one that does not or has no rows";
    families.gauges("galley_view_fresh", help, |family| {
        for view in views.iter().filter(|view| view.age.objective.is_some()) {
            let labels = [("feature_view", view.view.as_str()), ("project", project)];
            family.amount(&labels, (view.age.state == Freshness::Ok).into())?;
        }
        Ok(())
    })
}

fn age(name: &str, help: &str, age: Option<&Age>, families: &mut Families<'_>) -> Done {
    let Some(age) = age.and_then(|age| age.age) else {
        return Ok(());
    };
    families.gauges(name, help, |family| family.gauge(&[], age.as_secs_f64()))
}

fn schedules(schedules: &[ScheduleStatus], families: &mut Families<'_>) -> Done {
    const TURNS: [Turns; 4] = [
        ("started", |it| it.started),
        ("skipped", |it| it.skipped),
        ("refused", |it| it.refused),
        ("missed", |it| it.missed),
    ];
    if schedules.is_empty() {
        return Ok(());
    }
    let help = "When a schedule's next run begins, in seconds since the epoch";
    families.gauges(
        "galley_schedule_next_run_timestamp_seconds",
        help,
        |family| {
            for schedule in schedules {
                if let Some(next) = schedule.next_run {
                    let labels = [("schedule", schedule.name.as_str())];
                    family.count(&labels, next.seconds())?;
                }
            }
            Ok(())
        },
    )?;
    let help = "Turns of a schedule, by what came of them";
    families.counters("galley_schedule_turns", help, |family| {
        for schedule in schedules {
            for (outcome, count) in TURNS {
                let labels = [("schedule", schedule.name.as_str()), ("outcome", outcome)];
                family.counter(&labels, count(schedule))?;
            }
        }
        Ok(())
    })?;
    let help = "1 for how a schedule's last turn went";
    families.gauges("galley_schedule_last_outcome", help, |family| {
        for schedule in schedules.iter().filter(|it| it.last_outcome.is_some()) {
            for outcome in ScheduleOutcome::ALL {
                let labels = [
                    ("schedule", schedule.name.as_str()),
                    ("outcome", outcome.label()),
                ];
                let is_it = schedule.last_outcome == Some(outcome);
                family.amount(&labels, is_it.into())?;
            }
        }
        Ok(())
    })
}

//! How old what is served is, and whether that is within what was asked of it.
//!
//! Ages are the node's time of day less the time they are measured from, and never below zero: an
//! event time that lies ahead of the clock is fresh. A clock that is wrong makes them wrong by as
//! much.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use galley_registry::StoredView;
use galley_store::Snapshot;
use galley_types::EventTime;

use crate::generation::Generation;
use crate::{Node, Plan};

/// How old what is served may be. What has no objective never makes a node degraded.
#[derive(Clone, Debug, Default)]
pub struct FreshnessConfig {
    /// Age of the newest event time of every view that is not named in `views`.
    pub default: Option<Duration>,
    /// The same for single views; zero stands for no objective.
    pub views: BTreeMap<String, Duration>,
    /// Time since the registry was last found to be its source's.
    pub snapshot: Option<Duration>,
    /// Time since the feed was last found to be its source's.
    pub feed: Option<Duration>,
}

/// Whether something is as fresh as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is.
    Ok,
    /// It is older.
    Stale,
    /// There is no objective, or nothing whose age could be told.
    Unknown,
}

/// The age of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// What it is measured from: the newest event time, or the last time the source was seen.
    pub since: Option<EventTime>,
    /// How long ago that is.
    pub age: Option<Duration>,
    /// How long it may be.
    pub objective: Option<Duration>,
    /// What that comes to.
    pub state: Freshness,
}

/// The age of one view's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewFreshness {
    /// The view.
    pub view: String,
    /// The age of its newest event time.
    pub age: Age,
}

/// What a node was told of the feed that it follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedState {
    /// When it was last found to be its source's, by metadata that were valid then.
    pub confirmed: Option<EventTime>,
    /// The source keeps showing metadata that have expired.
    pub frozen: bool,
    /// Why it cannot be followed at the moment.
    pub problem: Option<String>,
}

/// How old what a node serves is.
#[derive(Clone, Debug)]
pub struct FreshnessStatus {
    /// The views that hold rows, in the registry's order.
    pub views: Vec<ViewFreshness>,
    /// The registry.
    pub snapshot: Age,
    /// The feed; `None` where none is followed.
    pub feed: Option<Age>,
    /// What is not as it should be, for people.
    pub degraded: Vec<String>,
}

/// What is remembered of sources.
#[derive(Debug)]
pub(crate) struct Sources {
    /// Microseconds; the least number stands for never.
    snapshot: AtomicI64,
    feed: std::sync::Mutex<Option<FeedState>>,
}

// === impl FreshnessConfig ===

impl FreshnessConfig {
    /// The objective of a view.
    #[must_use]
    pub fn objective(&self, view: &str) -> Option<Duration> {
        let own = self.views.get(view).copied();
        own.or(self.default)
            .filter(|objective| !objective.is_zero())
    }
}

// === impl Freshness ===

impl Freshness {
    /// Its name.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
        }
    }
}

// === impl Age ===

impl Age {
    fn of(since: Option<EventTime>, objective: Option<Duration>, now: EventTime) -> Self {
        let age = since.map(|since| {
            let micros = now.0.saturating_sub(since.0).max(0);
            Duration::from_micros(micros.unsigned_abs())
        });
        let state = match (age, objective) {
            (Some(age), Some(objective)) if age > objective => Freshness::Stale,
            (Some(_), Some(_)) => Freshness::Ok,
            _ => Freshness::Unknown,
        };
        Self {
            since,
            age,
            objective,
            state,
        }
    }

    /// What is wrong with it, if its objective is not met.
    fn complaint(&self, what: &str, nothing: &str) -> Option<String> {
        let objective = self.objective?.as_secs();
        match self.age {
            None => Some(format!("{what} {nothing}, objective {objective} s")),
            Some(age) if self.state == Freshness::Stale => Some(format!(
                "{what} is {} s old, objective {objective} s",
                age.as_secs()
            )),
            Some(_) => None,
        }
    }
}

// === impl Sources ===

impl Default for Sources {
    fn default() -> Self {
        Self {
            snapshot: AtomicI64::new(i64::MIN),
            feed: std::sync::Mutex::new(None),
        }
    }
}

impl Sources {
    fn snapshot(&self) -> Option<EventTime> {
        let time = self.snapshot.load(Ordering::Relaxed);
        (time != i64::MIN).then_some(EventTime(time))
    }
}

impl Node {
    /// Notes that the registry that is served was just found to be its source's. To be called at
    /// every look at the source that finds it so: an installed one alone may be a copy that was
    /// kept for a start without the source.
    pub fn confirm_snapshot(&self) {
        let now = self.now().0;
        self.sources.snapshot.store(now, Ordering::Relaxed);
    }

    /// Notes how the feed that is followed fares; `None` when none is.
    pub fn set_feed_state(&self, state: Option<FeedState>) {
        *self.feed_state() = state;
    }

    fn feed_state(&self) -> std::sync::MutexGuard<'_, Option<FeedState>> {
        let feed = self.sources.feed.lock();
        feed.unwrap_or_else(PoisonError::into_inner)
    }

    /// How old what is served is.
    #[must_use]
    pub fn freshness(&self) -> FreshnessStatus {
        let snapshot = self.store.load();
        let generation = self.generation.load();
        let now = self.now();
        let views = generation.as_ref().map(|generation| {
            let all = held(generation, |_| true);
            all.map(|held| self.age_of(held, &snapshot, now)).collect()
        });
        let config = &self.config.freshness;
        let mut status = FreshnessStatus {
            views: views.unwrap_or_default(),
            snapshot: Age::of(self.sources.snapshot(), config.snapshot, now),
            feed: None,
            degraded: Vec::new(),
        };
        for view in &status.views {
            let what = format!("feature view {}", view.view);
            status
                .degraded
                .extend(view.age.complaint(&what, "has no rows"));
        }
        for name in config.views.keys() {
            let known = status.views.iter().any(|view| view.view == *name);
            if !known && config.objective(name).is_some() {
                let what = format!("feature view {name} has an objective and is not served here");
                status.degraded.push(what);
            }
        }
        let complaint = status.snapshot.complaint("registry", "was never confirmed");
        status.degraded.extend(complaint);
        if let Some(feed) = self.feed_state().as_ref() {
            let age = Age::of(feed.confirmed, config.feed, now);
            let complaint = age.complaint("feed", "was never confirmed");
            status.degraded.extend(complaint);
            if feed.frozen {
                status
                    .degraded
                    .push("feed is frozen: its source shows expired metadata".to_owned());
            }
            let problem = feed.problem.as_ref();
            status
                .degraded
                .extend(problem.map(|problem| format!("feed: {problem}")));
            status.feed = Some(age);
        }
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = refused.as_ref() {
            status.degraded.push(format!("registry refused: {reason}"));
        }
        status
    }

    /// The ages of the views that a plan reads, each once.
    #[must_use]
    pub fn freshness_of(&self, plan: &Plan) -> Vec<ViewFreshness> {
        let snapshot = self.store.load();
        let generation = self.generation.load();
        let now = self.now();
        let Some(generation) = generation.as_ref() else {
            return Vec::new();
        };
        let read = |table| plan.parts.iter().any(|part| part.table.id == Some(table));
        held(generation, read)
            .map(|held| self.age_of(held, &snapshot, now))
            .collect()
    }

    fn age_of(
        &self,
        (view, table): (&StoredView, galley_store::TableId),
        snapshot: &Snapshot,
        now: EventTime,
    ) -> ViewFreshness {
        let objective = self.config.freshness.objective(&view.name);
        ViewFreshness {
            view: view.name.clone(),
            age: Age::of(snapshot.newest_event_time(table), objective, now),
        }
    }
}

/// The views that have tables, those of them that `wanted` picks.
fn held(
    generation: &Generation,
    wanted: impl Fn(galley_store::TableId) -> bool,
) -> impl Iterator<Item = (&StoredView, galley_store::TableId)> {
    let views = (0_u32..).zip(generation.registry.views());
    views.filter_map(move |(index, view)| {
        let table = generation.table(galley_registry::ViewIndex(index))?.id?;
        wanted(table).then_some((view, table))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_judged_by_their_objective_and_never_negative() {
        let (now, minute) = (EventTime::from_seconds(1_000), Duration::from_secs(60));
        let check = |since: Option<i64>, objective, age: Option<u64>, state| {
            let judged = Age::of(since.map(EventTime::from_seconds), objective, now);
            let expected = (age.map(Duration::from_secs), state);
            assert_eq!((judged.age, judged.state), expected);
        };
        check(Some(940), Some(minute), Some(60), Freshness::Ok);
        check(Some(939), Some(minute), Some(61), Freshness::Stale);
        check(Some(2_000), Some(minute), Some(0), Freshness::Ok);
        check(Some(0), None, Some(1_000), Freshness::Unknown);
        check(None, Some(minute), None, Freshness::Unknown);
    }

    #[test]
    fn only_what_misses_its_objective_is_complained_of() {
        let minute = Some(Duration::from_secs(60));
        let now = EventTime::from_seconds(1_000);
        let told = |since: Option<i64>, objective| {
            let age = Age::of(since.map(EventTime::from_seconds), objective, now);
            age.complaint("x", "has no rows")
        };
        assert_eq!(
            told(Some(900), minute).unwrap(),
            "x is 100 s old, objective 60 s"
        );
        assert_eq!(told(None, minute).unwrap(), "x has no rows, objective 60 s");
        assert_eq!(told(Some(990), minute), None);
        assert_eq!(told(Some(0), None), None);
        assert_eq!(told(None, None), None);
    }

    #[test]
    fn a_view_may_have_an_objective_of_its_own_or_none() {
        let config = FreshnessConfig {
            default: Some(Duration::from_secs(9)),
            views: BTreeMap::from([
                ("own".to_owned(), Duration::from_secs(5)),
                ("none".to_owned(), Duration::ZERO),
            ]),
            ..FreshnessConfig::default()
        };
        let seconds = |view| config.objective(view).map(|it| it.as_secs());
        assert_eq!(seconds("own"), Some(5));
        assert_eq!(seconds("none"), None);
        assert_eq!(seconds("other"), Some(9));
    }
}

//! Schedules under a clock that does what it likes.

use std::cell::RefCell;
use std::collections::BTreeMap;

use galley_node::JobId;

use super::*;

/// Jobs that run until they are told otherwise.
#[derive(Default)]
struct Fake {
    started: RefCell<Vec<(String, EventTime)>>,
    jobs: RefCell<BTreeMap<u64, JobState>>,
    places: Option<usize>,
}

impl Fake {
    fn end_all(&self, state: JobState) {
        for job in self.jobs.borrow_mut().values_mut() {
            if *job == JobState::Running {
                *job = state;
            }
        }
    }

    fn running(&self) -> usize {
        let jobs = self.jobs.borrow();
        jobs.values().filter(|it| **it == JobState::Running).count()
    }
}

impl Runner for Fake {
    fn start(&self, schedule: &Schedule, now: EventTime) -> galley_node::Result<JobId> {
        if self.places.is_some_and(|places| self.running() >= places) {
            return Err(NodeError::Busy {
                what: "jobs",
                limit: 1,
                setting: "x",
            });
        }
        if self.running() > 0 && self.places.is_none() {
            return Err(NodeError::AlreadyRunning {
                views: vec!["v".to_owned()],
                job: JobId(1),
            });
        }
        self.started.borrow_mut().push((schedule.name.clone(), now));
        let id = self.jobs.borrow().len() as u64 + 1;
        self.jobs.borrow_mut().insert(id, JobState::Running);
        Ok(JobId(id))
    }

    fn job(&self, id: JobId) -> Option<(JobState, Option<String>)> {
        Some((*self.jobs.borrow().get(&id.0)?, None))
    }

    fn problem(&self, _schedule: &Schedule) -> Option<String> {
        None
    }
}

fn schedule(name: &str, cron: &str) -> Schedule {
    Schedule {
        name: name.to_owned(),
        cron: cron.to_owned(),
        timezone: "UTC".to_owned(),
        target: ScheduleTarget::All,
        kind: ScheduleKind::Incremental,
        jitter: Duration::ZERO,
    }
}

fn time(text: &str) -> EventTime {
    EventTime::parse(text).unwrap()
}

fn keeper(now: &str) -> Keeper<Fake> {
    let schedules = vec![schedule("s", "*/5 * * * *")];
    Keeper::new(Fake::default(), schedules, 1, (time(now), &[])).unwrap()
}

/// When runs began.
fn begun(keeper: &Keeper<Fake>) -> Vec<String> {
    let started = keeper.runner.started.borrow();
    started.iter().map(|(_, time)| time.to_string()).collect()
}

#[test]
fn every_turn_is_taken_once() {
    let mut keeper = keeper("2026-01-01T00:00:00Z");
    let mut now = time("2026-01-01T00:00:00Z");
    while now < time("2026-01-01T00:16:00Z") {
        let wait = keeper.look(now);
        assert!(wait <= LOOK_MAX);
        keeper.runner.end_all(JobState::Succeeded);
        now.0 += i64::try_from(wait.as_micros()).unwrap();
    }
    let expected = ["05", "10", "15"].map(|minute| format!("2026-01-01T00:{minute}:00Z"));
    assert_eq!(begun(&keeper), expected);
    let status = &keeper.entries[0].status;
    assert_eq!((status.started, status.missed, status.skipped), (3, 0, 0));
    assert_eq!(status.last_outcome, Some(ScheduleOutcome::Succeeded));
    assert_eq!(status.next_run, Some(time("2026-01-01T00:20:00Z")));
}

#[test]
fn turns_gone_by_are_made_up_for_by_one_run() {
    let mut keeper = keeper("2026-01-01T00:00:00Z");
    for look in ["00:04:59", "01:02:00", "01:02:01", "01:04:59", "01:05:00"] {
        keeper.look(time(&format!("2026-01-01T{look}Z")));
        keeper.runner.end_all(JobState::Failed);
    }
    assert_eq!(
        begun(&keeper),
        ["2026-01-01T01:02:00Z", "2026-01-01T01:05:00Z"]
    );
    assert_eq!(keeper.entries[0].status.missed, 11);
}

#[test]
fn a_clock_set_right_or_wrong_never_stops_a_schedule() {
    // A machine whose clock starts at the epoch, is set right, then wrong by years, then right.
    let mut keeper = keeper("1970-01-01T00:00:00Z");
    for look in [
        "1970-01-01T00:00:10Z",
        "2026-01-01T00:01:00Z",
        "2026-01-01T00:04:00Z",
        "2036-01-01T00:00:30Z",
        "2026-01-01T00:04:02Z",
        "2026-01-01T00:05:00Z",
        // By so little that the turn has been taken.
        "2026-01-01T00:04:59.9Z",
        "2026-01-01T00:05:00.1Z",
        "2026-01-01T00:10:00Z",
    ] {
        keeper.look(time(look));
        keeper.runner.end_all(JobState::Succeeded);
    }
    assert_eq!(
        begun(&keeper),
        [
            "2026-01-01T00:01:00Z",
            "2036-01-01T00:00:30Z",
            "2026-01-01T00:05:00Z",
            "2026-01-01T00:10:00Z"
        ]
    );
}

#[test]
fn a_run_that_would_overlap_is_skipped_and_counted() {
    let mut keeper = keeper("2026-01-01T00:00:00Z");
    for minute in [5, 10, 15] {
        keeper.look(time(&format!("2026-01-01T00:{minute:02}:00Z")));
    }
    let status = &keeper.entries[0].status;
    assert_eq!((status.started, status.skipped), (1, 2));
    assert_eq!(status.last_outcome, Some(ScheduleOutcome::Skipped));
    assert!(status.last_error.as_ref().unwrap().contains("job 1"));
    keeper.runner.end_all(JobState::Succeeded);
    keeper.look(time("2026-01-01T00:20:00Z"));
    assert_eq!(keeper.entries[0].status.started, 2);
}

#[test]
fn runs_that_find_no_place_wait_for_one_until_their_next_turn() {
    let schedules = vec![schedule("a", "*/5 * * * *"), schedule("b", "*/5 * * * *")];
    let fake = Fake {
        places: Some(1),
        ..Fake::default()
    };
    let start = time("2026-01-01T00:00:00Z");
    let mut keeper = Keeper::new(fake, schedules, 1, (start, &[])).unwrap();
    keeper.look(time("2026-01-01T00:05:00Z"));
    keeper.look(time("2026-01-01T00:05:01Z"));
    assert_eq!(keeper.runner.started.borrow().len(), 1);
    keeper.runner.end_all(JobState::Succeeded);
    keeper.look(time("2026-01-01T00:05:02Z"));
    let names: Vec<String> = keeper
        .runner
        .started
        .borrow()
        .iter()
        .map(|it| it.0.clone())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(keeper.entries[1].status.skipped, 0);
    let next = Some(time("2026-01-01T00:10:00Z"));
    assert_eq!(keeper.entries[1].status.next_run, next);
}

#[test]
fn a_turn_missed_while_the_node_was_down_is_made_up_for() {
    let past = |started: &str| JobStatus {
        id: JobId(7),
        kind: "materialize".into(),
        schedule: Some("s".to_owned()),
        state: JobState::Interrupted,
        views: Vec::new(),
        current_view: None,
        rows_read: 0,
        rows_written: 0,
        rows_total: None,
        error: None,
        error_kind: None,
        started: time(started),
        finished: None,
    };
    let check = |started: &str, runs: usize| {
        let now = time("2026-01-01T00:03:00Z");
        let schedules = vec![schedule("s", "*/5 * * * *")];
        let jobs = [past(started)];
        let mut keeper = Keeper::new(Fake::default(), schedules, 1, (now, &jobs)).unwrap();
        assert_eq!(keeper.entries[0].status.last_job, Some(JobId(7)));
        keeper.look(now);
        assert_eq!(begun(&keeper).len(), runs, "{started}");
    };
    check("2025-12-31T22:00:00Z", 1);
    check("2026-01-01T00:00:01Z", 0);
    check("2036-01-01T00:00:00Z", 0);
}

#[test]
fn wrong_schedules_are_named() {
    let refused = |schedules: Vec<Schedule>| {
        let error = Scheduler::check(&schedules, EventTime(0)).unwrap_err();
        error.to_string()
    };
    let error = refused(vec![schedule("ok", "* * * * *"), schedule("bad", "* * *")]);
    assert!(
        error.contains("'bad'") && error.contains("cron '* * *'"),
        "{error}"
    );
    let error = refused(vec![schedule("a", "* * * * *"), schedule("a", "* * * * *")]);
    assert!(error.contains("another one"), "{error}");
    assert!(refused(vec![schedule("a b", "* * * * *")]).contains("visible ASCII"));
    let many = (0..=SCHEDULES_MAX).map(|it| schedule(&it.to_string(), "@daily"));
    assert!(refused(many.collect()).contains("one more than"));
}

/// The next of a row of numbers that looks random.
fn random(state: &mut u64, below: i64) -> i64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    i64::try_from(*state >> 33).unwrap() % below
}

#[test]
fn whatever_the_clock_does_the_next_run_is_near_and_no_turn_is_taken_twice() {
    const SECOND: i64 = 1_000_000;
    const PERIOD: i64 = 300 * SECOND;
    const JITTER: i64 = 30 * SECOND;
    for seed in 0..60 {
        let mut state = seed;
        let mut now = time("2026-01-01T00:00:00Z");
        let mut jittery = schedule("s", "*/5 * * * *");
        jittery.jitter = Duration::from_secs(30);
        let mut keeper = Keeper::new(Fake::default(), vec![jittery], seed, (now, &[])).unwrap();
        let mut newest = now;
        for _ in 0..200 {
            let step = match random(&mut state, 20) {
                // Asleep, set forward, set back by much, set back by little; else it runs.
                0 => random(&mut state, 3 * PERIOD),
                1 => random(&mut state, 200) * PERIOD,
                2 => -random(&mut state, 1_000_000) * PERIOD,
                3 => -random(&mut state, 60 * SECOND),
                _ => random(&mut state, 60 * SECOND),
            };
            now.0 += step;
            let set_back = newest.0 - now.0 > SET_BACK_MIN;
            newest = if set_back { now } else { newest.max(now) };
            let before = keeper.runner.started.borrow().len();
            let tick = keeper.entries[0].turn.unwrap().tick;
            let skipped = keeper.entries[0].status.skipped;
            let wait = keeper.look(now);
            assert!((LOOK_MIN..=LOOK_MAX).contains(&wait), "seed {seed}");
            let after = keeper.runner.started.borrow().len();
            assert!(after <= before + 1, "seed {seed}");
            let turn = keeper.entries[0].turn.unwrap();
            if after > before || keeper.entries[0].status.skipped > skipped {
                assert!(set_back || turn.tick > tick, "seed {seed}: {tick} again");
            }
            let ahead = turn.due.0 - now.0;
            let longest = PERIOD + JITTER + SET_BACK_MIN;
            assert!(ahead > 0 && ahead <= longest, "seed {seed}: {ahead}");
            if random(&mut state, 3) > 0 {
                keeper.runner.end_all(JobState::Succeeded);
            }
        }
        let status = &keeper.entries[0].status;
        assert!(status.started > 0, "seed {seed}");
    }
}

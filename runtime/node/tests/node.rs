//! A node on a real store and a registry that Feast wrote.

#![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use galley_node::store::{Store, StoreConfig, TicketState};
use galley_node::{
    DecodeOptions, Error, Frame, GetRequest, Input, JobProgress, JobState, MaterializeError,
    MaterializeRequest, MaterializeTask, Materializer, Node, NodeConfig, PushRequest, PushTo,
    Readiness, Registry, Selection, WriteMode, WriteRequest,
};
use galley_types::{Cell, Classify as _, Clock, ErrorKind, EventTime, FieldStatus, Value};

const RIDES: &[u8] = include_bytes!("../../registry/tests/data/rides.registry.pb");

/// A clock that stands where the test puts it.
#[derive(Debug)]
struct Fixed(AtomicI64);

impl Clock for Fixed {
    fn now(&self) -> EventTime {
        EventTime(self.0.load(Ordering::Relaxed))
    }
}

struct Bench {
    node: Arc<Node>,
    clock: Arc<Fixed>,
    _folder: tempfile::TempDir,
}

fn rides() -> Registry {
    let options = DecodeOptions {
        project: Some("rides"),
        versioning: false,
    };
    Registry::decode(RIDES, &options).unwrap()
}

fn bench(config: NodeConfig) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store_config = StoreConfig {
        free_space_min_bytes: 0,
        ..StoreConfig::default()
    };
    let store = Store::open(&path, store_config, &mut |_| {}).unwrap();
    let now = EventTime::parse("2026-03-10T00:00:00Z").unwrap();
    let clock = Arc::new(Fixed(AtomicI64::new(now.0)));
    let node = Node::open(store, config, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    node.install(rides()).unwrap();
    Bench {
        node,
        clock,
        _folder: folder,
    }
}

fn column<'a>(name: &'a str, values: Vec<Input<'a>>) -> (Cow<'a, str>, Vec<Input<'a>>) {
    (Cow::Borrowed(name), values)
}

fn text(text: &str) -> Input<'_> {
    Input::Text(Cow::Borrowed(text))
}

fn stats<'a>(driver: i64, time: &'a str, rate: Input<'a>) -> Frame<'a> {
    vec![
        column("driver_id", vec![Input::Int(driver)]),
        column("event_timestamp", vec![text(time)]),
        column("created", vec![text(time)]),
        column("conv_rate", vec![rate]),
        column("acc_rate", vec![Input::Float(0.25)]),
        column("avg_daily_trips", vec![Input::Int(10)]),
    ]
}

fn push(node: &Node, columns: Frame<'_>, mode: WriteMode) -> Result<Option<u64>, Error> {
    let request = PushRequest {
        source: Cow::Borrowed("driver_stats_push_source"),
        columns,
        mode,
        to: PushTo::Online,
        transform_on_write: true,
    };
    Ok(node.push(&request)?.wait_blocking()?.ticket)
}

fn get(
    node: &Node,
    features: &[&str],
    entities: &[(Cow<'_, str>, Vec<Input<'_>>)],
) -> Result<Vec<(String, FieldStatus, Value)>, Error> {
    let features: Vec<Cow<'_, str>> = features.iter().map(|it| Cow::Borrowed(*it)).collect();
    let selection = Selection::Features(&features);
    let request = GetRequest {
        selection,
        full_feature_names: false,
        entities,
    };
    node.get(&request, |answer| {
        let outputs = answer.plan().outputs().iter().enumerate();
        outputs
            .flat_map(|(index, output)| {
                (0..answer.row_count()).map(move |row| (index, output.name.clone(), row))
            })
            .map(|(index, name, row)| {
                let (status, cell): (_, Cell<'_>) = answer.cell(index, row).unwrap();
                (name, status, cell.to_value())
            })
            .collect()
    })
}

fn one(node: &Node, feature: &str, driver: i64) -> (FieldStatus, Value) {
    let entities = [column("driver_id", vec![Input::Int(driver)])];
    let (_, status, value) = get(node, &[feature], &entities).unwrap().remove(0);
    (status, value)
}

#[test]
fn a_push_is_seen_in_every_view_it_feeds_and_not_after_its_time_to_live() {
    let bench = bench(NodeConfig::default());
    let fresh = "driver_hourly_stats_fresh:conv_rate";
    assert_eq!(
        one(&bench.node, fresh, 7),
        (FieldStatus::NotFound, Value::Null)
    );
    push(
        &bench.node,
        stats(7, "2026-03-09T12:00:00Z", Input::Float(0.5)),
        WriteMode::Sync,
    )
    .unwrap();
    assert_eq!(
        one(&bench.node, fresh, 7),
        (FieldStatus::Present, Value::Float(0.5))
    );
    let stream = one(&bench.node, "driver_stream:conv_rate", 7);
    assert_eq!(stream, (FieldStatus::Present, Value::Float(0.5)));
    let day = 86_400_000_000;
    bench.clock.0.fetch_add(day, Ordering::Relaxed);
    assert_eq!(
        one(&bench.node, fresh, 7),
        (FieldStatus::OutsideMaxAge, Value::Null)
    );
    let forever = one(&bench.node, "driver_trips_fresh:avg_daily_trips", 7);
    assert_eq!(forever, (FieldStatus::Present, Value::Int64(10)));
}

#[test]
fn quirks_ignore_the_time_to_live_and_call_nulls_present() {
    let config = NodeConfig {
        python_quirks: true,
        ..NodeConfig::default()
    };
    let bench = bench(config);
    push(
        &bench.node,
        stats(7, "2020-01-01T00:00:00Z", Input::Null),
        WriteMode::Sync,
    )
    .unwrap();
    let seen = one(&bench.node, "driver_hourly_stats_fresh:conv_rate", 7);
    assert_eq!(seen, (FieldStatus::Present, Value::Null));
}

#[test]
fn older_events_give_way_and_nulls_are_said() {
    let bench = bench(NodeConfig::default());
    push(
        &bench.node,
        stats(7, "2026-03-09T12:00:00Z", Input::Null),
        WriteMode::Sync,
    )
    .unwrap();
    push(
        &bench.node,
        stats(7, "2026-03-09T11:00:00Z", Input::Float(1.0)),
        WriteMode::Sync,
    )
    .unwrap();
    let seen = one(&bench.node, "driver_hourly_stats_fresh:conv_rate", 7);
    assert_eq!(seen, (FieldStatus::NullValue, Value::Null));
}

#[test]
fn a_bad_row_refuses_the_whole_push_and_says_where() {
    let bench = bench(NodeConfig::default());
    let refused = push(
        &bench.node,
        stats(7, "2026-03-09T12:00:00Z", text("abc")),
        WriteMode::Sync,
    )
    .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let message = refused.to_string();
    for part in ["row 0", "conv_rate", "FLOAT", "\"abc\""] {
        assert!(message.contains(part), "{message}");
    }
    let mut short = stats(7, "2026-03-09T12:00:00Z", Input::Float(0.5));
    short.retain(|(name, _)| name != "avg_daily_trips");
    let refused = push(&bench.node, short, WriteMode::Sync)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("avg_daily_trips"), "{refused}");
    let seen = one(&bench.node, "driver_trips_fresh:avg_daily_trips", 7);
    assert_eq!(seen.0, FieldStatus::NotFound, "nothing was written");
}

#[test]
fn an_asynchronous_push_is_applied_and_its_ticket_says_so() {
    let bench = bench(NodeConfig::default());
    let frame = stats(7, "2026-03-09T12:00:00Z", Input::Float(0.5));
    let ticket = push(&bench.node, frame, WriteMode::Async).unwrap().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match bench.node.ticket(ticket).unwrap() {
            Some(TicketState::Applied { written, .. }) => {
                assert_eq!(written, 3, "one row in each of three views");
                break;
            }
            _ if Instant::now() > deadline => panic!("the ticket is still pending"),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    let seen = one(&bench.node, "driver_hourly_stats_fresh:conv_rate", 7);
    assert_eq!(seen, (FieldStatus::Present, Value::Float(0.5)));
    assert_eq!(bench.node.ticket(ticket + 1000).unwrap(), None);
}

#[test]
fn missing_keys_ragged_columns_and_bounds_are_named() {
    let bench = bench(NodeConfig {
        entity_rows_max: 2,
        ..NodeConfig::default()
    });
    let pair = &["trip_pair_stats:n_trips"];
    let half = [column("driver_id", vec![Input::Int(1)])];
    let error = get(&bench.node, pair, &half).unwrap_err();
    assert!(error.to_string().contains("customer_id"), "{error}");
    let ragged = [
        column("driver_id", vec![Input::Int(1)]),
        column("customer_id", vec![]),
    ];
    assert!(matches!(
        get(&bench.node, pair, &ragged),
        Err(Error::Ragged { .. })
    ));
    let many = [column("zone_id", vec![Input::Int(1); 3])];
    let error = get(&bench.node, &["zone_events:n_events"], &many).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(
        error.to_string().contains("limits.entity_rows_max"),
        "{error}"
    );
    assert!(matches!(
        get(&bench.node, pair, &[]),
        Err(Error::NoRows { .. })
    ));
}

#[test]
fn entity_less_rows_are_written_and_found() {
    let bench = bench(NodeConfig::default());
    let request = WriteRequest {
        view: Cow::Borrowed("city_totals"),
        columns: vec![
            column("event_timestamp", vec![text("2026-03-09T00:00:00Z")]),
            column("active_drivers", vec![Input::Int(7)]),
            column("surge", vec![Input::Float(3.5)]),
        ],
        mode: WriteMode::Sync,
        transform_on_write: true,
    };
    bench.node.write(&request).unwrap().wait_blocking().unwrap();
    for key in ["__dummy_id", "driver_id"] {
        let entities = [column(key, vec![text("1")])];
        let seen = get(&bench.node, &["city_totals:surge"], &entities).unwrap();
        assert_eq!(
            seen,
            [("surge".to_owned(), FieldStatus::Present, Value::Double(3.5))]
        );
    }
}

#[test]
fn offline_pushes_say_what_is_missing() {
    let bench = bench(NodeConfig::default());
    let request = PushRequest {
        source: Cow::Borrowed("driver_stats_push_source"),
        columns: stats(7, "2026-03-09T12:00:00Z", Input::Float(0.5)),
        mode: WriteMode::Sync,
        to: PushTo::OnlineAndOffline,
        transform_on_write: true,
    };
    let error = bench.node.push(&request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("outbox.to"), "{error}");
}

/// Holds the job until it is cancelled.
#[derive(Debug)]
struct Patient;

impl Materializer for Patient {
    fn run(&self, _task: &MaterializeTask, job: &JobProgress) -> Result<(), MaterializeError> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !job.cancelled() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(MaterializeError {
            kind: ErrorKind::Closed,
            message: "cancelled".to_owned(),
        })
    }
}

#[test]
fn two_jobs_never_share_a_view_unless_forced() {
    let bench = bench(NodeConfig::default());
    bench.node.set_materializer(Arc::new(Patient));
    let mut request = MaterializeRequest {
        disable_event_timestamp: true,
        views: Some(vec!["zone_events".to_owned()]),
        ..MaterializeRequest::default()
    };
    let first = bench.node.materialize(&request).unwrap();
    let clash = bench.node.materialize(&request).unwrap_err();
    assert_eq!(clash.kind(), ErrorKind::Conflict);
    request.force = true;
    let second = bench.node.materialize(&request).unwrap();
    for job in [first, second] {
        assert!(bench.node.cancel_job(job));
        let deadline = Instant::now() + Duration::from_secs(10);
        while bench.node.job(job).unwrap().state == JobState::Running && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(bench.node.job(job).unwrap().state, JobState::Cancelled);
    }
}

#[test]
fn windows_are_checked_and_read_time_views_refused() {
    let bench = bench(NodeConfig::default());
    bench.node.set_materializer(Arc::new(Patient));
    let request = |start: &str, end: &str, view: &str| MaterializeRequest {
        start: Some(EventTime::parse(start).unwrap()),
        end: Some(EventTime::parse(end).unwrap()),
        views: Some(vec![view.to_owned()]),
        ..MaterializeRequest::default()
    };
    let reversed = bench
        .node
        .materialize(&request("2026-06-02", "2026-06-01", "zone_events"));
    assert!(reversed.unwrap_err().to_string().contains("must be before"));
    let unknown = bench
        .node
        .materialize(&request("2026-06-01", "2026-06-02", "nope"));
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
    let read_time = bench.node.materialize(&request(
        "2026-06-01",
        "2026-06-02",
        "transformed_conv_rate_py",
    ));
    assert!(
        read_time
            .unwrap_err()
            .to_string()
            .contains("transformed_conv_rate_py")
    );
}

#[test]
fn acknowledged_rows_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let open = || {
        let store_config = StoreConfig {
            free_space_min_bytes: 0,
            ..StoreConfig::default()
        };
        let store = Store::open(&path, store_config, &mut |_| {}).unwrap();
        let config = NodeConfig {
            python_quirks: true,
            ..NodeConfig::default()
        };
        let node = Node::open(store, config, Arc::new(galley_types::SystemClock)).unwrap();
        assert!(matches!(node.readiness(), Readiness::NotReady(_)));
        node.install(rides()).unwrap();
        assert_eq!(node.readiness(), Readiness::Ready);
        node
    };
    let node = open();
    push(
        &node,
        stats(7, "2026-03-09T12:00:00Z", Input::Float(0.5)),
        WriteMode::Sync,
    )
    .unwrap();
    node.shutdown();
    assert!(matches!(
        push(
            &node,
            stats(8, "2026-03-09T12:00:00Z", Input::Float(0.5)),
            WriteMode::Sync
        ),
        Err(Error::Closed)
    ));
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut node = Some(node);
    while node
        .as_ref()
        .is_some_and(|node| Arc::strong_count(node) > 1)
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(node.take());
    let mut reopened = None;
    while reopened.is_none() && Instant::now() < deadline {
        // The index thread may hold the old store for a moment more.
        reopened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(open)).ok();
    }
    let seen = one(&reopened.unwrap(), "driver_hourly_stats_fresh:conv_rate", 7);
    assert_eq!(seen, (FieldStatus::Present, Value::Float(0.5)));
}

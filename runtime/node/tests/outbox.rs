//! Pushes on their way to the offline store, as the node takes them in.

#![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use galley_node::store::{Flight, OutboxChange, OutboxItem, OutboxKind, Park, Store, StoreConfig};
use galley_node::{
    DecodeOptions, Error, Frame, GetRequest, Input, Node, NodeConfig, OutboxConfig, Parcel,
    PushRequest, PushTo, Registry, Selection, WriteMode,
};
use galley_registry::proto;
use galley_types::{Cell, Classify as _, Clock, ErrorKind, EventTime, Value};

const RIDES: &[u8] = include_bytes!("../../registry/tests/data/rides.registry.pb");

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
    folder: tempfile::TempDir,
}

fn open(folder: &std::path::Path, clock: &Arc<Fixed>, outbox: Option<OutboxConfig>) -> Arc<Node> {
    let store_config = StoreConfig {
        free_space_min_bytes: 0,
        ..StoreConfig::default()
    };
    let store = Store::open(&folder.join("store.redb"), store_config, &mut |_| {}).unwrap();
    let config = NodeConfig {
        outbox,
        ..NodeConfig::default()
    };
    let node = Node::open(store, config, Arc::clone(clock) as Arc<dyn Clock>).unwrap();
    let options = DecodeOptions {
        project: Some("rides"),
        versioning: false,
    };
    node.install(Registry::decode(RIDES, &options).unwrap())
        .unwrap();
    node
}

fn bench(outbox: OutboxConfig) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let now = EventTime::parse("2026-03-10T00:00:00Z").unwrap();
    let clock = Arc::new(Fixed(AtomicI64::new(now.0)));
    let node = open(folder.path(), &clock, Some(outbox));
    Bench {
        node,
        clock,
        folder,
    }
}

fn stats(drivers: &[i64], rate: f64) -> Frame<'static> {
    let column = |name: &'static str, value: &dyn Fn(i64) -> Input<'static>| {
        let values = drivers.iter().map(|driver| value(*driver)).collect();
        (Cow::Borrowed(name), values)
    };
    let time = |_| Input::Text(Cow::Borrowed("2026-03-09T12:00:00Z"));
    vec![
        column("driver_id", &Input::Int),
        column("event_timestamp", &time),
        column("created", &time),
        column("conv_rate", &|_| Input::Float(rate)),
        column("acc_rate", &|_| Input::Null),
        column("avg_daily_trips", &|driver| Input::Int(driver * 2)),
    ]
}

fn push(node: &Node, columns: Frame<'_>, to: PushTo, mode: WriteMode) -> Result<(), Error> {
    let request = PushRequest {
        source: Cow::Borrowed("driver_stats_push_source"),
        columns,
        mode,
        to,
        transform_on_write: true,
    };
    node.push(&request)?.wait_blocking().map(drop)
}

fn waiting(node: &Node) -> Vec<OutboxItem> {
    node.outbox_peek((usize::MAX, u64::MAX), u64::MAX).unwrap()
}

fn rows_online(node: &Node) -> u64 {
    let views = node.status().views;
    let fresh = views
        .iter()
        .find(|view| view.name == "driver_hourly_stats_fresh");
    fresh.unwrap().rows
}

#[test]
fn rows_go_home_once_for_each_batch_source_with_the_columns_of_that_source() {
    let bench = bench(OutboxConfig::default());
    let node = &bench.node;
    push(node, stats(&[7, 8], 0.5), PushTo::Offline, WriteMode::Sync).unwrap();
    assert_eq!(rows_online(node), 0, "offline only");
    push(
        node,
        stats(&[9], 0.25),
        PushTo::OnlineAndOffline,
        WriteMode::Sync,
    )
    .unwrap();
    assert_eq!(rows_online(node), 1);
    push(
        node,
        stats(&[10], 0.25),
        PushTo::OnlineAndOffline,
        WriteMode::Async,
    )
    .unwrap();
    push(node, stats(&[11], 0.25), PushTo::Online, WriteMode::Sync).unwrap();
    push(node, stats(&[], 0.25), PushTo::Offline, WriteMode::Sync).unwrap();
    let items = waiting(node);
    // Three views share the source: their rows go there once.
    assert_eq!(items.len(), 3);
    let mut seen = Vec::new();
    for item in &items {
        let entry = item.entry.as_ref().unwrap();
        assert_eq!(entry.kind, OutboxKind::Rows);
        assert_eq!(entry.target, "driver_hourly_stats_fresh");
        assert_eq!(entry.accepted, node.now());
        let parcel = Parcel::open(&entry.payload).unwrap();
        let names: Vec<&str> = parcel.columns().iter().map(|it| it.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "driver_id",
                "conv_rate",
                "acc_rate",
                "avg_daily_trips",
                "event_timestamp",
                "created"
            ]
        );
        for row in parcel.rows() {
            let row = row.unwrap();
            let cells: Vec<Cell<'_>> = parcel
                .columns()
                .iter()
                .map(|column| row.cell(column).unwrap())
                .collect();
            let time = EventTime::parse("2026-03-09T12:00:00Z").unwrap().0;
            assert_eq!(cells[2], Cell::Null);
            assert_eq!(cells[4], Cell::UnixTimestamp(time));
            assert_eq!(cells[5], Cell::UnixTimestamp(time));
            let (Cell::Int64(driver), Cell::Int64(trips)) = (&cells[0], &cells[3]) else {
                panic!("{cells:?}");
            };
            assert_eq!(driver * 2, *trips);
            let Cell::Float(rate) = cells[1] else {
                panic!("{cells:?}");
            };
            seen.push((*driver, rate));
        }
    }
    assert_eq!(seen, [(7, 0.5), (8, 0.5), (9, 0.25), (10, 0.25)]);
}

#[test]
fn a_row_that_is_refused_leaves_nothing_behind() {
    let bench = bench(OutboxConfig::default());
    let mut bad = stats(&[7, 8], 0.5);
    bad[3].1[1] = Input::Text(Cow::Borrowed("fast"));
    let error = push(&bench.node, bad, PushTo::Offline, WriteMode::Sync).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("row 1"), "{error}");
    assert_eq!(bench.node.outbox().entries, 0);
}

#[test]
fn a_full_outbox_refuses_what_goes_there_and_nothing_else() {
    let bench = bench(OutboxConfig {
        bytes_max: 2_000,
        age_max: Duration::from_secs(60),
    });
    let node = &bench.node;
    let mut pushed = 0;
    let error = loop {
        match push(node, stats(&[7], 0.5), PushTo::Offline, WriteMode::Sync) {
            Ok(()) => pushed += 1,
            Err(error) => break error,
        }
        assert!(pushed < 100, "never full");
    };
    assert!(pushed > 2, "{pushed}");
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(error.to_string().contains("outbox.bytes_max"), "{error}");
    push(node, stats(&[7], 0.5), PushTo::Online, WriteMode::Sync).unwrap();
    let gone = OutboxChange {
        remove_up_to: Some(pushed - 1),
        ..OutboxChange::default()
    };
    node.outbox_change(gone).unwrap();
    push(node, stats(&[7], 0.5), PushTo::Offline, WriteMode::Sync).unwrap();
    // The oldest grows too old.
    bench.clock.0.fetch_add(61_000_000, Ordering::Relaxed);
    let error = push(node, stats(&[7], 0.5), PushTo::Offline, WriteMode::Sync).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(error.to_string().contains("outbox.age_max"), "{error}");
}

#[test]
fn what_waits_is_there_after_a_restart_in_its_order() {
    let bench = bench(OutboxConfig::default());
    for driver in 1..=5 {
        push(
            &bench.node,
            stats(&[driver], 0.5),
            PushTo::Offline,
            WriteMode::Sync,
        )
        .unwrap();
    }
    let flight = Some(Flight {
        last: 2,
        parts_done: 0,
    });
    bench
        .node
        .outbox_change(OutboxChange {
            flight,
            ..OutboxChange::default()
        })
        .unwrap();
    let before = waiting(&bench.node);
    bench.node.shutdown();
    let Bench {
        node,
        clock,
        folder,
    } = bench;
    drop(node);
    let node = open(folder.path(), &clock, None);
    assert_eq!(waiting(&node), before);
    assert_eq!(node.outbox().flight, flight);
    assert_eq!(node.outbox_status().unwrap().waiting.entries, 5);
}

/// Parks entries as the sender does when the centre refuses them.
fn park(node: &Node, target: &str, sequences: RangeInclusive<u64>) {
    let park = Park {
        kind: OutboxKind::Rows,
        target: target.to_owned(),
        producer: 1,
        range: (*sequences.start(), *sequences.end()),
        sequences: sequences.collect(),
        bytes: 100,
        attempts: 5,
        reason: format!("no feature view {target}"),
        at: node.now(),
    };
    node.outbox_change(OutboxChange {
        park: Some(park),
        ..OutboxChange::default()
    })
    .unwrap();
}

#[test]
fn what_is_parked_counts_against_the_bounds_and_goes_when_it_is_dropped() {
    let bench = bench(OutboxConfig {
        bytes_max: 1_500,
        age_max: Duration::from_secs(10),
    });
    let node = &bench.node;
    let offline = |key| push(node, stats(&[key], 0.5), PushTo::Offline, WriteMode::Sync);
    let taken = (1..100).take_while(|key| offline(*key).is_ok()).count() as u64;
    assert!(taken >= 3, "{taken}");
    park(node, "old", 1..=2);
    park(node, "new", 3..=taken);
    assert_eq!(node.outbox().entries, 0);
    let error = offline(7).unwrap_err();
    assert!(matches!(error, Error::OutboxFull { parked, .. } if parked > 0));
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    let report = node.outbox_parked(usize::MAX).unwrap();
    assert!(report.complete);
    let old = &report.targets[0];
    assert_eq!(
        (old.target.as_str(), old.entries, old.attempts),
        ("old", 2, 5)
    );
    assert_eq!(old.reason, "no feature view old");
    assert!(!node.outbox_parked(1).unwrap().complete);

    assert_eq!(node.outbox_retry(Some("old")).unwrap().parts, 1);
    assert_eq!(node.outbox().parked.due, 1);
    let error = node.outbox_drop(Some("olde")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.to_string().contains("parked are: old, new"),
        "{error}"
    );
    let dropped = node.outbox_drop(Some("new")).unwrap();
    assert_eq!((dropped.parts, dropped.entries), (1, taken - 2));
    offline(8).unwrap();
    let status = node.outbox_status().unwrap();
    assert_eq!(status.dropped_entries, taken - 2);
    assert_eq!(status.parked.targets.len(), 1);

    bench.clock.0.fetch_add(11_000_000, Ordering::Relaxed);
    let change = OutboxChange {
        remove_up_to: Some(u64::MAX),
        ..OutboxChange::default()
    };
    node.outbox_change(change).unwrap();
    let error = offline(9).unwrap_err();
    assert!(matches!(error, Error::OutboxOld { parked: true, .. }));
    assert!(error.to_string().contains("galley outbox"), "{error}");
    assert_eq!(node.outbox_drop(None).unwrap().parts, 1);
    offline(9).unwrap();
}

/// The registry of the rides with one more service, of which a share of the look-ups is logged.
fn logging(rate: f32) -> Registry {
    let feature = |name: &str, value_type| proto::Feature {
        name: name.to_owned(),
        value_type,
    };
    let projection = proto::FeatureViewProjection {
        feature_view_name: "driver_hourly_stats_fresh".to_owned(),
        feature_view_name_alias: "fresh".to_owned(),
        feature_columns: vec![feature("conv_rate", 6), feature("avg_daily_trips", 4)],
        ..Default::default()
    };
    let spec = proto::FeatureServiceSpec {
        name: "logged".to_owned(),
        project: "rides".to_owned(),
        features: vec![projection],
        logging_config: Some(proto::LoggingConfig { sample_rate: rate }),
        ..Default::default()
    };
    let service = proto::FeatureService { spec: Some(spec) };
    let more = proto::Registry {
        feature_services: vec![service],
        ..Default::default()
    };
    let options = DecodeOptions {
        project: Some("rides"),
        versioning: false,
    };
    // Two messages end to end are one message with the fields of both.
    Registry::decode(&[RIDES, &more.to_bytes()].concat(), &options).unwrap()
}

fn look_up(node: &Node, drivers: &[i64]) {
    let drivers = drivers.iter().map(|driver| Input::Int(*driver)).collect();
    let request = GetRequest {
        selection: Selection::Service("logged"),
        full_feature_names: false,
        entities: &[(Cow::Borrowed("driver_id"), drivers)],
    };
    node.get(&request, |_| ()).unwrap();
}

#[test]
fn what_a_service_serves_goes_home_in_the_columns_of_feasts_logs() {
    let bench = bench(OutboxConfig::default());
    let node = &bench.node;
    node.install(logging(1.0)).unwrap();
    push(node, stats(&[7], 0.5), PushTo::Online, WriteMode::Sync).unwrap();
    look_up(node, &[7, 8]);
    look_up(node, &[7]);
    node.shutdown();
    let items = waiting(node);
    assert_eq!(items.len(), 1, "gathered");
    let entry = items[0].entry.as_ref().unwrap();
    assert_eq!(
        (entry.kind, entry.target.as_str()),
        (OutboxKind::Log, "logged")
    );
    let parcel = Parcel::open(&entry.payload).unwrap();
    let rows: Vec<_> = parcel.rows().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3);
    let cells = |row: usize, name: &str| {
        let column = parcel.columns().iter().find(|it| it.name == name);
        let cell = rows[row].cell(column.unwrap_or_else(|| panic!("{name}")));
        cell.unwrap().to_value()
    };
    let time = EventTime::parse("2026-03-09T12:00:00Z").unwrap();
    assert_eq!(cells(0, "driver_id"), Value::Int64(7));
    assert_eq!(cells(0, "fresh__conv_rate"), Value::Float(0.5));
    assert_eq!(cells(0, "fresh__conv_rate__status"), Value::Int32(1));
    assert_eq!(
        cells(0, "fresh__conv_rate__timestamp"),
        Value::UnixTimestamp(time.0)
    );
    assert_eq!(cells(0, "fresh__avg_daily_trips"), Value::Int64(14));
    assert_eq!(cells(1, "driver_id"), Value::Int64(8));
    assert_eq!(cells(1, "fresh__conv_rate"), Value::Null);
    assert_eq!(cells(1, "fresh__conv_rate__status"), Value::Int32(3));
    assert_eq!(
        cells(0, "__log_timestamp"),
        Value::UnixTimestamp(node.now().0)
    );
    assert_eq!(cells(0, "__request_id"), cells(1, "__request_id"));
    assert_ne!(cells(0, "__request_id"), cells(2, "__request_id"));
    assert_eq!(parcel.columns().len(), 1 + 2 * 3 + 3);
    assert_eq!(node.logged_rows(), (3, 0));
}

#[test]
fn about_the_share_asked_for_is_logged_and_nothing_without_a_rate() {
    for (rate, expect) in [(0.25, 150..350), (0.0, 0..1)] {
        let bench = bench(OutboxConfig::default());
        bench.node.install(logging(rate)).unwrap();
        for _ in 0..1_000 {
            look_up(&bench.node, &[7]);
        }
        bench.node.shutdown();
        let (rows, dropped) = bench.node.logged_rows();
        assert!(expect.contains(&rows), "{rate}: {rows}");
        assert_eq!(dropped, 0);
    }
}

#[test]
fn logs_that_find_no_room_are_dropped_and_counted() {
    let bench = bench(OutboxConfig {
        bytes_max: 10,
        ..OutboxConfig::default()
    });
    bench.node.install(logging(1.0)).unwrap();
    look_up(&bench.node, &[7, 8]);
    bench.node.shutdown();
    assert_eq!(bench.node.logged_rows(), (0, 2));
    assert_eq!(bench.node.outbox().entries, 0);
}

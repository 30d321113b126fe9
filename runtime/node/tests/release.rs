//! Releases under look-ups: all of one, or nothing of it.

#![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use galley_node::store::{RowBatch, RowWriter, Store, StoreConfig, Write};
use galley_node::{
    DecodeOptions, GetRequest, Input, Node, NodeConfig, Registry, ReleaseInstall, Selection, Sink,
};
use galley_types::{Cell, EntityKey, EventTime, KeyValue, SystemClock, Value};

const RIDES: &[u8] = include_bytes!("../../registry/tests/data/rides.registry.pb");
const REPLACED: &str = "driver_hourly_stats";
const ADDED_TO: &str = "driver_hourly_stats_fresh";
const DRIVERS: i64 = 40;
/// Releases that are installed while others look up.
const RELEASES: i64 = 60;
const READERS: usize = 3;

fn rides() -> Registry {
    let options = DecodeOptions {
        project: Some("rides"),
        versioning: false,
    };
    Registry::decode(RIDES, &options).unwrap()
}

fn node(folder: &tempfile::TempDir) -> Arc<Node> {
    let config = StoreConfig {
        free_space_min_bytes: 0,
        free_space_min_percent: 0,
        ..StoreConfig::default()
    };
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, config, &mut |_| {}).unwrap();
    let config = NodeConfig {
        // Event times here are counters, long past any time to live.
        python_quirks: true,
        ..NodeConfig::default()
    };
    Node::open(store, config, Arc::new(SystemClock)).unwrap()
}

/// A row for every driver whose rate is `number`.
fn rows(sink: &Sink, number: i64) -> RowBatch {
    let mut writer = RowWriter::new(&sink.view.schema, sink.schema).of_release();
    let mut batch = RowBatch::new(sink.table);
    let rate = sink.view.position("conv_rate").unwrap();
    for driver in 0..DRIVERS {
        let mut key = EntityKey::new();
        key.push(KeyValue::Int64(driver), true).unwrap();
        writer.begin(EventTime(number), None);
        writer.set(rate, &Value::Float(number as f32)).unwrap();
        batch.push(&key.into_bytes(), &mut writer).unwrap();
    }
    batch
}

/// One view replaced, one added to, each with `number`.
fn release(node: &Node, number: i64) {
    let registry = rides();
    let view = |name| {
        let index = registry.find_view(name).unwrap();
        registry.view(index).unwrap()
    };
    let staged = node.stage("rides", view(REPLACED)).unwrap();
    let mut filling = node.filling(staged.table, DRIVERS.unsigned_abs());
    filling.push(rows(&staged, number)).unwrap();
    filling.finish().unwrap();
    node.index_staged(&[staged.table]).unwrap();
    let sink = node.sink_for("rides", view(ADDED_TO)).unwrap().unwrap();
    let write = Write {
        batches: vec![rows(&sink, number)],
        ..Write::default()
    };
    let install = ReleaseInstall {
        registry,
        offers: Vec::new(),
        promote: vec![staged.table],
        writes: vec![write],
        spills: Vec::new(),
        records: vec![("release".to_owned(), Some(number.to_le_bytes().to_vec()))],
    };
    node.install_release(install).unwrap();
}

/// The rates of one driver in both views.
fn rates(node: &Node, driver: i64) -> Vec<Value> {
    let features = [REPLACED, ADDED_TO].map(|view| Cow::Owned(format!("{view}:conv_rate")));
    let entities = [(Cow::Borrowed("driver_id"), vec![Input::Int(driver)])];
    let request = GetRequest {
        selection: Selection::Features(&features),
        full_feature_names: true,
        entities: &entities,
    };
    let rates = node.get(&request, |answer| {
        let outputs = 0..answer.plan().outputs().len();
        let rates = outputs.map(|at| {
            let (_, cell): (_, Cell<'_>) = answer.cell(at, 0).unwrap();
            cell.to_value()
        });
        rates.collect()
    });
    rates.unwrap()
}

#[test]
fn no_look_up_sees_a_part_of_a_release() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(&folder);
    node.install(rides()).unwrap();
    release(&node, 1);
    let done = AtomicBool::new(false);
    let looks = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (node, done, looks) = (&node, &done, &looks);
            scope.spawn(move || {
                let mut driver = reader as i64;
                let mut newest = 0.0;
                while !done.load(Ordering::Relaxed) {
                    driver = (driver + 7) % DRIVERS;
                    let rates = rates(node, driver);
                    assert_eq!(rates[0], rates[1], "driver {driver}");
                    let Value::Float(rate) = rates[0] else {
                        panic!("{rates:?}");
                    };
                    assert!(rate >= newest, "{rate} after {newest}");
                    newest = rate;
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 2..=RELEASES {
            release(&node, number);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(looks.load(Ordering::Relaxed) > 100);

    let back = ReleaseInstall {
        registry: rides(),
        offers: Vec::new(),
        promote: Vec::new(),
        writes: Vec::new(),
        spills: Vec::new(),
        records: vec![("release".to_owned(), None)],
    };
    node.take_back(back).unwrap();
    let before = Value::Float((RELEASES - 1) as f32);
    for driver in 0..DRIVERS {
        assert_eq!(rates(&node, driver), [before.clone(), before.clone()]);
    }
    assert_eq!(node.record("release").unwrap(), None);
}

//! What the tests of this room share: the sample repo `rides` made by Feast, and a node for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use galley_node::store::{Row, Store, StoreConfig};
use galley_node::{Node, NodeConfig};
use galley_types::{Cell, EntityKey, EventTime, KeyValue, SystemClock, Value};

use crate::Repo;

/// A repo in a folder of its own and a node that serves it.
pub(crate) struct Rides {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) repo: Repo,
    pub(crate) node: Arc<Node>,
}

/// A stored row.
#[derive(Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) event_time: EventTime,
    pub(crate) created: Option<EventTime>,
    pub(crate) values: Vec<Value>,
}

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

impl Rides {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        for entry in std::fs::read_dir(data("parquet")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(
                &path,
                dir.path().join("data").join(path.file_name().unwrap()),
            )
            .unwrap();
        }
        std::fs::copy(data("registry.pb"), dir.path().join("data/registry.db")).unwrap();
        std::fs::copy(
            data("feature_store.yaml"),
            dir.path().join("feature_store.yaml"),
        )
        .unwrap();
        let repo = Repo::open(dir.path(), &|_| None).unwrap();
        let config = StoreConfig {
            free_space_min_bytes: 0,
            free_space_min_percent: 0,
            ..StoreConfig::default()
        };
        let store = Store::open(&dir.path().join("galley.redb"), config, &mut |_| {}).unwrap();
        let node = Node::open(store, NodeConfig::default(), Arc::new(SystemClock)).unwrap();
        Self { dir, repo, node }
    }

    pub(crate) fn installed() -> Self {
        let rides = Self::new();
        rides
            .node
            .install(rides.repo.read_registry().unwrap())
            .unwrap();
        rides
    }

    /// The row under `key` of `view`, in the order of the view's features.
    pub(crate) fn row(&self, view: &str, key: &[KeyValue<'_>]) -> Option<Stored> {
        let sink = self.node.sink(view).unwrap().unwrap();
        let mut encoded = EntityKey::new();
        for (index, value) in key.iter().enumerate() {
            encoded.push(*value, index + 1 == key.len()).unwrap();
        }
        let snapshot = self.node.store().load();
        let bytes = snapshot.get(sink.table, encoded.as_bytes()).unwrap()?;
        let row = Row::parse(&bytes).unwrap();
        let fields = &sink.view.schema.fields;
        Some(Stored {
            event_time: row.event_time(),
            created: row.created(),
            values: fields
                .iter()
                .enumerate()
                .map(|(slot, field)| {
                    row.cell(slot, field.value_type)
                        .map(|cell: Cell<'_>| cell.to_value())
                        .unwrap()
                })
                .collect(),
        })
    }

    /// One feature of a row.
    pub(crate) fn value(&self, view: &str, key: &[KeyValue<'_>], feature: &str) -> Value {
        let sink = self.node.sink(view).unwrap().unwrap();
        let slot = sink.view.schema.position(feature).unwrap();
        self.row(view, key).unwrap().values.swap_remove(slot)
    }

    pub(crate) fn rows(&self, view: &str) -> u64 {
        let status = self.node.status();
        status
            .views
            .iter()
            .find(|status| status.name == view)
            .unwrap()
            .rows
    }
}

//! A node that serves the sample repo `rides`, for whatever is read for a view.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use galley_node::store::{Store, StoreConfig};
use galley_node::{DecodeOptions, Node, NodeConfig, Registry, Sink, StoredView};
use galley_types::{Clock, EventTime};

const REGISTRY: &[u8] = include_bytes!("../../../runtime/registry/tests/data/rides.registry.pb");

/// The registry.
pub(crate) static RIDES: LazyLock<Registry> = LazyLock::new(|| {
    let options = DecodeOptions {
        project: Some("rides"),
        versioning: false,
    };
    Registry::decode(REGISTRY, &options).expect("the sample registry is sound")
});

/// The node.
pub(crate) static NODE: LazyLock<Arc<Node>> = LazyLock::new(|| {
    let config = StoreConfig {
        free_space_min_bytes: 0,
        free_space_min_percent: 0,
        ..StoreConfig::default()
    };
    let path = folder().join("store.redb");
    let store = Store::open(&path, config, &mut |_| {}).expect("an empty folder takes a store");
    let node = Node::open(store, NodeConfig::default(), Arc::new(Noon)).expect("it is empty");
    node.install(RIDES.clone()).expect("the registry is sound");
    node
});

/// A clock that stands still, so that a run can be repeated.
#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> EventTime {
        EventTime(1_773_291_600_000_000)
    }
}

/// The view that a byte stands for, and the rest of the bytes.
pub(crate) fn view_of(bytes: &[u8]) -> Option<(&'static StoredView, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let views = RIDES.views();
    Some((&views[usize::from(*first) % views.len()], rest))
}

/// Where the rows of that view go, if it is served, and the rest of the bytes.
pub(crate) fn sink_of(bytes: &[u8]) -> Option<(Sink, &[u8])> {
    let (view, rest) = view_of(bytes)?;
    Some((NODE.sink(&view.name).ok()??, rest))
}

/// How folders of processes begin; the process's number comes behind.
const PREFIX: &str = "galley-parsers-";

/// A fuzzer ends in many ways, and none of them cleans up: the next one does.
fn remove_left_behind(parent: &Path) {
    let listed = std::fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in listed {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if process.is_some_and(|process| !Path::new("/proc").join(process).is_dir()) {
            // Another process may be at the same.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder of this process's own, in memory where the system has one there.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        remove_left_behind(&parent);
        let folder = parent.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    });
    &FOLDER
}

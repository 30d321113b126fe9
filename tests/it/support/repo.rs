//! Sample Feast repos, laid out in a fresh folder.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Launch, copy_dir, here, root};

/// A repo and a data folder of its own, removed at the end.
#[derive(Debug)]
pub struct Sandbox {
    pub dir: TempDir,
    pub repo: PathBuf,
    pub data: PathBuf,
}

impl Sandbox {
    fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("galley-test-")
            .tempdir()
            .unwrap();
        let (repo, data) = (dir.path().join("repo"), dir.path().join("data"));
        Self { dir, repo, data }
    }

    pub fn launch(&self) -> Launch {
        Launch::new(&self.repo, &self.data)
    }

    pub fn registry(&self) -> PathBuf {
        self.repo.join("data/registry.db")
    }
}

/// The repo the recorded answers come from: 12 views, every kind of object and value type.
pub fn rides() -> Sandbox {
    let sandbox = Sandbox::new();
    let from = here().join("data/rides");
    let data = sandbox.repo.join("data");
    copy_dir(&from.join("state/parquet"), &data);
    std::fs::copy(
        from.join("feature_store.yaml"),
        sandbox.repo.join("feature_store.yaml"),
    )
    .unwrap();
    std::fs::copy(from.join("state/registry.pb"), data.join("registry.db")).unwrap();
    sandbox
}

/// The repo the demo serves, without its Parquet files.
pub fn city() -> Sandbox {
    let sandbox = Sandbox::new();
    let from = root().join("examples/rides");
    std::fs::create_dir_all(sandbox.repo.join("data")).unwrap();
    for file in ["feature_store.yaml", "data/registry.db"] {
        std::fs::copy(from.join(file), sandbox.repo.join(file)).unwrap();
    }
    sandbox
}

/// A repo that has nothing yet but its project.
pub fn empty(project: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.repo.join("data")).unwrap();
    let yaml = format!(
        "project: {project}\nregistry: data/registry.db\nprovider: local\nonline_store:\n  type: sqlite\n  \
         path: data/online_store.db\nentity_key_serialization_version: 3\n"
    );
    std::fs::write(sandbox.repo.join("feature_store.yaml"), yaml).unwrap();
    sandbox
}

/// Two views fed by one push source, in version `a` or `b` of the registry.
pub fn swap(version: char) -> Sandbox {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.repo.join("data")).unwrap();
    let from = here().join("data/swap");
    std::fs::copy(
        from.join("feature_store.yaml"),
        sandbox.repo.join("feature_store.yaml"),
    )
    .unwrap();
    std::fs::copy(swap_registry(version), sandbox.registry()).unwrap();
    sandbox
}

/// A view `calm` fed by the push source `items`, and an on-demand view for each hostile guest.
pub fn hostile() -> Sandbox {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.repo.join("data")).unwrap();
    let from = here().join("data/hostile");
    std::fs::copy(
        from.join("feature_store.yaml"),
        sandbox.repo.join("feature_store.yaml"),
    )
    .unwrap();
    std::fs::copy(from.join("registry.pb"), sandbox.registry()).unwrap();
    sandbox
}

/// The file of one of the two registries of [`swap`].
pub fn swap_registry(version: char) -> PathBuf {
    here().join(format!("data/swap/{version}.pb"))
}

/// Replaces a file in one step, as careful writers do.
pub fn replace(target: &Path, bytes: &[u8]) {
    let beside = target.with_extension("new");
    std::fs::write(&beside, bytes).unwrap();
    std::fs::rename(beside, target).unwrap();
}

/// A push of one row to the source `items` of [`swap`] version `a`: both views get x = y = `value`.
pub fn push_item(key: i64, value: i64, event_time: &str) -> Value {
    json!({
        "push_source_name": "items",
        "df": {"item_id": [key], "event_timestamp": [event_time], "x": [value], "y": [value]},
    })
}

/// A look-up of the service `pair` of [`swap`].
pub fn get_pair(keys: &[i64]) -> Value {
    json!({"feature_service": "pair", "full_feature_names": true, "entities": {"item_id": keys}})
}

/// The vector of one feature of an answer: values and statuses.
#[track_caller]
pub fn column<'a>(answer: &'a Value, name: &str) -> (&'a [Value], Vec<&'a str>) {
    let names = answer["metadata"]["feature_names"]
        .as_array()
        .unwrap_or_else(|| panic!("no names: {answer}"));
    let at = names
        .iter()
        .position(|n| n == name)
        .unwrap_or_else(|| panic!("no feature {name}: {answer}"));
    let vector = &answer["results"][at];
    let statuses = vector["statuses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_str().unwrap())
        .collect();
    (vector["values"].as_array().unwrap(), statuses)
}

//! Files: registries, metadata of a feed, `feature_store.yaml`, `spin.toml`.

use std::path::Path;

use galley_manifest::Manifest;
use galley_registry::{DecodeOptions, ReadRequest, Registry, Selection};
use galley_sync::Repo;
use galley_sync::feed::Trusted;

use crate::rides::folder;

/// A root that signs for itself, for metadata to stand beside.
pub(crate) const ROOT: &[u8] = include_bytes!("../data/root.json");

/// A registry, and plans of everything in it.
pub(crate) fn registry(bytes: &[u8]) {
    for versioning in [false, true] {
        let options = DecodeOptions {
            project: None,
            versioning,
        };
        let registry = match Registry::decode(bytes, &options) {
            Ok(registry) => registry,
            // Whoever does not name a project gets the one there is; another try names one.
            Err(_) => {
                let options = DecodeOptions {
                    project: Some("rides"),
                    versioning,
                };
                match Registry::decode(bytes, &options) {
                    Ok(registry) => registry,
                    Err(_) => return,
                }
            }
        };
        plan_all(&registry);
    }
}

fn plan_all(registry: &Registry) {
    let plan = |selection: Selection<'_>, full_feature_names: bool| {
        let request = ReadRequest {
            selection,
            full_feature_names,
        };
        // What cannot be planned is refused by name.
        let _ = registry.plan_read(&request);
    };
    for view in registry.views() {
        let references: Vec<String> = view
            .schema
            .fields
            .iter()
            .map(|field| format!("{}:{}", view.name, field.name))
            .collect();
        let references: Vec<&str> = references.iter().map(String::as_str).collect();
        plan(Selection::Features(&references), true);
        let _ = registry.plan_write(&view.name);
    }
    for view in registry.all_on_demand_views() {
        let _ = registry.input_columns(view);
    }
    for service in registry.services() {
        plan(Selection::Service(&service.name), false);
        let _ = registry.views_of_service(&service.name);
    }
    for source in registry.push_sources() {
        let _ = registry.plan_push(&source.name);
        let _ = registry.plan_push_offline(&source.name);
    }
    let _ = registry.plan_materialize(None);
}

/// Metadata of a feed, as each of the four roles; who signed them is looked at for the root only.
pub(crate) fn metadata(bytes: &[u8]) {
    if let Ok(trusted) = Trusted::new(bytes.to_vec()) {
        trusted
            .root_version()
            .expect("a root that was believed can be read again");
    }
    let root = || Trusted {
        root: ROOT.to_vec(),
        ..Trusted::default()
    };
    let kept = Some(bytes.to_vec());
    let of_role = [
        Trusted {
            timestamp: kept.clone(),
            ..root()
        },
        Trusted {
            snapshot: kept.clone(),
            ..root()
        },
        Trusted {
            targets: kept,
            ..root()
        },
    ];
    for trusted in of_role {
        let _ = trusted.release();
    }
}

/// A `feature_store.yaml`.
pub(crate) fn repo(bytes: &[u8]) {
    let file = folder().join(Repo::FILE);
    std::fs::write(file, bytes).expect("the folder takes files");
    let env = |name: &str| name.len().is_multiple_of(2).then(|| name.to_lowercase());
    if let Ok(repo) = Repo::open(folder(), &env) {
        let _ = repo.registry_location();
    }
}

/// A `spin.toml`.
pub(crate) fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let path = Path::new("spin.toml");
    let moved = galley_manifest::relocate(text, path, &|source| format!("moved/{source}"));
    if Manifest::parse(text, path).is_ok() {
        // What is published is this text with other sources, and must be a manifest as well.
        if let Ok(moved) = moved
            && let Err(error) = Manifest::parse(&moved, path)
        {
            panic!("{error} in {moved}");
        }
    }
}

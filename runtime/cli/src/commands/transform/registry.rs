//! What the registry says of on-demand feature views.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use galley_build::{View, ViewColumns, ViewInput};
use galley_manifest::Manifest;
use galley_registry::{DecodeOptions, InputSource, OnDemandView, Registry};
use galley_sync::Repo;

use crate::config::{Config, Overrides};
use crate::environment_all;

/// How far up a Feast repo is looked for.
const LEVELS_MAX: usize = 8;

/// The registry of the repo in `dir`.
pub(crate) fn open(dir: &Path) -> Result<Registry> {
    let mut config = Config::resolve(&Overrides::default(), environment_all())?;
    config.repo = dir.to_owned();
    Ok(config.open_repo()?.read_registry()?)
}

/// The registry for what lies at `start`: the repo as told, else the repo around it, else the file
/// that `manifest` names.
pub(crate) fn find(
    repo: Option<&Path>,
    start: &Path,
    manifest: Option<&Manifest>,
) -> Result<Registry> {
    if let Some(repo) = repo {
        return open(repo);
    }
    if let Some(dir) = repo_around(start) {
        return open(&dir);
    }
    if let Some(manifest) = manifest
        && let Some(registry) = &manifest.application.registry
    {
        let path = manifest.folder().join(registry);
        let bytes = std::fs::read(&path).with_context(|| format!("registry {}", path.display()))?;
        let options = DecodeOptions {
            project: None,
            versioning: false,
        };
        return Registry::decode(&bytes, &options)
            .with_context(|| format!("registry {}", path.display()));
    }
    bail!(
        "there is no {} at or above {}: say where the Feast repo is with --repo DIR",
        Repo::FILE,
        start.display()
    )
}

/// The Feast repo that holds `start`.
pub(crate) fn repo_around(start: &Path) -> Option<PathBuf> {
    let start = std::fs::canonicalize(start).ok()?;
    start
        .ancestors()
        .take(LEVELS_MAX)
        .find(|dir| dir.join(Repo::FILE).is_file())
        .map(Path::to_path_buf)
}

/// The on-demand feature view `name`, or who there is instead.
pub(crate) fn view<'r>(registry: &'r Registry, name: &str) -> Result<&'r OnDemandView> {
    registry.find_any_on_demand_view(name).ok_or_else(|| {
        let names: Vec<&str> = registry
            .all_on_demand_views()
            .map(|view| view.name.as_str())
            .collect();
        let near = names
            .iter()
            .map(|known| (strsim::jaro_winkler(name, known), known))
            .filter(|(likeness, _)| *likeness > 0.75)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match (near, names.as_slice()) {
            (Some((_, near)), _) => anyhow!(
                "project {} has no on-demand feature view '{name}'; did you mean '{near}'?",
                registry.project()
            ),
            (None, []) => anyhow!(
                "project {} has no on-demand feature views; `feast apply` puts them into the \
                 registry",
                registry.project()
            ),
            (None, names) => anyhow!(
                "project {} has no on-demand feature view '{name}'; there are {}",
                registry.project(),
                names.join(", ")
            ),
        }
    })
}

/// A view as wrapping takes it.
pub(crate) fn to_wrap<'r>(registry: &'r Registry, view: &'r OnDemandView) -> View<'r> {
    let inputs = registry.input_columns(view).into_iter().map(|column| {
        let of = match column.source {
            InputSource::Feature { view, .. } => Some(view),
            InputSource::JoinKey { .. } | InputSource::Request => None,
        };
        ViewInput {
            name: column.name,
            view: of,
            value_type: column.value_type,
            is_join_key: matches!(column.source, InputSource::JoinKey { .. }),
        }
    });
    View {
        name: &view.name,
        version: view.version,
        source_text: view
            .transformation
            .as_ref()
            .map_or("", |function| &function.source_text),
        mode: &view.mode,
        singleton: view.singleton,
        inputs: inputs.collect(),
        outputs: outputs(view),
    }
}

/// What a function for the view takes and gives: the features of its sources, under their full
/// names where two sources have the same, and the request's columns. Join keys are left out.
pub(crate) fn columns<'r>(registry: &'r Registry, view: &'r OnDemandView) -> ViewColumns<'r> {
    let all = registry.input_columns(view);
    let is_twice = |name: &str| {
        let named = all.iter().filter(|column| column.name == name);
        named
            .filter(|column| !matches!(column.source, InputSource::JoinKey { .. }))
            .count()
            > 1
    };
    let mut inputs: Vec<(String, _)> = Vec::new();
    for column in &all {
        let name = match column.source {
            InputSource::JoinKey { .. } => continue,
            InputSource::Feature { view, .. } if is_twice(column.name) => {
                format!("{view}__{}", column.name)
            }
            InputSource::Feature { .. } | InputSource::Request => column.name.to_owned(),
        };
        // Two request sources may ask for the same column.
        if !inputs.iter().any(|(known, _)| *known == name) {
            inputs.push((name, column.value_type));
        }
    }
    ViewColumns {
        inputs,
        outputs: outputs(view),
    }
}

fn outputs(view: &OnDemandView) -> Vec<(&str, galley_types::ValueType)> {
    view.schema
        .fields
        .iter()
        .map(|field| (field.name.as_str(), field.value_type))
        .collect()
}

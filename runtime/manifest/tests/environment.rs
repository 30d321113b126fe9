//! `galley-env.toml` against the check that `spin build` makes.
//!
//! Spin's loader is not published as a crate; its steps are: read the file into the fields below and
//! no others, take each world's folder for one package, and ask wac whether a component fits one of
//! the worlds of its trigger. The parser of folders and wac are those that Spin uses.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's failure is a panic"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use galley_manifest::Manifest;
use serde::Deserialize;
use wac_types::{ItemKind, Package, Type, Types, WorldId, validate_target};
use wit_parser::Resolve;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Environment {
    triggers: HashMap<String, Trigger>,
    default: Option<Trigger>,
    #[serde(default)]
    configuration: Constraints,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trigger {
    worlds: Vec<World>,
    #[serde(default)]
    capabilities: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct World {
    path: PathBuf,
    world: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Constraints {
    key_value_stores: Option<Vec<String>>,
    sqlite_databases: Option<Vec<String>>,
    ai_models: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    plugins: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn environment() -> Environment {
    let text = std::fs::read_to_string(root().join("galley-env.toml")).unwrap();
    toml::from_str(&text).unwrap()
}

/// Whether a component fits a world; the report of what does not otherwise.
fn fits(world: &World, component: &[u8]) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(root().join(&world.path))?;
    let bytes = wit_component::encode(&resolve, package)?;
    let name = resolve.packages[package].name.clone();
    let (of, rest) = world.world.split_once('/').context("no package")?;
    let (short, version) = rest.split_once('@').context("no version")?;
    let version = version.parse()?;
    if of != format!("{}:{}", name.namespace, name.name) || name.version.as_ref() != Some(&version)
    {
        bail!("{} is in {}", world.world, name);
    }
    let mut types = Types::default();
    let package = Package::from_bytes(of, Some(&version), bytes, &mut types)?;
    let target = world_of(&types, package.ty(), short)?;
    let component = Package::from_bytes("component", None, component, &mut types)?;
    validate_target(&types, target, component.ty()).map_err(|report| {
        let imports: Vec<&str> = report.imports_not_in_target().collect();
        let exports: Vec<&str> = report.missing_exports().map(|(name, _)| name).collect();
        let wrong = report.mismatched_types();
        let wrong: Vec<String> = wrong
            .map(|(name, _, why)| format!("{name}: {why}"))
            .collect();
        anyhow::anyhow!("imports {imports:?}, does not export {exports:?}, differs in {wrong:?}")
    })
}

/// A package of interfaces is encoded as a component that exports each world as a component.
fn world_of(types: &Types, package: WorldId, name: &str) -> Result<WorldId> {
    let exported = types[package].exports.get(name).context("no such world")?;
    let ItemKind::Type(Type::World(world)) = exported else {
        bail!("{name} is no world");
    };
    match types[*world].exports.values().next() {
        Some(ItemKind::Component(world)) => Ok(*world),
        other => bail!("{name} is encoded as {other:?}"),
    }
}

fn component(name: &str) -> Vec<u8> {
    std::fs::read(root().join(name)).unwrap()
}

#[test]
fn every_component_of_the_manifest_fits_the_world_of_its_trigger() {
    let manifest = Manifest::read(&root().join("spin.toml")).unwrap();
    let environment = environment();
    let transforms = manifest.transforms.iter();
    let transforms = transforms.map(|trigger| ("galley", trigger.component.as_str()));
    let http = manifest.http.iter();
    let http = http.map(|trigger| ("http", trigger.component.as_str()));
    let mut seen = 0;
    for (trigger, name) in transforms.chain(http) {
        let file = manifest.file_of(&manifest.components[name]).unwrap();
        let bytes = std::fs::read(file).unwrap();
        // Spin refuses the whole application for a trigger that the environment does not name.
        for world in &environment.triggers[trigger].worlds {
            fits(world, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        seen += 1;
    }
    assert!(seen >= 6, "{seen}");
    for component in manifest.components.values() {
        let stores = environment.configuration.key_value_stores.as_ref();
        let has = |store| stores.is_none_or(|stores| stores.contains(store));
        assert!(component.key_value_stores.iter().all(has));
    }
    assert_eq!(environment.configuration.sqlite_databases, Some(Vec::new()));
    assert_eq!(environment.configuration.ai_models, Some(Vec::new()));
}

#[test]
fn what_a_node_refuses_does_not_fit() {
    let environment = environment();
    // Other triggers, and what hosts may offer beyond the interfaces, are not for a node to say.
    assert!(environment.default.is_none());
    let worlds = |trigger: &str| &environment.triggers[trigger];
    assert!(worlds("http").capabilities.is_empty() && worlds("galley").capabilities.is_empty());
    assert_eq!(environment.metadata.plugins, ["trigger-galley"]);
    let refused = |trigger: &str, bytes: &[u8]| {
        let error = fits(&worlds(trigger).worlds[0], bytes).unwrap_err();
        error.to_string()
    };
    let score = component("guest-transforms/components/score.wasm");
    let transform = component("guest-transforms/components/geo_distance.wasm");
    let text = refused("galley", &score);
    assert!(text.contains("wasi:http/types@0.3.0"), "{text}");
    assert!(
        text.contains("galley:transform/transformer@0.1.0"),
        "{text}"
    );
    let text = refused("http", &transform);
    assert!(text.contains("wasi:http/handler@0.3.0"), "{text}");
    let files =
        wat::parse_str(r#"(component (import "wasi:filesystem/preopens@0.3.0" (instance)))"#);
    let text = refused("http", &files.unwrap());
    assert!(text.contains("wasi:filesystem/preopens@0.3.0"), "{text}");
    // The interface, and another function in it.
    let other = wat::parse_str(
        r#"(component
            (import "spin:variables/variables@3.0.0" (instance
                (export "get" (func (param "name" u32) (result string))))))"#,
    );
    let text = refused("http", &other.unwrap());
    assert!(text.contains("spin:variables/variables@3.0.0: "), "{text}");
}

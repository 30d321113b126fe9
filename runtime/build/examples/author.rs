//! Builds projects from the command line: `cargo run -p galley-build --example author -- build DIR..`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of its own"
)]

use std::path::Path;
use std::time::Instant;

use galley_build::{
    Language, View, ViewInput, Workshop, build, find_or_install_rust, from_core_module, new, wrap,
};
use galley_registry::{DecodeOptions, OnDemandView, Registry};
use galley_types::{KeyType, ScalarType, ValueType};

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let say = |text: &str| eprintln!("  {text}");
    let workshop = Workshop::new(std::env::temp_dir().join("galley-author"), &say);
    let outcome = match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["toolchain"] => find_or_install_rust(&workshop).map(|found| println!("{found:?}")),
        ["new", language, dir] => {
            let language = match *language {
                "python" => Language::Python,
                "javascript" => Language::JavaScript,
                _ => Language::Rust,
            };
            new(Path::new(dir), "conversion_rate", language).map(|made| println!("{made:?}"))
        }
        ["build", dirs @ ..] => dirs.iter().try_for_each(|dir| {
            let start = Instant::now();
            build(&workshop, Path::new(dir)).map(|built| {
                let seconds = start.elapsed().as_secs_f64();
                println!(
                    "{} {} bytes {seconds:.1} s",
                    built.path.display(),
                    built.bytes
                );
            })
        }),
        ["component", out, modules @ ..] => modules
            .iter()
            .try_for_each(|module| encode(Path::new(module), Path::new(out))),
        ["wrap", registry, out, only @ ..] => {
            wrap_all(&workshop, Path::new(registry), Path::new(out), only);
            Ok(())
        }
        _ => {
            eprintln!(
                "usage: author toolchain | component OUT MODULE.. | wrap REGISTRY OUT [VIEW..] | new LANGUAGE DIR | build DIR.."
            );
            return std::process::ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// Makes a component of a core module, whatever it imports.
fn encode(module: &Path, out: &Path) -> galley_build::Result<()> {
    let bytes = std::fs::read(module).unwrap_or_default();
    let component = from_core_module(&bytes, module)?;
    let output = out.join(module.file_name().unwrap_or_default());
    println!("{} {} bytes", output.display(), component.len());
    std::fs::create_dir_all(out)
        .and_then(|()| std::fs::write(&output, component))
        .unwrap_or_else(|error| eprintln!("{}: {error}", output.display()));
    Ok(())
}

/// Wraps every on-demand feature view of a registry and builds it.
fn wrap_all(workshop: &Workshop<'_>, registry: &Path, out: &Path, only: &[&str]) {
    let bytes = std::fs::read(registry).unwrap_or_default();
    let options = DecodeOptions {
        project: None,
        versioning: false,
    };
    let registry = match Registry::decode(&bytes, &options) {
        Ok(registry) => registry,
        Err(error) => return eprintln!("{error}"),
    };
    let written = registry
        .views()
        .iter()
        .filter_map(|view| view.on_demand.as_deref());
    for view in registry.on_demand_views().iter().chain(written) {
        if !only.is_empty() && !only.contains(&view.name.as_str()) {
            continue;
        }
        let start = Instant::now();
        let dir = out.join(&view.name);
        let built = wrap(workshop, &as_view(&registry, view), &dir)
            .and_then(|wrapped| Ok((build(workshop, &wrapped.project_dir)?, wrapped.inputs)));
        match built {
            Ok((built, inputs)) => {
                let seconds = start.elapsed().as_secs_f64();
                println!(
                    "{}: {} bytes, {seconds:.1} s, reads {inputs:?}",
                    view.name, built.bytes
                );
            }
            Err(error) => println!("{}: {error}", view.name),
        }
    }
}

/// A view of the registry as plain data.
fn as_view<'a>(registry: &'a Registry, view: &'a OnDemandView) -> View<'a> {
    let mut inputs = Vec::new();
    for projection in &view.sources {
        let Some(source) = registry
            .find_view(&projection.view)
            .and_then(|at| registry.view(at))
        else {
            continue;
        };
        inputs.extend(source.join_keys.iter().map(|key| ViewInput {
            name: &key.name,
            view: None,
            value_type: ValueType::Scalar(match key.key_type {
                KeyType::Bytes => ScalarType::Bytes,
                KeyType::String => ScalarType::String,
                KeyType::Int32 => ScalarType::Int32,
                KeyType::Int64 => ScalarType::Int64,
                KeyType::UnixTimestamp => ScalarType::UnixTimestamp,
            }),
            is_join_key: true,
        }));
        let is_taken =
            |name: &String| projection.features.is_empty() || projection.features.contains(name);
        let fields = source
            .schema
            .fields
            .iter()
            .filter(|field| is_taken(&field.name));
        inputs.extend(fields.map(|field| ViewInput {
            name: &field.name,
            view: Some(&source.name),
            value_type: field.value_type,
            is_join_key: false,
        }));
    }
    for field in view
        .request_sources
        .iter()
        .flat_map(|source| &source.schema.fields)
    {
        inputs.push(ViewInput {
            name: &field.name,
            view: None,
            value_type: field.value_type,
            is_join_key: false,
        });
    }
    View {
        name: &view.name,
        version: view.version,
        source_text: view
            .transformation
            .as_ref()
            .map_or("", |text| &text.source_text),
        mode: &view.mode,
        singleton: view.singleton,
        inputs,
        outputs: view
            .schema
            .fields
            .iter()
            .map(|field| (field.name.as_str(), field.value_type))
            .collect(),
    }
}

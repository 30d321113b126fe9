//! `galley transform new`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use galley_build::{Language, NewProject};
use galley_manifest::{Binding, BuildStep, Manifest, bind};

use crate::args::{Lang, NewArgs};
use crate::commands::transform::registry;
use crate::commands::transform::subject::OWN_BUILD;
use crate::output;

pub(crate) fn run(args: &NewArgs) -> Result<ExitCode> {
    let language = match args.lang {
        Lang::Rust => Language::Rust,
        Lang::Python => Language::Python,
        Lang::Js => Language::JavaScript,
        Lang::Ts => Language::TypeScript,
    };
    let dir = match (&args.dir, &args.repo) {
        (Some(dir), _) => dir.clone(),
        (None, Some(repo)) => repo.join("transforms").join(&args.name),
        (None, None) => PathBuf::from(&args.name),
    };
    let known = args.repo.as_deref().map(registry::open).transpose()?;
    let view = match &known {
        Some(known) => {
            let name = args.view.as_deref().unwrap_or(&args.name);
            Some(registry::view(known, name)?)
        }
        None => None,
    };
    let project = NewProject {
        name: &args.name,
        view: view.map_or(args.name.as_str(), |view| &view.name),
        language,
        columns: known
            .as_ref()
            .zip(view)
            .map(|(known, view)| registry::columns(known, view)),
    };
    let scaffold = galley_build::new(&dir, &project)?;
    let manifest_dir = args.repo.as_deref().unwrap_or(&dir);
    let manifest = manifest_dir.join(Manifest::FILE);
    bind(&manifest, &binding(&project, manifest_dir, &dir)?).with_context(|| {
        format!(
            "the project is in {}, but was not bound",
            scaffold.dir.display()
        )
    })?;
    for file in &scaffold.files {
        output::line(format!("  {}", dir.join(file).display()));
    }
    output::line(format!("  {}", manifest.display()));
    output::line(format!(
        "\nWrite the function in {}, then:\n\n  galley transform test {}",
        dir.join(scaffold.files.first().unwrap_or(&"")).display(),
        dir.display()
    ));
    match &args.repo {
        Some(repo) => output::line(format!("  galley serve --repo {}", repo.display())),
        None => output::line(format!(
            "\nIt answers the view {} once it is bound in a Feast repo: the same command with \
             --repo DIR does that.",
            project.view
        )),
    }
    Ok(ExitCode::SUCCESS)
}

/// How the project in `dir` is bound in the manifest of `manifest_dir`.
pub(crate) fn binding(
    project: &NewProject<'_>,
    manifest_dir: &Path,
    dir: &Path,
) -> Result<Binding> {
    let (language, view) = (project.language, project.view);
    let from_manifest = relative(manifest_dir, dir)?;
    let is_here = from_manifest.as_os_str().is_empty();
    // A Rust library is called like its crate, everything else like its folder.
    let stem = match language {
        Language::Rust => project.name.to_owned(),
        Language::Python | Language::JavaScript | Language::TypeScript => {
            let full = std::fs::canonicalize(dir)
                .with_context(|| format!("look for {}", dir.display()))?;
            full.file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().replace('-', "_"))
        }
    };
    let watch = match language {
        Language::Rust => ["src/**/*.rs", "Cargo.toml"].as_slice(),
        Language::Python => &["**/*.py"],
        Language::JavaScript => &["**/*.js"],
        Language::TypeScript => &["**/*.ts"],
    };
    let golden = dir
        .join("golden.jsonl")
        .is_file()
        .then(|| from_manifest.join("golden.jsonl"));
    Ok(Binding {
        view: view.to_owned(),
        project: None,
        component: view.to_owned(),
        source: from_manifest.join(format!("target/galley/{stem}.wasm")),
        description: String::new(),
        build: Some(BuildStep {
            command: OWN_BUILD.to_owned(),
            workdir: (!is_here).then_some(from_manifest),
            watch: watch.iter().map(|&pattern| pattern.to_owned()).collect(),
        }),
        golden,
    })
}

/// The path to `to`, seen from `from`.
fn relative(from: &Path, to: &Path) -> Result<PathBuf> {
    let full = |path: &Path| {
        std::fs::canonicalize(path).with_context(|| format!("look for {}", path.display()))
    };
    let (from, to) = (full(from)?, full(to)?);
    let common = from
        .components()
        .zip(to.components())
        .take_while(|(one, other)| one == other)
        .count();
    let up = from.components().skip(common).map(|_| "..");
    let mut path: PathBuf = up.collect();
    path.extend(to.components().skip(common));
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::relative;

    #[test]
    fn a_project_is_named_as_its_manifest_sees_it() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["repo/transforms/view", "elsewhere"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let see = |to: &str| relative(&root.path().join("repo"), &root.path().join(to)).unwrap();
        assert_eq!(
            see("repo/transforms/view"),
            PathBuf::from("transforms/view")
        );
        assert_eq!(see("repo"), PathBuf::new());
        assert_eq!(see("elsewhere"), PathBuf::from("../elsewhere"));
    }
}

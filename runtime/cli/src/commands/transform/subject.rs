//! Which components a command is about, built and with what spin.toml says of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use galley_build::{Sign, Workshop};
use galley_manifest::{Build, Component, Manifest, Source, TransformTrigger};

use crate::args::TargetArgs;
use crate::commands::transform::golden;
use crate::commands::transform::host::{Host, Setup};
use crate::commands::transform::tools::{Progress, cache_dir};
use crate::{environment, output};

/// How far above a component its spin.toml is looked for.
const LEVELS_MAX: usize = 8;
/// Bytes of a component from which compiling it takes seconds.
const LARGE: usize = 2 << 20;
/// The build command of projects that this program builds itself.
pub(crate) const OWN_BUILD: &str = "galley transform build";

/// One component.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// What it is called in messages: its view's name, else its file's.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) golden: Option<PathBuf>,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) trigger: Option<TransformTrigger>,
    /// Whether it was built just now.
    pub(crate) is_new: bool,
}

/// What a target turned out to be.
pub(crate) enum Target {
    Component(PathBuf),
    Project(PathBuf),
    Manifest(Box<Manifest>),
}

impl Target {
    pub(crate) fn of(path: &Path) -> Result<Self> {
        if path.is_file() {
            if path.file_name().is_some_and(|name| name == Manifest::FILE) {
                return Ok(Self::Manifest(Box::new(Manifest::read(path)?)));
            }
            return Ok(Self::Component(path.to_path_buf()));
        }
        if !path.is_dir() {
            bail!("{} is not there", path.display());
        }
        if galley_build::language(path).is_ok() {
            return Ok(Self::Project(path.to_path_buf()));
        }
        let manifest = path.join(Manifest::FILE);
        if manifest.is_file() {
            return Ok(Self::Manifest(Box::new(Manifest::read(&manifest)?)));
        }
        bail!(
            "{} holds neither a project (Cargo.toml, app.py, transform.ts or transform.js) nor a \
             {}; `galley transform new NAME` makes a project",
            path.display(),
            Manifest::FILE
        )
    }
}

/// The components of `args`, built.
pub(crate) fn all(args: &TargetArgs, host: &Host) -> Result<Vec<Subject>> {
    let subjects = match Target::of(&args.target)? {
        Target::Component(path) => vec![Subject::bound(path, false)],
        Target::Project(dir) => {
            let progress = Progress::new();
            let built = with_workshop(host, !args.no_install, &progress, |workshop| {
                galley_build::build(workshop, &dir)
            });
            progress.done();
            let built = built??;
            let mut subject = Subject::bound(built.component.path, built.is_new);
            if subject.golden.is_none() {
                subject.golden = golden::beside(&dir);
            }
            vec![subject]
        }
        Target::Manifest(manifest) => of_manifest(args, host, &manifest)?,
    };
    if subjects.is_empty() {
        bail!(
            "there is nothing to do: {} binds no on-demand feature view{}",
            args.target.display(),
            if args.only.is_empty() {
                ""
            } else {
                " of that name"
            }
        );
    }
    Ok(subjects)
}

/// The only component of `args`.
pub(crate) fn one(args: &TargetArgs, host: &Host) -> Result<Subject> {
    let mut subjects = all(args, host)?;
    if subjects.len() > 1 {
        let names: Vec<&str> = subjects
            .iter()
            .map(|subject| subject.name.as_str())
            .collect();
        bail!(
            "there are several components: choose one with --only NAME ({})",
            names.join(", ")
        );
    }
    subjects.pop().context("there is no component")
}

fn of_manifest(args: &TargetArgs, host: &Host, manifest: &Manifest) -> Result<Vec<Subject>> {
    for warning in &manifest.warnings {
        output::note(format!("{}: {warning}", manifest.path.display()));
    }
    let mut subjects = Vec::new();
    for trigger in &manifest.transforms {
        let wanted = args.only.is_empty()
            || args
                .only
                .iter()
                .any(|name| *name == trigger.view || *name == trigger.component);
        let Some(component) = manifest.components.get(&trigger.component) else {
            continue;
        };
        if !wanted {
            continue;
        }
        let Some(path) = manifest.file_of(component) else {
            output::note(format!(
                "{}: {} is not a file: left out",
                trigger.view,
                source_text(&component.source)
            ));
            continue;
        };
        let progress = Progress::new();
        let is_new = build_component(manifest, component, host, !args.no_install, &progress);
        progress.done();
        let is_new = is_new.with_context(|| format!("[component.{}]", trigger.component))?;
        subjects.push(Subject {
            name: trigger.view.clone(),
            golden: component
                .golden
                .as_ref()
                .map(|golden| manifest.folder().join(golden)),
            path,
            manifest: Some(manifest.clone()),
            trigger: Some(trigger.clone()),
            is_new,
        });
    }
    Ok(subjects)
}

/// Builds a component of a manifest; says whether anything was built.
pub(crate) fn build_component(
    manifest: &Manifest,
    component: &Component,
    host: &Host,
    may_install: bool,
    progress: &Progress,
) -> Result<bool> {
    let Some(build) = &component.build else {
        return Ok(false);
    };
    let dir = match &build.workdir {
        Some(workdir) => manifest.folder().join(workdir),
        None => manifest.folder().to_path_buf(),
    };
    let is_own = build
        .commands
        .iter()
        .all(|command| command.trim() == OWN_BUILD);
    if !is_own {
        return run_commands(build, &dir, progress).map(|()| true);
    }
    let built = with_workshop(host, may_install, progress, |workshop| {
        galley_build::build(workshop, &dir)
    })??;
    let wanted = manifest.file_of(component);
    if wanted.is_some_and(|wanted| !same_file(&wanted, &built.component.path)) {
        bail!(
            "its source is {}, and the project in {} makes {}",
            source_text(&component.source),
            dir.display(),
            built.component.path.display()
        );
    }
    Ok(built.is_new)
}

/// Runs the commands that the manifest's author wrote, as `spin build` does.
fn run_commands(build: &Build, dir: &Path, progress: &Progress) -> Result<()> {
    for command in &build.commands {
        progress.say(command);
        let ended = Command::new("sh")
            .args(["-c", command])
            .current_dir(dir)
            .envs(&build.environment)
            .stdin(Stdio::null())
            // Standard output is for what the command prints itself.
            .stdout(std::io::stderr())
            .status()
            .with_context(|| format!("run '{command}' in {}", dir.display()))?;
        if !ended.success() {
            bail!("'{command}' in {} ended with {ended}", dir.display());
        }
    }
    Ok(())
}

/// Hands `work` a workshop that signs what it builds.
pub(crate) fn with_workshop<T>(
    host: &Host,
    may_install: bool,
    progress: &Progress,
    work: impl FnOnce(&Workshop<'_>) -> T,
) -> Result<T> {
    let say = |step: &str| progress.say(step);
    let sign = |component: &[u8]| {
        if component.len() > LARGE {
            progress.say("compiling the component, to ask it what it takes and gives");
        }
        host.sign(component)
    };
    let sign: &Sign<'_> = &sign;
    let mut workshop = Workshop::new(cache_dir()?, &say);
    workshop.may_install = may_install;
    workshop.sign = Some(sign);
    Ok(work(&workshop))
}

impl Subject {
    /// The component at `path`, with what a spin.toml above it says of it.
    pub(crate) fn bound(path: PathBuf, is_new: bool) -> Self {
        let (manifest, trigger) = match binding_of(&path) {
            Some((manifest, trigger)) => (Some(manifest), Some(trigger)),
            None => (None, None),
        };
        let component = match (&manifest, &trigger) {
            (Some(manifest), Some(trigger)) => manifest.components.get(&trigger.component),
            _ => None,
        };
        let golden = component
            .and_then(|component| component.golden.as_ref())
            .zip(manifest.as_ref())
            .map(|(golden, manifest)| manifest.folder().join(golden));
        let name = match &trigger {
            Some(trigger) => trigger.view.clone(),
            None => path
                .file_stem()
                .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
        };
        // Beside target/galley/ lies the project.
        let project = path.parent().and_then(|dir| dir.ancestors().nth(2));
        Self {
            golden: golden.or_else(|| golden::beside(project?)),
            name,
            path,
            manifest,
            trigger,
            is_new,
        }
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        std::fs::read(&self.path).map_err(|error| {
            let way_out = match error.kind() {
                std::io::ErrorKind::NotFound => "; `galley transform build` makes it",
                _ => "",
            };
            anyhow!("component {}: {error}{way_out}", self.path.display())
        })
    }

    /// How it is to be loaded: as a node would, with `variables` in the place of the manifest's.
    pub(crate) fn setup(&self, variables: &[String]) -> Result<Setup> {
        let mut setup = Setup {
            name: self.name.clone(),
            ..Setup::default()
        };
        if let (Some(manifest), Some(trigger)) = (&self.manifest, &self.trigger) {
            setup.settings = trigger.settings.clone();
            setup.variables =
                manifest.variables_of(&trigger.component, &|name| environment(name))?;
        }
        for variable in variables {
            let (name, value) = variable
                .split_once('=')
                .ok_or_else(|| anyhow!("--variable {variable}: expected NAME=VALUE"))?;
            setup.variables.insert(name.to_owned(), value.to_owned());
        }
        Ok(setup)
    }
}

/// The manifest above `path` that binds it, with the binding. One that cannot be read binds nothing.
fn binding_of(path: &Path) -> Option<(Manifest, TransformTrigger)> {
    let path = std::fs::canonicalize(path).ok()?;
    for dir in path.ancestors().skip(1).take(LEVELS_MAX) {
        let Ok(manifest) = Manifest::read(&dir.join(Manifest::FILE)) else {
            continue;
        };
        let bound = manifest.transforms.iter().find(|trigger| {
            let component = manifest.components.get(&trigger.component);
            let file = component.and_then(|component| manifest.file_of(component));
            file.is_some_and(|file| same_file(&file, &path))
        });
        if let Some(trigger) = bound.cloned() {
            return Some((manifest, trigger));
        }
    }
    None
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (std::fs::canonicalize(one), std::fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Where a component comes from, for people.
pub(crate) fn source_text(source: &Source) -> String {
    match source {
        Source::File(path) => path.display().to_string(),
        Source::Url { url, .. } => url.clone(),
        Source::Registry {
            package, version, ..
        } => format!("{package}@{version}"),
    }
}

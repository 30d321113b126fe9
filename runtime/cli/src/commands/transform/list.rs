//! `galley transform list`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use galley_manifest::{Manifest, TransformTrigger};
use galley_node::check_signature;
use galley_registry::Registry;
use galley_transform::Transform;
use serde_json::{Value, json};

use crate::args::ListArgs;
use crate::commands::transform::host::{Host, Setup};
use crate::commands::transform::registry;
use crate::commands::transform::subject::source_text;
use crate::{environment, output, table};

/// One view and what stands behind it.
struct Entry {
    view: String,
    component: Option<String>,
    source: Option<String>,
    digest: Option<String>,
    version: Option<String>,
    state: &'static str,
    notes: Vec<String>,
}

pub(crate) fn run(args: &ListArgs) -> Result<ExitCode> {
    let path = args.dir.join(Manifest::FILE);
    let known = match registry::repo_around(&args.dir) {
        Some(dir) => Some(registry::open(&dir)?),
        None => None,
    };
    let manifest = match path.try_exists()? {
        true => Some(Manifest::read(&path)?),
        false if known.is_some() => None,
        false => bail!(
            "{} holds no {}; `galley transform new` and `galley transform wrap` make one",
            args.dir.display(),
            Manifest::FILE
        ),
    };
    let mut entries = Vec::new();
    if let Some(manifest) = &manifest {
        for warning in &manifest.warnings {
            output::note(format!("{}: {warning}", path.display()));
        }
        let host = Host::open()?;
        for trigger in &manifest.transforms {
            entries.push(bound(&host, manifest, trigger, known.as_ref()));
        }
    }
    let unbound: Vec<String> = known
        .iter()
        .flat_map(Registry::all_on_demand_views)
        .map(|view| view.name.clone())
        .filter(|name| !entries.iter().any(|entry| entry.view == *name))
        .collect();
    entries.extend(unbound.into_iter().map(Entry::missing));
    show(args, &args.dir, &entries);
    Ok(ExitCode::SUCCESS)
}

/// A binding of the manifest, looked at as a node would.
fn bound(
    host: &Host,
    manifest: &Manifest,
    trigger: &TransformTrigger,
    known: Option<&Registry>,
) -> Entry {
    let mut entry = Entry {
        component: Some(trigger.component.clone()),
        state: "ready",
        ..Entry::missing(trigger.view.clone())
    };
    let Some(component) = manifest.components.get(&trigger.component) else {
        return entry;
    };
    entry.source = Some(source_text(&component.source));
    let Some(path) = manifest.file_of(component) else {
        entry.state = "elsewhere";
        return entry;
    };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            entry.state = "not built";
            entry.notes.push(format!(
                "galley transform build {} --only {}",
                manifest.folder().display(),
                trigger.view
            ));
            return entry;
        }
        Err(error) => {
            entry.state = "unreadable";
            entry.notes.push(error.to_string());
            return entry;
        }
    };
    entry.digest = Some(format!("sha256:{}", galley_transform::digest(&bytes)));
    let loaded = manifest
        .variables_of(&trigger.component, &|name| environment(name))
        .map_err(anyhow::Error::from)
        .and_then(|variables| {
            let setup = Setup {
                name: trigger.view.clone(),
                settings: trigger.settings.clone(),
                isolation: None,
                variables,
            };
            host.load(&bytes, &setup)
        });
    let transform = match loaded {
        Ok(transform) => transform,
        Err(error) => {
            entry.state = "quarantined";
            entry.notes.push(format!("{error:#}"));
            return entry;
        }
    };
    entry.version = Some(transform.signature().version.clone());
    if let Some(known) = known {
        entry.compare(known, &transform);
    }
    entry
}

impl Entry {
    /// Notes where the component does not fit the registry's view.
    fn compare(&mut self, known: &Registry, transform: &Transform) {
        let Some(view) = known.find_any_on_demand_view(&self.view) else {
            self.state = "unused";
            self.notes.push("the registry has no such view".to_owned());
            return;
        };
        let checks = check_signature(known, view, transform.signature());
        let misfits = checks.iter().filter(|check| !check.fits);
        self.notes.extend(misfits.map(ToString::to_string));
        if !self.notes.is_empty() {
            self.state = "quarantined";
        }
    }

    /// A view of the registry without a component.
    fn missing(view: String) -> Self {
        Self {
            notes: Vec::new(),
            view,
            component: None,
            source: None,
            digest: None,
            version: None,
            state: "missing",
        }
    }
}

fn show(args: &ListArgs, dir: &Path, entries: &[Entry]) {
    if args.output.json {
        let views: Vec<Value> = entries
            .iter()
            .map(|entry| {
                json!({
                    "view": entry.view,
                    "component": entry.component,
                    "source": entry.source,
                    "digest": entry.digest,
                    "version": entry.version,
                    "state": entry.state,
                    "notes": entry.notes,
                })
            })
            .collect();
        output::json(&json!({ "views": views }));
        return;
    }
    if entries.is_empty() {
        output::line(format!("{} has no on-demand feature views", dir.display()));
        return;
    }
    let heading = ["view", "state", "component", "version", "source"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for entry in entries {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            entry.view.clone(),
            entry.state.to_owned(),
            or_dash(&entry.component),
            or_dash(&entry.version),
            or_dash(&entry.source),
        ]);
    }
    output::line(table::lay_out(&rows));
    if entries.iter().any(|entry| entry.state == "missing") {
        output::line(
            "\nmissing: `galley transform wrap` takes the registry's own function, `galley transform \
             new` begins another",
        );
    }
    for entry in entries {
        for note in &entry.notes {
            output::line(format!("{}: {note}", entry.view));
        }
    }
}

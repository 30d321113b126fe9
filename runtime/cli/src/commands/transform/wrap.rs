//! `galley transform wrap`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail};
use galley_build::{BuiltComponent, Error as BuildError, Language, NewProject};
use galley_manifest::{Manifest, bind};
use galley_registry::{OnDemandView, Registry};
use indicatif::{MultiProgress, ProgressBar};
use serde_json::{Value, json};

use crate::args::WrapArgs;
use crate::commands::transform::build::size;
use crate::commands::transform::host::Host;
use crate::commands::transform::new::binding;
use crate::commands::transform::registry;
use crate::commands::transform::subject::with_workshop;
use crate::commands::transform::tools::Progress;
use crate::output;

/// What every project that was wrapped begins with, so that nobody's own work is written over.
const MARK: &str = "# Made by `galley transform wrap` from the registry: changes here are lost.\n";

/// What became of one view.
struct Outcome {
    view: String,
    result: Result<Done, Vec<String>>,
}

struct Done {
    component: BuiltComponent,
    is_new: bool,
    inputs: Vec<String>,
    took: String,
}

/// What all views share.
struct Wrap<'a> {
    args: &'a WrapArgs,
    repo: PathBuf,
    out: PathBuf,
    registry: Registry,
    host: Host,
    /// Held while spin.toml is changed.
    manifest: Mutex<()>,
    lines: MultiProgress,
}

pub(crate) fn run(args: &WrapArgs) -> Result<ExitCode> {
    let repo = args.repo.clone().unwrap_or_else(|| PathBuf::from("."));
    let wrap = Wrap {
        out: args.out.clone().unwrap_or_else(|| repo.join("transforms")),
        registry: registry::open(&repo)?,
        host: Host::open_for(&repo)?,
        manifest: Mutex::new(()),
        lines: MultiProgress::new(),
        args,
        repo,
    };
    // A manifest that cannot be changed is said before minutes are spent on building.
    let manifest = wrap.repo.join(Manifest::FILE);
    if manifest.try_exists()? {
        Manifest::read(&manifest)?;
    }
    let views: Vec<&OnDemandView> = match args.views.as_slice() {
        [] => wrap.registry.all_on_demand_views().collect(),
        names => names
            .iter()
            .map(|name| registry::view(&wrap.registry, name))
            .collect::<Result<_>>()?,
    };
    if views.is_empty() {
        bail!(
            "project {} has no on-demand feature views; `feast apply` puts them into the registry",
            wrap.registry.project()
        );
    }
    let outcomes = wrap.all(&views);
    let wrapped = outcomes.iter().filter(|it| it.result.is_ok()).count();
    wrap.report(&outcomes, wrapped);
    let failed = match args.strict {
        true => wrapped < views.len(),
        false => wrapped == 0,
    };
    Ok(match failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

impl Wrap<'_> {
    /// Says what became of the views, and what is left for those that cannot be wrapped.
    fn report(&self, outcomes: &[Outcome], wrapped: usize) {
        if self.args.output.json {
            let views: Vec<Value> = outcomes.iter().map(Outcome::to_json).collect();
            output::json(&json!({ "wrapped": wrapped, "views": views }));
            return;
        }
        outcomes.iter().for_each(Outcome::show);
        output::line(format!(
            "{wrapped} of {} views are bound in {}",
            outcomes.len(),
            self.repo.join(Manifest::FILE).display()
        ));
        if let Some(refused) = outcomes.iter().find(|it| it.result.is_err()) {
            output::line(format!(
                "What cannot be wrapped can be written by hand: \
                 galley transform new {} --repo {} --lang python",
                refused.view,
                self.repo.display()
            ));
        }
    }

    /// Wraps the views, several at a time, and gives their outcomes in the same order.
    fn all(&self, views: &[&OnDemandView]) -> Vec<Outcome> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.args.jobs.unwrap_or(cores).clamp(1, views.len());
        let next = AtomicUsize::new(0);
        let outcomes: Mutex<Vec<(usize, Outcome)>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(view) = views.get(index) else {
                            break;
                        };
                        let outcome = Outcome {
                            view: view.name.clone(),
                            result: self.one(view).map_err(|error| reasons(&error)),
                        };
                        if let Ok(mut outcomes) = outcomes.lock() {
                            outcomes.push((index, outcome));
                        }
                    }
                });
            }
        });
        let mut outcomes = outcomes.into_inner().unwrap_or_default();
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    fn one(&self, view: &OnDemandView) -> Result<Done> {
        let bar = self.lines.add(ProgressBar::new_spinner());
        let progress = Progress::on(bar, Some(view.name.clone()));
        let dir = self.out.join(folder(&view.name));
        self.may_write(&dir)?;
        let made = with_workshop(
            &self.host,
            !self.args.no_install,
            &progress,
            |workshop| -> Result<_> {
                let to_wrap = registry::to_wrap(&self.registry, view);
                let wrapped = galley_build::wrap(workshop, &to_wrap, &dir, MARK)?;
                let built = galley_build::build(workshop, &wrapped.project_dir)?;
                Ok((wrapped, built))
            },
        );
        progress.done();
        let (wrapped, built) = made??;
        let ignored = dir.join(".gitignore");
        if !ignored.try_exists()? {
            std::fs::write(&ignored, "/target\n__pycache__\n")
                .with_context(|| format!("write {}", ignored.display()))?;
        }
        self.bind(view, &dir)?;
        Ok(Done {
            component: built.component,
            is_new: built.is_new,
            inputs: wrapped.inputs,
            took: progress.took(),
        })
    }

    /// Nobody's own project is written over.
    fn may_write(&self, dir: &Path) -> Result<()> {
        let app = dir.join("app.py");
        let is_other = match std::fs::read_to_string(&app) {
            Ok(text) => !text.starts_with(MARK),
            Err(_) => galley_build::language(dir).is_ok(),
        };
        if is_other && !self.args.replace {
            bail!(
                "{} holds a project that was not made by wrapping; --replace writes over it",
                dir.display()
            );
        }
        Ok(())
    }

    fn bind(&self, view: &OnDemandView, dir: &Path) -> Result<()> {
        let _held = self
            .manifest
            .lock()
            .map_err(|_| anyhow::anyhow!("another view's thread failed"))?;
        let path = self.repo.join(Manifest::FILE);
        let project = NewProject {
            name: &view.name,
            view: &view.name,
            language: Language::Python,
            columns: None,
        };
        let binding = binding(&project, &self.repo, dir)?;
        let bound = match Manifest::read(&path) {
            Ok(manifest) => manifest
                .transforms
                .iter()
                .find(|trigger| trigger.view == view.name)
                .and_then(|trigger| manifest.components.get(&trigger.component))
                .map(|component| component.source.clone()),
            Err(_) => None,
        };
        let own = galley_manifest::Source::File(binding.source.clone());
        match bound {
            Some(source) if source != own && !self.args.replace => bail!(
                "{} binds it to {}; --replace binds it to the registry's own function",
                path.display(),
                super::subject::source_text(&source)
            ),
            _ => {
                bind(&path, &binding)?;
                Ok(())
            }
        }
    }
}

/// The folder of a view's project, one for each name: a name may hold anything, also what leads out
/// of the folder around it.
fn folder(view: &str) -> String {
    let mut folder = String::with_capacity(view.len());
    for (place, letter) in view.char_indices() {
        let is_plain = letter.is_alphanumeric()
            || matches!(letter, '_' | '-' | ' ')
            || (letter == '.' && place > 0);
        if is_plain {
            folder.push(letter);
        } else {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                folder.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    folder
}

/// Why a view was not wrapped, one reason each.
fn reasons(error: &anyhow::Error) -> Vec<String> {
    match error.downcast_ref::<BuildError>() {
        Some(BuildError::Refused { reasons, .. }) => reasons.clone(),
        _ => vec![format!("{error:#}")],
    }
}

impl Outcome {
    fn show(&self) {
        match &self.result {
            Ok(done) => output::line(format!(
                "wrapped {}: {}, {}, reads {}",
                self.view,
                size(done.component.bytes),
                match done.is_new {
                    true => done.took.as_str(),
                    false => "unchanged",
                },
                match done.inputs.is_empty() {
                    true => "nothing".to_owned(),
                    false => done.inputs.join(", "),
                }
            )),
            Err(reasons) => {
                output::line(format!("NOT     {}", self.view));
                for reason in reasons {
                    output::line(format!("          {reason}"));
                }
            }
        }
    }

    fn to_json(&self) -> Value {
        match &self.result {
            Ok(done) => json!({
                "view": self.view,
                "wrapped": true,
                "path": done.component.path,
                "digest": done.component.digest,
                "built": done.is_new,
                "inputs": done.inputs,
            }),
            Err(reasons) => json!({ "view": self.view, "wrapped": false, "reasons": reasons }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::folder;

    #[test]
    fn a_project_lies_in_a_folder_of_its_own_whatever_its_view_is_called() {
        for (view, expect) in [
            ("driver_stats", "driver_stats"),
            ("my-view v1.2", "my-view v1.2"),
            ("größe", "größe"),
            ("../up", "%2E.%2Fup"),
            ("a/b", "a%2Fb"),
            ("a%2Fb", "a%252Fb"),
            ("nul\0", "nul%00"),
        ] {
            assert_eq!(folder(view), expect);
        }
    }
}

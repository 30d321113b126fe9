//! Python projects.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::component::{self, BuiltComponent};
use crate::run::Step;
use crate::{Error, Result, Workshop, embedded, files, interpreter};

const COMPONENTIZE: &str = "componentize-py==0.25.0";
const ENTRY: &str = "\
import app
import galley_transform

Transformer = getattr(app, \"Transformer\", None) or galley_transform.component()
";
/// Put by the runtime before texts that are meant for authors.
const REFUSAL: &str = "galley-refusal: ";

/// A virtual environment with componentize-py in it.
pub(crate) struct Environment {
    root: PathBuf,
}

impl Environment {
    pub(crate) fn python(&self) -> Command {
        let mut command = Command::new(self.root.join("bin/python"));
        // The author's own environment has no say in what is built.
        command
            .env_remove("PYTHONPATH")
            .env_remove("VIRTUAL_ENV")
            .env_remove("PYTHONHOME")
            // The traceback that matters is Python's.
            .env("RUST_BACKTRACE", "0");
        command
    }
}

/// Finds the environment, or sets it up.
pub(crate) fn environment(workshop: &Workshop<'_>) -> Result<Environment> {
    let root = workshop
        .cache_dir
        .join("python")
        .join(COMPONENTIZE.replace("==", "-"));
    let _lock = workshop.lock(&root)?;
    let ready = root.join(".ready");
    let environment = Environment { root: root.clone() };
    if files::is_there(&ready)? {
        return Ok(environment);
    }
    if !workshop.may_install {
        return Err(Error::ToolMissing {
            tool: COMPONENTIZE.to_owned(),
            step: "building a Python transformation".to_owned(),
            way_out: format!("Allow it to be installed into {}", root.display()),
        });
    }
    workshop.say("installing componentize-py (once)");
    let mut command = Command::new("python3");
    command.args(["-m", "venv", "--clear"]).arg(&root);
    let way_out = "Install Python 3.10 or later with its venv module \
                   (on Debian: apt-get install python3-venv)";
    Step::new(command, "making a virtual environment", way_out).run(workshop)?;
    let mut command = environment.python();
    command.args([
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--quiet",
        COMPONENTIZE,
    ]);
    let way_out = "pip needs a package index: PIP_INDEX_URL names another one than pypi.org";
    Step::new(command, "installing componentize-py", way_out).run(workshop)?;
    files::write(&ready, COMPONENTIZE)?;
    Ok(environment)
}

/// Builds the project at `dir` (its `app.py`) into `output`.
pub(crate) fn build(workshop: &Workshop<'_>, dir: &Path, output: &Path) -> Result<BuiltComponent> {
    let environment = environment(workshop)?;
    let stage = files::stage(&workshop.cache_dir)?;
    let runtime = stage.path().join("runtime");
    for (name, text) in embedded::PYTHON_RUNTIME {
        files::write(&runtime.join(name), text)?;
    }
    files::write(&runtime.join("galley_entry.py"), ENTRY)?;
    let wit = stage.path().join("transform.wit");
    files::write(&wit, crate::TRANSFORM_WIT)?;
    let made = stage.path().join("out.wasm");
    let mut command = environment.python();
    // The program beside this interpreter is a script that names its path: a moved cache breaks it.
    command
        .args([
            "-c",
            "import sys, componentize_py; sys.exit(componentize_py.script())",
        ])
        .arg("--quiet")
        .arg("-d")
        .arg(&wit)
        .args([
            "-w",
            "transform",
            "componentize",
            "galley_entry",
            "--stub-wasi",
            "-p",
        ])
        .arg(dir)
        .arg("-p")
        .arg(&runtime)
        .arg("-o")
        .arg(&made)
        .current_dir(stage.path());
    workshop.say("building with componentize-py (about 20 s)");
    let way_out = "Correct what the traceback names: app.py is run once while it is built";
    let built = Step::new(command, "building the Python transformation", way_out).run(workshop);
    built.map_err(|error| refusal(dir, error))?;
    let mut bytes = files::read(&made)?;
    interpreter::keep_lock(&mut bytes).map_err(|error| Error::NotATransform {
        path: output.to_owned(),
        reason: error.to_string(),
    })?;
    component::deliver(workshop, output, bytes)
}

/// A text of the runtime's own in the place of the traceback around it.
fn refusal(dir: &Path, error: Error) -> Error {
    if let Error::StepFailed { output, .. } = &error
        && let Some((_, reason)) = output.rsplit_once(REFUSAL)
    {
        return Error::Project {
            path: dir.to_owned(),
            reason: reason.lines().next().unwrap_or_default().trim().to_owned(),
        };
    }
    error
}

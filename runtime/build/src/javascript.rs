//! JavaScript projects.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::component::{self, BuiltComponent};
use crate::run::{Step, ask};
use crate::{Error, Result, Workshop, embedded, files};

const COMPONENTIZE: &str = "@bytecodealliance/componentize-js@0.23.0";
const ENTRY: &str = "\
import definition from \"./project/transform.js\";
import { component } from \"./galley_transform.js\";

export const transformer = component(definition);
";
/// How many files of a project are taken along.
const FILES_MAX: usize = 1_000;
/// How deep they may lie.
const DEPTH_MAX: usize = 8;

/// Finds componentize-js, or installs it.
fn toolbox(workshop: &Workshop<'_>) -> Result<PathBuf> {
    let root = workshop.cache_dir.join("javascript/componentize-js-0.23.0");
    let _lock = workshop.lock(&root)?;
    // The script is this program's own: another version may have written the one that is there.
    files::write(&root.join("build.mjs"), embedded::JAVASCRIPT_BUILD)?;
    let ready = root.join(".ready");
    if files::is_there(&ready)? {
        return Ok(root);
    }
    let missing = |tool: &str, way_out: &str| Error::ToolMissing {
        tool: tool.to_owned(),
        step: "building a JavaScript transformation".to_owned(),
        way_out: way_out.to_owned(),
    };
    if ask("node", &["--version"]).is_none() || ask("npm", &["--version"]).is_none() {
        return Err(missing("node", "Install Node.js 20 or later, with npm"));
    }
    if !workshop.may_install {
        let way_out = format!("Allow it to be installed into {}", root.display());
        return Err(missing(COMPONENTIZE, &way_out));
    }
    workshop.say("installing componentize-js (once, about 40 s)");
    files::write(
        &root.join("package.json"),
        "{\"private\": true, \"type\": \"module\"}\n",
    )?;
    let mut command = Command::new("npm");
    command
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            COMPONENTIZE,
        ])
        .current_dir(&root);
    let way_out = "npm needs a registry: 'npm config set registry URL' names another one";
    Step::new(command, "installing componentize-js", way_out).run(workshop)?;
    files::write(&ready, COMPONENTIZE)?;
    Ok(root)
}

/// Builds the project at `dir` (its `transform.js`) into `output`.
pub(crate) fn build(workshop: &Workshop<'_>, dir: &Path, output: &Path) -> Result<BuiltComponent> {
    let toolbox = toolbox(workshop)?;
    let stage = files::stage(&workshop.cache_dir)?;
    let wit = stage.path().join("wit");
    files::write(&wit.join("transform.wit"), crate::TRANSFORM_WIT)?;
    for (name, text) in embedded::JAVASCRIPT_RUNTIME {
        files::write(&stage.path().join(name), text)?;
    }
    let entry = stage.path().join("entry.js");
    files::write(&entry, ENTRY)?;
    let mut left = FILES_MAX;
    take_along(dir, &stage.path().join("project"), DEPTH_MAX, &mut left)?;
    let made = stage.path().join("out.wasm");
    let mut command = Command::new("node");
    command
        .arg(toolbox.join("build.mjs"))
        .args([&entry, &wit, &made])
        .current_dir(stage.path());
    workshop.say("building with componentize-js (about a minute)");
    let way_out = "Correct what the error names: transform.js is run once while it is built";
    Step::new(command, "building the JavaScript transformation", way_out).run(workshop)?;
    component::deliver(output, &files::read(&made)?)
}

/// Copies the project's modules, so that the build sees nothing else.
fn take_along(from: &Path, to: &Path, depth: usize, left: &mut usize) -> Result<()> {
    let entries = std::fs::read_dir(from).map_err(files::failed("list", from))?;
    for entry in entries {
        let entry = entry.map_err(files::failed("list", from))?;
        let (path, name) = (entry.path(), entry.file_name());
        let skipped = ["node_modules", "target"]
            .iter()
            .any(|skipped| name == *skipped);
        if path.is_dir() && !skipped && depth > 0 {
            take_along(&path, &to.join(&name), depth - 1, left)?;
        }
        let is_module = path.extension().is_some_and(|extension| {
            ["js", "mjs", "json"]
                .iter()
                .any(|known| extension == *known)
        });
        if is_module && path.is_file() {
            *left = left.checked_sub(1).ok_or_else(|| Error::Project {
                path: from.to_owned(),
                reason: format!("the project has more than {FILES_MAX} modules"),
            })?;
            files::write(&to.join(&name), files::read(&path)?)?;
        }
    }
    Ok(())
}

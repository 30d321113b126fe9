//! JavaScript and TypeScript projects.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::component::{self, BuiltComponent};
use crate::run::{Step, ask};
use crate::{Error, Result, Workshop, embedded, files};

const COMPONENTIZE: &str = "@bytecodealliance/componentize-js@0.23.0";
/// Blanks types out, so that lines and columns stay what they are in the author's file.
const AMARO: &str = "amaro@1.2.1";
const ENTRY: &str = "\
import definition from \"./project/{{file}}\";
import { component } from \"./galley_transform.js\";

export const transformer = component(definition);
";
/// How many files of a project are taken along.
const FILES_MAX: usize = 1_000;
/// How deep they may lie.
const DEPTH_MAX: usize = 8;

/// Finds componentize-js, or installs it.
fn toolbox(workshop: &Workshop<'_>) -> Result<PathBuf> {
    let root = workshop
        .cache_dir
        .join("javascript/componentize-js-0.23.0-amaro-1.2.1");
    let _lock = workshop.lock(&root)?;
    // The script is this program's own: another version may have written the one that is there.
    files::write(&root.join("build.mjs"), embedded::JAVASCRIPT_BUILD)?;
    files::write(&root.join("strip.mjs"), embedded::JAVASCRIPT_STRIP)?;
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
            AMARO,
        ])
        .current_dir(&root);
    let way_out = "npm needs a registry: 'npm config set registry URL' names another one";
    Step::new(command, "installing componentize-js", way_out).run(workshop)?;
    files::write(&ready, COMPONENTIZE)?;
    Ok(root)
}

/// Builds the project at `dir` (its `transform.js` or `transform.ts`, which is `main`) into `output`.
pub(crate) fn build(
    workshop: &Workshop<'_>,
    dir: &Path,
    main: &str,
    output: &Path,
) -> Result<BuiltComponent> {
    let toolbox = toolbox(workshop)?;
    let stage = files::stage(&workshop.cache_dir)?;
    let wit = stage.path().join("wit");
    files::write(&wit.join("transform.wit"), crate::TRANSFORM_WIT)?;
    for (name, text) in embedded::JAVASCRIPT_RUNTIME {
        files::write(&stage.path().join(name), text)?;
    }
    let entry = stage.path().join("entry.js");
    files::write(&entry, ENTRY.replace("{{file}}", main))?;
    let mut left = FILES_MAX;
    let project = stage.path().join("project");
    take_along(dir, &project, DEPTH_MAX, &mut left)?;
    if main.ends_with(".ts") {
        strip(workshop, &toolbox, &project)?;
    }
    let made = stage.path().join("out.wasm");
    let mut command = Command::new("node");
    command
        .arg(toolbox.join("build.mjs"))
        .args([&entry, &wit, &made])
        .current_dir(stage.path());
    workshop.say("building with componentize-js (about a minute)");
    let way_out = format!("Correct what the error names: {main} is run once while it is built");
    Step::new(command, "building the JavaScript transformation", &way_out).run(workshop)?;
    component::deliver(workshop, output, files::read(&made)?)
}

/// Takes the types out of the staged TypeScript files. Nothing checks them: that is for the
/// author's editor or `tsc --noEmit`.
fn strip(workshop: &Workshop<'_>, toolbox: &Path, project: &Path) -> Result<()> {
    let mut command = Command::new("node");
    command
        .arg(toolbox.join("strip.mjs"))
        .arg(project)
        .current_dir(toolbox);
    let way_out = "Types are taken out and nothing else is changed: write enums, namespaces and \
                   parameter properties as plain JavaScript";
    Step::new(command, "taking the types out of TypeScript", way_out).run(workshop)?;
    Ok(())
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
            ["js", "mjs", "json", "ts", "mts"]
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

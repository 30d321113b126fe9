//! Binding a view in a manifest that its author wrote: what else stands there stays as it is,
//! comments included.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, TableLike, value};

use crate::component::{is_id, suggest_id};
use crate::error::{Error, Result};
use crate::manifest::Manifest;

/// The component that is to answer a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// The on-demand feature view.
    pub view: String,
    /// Its project; `None` is whichever project has it.
    pub project: Option<String>,
    /// The component's name, should the view have none yet; made fit to be one.
    pub component: String,
    /// Its WebAssembly, relative to the manifest.
    pub source: PathBuf,
    /// What it is; an empty text changes nothing.
    pub description: String,
    /// How it is built; `None` changes nothing.
    pub build: Option<BuildStep>,
    /// Its golden rows, relative to the manifest; `None` changes nothing.
    pub golden: Option<PathBuf>,
}

/// `[component.<id>.build]` of a binding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildStep {
    /// The shell command.
    pub command: String,
    /// Where it runs, relative to the manifest; `None` is the manifest's folder.
    pub workdir: Option<PathBuf>,
    /// Patterns of the files that matter to it.
    pub watch: Vec<String>,
}

/// Adds or replaces the binding of one view in the manifest at `path`, which is made when there is
/// none, and gives the manifest as it is then. The file is replaced in one step.
///
/// A view that is bound keeps its `[[trigger.galley]]` with the settings in it, and the name of its
/// component.
///
/// # Errors
/// As [`Manifest::read`] about what is there; [`Error::Io`] when it cannot be written.
pub fn bind(path: &Path, binding: &Binding) -> Result<Manifest> {
    let (text, before) = match Manifest::read(path) {
        Ok(manifest) => {
            let text = std::fs::read_to_string(path).map_err(|source| io("read", path, source))?;
            (text, manifest)
        }
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            let text = opening(path);
            let manifest = Manifest::parse(&text, path)?;
            (text, manifest)
        }
        Err(error) => return Err(error),
    };
    let mut document: DocumentMut =
        text.parse()
            .map_err(|error: toml_edit::TomlError| Error::Syntax {
                path: path.to_path_buf(),
                line: 1,
                reason: error.message().to_owned(),
            })?;
    let (trigger, component) = place(&before, binding);
    set_trigger(&mut document, path, trigger, &component, binding)?;
    set_component(&mut document, path, &component, binding)?;
    let text = document.to_string();
    // What was written must be what was meant, whatever the file looked like before.
    let after = Manifest::parse(&text, path)?;
    write(path, &text)?;
    Ok(after)
}

/// The text of a manifest with the source of each component put elsewhere: where `source` says for
/// its name. Everything else stays as it was written.
///
/// # Errors
/// As [`Manifest::parse`], before and after.
pub fn relocate(text: &str, path: &Path, source: &dyn Fn(&str) -> String) -> Result<String> {
    let before = Manifest::parse(text, path)?;
    let mut document: DocumentMut =
        text.parse()
            .map_err(|error: toml_edit::TomlError| Error::Syntax {
                path: path.to_path_buf(),
                line: 1,
                reason: error.message().to_owned(),
            })?;
    let components = child(document.as_table_mut(), "component", path)?;
    for id in before.components.keys() {
        let component = shown_child(components, id, path)?;
        // What was there may have been a table of its own.
        component.remove("source");
        set(component, "source", &source(id));
    }
    let text = document.to_string();
    Manifest::parse(&text, path)?;
    Ok(text)
}

/// The index of the view's trigger, if it has one, and the name of its component.
fn place(before: &Manifest, binding: &Binding) -> (Option<usize>, String) {
    let index = before.transforms.iter().position(|trigger| {
        trigger.view == binding.view
            && (trigger.project.is_none()
                || binding.project.is_none()
                || trigger.project == binding.project)
    });
    let taken = |id: &str| {
        let others = before.transforms.iter().enumerate();
        let transforms = others
            .filter(|(other, _)| Some(*other) != index)
            .any(|(_, trigger)| trigger.component == id);
        transforms || before.http.iter().any(|trigger| trigger.component == id)
    };
    let own = index
        .and_then(|index| before.transforms.get(index))
        .map(|trigger| trigger.component.clone())
        .filter(|id| !taken(id));
    let component = own.unwrap_or_else(|| {
        let base = match is_id(&binding.component) {
            true => binding.component.clone(),
            false => suggest_id(&binding.component),
        };
        let mut id = base.clone();
        // Ends: each taken name belongs to one of the triggers.
        for next in 2..=before.transforms.len() + before.http.len() + 2 {
            if !taken(&id) {
                break;
            }
            id = format!("{base}-v{next}");
        }
        id
    });
    (index, component)
}

fn set_trigger(
    document: &mut DocumentMut,
    path: &Path,
    index: Option<usize>,
    component: &str,
    binding: &Binding,
) -> Result<()> {
    let triggers = child(document.as_table_mut(), "trigger", path)?;
    let list = triggers
        .entry("galley")
        .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()))
        .as_array_of_tables_mut()
        .ok_or_else(|| odd(path, "trigger.galley", "[[trigger.galley]]"))?;
    let trigger = match index {
        Some(index) => list
            .get_mut(index)
            .ok_or_else(|| odd(path, "trigger.galley", "[[trigger.galley]]"))?,
        None => {
            list.push(Table::new());
            let last = list.len() - 1;
            list.get_mut(last)
                .ok_or_else(|| odd(path, "trigger.galley", "[[trigger.galley]]"))?
        }
    };
    set(trigger, "component", component);
    set(trigger, "on-demand-feature-view", &binding.view);
    if let Some(project) = &binding.project {
        set(trigger, "project", project);
    }
    Ok(())
}

fn set_component(
    document: &mut DocumentMut,
    path: &Path,
    id: &str,
    binding: &Binding,
) -> Result<()> {
    let components = child(document.as_table_mut(), "component", path)?;
    let component = shown_child(components, id, path)?;
    set(component, "source", &slashed(&binding.source));
    if !binding.description.is_empty() {
        set(component, "description", &binding.description);
    }
    if let Some(step) = &binding.build {
        let build = shown_child(component, "build", path)?;
        set(build, "command", &step.command);
        if let Some(workdir) = &step.workdir {
            set(build, "workdir", &slashed(workdir));
        }
        if !step.watch.is_empty() {
            build.insert(
                "watch",
                value(step.watch.iter().map(String::as_str).collect::<Array>()),
            );
        }
    }
    if let Some(golden) = &binding.golden {
        let tools = child(component, "tool", path)?;
        set(
            shown_child(tools, "galley", path)?,
            "golden",
            &slashed(golden),
        );
    }
    Ok(())
}

/// The table under `key`; a new one has no heading of its own.
fn child<'t>(
    table: &'t mut dyn TableLike,
    key: &str,
    path: &Path,
) -> Result<&'t mut dyn TableLike> {
    let made = || {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    };
    table
        .entry(key)
        .or_insert_with(made)
        .as_table_like_mut()
        .ok_or_else(|| odd(path, key, "a table"))
}

/// The table under `key`; a new one has a heading.
fn shown_child<'t>(
    table: &'t mut dyn TableLike,
    key: &str,
    path: &Path,
) -> Result<&'t mut dyn TableLike> {
    table
        .entry(key)
        .or_insert_with(|| Item::Table(Table::new()))
        .as_table_like_mut()
        .ok_or_else(|| odd(path, key, "a table"))
}

/// Sets a text, and leaves one that is the same as it was written.
fn set(table: &mut dyn TableLike, key: &str, text: &str) {
    match table.get_mut(key) {
        Some(item) if item.as_str() == Some(text) => {}
        Some(item) => {
            let decor = item.as_value().map(|value| value.decor().clone());
            *item = value(text);
            if let (Some(value), Some(decor)) = (item.as_value_mut(), decor) {
                *value.decor_mut() = decor;
            }
        }
        None => {
            table.insert(key, value(text));
        }
    }
}

fn slashed(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

/// A new manifest, named after its folder.
fn opening(path: &Path) -> String {
    let folder = std::path::absolute(path).ok();
    let name = folder
        .as_deref()
        .and_then(Path::parent)
        .and_then(Path::file_name)
        .map(|name| suggest_id(&name.to_string_lossy()))
        .unwrap_or_else(|| "transforms".to_owned());
    format!(
        "# Which component answers which on-demand feature view. `galley serve` reads this file in the\n\
         # folder of the Feast repo; it is Spin's manifest format 2.\n\
         spin_manifest_version = 2\n\n\
         [application]\nname = \"{name}\"\nversion = \"0.1.0\"\n"
    )
}

/// Replaces the file in one step; its permissions stay.
fn write(path: &Path, text: &str) -> Result<()> {
    // A link is followed, so that what it points to is what changes.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed = |source| io("write", path, source);
    let mut file = tempfile::Builder::new()
        .prefix(".spin.toml.")
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    let permissions = match std::fs::metadata(&target) {
        Ok(metadata) => metadata.permissions(),
        Err(_) => readable(&file).map_err(failed)?,
    };
    file.as_file()
        .set_permissions(permissions)
        .map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&target)
        .map_err(|error| io("write", path, error.error))?;
    Ok(())
}

/// The permissions of a file that others may read, as a new manifest's.
fn readable(file: &tempfile::NamedTempFile) -> std::io::Result<std::fs::Permissions> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut permissions = file.as_file().metadata()?.permissions();
    permissions.set_mode(0o644);
    Ok(permissions)
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}

fn odd(path: &Path, key: &str, expected: &str) -> Error {
    Error::Contradiction {
        path: path.to_path_buf(),
        line: 1,
        table: key.to_owned(),
        reason: format!("write it as {expected}, so that it can be added to"),
    }
}

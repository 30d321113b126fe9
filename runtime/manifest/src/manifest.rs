//! The manifest as a whole.

use std::collections::{BTreeMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::component::{Component, Source};
use crate::error::{Error, Result};
use crate::section::{File, Section};
use crate::settings::{EngineSettings, HttpHostSettings};
use crate::trigger::{HttpTrigger, Ids, TransformTrigger};

/// A manifest that was read, and is consistent in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The file.
    pub path: PathBuf,
    /// `[application]`.
    pub application: Application,
    /// `[variables]`.
    pub variables: BTreeMap<String, Variable>,
    /// `[component.<id>]`.
    pub components: BTreeMap<String, Component>,
    /// `[[trigger.galley]]`, in their order.
    pub transforms: Vec<TransformTrigger>,
    /// `[[trigger.http]]`, in their order.
    pub http: Vec<HttpTrigger>,
    /// What is there but has no effect here.
    pub warnings: Vec<String>,
    /// `[application.trigger.galley]`: what all transformations share.
    pub engine: EngineSettings,
    /// `[application.trigger.http]`: what all HTTP components share.
    pub http_engine: EngineSettings,
    /// What else HTTP components share, of the same table.
    pub http_host: HttpHostSettings,
}

/// `[application]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its name.
    pub name: String,
    /// Its version; may be empty.
    pub version: String,
    /// What its authors say it is; may be empty.
    pub description: String,
    /// Who made it.
    pub authors: Vec<String>,
    /// Feast's registry file that the bindings are for, relative to the manifest: `registry` of
    /// `[application.trigger.galley]`. The authors' commands use it where they are told no repo; a
    /// server takes the registry of its repo.
    pub registry: Option<PathBuf>,
}

/// A variable of the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variable {
    /// Its value where the environment has none.
    pub default: Option<String>,
    /// Whether the environment has to give it a value.
    pub required: bool,
    /// Whether its value is kept out of what people see.
    pub secret: bool,
}

impl Manifest {
    /// The name of the file.
    pub const FILE: &'static str = "spin.toml";
    /// The largest manifest that is read, in bytes.
    pub const BYTES_MAX: u64 = 1 << 20;

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::TooLarge`] about the file, the others about what it says.
    pub fn read(path: &Path) -> Result<Self> {
        let io = |source| Error::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        };
        let file = std::fs::File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        // One byte more than may be there tells a file that is too large from one that just fits.
        file.take(Self::BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        if bytes.len() as u64 > Self::BYTES_MAX {
            return Err(Error::TooLarge {
                path: path.to_path_buf(),
                bytes: std::fs::metadata(path).map_err(io)?.len(),
                bytes_max: Self::BYTES_MAX,
            });
        }
        let text = String::from_utf8(bytes).map_err(|error| Error::Syntax {
            path: path.to_path_buf(),
            line: line_of(error.as_bytes(), error.utf8_error().valid_up_to()),
            reason: "the text is not UTF-8".to_owned(),
        })?;
        Self::parse(&text, path)
    }

    /// Reads a text; `path` is for messages, and what relative paths in it are relative to.
    ///
    /// # Errors
    /// All but [`Error::Io`]; the first one found.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let document = DeTable::parse(text).map_err(|error| Error::Syntax {
            path: path.to_path_buf(),
            line: error
                .span()
                .map_or(1, |span| line_of(text.as_bytes(), span.start)),
            reason: error.message().to_owned(),
        })?;
        let root = File { path, text }.section(&document);
        version(&root)?;
        let mut warnings = Vec::new();
        let (application, engine, (http_engine, http_host)) = application(&root, &mut warnings)?;
        let variables = variables(&root)?;
        let components = components(&root, &mut warnings)?;
        let (transforms, http) = triggers(&root, &components, &mut warnings)?;
        root.finish()?;
        let mut manifest = Self {
            path: path.to_path_buf(),
            application,
            variables,
            components,
            transforms,
            http,
            warnings,
            engine,
            http_engine,
            http_host,
        };
        manifest.warn();
        Ok(manifest)
    }

    /// The folder that relative paths in the manifest start from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// Where the component's WebAssembly is, if it is a file.
    #[must_use]
    pub fn file_of(&self, component: &Component) -> Option<PathBuf> {
        match &component.source {
            Source::File(path) => Some(self.folder().join(path)),
            Source::Url { .. } | Source::Registry { .. } => None,
        }
    }

    /// Adds what is fine by itself and means nothing as it is used.
    fn warn(&mut self) {
        let served: HashSet<&str> = self.http.iter().map(|it| it.component.as_str()).collect();
        let bound: HashSet<&str> = self
            .transforms
            .iter()
            .map(|trigger| trigger.component.as_str())
            .collect();
        for (id, component) in &self.components {
            let mut warn = |text: &str| self.warnings.push(format!("[component.{id}] {text}"));
            if served.contains(id.as_str()) {
                continue;
            }
            if !bound.contains(id.as_str()) {
                warn("is named by no trigger that is served here");
                continue;
            }
            if !component.allowed_outbound_hosts.is_empty() {
                warn("allowed_outbound_hosts has no effect: a transformation has no network");
            }
            if !component.key_value_stores.is_empty() {
                warn("key_value_stores has no effect: a transformation has no stores");
            }
            if !component.environment.is_empty() {
                warn("environment has no effect: a transformation is given variables");
            }
        }
    }
}

fn line_of(text: &[u8], at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn version(root: &Section<'_>) -> Result<()> {
    const KEY: &str = "spin_manifest_version";
    match root.count::<u32>(KEY)? {
        Some(2) => Ok(()),
        Some(_) => Err(root.wrong_key(KEY, "2")),
        None => Err(root.missing(KEY, "spin_manifest_version = 2")),
    }
}

/// What all HTTP components share.
type HttpShared = (EngineSettings, HttpHostSettings);

fn application(
    root: &Section<'_>,
    warnings: &mut Vec<String>,
) -> Result<(Application, EngineSettings, HttpShared)> {
    let section = root
        .table("application", "[application]")?
        .ok_or_else(|| root.missing("application", "[application] with name = \"fraud\""))?;
    let mut application = Application {
        name: section.required_text("name", "name = \"fraud\"")?,
        version: section.text("version")?.unwrap_or_default(),
        description: section.text("description")?.unwrap_or_default(),
        authors: section.texts("authors")?,
        registry: None,
    };
    // For `spin build` and for other tools.
    section.accept("targets");
    section.accept("tool");
    let (mut engine, mut shared) = <(EngineSettings, HttpShared)>::default();
    if let Some(triggers) = section.table("trigger", "[application.trigger]")? {
        if let Some(ours) = triggers.table("galley", "[application.trigger.galley]")? {
            application.registry = ours.text("registry")?.map(PathBuf::from);
            engine = EngineSettings::read(&ours)?;
            ours.finish()?;
        }
        if let Some(http) = triggers.table("http", "[application.trigger.http]")? {
            if http.text("base")?.is_some_and(|base| base != "/") {
                warnings.push(
                    "[application.trigger.http] base has no effect: write whole routes".to_owned(),
                );
            }
            shared = (EngineSettings::read(&http)?, HttpHostSettings::read(&http)?);
            http.finish()?;
        }
    }
    section.finish()?;
    Ok((application, engine, shared))
}

fn variables(root: &Section<'_>) -> Result<BTreeMap<String, Variable>> {
    let Some(section) = root.table("variables", "[variables]")? else {
        return Ok(BTreeMap::new());
    };
    let read = section.children(|name| format!("[variables.{name}]"));
    let read = read.map(|entry| {
        let (name, table) = entry?;
        let variable = Variable {
            default: table.text("default")?,
            required: table.flag("required")?.unwrap_or(false),
            secret: table.flag("secret")?.unwrap_or(false),
        };
        table.text("description")?;
        if variable.default.is_none() && !variable.required {
            return Err(table.missing("default", "default = \"0.9\" (or required = true)"));
        }
        table.finish()?;
        Ok((name.to_owned(), variable))
    });
    read.collect()
}

fn components(
    root: &Section<'_>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, Component>> {
    let Some(section) = root.table("component", "[component]")? else {
        return Ok(BTreeMap::new());
    };
    let read = section.children(|id| format!("[component.{id}]"));
    let read = read.map(|entry| {
        let (id, table) = entry?;
        Ok((id.to_owned(), Component::read(id, table, warnings)?))
    });
    read.collect()
}

fn triggers(
    root: &Section<'_>,
    components: &BTreeMap<String, Component>,
    warnings: &mut Vec<String>,
) -> Result<(Vec<TransformTrigger>, Vec<HttpTrigger>)> {
    let (mut transforms, mut http) = <(Vec<TransformTrigger>, Vec<HttpTrigger>)>::default();
    let Some(section) = root.table("trigger", "[trigger]")? else {
        return Ok((transforms, http));
    };
    let mut ids = Ids::default();
    for table in section.list("galley", "[[trigger.galley]]")? {
        let line = table.line();
        let trigger = TransformTrigger::read(table, components, &mut ids)?;
        if let Some(first) = transforms.iter().find(|first| first.overlaps(&trigger)) {
            return Err(Error::Contradiction {
                path: root.file.path.to_path_buf(),
                line,
                table: "[[trigger.galley]]".to_owned(),
                reason: format!(
                    "on-demand feature view {} is bound already, on line {}; with the same view in \
                     several projects, name the project in both",
                    trigger.view, first.line
                ),
            });
        }
        transforms.push(trigger);
    }
    let mut routes: BTreeMap<String, usize> = BTreeMap::new();
    for table in section.list("http", "[[trigger.http]]")? {
        let trigger = HttpTrigger::read(table, components, &mut ids)?;
        if let Some(route) = &trigger.route
            && let Some(first) = routes.insert(route.clone(), trigger.line)
        {
            return Err(Error::Contradiction {
                path: root.file.path.to_path_buf(),
                line: trigger.line,
                table: "[[trigger.http]]".to_owned(),
                reason: format!("route {route} is taken already, on line {first}"),
            });
        }
        http.push(trigger);
    }
    for (kind, line) in section.keys() {
        if !matches!(kind, "galley" | "http") {
            warnings.push(format!(
                "line {line}: [[trigger.{kind}]] is not served here"
            ));
        }
    }
    Ok((transforms, http))
}

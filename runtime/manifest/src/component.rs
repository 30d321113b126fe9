//! `[component.<id>]`: where the WebAssembly is, how it is built, what it is given.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::Result;
use crate::section::Section;

/// One component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The line of the manifest it begins on, from 1.
    pub line: usize,
    /// Where the WebAssembly is.
    pub source: Source,
    /// What its author says it is; may be empty.
    pub description: String,
    /// Its variables as written, with `{{ name }}` for those of the application;
    /// [`crate::Manifest::variables_of`] puts their values in.
    pub variables: BTreeMap<String, String>,
    /// Environment variables of an HTTP component.
    pub environment: BTreeMap<String, String>,
    /// Where it may connect to, as written: `https://example.com`;
    /// [`crate::Manifest::outbound_hosts_of`] puts variables in.
    pub allowed_outbound_hosts: Vec<String>,
    /// Key-value stores it may open, by their labels.
    pub key_value_stores: Vec<String>,
    /// How it is built from source.
    pub build: Option<Build>,
    /// Golden rows to check it with, relative to the manifest: `golden` of
    /// `[component.<id>.tool.galley]`.
    pub golden: Option<PathBuf>,
}

/// Where a component's WebAssembly is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, relative to the manifest.
    File(PathBuf),
    /// A file somewhere else.
    Url {
        /// Its address.
        url: String,
        /// What it must hash to: `sha256:` and 64 hexadecimal digits.
        digest: String,
    },
    /// A package of a component registry.
    Registry {
        /// The registry's host; `None` is the default of whoever fetches it.
        registry: Option<String>,
        /// The package: `acme:transforms`.
        package: String,
        /// Its version.
        version: String,
    },
}

/// `[component.<id>.build]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Shell commands, run one after the other.
    pub commands: Vec<String>,
    /// Where they run, relative to the manifest; `None` is the manifest's folder.
    pub workdir: Option<PathBuf>,
    /// Patterns of the files that matter to it, relative to `workdir`.
    pub watch: Vec<String>,
    /// Environment variables of the commands.
    pub environment: BTreeMap<String, String>,
}

/// Keys of a component that a node has no use for, and what that means.
const WITHOUT_EFFECT: [(&str, &str); 7] = [
    ("files", "components are given no files"),
    ("exclude_files", "components are given no files"),
    ("sqlite_databases", "there are no SQLite databases here"),
    ("ai_models", "there are no AI models here"),
    ("dependencies", "compose the component before it is bound"),
    (
        "dependencies_inherit_configuration",
        "compose the component before it is bound",
    ),
    (
        "allowed_http_hosts",
        "it is the old name of allowed_outbound_hosts, and grants nothing",
    ),
];

impl Component {
    pub(crate) fn read(id: &str, section: Section<'_>, warnings: &mut Vec<String>) -> Result<Self> {
        if !is_id(id) {
            return Err(section.contradiction(format!(
                "'{id}' is no name for a component: lower-case letters, digits and '-', for \
                 example {}",
                suggest_id(id)
            )));
        }
        for (key, why) in WITHOUT_EFFECT {
            if section.accept(key) {
                warnings.push(format!("{}: {key} has no effect: {why}", section.name));
            }
        }
        // For `spin build --profile` and `spin build`'s check of imports alone.
        section.accept("profile");
        section.accept("targets");
        let component = Self {
            line: section.line(),
            source: Source::read(id, &section)?,
            description: section.text("description")?.unwrap_or_default(),
            variables: section.text_map("variables")?,
            environment: section.text_map("environment")?,
            allowed_outbound_hosts: section.texts("allowed_outbound_hosts")?,
            key_value_stores: section.texts("key_value_stores")?,
            build: section
                .table("build", &format!("[component.{id}.build]"))?
                .map(Build::read)
                .transpose()?,
            golden: golden(id, &section)?,
        };
        section.finish()?;
        Ok(component)
    }
}

impl Source {
    fn read(id: &str, section: &Section<'_>) -> Result<Self> {
        const EXAMPLE: &str = "source = \"transforms/my-view.wasm\"";
        if !section.holds_table("source") {
            let path = section.required_text("source", EXAMPLE)?;
            return Ok(Self::File(PathBuf::from(path)));
        }
        let Some(table) = section.table("source", &format!("source of [component.{id}]"))? else {
            return Err(section.missing("source", EXAMPLE));
        };
        let source = if let Some(url) = table.text("url")? {
            let digest =
                table.parsed("digest", "\"sha256:\" and 64 hexadecimal digits", |text| {
                    digest(text).then(|| text.to_owned())
                })?;
            let digest = digest.ok_or_else(|| {
                table.missing("digest", "digest = \"sha256:...\" (see sha256sum)")
            })?;
            Self::Url { url, digest }
        } else {
            Self::Registry {
                registry: table.text("registry")?,
                package: table.required_text("package", "package = \"acme:transforms\"")?,
                version: table.required_text("version", "version = \"1.0.0\"")?,
            }
        };
        table.finish()?;
        Ok(source)
    }
}

impl Build {
    fn read(section: Section<'_>) -> Result<Self> {
        let build = Self {
            commands: section.one_or_more("command")?,
            workdir: section.text("workdir")?.map(PathBuf::from),
            watch: section.texts("watch")?,
            environment: section.text_map("environment")?,
        };
        if build.commands.is_empty() {
            return Err(section.missing("command", "command = \"galley transform build\""));
        }
        section.finish()?;
        Ok(build)
    }
}

/// `golden` of `[component.<id>.tool.galley]`; what other tools keep there is theirs.
fn golden(id: &str, section: &Section<'_>) -> Result<Option<PathBuf>> {
    let Some(tools) = section.table("tool", &format!("[component.{id}.tool]"))? else {
        return Ok(None);
    };
    let Some(ours) = tools.table("galley", &format!("[component.{id}.tool.galley]"))? else {
        return Ok(None);
    };
    let golden = ours.text("golden")?.map(PathBuf::from);
    ours.finish()?;
    Ok(golden)
}

fn digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// Spin's rule for a component's name: words of letters and digits, joined by '-'.
pub(crate) fn is_id(id: &str) -> bool {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.bytes().all(|c| c.is_ascii_alphanumeric())
    };
    !id.is_empty() && id.split('-').all(word)
}

/// A name like `id` that is one.
pub(crate) fn suggest_id(id: &str) -> String {
    let words: Vec<String> = id
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(
            |word| match word.starts_with(|c: char| c.is_ascii_digit()) {
                true => format!("n{}", word.to_ascii_lowercase()),
                false => word.to_ascii_lowercase(),
            },
        )
        .collect();
    match words.is_empty() {
        true => "component".to_owned(),
        false => words.join("-"),
    }
}

//! A Feast repo on disk: `feature_store.yaml` and the registry it names.
//!
//! The file is read as Feast 0.67 reads it: environment variables are put into the text first
//! (`$VAR`, `${VAR}`; one that is not set stays as it is), then the text is YAML. A setting that
//! Galley uses and that still names an unset variable is an error; settings Galley has no use for
//! are left alone. Beyond Feast, `${VAR:default}` and `${VAR:-default}` give a default.

use std::path::{Path, PathBuf};
use std::time::Duration;

use galley_node::{DecodeOptions, Registry};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde_saphyr::Spanned;

use crate::error::{Error, Result};
use crate::files::{local_path, read_bounded};
use crate::variables::{expand, references};

/// A Feast repo: where its registry is and how it wants to be read.
#[derive(Clone, Debug)]
pub struct Repo {
    dir: PathBuf,
    project: String,
    registry: PathBuf,
    versioning: bool,
    cache_ttl: Option<Duration>,
    provider: Option<String>,
    online_store: OnlineStore,
    offline_store: String,
    entity_key_version: i64,
    auth: String,
    last_good: Option<PathBuf>,
}

/// What a repo says of the online store it had before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnlineStore {
    /// Its type, such as `sqlite`, or `none`.
    pub kind: String,
    /// The path of a SQLite store: what `galley import feast-sqlite` takes.
    pub sqlite_path: Option<PathBuf>,
}

/// The keys of `feature_store.yaml` that concern a node.
#[derive(Deserialize)]
struct Wire {
    project: Option<Spanned<String>>,
    registry: Option<Spanned<Section>>,
    provider: Option<String>,
    online_store: Option<Spanned<Section>>,
    offline_store: Option<Section>,
    entity_key_serialization_version: Option<i64>,
    auth: Option<Section>,
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
}

/// A setting that may be written as one word or as a table.
enum Section {
    Word(String),
    Table(Box<Table>),
}

/// The fields of the tables that concern a node; others are ignored.
#[derive(Default, Deserialize)]
struct Table {
    #[serde(rename = "type")]
    kind: Option<String>,
    path: Option<Spanned<String>>,
    registry_type: Option<Spanned<String>>,
    registry_store_type: Option<Spanned<String>>,
    cache_ttl_seconds: Option<u64>,
    #[serde(default)]
    enable_online_feature_view_versioning: bool,
}

/// The file while it is being read, for error messages.
struct Source<'a> {
    file: &'a Path,
    unset: &'a [String],
}

// === impl Repo ===

impl Repo {
    /// The name of the file that makes a folder a Feast repo.
    pub const FILE: &'static str = "feature_store.yaml";
    /// The largest `feature_store.yaml` that is read, in bytes.
    pub const FILE_BYTES_MAX: u64 = 1 << 20;

    /// Reads `dir/feature_store.yaml`. `env` looks up environment variables.
    ///
    /// # Errors
    /// [`Error::RepoMissing`], [`Error::Config`], [`Error::VariableUnset`],
    /// [`Error::RegistryUnsupported`], [`Error::TooLarge`], [`Error::Io`].
    pub fn open(dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let file = dir.join(Self::FILE);
        let bytes = match read_bounded(&file, Self::FILE_BYTES_MAX) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::RepoMissing {
                    dir: dir.to_owned(),
                });
            }
            read => read?,
        };
        let text = std::str::from_utf8(&bytes).map_err(|error| Error::Config {
            file: file.clone(),
            line: 1 + bytes
                .iter()
                .take(error.valid_up_to())
                .filter(|byte| **byte == b'\n')
                .count() as u64,
            key: "file",
            reason: "the text is not UTF-8".to_owned(),
        })?;
        let expanded = expand(text, env);
        let wire = parse(&file, &expanded.text)?;
        let source = Source {
            file: &file,
            unset: &expanded.unset,
        };
        Self::from_wire(dir, wire, &source)
    }

    fn from_wire(dir: &Path, wire: Wire, source: &Source<'_>) -> Result<Self> {
        for key in wire.rest.keys() {
            tracing::debug!(key, "setting of feature_store.yaml not used by this node");
        }
        let project = wire.project.ok_or_else(|| {
            source.missing(
                "project",
                "name the Feast project, as in 'project: my_project'",
            )
        })?;
        source.check("project", &project)?;
        if project.value.is_empty() {
            return Err(source.config("project", line(&project), "the name is empty".to_owned()));
        }
        let registry = wire.registry.ok_or_else(|| {
            source.missing(
                "registry",
                "give the path of the registry file, as in 'registry: data/registry.db'",
            )
        })?;
        let (registry, versioning, cache_ttl) = registry_of(dir, registry, source)?;
        let auth = wire.auth.and_then(Section::into_kind);
        let auth = auth.unwrap_or_else(|| "no_auth".to_owned());
        if auth != "no_auth" {
            tracing::warn!(
                auth,
                "authentication of the Feast repo is not enforced by this node"
            );
        }
        Ok(Self {
            dir: dir.to_owned(),
            project: project.value,
            registry,
            versioning,
            cache_ttl,
            provider: wire.provider,
            online_store: online_store_of(dir, wire.online_store, source),
            offline_store: wire
                .offline_store
                .and_then(Section::into_kind)
                .unwrap_or_else(|| "file".to_owned()),
            entity_key_version: wire.entity_key_serialization_version.unwrap_or(3),
            auth,
            last_good: None,
        })
    }

    /// The folder of the repo; relative paths of sources start here.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of the project.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The registry file.
    #[must_use]
    pub fn registry_path(&self) -> &Path {
        &self.registry
    }

    /// Whether versioned references (`view@v2:feature`) are enabled.
    #[must_use]
    pub fn versioning(&self) -> bool {
        self.versioning
    }

    /// How long Feast would keep the registry before reading it again.
    #[must_use]
    pub fn cache_ttl(&self) -> Option<Duration> {
        self.cache_ttl
    }

    /// The provider, such as `local`.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    /// The online store Feast used.
    #[must_use]
    pub fn online_store(&self) -> &OnlineStore {
        &self.online_store
    }

    /// The type of the offline store, `file` when none is given.
    #[must_use]
    pub fn offline_store(&self) -> &str {
        &self.offline_store
    }

    /// The version of Feast's entity key bytes, 3 when none is given.
    #[must_use]
    pub fn entity_key_version(&self) -> i64 {
        self.entity_key_version
    }

    /// The type of authentication the repo asks for; `no_auth` when none is given.
    #[must_use]
    pub fn auth(&self) -> &str {
        &self.auth
    }

    /// Reads and decodes the registry file.
    ///
    /// # Errors
    /// [`Error::RegistryMissing`], [`Error::Registry`], [`Error::TooLarge`], [`Error::Io`].
    pub fn read_registry(&self) -> Result<Registry> {
        self.decode_registry(&self.read_registry_bytes()?)
    }

    /// The bytes of the registry file.
    pub(crate) fn read_registry_bytes(&self) -> Result<Vec<u8>> {
        match read_bounded(&self.registry, Registry::BYTES_MAX as u64) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::RegistryMissing {
                    path: self.registry.clone(),
                })
            }
            read => read,
        }
    }

    /// Keeps a copy of the last good registry in `path`.
    #[must_use]
    pub fn with_last_good(mut self, path: PathBuf) -> Self {
        self.last_good = Some(path);
        self
    }

    /// The copy of the last good registry, for a start at which the file is broken; `None` when
    /// there is none, or not of this project.
    #[must_use]
    pub fn read_last_good(&self) -> Option<Registry> {
        let bytes = read_bounded(self.last_good.as_ref()?, Registry::BYTES_MAX as u64).ok()?;
        self.decode_registry(&bytes).ok()
    }

    /// Writes the copy of the last good registry, beside and then in its place.
    pub(crate) fn keep_last_good(&self, bytes: &[u8]) -> Result<()> {
        let Some(path) = &self.last_good else {
            return Ok(());
        };
        if read_bounded(path, Registry::BYTES_MAX as u64).is_ok_and(|kept| kept == bytes) {
            return Ok(());
        }
        let draft = path.with_extension("new");
        let failed = |action| {
            move |source| Error::Io {
                action,
                path: path.clone(),
                source,
            }
        };
        std::fs::write(&draft, bytes).map_err(failed("write"))?;
        std::fs::rename(&draft, path).map_err(failed("write"))
    }

    /// Decodes the bytes of a registry file.
    pub(crate) fn decode_registry(&self, bytes: &[u8]) -> Result<Registry> {
        let options = DecodeOptions {
            project: Some(&self.project),
            versioning: self.versioning,
        };
        Registry::decode(bytes, &options).map_err(|source| Error::Registry {
            path: self.registry.clone(),
            source,
        })
    }
}

fn parse(file: &Path, text: &str) -> Result<Wire> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Error::Config {
        file: file.to_owned(),
        line: error.location().map_or(0, |location| location.line()),
        key: "file",
        reason: format!("not the YAML of a Feast repo: {error}"),
    })
}

fn line<T>(spanned: &Spanned<T>) -> u64 {
    spanned.referenced.line()
}

/// The registry's path, whether versions are on, and Feast's time to live of its copy.
fn registry_of(
    dir: &Path,
    section: Spanned<Section>,
    source: &Source<'_>,
) -> Result<(PathBuf, bool, Option<Duration>)> {
    let section_line = line(&section);
    let table = match section.value {
        Section::Word(path) => {
            source.check_text("registry", section_line, &path)?;
            let path = registry_path(dir, &path, section_line, source)?;
            return Ok((path, false, None));
        }
        Section::Table(table) => table,
    };
    for kind in [&table.registry_type, &table.registry_store_type]
        .into_iter()
        .flatten()
    {
        source.check("registry", kind)?;
        if !matches!(
            kind.value.as_str(),
            "file" | "FileRegistryStore" | "LocalRegistryStore"
        ) {
            return Err(
                source.unsupported(line(kind), format!("a registry of type {}", kind.value))
            );
        }
    }
    let path = table.path.ok_or_else(|| {
        let reason = "give the path of the registry file, as in 'path: data/registry.db'";
        source.config("registry", section_line, reason.to_owned())
    })?;
    source.check("registry", &path)?;
    Ok((
        registry_path(dir, &path.value, line(&path), source)?,
        table.enable_online_feature_view_versioning,
        table.cache_ttl_seconds.map(Duration::from_secs),
    ))
}

fn registry_path(dir: &Path, text: &str, line: u64, source: &Source<'_>) -> Result<PathBuf> {
    if text.is_empty() {
        return Err(source.config("registry", line, "the path is empty".to_owned()));
    }
    local_path(dir, text).ok_or_else(|| {
        // Only the scheme: what follows may hold a password.
        let scheme = text.split_once("://").map_or(text, |(scheme, _)| scheme);
        source.unsupported(line, format!("a registry at {scheme}://"))
    })
}

fn online_store_of(
    dir: &Path,
    section: Option<Spanned<Section>>,
    source: &Source<'_>,
) -> OnlineStore {
    let (kind, path) = match section.map(|section| section.value) {
        None => ("sqlite".to_owned(), None),
        Some(Section::Word(kind)) => (kind, None),
        Some(Section::Table(table)) => (
            table.kind.unwrap_or_else(|| "sqlite".to_owned()),
            table.path,
        ),
    };
    let sqlite_path = match path {
        _ if kind != "sqlite" => None,
        Some(path) if source.check("online_store", &path).is_err() => None,
        Some(path) => local_path(dir, &path.value),
        None => Some(dir.join("data/online.db")),
    };
    OnlineStore { kind, sqlite_path }
}

// === impl Source ===

impl Source<'_> {
    fn config(&self, key: &'static str, line: u64, reason: String) -> Error {
        Error::Config {
            file: self.file.to_owned(),
            line,
            key,
            reason,
        }
    }

    fn missing(&self, key: &'static str, way_out: &str) -> Error {
        self.config(key, 0, format!("not given: {way_out}"))
    }

    fn unsupported(&self, line: u64, found: String) -> Error {
        Error::RegistryUnsupported {
            file: self.file.to_owned(),
            line,
            found,
        }
    }

    fn check(&self, key: &'static str, value: &Spanned<String>) -> Result<()> {
        self.check_text(key, line(value), &value.value)
    }

    /// Refuses a value that still names a variable that is not set.
    fn check_text(&self, key: &'static str, line: u64, value: &str) -> Result<()> {
        let unset = references(value)
            .find(|reference| self.unset.iter().any(|name| name == reference.name));
        match unset {
            None => Ok(()),
            Some(reference) => Err(Error::VariableUnset {
                file: self.file.to_owned(),
                line,
                key,
                variable: reference.name.to_owned(),
            }),
        }
    }
}

// === impl Section ===

impl Section {
    fn into_kind(self) -> Option<String> {
        match self {
            Self::Word(kind) => Some(kind),
            Self::Table(table) => table.kind,
        }
    }
}

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Section;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a word or a table")
            }
            fn visit_str<E>(self, text: &str) -> std::result::Result<Section, E> {
                Ok(Section::Word(text.to_owned()))
            }
            fn visit_unit<E>(self) -> std::result::Result<Section, E> {
                Ok(Section::Table(Box::default()))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> std::result::Result<Section, A::Error> {
                Box::deserialize(MapAccessDeserializer::new(map)).map(Section::Table)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use galley_types::{Classify as _, ErrorKind};

    fn open(yaml: &str) -> Result<Repo> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(Repo::FILE), yaml).unwrap();
        Repo::open(dir.path(), &|name| match name {
            "SET" => Some("value".to_owned()),
            "DIR" => Some("/srv".to_owned()),
            _ => None,
        })
        .map(|mut repo| {
            // The folder is a fresh one each time: a fixed name makes paths comparable.
            repo.registry = match repo.registry.strip_prefix(dir.path()) {
                Ok(relative) => Path::new("/repo").join(relative),
                Err(_) => repo.registry,
            };
            repo
        })
    }

    fn message(yaml: &str) -> String {
        open(yaml).unwrap_err().to_string()
    }

    #[test]
    fn the_repo_of_feast_init_is_read() {
        let repo = open(
            "project: my_project\n# By default, the registry is a file\nregistry: data/registry.db\n\
             # The provider\nprovider: local\nonline_store:\n    type: sqlite\n    path: data/online_store.db\n\
             entity_key_serialization_version: 3\nauth:\n    type: no_auth\n",
        )
        .unwrap();
        assert_eq!(repo.project(), "my_project");
        assert_eq!(repo.registry_path(), Path::new("/repo/data/registry.db"));
        assert_eq!(repo.online_store().kind, "sqlite");
        assert!(
            repo.online_store()
                .sqlite_path
                .as_ref()
                .unwrap()
                .ends_with("data/online_store.db")
        );
        assert_eq!((repo.auth(), repo.offline_store()), ("no_auth", "file"));
        assert!(!repo.versioning());
    }

    #[test]
    fn a_registry_table_and_keys_of_no_use_are_read() {
        let repo = open(
            "project: p\nprovider: aws\nregistry:\n  registry_type: file\n  path: file:///srv/r.pb\n  \
             cache_ttl_seconds: 60\n  enable_online_feature_view_versioning: true\n  s3_additional_kwargs: {a: b}\n\
             online_store: {type: redis, connection_string: \"${REDIS}\"}\noffline_store: snowflake.offline\n\
             batch_engine: {type: local}\nfeature_server: {enabled: true, nested: [1, {a: 2}]}\nflags: null\n",
        )
        .unwrap();
        assert_eq!(repo.registry_path(), Path::new("/srv/r.pb"));
        assert_eq!(repo.cache_ttl(), Some(Duration::from_secs(60)));
        assert!(repo.versioning());
        assert_eq!(repo.offline_store(), "snowflake.offline");
        assert_eq!(
            repo.online_store(),
            &OnlineStore {
                kind: "redis".into(),
                sqlite_path: None
            }
        );
    }

    #[test]
    fn variables_are_put_in_as_feast_does() {
        let repo = open("project: ${SET}_$SET\nregistry: ${DIR}/r.pb\n").unwrap();
        assert_eq!(repo.project(), "value_value");
        assert_eq!(repo.registry_path(), Path::new("/srv/r.pb"));
        let repo = open("project: ${NOPE:fallback}\nregistry: ${NOPE:-x}/r.pb\n").unwrap();
        assert_eq!(repo.project(), "fallback");
        assert_eq!(repo.registry_path(), Path::new("/repo/x/r.pb"));
        // A lone dollar and a variable in a setting of no use stay as they are.
        let repo = open("project: a$ # $NOPE\nregistry: r.pb\nflags: ${NOPE}\n").unwrap();
        assert_eq!(repo.project(), "a$");
    }

    #[test]
    fn an_unset_variable_in_use_is_named_with_its_line() {
        let text = message("project: p\n\nregistry:\n  path: ${NOPE}/r.pb\n");
        assert!(
            text.contains(
                "feature_store.yaml:4: registry: the environment variable NOPE is not set"
            ),
            "{text}"
        );
    }

    #[test]
    fn registries_elsewhere_are_refused_by_name() {
        for (yaml, expect) in [
            (
                "project: p\nregistry: s3://u:secret@b/r.pb\n",
                ":2: registry: a registry at s3:// cannot",
            ),
            (
                "project: p\nregistry: {path: gs://b/r}\n",
                "a registry at gs://",
            ),
            (
                "project: p\nregistry:\n  registry_type: sql\n  path: postgresql://u:secret@h/db\n",
                ":3: registry: a registry of type sql",
            ),
            (
                "project: p\nregistry: {registry_type: remote, path: host:6570}\n",
                "of type remote",
            ),
            (
                "project: p\nregistry: {registry_type: snowflake.registry}\n",
                "of type snowflake.registry",
            ),
        ] {
            let error = open(yaml).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(expect), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn broken_files_say_where() {
        assert!(
            message("project: [1\n").contains("feature_store.yaml:"),
            "{}",
            message("project: [1\n")
        );
        assert!(message("registry: r.pb\n").contains("project: not given"));
        assert!(message("project: p\n").contains("registry: not given"));
        assert!(
            message("project: p\nregistry: [1, 2]\n").contains(":2:"),
            "{}",
            message("project: p\nregistry: [1, 2]\n")
        );
        assert!(
            message("- 1\n").contains("feature_store.yaml:1"),
            "{}",
            message("- 1\n")
        );
        assert!(message("").contains("feature_store.yaml"));
        let empty = tempfile::tempdir().unwrap();
        let error = Repo::open(empty.path(), &|_| None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        std::fs::write(empty.path().join(Repo::FILE), vec![b' '; (1 << 20) + 1]).unwrap();
        let error = Repo::open(empty.path(), &|_| None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}

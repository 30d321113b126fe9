//! A Feast repo on disk: `feature_store.yaml` and the registry it names.
//!
//! The file is read as Feast 0.67 reads it: environment variables are put into the text first
//! (`$VAR`, `${VAR}`; one that is not set stays as it is), then the text is YAML. A setting that
//! Galley uses and that still names an unset variable is an error; settings Galley has no use for
//! are left alone. Beyond Feast, `${VAR:default}` and `${VAR:-default}` give a default.

mod auth;
mod offline;
mod registry;
#[cfg(test)]
mod tests;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use galley_node::{DecodeOptions, Registry};
use serde_saphyr::Spanned;

use crate::error::{Error, Result};
use crate::files::{local_path, read_bounded};
use crate::identity::Identity;
use crate::registry_source::{self, RegistrySource};
use crate::remote::RemoteConfig;
use crate::variables::expand;
use auth::auth_of;
use offline::offline_store_of;
use registry::registry_of;
use wire::{Section, Source, Wire, line, parse};

pub use offline::OfflineStore;
pub use registry::RegistryPlace;

/// A Feast repo: where its registry is and how it wants to be read.
#[derive(Clone, Debug)]
pub struct Repo {
    dir: PathBuf,
    project: String,
    registry: RegistryPlace,
    remote: RemoteConfig,
    versioning: bool,
    cache_ttl: Option<Duration>,
    provider: Option<String>,
    online_store: OnlineStore,
    offline_store: OfflineStore,
    offline_kind: String,
    entity_key_version: i64,
    auth: String,
    identity: Option<Identity>,
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
        Self::from_wire(dir, wire, &source, env)
    }

    fn from_wire(
        dir: &Path,
        wire: Wire,
        source: &Source<'_>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
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
        let registry = registry_of(dir, registry, source)?;
        let (auth, identity) = auth_of(dir, wire.auth, source, env);
        if auth != "no_auth" {
            tracing::warn!(
                auth,
                "authentication of the Feast repo is not enforced by this node"
            );
        }
        let (offline_store, offline_kind) = offline_store_of(dir, wire.offline_store, source);
        Ok(Self {
            dir: dir.to_owned(),
            project: project.value,
            registry: registry.place,
            remote: RemoteConfig::default(),
            versioning: registry.versioning,
            cache_ttl: registry.cache_ttl,
            provider: wire.provider,
            online_store: online_store_of(dir, wire.online_store, source),
            offline_store,
            offline_kind,
            entity_key_version: wire.entity_key_serialization_version.unwrap_or(3),
            auth,
            identity,
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

    /// How a registry that is elsewhere is reached: credentials, time-outs, certificates. Without a
    /// token, Feast's servers get the one that the repo's `auth` leads to.
    #[must_use]
    pub fn with_remote(mut self, remote: RemoteConfig) -> Self {
        self.remote = remote;
        self.remote.identity.clone_from(&self.identity);
        self
    }

    /// How what is elsewhere is reached.
    #[must_use]
    pub fn remote(&self) -> &RemoteConfig {
        &self.remote
    }

    /// Where the registry is.
    #[must_use]
    pub fn registry_place(&self) -> &RegistryPlace {
        &self.registry
    }

    /// The registry file, if the registry is a file of this machine.
    #[must_use]
    pub fn registry_file(&self) -> Option<&Path> {
        match &self.registry {
            RegistryPlace::File(path) => Some(path),
            RegistryPlace::Object(_) | RegistryPlace::Server(_) => None,
        }
    }

    /// Where the registry is, for messages: without credentials.
    #[must_use]
    pub fn registry_location(&self) -> String {
        registry_source::location(&self.registry)
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

    /// Where the rows of batch sources come from.
    #[must_use]
    pub fn offline_store(&self) -> &OfflineStore {
        &self.offline_store
    }

    /// The type of the offline store, `file` when none is given.
    #[must_use]
    pub fn offline_kind(&self) -> &str {
        &self.offline_kind
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

    /// Reads and decodes the registry.
    ///
    /// # Errors
    /// [`Error::RegistryMissing`], [`Error::RegistryAway`], [`Error::Registry`],
    /// [`Error::TooLarge`], [`Error::Io`].
    pub fn read_registry(&self) -> Result<Registry> {
        let bytes = self.registry_source()?.read(true)?;
        self.decode_registry(&bytes.unwrap_or_default())
    }

    /// What reads the registry again and again.
    pub(crate) fn registry_source(&self) -> Result<Box<dyn RegistrySource>> {
        registry_source::open(&self.registry, &self.project, &self.remote)
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

    /// Decodes the bytes of a registry.
    pub(crate) fn decode_registry(&self, bytes: &[u8]) -> Result<Registry> {
        let options = DecodeOptions {
            project: Some(&self.project),
            versioning: self.versioning,
        };
        Registry::decode(bytes, &options).map_err(|source| Error::Registry {
            location: self.registry_location(),
            source,
        })
    }
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

//! The configuration: `galley.toml`, then the environment, then flags, resolved once.
//!
//! A setting is one of [`settings`]. Its environment variable is `GALLEY_` and its key in capitals
//! with `_` for `.`.

mod schedules;
mod settings;
mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use galley_api::ApiConfig;
use galley_manifest::Manifest;
use galley_node::store::StoreConfig;
use galley_node::{NodeConfig, OutboxConfig};
use galley_sync::agent::{Agent, AgentConfig};
use galley_sync::flight::OfflineConfig;
use galley_sync::outbox::DrainConfig;
use galley_sync::remote::RemoteConfig;
use galley_sync::{MaterializeConfig, Repo, Schedule};

pub(crate) use settings::settings;

/// The prefix of every environment variable that is read.
const PREFIX: &str = "GALLEY_";

/// Fetched files of a feed lie in this folder of the data folder.
const FEED_FOLDER: &str = "feed";

/// The largest configuration file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything the commands need to know.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) repo: PathBuf,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) api: ApiConfig,
    pub(crate) node: NodeConfig,
    pub(crate) store: StoreConfig,
    pub(crate) materialize: MaterializeConfig,
    pub(crate) offline: OfflineConfig,
    pub(crate) registry_poll: Duration,
    /// Sent to the servers of Feast.
    pub(crate) feast_token: Option<String>,
    pub(crate) remote: RemoteConfig,
    pub(crate) outbox: OutboxSettings,
    pub(crate) manifest: Option<PathBuf>,
    pub(crate) transforms_poll: Duration,
    pub(crate) feed: Option<String>,
    pub(crate) feed_root: Option<PathBuf>,
    pub(crate) feed_token: Option<String>,
    pub(crate) agent: AgentConfig,
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    origins: BTreeMap<&'static str, Origin>,
}

/// The way home.
#[derive(Debug, Default)]
pub(crate) struct OutboxSettings {
    /// Where pushed rows and logs go; without it nothing does.
    pub(crate) to: Option<String>,
    pub(crate) limits: OutboxConfig,
    pub(crate) drain: DrainConfig,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(&'static str),
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) key: &'static str,
    pub(crate) help: &'static str,
    apply: fn(&mut Config, &str) -> Result<(), String>,
    show: fn(&Config) -> String,
}

/// Values given on the command line.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) values: Vec<(&'static str, &'static str, String)>,
}

// === impl Config ===

impl Config {
    /// Resolves defaults, file, environment and flags.
    pub(crate) fn resolve(
        overrides: &Overrides,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self> {
        let mut config = Self::defaults();
        let (environment, others): (Vec<_>, Vec<_>) =
            environment.partition(|(name, _)| name.starts_with(PREFIX));
        config.remote.variables = others
            .into_iter()
            .filter(|(name, _)| RemoteConfig::is_variable(name))
            .collect();
        if let Some(path) = config.file(overrides, &environment)? {
            config.read_file(&path)?;
        }
        for (name, value) in environment {
            config.read_variable(&name, &value)?;
        }
        for (key, flag, value) in &overrides.values {
            config
                .set(key, value, Origin::Flag(flag))
                .map_err(|reason| anyhow!("{flag} {value}: {reason}"))?;
        }
        Ok(config)
    }

    fn defaults() -> Self {
        let memory = crate::memory::total_bytes();
        let mut store = StoreConfig::default();
        if let Some(memory) = memory {
            // A quarter each: what the index cannot hold is read through redb's cache.
            store.index_bytes_max = memory / 4;
            store.cache_bytes = memory / 4;
        }
        Self {
            repo: PathBuf::from("."),
            data_dir: None,
            api: ApiConfig::default(),
            node: NodeConfig::default(),
            store,
            materialize: MaterializeConfig::default(),
            offline: OfflineConfig::default(),
            registry_poll: Duration::from_secs(5),
            feast_token: None,
            remote: RemoteConfig::default(),
            outbox: OutboxSettings::default(),
            manifest: None,
            transforms_poll: Duration::from_secs(2),
            feed: None,
            feed_root: None,
            feed_token: None,
            agent: AgentConfig::default(),
            schedules: Vec::new(),
            log_level: "info".to_owned(),
            log_format: LogFormat::Text,
            origins: BTreeMap::new(),
        }
    }

    /// The configuration file: the one named, else `galley.toml` in the working folder or the repo.
    fn file(
        &self,
        overrides: &Overrides,
        environment: &[(String, String)],
    ) -> Result<Option<PathBuf>> {
        if let Some(path) = &overrides.config_file {
            if !path
                .try_exists()
                .with_context(|| format!("look for {}", path.display()))?
            {
                bail!("configuration file {} does not exist", path.display());
            }
            return Ok(Some(path.clone()));
        }
        if let Some((_, path)) = environment.iter().find(|(name, _)| name == "GALLEY_CONFIG") {
            return Ok(Some(PathBuf::from(path)));
        }
        let flag = overrides
            .values
            .iter()
            .find(|(key, ..)| *key == "feast.repo");
        let variable = environment
            .iter()
            .find(|(name, _)| name == "GALLEY_FEAST_REPO");
        let repo = match (flag, variable) {
            (Some((_, _, repo)), _) | (None, Some((_, repo))) => PathBuf::from(repo),
            (None, None) => self.repo.clone(),
        };
        for folder in [Path::new("."), &repo] {
            let path = folder.join("galley.toml");
            if path.try_exists().unwrap_or(false) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    fn read_file(&mut self, path: &Path) -> Result<()> {
        let named = || format!("configuration file {}", path.display());
        let bytes = std::fs::metadata(path).with_context(named)?.len();
        if bytes > FILE_BYTES_MAX {
            bail!("{}: {bytes} bytes, more than {FILE_BYTES_MAX}", named());
        }
        let text = std::fs::read_to_string(path).with_context(named)?;
        let table: toml::Table = text.parse().with_context(named)?;
        for (section, value) in &table {
            if section == "schedule" {
                let read = schedules::read(value);
                self.schedules = read.map_err(|reason| anyhow!("{}: {reason}", named()))?;
                continue;
            }
            let toml::Value::Table(settings) = value else {
                bail!(
                    "{}: '{section}' stands outside a section such as [server]",
                    named()
                );
            };
            for (name, value) in settings {
                let key = format!("{section}.{name}");
                if key == "freshness.views" {
                    let read = schedules::objectives(value);
                    let read = read.map_err(|reason| anyhow!("{}: {reason}", named()))?;
                    self.node.freshness.views = read;
                    continue;
                }
                let text = match value {
                    toml::Value::String(text) => text.clone(),
                    toml::Value::Integer(number) => number.to_string(),
                    toml::Value::Boolean(flag) => flag.to_string(),
                    toml::Value::Array(list) => names(list)
                        .ok_or_else(|| anyhow!("{}: {key}: expected a list of texts", named()))?,
                    other => bail!("{}: {key}: {other} is no setting's value", named()),
                };
                let known = lookup(&key).map_err(|reason| anyhow!("{}: {reason}", named()))?;
                self.set(known.key, &text, Origin::File(path.to_path_buf()))
                    .map_err(|reason| anyhow!("{}: {key} = {text:?}: {reason}", named()))?;
            }
        }
        // A repo named in the file is relative to the file.
        if self.origin("feast.repo") == Origin::File(path.to_path_buf())
            && self.repo.is_relative()
            && let Some(folder) = path.parent()
        {
            self.repo = folder.join(&self.repo);
        }
        Ok(())
    }

    fn read_variable(&mut self, name: &str, value: &str) -> Result<()> {
        // Read elsewhere: the file's name above, the test harness's binary in nobody's way.
        if matches!(
            name,
            "GALLEY_CONFIG" | "GALLEY_SERVER" | "GALLEY_BIN" | "GALLEY_LONG"
        ) {
            return Ok(());
        }
        let setting = settings().find(|setting| variable(setting.key) == name);
        let Some(setting) = setting else {
            let names = settings().map(|setting| variable(setting.key));
            bail!(
                "environment variable {name} is no setting{}",
                nearest(name, names)
            );
        };
        self.set(setting.key, value, Origin::Environment(name.to_owned()))
            .map_err(|reason| anyhow!("environment variable {name}={value}: {reason}"))
    }

    fn set(&mut self, key: &str, value: &str, origin: Origin) -> Result<(), String> {
        let setting = lookup(key)?;
        (setting.apply)(self, value)?;
        self.origins.insert(setting.key, origin);
        Ok(())
    }

    /// Where a setting's value comes from.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// A setting's value as it would be written.
    pub(crate) fn show(&self, setting: &Setting) -> String {
        (setting.show)(self)
    }

    /// The folder that holds the store.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data_dir
            .clone()
            .unwrap_or_else(|| self.repo.join(".galley"))
    }

    /// How Feast's own servers are reached.
    pub(crate) fn feast_remote(&self) -> RemoteConfig {
        RemoteConfig {
            token: self.feast_token.clone(),
            ..self.remote.clone()
        }
    }

    /// The repo, with what its servers are reached by.
    pub(crate) fn open_repo(&self) -> galley_sync::Result<Repo> {
        let repo = Repo::open(&self.repo, &|name| crate::environment(name))?;
        Ok(repo.with_remote(self.feast_remote()))
    }

    /// The manifest that binds components to on-demand feature views.
    pub(crate) fn manifest(&self) -> PathBuf {
        match (&self.manifest, &self.feed) {
            (Some(manifest), _) => manifest.clone(),
            (None, Some(_)) => Agent::manifest_path(&self.feed_folder()),
            (None, None) => self.repo.join(Manifest::FILE),
        }
    }

    /// Where fetched files of the feed are kept.
    pub(crate) fn feed_folder(&self) -> PathBuf {
        self.data_dir().join(FEED_FOLDER)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A list of texts as the environment has it: joined by commas.
fn names(list: &[toml::Value]) -> Option<String> {
    let names: Option<Vec<&str>> = list.iter().map(toml::Value::as_str).collect();
    Some(names?.join(","))
}

/// The environment variable of a setting.
pub(crate) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

fn lookup(key: &str) -> Result<&'static Setting, String> {
    settings()
        .find(|setting| setting.key == key)
        .ok_or_else(|| {
            let keys = settings().map(|setting| setting.key.to_owned());
            format!("unknown setting '{key}'{}", nearest(key, keys))
        })
}

/// `; did you mean 'x'?` where a name is near enough.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> String {
    const NEAR: f64 = 0.75;
    known
        .map(|known| (strsim::jaro_winkler(name, &known), known))
        .filter(|(score, _)| *score > NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| format!("; did you mean '{known}'?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(file: &str, variables: &[(&str, &str)]) -> Result<Config> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("galley.toml");
        std::fs::write(&path, file)?;
        let overrides = Overrides {
            config_file: Some(path),
            values: vec![("store.data_dir", "--data-dir", "/flag".to_owned())],
        };
        let owned = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        Config::resolve(&overrides, owned)
    }

    #[test]
    fn flags_win_over_the_environment_over_the_file() {
        let file = "[store]\ndata_dir = \"/file\"\n[feast]\npython_quirks = true\n\
                    [server]\nlisten = \"127.0.0.1:1\"\n[limits]\nbody_bytes_max = \"1MiB\"\n";
        let variables = [("GALLEY_SERVER_LISTEN", "127.0.0.1:2"), ("HOME", "/x")];
        let config = resolve(file, &variables).unwrap();
        assert_eq!(config.data_dir(), PathBuf::from("/flag"));
        assert!(config.node.python_quirks);
        assert_eq!(config.api.listen.port(), 2);
        assert_eq!(config.api.body_bytes_max, 1 << 20);
        assert_eq!(config.origin("store.data_dir"), Origin::Flag("--data-dir"));
    }

    #[test]
    fn unknown_names_are_errors_that_name_the_nearest() {
        let error = resolve("[feast]\npython_quirk = true\n", &[]).unwrap_err();
        assert!(
            format!("{error:#}").contains("did you mean 'feast.python_quirks'"),
            "{error:#}"
        );
        let error = resolve("", &[("GALLEY_FEAST_PYTHON_QUIRK", "1")]).unwrap_err();
        assert!(
            error.to_string().contains("GALLEY_FEAST_PYTHON_QUIRKS"),
            "{error:#}"
        );
        let error = resolve("[server]\nlisten = \"nowhere\"\n", &[]).unwrap_err();
        assert!(error.to_string().contains("server.listen"), "{error:#}");
    }

    #[test]
    fn every_setting_shows_what_it_would_be_set_to() {
        let mut config = resolve("", &[]).unwrap();
        for setting in settings() {
            let shown = config.show(setting);
            if !shown.is_empty() {
                (setting.apply)(&mut config, &shown).unwrap_or_else(|reason| {
                    panic!("{} shows {shown}, which is refused: {reason}", setting.key)
                });
                assert_eq!(config.show(setting), shown);
            }
        }
    }
}

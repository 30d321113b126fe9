//! Components, loaded and called as a node does.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use galley_manifest::TransformSettings;
use galley_sync::transform_config;
use galley_transform::{
    Cache, CallContext, Engine, EngineConfig, Inspection, Isolation, Loaded, LogLevel, LogSink,
    Transform, TransformConfig, Worker,
};
use galley_types::EventTime;

use crate::app::compiled_folder;
use crate::args::NodeArgs;
use crate::commands::transform::tools::cache_dir;
use crate::config::Config;
use crate::environment_all;
use crate::output;

/// How long compiling a component may take at least.
const COMPILE_MAX: Duration = Duration::from_secs(900);

/// An engine and the folder of compiled code.
#[derive(Debug)]
pub(crate) struct Host {
    engine: Engine,
    cache: Cache,
}

/// How a component is to be loaded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// What stands for it in messages.
    pub(crate) name: String,
    /// What spin.toml sets for it.
    pub(crate) settings: TransformSettings,
    /// In the place of what spin.toml says.
    pub(crate) isolation: Option<Isolation>,
    pub(crate) variables: BTreeMap<String, String>,
}

/// Log lines of a function, on standard error.
#[derive(Debug)]
struct Lines;

impl LogSink for Lines {
    fn line(&self, transform: &str, level: LogLevel, message: &str) {
        let level = match level {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        };
        output::note(format!("{transform} says [{level}] {message}"));
    }
}

impl Host {
    pub(crate) fn open() -> Result<Self> {
        Self::at(&cache_dir()?.join("compiled"))
    }

    /// A host that leaves its code where the node of `repo` looks for it, if that node has a data folder
    /// of ours already: what was compiled here is then not compiled again there.
    pub(crate) fn open_for(repo: &Path) -> Result<Self> {
        let node = NodeArgs {
            repo: Some(repo.to_owned()),
            ..NodeArgs::default()
        };
        let config = Config::resolve(&node.overrides(), environment_all())?;
        let owner = std::fs::metadata(config.data_dir()).map(|it| it.uid());
        match owner {
            Ok(owner) if owner == rustix::process::geteuid().as_raw() => {
                Self::at(&compiled_folder(&config))
            }
            _ => Self::open(),
        }
    }

    fn at(folder: &Path) -> Result<Self> {
        Ok(Self {
            engine: Engine::new(EngineConfig::default())?,
            cache: Cache::open(folder, Worker::this_program())?,
        })
    }

    /// The component, compiled.
    pub(crate) fn code(&self, component: &[u8], setup: &Setup) -> Result<Loaded> {
        let mut config = setup.config(&Inspection::of(component)?);
        // One's own component on a machine that builds others meanwhile; a node keeps to its limit.
        config.limits.compile.wall = config.limits.compile.wall.max(COMPILE_MAX);
        Ok(self
            .cache
            .load(&self.engine, component, &setup.name, &config.limits)?)
    }

    /// The component, ready to be called.
    pub(crate) fn load(&self, component: &[u8], setup: &Setup) -> Result<Transform> {
        let loaded = self.code(component, setup)?;
        self.link(&loaded, setup)
    }

    pub(crate) fn link(&self, loaded: &Loaded, setup: &Setup) -> Result<Transform> {
        let mut config = setup.config(loaded.inspection());
        config.log = Arc::new(Lines);
        // What is tried here is tried on purpose, mistakes included.
        config.limits.breaker.failures_percent = 0;
        Ok(Transform::load(&self.engine, loaded, config)?)
    }

    /// `component` with what it says of itself put in.
    pub(crate) fn sign(&self, component: &[u8]) -> Result<Vec<u8>, String> {
        let setup = Setup {
            name: "this component".to_owned(),
            ..Setup::default()
        };
        let transform = self
            .load(component, &setup)
            .map_err(|error| format!("{error:#}"))?;
        Ok(transform.signature().embed(component))
    }
}

impl Setup {
    /// How a node would call the component.
    pub(crate) fn config(&self, found: &Inspection) -> TransformConfig {
        let mut config =
            transform_config(&self.name, found, &self.settings, self.variables.clone());
        if self.isolation.is_some() {
            config.isolation = self.isolation;
        }
        config
    }
}

/// The facts of a request: its time as given, else now.
pub(crate) fn context(now: Option<&str>, seed: u64) -> Result<CallContext> {
    let now = match now {
        Some(text) => EventTime::parse(text).with_context(|| format!("the time '{text}'"))?,
        None => galley_types::Clock::now(&galley_types::SystemClock),
    };
    Ok(CallContext { now, seed })
}

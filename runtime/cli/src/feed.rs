//! A node that follows a feed: what the agent says and does, as the server shows it.

use std::fs::File;
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use galley_api::{FeedAgent, FeedAnswer, FeedCommand, FeedOutcome, FeedStatus};
use galley_node::Node;
use galley_sync::agent::{Agent, AgentConfig, AgentHandle, AgentStatus, Command, Outcome};
use galley_sync::remote::{self, RemoteConfig, RemoteStore};
use galley_types::EventTime;

use crate::app::transform_loader;
use crate::config::Config;

/// Bytes of the root metadata that is read.
const ROOT_BYTES_MAX: u64 = 4 << 20;

/// A running agent, as the server sees it.
#[derive(Debug)]
pub(crate) struct Following(Mutex<Option<AgentHandle>>);

/// The place of the feed that `config` names, and the root that is trusted.
pub(crate) fn source(config: &Config) -> Result<(Arc<dyn RemoteStore>, Vec<u8>)> {
    let Some(location) = &config.feed else {
        bail!("no feed is named: set sync.feed in galley.toml");
    };
    let Some(root) = &config.feed_root else {
        bail!(
            "no root is named for the feed {location}: set sync.root to the file 1.root.json that \
             `galley keys init` wrote, brought here by a way you trust"
        );
    };
    let mut bytes = Vec::new();
    File::open(root)
        .and_then(|file| file.take(ROOT_BYTES_MAX).read_to_end(&mut bytes))
        .with_context(|| format!("read the feed's root {}", root.display()))?;
    let remote_config = RemoteConfig {
        token: config.feed_token.clone(),
        ..config.remote.clone()
    };
    Ok((remote::open(location, &remote_config)?, bytes))
}

/// The agent of the feed that `config` names; what it installed last serves on return.
pub(crate) fn agent(config: &Config, node: &Arc<Node>) -> Result<Agent> {
    let (remote, root) = source(config)?;
    let location = remote.location();
    let agent_config = AgentConfig {
        folder: config.feed_folder(),
        ..config.agent.clone()
    };
    let loader = Some(transform_loader(config));
    Agent::open(Arc::clone(node), remote, &root, loader, agent_config)
        .with_context(|| format!("follow the feed {location}"))
}

// === impl Following ===

impl Following {
    pub(crate) fn start(agent: Agent) -> Result<Self> {
        Ok(Self(Mutex::new(Some(AgentHandle::start(agent)?))))
    }

    /// Ends the agent, after what it is at.
    pub(crate) fn stop(&self) {
        drop(self.held().take());
    }

    fn held(&self) -> MutexGuard<'_, Option<AgentHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FeedAgent for Following {
    fn status(&self) -> FeedStatus {
        self.held()
            .as_ref()
            .map(|agent| status(agent.status()))
            .unwrap_or_default()
    }

    fn ask(&self, command: FeedCommand, wait: Duration) -> Option<FeedAnswer> {
        let command = match command {
            FeedCommand::Sync => Command::Sync,
            FeedCommand::RollBack => Command::RollBack,
        };
        // The lock is not held while the answer is waited for: others ask for the status.
        let asked = self.held().as_ref().map(|agent| agent.ask(command));
        let answer = match asked {
            Some(Ok(waiting)) => waiting.recv_timeout(wait).ok()?,
            Some(Err(refused)) => Err(refused),
            None => Err(("stopped", "the agent has stopped".to_owned())),
        };
        Some(answer.map(told))
    }
}

/// An outcome as it is shown.
pub(crate) fn told(outcome: Outcome) -> FeedOutcome {
    let (outcome, version, rows) = match outcome {
        Outcome::Nothing => ("nothing", None, 0),
        Outcome::Unchanged { version } => ("unchanged", Some(version), 0),
        Outcome::Frozen { version } => ("frozen", Some(version), 0),
        Outcome::Installed { version, rows } => ("installed", Some(version), rows),
        Outcome::RolledBack { version } => ("rolled_back", Some(version), 0),
    };
    FeedOutcome {
        outcome,
        version,
        rows,
    }
}

fn status(status: AgentStatus) -> FeedStatus {
    let installed = status.installed.as_ref();
    FeedStatus {
        location: status.location,
        state: status.state.name(),
        view: status.view,
        version: installed.map(|installed| installed.version),
        published_at: installed.map(|installed| EventTime(installed.published_at)),
        installed_at: installed.map(|installed| EventTime(installed.installed_at)),
        previous: status.previous,
        held: status.held,
        seen: status.seen,
        expires_at: status.expires_at,
        frozen: status.frozen,
        checked_at: status.checked_at,
        next_at: status.next_at,
        error: status.error,
        failures: status.failures,
        polls: status.polls,
        installs: status.installs,
        refused: status.refused,
        bytes: status.bytes,
        rows: status.rows,
    }
}

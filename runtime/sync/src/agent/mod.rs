//! The agent: keeps a node at what a signed feed says.
//!
//! A round looks at the feed, fetches what is missing, brings rows into tables nobody reads yet,
//! and installs all of a release in one transaction. Whatever fails leaves what serves as it was;
//! the next round begins with what is already here. Nothing of this is needed to start: what was
//! installed last is in the store.

mod components;
mod content;
mod error;
mod preview;
mod releases;
mod round;
mod rows;
#[cfg(test)]
mod simulation;
mod state;
mod subscription;
#[cfg(test)]
mod tests;
mod thread;
mod watched;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use galley_types::EventTime;

pub use error::AgentError;
pub use preview::preview;
pub use round::Agent;
pub use state::InstalledRelease;
pub use thread::{AgentHandle, Answer, Command, Outcome, Refusal};

/// What an agent follows, and how.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Time between looks at the feed.
    pub interval: Duration,
    /// The longest wait after looks that failed; the first is a second.
    pub backoff_max: Duration,
    /// The Feast project to serve; that of the release where none is named.
    pub project: Option<String>,
    /// Whether feature references may name versions of views.
    pub versioning: bool,
    /// Feature views whose rows are wanted; with `services` and `tags` all empty: all of them.
    pub views: Vec<String>,
    /// Feature services whose views' rows are wanted.
    pub services: Vec<String>,
    /// Tags, as `key=value`, of views whose rows are wanted.
    pub tags: Vec<String>,
    /// Bytes of rows on top of those there are that one transaction takes.
    pub memory_max: u64,
    /// Bytes a second that are fetched at most.
    pub bandwidth_max: Option<u64>,
    /// Where fetched files are kept.
    pub folder: PathBuf,
}

/// What an agent is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentState {
    /// It waits for the next look.
    #[default]
    Waiting,
    /// It looks at the feed.
    Looking,
    /// It fetches and decodes a release.
    Fetching,
    /// It installs one.
    Installing,
}

/// What an agent says of itself.
#[derive(Clone, Debug, Default)]
pub struct AgentStatus {
    /// Where the feed is.
    pub location: String,
    /// What it is at.
    pub state: AgentState,
    /// What is installed.
    pub installed: Option<InstalledRelease>,
    /// What a rollback comes back to.
    pub previous: Option<u64>,
    /// The release that was rolled back and waits for a newer one.
    pub held: Option<u64>,
    /// The newest release that was seen.
    pub seen: Option<u64>,
    /// When what vouches for it expires.
    pub expires_at: Option<EventTime>,
    /// Whether it has expired.
    pub frozen: bool,
    /// When the feed was last found to be as it should.
    pub checked_at: Option<EventTime>,
    /// Why the last round came to nothing: a stable code and a sentence.
    pub error: Option<(&'static str, String)>,
    /// Rounds in a row that came to nothing.
    pub failures: u32,
    /// When the next round is due.
    pub next_at: Option<EventTime>,
    /// Looks at the feed since the start.
    pub polls: u64,
    /// Releases installed since the start.
    pub installs: u64,
    /// Releases refused since the start.
    pub refused: u64,
    /// Bytes fetched since the start.
    pub bytes: u64,
    /// Rows decoded since the start.
    pub rows: u64,
    /// The view whose rows come in.
    pub view: Option<String>,
}

/// An agent's status, written by the agent and read by everybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<Mutex<AgentStatus>>);

/// Asks an agent's round to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    ended: Arc<AtomicBool>,
    /// Rollbacks that wait: they go before whatever a round waits for.
    rollbacks: Arc<AtomicUsize>,
}

// === impl AgentConfig ===

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            backoff_max: Duration::from_secs(300),
            project: None,
            versioning: false,
            views: Vec::new(),
            services: Vec::new(),
            tags: Vec::new(),
            memory_max: 256 << 20,
            bandwidth_max: None,
            folder: PathBuf::from("feed"),
        }
    }
}

// === impl AgentState ===

impl AgentState {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Looking => "looking",
            Self::Fetching => "fetching",
            Self::Installing => "installing",
        }
    }
}

// === impl Progress ===

impl Progress {
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut AgentStatus) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn read(&self) -> AgentStatus {
        self.change(|status| status.clone())
    }

    pub(crate) fn at(&self, state: AgentState) {
        self.change(|status| status.state = state);
    }

    pub(crate) fn view(&self, name: &str) {
        self.change(|status| status.view = Some(name.to_owned()));
    }

    pub(crate) fn bytes(&self, bytes: u64) {
        self.change(|status| status.bytes += bytes);
    }

    pub(crate) fn rows(&self, rows: u64) {
        self.change(|status| status.rows += rows);
    }
}

// === impl Stop ===

impl Stop {
    pub(crate) fn ask(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// A rollback begins to wait, or no longer does.
    pub(crate) fn rollback_waits(&self, begins: bool) {
        match begins {
            true => self.rollbacks.fetch_add(1, Ordering::Relaxed),
            false => self.rollbacks.fetch_sub(1, Ordering::Relaxed),
        };
    }

    pub(crate) fn check(&self) -> Result<(), AgentError> {
        if self.ended.load(Ordering::Relaxed) {
            return Err(AgentError::Stopped);
        }
        match self.rollbacks.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(AgentError::GaveWay),
        }
    }
}

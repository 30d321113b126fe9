//! The agent's thread: rounds at their times, commands in between.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Agent, AgentError, AgentStatus, Progress, Stop};
use crate::error::{Error, Result};

/// Commands that may wait for the thread.
const COMMANDS_MAX: usize = 16;
/// The wait after a first failure; it doubles with each.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// How far a wait may be from its middle, in percent: nodes that started together do not stay so.
const JITTER_PERCENT: u64 = 10;

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The feed has no release yet.
    Nothing,
    /// What is installed, or held back by a rollback, is the newest.
    Unchanged {
        /// Its version.
        version: u64,
    },
    /// What is installed, or held back by a rollback, is the newest there is, and what vouches for it
    /// has expired.
    Frozen {
        /// Its version.
        version: u64,
    },
    /// A release was installed.
    Installed {
        /// Its version.
        version: u64,
        /// Rows decoded for it.
        rows: u64,
    },
    /// The release before serves again.
    RolledBack {
        /// Its version.
        version: u64,
    },
}

/// What an agent may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A round, now.
    Sync,
    /// The release before.
    RollBack,
}

/// What a command came to: an outcome, or a code and a sentence.
pub type Answer = std::result::Result<Outcome, Refusal>;

/// A stable code and a sentence.
pub type Refusal = (&'static str, String);

type Asked = (Command, SyncSender<Answer>);

/// A running agent; it ends when this is dropped.
#[derive(Debug)]
pub struct AgentHandle {
    commands: Option<SyncSender<Asked>>,
    thread: Option<JoinHandle<()>>,
    progress: Progress,
    stop: Stop,
    /// Ends with the thread.
    ended: Receiver<()>,
}

/// How long a round may take to end when the node stops. What it fetched is kept, what it stored is
/// seen by nobody: nothing is lost by not waiting for a place that does not answer.
const STOP_WAIT: Duration = Duration::from_secs(3);

// === impl AgentHandle ===

impl AgentHandle {
    /// Starts an agent on a thread of its own; its first round is at once.
    ///
    /// # Errors
    /// [`Error::Thread`].
    pub fn start(agent: Agent) -> Result<Self> {
        let (commands, asked) = sync_channel(COMMANDS_MAX);
        let (progress, stop) = agent.handles();
        let name = "galley-agent";
        let (ending, ended) = sync_channel::<()>(0);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Dropped when the thread ends, however it does.
                let _ending = ending;
                run(agent, &asked);
            })
            .map_err(|source| Error::Thread { name, source })?;
        Ok(Self {
            commands: Some(commands),
            thread: Some(thread),
            progress,
            stop,
            ended,
        })
    }

    /// What the agent says of itself.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        self.progress.read()
    }

    /// Asks for something; the answer comes when it is done, whether it is waited for or not.
    ///
    /// # Errors
    /// A code and a sentence when the agent takes no more commands.
    pub fn ask(&self, command: Command) -> std::result::Result<Receiver<Answer>, Refusal> {
        let (sender, answer) = sync_channel(1);
        let stopped = || ("stopped", "the agent has stopped".to_owned());
        let commands = self.commands.as_ref().ok_or_else(stopped)?;
        // Said first, so that the thread never takes a rollback that nobody has counted.
        let is_rollback = command == Command::RollBack;
        if is_rollback {
            self.stop.rollback_waits(true);
        }
        let refused = match commands.try_send((command, sender)) {
            Ok(()) => return Ok(answer),
            Err(TrySendError::Full(_)) => {
                ("busy", "the agent has too many commands waiting".to_owned())
            }
            Err(TrySendError::Disconnected(_)) => stopped(),
        };
        if is_rollback {
            self.stop.rollback_waits(false);
        }
        Err(refused)
    }
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.stop.ask();
        drop(self.commands.take());
        if matches!(
            self.ended.recv_timeout(STOP_WAIT),
            Err(RecvTimeoutError::Timeout)
        ) {
            tracing::warn!(
                "the agent is left waiting for the feed, it goes on after the next start"
            );
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the agent's thread panicked");
        }
    }
}

fn run(mut agent: Agent, asked: &Receiver<Asked>) {
    let mut dice = Dice::new();
    let mut due = Instant::now();
    loop {
        match asked.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok((command, answer)) => {
                let outcome = match command {
                    Command::Sync => agent.round(),
                    Command::RollBack => {
                        agent.handles().1.rollback_waits(false);
                        let back = agent.roll_back();
                        back.map(|version| Outcome::RolledBack { version })
                    }
                };
                let said = outcome.map_err(|error| (error.code(), crate::error::chain(&error)));
                // Whoever asked may have gone.
                let _ = answer.try_send(said);
            }
            Err(RecvTimeoutError::Timeout) => report(&agent.round()),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let wait = dice.around(wait_after(&agent));
        due = Instant::now() + wait;
        let at = galley_types::EventTime(
            agent
                .now()
                .0
                .saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)),
        );
        let (progress, _) = agent.handles();
        progress.change(|status| status.next_at = Some(at));
    }
}

/// The interval, or after failures a wait that doubles up to its bound.
fn wait_after(agent: &Agent) -> Duration {
    let config = agent.config();
    let failures = agent.status().failures;
    if failures == 0 {
        return config.interval;
    }
    BACKOFF_FIRST
        .saturating_mul(1 << failures.saturating_sub(1).min(20))
        .min(config.backoff_max)
}

fn report(outcome: &std::result::Result<Outcome, AgentError>) {
    match outcome {
        Ok(_) | Err(AgentError::Stopped | AgentError::GaveWay) => {}
        Err(error) => {
            let code = error.code();
            tracing::warn!(code, error = %crate::error::chain(error), "what serves goes on serving");
        }
    }
}

/// Small random numbers for waits: nothing depends on their quality.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        use std::hash::BuildHasher as _;
        Self(std::hash::RandomState::new().hash_one(std::process::id()) | 1)
    }

    /// A time within [`JITTER_PERCENT`] of `middle`.
    fn around(&mut self, middle: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let percent = 100 - JITTER_PERCENT + self.0 % (2 * JITTER_PERCENT + 1);
        middle.mul_f64(f64::from(u32::try_from(percent).unwrap_or(100)) / 100.0)
    }
}

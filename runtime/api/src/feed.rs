//! What a node that follows a feed can be asked, whoever follows it.

use std::fmt;
use std::time::Duration;

use galley_types::EventTime;

/// Keeps the node at what a feed says.
pub trait FeedAgent: Send + Sync + fmt::Debug {
    /// What it is at.
    fn status(&self) -> FeedStatus;

    /// Asks for something and waits for the answer, at most for `wait`; `None` when it is not
    /// there by then: it goes on.
    fn ask(&self, command: FeedCommand, wait: Duration) -> Option<FeedAnswer>;
}

/// What may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedCommand {
    /// A look at the feed, now.
    Sync,
    /// The release before the one that serves.
    RollBack,
}

/// What a command came to, or a stable code and a sentence.
pub type FeedAnswer = Result<FeedOutcome, (&'static str, String)>;

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedOutcome {
    /// `nothing`, `unchanged`, `frozen`, `installed` or `rolled_back`.
    pub outcome: &'static str,
    /// The release that serves now.
    pub version: Option<u64>,
    /// Rows that came with it.
    pub rows: u64,
}

/// What an agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedStatus {
    /// Where the feed is, without credentials.
    pub location: String,
    /// `waiting`, `looking`, `fetching` or `installing`.
    pub state: &'static str,
    /// The feature view whose rows come in.
    pub view: Option<String>,
    /// The release that serves.
    pub version: Option<u64>,
    /// When it was published.
    pub published_at: Option<EventTime>,
    /// When it was installed here.
    pub installed_at: Option<EventTime>,
    /// The release that a rollback comes back to.
    pub previous: Option<u64>,
    /// The release that was rolled back and waits for a newer one.
    pub held: Option<u64>,
    /// The newest release seen.
    pub seen: Option<u64>,
    /// When what vouches for it expires.
    pub expires_at: Option<EventTime>,
    /// Whether it has expired: the feed may be held back.
    pub frozen: bool,
    /// When the feed was last found as it should be.
    pub checked_at: Option<EventTime>,
    /// When the next look is due.
    pub next_at: Option<EventTime>,
    /// Why the last look came to nothing: a stable code and a sentence.
    pub error: Option<(&'static str, String)>,
    /// Looks in a row that came to nothing.
    pub failures: u32,
    /// Looks since the start.
    pub polls: u64,
    /// Releases installed since the start.
    pub installs: u64,
    /// Releases refused since the start.
    pub refused: u64,
    /// Bytes fetched since the start.
    pub bytes: u64,
    /// Rows taken in since the start.
    pub rows: u64,
}

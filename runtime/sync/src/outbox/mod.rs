//! The way home: what waits in the outbox is sent to the centre, in order, once in effect.
//!
//! What the centre refuses for good is parked after some attempts, so that the rest goes on: it is
//! sent again when somebody asks for that, under the name it had.
//!
//! A range of entries is first recorded as under way, then sent in parts (one for each view or
//! service, in the shape of one batch), then removed. After a crash at any point the same range is
//! cut into the same parts with the same names, so that a centre that keeps parts by name keeps each
//! once, and one that does not is sent twice only the part that was under way.

mod batch;
mod drain;
mod flight;
mod landing;
mod parts;
mod retry;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow_array::RecordBatch;
use galley_node::store::{OutboxChange, OutboxItem, OutboxKind, OutboxStats, ParkedPart};
use galley_node::{Node, Sending};
use galley_types::EventTime;

pub use drain::Drain;
pub use flight::{CurrentRegistry, OfflineStore};
pub use landing::Landing;

use crate::remote::RemoteError;
use crate::{Error, Result};

/// How entries are gathered and retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainConfig {
    /// Entries of one range.
    pub entries_max: usize,
    /// Bytes of one range; a larger entry is a range by itself.
    pub bytes_max: u64,
    /// How long entries are gathered before fewer than that are sent.
    pub wait_max: Duration,
    /// How long to wait after a first failure; each further one doubles it.
    pub backoff_min: Duration,
    /// How long to wait at most.
    pub backoff_max: Duration,
    /// How often the centre may refuse a part before it is parked; 0: for ever, and everything waits
    /// behind it. Of a view or service that was parked, what follows is parked when it is refused once.
    pub park_after: u32,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self {
            entries_max: 50_000,
            bytes_max: 32 << 20,
            wait_max: Duration::from_secs(5),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            park_after: 5,
        }
    }
}

/// Where entries come from: the node.
pub trait OutboxSource: Send + Sync {
    /// What waits.
    fn stats(&self) -> OutboxStats;

    /// The oldest entries, as [`Node::outbox_peek`] gives them.
    ///
    /// # Errors
    /// Those of the node.
    fn peek(
        &self,
        bounds: (usize, u64),
        up_to: u64,
    ) -> std::result::Result<Vec<OutboxItem>, galley_node::Error>;

    /// The parked parts after the one that begins with `after`, at most `max`.
    ///
    /// # Errors
    /// Those of the node.
    fn parked_parts(
        &self,
        after: u64,
        max: usize,
    ) -> std::result::Result<Vec<ParkedPart>, galley_node::Error>;

    /// The entries of the parked part that begins with `first`.
    ///
    /// # Errors
    /// Those of the node.
    fn parked_items(&self, first: u64) -> std::result::Result<Vec<OutboxItem>, galley_node::Error>;

    /// Changes the outbox durably.
    ///
    /// # Errors
    /// Those of the node; nothing is changed then.
    fn change(&self, change: OutboxChange) -> std::result::Result<(), galley_node::Error>;

    /// The time of day.
    fn now(&self) -> EventTime;

    /// Where it is noted how the sending goes.
    fn sending(&self) -> &Sending;
}

/// Rows of one view, or served features of one service, on their way.
#[derive(Debug)]
pub struct Shipment<'a> {
    /// What they are.
    pub kind: OutboxKind,
    /// The view or the service.
    pub target: &'a str,
    /// The outbox they come from.
    pub producer: u128,
    /// The sequence of the first entry.
    pub first: u64,
    /// The sequence of the last entry.
    pub last: u64,
    /// Whether the same shipment may have been sent before.
    pub again: bool,
    /// The rows, under the names they have at the centre.
    pub rows: RecordBatch,
}

/// Where entries go.
pub trait Centre: Send + Sync + std::fmt::Debug {
    /// Takes a shipment: once this returns, the centre has it for good.
    ///
    /// # Errors
    /// [`Undelivered`]; the same shipment is then sent again later.
    fn deliver(&self, shipment: &Shipment<'_>) -> std::result::Result<(), Undelivered>;

    /// Where this is, for messages: without credentials.
    fn location(&self) -> String;
}

/// Why a shipment did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The centre could not be asked, or not all the way: another time it may take this shipment.
    #[error(transparent)]
    Later(RemoteError),
    /// The centre does not take this shipment as it is: it does not know what the rows are of, or
    /// they do not fit.
    #[error(transparent)]
    Refused(RemoteError),
}

impl OutboxSource for Node {
    fn stats(&self) -> OutboxStats {
        self.outbox()
    }

    fn peek(
        &self,
        bounds: (usize, u64),
        up_to: u64,
    ) -> std::result::Result<Vec<OutboxItem>, galley_node::Error> {
        self.outbox_peek(bounds, up_to)
    }

    fn parked_parts(
        &self,
        after: u64,
        max: usize,
    ) -> std::result::Result<Vec<ParkedPart>, galley_node::Error> {
        Ok(self.store().load().parked_parts(after, max)?)
    }

    fn parked_items(&self, first: u64) -> std::result::Result<Vec<OutboxItem>, galley_node::Error> {
        Ok(self.store().load().parked_items(first)?)
    }

    fn change(&self, change: OutboxChange) -> std::result::Result<(), galley_node::Error> {
        self.outbox_change(change)
    }

    fn now(&self) -> EventTime {
        Self::now(self)
    }

    fn sending(&self) -> &Sending {
        Self::sending(self)
    }
}

/// The thread that sends; dropping it ends the sending.
#[derive(Debug)]
pub struct Sender {
    stop: Option<SyncSender<()>>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// How long a shipment under way may take when the node stops. It is sent again after the next
/// start, so that nothing is lost by not waiting.
const STOP_WAIT: Duration = Duration::from_secs(5);

// === impl Sender ===

impl Sender {
    /// Starts sending what waits in `source`'s outbox to `centre`.
    ///
    /// # Errors
    /// [`Error::Thread`] when the thread cannot be started.
    pub fn start(
        source: Arc<dyn OutboxSource>,
        centre: Arc<dyn Centre>,
        config: DrainConfig,
    ) -> Result<Self> {
        const NAME: &str = "galley-outbox";
        source.sending().set_to(centre.location());
        let (stop, stopped) = sync_channel::<()>(0);
        let (ending, ended) = sync_channel::<()>(0);
        let mut drain = Drain::new(source, centre, config, seed());
        let thread = std::thread::Builder::new()
            .name(NAME.to_owned())
            .spawn(move || {
                // Dropped when the thread ends, however it does.
                let _ending = ending;
                while matches!(
                    stopped.recv_timeout(drain.round()),
                    Err(RecvTimeoutError::Timeout)
                ) {}
            })
            .map_err(|source| Error::Thread { name: NAME, source })?;
        Ok(Self {
            stop: Some(stop),
            ended,
            thread: Some(thread),
        })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        drop(self.stop.take());
        if matches!(
            self.ended.recv_timeout(STOP_WAIT),
            Err(RecvTimeoutError::Timeout)
        ) {
            tracing::warn!(
                "the outbox is left in the middle of a shipment, it is sent again later"
            );
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the outbox's thread panicked");
        }
    }
}

/// Random bytes for the jitter.
fn seed() -> u64 {
    random().map_or(1, |bytes| {
        #[expect(clippy::cast_possible_truncation, reason = "half of it is enough")]
        let seed = bytes as u64;
        seed
    })
}

/// A producer for one opening of a store: random, so that no other has it.
///
/// # Errors
/// [`Error::Random`] when the system gives no random bytes.
pub fn fresh_producer() -> Result<u128> {
    random().ok_or(Error::Random)
}

/// 16 random bytes.
fn random() -> Option<u128> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0_u8; 16];
    ring::rand::SystemRandom::new().fill(&mut bytes).ok()?;
    Some(u128::from_le_bytes(bytes))
}

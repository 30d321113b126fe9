//! The single writer: many waiting writes, one transaction, one fsync.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use galley_store::{CommitSeq, Group, Store, Write};
use galley_types::{Classify, ErrorKind};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::outbox::Reservation;
use crate::{Error, NodeConfig, Result, WriteMode};

/// How long the writer waits between attempts to bring a failed store back.
const RECOVER_INTERVAL: Duration = Duration::from_secs(1);

/// How long the writer sleeps at most when nothing comes.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteReceipt {
    /// The commit that holds it; zero for a write without rows.
    pub commit: CommitSeq,
    /// Rows stored.
    pub written: u64,
    /// Rows that gave way to newer ones.
    pub superseded: u64,
    /// The ticket of an asynchronous write.
    pub ticket: Option<u64>,
}

/// A write on its way to a commit.
#[derive(Debug)]
pub struct Pending {
    state: State,
}

#[derive(Debug)]
enum State {
    Done(WriteReceipt),
    Waiting(oneshot::Receiver<Result<WriteReceipt>>),
}

/// The writer's end for callers.
#[derive(Debug)]
pub(crate) struct Writer {
    sender: Mutex<Option<SyncSender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    queued: Arc<AtomicU64>,
    limit: usize,
    queued_max: u64,
}

struct Job {
    write: Write,
    /// Room in the outbox, until the commit shows what was added to it.
    reserved: Option<Reservation>,
    mode: WriteMode,
    answer: oneshot::Sender<Result<WriteReceipt>>,
}

// === impl WriteReceipt ===

impl WriteReceipt {
    /// What a write without rows comes to.
    pub(crate) fn none() -> Self {
        Self {
            commit: CommitSeq(0),
            written: 0,
            superseded: 0,
            ticket: None,
        }
    }
}

// === impl Pending ===

impl Pending {
    pub(crate) fn done(receipt: WriteReceipt) -> Self {
        Self {
            state: State::Done(receipt),
        }
    }

    /// Waits for the commit. The write goes on if the future is dropped.
    ///
    /// # Errors
    /// [`Error::Commit`] when the commit failed, [`Error::Closed`] when the node went away.
    pub async fn wait(self) -> Result<WriteReceipt> {
        match self.state {
            State::Done(receipt) => Ok(receipt),
            State::Waiting(receiver) => receiver.await.unwrap_or(Err(Error::Closed)),
        }
    }

    /// [`Pending::wait`] for threads outside a runtime.
    ///
    /// # Errors
    /// As [`Pending::wait`].
    pub fn wait_blocking(self) -> Result<WriteReceipt> {
        match self.state {
            State::Done(receipt) => Ok(receipt),
            State::Waiting(receiver) => receiver.blocking_recv().unwrap_or(Err(Error::Closed)),
        }
    }
}

// === impl Writer ===

impl Writer {
    /// Starts the writer's thread.
    pub(crate) fn start(store: Arc<Store>, config: &NodeConfig) -> Result<Self> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(config.write_queue_max);
        let queued = Arc::new(AtomicU64::new(store.stats().queued));
        let mut run = Run {
            store,
            receiver,
            config: config.clone(),
            last_group: 0,
            held: None,
            queued: Arc::clone(&queued),
            healthy: true,
        };
        let thread = std::thread::Builder::new()
            .name("galley-writer".to_owned())
            .spawn(move || run.run())
            .map_err(|source| Error::Spawn {
                what: "the writer thread",
                source,
            })?;
        Ok(Self {
            sender: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            queued,
            limit: config.write_queue_max,
            queued_max: config.queued_writes_max,
        })
    }

    /// Hands a write to the writer without waiting.
    pub(crate) fn submit(
        &self,
        (write, reserved): (Write, Option<Reservation>),
        mode: WriteMode,
    ) -> Result<Pending> {
        let queued = self.queued.load(Ordering::Relaxed);
        if mode == WriteMode::Async && queued >= self.queued_max {
            return Err(Error::Busy {
                what: "the queue of asynchronous writes",
                limit: self.queued_max,
                setting: "limits.queued_writes_max",
            });
        }
        let (answer, receiver) = oneshot::channel();
        let sender = self
            .sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match sender.ok_or(Error::Closed)?.try_send(Job {
            write,
            reserved,
            mode,
            answer,
        }) {
            Ok(()) => Ok(Pending {
                state: State::Waiting(receiver),
            }),
            Err(TrySendError::Full(_)) => Err(Error::Busy {
                what: "the write queue",
                limit: self.limit as u64,
                setting: "limits.write_queue_max",
            }),
            Err(TrySendError::Disconnected(_)) => Err(Error::Closed),
        }
    }

    /// Takes no more writes, commits those that wait and ends the thread. Asynchronous writes that
    /// are queued stay in the store and are applied after the next start.
    pub(crate) fn stop(&self) {
        drop(
            self.sender
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            error!("the writer thread panicked");
        }
    }

    /// Whether the writer's thread runs.
    pub(crate) fn alive(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

/// The writer's own side.
struct Run {
    store: Arc<Store>,
    receiver: Receiver<Job>,
    config: NodeConfig,
    last_group: usize,
    /// Taken from the queue for a commit of its own.
    held: Option<Job>,
    queued: Arc<AtomicU64>,
    healthy: bool,
}

impl Run {
    fn run(&mut self) {
        let mut tried = Instant::now();
        loop {
            let busy = self.healthy && self.queued.load(Ordering::Relaxed) > 0;
            let wait = if busy { Duration::ZERO } else { IDLE_WAIT };
            let first = match self.held.take() {
                Some(job) => Some(job),
                None => match self.receiver.recv_timeout(wait) {
                    Ok(job) => Some(job),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => break,
                },
            };
            if !self.healthy && tried.elapsed() >= RECOVER_INTERVAL {
                tried = Instant::now();
                self.recover();
            }
            match first {
                Some(job) => {
                    let group = self.gather(job);
                    self.commit(group);
                }
                None if busy => self.commit(Vec::new()),
                None => {}
            }
        }
    }

    /// Collects what waits, and for a moment what is about to come: when the last commit answered
    /// many callers, their next writes are under way.
    ///
    /// What only looks after the outbox is committed by itself: on a full disk, where the others are
    /// refused, it is what makes room.
    fn gather(&mut self, first: Job) -> Vec<Job> {
        let mut rows = rows_of(&first.write);
        let relief = first.write.is_relief();
        let mut group = vec![first];
        if relief {
            return group;
        }
        let deadline = Instant::now() + self.config.group_wait;
        while group.len() < self.config.group_writes_max && rows < self.config.group_rows_max {
            let job = match self.receiver.try_recv() {
                Ok(job) => job,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if group.len() >= self.last_group || left.is_zero() {
                        break;
                    }
                    match self.receiver.recv_timeout(left) {
                        Ok(job) => job,
                        Err(_) => break,
                    }
                }
            };
            if job.write.is_relief() {
                self.held = Some(job);
                break;
            }
            rows += rows_of(&job.write);
            group.push(job);
        }
        group
    }

    fn commit(&mut self, group: Vec<Job>) {
        self.last_group = group.len();
        let drain_max = match group.iter().any(|job| job.write.is_relief()) {
            true => 0,
            false => self.config.drain_max,
        };
        // Room is held until the commit shows what was added.
        let mut reserved = Vec::new();
        let mut writes = Vec::new();
        let mut enqueue = Vec::new();
        let mut waiting = Vec::new();
        let mut ticketed = Vec::new();
        for job in group {
            reserved.extend(job.reserved);
            match job.mode {
                WriteMode::Sync => {
                    writes.push(job.write);
                    waiting.push(job.answer);
                }
                WriteMode::Async => {
                    enqueue.push(job.write);
                    ticketed.push(job.answer);
                }
            }
        }
        let applied = self.store.apply(&Group {
            writes: &writes,
            enqueue: &enqueue,
            drain_max,
        });
        drop(reserved);
        match applied {
            Ok(applied) => {
                self.queued.store(applied.queued, Ordering::Relaxed);
                for (answer, outcome) in waiting.into_iter().zip(applied.outcomes) {
                    let receipt = WriteReceipt {
                        commit: applied.commit,
                        written: outcome.written,
                        superseded: outcome.superseded,
                        ticket: None,
                    };
                    // A caller that went away does not change what was committed.
                    drop(answer.send(Ok(receipt)));
                }
                for (answer, ticket) in ticketed.into_iter().zip(applied.tickets) {
                    let receipt = WriteReceipt {
                        commit: applied.commit,
                        ticket: Some(ticket),
                        ..WriteReceipt::none()
                    };
                    drop(answer.send(Ok(receipt)));
                }
            }
            Err(error) => self.refuse(&error, waiting.into_iter().chain(ticketed)),
        }
    }

    fn refuse(
        &mut self,
        error: &galley_store::Error,
        answers: impl Iterator<Item = oneshot::Sender<Result<WriteReceipt>>>,
    ) {
        let kind = error.kind();
        let message = chain(error);
        match kind {
            ErrorKind::StorageFull => warn!(error = %message, "writes refused, the disk is full"),
            _ => {
                error!(error = %message, "commit failed");
                self.healthy = self.store.stats().healthy;
            }
        }
        for answer in answers {
            drop(answer.send(Err(Error::Commit {
                kind,
                message: message.clone(),
            })));
        }
        if kind == ErrorKind::StorageFull {
            // Queued writes cannot be drained either: wait for space instead of spinning.
            std::thread::sleep(Duration::from_millis(50));
        }
        if !self.healthy {
            self.recover();
        }
    }

    fn recover(&mut self) {
        match self.store.recover() {
            Ok(()) => {
                info!("the store was reopened");
                self.healthy = true;
            }
            Err(error) => {
                error!(error = %chain(&error), "the store could not be reopened, trying again");
            }
        }
    }
}

fn rows_of(write: &Write) -> usize {
    write.batches.iter().map(galley_store::RowBatch::len).sum()
}

/// An error with its causes, for logs and for answers that outlive it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

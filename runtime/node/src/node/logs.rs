//! The thread that gathers what look-ups log and puts it into the outbox.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use galley_store::{OutboxChange, OutboxEntry, OutboxKind, Write};
use tracing::warn;

use super::Node;
use crate::logs::{LogPlan, LogShared, Logged, Logs};
use crate::{Error, Result, WriteMode, parcel};

/// How often the thread looks whether it should end.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Rows of one plan, gathered.
struct Gathered {
    plan: Arc<LogPlan>,
    bytes: Vec<u8>,
    rows: usize,
}

impl Node {
    /// Starts taking serving logs, where there is an outbox for them.
    pub(super) fn start_logs(self: &Arc<Self>) -> Result<()> {
        let config = &self.config.logs;
        if self.config.outbox.is_none() || !config.enabled {
            return Ok(());
        }
        let (logs, receiver) = Logs::new(config);
        let shared = Arc::clone(logs.shared());
        let (node, gather) = (Arc::downgrade(self), config.gather);
        let bytes_max = config.gather_bytes_max;
        let thread = std::thread::Builder::new()
            .name("galley-logs".to_owned())
            .spawn(move || gather_logs(&node, &receiver, &shared, (gather, bytes_max)))
            .map_err(|source| Error::Spawn {
                what: "the thread of the serving logs",
                source,
            })?;
        *self
            .logs_thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(thread);
        // Set once, here.
        let _ = self.logs.set(logs);
        Ok(())
    }

    /// Puts what was gathered into the outbox and ends the thread.
    pub(super) fn stop_logs(&self) {
        if let Some(logs) = self.logs.get() {
            logs.shared().stop.store(true, Ordering::Relaxed);
        }
        let thread = self
            .logs_thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread of the serving logs panicked");
        }
    }

    /// Rows of serving logs since the start: kept in the outbox, and dropped.
    #[must_use]
    pub fn logged_rows(&self) -> (u64, u64) {
        self.logs.get().map_or((0, 0), |logs| {
            let shared = logs.shared();
            let rows = shared.rows.load(Ordering::Relaxed);
            (rows, shared.dropped.load(Ordering::Relaxed))
        })
    }

    fn log_home(&self, gathered: Vec<Gathered>) -> Result<()> {
        let accepted = self.now();
        let entry = |it: Gathered| OutboxEntry {
            kind: OutboxKind::Log,
            target: it.plan.service.clone(),
            accepted,
            payload: parcel::seal(&it.plan.columns, &it.bytes),
        };
        let write = Write {
            outbox: OutboxChange {
                add: gathered.into_iter().map(entry).collect(),
                ..OutboxChange::default()
            },
            ..Write::default()
        };
        self.submit(write, WriteMode::Sync)?
            .wait_blocking()
            .map(drop)
    }
}

fn gather_logs(
    node: &Weak<Node>,
    receiver: &Receiver<Logged>,
    shared: &LogShared,
    (gather, bytes_max): (Duration, usize),
) {
    let mut gathered: Vec<Gathered> = Vec::new();
    let mut bytes = 0;
    let mut since = Instant::now();
    loop {
        let stop = shared.stop.load(Ordering::Relaxed);
        let wait = if stop { Duration::ZERO } else { LOOK_INTERVAL };
        let ended = match receiver.recv_timeout(wait) {
            Ok(logged) => {
                shared.taken(&logged);
                if gathered.is_empty() {
                    since = Instant::now();
                }
                bytes += logged.rows.bytes();
                add(&mut gathered, logged);
                false
            }
            Err(RecvTimeoutError::Timeout) => stop,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if bytes >= bytes_max || ended || (bytes > 0 && since.elapsed() >= gather) {
            bytes = 0;
            let rows: usize = gathered.iter().map(|it| it.rows).sum();
            let batch = std::mem::take(&mut gathered);
            let kept = match node.upgrade() {
                Some(_) if rows == 0 => Ok(()),
                Some(node) => node.log_home(batch),
                None => Err(Error::Closed),
            };
            match kept {
                Ok(()) => drop(shared.rows.fetch_add(rows as u64, Ordering::Relaxed)),
                Err(error) => {
                    shared.drop_rows(rows);
                    warn!(%error, rows, "serving logs dropped");
                }
            }
        }
        if ended {
            return;
        }
    }
}

fn add(gathered: &mut Vec<Gathered>, logged: Logged) {
    let Logged { plan, rows } = logged;
    let same = gathered.iter_mut().find(|it| Arc::ptr_eq(&it.plan, &plan));
    match same {
        Some(it) => {
            it.bytes.extend_from_slice(rows.as_bytes());
            it.rows += rows.len();
        }
        None => gathered.push(Gathered {
            plan,
            bytes: rows.as_bytes().to_vec(),
            rows: rows.len(),
        }),
    }
}

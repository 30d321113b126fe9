//! Rows of a release on their way into the store.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};

use galley_node::store::{RowBatch, Spill, TableId, Write};
use galley_node::{Node, Registry, Sink};

use super::content::{Contents, Transfer};
use super::state::{InstalledRelease, identity};
use super::{AgentError, Progress, Stop};
use crate::feed::{Batch, Mode, Part, Release, decode_part};
use crate::remote::Remote;

/// Parts that are fetched ahead of the one that is decoded, and decoded ahead of the one that is
/// stored.
const PARTS_AHEAD: usize = 2;

/// Bytes of a row in a part at least: its event time.
const ROW_BYTES_MIN: u64 = 8;

/// What a release's batches come to.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Tables to put in the place of those there are.
    pub(super) promote: Vec<TableId>,
    /// Rows on top of those there are.
    pub(super) writes: Vec<Write>,
    /// More of them, which wait on the disk.
    pub(super) spills: Vec<Spill>,
    /// The last batch of each view.
    pub(super) batches: BTreeMap<String, (u64, u64)>,
    /// What tells those batches from others at their place.
    pub(super) digests: BTreeMap<String, String>,
    /// Rows that were decoded.
    pub(super) rows: u64,
}

/// What all views of one round share.
pub(super) struct Intake<'a> {
    pub(super) node: &'a Node,
    pub(super) remote: &'a dyn Remote,
    pub(super) contents: &'a Contents,
    pub(super) registry: &'a Registry,
    pub(super) release: &'a Release,
    pub(super) stop: &'a Stop,
    pub(super) progress: &'a Progress,
    /// Bytes of rows on top of those there are that wait in memory; more wait on the disk.
    pub(super) memory_max: u64,
}

/// What is to be done for one view.
struct Task<'a> {
    sink: Sink,
    staged: bool,
    batches: Vec<&'a Batch>,
}

// === impl Task ===

impl Task<'_> {
    /// How many rows are to come, as far as it can be: more than so many bytes hold are not.
    fn rows(&self) -> u64 {
        let parts = self.batches.iter().flat_map(|batch| &batch.parts);
        let rows = parts.map(|part| part.rows.min(part.content.size / ROW_BYTES_MIN));
        rows.fold(0, u64::saturating_add)
    }
}

// === impl Intake ===

impl Intake<'_> {
    /// Fetches and decodes what `current` lacks of the batches of the views for which `wanted`.
    pub(super) fn take(
        &self,
        current: Option<&InstalledRelease>,
        wanted: &dyn Fn(&str) -> bool,
        transfer: &mut Transfer,
    ) -> Result<Rows, AgentError> {
        let mut chains: BTreeMap<&str, Vec<&Batch>> = BTreeMap::new();
        for batch in &self.release.batches {
            if batch.project == self.registry.project() && wanted(&batch.view) {
                chains.entry(&batch.view).or_default().push(batch);
            }
        }
        let mut rows = Rows::default();
        for (view, chain) in chains {
            if let Some(last) = chain.last() {
                let place = (last.epoch, last.sequence);
                rows.batches.insert(view.to_owned(), place);
                rows.digests.insert(view.to_owned(), identity(&chain));
            }
            let applied = current.and_then(|current| current.applied(view, &chain));
            if let Some(task) = self.task(view, &chain, applied)? {
                self.run(&task, &mut rows, transfer)?;
            }
        }
        Ok(rows)
    }

    /// What the chain of a view has that is not applied.
    fn task<'b>(
        &self,
        view: &str,
        chain: &[&'b Batch],
        applied: Option<(u64, u64)>,
    ) -> Result<Option<Task<'b>>, AgentError> {
        let index = self.registry.find_view(view);
        let Some(stored) = index.and_then(|index| self.registry.view(index)) else {
            return Err(self.refused(view, "the registry of the release has no such view"));
        };
        if !stored.online || stored.servable.is_err() {
            return Ok(None);
        }
        let whole = chain.iter().rposition(|batch| batch.mode == Mode::Replace);
        let epoch = chain.last().map_or(0, |batch| batch.epoch);
        let missing: Vec<&Batch> = chain
            .iter()
            .copied()
            .filter(|batch| applied.is_none_or(|at| (batch.epoch, batch.sequence) > at))
            .collect();
        if missing.is_empty() {
            return Ok(None);
        }
        let project = self.registry.project();
        let follows = applied.is_some_and(|at| at.0 == epoch)
            && missing.iter().all(|batch| batch.mode == Mode::Upsert);
        if follows && let Some(sink) = self.node.sink_for(project, stored)? {
            return Ok(Some(Task {
                sink,
                staged: false,
                batches: missing,
            }));
        }
        let Some(whole) = whole else {
            return Err(self.refused(
                view,
                "there is no batch with all its rows: publish the view in full",
            ));
        };
        Ok(Some(Task {
            sink: self.node.stage(project, stored)?,
            staged: true,
            batches: chain.iter().skip(whole).copied().collect(),
        }))
    }

    fn refused(&self, view: &str, reason: &str) -> AgentError {
        AgentError::Rows {
            version: self.release.version,
            view: view.to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// Fetches, decodes and stores the parts of a task, each step on a thread of its own. The files
    /// stay until the release is installed: a round that fails later does not fetch them again.
    fn run(
        &self,
        task: &Task<'_>,
        rows: &mut Rows,
        transfer: &mut Transfer,
    ) -> Result<(), AgentError> {
        let parts: Vec<&Part> = task.batches.iter().flat_map(|batch| &batch.parts).collect();
        self.progress.view(&task.sink.view.name);
        std::thread::scope(|scope| {
            let (fetched_to, fetched) = sync_channel(PARTS_AHEAD);
            let (decoded_to, decoded) = sync_channel(PARTS_AHEAD);
            let fetcher = scope.spawn(|| {
                let fetched_to = fetched_to;
                let mut transfer = Transfer::default();
                for part in &parts {
                    let bytes = self.fetch(part, &mut transfer);
                    let failed = bytes.is_err();
                    // Nobody takes it any more when what comes after has failed.
                    if fetched_to.send(bytes).is_err() || failed {
                        break;
                    }
                }
                transfer
            });
            let decoder = scope.spawn(|| {
                let decoded_to = decoded_to;
                for bytes in fetched {
                    let batch = bytes.and_then(|bytes| self.decode(&bytes, &task.sink));
                    let failed = batch.is_err();
                    if decoded_to.send(batch).is_err() || failed {
                        break;
                    }
                }
            });
            let stored = self.store(task, decoded, rows);
            let came = fetcher.join();
            let decoded = decoder.join();
            if let Ok(came) = &came {
                transfer.bytes += came.bytes;
            }
            if came.is_err() || decoded.is_err() {
                return Err(self.refused(&task.sink.view.name, "a thread of the agent panicked"));
            }
            stored
        })?;
        if task.staged {
            rows.promote.push(task.sink.table);
        }
        Ok(())
    }

    fn fetch(&self, part: &Part, transfer: &mut Transfer) -> Result<Vec<u8>, AgentError> {
        self.stop.check()?;
        let before = transfer.bytes;
        let bytes = self.contents.fetch(self.remote, &part.content, transfer);
        self.progress.bytes(transfer.bytes - before);
        bytes
    }

    fn decode(&self, bytes: &[u8], sink: &Sink) -> Result<(RowBatch, u64), AgentError> {
        let mut batch = RowBatch::with_capacity(sink.table, bytes.len().saturating_mul(2));
        let rows = decode_part(bytes, sink, &mut batch)?;
        Ok((batch, rows))
    }

    fn store(
        &self,
        task: &Task<'_>,
        decoded: Receiver<Result<(RowBatch, u64), AgentError>>,
        rows: &mut Rows,
    ) -> Result<(), AgentError> {
        let expected = task.rows();
        let mut filling = task
            .staged
            .then(|| self.node.filling(task.sink.table, expected));
        for batch in decoded {
            let (batch, count) = batch?;
            self.stop.check()?;
            rows.rows += count;
            self.progress.rows(count);
            match &mut filling {
                Some(filling) => filling.push(batch)?,
                None => self.add(task, batch, rows)?,
            }
        }
        match filling {
            Some(filling) => Ok(filling.finish()?),
            None => Ok(()),
        }
    }

    /// Keeps rows for the transaction of the release: in memory up to the bound, then in a table
    /// beside the one they are for. What comes after for the same view goes there too, so that rows
    /// stay in their order.
    fn add(&self, task: &Task<'_>, batch: RowBatch, rows: &mut Rows) -> Result<(), AgentError> {
        let into = task.sink.table;
        let held: usize = rows.writes.iter().map(Write::bytes).sum();
        let known = rows.spills.iter().position(|spill| spill.into == into);
        if known.is_none() && (held + batch.bytes()) as u64 <= self.memory_max {
            rows.writes.push(Write {
                batches: vec![batch],
                ..Write::default()
            });
            return Ok(());
        }
        if known.is_none() {
            rows.spills.push(self.spill(task)?);
        }
        let at = known.unwrap_or(rows.spills.len().saturating_sub(1));
        if let Some(spill) = rows.spills.get_mut(at) {
            self.node.fill(batch.moved(spill.from))?;
            spill.rows += batch.len() as u64;
            spill.bytes += batch.bytes() as u64;
        }
        Ok(())
    }

    /// Begins a table for rows that wait on the disk.
    fn spill(&self, task: &Task<'_>) -> Result<Spill, AgentError> {
        let view = &task.sink.view;
        let beside = self.node.stage(self.registry.project(), view)?;
        if beside.schema != task.sink.schema {
            return Err(self.refused(&view.name, "its table changed while rows were on their way"));
        }
        tracing::info!(
            view = %view.name,
            memory_max = self.memory_max,
            "the rows of a release pass sync.memory_max: they wait on the disk"
        );
        Ok(Spill {
            from: beside.table,
            into: task.sink.table,
            rows: 0,
            bytes: 0,
        })
    }
}

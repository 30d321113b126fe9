//! Releases: a registry, its transformations and rows that take effect together.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use galley_registry::{Registry, StoredView};
use galley_store::{PreparedIndex, Release, Released, RowBatch, Spill, TableId, TableSpec, Write};
use galley_types::KeyType;
use tracing::info;

use super::{Node, table_name};
use crate::generation::Generation;
use crate::{Pending, Result, Sink, TransformOffer, WriteMode};

/// Batches whose commits are under way while the next one is made ready.
const COMMITS_AHEAD: usize = 3;

/// What takes effect as one.
#[derive(Debug)]
pub struct ReleaseInstall {
    /// The registry.
    pub registry: Registry,
    /// The transformations of its on-demand feature views, in place of all there are.
    pub offers: Vec<TransformOffer>,
    /// Tables made by [`Node::stage`] that take the place of those their views have.
    pub promote: Vec<TableId>,
    /// Rows on top of those there are.
    pub writes: Vec<Write>,
    /// More of them, which wait in tables made by [`Node::stage`].
    pub spills: Vec<Spill>,
    /// Named records to set, or to remove.
    pub records: Vec<(String, Option<Vec<u8>>)>,
}

/// Rows on their way into a table made by [`Node::stage`].
#[derive(Debug)]
pub struct Filling<'n> {
    node: &'n Node,
    /// Until the table is full.
    index: Option<PreparedIndex>,
    /// Commits that were asked for and not waited for.
    under_way: VecDeque<Pending>,
}

/// What a release came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseReceipt {
    /// The generation that serves it.
    pub generation: u64,
    /// Rows stored by [`ReleaseInstall::writes`] and [`ReleaseInstall::spills`].
    pub written: u64,
    /// Rows that gave way to newer ones.
    pub superseded: u64,
}

impl Node {
    /// Begins a table that a release will put in the place of the one `view` has. It is not read
    /// until then.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store).
    pub fn stage(&self, project: &str, view: &StoredView) -> Result<Sink> {
        let name = table_name(project, &view.name);
        let keys = key_types(view);
        let installed = self.store.stage(&TableSpec {
            name: &name,
            keys: &keys,
            schema: &view.schema,
        })?;
        Ok(Sink {
            view: view.clone(),
            table: installed.table,
            schema: installed.schema,
        })
    }

    /// Where rows of `view` go that come on top of those there are; `None` when they cannot, since
    /// the view has no table with its key types yet.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store).
    pub fn sink_for(&self, project: &str, view: &StoredView) -> Result<Option<Sink>> {
        let name = table_name(project, &view.name);
        let keys = key_types(view);
        let tables = self.store.stats().tables;
        let known = tables.iter().find(|table| table.live && table.name == name);
        if known.is_none_or(|known| self.store.key_types(known.table) != Some(keys.clone())) {
            return Ok(None);
        }
        let spec = TableSpec {
            name: &name,
            keys: &keys,
            schema: &view.schema,
        };
        // New rows may carry a schema before the registry that brings it is installed.
        let installed = self.store.install(&[spec])?;
        Ok(installed.first().map(|installed| Sink {
            view: view.clone(),
            table: installed.table,
            schema: installed.schema,
        }))
    }

    /// Begins to fill a table made by [`Node::stage`] with about `rows` rows.
    #[must_use]
    pub fn filling(&self, table: TableId, rows: u64) -> Filling<'_> {
        Filling {
            node: self,
            index: Some(self.store.prepare_index(table, rows)),
            under_way: VecDeque::with_capacity(COMMITS_AHEAD),
        }
    }

    /// Commits rows to a table made by [`Node::stage`], and waits.
    ///
    /// # Errors
    /// As [`Node::commit`].
    pub fn fill(&self, batch: RowBatch) -> Result<()> {
        let write = Write {
            batches: vec![batch],
            ..Write::default()
        };
        self.commit(write).map(|_receipt| ())
    }

    /// Builds the read index of tables made by [`Node::stage`], so that it is there when they are
    /// released.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store).
    pub fn index_staged(&self, tables: &[TableId]) -> Result<()> {
        Ok(self.store.index_staged(tables)?)
    }

    /// Makes a release take effect, all at once: no look-up sees a part of it, and look-ups that
    /// run end with what they began with.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store): nothing of it took effect.
    pub fn install_release(&self, release: ReleaseInstall) -> Result<ReleaseReceipt> {
        self.change(release, |store, change, show| store.release(change, show))
    }

    /// Takes the last release back and installs `release`, which is what was before, in its place.
    /// Rows that others wrote since stay.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store): nothing changed.
    pub fn take_back(&self, release: ReleaseInstall) -> Result<ReleaseReceipt> {
        let receipt = self.change(release, |store, change, show| store.take_back(change, show))?;
        self.rebuild_index();
        Ok(receipt)
    }

    /// The named record that the last release, or its return, left.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) when it cannot be read.
    pub fn record(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.store.load().record(name)?)
    }

    /// Changes named records alone.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store): nothing changed.
    pub fn set_records(&self, records: &[(&str, Option<&[u8]>)]) -> Result<()> {
        Ok(self.store.set_records(records)?)
    }

    fn change(
        &self,
        release: ReleaseInstall,
        apply: impl FnOnce(
            &galley_store::Store,
            &Release<'_>,
            &mut dyn FnMut(&Released),
        ) -> galley_store::Result<Released>,
    ) -> Result<ReleaseReceipt> {
        let mut installs = self.installs.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = Arc::new(release.registry);
        let named = self.named(&registry);
        let specs = super::specs(&named);
        let records: Vec<(&str, Option<&[u8]>)> = release
            .records
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_deref()))
            .collect();
        let change = Release {
            tables: &specs,
            promote: &release.promote,
            writes: &release.writes,
            spills: &release.spills,
            records: &records,
        };
        let number = self.next_number();
        // The generation is there before readers see the commit; until they do, those who meet it
        // take the one before it.
        let mut show = |released: &Released| {
            let tables = super::assign(&registry, &released.installed);
            let generation = Generation::new(
                (number, released.release),
                (Arc::clone(&registry), tables),
                &release.offers,
                self.config.plans_max,
            );
            self.put(generation);
        };
        let released = apply(&self.store, &change, &mut show)?;
        installs.registry_at = Some(self.now());
        installs.transforms = release.offers;
        drop(installs);
        info!(
            generation = number,
            release = released.release,
            "release installed"
        );
        self.accepted();
        self.start_index();
        Ok(ReleaseReceipt {
            generation: number,
            written: released.outcomes.iter().map(|it| it.written).sum(),
            superseded: released.outcomes.iter().map(|it| it.superseded).sum(),
        })
    }
}

fn key_types(view: &StoredView) -> Vec<KeyType> {
    view.join_keys.iter().map(|key| key.key_type).collect()
}

// === impl Filling ===

impl Filling<'_> {
    /// Hands over more rows. They are committed while the next ones are made ready.
    ///
    /// # Errors
    /// As [`Node::commit`], of these rows or of some before them.
    pub fn push(&mut self, batch: RowBatch) -> Result<()> {
        if let Some(index) = &mut self.index {
            self.node.store.show_rows(index, &batch);
        }
        if self.under_way.len() >= COMMITS_AHEAD
            && let Some(first) = self.under_way.pop_front()
        {
            first.wait_blocking()?;
        }
        let write = Write {
            batches: vec![batch],
            ..Write::default()
        };
        let pending = self.node.submit(write, WriteMode::Sync)?;
        self.under_way.push_back(pending);
        Ok(())
    }

    /// Waits until all rows are committed. Mostly the table has its read index then; if it has not,
    /// [`Node::index_staged`] makes it.
    ///
    /// # Errors
    /// As [`Node::commit`].
    pub fn finish(mut self) -> Result<()> {
        while let Some(pending) = self.under_way.pop_front() {
            pending.wait_blocking()?;
        }
        if let Some(index) = self.index.take() {
            self.node.store.adopt_index(index);
        }
        Ok(())
    }
}

impl Drop for Filling<'_> {
    /// A table that is given up half full is soon dropped: nothing may be on its way to it then.
    fn drop(&mut self) {
        for pending in self.under_way.drain(..) {
            // That it is given up is known.
            let _ = pending.wait_blocking();
        }
    }
}

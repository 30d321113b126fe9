//! Rows of a release: which windows are read, and what becomes of them.

use galley_node::{Registry, StoredView, ViewKind};
use galley_types::EventTime;
use serde_json::{Value, json};

use super::{Draft, Progress, PublishedBatch, Rows, error};
use crate::error::{Error, Result};
use crate::feed::part::{encode_part, fingerprint, next_part};
use crate::feed::release::{Batch, Mode, PART_BYTES_MAX};
use crate::parquet::{Origin, Staging, Taker, ViewFiles};

/// What is read of one view, and as what it is published.
struct Plan {
    mode: Mode,
    epoch: u64,
    sequence: u64,
    window: (Option<EventTime>, EventTime),
}

/// Turns the rows of a view into parts.
struct Parts<'d, 'p, 'c> {
    draft: &'d mut Draft<'p>,
    view: &'d StoredView,
    plan: &'d Plan,
    progress: &'d mut Progress<'c>,
    total: u64,
    read: u64,
    /// Names, rows and what they were put as.
    done: Vec<(String, u64, Value)>,
    bytes: u64,
}

// === impl Draft ===

impl Draft<'_> {
    /// Adds the rows that are asked for.
    pub(super) fn batches(
        &mut self,
        registry: &Registry,
        (rows, views): (&Rows, Option<&[String]>),
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        for name in views.unwrap_or_default() {
            if registry.find_view(name).is_none() {
                return Err(error(
                    format!("feature view {name}"),
                    "the registry has no such view with rows",
                ));
            }
        }
        for view in registry.views() {
            let named = views.map(|views| views.contains(&view.name));
            if *rows == Rows::Keep || named == Some(false) {
                self.keep(registry, view)?;
                continue;
            }
            // Views that have no batches of their own are no news.
            let own = matches!(view.kind, ViewKind::Batch | ViewKind::Stream);
            let name = std::slice::from_ref(&view.name);
            if let Err(reason) = registry.plan_materialize(Some(name)) {
                if named == Some(true) {
                    let what = format!("feature view {}", view.name);
                    return Err(error(what, &reason.to_string()));
                }
                if own {
                    let skipped = (view.name.clone(), reason.to_string());
                    self.report.skipped.push(skipped);
                }
                continue;
            }
            self.view(registry, view, (rows, progress))?;
        }
        Ok(())
    }

    /// Makes sure that batches which stay still fit their view.
    fn keep(&self, registry: &Registry, view: &StoredView) -> Result<()> {
        let fits = self
            .last(registry, view)
            .is_none_or(|batch| self.fits(view, batch));
        if fits {
            return Ok(());
        }
        Err(error(
            format!("feature view {}", view.name),
            "its keys or features have changed since its rows were published: publish them again \
             (without --no-data, and among --views)",
        ))
    }

    fn view(
        &mut self,
        registry: &Registry,
        view: &StoredView,
        (rows, progress): (&Rows, &mut Progress<'_>),
    ) -> Result<()> {
        let plan = self.plan(registry, view, rows);
        if plan.window.0.is_some_and(|start| start > plan.window.1) {
            let reason = format!("its rows are published up to {}", plan.window.1);
            self.report.skipped.push((view.name.clone(), reason));
            return Ok(());
        }
        let publisher = self.publisher;
        let origin = Origin::new(publisher.repo.dir())
            .with_remote(publisher.repo.remote(), publisher.scratch);
        let files = match ViewFiles::open(origin, view) {
            Err(Error::SourceUnsupported { found, .. }) => {
                self.report.skipped.push((view.name.clone(), found));
                return Ok(());
            }
            files => files?,
        };
        let config = self.publisher.rows.clone();
        let mut parts = Parts {
            draft: self,
            view,
            plan: &plan,
            progress,
            total: files.rows,
            read: 0,
            done: Vec::new(),
            bytes: 0,
        };
        files.collect(view, plan.window, &config, &mut parts)?;
        let (done, bytes) = (std::mem::take(&mut parts.done), parts.bytes);
        self.batch(registry, view, &plan, (done, bytes));
        Ok(())
    }

    /// Writes down a view's new batch, once it is known how many parts it has.
    fn batch(
        &mut self,
        registry: &Registry,
        view: &StoredView,
        plan: &Plan,
        (done, bytes): (Vec<(String, u64, Value)>, u64),
    ) {
        if done.is_empty() {
            let reason = "there are no new rows".to_owned();
            self.report.skipped.push((view.name.clone(), reason));
            return;
        }
        if plan.mode == Mode::Replace {
            self.files.retain(|_, file| {
                let of = file.pointer("/custom/galley/view").and_then(Value::as_str);
                of != Some(view.name.as_str())
            });
        }
        let parts = done.len() as u64;
        let mut rows = 0;
        for (index, (name, count, mut file)) in done.into_iter().enumerate() {
            rows += count;
            if let Some(galley) = file.pointer_mut("/custom/galley") {
                *galley = json!({
                    "kind": "batch",
                    "project": registry.project(),
                    "view": view.name,
                    "schema": fingerprint(&view.join_keys, &view.schema),
                    "epoch": plan.epoch,
                    "sequence": plan.sequence,
                    "mode": plan.mode.name(),
                    "part": index,
                    "parts": parts,
                    "rows": count,
                    "start": plan.window.0.map(|start| start.0),
                    "end": plan.window.1.0,
                });
            }
            self.files.insert(name, file);
        }
        self.report.batches.push(PublishedBatch {
            view: view.name.clone(),
            mode: plan.mode,
            epoch: plan.epoch,
            sequence: plan.sequence,
            rows,
            parts,
            bytes,
            window: plan.window,
        });
    }

    /// What is to be read of a view.
    fn plan(&self, registry: &Registry, view: &StoredView, rows: &Rows) -> Plan {
        let end = match rows {
            Rows::New { end } | Rows::Full { end } | Rows::Window { end, .. } => *end,
            Rows::Keep => EventTime(i64::MIN),
        };
        let last = self.last(registry, view);
        let epoch = last.map_or(0, |batch| batch.epoch);
        let chained =
            last.filter(|batch| self.fits(view, batch) && !matches!(rows, Rows::Full { .. }));
        let Some(last) = chained else {
            let start = match rows {
                Rows::Window { start, .. } => Some(*start),
                _ => None,
            };
            return Plan {
                mode: Mode::Replace,
                epoch: epoch.saturating_add(1),
                sequence: 0,
                window: (start, end),
            };
        };
        let start = match rows {
            Rows::Window { start, .. } => *start,
            _ => EventTime(self.published(registry, view).0.saturating_add(1)),
        };
        Plan {
            mode: Mode::Upsert,
            epoch,
            sequence: last.sequence.saturating_add(1),
            window: (Some(start), end),
        }
    }

    fn chain<'s>(
        &'s self,
        registry: &'s Registry,
        view: &'s StoredView,
    ) -> impl Iterator<Item = &'s Batch> {
        let batches = self.state.iter().flat_map(|state| &state.release.batches);
        batches.filter(|batch| batch.view == view.name && batch.project == registry.project())
    }

    /// The last batch of a view that is published.
    fn last(&self, registry: &Registry, view: &StoredView) -> Option<&Batch> {
        let state = self.state?;
        let of_view =
            |batch: &&Batch| batch.view == view.name && batch.project == registry.project();
        state.release.batches.iter().rfind(of_view)
    }

    /// The newest event time up to which rows of a view are published.
    fn published(&self, registry: &Registry, view: &StoredView) -> EventTime {
        let ends = self.chain(registry, view).map(|batch| batch.window.1);
        ends.max().unwrap_or(EventTime(i64::MIN))
    }

    /// Whether a batch was made for the keys and features that the view has now.
    fn fits(&self, view: &StoredView, batch: &Batch) -> bool {
        let expected = fingerprint(&view.join_keys, &view.schema);
        let files = self.state.iter().flat_map(|state| state.files.values());
        let mut galleys = files.filter_map(|file| file.pointer("/custom/galley"));
        let schema = galleys.find(|galley| {
            let number = |key: &str| galley.get(key).and_then(Value::as_u64);
            galley.get("view").and_then(Value::as_str) == Some(batch.view.as_str())
                && number("epoch") == Some(batch.epoch)
                && number("sequence") == Some(batch.sequence)
        });
        let schema = schema
            .and_then(|galley| galley.get("schema"))
            .and_then(Value::as_str);
        schema == Some(expected.as_str())
    }
}

// === impl Parts ===

impl Taker for Parts<'_, '_, '_> {
    fn read(&mut self, rows: u64) -> Result<()> {
        self.read = self.read.saturating_add(rows);
        (self.progress)(&self.view.name, self.read, self.total);
        Ok(())
    }

    fn take(&mut self, staged: &mut Staging, last: bool) -> Result<()> {
        let mut start = 0;
        // What replaces a view's rows is published even if there are none.
        let mut empty = last && self.done.is_empty() && self.plan.mode == Mode::Replace;
        while start < staged.len() || empty {
            empty = false;
            let rows = next_part(staged, start);
            start = rows.end;
            let count = rows.len() as u64;
            let shape = (self.view.join_keys.as_slice(), &self.view.schema);
            let what = || format!("feature view {}", self.view.name);
            let bytes = encode_part(staged, rows, shape).map_err(|it| error(what(), &it))?;
            if bytes.len() as u64 > PART_BYTES_MAX {
                let reason = format!(
                    "{count} rows take {} bytes, at most {PART_BYTES_MAX} fit",
                    bytes.len()
                );
                return Err(error(what(), &reason));
            }
            let name = format!(
                "batches/{}/{}-{}/{}.arrow",
                segment(&self.view.name),
                self.plan.epoch,
                self.plan.sequence,
                self.done.len()
            );
            // What it is, is known when all parts are.
            let galley = json!({ "kind": "batch" });
            self.draft.add(&name, &bytes, &galley)?;
            let file = self.draft.files.remove(&name).unwrap_or_default();
            self.bytes += bytes.len() as u64;
            self.done.push((name, count, file));
        }
        staged.clear();
        Ok(())
    }
}

/// A view's name as a segment of a path: what has no place there is written as `=` and hexadecimal.
fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => out.push(char::from(byte)),
            other => out.push_str(&format!("={other:02x}")),
        }
    }
    out
}

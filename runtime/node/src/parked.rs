//! What the centre refused, as it is shown to whoever decides what becomes of it.

use galley_store::{OutboxKind, ParkedPart, Snapshot};
use galley_types::EventTime;

use crate::Result;

/// Parts that are read at a time.
const PAGE_PARTS: usize = 1_000;
/// Parts that one transaction changes.
const STEP_PARTS: usize = 1_000;
/// Entries of them; a larger part is a transaction by itself.
const STEP_ENTRIES: u64 = 50_000;
/// Views and services that are told apart.
const TARGETS_MAX: usize = 1_000;

/// What is parked of one view or service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedTarget {
    /// Rows of a view, or logs of a service.
    pub kind: OutboxKind,
    /// The view or the service; empty for records that are damaged.
    pub target: String,
    /// Parts, each of which the centre takes or refuses as a whole.
    pub parts: u64,
    /// Parts that are to be sent again.
    pub due: u64,
    /// Entries: pushes, or seconds of logs.
    pub entries: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// When the oldest entry was accepted.
    pub oldest: EventTime,
    /// When the first part was set aside.
    pub parked: EventTime,
    /// When a part was last refused.
    pub tried: EventTime,
    /// How often a part was refused at most.
    pub attempts: u32,
    /// Why one was refused last.
    pub reason: String,
}

/// What is parked, by view and service, in the order in which they were first refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParkedReport {
    /// Views and services.
    pub targets: Vec<ParkedTarget>,
    /// Whether everything that is parked was looked at.
    pub complete: bool,
}

/// What a demand changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParkedChange {
    /// Parts.
    pub parts: u64,
    /// Their entries.
    pub entries: u64,
    /// Bytes of the entries' records.
    pub bytes: u64,
}

/// Parts gathered into transactions of bounded size.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    change: ParkedChange,
    firsts: Vec<u64>,
    entries: u64,
}

/// Every parked part, read page by page.
pub(crate) fn parts(snapshot: &Snapshot) -> impl Iterator<Item = Result<ParkedPart>> + '_ {
    let mut page = Vec::new().into_iter();
    let mut after = Some(0);
    std::iter::from_fn(move || {
        if page.len() == 0 {
            match snapshot.parked_parts(after?, PAGE_PARTS) {
                Ok(parts) => page = parts.into_iter(),
                Err(error) => {
                    after = None;
                    return Some(Err(error.into()));
                }
            }
        }
        let part: ParkedPart = page.next()?;
        after = Some(part.first);
        Some(Ok(part))
    })
}

// === impl ParkedReport ===

impl ParkedReport {
    /// Takes a part in; parts come in their order.
    pub(crate) fn add(&mut self, part: &ParkedPart) {
        let same = |it: &&mut ParkedTarget| it.kind == part.kind && it.target == part.target;
        let known = self.targets.iter_mut().find(same);
        let Some(known) = known else {
            if self.targets.len() < TARGETS_MAX {
                self.targets.push(ParkedTarget {
                    kind: part.kind,
                    target: part.target.clone(),
                    parts: 1,
                    due: u64::from(part.due),
                    entries: part.entries,
                    bytes: part.bytes,
                    oldest: part.oldest,
                    parked: part.parked,
                    tried: part.tried,
                    attempts: part.attempts,
                    reason: part.reason.clone(),
                });
            }
            return;
        };
        known.parts += 1;
        known.due += u64::from(part.due);
        known.entries += part.entries;
        known.bytes += part.bytes;
        known.oldest = known.oldest.min(part.oldest);
        known.parked = known.parked.min(part.parked);
        known.attempts = known.attempts.max(part.attempts);
        if part.tried >= known.tried {
            known.tried = part.tried;
            known.reason.clone_from(&part.reason);
        }
    }

    /// Parts that were taken in.
    pub(crate) fn parts(&self) -> u64 {
        self.targets.iter().map(|target| target.parts).sum()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.targets.iter().map(|it| it.target.clone());
        names.filter(|name| !name.is_empty()).collect()
    }
}

// === impl Steps ===

impl Steps {
    /// Takes a part in; the parts of a transaction when that is full.
    pub(crate) fn add(&mut self, part: &ParkedPart) -> Option<Vec<u64>> {
        let change = &mut self.change;
        change.parts += 1;
        change.entries += part.entries;
        change.bytes += part.bytes;
        self.firsts.push(part.first);
        self.entries += part.entries;
        let full = self.firsts.len() >= STEP_PARTS || self.entries >= STEP_ENTRIES;
        full.then(|| {
            self.entries = 0;
            std::mem::take(&mut self.firsts)
        })
    }

    /// What was taken in altogether, and the parts of the last transaction.
    pub(crate) fn finish(self) -> (ParkedChange, Vec<u64>) {
        (self.change, self.firsts)
    }
}

//! A range of entries, cut into what is sent at a time.

use galley_node::Parcel;
use galley_node::store::{OutboxItem, OutboxKind};

/// Entries of one target with the same columns: what is sent in one batch.
pub(super) struct Part<'a> {
    pub(super) kind: OutboxKind,
    pub(super) target: &'a str,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) entries: u64,
    pub(super) sequences: Vec<u64>,
    /// Bytes of the entries.
    pub(super) bytes: usize,
    pub(super) parcels: Vec<Parcel<'a>>,
}

/// Cuts a range into parts: always the same ones. Also how many entries are in none, because they
/// were damaged.
pub(super) fn parts(items: &[OutboxItem]) -> (Vec<Part<'_>>, u64) {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut damaged = 0;
    for item in items {
        let sequence = item.sequence;
        let opened = item.entry.as_ref().and_then(|entry| {
            let parcel = Parcel::open(&entry.payload)?;
            // Every row is looked at before any is sent.
            let sound = parcel.rows().all(|row| {
                row.is_ok_and(|row| parcel.columns().iter().all(|it| row.cell(it).is_ok()))
            });
            sound.then_some((entry, parcel))
        });
        let Some((entry, parcel)) = opened else {
            tracing::error!(
                sequence,
                "an entry of the outbox is damaged and cannot be sent"
            );
            damaged += 1;
            continue;
        };
        let same = parts.iter_mut().find(|part| {
            let columns = part.parcels.first().map(Parcel::columns);
            part.kind == entry.kind
                && part.target == entry.target
                && columns == Some(parcel.columns())
        });
        match same {
            Some(part) => {
                part.last = sequence;
                part.entries += 1;
                part.sequences.push(sequence);
                part.bytes += entry.payload.len();
                part.parcels.push(parcel);
            }
            None => parts.push(Part {
                kind: entry.kind,
                target: &entry.target,
                first: sequence,
                last: sequence,
                entries: 1,
                sequences: vec![sequence],
                bytes: entry.payload.len(),
                parcels: vec![parcel],
            }),
        }
    }
    (parts, damaged)
}

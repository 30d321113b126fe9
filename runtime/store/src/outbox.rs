//! The outbox: what was accepted here and has still to reach the centre.
//!
//! Entries are numbered without gaps in the order of their acceptance and are kept in the same
//! transaction as the rows they came with. The store does not look into them. Who sends which is in
//! [`producers`](crate::producers), what was refused is in [`parked`](crate::parked).

use galley_types::EventTime;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use crate::codec::{self, Kind};
use crate::layout::{META, META_OUTBOX, OUTBOX};
use crate::parked::{Park, Parked, ParkedStats, Refusal};
use crate::producers::Producers;
use crate::release::unencodable;
use crate::shared::Shared;
use crate::{Error, Result, parked};

/// Bytes of the payload of one entry.
const PAYLOAD_BYTES_MAX: usize = 1 << 30;
/// Bytes of the name of a target.
const TARGET_BYTES_MAX: usize = 4 << 10;

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutboxKind {
    /// Rows of a feature view.
    Rows,
    /// Features that were served of a feature service.
    Log,
}

/// One thing to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// What it is.
    pub kind: OutboxKind,
    /// The view or the service.
    pub target: String,
    /// When it was accepted.
    pub accepted: EventTime,
    /// The content, sealed by whoever wrote it.
    pub payload: Vec<u8>,
}

/// An entry with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxItem {
    /// Its place in the order of acceptance, from 1; never given twice.
    pub sequence: u64,
    /// The entry; `None` when its record is damaged and nothing of it can be sent.
    pub entry: Option<OutboxEntry>,
}

/// A range of entries that is being sent. It is recorded before the first byte leaves, so that
/// after a crash the same range is sent again in the same shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flight {
    /// The last sequence of the range; it begins with the oldest entry.
    pub last: u64,
    /// How many of the parts of the range have been acknowledged.
    pub parts_done: u32,
}

/// What a write does to the outbox, beside its rows.
#[derive(Clone, Debug, Default)]
pub struct OutboxChange {
    /// Entries to add.
    pub add: Vec<OutboxEntry>,
    /// Entries up to this one were acknowledged and go, and with them a flight that ends there.
    pub remove_up_to: Option<u64>,
    /// The range that is now being sent.
    pub flight: Option<Flight>,
    /// Who sends the entries that have no producer yet; unless the store was opened with one.
    pub producer: Option<u128>,
    /// Entries of the range under way to set aside; the range goes on without them.
    pub park: Option<Park>,
    /// A parked part that was refused again.
    pub refused: Option<Refusal>,
    /// The first sequences of parked parts to send again.
    pub due: Vec<u64>,
    /// The first sequences of parked parts that go, with their entries.
    pub unpark: Vec<u64>,
}

/// The totals of the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxStats {
    /// Entries that wait.
    pub entries: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// When the oldest of them was accepted.
    pub oldest: Option<EventTime>,
    /// The sequence the next entry gets.
    pub next_sequence: u64,
    /// The range under way, if there is one.
    pub flight: Option<Flight>,
    /// Who sends the oldest of them: part of the name of what is sent.
    pub producer: Option<u128>,
    /// The last sequence that the producer sends, where those after it have another.
    pub producer_last: Option<u64>,
    /// What was refused and is not among the entries any more.
    pub parked: ParkedStats,
}

/// The outbox as the writer knows it.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    totals: codec::OutboxTotals,
    parked: codec::ParkedTotals,
    producers: Producers,
}

// === impl OutboxKind ===

impl OutboxKind {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Rows => 1,
            Self::Log => 2,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Rows),
            2 => Some(Self::Log),
            _ => None,
        }
    }
}

// === impl OutboxEntry ===

impl OutboxEntry {
    fn seal(&self, sequence: u64) -> Result<Vec<u8>> {
        if self.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "outbox entry in bytes",
                size: self.payload.len() as u64,
                limit: PAYLOAD_BYTES_MAX as u64,
            });
        }
        target_bounded(&self.target)?;
        let record = codec::Outgoing {
            kind: self.kind.code(),
            target: &self.target,
            accepted: self.accepted.0,
            payload: &self.payload,
        };
        codec::encode(Kind::Outgoing, &sequence.to_le_bytes(), &record)
            .map_err(|_error| unencodable("outbox entry"))
    }

    pub(crate) fn open(sequence: u64, bytes: &[u8]) -> Option<Self> {
        let record: codec::Outgoing<'_> =
            codec::decode(Kind::Outgoing, &sequence.to_le_bytes(), bytes).ok()?;
        Some(Self {
            kind: OutboxKind::from_code(record.kind)?,
            target: record.target.to_owned(),
            accepted: EventTime(record.accepted),
            payload: record.payload.to_vec(),
        })
    }
}

// === impl OutboxChange ===

impl OutboxChange {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.add.is_empty()
            && self.remove_up_to.is_none()
            && self.flight.is_none()
            && self.producer.is_none()
            && !self.changes_parked()
    }

    /// Bytes of the entries to add or to set aside.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bytes = |entry: &OutboxEntry| entry.payload.len() + entry.target.len();
        let parked = self.park.as_ref().map_or(0, |park| park.bytes);
        self.add.iter().map(bytes).sum::<usize>() + parked
    }

    /// Whether it makes the file no larger. What is set aside is there twice until the commit.
    pub(crate) fn is_relief(&self) -> bool {
        self.add.is_empty() && self.park.is_none() && !self.is_empty()
    }

    fn changes_parked(&self) -> bool {
        self.park.is_some()
            || self.refused.is_some()
            || !self.due.is_empty()
            || !self.unpark.is_empty()
    }
}

// === impl codec::OutboxTotals ===

impl codec::OutboxTotals {
    /// Those of an outbox that was never used.
    pub(crate) const NEW: Self = Self {
        next: 1,
        entries: 0,
        bytes: 0,
        oldest: 0,
        flight_last: 0,
        flight_done: 0,
        producer_high: 0,
        producer_low: 0,
    };

    fn producer(&self) -> Option<u128> {
        let producer = (u128::from(self.producer_high) << 64) | u128::from(self.producer_low);
        (producer != 0).then_some(producer)
    }
}

// === impl Outbox ===

impl Outbox {
    /// What the file holds.
    pub(crate) fn load(shared: &Shared, txn: &ReadTransaction) -> Result<Self> {
        let totals = read_totals(shared, txn)?;
        let from = (totals.producer(), totals.next);
        Ok(Self {
            totals,
            parked: parked::read_totals(shared, txn)?,
            producers: Producers::load(shared, txn, from)?,
        })
    }

    pub(crate) fn stats(&self) -> OutboxStats {
        let totals = &self.totals;
        let (producer, producer_last) = self.producers.oldest();
        OutboxStats {
            entries: totals.entries,
            bytes: totals.bytes,
            oldest: (totals.entries > 0).then_some(EventTime(totals.oldest)),
            next_sequence: totals.next,
            flight: (totals.flight_last > 0).then_some(Flight {
                last: totals.flight_last,
                parts_done: totals.flight_done,
            }),
            producer,
            producer_last,
            parked: self.parked.stats(),
        }
    }

    /// Makes the changes; what joins is sent by `run`, the producer of this opening of the store.
    pub(crate) fn change<'a>(
        &mut self,
        shared: &Shared,
        txn: &WriteTransaction,
        changes: impl Iterator<Item = &'a OutboxChange>,
        run: Option<u128>,
    ) -> Result<()> {
        let mut changes = changes.filter(|change| !change.is_empty()).peekable();
        if changes.peek().is_none() {
            return Ok(());
        }
        let mut table = txn.open_table(OUTBOX).map_err(shared.fail("open outbox"))?;
        let totals = &mut self.totals;
        for change in changes {
            if let Some(producer) = run.filter(|_| !change.add.is_empty()) {
                self.producers.begin(shared, txn, (totals.next, producer))?;
            }
            for entry in &change.add {
                add(shared, &mut table, entry, totals)?;
            }
            if let Some(flight) = change.flight {
                totals.flight_last = flight.last;
                totals.flight_done = flight.parts_done;
            }
            if change.changes_parked() {
                let mut parked = Parked::open(shared, txn, self.parked)?;
                change_parked(&mut parked, change, (&mut table, totals))?;
                self.parked = parked.finish(txn)?;
                refresh(shared, &table, totals)?;
            }
            if let Some(last) = change.remove_up_to {
                remove(shared, &mut table, last, totals)?;
            }
            if let Some(producer) = change.producer
                && self.producers.oldest().0.is_none()
            {
                let producer = run.unwrap_or(producer);
                self.producers.begin(shared, txn, (0, producer))?;
            }
        }
        let oldest = table.first().map_err(shared.fail("read outbox"))?;
        let oldest = oldest.map_or(totals.next, |(sequence, _)| sequence.value());
        self.producers.prune(shared, txn, oldest)?;
        drop(table);
        let mut meta = txn.open_table(META).map_err(shared.fail("open meta"))?;
        let bytes = codec::encode(Kind::OutboxTotals, META_OUTBOX.as_bytes(), totals)
            .map_err(|_error| unencodable("the outbox's totals"))?;
        meta.insert(META_OUTBOX, bytes.as_slice())
            .map_err(shared.fail("write the outbox's totals"))?;
        Ok(())
    }
}

// === reading and writing ===

/// The totals; those of an unused outbox where the file has none.
fn read_totals(shared: &Shared, txn: &ReadTransaction) -> Result<codec::OutboxTotals> {
    let table = txn.open_table(META).map_err(shared.fail("open meta"))?;
    let Some(bytes) = table
        .get(META_OUTBOX)
        .map_err(shared.fail("read the outbox's totals"))?
    else {
        return Ok(codec::OutboxTotals::NEW);
    };
    codec::decode(Kind::OutboxTotals, META_OUTBOX.as_bytes(), bytes.value())
        .map_err(|_error| shared.damaged("the record of its outbox fails its checksum".to_owned()))
}

pub(crate) fn target_bounded(target: &str) -> Result<()> {
    if target.len() <= TARGET_BYTES_MAX {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "name of an outbox entry's target",
        size: target.len() as u64,
        limit: TARGET_BYTES_MAX as u64,
    })
}

/// An entry as it was read.
pub(crate) fn opened(sequence: u64, record: &[u8]) -> OutboxItem {
    let entry = OutboxEntry::open(sequence, record);
    if entry.is_none() {
        tracing::error!(sequence, "an entry of the outbox is damaged");
    }
    OutboxItem { sequence, entry }
}

fn add(
    shared: &Shared,
    table: &mut redb::Table<'_, u64, &'static [u8]>,
    entry: &OutboxEntry,
    totals: &mut codec::OutboxTotals,
) -> Result<()> {
    let bytes = entry.seal(totals.next)?;
    table
        .insert(totals.next, bytes.as_slice())
        .map_err(shared.fail("write outbox"))?;
    if totals.entries == 0 {
        totals.oldest = entry.accepted.0;
    }
    totals.next += 1;
    totals.entries += 1;
    totals.bytes += bytes.len() as u64;
    Ok(())
}

fn change_parked(
    parked: &mut Parked<'_, '_>,
    change: &OutboxChange,
    (table, totals): (
        &mut redb::Table<'_, u64, &'static [u8]>,
        &mut codec::OutboxTotals,
    ),
) -> Result<()> {
    if let Some(park) = &change.park {
        let (entries, bytes) = parked.park(park, table)?;
        totals.entries = totals.entries.saturating_sub(entries);
        totals.bytes = totals.bytes.saturating_sub(bytes);
    }
    if let Some(refusal) = &change.refused {
        parked.refuse(refusal)?;
    }
    for first in &change.due {
        parked.make_due(*first)?;
    }
    for first in &change.unpark {
        parked.remove(*first)?;
    }
    Ok(())
}

/// Reads the time of the entry that is the oldest now.
fn refresh(
    shared: &Shared,
    table: &redb::Table<'_, u64, &'static [u8]>,
    totals: &mut codec::OutboxTotals,
) -> Result<()> {
    if let Some((sequence, record)) = table.first().map_err(shared.fail("read outbox"))? {
        // A damaged record has no time: the one before it stands in.
        if let Some(entry) = OutboxEntry::open(sequence.value(), record.value()) {
            totals.oldest = entry.accepted.0;
        }
    }
    Ok(())
}

fn remove(
    shared: &Shared,
    table: &mut redb::Table<'_, u64, &'static [u8]>,
    last: u64,
    totals: &mut codec::OutboxTotals,
) -> Result<()> {
    loop {
        let first = table.first().map_err(shared.fail("read outbox"))?;
        let Some((sequence, bytes)) =
            first.map(|(key, record)| (key.value(), record.value().len()))
        else {
            totals.entries = 0;
            totals.bytes = 0;
            break;
        };
        if sequence > last {
            break;
        }
        table
            .remove(sequence)
            .map_err(shared.fail("write outbox"))?;
        totals.entries = totals.entries.saturating_sub(1);
        totals.bytes = totals.bytes.saturating_sub(bytes as u64);
    }
    refresh(shared, table, totals)?;
    if totals.flight_last <= last {
        totals.flight_last = 0;
        totals.flight_done = 0;
    }
    Ok(())
}

//! What the centre refused for good: set aside so that the rest goes on, and kept until somebody
//! decides what becomes of it.
//!
//! A part is parked as it was named when it was refused. It is sent again under that name or not at
//! all.

use galley_types::EventTime;
use redb::{ReadTransaction, ReadableTable as _, WriteTransaction};

use crate::codec::{self, Kind};
use crate::layout::{META, META_PARKED, PARKED, PARKED_PARTS};
use crate::outbox::{OutboxItem, OutboxKind, opened, target_bounded};
use crate::release::unencodable;
use crate::shared::Shared;
use crate::{OutboxEntry, Result, Snapshot};

/// Bytes of a reason; what is longer is cut.
const REASON_BYTES_MAX: usize = 1 << 10;

/// Entries of the outbox to set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Park {
    /// What they are.
    pub kind: OutboxKind,
    /// The view or the service.
    pub target: String,
    /// The producer they were refused from.
    pub producer: u128,
    /// The first and the last sequence in the name of what was refused.
    pub range: (u64, u64),
    /// The entries.
    pub sequences: Vec<u64>,
    /// Bytes of the entries, more or less.
    pub bytes: usize,
    /// How often they were refused.
    pub attempts: u32,
    /// Why.
    pub reason: String,
    /// When.
    pub at: EventTime,
}

/// A parked part was refused again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The first sequence of the part.
    pub first: u64,
    /// Why.
    pub reason: String,
    /// When.
    pub at: EventTime,
}

/// Entries that were refused together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedPart {
    /// What they are.
    pub kind: OutboxKind,
    /// The view or the service; empty when the part's record is damaged.
    pub target: String,
    /// The producer in its name.
    pub producer: u128,
    /// The first sequence in its name, by which it is known.
    pub first: u64,
    /// The last sequence in its name.
    pub last: u64,
    /// How many they are.
    pub entries: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// When the oldest was accepted.
    pub oldest: EventTime,
    /// When they were set aside.
    pub parked: EventTime,
    /// When they were last refused.
    pub tried: EventTime,
    /// How often they were refused.
    pub attempts: u32,
    /// Whether they are to be sent again.
    pub due: bool,
    /// Why they were refused last.
    pub reason: String,
}

/// The totals of what is parked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParkedStats {
    /// Parts.
    pub parts: u64,
    /// Those that are to be sent again.
    pub due: u64,
    /// Their entries.
    pub entries: u64,
    /// Bytes of the entries' records.
    pub bytes: u64,
    /// When the oldest entry was accepted.
    pub oldest: Option<EventTime>,
}

/// The tables of what is parked, in one transaction.
pub(crate) struct Parked<'t, 's> {
    shared: &'s Shared,
    parts: redb::Table<'t, u64, &'static [u8]>,
    entries: redb::Table<'t, (u64, u64), &'static [u8]>,
    totals: codec::ParkedTotals,
}

/// Every entry of the part that begins with `first`.
fn of_part(first: u64) -> std::ops::RangeInclusive<(u64, u64)> {
    (first, 0)..=(first, u64::MAX)
}

fn halves(producer: u128) -> (u64, u64) {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    let low = producer as u64;
    ((producer >> 64) as u64, low)
}

fn cut(reason: &str) -> &str {
    let end = (0..=REASON_BYTES_MAX.min(reason.len()))
        .rev()
        .find(|at| reason.is_char_boundary(*at));
    reason.get(..end.unwrap_or(0)).unwrap_or_default()
}

// === impl ParkedPart ===

impl ParkedPart {
    fn open(first: u64, bytes: &[u8]) -> Self {
        let record: Option<codec::ParkedPart<'_>> =
            codec::decode(Kind::ParkedPart, &first.to_le_bytes(), bytes).ok();
        let record = record.and_then(|it| Some((OutboxKind::from_code(it.kind)?, it)));
        let Some((kind, it)) = record else {
            tracing::error!(first, "the record of a parked part is damaged");
            return Self {
                kind: OutboxKind::Rows,
                target: String::new(),
                producer: 0,
                first,
                last: first,
                entries: 0,
                bytes: 0,
                oldest: EventTime(0),
                parked: EventTime(0),
                tried: EventTime(0),
                attempts: 0,
                due: false,
                reason: "the record of what is parked here is damaged".to_owned(),
            };
        };
        Self {
            kind,
            target: it.target.to_owned(),
            producer: (u128::from(it.producer_high) << 64) | u128::from(it.producer_low),
            first,
            last: it.last,
            entries: it.entries,
            bytes: it.bytes,
            oldest: EventTime(it.oldest),
            parked: EventTime(it.parked),
            tried: EventTime(it.tried),
            attempts: it.attempts,
            due: it.due != 0,
            reason: it.reason.to_owned(),
        }
    }

    /// Whether its record fails its checksum: it can be dropped, and nothing else.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.target.is_empty()
    }

    fn seal(&self) -> Result<Vec<u8>> {
        let (producer_high, producer_low) = halves(self.producer);
        let record = codec::ParkedPart {
            kind: self.kind.code(),
            target: &self.target,
            last: self.last,
            entries: self.entries,
            bytes: self.bytes,
            oldest: self.oldest.0,
            parked: self.parked.0,
            tried: self.tried.0,
            attempts: self.attempts,
            due: u8::from(self.due),
            producer_high,
            producer_low,
            reason: cut(&self.reason),
        };
        codec::encode(Kind::ParkedPart, &self.first.to_le_bytes(), &record)
            .map_err(|_error| unencodable("parked part"))
    }
}

// === impl codec::ParkedTotals ===

impl codec::ParkedTotals {
    pub(crate) fn stats(&self) -> ParkedStats {
        ParkedStats {
            parts: self.parts,
            due: self.due,
            entries: self.entries,
            bytes: self.bytes,
            oldest: (self.parts > 0).then_some(EventTime(self.oldest)),
        }
    }
}

/// The totals; zero where the file has none.
pub(crate) fn read_totals(shared: &Shared, txn: &ReadTransaction) -> Result<codec::ParkedTotals> {
    let table = txn.open_table(META).map_err(shared.fail("open meta"))?;
    let Some(bytes) = table
        .get(META_PARKED)
        .map_err(shared.fail("read the totals of what is parked"))?
    else {
        return Ok(codec::ParkedTotals::default());
    };
    codec::decode(Kind::ParkedTotals, META_PARKED.as_bytes(), bytes.value()).map_err(|_error| {
        shared.damaged("the record of what is parked fails its checksum".to_owned())
    })
}

// === impl Parked ===

impl<'t, 's> Parked<'t, 's> {
    pub(crate) fn open(
        shared: &'s Shared,
        txn: &'t WriteTransaction,
        totals: codec::ParkedTotals,
    ) -> Result<Self> {
        let parts = txn.open_table(PARKED_PARTS);
        let entries = txn.open_table(PARKED);
        Ok(Self {
            shared,
            parts: parts.map_err(shared.fail("open parked parts"))?,
            entries: entries.map_err(shared.fail("open parked"))?,
            totals,
        })
    }

    /// Moves entries here out of `outbox`; how many there were, and their bytes.
    pub(crate) fn park(
        &mut self,
        park: &Park,
        outbox: &mut redb::Table<'_, u64, &'static [u8]>,
    ) -> Result<(u64, u64)> {
        target_bounded(&park.target)?;
        let (first, last) = park.range;
        let mut part = ParkedPart {
            kind: park.kind,
            target: park.target.clone(),
            producer: park.producer,
            first,
            last,
            entries: 0,
            bytes: 0,
            oldest: park.at,
            parked: park.at,
            tried: park.at,
            attempts: park.attempts,
            due: false,
            reason: park.reason.clone(),
        };
        for sequence in &park.sequences {
            let removed = outbox
                .remove(*sequence)
                .map_err(self.shared.fail("write outbox"))?;
            let Some(record) = removed.map(|guard| guard.value().to_vec()) else {
                continue;
            };
            if let Some(entry) = OutboxEntry::open(*sequence, &record) {
                part.oldest = part.oldest.min(entry.accepted);
            }
            part.entries += 1;
            part.bytes += record.len() as u64;
            self.entries
                .insert((first, *sequence), record.as_slice())
                .map_err(self.shared.fail("write parked"))?;
        }
        if part.entries > 0 {
            self.write(&part)?;
            self.totals.parts += 1;
            self.totals.entries += part.entries;
            self.totals.bytes += part.bytes;
            self.freshen()?;
        }
        Ok((part.entries, part.bytes))
    }

    /// Has a part sent again.
    pub(crate) fn make_due(&mut self, first: u64) -> Result<()> {
        let Some(mut part) = self.part(first)?.filter(|it| !it.due && !it.is_damaged()) else {
            return Ok(());
        };
        part.due = true;
        self.totals.due += 1;
        self.write(&part)
    }

    /// Notes that a part was refused again.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) -> Result<()> {
        let Some(mut part) = self.part(refusal.first)?.filter(|it| !it.is_damaged()) else {
            return Ok(());
        };
        self.totals.due = self.totals.due.saturating_sub(u64::from(part.due));
        part.due = false;
        part.attempts = part.attempts.saturating_add(1);
        part.reason.clone_from(&refusal.reason);
        part.tried = refusal.at;
        self.write(&part)
    }

    /// Removes a part with its entries; one that is not there is removed already.
    pub(crate) fn remove(&mut self, first: u64) -> Result<()> {
        let Some(part) = self.part(first)? else {
            return Ok(());
        };
        let (mut entries, mut bytes) = (0_u64, 0_u64);
        let found = self.entries.retain_in(of_part(first), |_, record| {
            entries += 1;
            bytes += record.len() as u64;
            false
        });
        found.map_err(self.shared.fail("write parked"))?;
        self.parts
            .remove(first)
            .map_err(self.shared.fail("write parked parts"))?;
        let totals = &mut self.totals;
        totals.parts = totals.parts.saturating_sub(1);
        totals.due = totals.due.saturating_sub(u64::from(part.due));
        totals.entries = totals.entries.saturating_sub(entries);
        totals.bytes = totals.bytes.saturating_sub(bytes);
        self.freshen()
    }

    /// Writes the totals, and says what they are.
    pub(crate) fn finish(self, txn: &WriteTransaction) -> Result<codec::ParkedTotals> {
        let mut meta = txn
            .open_table(META)
            .map_err(self.shared.fail("open meta"))?;
        let bytes = codec::encode(Kind::ParkedTotals, META_PARKED.as_bytes(), &self.totals)
            .map_err(|_error| unencodable("the totals of what is parked"))?;
        meta.insert(META_PARKED, bytes.as_slice())
            .map_err(self.shared.fail("write the totals of what is parked"))?;
        Ok(self.totals)
    }

    fn part(&self, first: u64) -> Result<Option<ParkedPart>> {
        let found = self
            .parts
            .get(first)
            .map_err(self.shared.fail("read parked parts"))?;
        Ok(found.map(|bytes| ParkedPart::open(first, bytes.value())))
    }

    fn write(&mut self, part: &ParkedPart) -> Result<()> {
        let bytes = part.seal()?;
        self.parts
            .insert(part.first, bytes.as_slice())
            .map_err(self.shared.fail("write parked parts"))?;
        Ok(())
    }

    /// Sequences are given out in the order of acceptance: the first part holds the oldest entry.
    fn freshen(&mut self) -> Result<()> {
        let first = self
            .parts
            .first()
            .map_err(self.shared.fail("read parked parts"))?;
        if let Some((first, bytes)) = first {
            let part = ParkedPart::open(first.value(), bytes.value());
            if !part.is_damaged() {
                self.totals.oldest = part.oldest.0;
            }
        }
        Ok(())
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The parked parts after the one that begins with the sequence `after`, in their order, at most
    /// `max`.
    ///
    /// # Errors
    /// [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Io`](crate::Error::Io),
    /// [`Error::Damaged`](crate::Error::Damaged).
    pub fn parked_parts(&self, after: u64, max: usize) -> Result<Vec<ParkedPart>> {
        self.guard(|| {
            let shared = self.shared();
            let table = match self.txn()?.open_table(PARKED_PARTS) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(shared.fail("open parked parts")(error)),
            };
            let mut parts = Vec::new();
            let range = table
                .range(after.saturating_add(1)..)
                .map_err(shared.fail("read parked parts"))?;
            for record in range.take(max) {
                let (first, bytes) = record.map_err(shared.fail("read parked parts"))?;
                parts.push(ParkedPart::open(first.value(), bytes.value()));
            }
            Ok(parts)
        })
    }

    /// The entries of the parked part that begins with the sequence `first`; none when it is not
    /// parked any more.
    ///
    /// # Errors
    /// As [`Snapshot::parked_parts`].
    pub fn parked_items(&self, first: u64) -> Result<Vec<OutboxItem>> {
        let mut items = Vec::new();
        self.walk_parked(of_part(first), &mut |item| items.push(item))?;
        Ok(items)
    }

    /// Reads every parked entry: how many there are, and how many of them are damaged.
    pub(crate) fn check_parked(&self) -> Result<(u64, u64)> {
        let (mut entries, mut damaged) = (0, 0);
        self.walk_parked((0, 0)..=(u64::MAX, u64::MAX), &mut |item| {
            entries += 1;
            damaged += u64::from(item.entry.is_none());
        })?;
        Ok((entries, damaged))
    }

    fn walk_parked(
        &self,
        range: std::ops::RangeInclusive<(u64, u64)>,
        each: &mut dyn FnMut(OutboxItem),
    ) -> Result<()> {
        self.guard(|| {
            let shared = self.shared();
            let table = match self.txn()?.open_table(PARKED) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
                Err(error) => return Err(shared.fail("open parked")(error)),
            };
            for record in table.range(range).map_err(shared.fail("read parked"))? {
                let (key, record) = record.map_err(shared.fail("read parked"))?;
                each(opened(key.value().1, record.value()));
            }
            Ok(())
        })
    }
}

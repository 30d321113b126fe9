//! Who sends which entries of the outbox.
//!
//! What is sent has a name, made of a producer and of sequences, and whoever takes it keeps each name
//! once. A producer therefore belongs to one opening of the store and no other: a copy of the file,
//! or an older state of it that was put back, gives out the same sequences for other entries, but
//! under a producer of its own. The first entry that an opening adds is noted with its producer in
//! the entry's own transaction; those before it keep theirs, so that copies which still hold the same
//! entries send them under the same names.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable as _, WriteTransaction};

use crate::Result;
use crate::codec::{self, Kind};
use crate::layout::{OUTBOX, PRODUCERS};
use crate::release::unencodable;
use crate::shared::Shared;

/// The producers of the entries that wait, each by the first sequence that is its own. There are
/// never more than there are entries, and one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Producers(BTreeMap<u64, u128>);

// === impl Producers ===

impl Producers {
    /// Those in the file; `first` is the producer of all entries before.
    pub(crate) fn load(
        shared: &Shared,
        txn: &ReadTransaction,
        (first, next): (Option<u128>, u64),
    ) -> Result<Self> {
        let mut found = Self::default();
        found.0.extend(first.map(|first| (0, first)));
        match txn.open_table(PRODUCERS) {
            Ok(table) => {
                for record in table.iter().map_err(shared.fail("read producers"))? {
                    let (sequence, bytes) = record.map_err(shared.fail("read producers"))?;
                    let sequence = sequence.value();
                    found
                        .0
                        .insert(sequence, open(shared, sequence, bytes.value())?);
                }
            }
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(shared.fail("open producers")(error)),
        }
        let oldest = match txn.open_table(OUTBOX) {
            Ok(table) => {
                let entry = table.first().map_err(shared.fail("read outbox"))?;
                entry.map(|(sequence, _)| sequence.value())
            }
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(shared.fail("open outbox")(error)),
        };
        found.forget_before(oldest.unwrap_or(next));
        Ok(found)
    }

    /// The producer of the oldest entry, and the last sequence that can be its own where the next
    /// one's is known.
    pub(crate) fn oldest(&self) -> (Option<u128>, Option<u64>) {
        let mut all = self.0.iter();
        let producer = all.next().map(|(_, producer)| *producer);
        (
            producer,
            all.next().map(|(sequence, _)| sequence.saturating_sub(1)),
        )
    }

    /// Entries from `sequence` on are sent by `producer`.
    pub(crate) fn begin(
        &mut self,
        shared: &Shared,
        txn: &WriteTransaction,
        (sequence, producer): (u64, u128),
    ) -> Result<()> {
        if self.0.last_key_value().map(|(_, last)| *last) == Some(producer) {
            return Ok(());
        }
        let mut table = txn
            .open_table(PRODUCERS)
            .map_err(shared.fail("open producers"))?;
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        let low = producer as u64;
        let high = (producer >> 64) as u64;
        let record = codec::Producer { high, low };
        let bytes = codec::encode(Kind::Producer, &sequence.to_le_bytes(), &record)
            .map_err(|_error| unencodable("producer"))?;
        table
            .insert(sequence, bytes.as_slice())
            .map_err(shared.fail("write producers"))?;
        self.0.insert(sequence, producer);
        Ok(())
    }

    /// Forgets those none of whose entries can be there any more: the oldest is `sequence`.
    pub(crate) fn prune(
        &mut self,
        shared: &Shared,
        txn: &WriteTransaction,
        sequence: u64,
    ) -> Result<()> {
        let gone = self.forget_before(sequence);
        if gone.is_empty() {
            return Ok(());
        }
        let mut table = txn
            .open_table(PRODUCERS)
            .map_err(shared.fail("open producers"))?;
        for sequence in gone {
            table
                .remove(sequence)
                .map_err(shared.fail("write producers"))?;
        }
        Ok(())
    }

    fn forget_before(&mut self, sequence: u64) -> Vec<u64> {
        let mut gone = Vec::new();
        while self.0.keys().nth(1).is_some_and(|next| *next <= sequence) {
            gone.extend(self.0.pop_first().map(|(first, _)| first));
        }
        gone
    }
}

fn open(shared: &Shared, sequence: u64, bytes: &[u8]) -> Result<u128> {
    let record: codec::Producer = codec::decode(Kind::Producer, &sequence.to_le_bytes(), bytes)
        .map_err(|_error| {
            shared.damaged("a record of its outbox's producers fails its checksum".to_owned())
        })?;
    Ok((u128::from(record.high) << 64) | u128::from(record.low))
}

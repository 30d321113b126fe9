//! The read index of one table: an immutable hash map from key to row that snapshots share.
//!
//! A table is split by the top bits of the key's hash into a power of two of shards of some 250
//! rows. A shard is one piece of memory, so that a look-up touches two places of it: a slot, and the
//! entry that it leads to. An update copies only the shards it touches.

use crate::batch::{ENTRY_HEAD, entries};
use crate::shard::{Draft, Shard, head_for};

pub(crate) use crate::shard::{Entry, KeyHasher, TooLarge};

/// Rows a shard is made for.
const SHARD_ROWS: u64 = 320;
/// Rows per shard, on average over the table, beyond which the table is split anew.
const SHARD_ROWS_MAX: u64 = 640;
/// Memory that a shard begins with at most: the first row may be the longest of all.
const SHARD_ROOM_MAX: usize = 256 << 10;
/// The index of one table.
#[derive(Clone, Debug)]
pub(crate) struct TableIndex {
    shards: Vec<Shard>,
    /// The number of shards is 2 to this.
    bits: u32,
    rows: u64,
    bytes: u64,
}

/// A search that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search<'s> {
    hash: u64,
    shard: Option<&'s Shard>,
    /// Where in the shard the first candidate lies, once it was looked for.
    entry: usize,
}

impl<'s> Search<'s> {
    /// Reads the first slot, and remembers where the entry it leads to begins.
    #[inline]
    pub(crate) fn read_slot(&mut self) {
        self.entry = self.shard.map_or(0, |shard| shard.first_entry(self.hash));
    }

    /// Brings the memory of that entry near.
    #[inline]
    pub(crate) fn touch(&self) -> u8 {
        self.shard.map_or(0, |shard| shard.touch(self.entry))
    }

    /// The row, if the key is there.
    #[inline]
    pub(crate) fn finish(&self, key: &[u8]) -> Option<&'s [u8]> {
        self.shard?.find(self.hash, key).map(|(_, row)| row)
    }
}

/// Collects the rows of a table that is scanned.
#[derive(Debug)]
pub(crate) struct Builder {
    drafts: Vec<Draft>,
    bits: u32,
    /// Rows that a shard has room for at first.
    rows_each: u32,
    bytes: u64,
}

#[inline]
fn place(hash: u64, bits: u32) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "at most 32 bits are left")]
    let place = hash.checked_shr(64 - bits).unwrap_or(0) as usize;
    place
}

fn bits_for(rows: u64) -> u32 {
    rows.div_ceil(SHARD_ROWS)
        .max(1)
        .next_power_of_two()
        .trailing_zeros()
        .min(24)
}

// === impl TableIndex ===

impl TableIndex {
    /// The index of an empty table.
    pub(crate) fn empty() -> Self {
        Self {
            shards: vec![Shard::empty()],
            bits: 0,
            rows: 0,
            bytes: 0,
        }
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The row of `key`.
    #[inline]
    pub(crate) fn get(&self, hasher: &KeyHasher, key: &[u8]) -> Option<&[u8]> {
        let hash = hasher.hash(key);
        let shard = self.shards.get(place(hash, self.bits))?;
        shard.find(hash, key).map(|(_, row)| row)
    }

    /// Where a search for `key` begins. Reads nothing but the shard's place, so that searches which
    /// are begun together wait for memory together.
    #[inline]
    pub(crate) fn begin<'s>(&'s self, hasher: &KeyHasher, key: &[u8]) -> Search<'s> {
        let hash = hasher.hash(key);
        Search {
            hash,
            shard: self.shards.get(place(hash, self.bits)),
            entry: 0,
        }
    }

    /// Every key and row, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.shards.iter().flat_map(|shard| entries(shard.arena()))
    }

    /// This index with `changes` in it; of several with one key the last one counts.
    pub(crate) fn update(
        &self,
        changes: &[Entry<'_>],
        hasher: &KeyHasher,
    ) -> Result<Self, TooLarge> {
        let most = self.rows + changes.len() as u64;
        if most > SHARD_ROWS_MAX << self.bits {
            return self.split(changes, hasher);
        }
        let mut hashed: Vec<(u64, Entry<'_>)> = changes
            .iter()
            .map(|entry| (hasher.hash(entry.0), *entry))
            .collect();
        // Stable, so that of equal keys the last change comes last.
        hashed.sort_by(|a, b| (a.0, a.1.0).cmp(&(b.0, b.1.0)));
        hashed.reverse();
        hashed.dedup_by(|later, kept| later.0 == kept.0 && later.1.0 == kept.1.0);
        let mut next = self.clone();
        for group in hashed.chunk_by(|a, b| place(a.0, self.bits) == place(b.0, self.bits)) {
            let Some((hash, _)) = group.first() else {
                continue;
            };
            let Some(shard) = next.shards.get_mut(place(*hash, self.bits)) else {
                continue;
            };
            let updated = shard.update(group, hasher)?;
            next.rows = next.rows + u64::from(updated.rows) - u64::from(shard.rows);
            next.bytes = next.bytes + updated.bytes() - shard.bytes();
            *shard = updated;
        }
        Ok(next)
    }

    /// As [`TableIndex::update`], over more shards.
    fn split(&self, changes: &[Entry<'_>], hasher: &KeyHasher) -> Result<Self, TooLarge> {
        let mut builder = Builder::new(self.rows + changes.len() as u64);
        if self.rows == 0 && changes.is_sorted_by(|a, b| a.0 < b.0) {
            // The first load of a table: nothing can come twice.
            for (key, row) in changes {
                builder.push(hasher, key, row)?;
            }
            return builder.finish(hasher);
        }
        let replaced: hashbrown::HashMap<&[u8], &[u8], foldhash::fast::RandomState> =
            changes.iter().copied().collect();
        for (key, row) in self.iter() {
            if !replaced.contains_key(key) {
                builder.push(hasher, key, row)?;
            }
        }
        for (key, row) in replaced {
            builder.push(hasher, key, row)?;
        }
        builder.finish(hasher)
    }
}

// === impl Builder ===

impl Builder {
    /// For about `rows` rows.
    pub(crate) fn new(rows: u64) -> Self {
        let bits = bits_for(rows);
        let mean = rows.div_ceil(1 << bits);
        // Twice the deviation more than the mean: one shard in forty has to move to more memory.
        let rows_each = mean + 2 * mean.isqrt();
        Self {
            drafts: vec![Draft::default(); 1 << bits],
            bits,
            rows_each: u32::try_from(rows_each).unwrap_or(u32::MAX),
            bytes: 0,
        }
    }

    /// For as many rows as somebody says that there will be, if they fit into `room` bytes at all.
    pub(crate) fn within(rows: u64, room: u64) -> Option<Self> {
        let least = ENTRY_HEAD as u64;
        (rows.saturating_mul(least) <= room).then(|| Self::new(rows))
    }

    /// Bytes of memory taken so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a row; no key may come twice.
    pub(crate) fn push(
        &mut self,
        hasher: &KeyHasher,
        key: &[u8],
        row: &[u8],
    ) -> Result<(), TooLarge> {
        let Some(draft) = self.drafts.get_mut(place(hasher.hash(key), self.bits)) else {
            return Ok(());
        };
        let before = draft.size();
        if draft.rows == 0 {
            // The other rows are taken to be as long as this one, within reason.
            let entry = ENTRY_HEAD + key.len() + row.len();
            let room = entry
                .saturating_mul(self.rows_each as usize)
                .min(SHARD_ROOM_MAX);
            *draft = Draft::new(self.rows_each, room)?;
        }
        draft.push(key, row);
        self.bytes += (draft.size() - before) as u64;
        Ok(())
    }

    /// The index of all that was pushed.
    pub(crate) fn finish(self, hasher: &KeyHasher) -> Result<TableIndex, TooLarge> {
        let mut index = TableIndex {
            shards: Vec::with_capacity(self.drafts.len()),
            bits: self.bits,
            rows: 0,
            bytes: 0,
        };
        let head = head_for(self.rows_each)?;
        for draft in self.drafts {
            let shard = draft.seal(head, hasher)?;
            index.rows += u64::from(shard.rows);
            index.bytes += shard.bytes();
            index.shards.push(shard);
        }
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn check(index: &TableIndex, hasher: &KeyHasher, model: &HashMap<Vec<u8>, Vec<u8>>) {
        assert_eq!(index.rows(), model.len() as u64);
        assert_eq!(index.iter().count(), model.len());
        for (key, row) in model {
            assert_eq!(index.get(hasher, key), Some(row.as_slice()));
        }
        assert_eq!(index.get(hasher, b"absent"), None);
        let bytes: u64 = index.shards.iter().map(Shard::bytes).sum();
        assert!(
            index.bytes().abs_diff(bytes) <= 64,
            "{} {bytes}",
            index.bytes()
        );
    }

    #[test]
    fn updates_of_every_size_agree_with_a_map() {
        let hasher = KeyHasher::default();
        let mut index = TableIndex::empty();
        let mut model = HashMap::new();
        let mut state = 1_u64;
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for round in 0..200 {
            let size = if round % 20 == 0 {
                2000
            } else {
                random(64) + 1
            };
            let changes: Vec<(Vec<u8>, Vec<u8>)> = (0..size)
                .map(|_| {
                    let key = random(20_000).to_be_bytes().to_vec();
                    (key, vec![round as u8; 8 + random(2) as usize])
                })
                .collect();
            let borrowed: Vec<Entry<'_>> = changes
                .iter()
                .map(|(k, r)| (k.as_slice(), r.as_slice()))
                .collect();
            let before = index.clone();
            let old = model.clone();
            index = index.update(&borrowed, &hasher).unwrap();
            model.extend(changes.iter().cloned());
            if round % 50 == 0 {
                check(&before, &hasher, &old);
            }
        }
        check(&index, &hasher, &model);
        let mut builder = Builder::new(model.len() as u64);
        for (key, row) in &model {
            builder.push(&hasher, key, row).unwrap();
        }
        check(&builder.finish(&hasher).unwrap(), &hasher, &model);
    }

    #[test]
    fn an_empty_key_is_a_key() {
        let hasher = KeyHasher::default();
        let index = TableIndex::empty();
        assert_eq!(index.get(&hasher, b""), None);
        let index = index.update(&[(b"", b"row")], &hasher).unwrap();
        assert_eq!(index.get(&hasher, b""), Some(b"row".as_slice()));
        assert_eq!(index.get(&hasher, b"x"), None);
    }
}

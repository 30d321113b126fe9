//! The read index of one table: an immutable hash map from key to row that snapshots share.
//!
//! A table is split by the top bits of the key's hash into a power of two of shards of some 250
//! rows. A shard is one piece of memory, so that a look-up touches two places of it: first a
//! power-of-two array of slots (u64 LE: upper half a tag of 32 hash bits, lower half 1 + the offset
//! of an entry, 0 = free, linear probing), then the entries one after the other, as in a row batch.
//! An update copies only the shards it touches: where every changed row keeps its length the copy
//! is overwritten in place, otherwise the shard is written anew, so there is never garbage in it.

use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;

use crate::batch::{ENTRY_HEAD, entries, push_entry, split_entry};

/// Rows a shard is made for.
const SHARD_ROWS: u64 = 320;
/// Rows per shard, on average over the table, beyond which the table is split anew.
const SHARD_ROWS_MAX: u64 = 640;
/// Memory that a shard begins with at most: the first row may be the longest of all.
const SHARD_ROOM_MAX: usize = 256 << 10;
/// A shard's offsets are 32 bits wide.
const SHARD_BYTES_MAX: usize = u32::MAX as usize;
const SLOT: usize = 8;
/// Bytes that come together when one of them is read.
const LINE: usize = 64;
/// Lines of an entry that are read ahead: ten doubles and what goes with them.
const LINES_TOUCHED: usize = 3;

/// A key and the row stored under it.
pub(crate) type Entry<'a> = (&'a [u8], &'a [u8]);

/// Hashes keys with a seed of this process, so that nobody can prepare keys that collide.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyHasher(foldhash::quality::RandomState);

#[derive(Clone, Debug)]
struct Shard {
    data: Bytes,
    /// Number of slots less one.
    mask: u32,
    rows: u32,
    /// Bytes of memory, those that are not used included.
    size: usize,
}

/// A shard that rows are added to: room for its slots, then the entries.
#[derive(Clone, Debug, Default)]
struct Draft {
    data: Vec<u8>,
    rows: u32,
}

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
        let Some(shard) = self.shard else { return };
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are taken")]
        let at = (self.hash as u32 & shard.mask) as usize * SLOT;
        let slot = shard
            .data
            .get(at..)
            .and_then(|slots| slots.first_chunk::<SLOT>());
        let slot = slot.map_or(0, |slot| u64::from_le_bytes(*slot));
        self.entry = shard.slot_bytes() + (slot & 0xffff_ffff) as usize;
    }

    /// Reads something of each piece of memory in which that entry lies, to have it near.
    #[inline]
    pub(crate) fn touch(&self) -> u8 {
        let data = self.shard.map_or(&[][..], |shard| &*shard.data);
        let line = |line| data.get(self.entry + line * LINE).copied().unwrap_or(0);
        (0..LINES_TOUCHED).fold(0, |all, at| all ^ line(at))
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

/// A shard would pass what its offsets can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl KeyHasher {
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        hasher.finish()
    }
}

/// Whether two keys are equal; most keys are one 64-bit integer.
#[inline]
fn same(stored: &[u8], key: &[u8]) -> bool {
    match (<&[u8; 8]>::try_from(stored), <&[u8; 8]>::try_from(key)) {
        (Ok(stored), Ok(key)) => stored == key,
        _ => stored == key,
    }
}

#[inline]
fn place(hash: u64, bits: u32) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "at most 32 bits are left")]
    let place = hash.checked_shr(64 - bits).unwrap_or(0) as usize;
    place
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "some bits are taken")]
fn tag(hash: u64) -> u32 {
    (hash >> 12) as u32
}

fn bits_for(rows: u64) -> u32 {
    rows.div_ceil(SHARD_ROWS)
        .max(1)
        .next_power_of_two()
        .trailing_zeros()
        .min(24)
}

/// Bytes of the slots of a shard of `rows` rows: at most 7/8 of them are taken, so that a search always
/// ends at a free one.
fn head_for(rows: u32) -> Result<usize, TooLarge> {
    let slots = (u64::from(rows) * 8 / 7 + 1).next_power_of_two();
    let head = usize::try_from(slots * SLOT as u64);
    head.ok()
        .filter(|head| *head < SHARD_BYTES_MAX)
        .ok_or(TooLarge)
}

// === impl Draft ===

impl Draft {
    /// A draft with slots for `rows` rows, and memory for `bytes` of entries.
    fn new(rows: u32, bytes: usize) -> Result<Self, TooLarge> {
        let head = head_for(rows)?;
        let mut data = Vec::new();
        data.reserve_exact(head + bytes);
        data.resize(head, 0);
        Ok(Self { data, rows: 0 })
    }

    fn push(&mut self, key: &[u8], row: &[u8]) {
        push_entry(key, row, &mut self.data);
        self.rows += 1;
    }

    /// The shard of the entries, whose keys differ. `head` is what the slots have room for.
    fn seal(mut self, mut head: usize, hasher: &KeyHasher) -> Result<Shard, TooLarge> {
        if self.rows == 0 {
            return Ok(Shard::empty());
        }
        let right = head_for(self.rows)?;
        // Twice the slots that would do are no harm.
        if right != head && right * 2 != head {
            let entries = self.data.get(head..).unwrap_or_default();
            let mut draft = Self::new(self.rows, entries.len())?;
            draft.data.extend_from_slice(entries);
            draft.rows = self.rows;
            (self, head) = (draft, right);
        }
        let (slots, arena) = self.data.split_at_mut_checked(head).ok_or(TooLarge)?;
        if arena.len() >= SHARD_BYTES_MAX {
            return Err(TooLarge);
        }
        let (slots, _) = slots.as_chunks_mut::<SLOT>();
        let mask = u32::try_from(slots.len() - 1).map_err(|_error| TooLarge)?;
        let mut offset = 0_u32;
        for (key, row) in entries(arena) {
            let hash = hasher.hash(key);
            #[expect(clippy::cast_possible_truncation, reason = "the low bits are taken")]
            let mut at = hash as u32 & mask;
            for _ in 0..=mask {
                let slot = slots.get_mut(at as usize).ok_or(TooLarge)?;
                if *slot == [0; SLOT] {
                    *slot = ((u64::from(tag(hash)) << 32) | u64::from(offset + 1)).to_le_bytes();
                    break;
                }
                at = (at + 1) & mask;
            }
            #[expect(clippy::cast_possible_truncation, reason = "the arena is below 4 GiB")]
            let size = (ENTRY_HEAD + key.len() + row.len()) as u32;
            offset += size;
        }
        Ok(Shard {
            mask,
            rows: self.rows,
            size: self.data.capacity(),
            data: self.data.into(),
        })
    }
}

// === impl Shard ===

impl Shard {
    fn empty() -> Self {
        Self {
            data: Bytes::new(),
            mask: 0,
            rows: 0,
            size: 0,
        }
    }

    fn slot_bytes(&self) -> usize {
        if self.rows == 0 {
            0
        } else {
            (self.mask as usize + 1) * SLOT
        }
    }

    fn arena(&self) -> &[u8] {
        self.data.get(self.slot_bytes()..).unwrap_or_default()
    }

    fn bytes(&self) -> u64 {
        (self.size + size_of::<Self>()) as u64
    }

    /// The offset in the arena of the entry of `key`, and its row.
    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<(usize, &[u8])> {
        let (slots, arena) = self.data.split_at_checked(self.slot_bytes())?;
        let tag = tag(hash);
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are taken")]
        let mut at = hash as u32 & self.mask;
        for _ in 0..=self.mask {
            let start = at as usize * SLOT;
            let slot = slots.get(start..start + SLOT)?.first_chunk::<SLOT>()?;
            let slot = u64::from_le_bytes(*slot);
            if slot == 0 {
                return None;
            }
            if (slot >> 32) == u64::from(tag) {
                let offset = (slot & 0xffff_ffff) as usize - 1;
                let (stored, row, _) = split_entry(arena.get(offset..)?)?;
                if same(stored, key) {
                    return Some((offset, row));
                }
            }
            at = (at + 1) & self.mask;
        }
        None
    }

    /// This shard with `changes` in it, whose keys differ.
    fn update(&self, changes: &[(u64, Entry<'_>)], hasher: &KeyHasher) -> Result<Self, TooLarge> {
        let mut found = Vec::with_capacity(changes.len());
        let mut in_place = true;
        for (hash, (key, row)) in changes {
            let old = self.find(*hash, key);
            in_place &= old.is_some_and(|(_, old)| old.len() == row.len());
            found.push(old.map(|(offset, _)| offset));
        }
        if in_place {
            return Ok(self.overwrite(changes, &found));
        }
        let added: usize = changes
            .iter()
            .map(|(_, (k, r))| ENTRY_HEAD + k.len() + r.len())
            .sum();
        let mut dropped: Vec<usize> = found.into_iter().flatten().collect();
        dropped.sort_unstable();
        let rows = self.rows as usize + changes.len() - dropped.len();
        let rows = u32::try_from(rows).map_err(|_error| TooLarge)?;
        let mut draft = Draft::new(rows, self.arena().len() + added)?;
        let mut dropped = dropped.into_iter().peekable();
        let mut offset = 0;
        for (key, row) in entries(self.arena()) {
            if dropped.next_if_eq(&offset).is_none() {
                draft.push(key, row);
            }
            offset += ENTRY_HEAD + key.len() + row.len();
        }
        for (_, (key, row)) in changes {
            draft.push(key, row);
        }
        draft.seal(head_for(rows)?, hasher)
    }

    fn overwrite(&self, changes: &[(u64, Entry<'_>)], found: &[Option<usize>]) -> Self {
        let mut data = self.data.to_vec();
        let head = self.slot_bytes();
        for ((_, (key, row)), offset) in changes.iter().zip(found) {
            let start = head + offset.unwrap_or_default() + ENTRY_HEAD + key.len();
            if let Some(to) = data.get_mut(start..start + row.len()) {
                to.copy_from_slice(row);
            }
        }
        Self {
            size: data.capacity(),
            data: data.into(),
            ..*self
        }
    }
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
        let least = (ENTRY_HEAD + SLOT) as u64;
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
        let before = draft.data.capacity();
        if draft.rows == 0 {
            // The other rows are taken to be as long as this one, within reason.
            let entry = ENTRY_HEAD + key.len() + row.len();
            let room = entry
                .saturating_mul(self.rows_each as usize)
                .min(SHARD_ROOM_MAX);
            *draft = Draft::new(self.rows_each, room)?;
        }
        draft.push(key, row);
        self.bytes += (draft.data.capacity() - before) as u64;
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

//! Shards of a read index: the rows of one part of a table's keys, in one piece of memory.
//!
//! First a power-of-two array of slots (u64 LE: upper half a tag of 32 hash bits, lower half 1 + the
//! offset of an entry, 0 = free, linear probing), then the entries one after the other, as in a row
//! batch. Where every changed row keeps its length an update is a copy that is overwritten in place,
//! otherwise the shard is written anew, so there is never garbage in it.

use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;

use crate::batch::{ENTRY_HEAD, entries, push_entry, split_entry};

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

/// The rows of one part of a table.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    data: Bytes,
    /// Number of slots less one.
    mask: u32,
    pub(crate) rows: u32,
    /// Bytes of memory, those that are not used included.
    size: usize,
}

/// A shard that rows are added to: room for its slots, then the entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    data: Vec<u8>,
    pub(crate) rows: u32,
}

/// A shard would pass what its offsets can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

// === impl KeyHasher ===

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
#[expect(clippy::cast_possible_truncation, reason = "some bits are taken")]
fn tag(hash: u64) -> u32 {
    (hash >> 12) as u32
}

/// Bytes of the slots of a shard of `rows` rows: at most 7/8 of them are taken, so that a search always
/// ends at a free one.
pub(crate) fn head_for(rows: u32) -> Result<usize, TooLarge> {
    let slots = (u64::from(rows) * 8 / 7 + 1).next_power_of_two();
    let head = usize::try_from(slots * SLOT as u64);
    head.ok()
        .filter(|head| *head < SHARD_BYTES_MAX)
        .ok_or(TooLarge)
}

// === impl Draft ===

impl Draft {
    /// A draft with slots for `rows` rows, and memory for `bytes` of entries.
    pub(crate) fn new(rows: u32, bytes: usize) -> Result<Self, TooLarge> {
        let head = head_for(rows)?;
        let mut data = Vec::new();
        data.reserve_exact(head + bytes);
        data.resize(head, 0);
        Ok(Self { data, rows: 0 })
    }

    /// Bytes of memory.
    pub(crate) fn size(&self) -> usize {
        self.data.capacity()
    }

    pub(crate) fn push(&mut self, key: &[u8], row: &[u8]) {
        push_entry(key, row, &mut self.data);
        self.rows += 1;
    }

    /// The shard of the entries, whose keys differ. `head` is what the slots have room for.
    pub(crate) fn seal(mut self, mut head: usize, hasher: &KeyHasher) -> Result<Shard, TooLarge> {
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
    pub(crate) fn empty() -> Self {
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

    pub(crate) fn arena(&self) -> &[u8] {
        self.data.get(self.slot_bytes()..).unwrap_or_default()
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.size + size_of::<Self>()) as u64
    }

    /// Where the entry begins to which the first slot for a hash leads.
    #[inline]
    pub(crate) fn first_entry(&self, hash: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are taken")]
        let at = (hash as u32 & self.mask) as usize * SLOT;
        let slot = self.data.get(at..).and_then(|it| it.first_chunk::<SLOT>());
        let slot = slot.map_or(0, |slot| u64::from_le_bytes(*slot));
        self.slot_bytes() + (slot & 0xffff_ffff) as usize
    }

    /// Reads something of each piece of memory in which the entry at `entry` lies, to have it near.
    #[inline]
    pub(crate) fn touch(&self, entry: usize) -> u8 {
        let line = |line| self.data.get(entry + line * LINE).copied().unwrap_or(0);
        (0..LINES_TOUCHED).fold(0, |all, at| all ^ line(at))
    }

    /// The offset in the arena of the entry of `key`, and its row.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<(usize, &[u8])> {
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
    pub(crate) fn update(
        &self,
        changes: &[(u64, Entry<'_>)],
        hasher: &KeyHasher,
    ) -> Result<Self, TooLarge> {
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

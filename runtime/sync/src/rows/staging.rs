//! The newest row of every key, folded in memory while files stream by.
//!
//! Rows lie in flat arenas: one fixed part per entry that a newer row overwrites in place, and a
//! heap for values of variable width that only grows until the next flush.

use foldhash::fast::FixedState;
use galley_node::store::{RowBatch, RowWriter};
use galley_types::{EventTime, RowSchema};
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

/// The pair that decides which row of a key is newer: event time, then created time
/// (`i64::MIN` when there is none), both in microseconds.
pub(crate) type Times = (i64, i64);

/// No created time.
pub(crate) const NO_CREATED: i64 = i64::MIN;

/// The newest rows seen so far.
pub(crate) struct Staging {
    features: usize,
    /// Whether a feature's slot points into the heap.
    in_heap: Vec<bool>,
    hasher: FixedState,
    table: HashTable<u32>,
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    times: Vec<Times>,
    /// The row of the current batch that fills the entry.
    rows: Vec<u32>,
    slots: Vec<[u8; 8]>,
    set: Vec<bool>,
    heap: Vec<u8>,
}

// === impl Staging ===

impl Staging {
    /// The most bytes that can be staged: offsets into the arenas are 32 bits wide.
    pub(crate) const BYTES_MAX: usize = 1 << 30;

    pub(crate) fn new(schema: &RowSchema) -> Self {
        let in_heap: Vec<bool> = schema
            .fields
            .iter()
            .map(|field| field.value_type.fixed().is_none())
            .collect();
        Self {
            features: in_heap.len(),
            in_heap,
            hasher: FixedState::default(),
            table: HashTable::new(),
            keys: Vec::new(),
            key_ends: Vec::new(),
            times: Vec::new(),
            rows: Vec::new(),
            slots: Vec::new(),
            set: Vec::new(),
            heap: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    /// Bytes held by the rows.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.len()
            + self.heap.len()
            + self.slots.len() * 9
            + self.times.len() * (16 + 4 + 4 + 8)
    }

    /// Offers row `row` of a batch: the entry to fill when it is the newest of its key so far (equal
    /// times: the later row), else `None`. All features of the entry are null at first. A later row
    /// of the same batch may still take the entry over: see [`Staging::is_filled_by`].
    #[inline]
    pub(crate) fn offer(&mut self, key: &[u8], times: Times, row: u32) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        let Self {
            table,
            keys,
            key_ends,
            ..
        } = self;
        let known = table
            .find(hash, |entry| key_at(keys, key_ends, *entry) == key)
            .copied();
        if let Some(entry) = known {
            let stored = self.times.get_mut(entry as usize)?;
            if times < *stored {
                return None;
            }
            *stored = times;
            *self.rows.get_mut(entry as usize)? = row;
            let first = entry as usize * self.features;
            if let Some(set) = self.set.get_mut(first..first + self.features) {
                set.fill(false);
            }
            return Some(entry);
        }
        let entry = u32::try_from(self.times.len()).ok()?;
        self.keys.extend_from_slice(key);
        self.key_ends.push(u32::try_from(self.keys.len()).ok()?);
        self.times.push(times);
        self.rows.push(row);
        self.slots
            .resize(self.slots.len() + self.features, [0_u8; 8]);
        self.set.resize(self.set.len() + self.features, false);
        let Self {
            table,
            keys,
            key_ends,
            hasher,
            ..
        } = self;
        table.insert_unique(hash, entry, |entry| {
            hasher.hash_one(key_at(keys, key_ends, *entry))
        });
        Some(entry)
    }

    /// Whether `row` of the current batch was the last that was given `entry`.
    #[inline]
    pub(crate) fn is_filled_by(&self, entry: u32, row: u32) -> bool {
        self.rows.get(entry as usize) == Some(&row)
    }

    /// Sets a feature of fixed width.
    #[inline]
    pub(crate) fn set_slot(&mut self, entry: u32, feature: usize, value: [u8; 8]) {
        let index = entry as usize * self.features + feature;
        if let (Some(slot), Some(set)) = (self.slots.get_mut(index), self.set.get_mut(index)) {
            *slot = value;
            *set = true;
        }
    }

    /// Sets a feature of variable width to what `write` appends to the heap.
    #[inline]
    pub(crate) fn set_heap<E>(
        &mut self,
        entry: u32,
        feature: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.heap.len();
        write(&mut self.heap)?;
        let length = self.heap.len() - start;
        let place = (start as u64) << 32 | length as u64;
        self.set_slot(entry, feature, place.to_le_bytes());
        Ok(())
    }

    /// Moves all rows into `batch` and starts again empty.
    pub(crate) fn drain_into(
        &mut self,
        batch: &mut RowBatch,
        writer: &mut RowWriter,
    ) -> Result<(), galley_node::store::Error> {
        let mut start = 0_usize;
        for (entry, (event, created)) in self.times.iter().enumerate() {
            let created = (*created != NO_CREATED).then_some(EventTime(*created));
            writer.begin(EventTime(*event), created);
            let first = entry * self.features;
            let cells = self.slots.iter().zip(&self.set).skip(first);
            for (feature, ((slot, set), in_heap)) in cells.zip(&self.in_heap).enumerate() {
                if !*set {
                    continue;
                }
                if *in_heap {
                    let place = u64::from_le_bytes(*slot);
                    let (at, length) = ((place >> 32) as usize, (place & 0xffff_ffff) as usize);
                    writer.set_heap(feature, self.heap.get(at..at + length).unwrap_or(&[]))?;
                } else {
                    writer.set_slot(feature, *slot)?;
                }
            }
            let end = self.key_ends.get(entry).map_or(start, |end| *end as usize);
            batch.push(self.keys.get(start..end).unwrap_or(&[]), writer)?;
            start = end;
        }
        self.clear();
        Ok(())
    }

    /// The encoded key of a row.
    pub(crate) fn key(&self, row: usize) -> &[u8] {
        u32::try_from(row).map_or(&[], |row| key_at(&self.keys, &self.key_ends, row))
    }

    /// Event time and created time of a row, in microseconds.
    pub(crate) fn times_of(&self, row: usize) -> (i64, Option<i64>) {
        let (event, created) = self.times.get(row).copied().unwrap_or((0, NO_CREATED));
        (event, (created != NO_CREATED).then_some(created))
    }

    /// A value of a fixed-width feature; `None` is null.
    pub(crate) fn slot(&self, row: usize, feature: usize) -> Option<[u8; 8]> {
        let index = row * self.features + feature;
        let set = self.set.get(index).copied().unwrap_or(false);
        self.slots.get(index).copied().filter(|_| set)
    }

    /// A value of a feature of variable width, as a stored row has it; `None` is null.
    pub(crate) fn heap_cell(&self, row: usize, feature: usize) -> Option<&[u8]> {
        let place = u64::from_le_bytes(self.slot(row, feature)?);
        let (at, length) = ((place >> 32) as usize, (place & 0xffff_ffff) as usize);
        self.heap.get(at..at + length)
    }

    /// Bytes of a row's key and values.
    pub(crate) fn row_bytes(&self, row: usize) -> usize {
        let cells = self.in_heap.iter().enumerate();
        let values = cells.map(|(feature, in_heap)| match in_heap {
            true => 4 + self.heap_cell(row, feature).map_or(0, <[u8]>::len),
            false => 8,
        });
        self.key(row).len() + values.sum::<usize>()
    }

    /// Starts again empty.
    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.keys.clear();
        self.key_ends.clear();
        self.times.clear();
        self.rows.clear();
        self.slots.clear();
        self.set.clear();
        self.heap.clear();
    }
}

fn key_at<'a>(keys: &'a [u8], ends: &[u32], entry: u32) -> &'a [u8] {
    let entry = entry as usize;
    let start = match entry.checked_sub(1) {
        Some(before) => ends.get(before).copied().unwrap_or(0),
        None => 0,
    };
    let end = ends.get(entry).copied().unwrap_or(start);
    keys.get(start as usize..end as usize).unwrap_or(&[])
}

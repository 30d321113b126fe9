//! A simulated disk: what was not synced may be lost, reordered and torn when the power goes.

use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{BackendError, StorageBackend};

const SECTOR: usize = 512;

/// A small generator with a seed that tests print.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}

#[derive(Clone, Debug)]
enum Unsynced {
    Length(u64),
    Write(u64, Vec<u8>),
}

#[derive(Debug, Default)]
struct State {
    /// What survives a power cut.
    durable: Vec<u8>,
    /// What reads see.
    live: Vec<u8>,
    unsynced: Vec<Unsynced>,
    /// Writes, resizes and syncs so far; with `all_calls`, reads too.
    calls: u64,
    all_calls: bool,
    /// Syncs do nothing, as on a disk that lies.
    lies: bool,
    /// The call from which on nothing works any more.
    cut_at: Option<u64>,
    /// The one call that fails.
    fail_at: Option<u64>,
}

/// A handle on the disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

impl Unsynced {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Length(length) => image.resize(*length as usize, 0),
            Self::Write(offset, data) => {
                let start = *offset as usize;
                if image.len() < start + data.len() {
                    image.resize(start + data.len(), 0);
                }
                image[start..start + data.len()].copy_from_slice(data);
            }
        }
    }
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Counts reads as calls too.
    pub(crate) fn count_all(&self) {
        self.lock().all_calls = true;
    }

    /// From now on a sync does nothing.
    pub(crate) fn lie(&self) {
        self.lock().lies = true;
    }

    /// The power goes at the call with this number.
    pub(crate) fn cut_at(&self, call: u64) {
        self.lock().cut_at = Some(call);
    }

    /// The call with this number fails; the others work.
    pub(crate) fn fail_at(&self, call: u64) {
        self.lock().fail_at = Some(call);
    }

    pub(crate) fn is_cut(&self) -> bool {
        let state = self.lock();
        state.cut_at.is_some_and(|at| state.calls >= at)
    }

    /// The disk after a power cut: of what was not synced nothing, all, a prefix or a random part
    /// is there, and each write may be torn at any sector.
    pub(crate) fn after_power_cut(&self, random: &mut Random) -> Self {
        let state = self.lock();
        let mut image = state.durable.clone();
        let count = state.unsynced.len() as u64;
        let kind = random.below(4);
        let prefix = random.below(count + 1);
        for (position, change) in state.unsynced.iter().enumerate() {
            let kept = match kind {
                0 => false,
                1 => true,
                2 => (position as u64) < prefix,
                _ => random.below(2) == 0,
            };
            if !kept {
                continue;
            }
            match change {
                Unsynced::Write(offset, data) if random.below(4) == 0 => {
                    for (part, sector) in data.chunks(SECTOR).enumerate() {
                        if random.below(2) == 0 {
                            let offset = offset + (part * SECTOR) as u64;
                            Unsynced::Write(offset, sector.to_vec()).apply(&mut image);
                        }
                    }
                }
                change => change.apply(&mut image),
            }
        }
        Self::of(image)
    }

    /// A disk that holds `image`.
    pub(crate) fn of(image: Vec<u8>) -> Self {
        let state = State {
            durable: image.clone(),
            live: image,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        self.lock().live.clone()
    }
}

impl State {
    fn call(&mut self, counts: bool) -> io::Result<()> {
        if self.cut_at.is_some_and(|at| self.calls >= at) {
            return Err(io::Error::other("the power is out"));
        }
        if counts || self.all_calls {
            self.calls += 1;
            if self.fail_at == Some(self.calls) {
                return Err(io::Error::other("this call fails"));
            }
        }
        Ok(())
    }

    fn change(&mut self, change: Unsynced) -> io::Result<()> {
        self.call(true)?;
        change.apply(&mut self.live);
        self.unsynced.push(change);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.lock();
        state.call(false)?;
        Ok(state.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.call(false)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start
            .checked_add(out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let bytes = state
            .live
            .get(start..end)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().change(Unsynced::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.call(true)?;
        if !state.lies {
            state.durable = state.live.clone();
            state.unsynced.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lock().change(Unsynced::Write(offset, data.to_vec()))
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Err(BackendError::Unsupported)
    }
}

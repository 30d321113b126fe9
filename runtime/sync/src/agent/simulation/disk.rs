//! A disk that loses what was not synced.

use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use redb::{BackendError, StorageBackend};

use super::Random;

/// Files of a node that outlive its crash: what was synced, and perhaps some of what was not.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<Image>>);

#[derive(Debug, Default)]
struct Image {
    durable: Vec<u8>,
    live: Vec<u8>,
    /// Changes since the last sync, in order.
    unsynced: Vec<(u64, Option<Vec<u8>>)>,
}

fn change(image: &mut Vec<u8>, (offset, data): &(u64, Option<Vec<u8>>)) {
    let start = *offset as usize;
    match data {
        None => image.resize(start, 0),
        Some(data) => {
            image.resize(image.len().max(start + data.len()), 0);
            image[start..start + data.len()].copy_from_slice(data);
        }
    }
}

impl Disk {
    /// The disk after the power went: some first changes since the last sync survive.
    pub(super) fn crashed(&self, random: &mut Random) -> Self {
        let image = self.0.lock().unwrap();
        let mut durable = image.durable.clone();
        let kept = random.below(image.unsynced.len() as u64 + 1) as usize;
        for it in image.unsynced.iter().take(kept) {
            change(&mut durable, it);
        }
        Self(Arc::new(Mutex::new(Image {
            live: durable.clone(),
            durable,
            unsynced: Vec::new(),
        })))
    }

    fn note(&self, it: (u64, Option<Vec<u8>>)) {
        let mut image = self.0.lock().unwrap();
        change(&mut image.live, &it);
        image.unsynced.push(it);
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.0.lock().unwrap();
        let start = offset as usize;
        let bytes = image.live.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note((len, None));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.0.lock().unwrap();
        image.durable = image.live.clone();
        image.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note((offset, Some(data.to_vec())));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }
    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }
    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }
}

//! The key of a folder of compiled code: what carries its digest was put there by this installation.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write as _};
use std::path::Path;

use blake3::Hasher;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::cache::{Temporary, check_owned, create, temporary_name};
use crate::error::{Error, Result};

/// What every signed file ends with before its digest.
pub(crate) const MARK: &[u8; 8] = b"galley\0\x02";
/// Bytes of a keyed digest.
pub(crate) const MAC_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
/// Bytes of a file that are read at a time.
const BUFFER_BYTES: usize = 256 << 10;

pub(crate) struct Key([u8; KEY_BYTES]);

impl Key {
    /// The folder's key, made where there is none.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("key");
        let fail = |action: &'static str| {
            let path = path.clone();
            move |source| Error::Cache {
                path,
                action,
                source,
            }
        };
        if !path.try_exists().map_err(fail("look at the key"))? {
            let mut key = [0; KEY_BYTES];
            let filled = getrandom(&mut key, GetRandomFlags::empty())
                .map_err(|error| fail("make a key")(error.into()))?;
            if filled != KEY_BYTES {
                return Err(fail("make a key")(io::ErrorKind::UnexpectedEof.into()));
            }
            let temporary = folder.join(temporary_name("key"));
            drop(fs::remove_file(&temporary));
            let guard = Temporary(&temporary);
            create(&temporary, 0o600)
                .and_then(|mut file| file.write_all(&key).and_then(|()| file.sync_all()))
                .map_err(fail("write the key"))?;
            // A link, unlike a rename, does not replace the key of one who came first.
            match fs::hard_link(&temporary, &path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(fail("write the key")(error));
                }
                _ => drop(guard),
            }
        }
        check_owned(&path, false)?;
        let bytes = fs::read(&path).map_err(fail("read the key"))?;
        match <[u8; KEY_BYTES]>::try_from(bytes) {
            Ok(key) => Ok(Self(key)),
            Err(_) => Err(Error::CacheUnsafe {
                path,
                reason: "it is no key: remove the folder, it will be made again",
            }),
        }
    }

    /// BLAKE3 with a key, and not HMAC-SHA-256: code of some size is read when a node starts, and many
    /// processors have no instructions for SHA-256.
    fn hasher(&self, entry: &str) -> Hasher {
        let mut hasher = Hasher::new_keyed(&self.0);
        hasher.update(entry.as_bytes()).update(&[0]);
        hasher
    }

    /// The keyed digest of `parts` as the content of `entry`.
    pub(crate) fn mac(&self, entry: &str, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        let mut hasher = self.hasher(entry);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize().into()
    }

    /// Whether `file`, read from where it stands, is the content of `entry` as this key signed it. It
    /// goes through a buffer of fixed size: the code of an interpreter is tens of megabytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn verify(&self, entry: &str, file: &mut impl Read) -> io::Result<bool> {
        let mut hasher = self.hasher(entry);
        let mut buffer = vec![0; BUFFER_BYTES];
        // What may be the end of the file, mark and digest, waits at the start of the buffer.
        let mut held = 0;
        loop {
            let room = buffer.get_mut(held..).unwrap_or_default();
            let read = match file.read(room) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let filled = held + read;
            if read == 0 {
                break;
            }
            let sure = filled.saturating_sub(MAC_BYTES + MARK.len());
            hasher.update(buffer.get(..sure).unwrap_or_default());
            buffer.copy_within(sure..filled, 0);
            held = filled - sure;
        }
        let end = buffer.get(..held).unwrap_or_default();
        let Some((mark, mac)) = end.split_last_chunk::<MAC_BYTES>() else {
            return Ok(false);
        };
        hasher.update(mark);
        // Such digests are compared in constant time.
        Ok(mark == MARK && hasher.finalize() == *mac)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_ours_whole_and_under_its_own_name_only_however_it_is_read() {
        /// Gives a few bytes at a time.
        struct Slow<'a>(&'a [u8], usize);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = buffer.len().min(self.1);
                self.0.read(&mut buffer[..count])
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let key = Key::open(folder.path()).unwrap();
        for size in [
            0,
            1,
            39,
            40,
            41,
            BUFFER_BYTES - 40,
            BUFFER_BYTES,
            BUFFER_BYTES * 2 + 7,
        ] {
            let content: Vec<u8> = (0..size).map(|byte| (byte % 251) as u8).collect();
            let mac = key.mac("entry", &[&content, MARK]);
            let file = [&content[..], MARK, &mac].concat();
            for step in [1_000, 4_099, usize::MAX] {
                assert!(
                    key.verify("entry", &mut Slow(&file, step)).unwrap(),
                    "{size}"
                );
                assert!(!key.verify("other", &mut Slow(&file, step)).unwrap());
                let short = &file[..file.len() - 1];
                assert!(!key.verify("entry", &mut Slow(short, step)).unwrap());
                let mut changed = file.clone();
                changed[size / 2] ^= 1;
                assert!(!key.verify("entry", &mut Slow(&changed, step)).unwrap());
            }
        }
    }

    #[test]
    fn who_opens_a_new_folder_together_gets_one_key() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let macs: Vec<_> = std::thread::scope(|scope| {
                let open = || Key::open(folder.path()).unwrap().mac("entry", &[b"x"]);
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
                threads.into_iter().map(|it| it.join().unwrap()).collect()
            });
            assert!(macs.iter().all(|mac| *mac == macs[0]));
        }
    }
}

//! Opening a store file: creating it whole, telling damage from use, repairing with progress.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageBackend};

use crate::codec::{self, Kind, Meta};
use crate::layout::{
    FORMAT, META, META_FORMAT, META_STORE, QUEUE, SCHEMAS, STATS, TABLES, TICKETS, WATERMARKS,
};
use crate::shared::{Shared, panic_text};
use crate::staged::{Held, Staged};
use crate::{Error, Result};

/// redb's first bytes.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

/// What opening is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenProgress {
    /// The file was not closed cleanly and is being verified.
    Repairing {
        /// How much is done.
        percent: u8,
    },
}

/// Told of progress.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(OpenProgress);

/// Looks whether a database is a sound store; if not, the file is left as it was.
pub(crate) type Accept<'a> = &'a mut dyn FnMut(&Database) -> Result<()>;

/// Opens the database again and again: at the start, and after an I/O error.
pub(crate) trait Opener: Send + Sync {
    fn open(&self, shared: &Shared, progress: Progress<'_>, accept: Accept<'_>) -> Result<Held>;
}

/// Opens a file.
pub(crate) struct FileOpener {
    pub(crate) path: PathBuf,
    pub(crate) cache_bytes: u64,
}

/// Opens backends made by a function.
pub(crate) struct BackendOpener<F> {
    pub(crate) make: F,
    pub(crate) cache_bytes: u64,
}

// === impl openers ===

impl Opener for FileOpener {
    fn open(&self, shared: &Shared, progress: Progress<'_>, accept: Accept<'_>) -> Result<Held> {
        let io = |action| {
            move |source| Error::Io {
                path: shared.path.clone(),
                action,
                source,
            }
        };
        if !self.path.try_exists().map_err(io("look for the file"))? {
            self.create(shared)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(io("open the file"))?;
        let mut magic = [0; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Ok(()) if magic == MAGIC => {}
            Ok(()) => return Err(shared.damaged("it is no store file".to_owned())),
            Err(_) => return Err(shared.damaged("it is empty or cut short".to_owned())),
        }
        let backend = FileBackend::new(file).map_err(|error| refused(shared, error))?;
        open_backend(shared, (backend, self.cache_bytes), progress, accept)
    }
}

impl FileOpener {
    /// Makes a whole store beside the path and then gives it its name, so that a file of that name
    /// is always complete.
    fn create(&self, shared: &Shared) -> Result<()> {
        let io = |action| {
            move |source| Error::Io {
                path: shared.path.clone(),
                action,
                source,
            }
        };
        let mut name = self.path.clone().into_os_string();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        name.push(format!(".new-{}-{count}", std::process::id()));
        let fresh = PathBuf::from(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&fresh)
            .map_err(io("create the file"))?;
        let backend = FileBackend::new(file).map_err(|error| refused(shared, error))?;
        let database = open_backend(shared, (backend, 1 << 20), &mut |_| {}, &mut |_| Ok(()))?;
        drop(database);
        // A link never replaces a file that another process has put there meanwhile.
        let linked = std::fs::hard_link(&fresh, &self.path);
        let done = match linked {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            // Some file systems have no links.
            Err(_) => std::fs::rename(&fresh, &self.path),
            Ok(()) => Ok(()),
        };
        // What remains is a second name, or a file of ours that nobody needs.
        let _ = std::fs::remove_file(&fresh);
        done.map_err(io("name the file"))?;
        sync_folder(&self.path).map_err(io("sync the folder"))
    }
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

impl<B: StorageBackend, F: Fn() -> Option<B> + Send + Sync> Opener for BackendOpener<F> {
    fn open(&self, shared: &Shared, progress: Progress<'_>, accept: Accept<'_>) -> Result<Held> {
        let backend = (self.make)().ok_or_else(|| shared.poisoned_error())?;
        open_backend(shared, (backend, self.cache_bytes), progress, accept)
    }
}

// === the database ===

fn refused(shared: &Shared, error: DatabaseError) -> Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen => Error::InUse {
            path: shared.path.clone(),
        },
        DatabaseError::Storage(redb::StorageError::Io(source)) => match source.kind() {
            // What the header promises is not in the file.
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                shared.damaged(source.to_string())
            }
            _ => Error::Io {
                path: shared.path.clone(),
                action: "open",
                source,
            },
        },
        other => shared.damaged(other.to_string()),
    }
}

/// Opens the database in `backend` and stamps it if it is new. redb verifies with assertions in
/// places: a panic is damage.
fn open_backend(
    shared: &Shared,
    (backend, cache_bytes): (impl StorageBackend, u64),
    progress: Progress<'_>,
    accept: Accept<'_>,
) -> Result<Held> {
    let io = |source| Error::Io {
        path: shared.path.clone(),
        action: "open",
        source,
    };
    let staged = Staged::new(backend).map_err(io)?;
    let backend = staged.clone();
    let (sender, receiver) = mpsc::sync_channel(16);
    let database = std::thread::scope(|scope| {
        let opening = scope.spawn(move || {
            let mut builder = Builder::new();
            builder.set_cache_size(usize::try_from(cache_bytes).unwrap_or(usize::MAX));
            builder.set_repair_callback(move |session| {
                // Progress is only news: when nobody listens fast enough, some is lost.
                let _ = sender.try_send(session.progress());
            });
            builder.create_with_backend(backend).map(Held::new)
        });
        for done in receiver {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and 100"
            )]
            let percent = (done.clamp(0.0, 1.0) * 100.0) as u8;
            progress(OpenProgress::Repairing { percent });
        }
        opening.join()
    });
    match database {
        Ok(Ok(held)) => {
            if let Some(database) = held.get() {
                shared.guard(|| stamp(shared, database))?;
                accept(database)?;
            }
            staged.accept().map_err(io)?;
            Ok(held)
        }
        Ok(Err(error)) => Err(refused(shared, error)),
        Err(panic) => Err(shared.damaged(panic_text(&*panic))),
    }
}

/// Checks the format of a store, or makes an empty database one.
fn stamp(shared: &Shared, database: &Database) -> Result<()> {
    let txn = database
        .begin_read()
        .map_err(shared.fail("begin to read"))?;
    if txn
        .list_tables()
        .map_err(shared.fail("list tables"))?
        .next()
        .is_none()
    {
        return initialise(shared, database);
    }
    let meta = match txn.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => {
            return Err(shared.damaged("it is a database of another program".to_owned()));
        }
        Err(error) => return Err(shared.fail("open meta")(error)),
    };
    let stamp = meta
        .get(META_FORMAT)
        .map_err(shared.fail("read the format"))?;
    let format = stamp.and_then(|bytes| bytes.value().try_into().ok().map(u32::from_le_bytes));
    match format {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(Error::FormatTooNew {
            path: shared.path.clone(),
            found,
            supported: FORMAT,
        }),
        _ => Err(shared.damaged("it has no format stamp".to_owned())),
    }
}

fn initialise(shared: &Shared, database: &Database) -> Result<()> {
    let txn = database
        .begin_write()
        .map_err(shared.fail("begin to write"))?;
    {
        let mut table = txn.open_table(META).map_err(shared.fail("create meta"))?;
        let meta = Meta {
            commit: 0,
            ticket_next: 1,
            table_next: 1,
            queued: 0,
        };
        let record = codec::encode(Kind::Meta, META_STORE.as_bytes(), &meta).map_err(|_error| {
            Error::Internal {
                what: "encode meta".to_owned(),
            }
        })?;
        for (key, bytes) in [
            (META_FORMAT, FORMAT.to_le_bytes().as_slice()),
            (META_STORE, record.as_slice()),
        ] {
            table
                .insert(key, bytes)
                .map_err(shared.fail("write meta"))?;
        }
    }
    for numbered in [TABLES, STATS] {
        txn.open_table(numbered)
            .map_err(shared.fail("create tables"))?;
    }
    for numbered in [SCHEMAS, QUEUE, TICKETS] {
        txn.open_table(numbered)
            .map_err(shared.fail("create tables"))?;
    }
    txn.open_table(WATERMARKS)
        .map_err(shared.fail("create tables"))?;
    txn.commit().map_err(shared.fail("commit"))
}

/// The record about the whole store.
pub(crate) fn read_meta(shared: &Shared, txn: &ReadTransaction) -> Result<Meta> {
    let table = txn.open_table(META).map_err(shared.fail("open meta"))?;
    let bytes = table
        .get(META_STORE)
        .map_err(shared.fail("read meta"))?
        .ok_or_else(|| shared.damaged("its main record is missing".to_owned()))?;
    codec::decode(Kind::Meta, META_STORE.as_bytes(), bytes.value())
        .map_err(|_error| shared.damaged("its main record fails its checksum".to_owned()))
}

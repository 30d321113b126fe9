//! Key-value stores: one redb file, a table for each label, one writer that commits many writes at
//! once.
//!
//! The file, format 1: table `kv/<label>` from key (text) to value (bytes), one for each store; table
//! `usage` from label to bytes of keys and values (`u64`) and keys (`u64`), kept in the transaction
//! that changes them, so that a quota is judged without counting.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError,
    WriteTransaction,
};
use tokio::sync::oneshot;

use crate::bounds::KeyValueLimits;
use crate::error::{Error, Result};

const USAGE: TableDefinition<'static, &str, (u64, u64)> = TableDefinition::new("usage");
/// Writes that one transaction takes.
const GROUP_MAX: usize = 256;

/// Key-value stores of all components of a node.
#[derive(Debug)]
pub struct KeyValue {
    path: PathBuf,
    database: Arc<Database>,
    limits: KeyValueLimits,
    sender: Mutex<Option<SyncSender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
}

/// Why a guest's call came to nothing; for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) String);

struct Job {
    label: String,
    change: Change,
    answer: oneshot::Sender<Result<(), Refused>>,
}

enum Change {
    Set(String, Vec<u8>),
    Delete(String),
}

impl KeyValue {
    /// Bytes of a store's label.
    pub const LABEL_BYTES_MAX: usize = 64;

    /// Opens the file, creating it where it is not there, and starts the writer.
    ///
    /// # Errors
    /// [`Error::KeyValue`] when the file cannot be used, as when another process holds it.
    pub fn open(path: &Path, limits: KeyValueLimits) -> Result<Self> {
        let failed = |action: &'static str| {
            let path = path.to_owned();
            move |source: redb::Error| Error::KeyValue {
                path,
                action,
                source: Box::new(source),
            }
        };
        let database =
            Database::create(path).map_err(|error| failed("open the file")(error.into()))?;
        let database = Arc::new(database);
        let (sender, receiver) = sync_channel(limits.queue_max.max(1));
        let run = Writer {
            database: Arc::clone(&database),
            limits,
        };
        let writer = std::thread::Builder::new()
            .name("galley-kv".to_owned())
            .spawn(move || run.run(&receiver))
            .map_err(|error| failed("start the writer")(redb::Error::Io(error)))?;
        Ok(Self {
            path: path.to_owned(),
            database,
            limits,
            sender: Mutex::new(Some(sender)),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bounds of every store.
    #[must_use]
    pub fn limits(&self) -> &KeyValueLimits {
        &self.limits
    }

    /// What the store `label` holds; nothing for one that was never written to.
    ///
    /// # Errors
    /// [`Error::KeyValue`] when it cannot be read.
    pub fn usage(&self, label: &str) -> Result<StoreUsage> {
        let read = || -> Result<StoreUsage, redb::Error> {
            let transaction = self.database.begin_read()?;
            let table = match transaction.open_table(USAGE) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(StoreUsage::default()),
                Err(error) => return Err(error.into()),
            };
            let found = table.get(label)?.map(|usage| usage.value());
            let (bytes, keys) = found.unwrap_or_default();
            Ok(StoreUsage { bytes, keys })
        };
        read().map_err(|source| Error::KeyValue {
            path: self.path.clone(),
            action: "read the usage",
            source: Box::new(source),
        })
    }

    /// Stops the writer once what waits is on the disk.
    pub fn close(&self) {
        drop(lock(&self.sender).take());
        if let Some(writer) = lock(&self.writer).take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of key-value stores ended in a panic");
        }
    }

    pub(crate) fn get(&self, label: &str, key: &str) -> Result<Option<Vec<u8>>, Refused> {
        self.read(label, None, |table| {
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    pub(crate) fn exists(&self, label: &str, key: &str) -> Result<bool, Refused> {
        self.read(label, false, |table| Ok(table.get(key)?.is_some()))
    }

    /// All keys, if they take no more than `bytes_max` together.
    pub(crate) fn keys(&self, label: &str, bytes_max: usize) -> Result<Vec<String>, Refused> {
        let keys = self.read(label, Some(Vec::new()), |table| {
            let mut keys = Vec::new();
            let mut bytes = 0_usize;
            for entry in table.iter()? {
                let key = entry?.0.value().to_owned();
                bytes = bytes.saturating_add(key.len());
                if bytes > bytes_max {
                    return Ok(None);
                }
                keys.push(key);
            }
            Ok(Some(keys))
        })?;
        keys.ok_or_else(|| {
            Refused(format!(
                "the keys of store '{label}' take more than {bytes_max} bytes (max-transfer)"
            ))
        })
    }

    pub(crate) async fn set(
        &self,
        label: &str,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Refused> {
        let limits = &self.limits;
        let sizes = [
            ("the key", "max-key", key.len(), limits.key_bytes_max),
            (
                "the value",
                "max-value",
                value.len(),
                limits.value_bytes_max,
            ),
        ];
        for (what, setting, size, max) in sizes {
            if size > max {
                return Err(Refused(format!(
                    "{what} has {size} bytes, more than {max} ({setting})"
                )));
            }
        }
        self.write(label, Change::Set(key, value)).await
    }

    pub(crate) async fn delete(&self, label: &str, key: String) -> Result<(), Refused> {
        self.write(label, Change::Delete(key)).await
    }

    async fn write(&self, label: &str, change: Change) -> Result<(), Refused> {
        let (answer, answered) = oneshot::channel();
        let job = Job {
            label: label.to_owned(),
            change,
            answer,
        };
        match lock(&self.sender)
            .as_ref()
            .map(|sender| sender.try_send(job))
        {
            Some(Ok(())) => {}
            Some(Err(TrySendError::Full(_))) => {
                let max = self.limits.queue_max;
                return Err(Refused(format!(
                    "too many writes wait for the disk ({max}, max-store-queue); try again later"
                )));
            }
            Some(Err(TrySendError::Disconnected(_))) | None => return Err(closed()),
        }
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    fn read<T>(
        &self,
        label: &str,
        empty: T,
        ask: impl FnOnce(&redb::ReadOnlyTable<&'static str, &'static [u8]>) -> Result<T, redb::Error>,
    ) -> Result<T, Refused> {
        let read = || -> Result<T, redb::Error> {
            let transaction = self.database.begin_read()?;
            let name = table_name(label);
            match transaction.open_table(definition(&name)) {
                Ok(table) => ask(&table),
                Err(TableError::TableDoesNotExist(_)) => Ok(empty),
                Err(error) => Err(error.into()),
            }
        };
        read().map_err(|error| failed(&error))
    }
}

impl Drop for KeyValue {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn table_name(label: &str) -> String {
    format!("kv/{label}")
}

fn definition(name: &str) -> TableDefinition<'_, &'static str, &'static [u8]> {
    TableDefinition::new(name)
}

fn closed() -> Refused {
    Refused("the node is shutting down".to_owned())
}

/// What a guest is told of a fault of the disk; the log has the fault.
fn failed(error: &redb::Error) -> Refused {
    tracing::error!(%error, "key-value store failed");
    Refused("the store failed; the node's log has the reason".to_owned())
}

// === impl Writer ===

struct Writer {
    database: Arc<Database>,
    limits: KeyValueLimits,
}

impl Writer {
    fn run(&self, receiver: &Receiver<Job>) {
        while let Ok(first) = receiver.recv() {
            let mut jobs = vec![first];
            jobs.extend(receiver.try_iter().take(GROUP_MAX - 1));
            match self.commit(&jobs) {
                Ok(outcomes) => {
                    for (job, outcome) in jobs.into_iter().zip(outcomes) {
                        // Whoever asked may have gone.
                        drop(job.answer.send(outcome));
                    }
                }
                Err(error) => {
                    let refused = failed(&error);
                    for job in jobs {
                        drop(job.answer.send(Err(refused.clone())));
                    }
                }
            }
        }
    }

    /// Applies all jobs in one transaction with one sync. What passes a quota is left out.
    fn commit(&self, jobs: &[Job]) -> Result<Vec<Result<(), Refused>>, redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(self.apply(&transaction, job)?);
        }
        transaction.commit()?;
        Ok(outcomes)
    }

    fn apply(
        &self,
        transaction: &WriteTransaction,
        job: &Job,
    ) -> Result<Result<(), Refused>, redb::Error> {
        let name = table_name(&job.label);
        let mut table = transaction.open_table(definition(&name))?;
        let mut usages = transaction.open_table(USAGE)?;
        let label = job.label.as_str();
        let found = usages.get(label)?.map(|usage| usage.value());
        let (bytes, keys) = found.unwrap_or_default();
        let (key, value) = match &job.change {
            Change::Set(key, value) => (key, Some(value)),
            Change::Delete(key) => (key, None),
        };
        let size = |value: usize| (key.len() + value) as u64;
        let before = table
            .get(key.as_str())?
            .map(|held| size(held.value().len()));
        let kept = bytes.saturating_sub(before.unwrap_or(0));
        let kept_keys = keys.saturating_sub(u64::from(before.is_some()));
        let after = match value {
            None => {
                table.remove(key.as_str())?;
                (kept, kept_keys)
            }
            Some(value) => {
                let after = (kept + size(value.len()), kept_keys + 1);
                if let Err(refused) = self.check(label, after) {
                    return Ok(Err(refused));
                }
                table.insert(key.as_str(), value.as_slice())?;
                after
            }
        };
        usages.insert(label, after)?;
        Ok(Ok(()))
    }

    fn check(&self, label: &str, (bytes, keys): (u64, u64)) -> Result<(), Refused> {
        let limits = [
            (bytes, self.limits.store_bytes_max, "bytes", "max-store"),
            (keys, self.limits.keys_max, "keys", "max-store-keys"),
        ];
        for (wanted, max, what, setting) in limits {
            if wanted > max {
                return Err(Refused(format!(
                    "store '{label}' would hold {wanted} {what}, more than {max} ({setting} under \
                     [application.trigger.http] in spin.toml)"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> KeyValueLimits {
        KeyValueLimits {
            store_bytes_max: 100,
            keys_max: 3,
            key_bytes_max: 10,
            value_bytes_max: 50,
            queue_max: 8,
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn what_was_set_is_there_after_a_restart_and_other_stores_do_not_see_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key-value.redb");
        let open = || KeyValue::open(&path, limits()).unwrap();
        let stores = open();
        assert_eq!(stores.get("a", "k"), Ok(None));
        run(stores.set("a", "k".into(), vec![1, 2])).unwrap();
        drop(stores);
        let stores = open();
        assert_eq!(stores.get("a", "k"), Ok(Some(vec![1, 2])));
        assert_eq!(stores.exists("a", "k"), Ok(true));
        assert_eq!(stores.get("b", "k"), Ok(None));
        assert_eq!(stores.keys("a", 100), Ok(vec!["k".to_owned()]));
        assert_eq!(stores.usage("a").unwrap(), StoreUsage { bytes: 3, keys: 1 });
        run(stores.delete("a", "k".into())).unwrap();
        run(stores.delete("a", "k".into())).unwrap();
        assert_eq!(stores.usage("a").unwrap(), StoreUsage::default());
    }

    #[test]
    fn quotas_are_of_each_store_and_name_their_setting() {
        let folder = tempfile::tempdir().unwrap();
        let stores = KeyValue::open(&folder.path().join("kv"), limits()).unwrap();
        let set = |label: &str, key: &str, bytes: usize| {
            run(stores.set(label, key.into(), vec![0; bytes])).map_err(|refused| refused.0)
        };
        let refused = |outcome: Result<(), String>, setting: &str| {
            let text = outcome.unwrap_err();
            assert!(text.contains(setting), "{text}");
        };
        refused(set("a", "much-too-long", 1), "max-key");
        refused(set("a", "k", 51), "max-value");
        set("a", "k1", 40).unwrap();
        set("a", "k2", 40).unwrap();
        refused(set("a", "k3", 40), "max-store");
        // Writing anew what is there takes no more room.
        set("a", "k2", 40).unwrap();
        set("a", "k3", 1).unwrap();
        refused(set("a", "k4", 1), "max-store-keys");
        set("b", "k4", 40).unwrap();
        assert_eq!(stores.usage("a").unwrap().keys, 3);
    }

    #[test]
    fn a_closed_store_refuses_writes() {
        let folder = tempfile::tempdir().unwrap();
        let stores = KeyValue::open(&folder.path().join("kv"), limits()).unwrap();
        stores.close();
        assert_eq!(run(stores.set("a", "k".into(), vec![])), Err(closed()));
    }
}

//! A centre in memory for tests of what follows it.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard};

use arrow_array::types::{Float32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::DataType;
use galley_node::StoredView;
use galley_types::EventTime;
use serde_json::{Map, Value, json};

use super::key::{KeyPair, hex, sha256};
use super::part::schema;
use super::release::content_path;
use super::sign::{self, Stamp};
use super::{Role, TIMESTAMP, path_of};
use crate::remote::{Ask, Body, Fetched, Remote, RemoteError, RemoteErrorKind};

const HOUR: i64 = 3_600_000_000;

/// Files by their paths.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Files in memory; clones are the same files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<Files>>);

/// A row of the sample view: driver, event time, rate.
pub(crate) type Row = (i64, i64, i64);

/// Publishes releases of one registry.
pub(crate) struct Centre {
    keys: BTreeMap<Role, KeyPair>,
    versions: BTreeMap<Role, u64>,
    files: Map<String, Value>,
    pub(crate) memory: Memory,
}

impl Memory {
    pub(crate) fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap()
    }
}

impl Remote for Memory {
    fn read(&self, path: &str, ask: &Ask) -> Result<Fetched, RemoteError> {
        read(&self.files(), path, ask)
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}

/// Reads a file as a web server would give it.
pub(crate) fn read(files: &Files, path: &str, ask: &Ask) -> Result<Fetched, RemoteError> {
    let Some(bytes) = files.get(path) else {
        return Err(RemoteError::new(
            RemoteErrorKind::NotFound,
            path,
            "not there",
        ));
    };
    let tag = Some(hex(&sha256(bytes)));
    if tag == ask.unless {
        return Ok(Fetched::Unchanged);
    }
    let from = ask.from.min(bytes.len() as u64);
    let rest = bytes[from as usize..].to_vec();
    Ok(Fetched::Body(Body {
        tag,
        from,
        size: Some(bytes.len() as u64),
        bytes: Box::new(Cursor::new(rest)),
    }))
}

fn pair() -> KeyPair {
    KeyPair::from_pkcs8(&KeyPair::generate().unwrap()).unwrap()
}

impl Centre {
    /// A centre with a root and a registry, nothing published yet.
    pub(crate) fn new(registry: &[u8], now: EventTime) -> Self {
        let mut centre = Self {
            keys: Role::ALL.iter().map(|role| (*role, pair())).collect(),
            versions: Role::ALL.iter().map(|role| (*role, 0)).collect(),
            files: Map::new(),
            memory: Memory::default(),
        };
        centre.put_file("registry.pb", registry, &json!({ "kind": "registry" }));
        centre.put_root(now, None);
        centre
    }

    /// The first root, as operators bring it to their nodes.
    pub(crate) fn root(&self) -> Vec<u8> {
        self.memory.files()[&path_of(Role::Root, 1)].clone()
    }

    /// The version of the last release.
    pub(crate) fn version(&self) -> u64 {
        self.versions[&Role::Targets]
    }

    /// Gives a role a new key.
    pub(crate) fn rotate(&mut self, role: Role, now: EventTime) {
        let old = self.keys.insert(role, pair());
        self.put_root(now, old.filter(|_| role == Role::Root).as_ref());
        self.sign(now);
    }

    /// Adds a batch, cut into parts of `part` rows; it is published by [`Self::release`].
    pub(crate) fn batch(
        &mut self,
        view: &StoredView,
        place: (u64, u64),
        rows: &[Row],
        part: usize,
    ) {
        let (epoch, sequence) = place;
        let mode = if sequence == 0 { "replace" } else { "upsert" };
        if sequence == 0 {
            let prefix = format!("batches/{}/", view.name);
            self.files.retain(|path, _| !path.starts_with(&prefix));
        }
        let parts: Vec<&[Row]> = rows.chunks(part).collect();
        for (at, rows) in parts.iter().enumerate() {
            let galley = json!({
                "kind": "batch", "project": "rides", "view": view.name, "epoch": epoch,
                "sequence": sequence, "mode": mode, "part": at, "parts": parts.len(),
                "rows": rows.len(), "end": 0,
            });
            let path = format!("batches/{}/{epoch}-{sequence}/{at}.arrow", view.name);
            self.put_file(&path, &encode(view, rows), &galley);
        }
    }

    /// Publishes what was added.
    pub(crate) fn release(&mut self, now: EventTime) -> u64 {
        let stamp = self.stamp(Role::Targets, now, 7 * 24);
        let published = sign::seconds(now);
        let galley = json!({ "format": 1, "published_at": published, "project": "rides" });
        let body = sign::targets(stamp, galley, self.files.clone());
        self.put(Role::Targets, &body);
        self.sign(now);
        self.version()
    }

    /// Signs what is published anew.
    pub(crate) fn sign(&mut self, now: EventTime) {
        if self.version() == 0 {
            return;
        }
        let targets = self.bytes(Role::Targets);
        let stamp = self.stamp(Role::Snapshot, now, 7 * 24);
        let body = sign::snapshot(stamp, (self.version(), &targets));
        self.put(Role::Snapshot, &body);
        let snapshot = self.bytes(Role::Snapshot);
        let stamp = self.stamp(Role::Timestamp, now, 24);
        let named = (self.versions[&Role::Snapshot], snapshot.as_slice());
        let body = sign::timestamp(stamp, now, named);
        self.put(Role::Timestamp, &body);
    }

    fn put_root(&mut self, now: EventTime, old: Option<&KeyPair>) {
        let stamp = self.stamp(Role::Root, now, 365 * 24);
        let keys = self.keys.iter();
        let roles: Vec<_> = keys
            .map(|(role, key)| (*role, vec![key.public()], 1))
            .collect();
        let body = sign::root(stamp, &roles).unwrap();
        let mut signers = vec![&self.keys[&Role::Root]];
        signers.extend(old);
        let bytes = sign::signed(&body, &signers).unwrap();
        let path = path_of(Role::Root, self.versions[&Role::Root]);
        self.memory.files().insert(path, bytes);
    }

    fn stamp(&mut self, role: Role, now: EventTime, hours: i64) -> Stamp {
        let version = self.versions.get_mut(&role).unwrap();
        *version += 1;
        Stamp {
            version: *version,
            expires: EventTime(now.0 + hours * HOUR),
        }
    }

    fn put(&self, role: Role, body: &Value) {
        let bytes = sign::signed(body, &[&self.keys[&role]]).unwrap();
        let path = self.path(role);
        self.memory.files().insert(path, bytes);
    }

    fn path(&self, role: Role) -> String {
        match role {
            Role::Timestamp => TIMESTAMP.to_owned(),
            role => path_of(role, self.versions[&role]),
        }
    }

    fn bytes(&self, role: Role) -> Vec<u8> {
        self.memory.files()[&self.path(role)].clone()
    }

    fn put_file(&mut self, name: &str, bytes: &[u8], galley: &Value) {
        let digest = sha256(bytes);
        let target = sign::target((bytes.len() as u64, &digest), galley);
        self.files.insert(name.to_owned(), target);
        let path = content_path(name, &digest);
        self.memory.files().insert(path, bytes.to_vec());
    }
}

/// Rows of a view keyed by `driver_id` whose `conv_rate` is the row's rate, all else null.
fn encode(view: &StoredView, rows: &[Row]) -> Vec<u8> {
    let schema = Arc::new(schema(&view.join_keys, &view.schema));
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let rate = field.name() == "conv_rate";
        match (field.name().as_str(), field.data_type()) {
            ("event_timestamp", _) => {
                let times = rows.iter().map(|row| row.1);
                let column = PrimitiveArray::<TimestampMicrosecondType>::from_iter_values(times);
                Arc::new(column.with_timezone("UTC"))
            }
            ("created", _) => {
                let none = vec![None::<i64>; rows.len()];
                let column = PrimitiveArray::<TimestampMicrosecondType>::from(none);
                Arc::new(column.with_timezone("UTC"))
            }
            ("driver_id", _) => Arc::new(PrimitiveArray::<Int64Type>::from_iter_values(
                rows.iter().map(|row| row.0),
            )),
            (_, DataType::Float32) => Arc::new(
                rows.iter()
                    .map(|row| rate.then_some(row.2 as f32))
                    .collect::<PrimitiveArray<Float32Type>>(),
            ),
            (_, DataType::Int32) => {
                let none = rows.iter().map(|_| None::<i32>);
                Arc::new(none.collect::<PrimitiveArray<Int32Type>>())
            }
            (_, DataType::Int64) => {
                let none = rows.iter().map(|_| None::<i64>);
                Arc::new(none.collect::<PrimitiveArray<Int64Type>>())
            }
            (name, other) => panic!("column {name} of {other}"),
        }
    });
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

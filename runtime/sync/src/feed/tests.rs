//! A feed in memory, and every way in which it can lie.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex};

use galley_types::EventTime;
use serde_json::{Map, Value, json};

use super::key::{KeyPair, hex, sha256};
use super::release::content_path;
use super::sign::{self, Stamp};
use super::{FeedError, Poll, ROOTS_MAX, Release, Role, TIMESTAMP, Trusted, path_of, poll};
use crate::remote::{Ask, Body, Fetched, Remote, RemoteError, RemoteErrorKind};

const HOUR: i64 = 3_600_000_000;
/// When the feed of these tests begins.
const T0: EventTime = EventTime(1_790_000_000_000_000);

fn at(hours: i64) -> EventTime {
    EventTime(T0.0 + hours * HOUR)
}

/// Files in memory; reads are counted.
#[derive(Clone, Debug, Default)]
struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    reads: Arc<Mutex<Vec<String>>>,
    endless: Option<String>,
}

impl Remote for Memory {
    fn read(&self, path: &str, ask: &Ask) -> Result<Fetched, RemoteError> {
        self.reads.lock().unwrap().push(path.to_owned());
        if self.endless.as_deref() == Some(path) {
            return Ok(Fetched::Body(Body {
                tag: None,
                from: 0,
                size: None,
                bytes: Box::new(std::io::repeat(b' ')),
            }));
        }
        let Some(bytes) = self.files.get(path) else {
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
        Ok(Fetched::Body(Body {
            tag,
            from: 0,
            size: None,
            bytes: Box::new(Cursor::new(bytes.clone())),
        }))
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}

/// A publisher whose every step can be bent.
struct Centre {
    keys: BTreeMap<Role, Vec<KeyPair>>,
    threshold: u32,
    now: EventTime,
    versions: BTreeMap<Role, u64>,
    files: Map<String, Value>,
    galley: Value,
    memory: Memory,
}

fn pair() -> KeyPair {
    KeyPair::from_pkcs8(&KeyPair::generate().unwrap()).unwrap()
}

impl Centre {
    /// A feed with a registry and a chain of two batches, published once at [`T0`].
    fn new() -> Self {
        let mut centre = Self {
            keys: Role::ALL.iter().map(|role| (*role, vec![pair()])).collect(),
            threshold: 1,
            now: T0,
            versions: Role::ALL.iter().map(|role| (*role, 1)).collect(),
            files: Map::new(),
            galley: json!({"format": 1, "published_at": "2026-09-21T14:13:20Z", "project": "p"}),
            memory: Memory::default(),
        };
        centre.add("registry.pb", b"registry", &json!({"kind": "registry"}));
        centre.add_batch(1, 0, "replace");
        centre.add_batch(1, 1, "upsert");
        centre.put_root(1, &[Role::Root]);
        centre.publish();
        centre
    }

    fn add(&mut self, name: &str, bytes: &[u8], galley: &Value) {
        let digest = sha256(bytes);
        let file = sign::target((bytes.len() as u64, &digest), galley);
        self.files.insert(name.to_owned(), file);
        let path = content_path(name, &digest);
        self.memory.files.insert(path, bytes.to_vec());
    }

    fn add_batch(&mut self, epoch: u64, sequence: u64, mode: &str) {
        let galley = json!({
            "kind": "batch", "project": "p", "view": "v", "epoch": epoch, "sequence": sequence,
            "mode": mode, "part": 0, "parts": 1, "rows": 3, "end": T0.0 + sequence.cast_signed(),
        });
        self.add(
            &format!("batches/v/{epoch}-{sequence}/0.arrow"),
            b"rows",
            &galley,
        );
    }

    fn key(&self, role: Role) -> Vec<&KeyPair> {
        self.keys[&role].iter().collect()
    }

    fn roles(&self) -> Vec<(Role, Vec<Value>, u32)> {
        let roles = self.keys.iter();
        roles
            .map(|(role, keys)| {
                let threshold = if *role == Role::Timestamp {
                    self.threshold
                } else {
                    1
                };
                (*role, keys.iter().map(KeyPair::public).collect(), threshold)
            })
            .collect()
    }

    fn stamp(&self, role: Role, hours: i64) -> Stamp {
        Stamp {
            version: self.versions[&role],
            expires: EventTime(self.now.0 + hours * HOUR),
        }
    }

    /// Puts root `version`, signed by the keys of these roles.
    fn put_root(&mut self, version: u64, signers: &[Role]) {
        self.versions.insert(Role::Root, version);
        let body = sign::root(self.stamp(Role::Root, 365 * 24), &self.roles()).unwrap();
        let keys: Vec<_> = signers.iter().flat_map(|role| self.key(*role)).collect();
        self.put(Role::Root, sign::signed(&body, &keys).unwrap());
    }

    /// A new key for `role`, and the root that says so.
    fn rotate(&mut self, role: Role) {
        let old = self.keys.insert(role, vec![pair()]).unwrap();
        let version = self.versions[&Role::Root] + 1;
        self.versions.insert(Role::Root, version);
        let body = sign::root(self.stamp(Role::Root, 365 * 24), &self.roles()).unwrap();
        let mut keys = self.key(Role::Root);
        if role == Role::Root {
            keys.extend(&old);
        }
        self.put(Role::Root, sign::signed(&body, &keys).unwrap());
    }

    fn put(&mut self, role: Role, bytes: Vec<u8>) {
        self.memory
            .files
            .insert(path_of(role, self.versions[&role]), bytes);
    }

    fn bytes(&self, role: Role) -> Vec<u8> {
        self.memory.files[&path_of(role, self.versions[&role])].clone()
    }

    fn put_targets(&mut self) {
        let stamp = self.stamp(Role::Targets, 7 * 24);
        let body = sign::targets(stamp, self.galley.clone(), self.files.clone());
        self.put(
            Role::Targets,
            sign::signed(&body, &self.key(Role::Targets)).unwrap(),
        );
    }

    fn put_snapshot(&mut self) {
        let targets = self.bytes(Role::Targets);
        let named = (self.versions[&Role::Targets], targets.as_slice());
        let body = sign::snapshot(self.stamp(Role::Snapshot, 7 * 24), named);
        self.put(
            Role::Snapshot,
            sign::signed(&body, &self.key(Role::Snapshot)).unwrap(),
        );
    }

    fn timestamp_body(&self) -> Value {
        let snapshot = self.bytes(Role::Snapshot);
        let named = (self.versions[&Role::Snapshot], snapshot.as_slice());
        sign::timestamp(self.stamp(Role::Timestamp, 24), self.now, named)
    }

    fn put_timestamp(&mut self) {
        let body = self.timestamp_body();
        self.put(
            Role::Timestamp,
            sign::signed(&body, &self.key(Role::Timestamp)).unwrap(),
        );
    }

    /// All but the root, signed as it should be.
    fn publish(&mut self) {
        self.put_targets();
        self.put_snapshot();
        self.put_timestamp();
    }

    fn next(&mut self, role: Role) {
        *self.versions.get_mut(&role).unwrap() += 1;
    }

    /// The next release, an hour later.
    fn release(&mut self) {
        self.now = EventTime(self.now.0 + HOUR);
        let sequence = self.versions[&Role::Targets] + 1;
        self.add_batch(1, sequence, "upsert");
        for role in [Role::Targets, Role::Snapshot, Role::Timestamp] {
            self.next(role);
        }
        self.publish();
    }

    /// Changes signed metadata and signs it again, and what names it.
    fn bend(&mut self, role: Role, change: impl FnOnce(&mut Value)) {
        let mut file: Value = serde_json::from_slice(&self.bytes(role)).unwrap();
        change(&mut file["signed"]);
        self.put(
            role,
            sign::signed(&file["signed"], &self.key(role)).unwrap(),
        );
        if role == Role::Targets {
            self.put_snapshot();
        }
        if role != Role::Timestamp {
            self.put_timestamp();
        }
    }

    fn trusted(&self) -> Trusted {
        Trusted::new(self.memory.files["metadata/1.root.json"].clone()).unwrap()
    }

    /// What a node that begins now comes to trust.
    fn followed(&self) -> Trusted {
        changed(poll(&self.memory, &self.trusted(), self.now)).0
    }
}

#[track_caller]
fn changed(outcome: Result<Poll, FeedError>) -> (Trusted, Release) {
    match outcome.unwrap() {
        Poll::Changed { trusted, release } => (trusted, release),
        Poll::Unchanged { .. } => panic!("unchanged"),
    }
}

#[test]
fn a_new_node_comes_to_trust_the_release() {
    let centre = Centre::new();
    let (trusted, release) = changed(poll(&centre.memory, &centre.trusted(), T0));
    assert_eq!(release.version, 1);
    assert_eq!(release.project.as_deref(), Some("p"));
    assert_eq!(release.expires_at, at(24));
    assert_eq!(release.registry.size, 8);
    assert_eq!(
        release.registry.path,
        content_path("registry.pb", &sha256(b"registry"))
    );
    let chain: Vec<_> = release
        .batches
        .iter()
        .map(|it| (it.sequence, it.rows))
        .collect();
    assert_eq!(chain, [(0, 3), (1, 3)]);
    assert_eq!(trusted.floor, T0.0);
    assert_eq!(trusted.release().unwrap(), Some(release));
    let kept: Trusted = serde_json::from_str(&serde_json::to_string(&trusted).unwrap()).unwrap();
    assert_eq!(kept, trusted);
}

#[test]
fn an_unchanged_feed_costs_one_read_of_less_than_two_kilobytes() {
    let centre = Centre::new();
    let trusted = centre.followed();
    centre.memory.reads.lock().unwrap().clear();
    assert_eq!(
        poll(&centre.memory, &trusted, at(1)).unwrap(),
        Poll::Unchanged { expired: false }
    );
    assert_eq!(*centre.memory.reads.lock().unwrap(), [TIMESTAMP]);
    assert!(centre.bytes(Role::Timestamp).len() < 2048);
}

#[test]
fn the_next_release_costs_four_reads_and_moves_the_floor() {
    let mut centre = Centre::new();
    let trusted = centre.followed();
    centre.release();
    centre.memory.reads.lock().unwrap().clear();
    let (next, release) = changed(poll(&centre.memory, &trusted, at(1)));
    assert_eq!(release.version, 2);
    assert_eq!(release.batches.len(), 3);
    assert_eq!(next.floor, at(1).0);
    // The timestamp, whether there is a new root, the snapshot, the targets.
    assert_eq!(centre.memory.reads.lock().unwrap().len(), 4);
}

#[test]
fn what_has_expired_is_known_and_goes_on_being_trusted() {
    let centre = Centre::new();
    let trusted = centre.followed();
    assert_eq!(
        poll(&centre.memory, &trusted, at(24)).unwrap(),
        Poll::Unchanged { expired: true }
    );
}

#[test]
fn a_clock_that_stands_still_does_not_make_expired_metadata_fresh() {
    let mut centre = Centre::new();
    let first = centre.memory.clone();
    let begun = centre.followed();
    for _ in 0..30 {
        centre.release();
    }
    let dead = EventTime(0);
    let (trusted, _) = changed(poll(&centre.memory, &begun, dead));
    assert_eq!(trusted.floor, at(30).0);
    // Its state of versions is lost, the floor is not: the first release has expired since.
    let forgetful = Trusted {
        floor: trusted.floor,
        ..centre.trusted()
    };
    let error = poll(&first, &forgetful, dead).unwrap_err();
    assert_eq!(error.code(), "clock_behind");
}

#[test]
fn keys_of_every_role_can_be_rotated() {
    let mut centre = Centre::new();
    let mut trusted = centre.followed();
    for role in Role::ALL {
        centre.rotate(role);
        centre.release();
        trusted = changed(poll(&centre.memory, &trusted, centre.now)).0;
    }
    assert_eq!(trusted.root_version().unwrap(), 5);
    // A node that slept through all of it arrives at the same.
    let late = changed(poll(&centre.memory, &centre.trusted(), centre.now)).0;
    assert_eq!(late, trusted);
}

#[test]
fn new_keys_recover_a_feed_whose_versions_were_run_up() {
    for role in [Role::Timestamp, Role::Snapshot] {
        let mut centre = Centre::new();
        centre.versions.insert(role, u64::from(u32::MAX));
        if role == Role::Timestamp {
            centre.now = at(10 * 365 * 24);
        }
        centre.publish();
        let fooled = changed(poll(&centre.memory, &centre.trusted(), T0)).0;
        centre.now = at(1);
        centre.versions.insert(role, 2);
        centre.put_targets();
        centre.put_snapshot();
        centre.put_timestamp();
        let refused = poll(&centre.memory, &fooled, at(1)).unwrap_err();
        assert!(
            matches!(refused.code(), "rollback" | "clock_behind"),
            "{refused:?}"
        );
        centre.rotate(role);
        centre.versions.insert(Role::Timestamp, 3);
        centre.publish();
        let (trusted, _) = changed(poll(&centre.memory, &fooled, at(1)));
        assert_eq!(trusted.floor, at(1).0);
    }
}

/// One way to lie: what the centre does to its second release, and the code it is refused with.
struct Lie(&'static str, fn(&mut Centre), &'static str);

fn other_signs(centre: &mut Centre, role: Role) {
    let kept = centre.keys.insert(role, vec![pair()]).unwrap();
    match role {
        Role::Targets => centre.publish(),
        Role::Snapshot => {
            centre.put_snapshot();
            centre.put_timestamp();
        }
        _ => centre.put_timestamp(),
    }
    centre.keys.insert(role, kept);
}

/// Puts the signature of one role's key under the id of the right one.
fn forge(centre: &mut Centre, role: Role) {
    let right = centre.keys[&role][0].id().to_owned();
    other_signs(centre, role);
    let text = String::from_utf8(centre.bytes(role)).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    file["signatures"][0]["keyid"] = json!(right);
    centre.put(role, file.to_string().into_bytes());
    match role {
        Role::Targets => {
            centre.put_snapshot();
            centre.put_timestamp();
        }
        Role::Snapshot => centre.put_timestamp(),
        _ => {}
    }
}

fn file(centre: &mut Centre, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
    change(centre.memory.files.get_mut(path).unwrap());
}

const REGISTRY: &str = "/targets/registry.pb";
const BATCH: &str = "/targets/batches~1v~11-2~10.arrow";

fn galley<'v>(body: &'v mut Value, target: &str) -> &'v mut Value {
    body.pointer_mut(&format!("{target}/custom/galley"))
        .unwrap()
}

const LIES: &[Lie] = &[
    Lie(
        "no timestamp",
        |c| drop(c.memory.files.remove(TIMESTAMP)),
        "feed_missing",
    ),
    Lie(
        "no snapshot",
        |c| drop(c.memory.files.remove("metadata/2.snapshot.json")),
        "missing_file",
    ),
    Lie(
        "no targets",
        |c| drop(c.memory.files.remove("metadata/2.targets.json")),
        "missing_file",
    ),
    Lie(
        "another's timestamp",
        |c| other_signs(c, Role::Timestamp),
        "unknown_key",
    ),
    Lie(
        "another's snapshot",
        |c| other_signs(c, Role::Snapshot),
        "unknown_key",
    ),
    Lie(
        "another's targets",
        |c| other_signs(c, Role::Targets),
        "unknown_key",
    ),
    Lie(
        "a forged timestamp",
        |c| forge(c, Role::Timestamp),
        "bad_signature",
    ),
    Lie(
        "a forged snapshot",
        |c| forge(c, Role::Snapshot),
        "bad_signature",
    ),
    Lie(
        "forged targets",
        |c| forge(c, Role::Targets),
        "bad_signature",
    ),
    Lie(
        "no signature",
        |c| {
            let mut it: Value = serde_json::from_slice(&c.bytes(Role::Timestamp)).unwrap();
            it["signatures"] = json!([]);
            c.put(Role::Timestamp, it.to_string().into_bytes());
        },
        "unknown_key",
    ),
    Lie(
        "too many signatures",
        |c| {
            let mut it: Value = serde_json::from_slice(&c.bytes(Role::Timestamp)).unwrap();
            it["signatures"] = json!(vec![it["signatures"][0].clone(); 66]);
            c.put(Role::Timestamp, it.to_string().into_bytes());
        },
        "too_many",
    ),
    Lie(
        "a changed timestamp",
        |c| {
            file(c, TIMESTAMP, |bytes| {
                let text = String::from_utf8(bytes.clone()).unwrap();
                *bytes = text.replace("\"version\":2", "\"version\":9").into_bytes();
            });
        },
        "bad_signature",
    ),
    Lie(
        "an endless timestamp",
        |c| c.memory.endless = Some(TIMESTAMP.into()),
        "too_large",
    ),
    Lie(
        "an endless snapshot",
        |c| c.memory.endless = Some("metadata/2.snapshot.json".into()),
        "too_large",
    ),
    Lie(
        "endless targets",
        |c| c.memory.endless = Some("metadata/2.targets.json".into()),
        "too_large",
    ),
    Lie(
        "an endless root",
        |c| c.memory.endless = Some("metadata/2.root.json".into()),
        "too_large",
    ),
    Lie(
        "targets of five megabytes",
        |c| {
            c.bend(Role::Snapshot, |body| {
                body["meta"]["targets.json"]["length"] = json!(5 << 20);
            });
        },
        "too_large",
    ),
    Lie(
        "a short snapshot",
        |c| file(c, "metadata/2.snapshot.json", |it| it.truncate(100)),
        "wrong_length",
    ),
    Lie(
        "short targets",
        |c| file(c, "metadata/2.targets.json", |it| it.truncate(100)),
        "wrong_length",
    ),
    Lie(
        "one byte of the snapshot",
        |c| file(c, "metadata/2.snapshot.json", |it| it[50] ^= 1),
        "wrong_hash",
    ),
    Lie(
        "the targets before these",
        |c| {
            let old = c.memory.files["metadata/1.targets.json"].clone();
            c.put(Role::Targets, old);
        },
        "wrong_length",
    ),
    Lie(
        "another version of the snapshot",
        |c| {
            c.bend(Role::Snapshot, |body| body["version"] = json!(7));
        },
        "version_mismatch",
    ),
    Lie(
        "another version of the targets",
        |c| {
            c.bend(Role::Targets, |body| body["version"] = json!(7));
        },
        "version_mismatch",
    ),
    Lie(
        "the timestamp of yesterday",
        |c| {
            c.versions.insert(Role::Timestamp, 1);
            c.now = at(2);
            c.release();
            c.versions.insert(Role::Timestamp, 0);
            c.next(Role::Timestamp);
            c.put_timestamp();
            c.bend(Role::Timestamp, |body| {
                body["meta"]["snapshot.json"]["version"] = json!(0);
            });
        },
        "bad_field",
    ),
    Lie(
        "the snapshot of yesterday",
        |c| {
            let mut body = c.timestamp_body();
            let old = c.memory.files["metadata/1.snapshot.json"].clone();
            body["meta"]["snapshot.json"] = json!({
                "version": 1, "length": old.len(), "hashes": {"sha256": hex(&sha256(&old))},
            });
            let bytes = sign::signed(&body, &c.key(Role::Timestamp)).unwrap();
            c.put(Role::Timestamp, bytes);
        },
        "rollback",
    ),
    Lie(
        "the targets of yesterday",
        |c| {
            c.versions.insert(Role::Targets, 1);
            c.put_snapshot();
            c.put_timestamp();
        },
        "rollback",
    ),
    Lie(
        "a timestamp that has expired",
        |c| {
            c.bend(Role::Timestamp, |body| {
                body["expires"] = json!(sign::seconds(at(1)));
            });
        },
        "frozen",
    ),
    Lie(
        "a snapshot that has expired",
        |c| {
            c.bend(Role::Snapshot, |body| {
                body["expires"] = json!(sign::seconds(at(1)));
            });
        },
        "frozen",
    ),
    Lie(
        "targets that have expired",
        |c| {
            c.bend(Role::Targets, |body| {
                body["expires"] = json!(sign::seconds(at(1)));
            });
        },
        "frozen",
    ),
    Lie(
        "a root that has expired",
        |c| {
            c.versions.insert(Role::Root, 2);
            let mut body = sign::root(c.stamp(Role::Root, 0), &c.roles()).unwrap();
            body["expires"] = json!(sign::seconds(at(1)));
            let bytes = sign::signed(&body, &c.key(Role::Root)).unwrap();
            c.put(Role::Root, bytes);
        },
        "frozen",
    ),
    Lie(
        "no JSON",
        |c| file(c, TIMESTAMP, |it| *it = b"<html>".to_vec()),
        "bad_json",
    ),
    Lie(
        "JSON nested too deeply",
        |c| file(c, TIMESTAMP, |it| *it = vec![b'['; 9000]),
        "bad_json",
    ),
    Lie(
        "a timestamp with a fraction",
        |c| {
            let mut it: Value = serde_json::from_slice(&c.bytes(Role::Timestamp)).unwrap();
            it["signed"]["x"] = json!(1.5);
            c.put(Role::Timestamp, it.to_string().into_bytes());
        },
        "bad_json",
    ),
    Lie(
        "a snapshot for a timestamp",
        |c| {
            // The same key for both: only the type tells them apart.
            c.bend(Role::Timestamp, |body| body["_type"] = json!("snapshot"));
        },
        "wrong_type",
    ),
    Lie(
        "another specification",
        |c| {
            c.bend(Role::Timestamp, |body| {
                body["spec_version"] = json!("2.0.0");
            });
        },
        "spec_version",
    ),
    Lie(
        "another format",
        |c| {
            c.bend(Role::Targets, |body| body["galley"]["format"] = json!(2));
        },
        "spec_version",
    ),
    Lie(
        "somebody else's feed",
        |c| {
            c.bend(Role::Targets, |body| {
                drop(body.as_object_mut().unwrap().remove("galley"));
            });
        },
        "bad_field",
    ),
    Lie(
        "a time that is none",
        |c| {
            c.bend(Role::Timestamp, |body| body["expires"] = json!("tomorrow"));
        },
        "bad_field",
    ),
    Lie(
        "a timestamp that names nothing",
        |c| {
            c.bend(Role::Timestamp, |body| body["meta"] = json!({}));
        },
        "missing_target",
    ),
    Lie(
        "a snapshot that names nothing",
        |c| {
            c.bend(Role::Snapshot, |body| body["meta"] = json!({}));
        },
        "missing_target",
    ),
    Lie(
        "no registry",
        |c| {
            c.bend(Role::Targets, |body| {
                drop(
                    body["targets"]
                        .as_object_mut()
                        .unwrap()
                        .remove("registry.pb"),
                );
            });
        },
        "missing_target",
    ),
    Lie(
        "a registry too large",
        |c| {
            c.bend(Role::Targets, |body| {
                body.pointer_mut(REGISTRY).unwrap()["length"] = json!(65 << 20);
            });
        },
        "too_large",
    ),
    Lie(
        "a path upwards",
        |c| {
            c.bend(Role::Targets, |body| {
                let it = body.pointer(REGISTRY).unwrap().clone();
                body["targets"]["../../etc/passwd"] = it;
            });
        },
        "evil_path",
    ),
    Lie(
        "an absolute path",
        |c| {
            c.bend(Role::Targets, |body| {
                let it = body.pointer(REGISTRY).unwrap().clone();
                body["targets"]["/etc/passwd"] = it;
            });
        },
        "evil_path",
    ),
    Lie(
        "a component under another name",
        |c| {
            c.add(
                "components/a.wasm",
                b"wasm",
                &json!({"kind": "component", "name": "../b"}),
            );
            c.publish();
        },
        "evil_path",
    ),
    Lie(
        "too many files",
        |c| {
            for number in 0..=super::TARGETS_MAX {
                // As short as they come: all of them must fit in one file of metadata.
                c.files.insert(
                    number.to_string(),
                    json!({"length": 1, "hashes": {"sha256": ""}}),
                );
            }
            c.publish();
        },
        "too_many",
    ),
    Lie(
        "a batch in two epochs",
        |c| {
            c.bend(Role::Targets, |body| {
                galley(body, BATCH)["epoch"] = json!(2);
            });
        },
        "bad_batch",
    ),
    Lie(
        "a chain that begins in the middle",
        |c| {
            c.bend(Role::Targets, |body| {
                drop(
                    body["targets"]
                        .as_object_mut()
                        .unwrap()
                        .remove("batches/v/1-0/0.arrow"),
                );
            });
        },
        "bad_batch",
    ),
    Lie(
        "a chain that replaces twice",
        |c| {
            c.bend(Role::Targets, |body| {
                galley(body, BATCH)["mode"] = json!("replace");
            });
        },
        "bad_batch",
    ),
    Lie(
        "a part that is missing",
        |c| {
            c.bend(Role::Targets, |body| {
                galley(body, BATCH)["parts"] = json!(2);
            });
        },
        "bad_batch",
    ),
    Lie(
        "a batch of no known mode",
        |c| {
            c.bend(Role::Targets, |body| {
                galley(body, BATCH)["mode"] = json!("delete");
            });
        },
        "bad_field",
    ),
    Lie(
        "a batch of a view without a name",
        |c| {
            c.bend(Role::Targets, |body| {
                galley(body, BATCH)["view"] = json!("");
            });
        },
        "bad_batch",
    ),
    Lie(
        "a root that only the new key signed",
        |c| {
            c.keys.insert(Role::Root, vec![pair()]);
            c.put_root(2, &[Role::Root]);
        },
        "root_chain",
    ),
    Lie(
        "a root that only the old key signed",
        |c| {
            let old = c.keys.insert(Role::Root, vec![pair()]).unwrap();
            c.versions.insert(Role::Root, 2);
            let body = sign::root(c.stamp(Role::Root, 24), &c.roles()).unwrap();
            let bytes = sign::signed(&body, &[&old[0]]).unwrap();
            c.put(Role::Root, bytes);
        },
        "root_chain",
    ),
    Lie(
        "a root of another version",
        |c| {
            c.versions.insert(Role::Root, 3);
            let body = sign::root(c.stamp(Role::Root, 24), &c.roles()).unwrap();
            c.versions.insert(Role::Root, 2);
            let bytes = sign::signed(&body, &c.key(Role::Root)).unwrap();
            c.put(Role::Root, bytes);
        },
        "root_chain",
    ),
    Lie(
        "a root with a key under another's id",
        |c| {
            c.versions.insert(Role::Root, 2);
            let mut body = sign::root(c.stamp(Role::Root, 24), &c.roles()).unwrap();
            let id = c.keys[&Role::Timestamp][0].id();
            body["keys"][id] = pair().public();
            let bytes = sign::signed(&body, &c.key(Role::Root)).unwrap();
            c.put(Role::Root, bytes);
        },
        "bad_field",
    ),
    Lie(
        "a root without consistent snapshots",
        |c| {
            c.versions.insert(Role::Root, 2);
            let mut body = sign::root(c.stamp(Role::Root, 24), &c.roles()).unwrap();
            body["consistent_snapshot"] = json!(false);
            let bytes = sign::signed(&body, &c.key(Role::Root)).unwrap();
            c.put(Role::Root, bytes);
        },
        "bad_field",
    ),
    Lie(
        "a root with a threshold of nothing",
        |c| {
            c.versions.insert(Role::Root, 2);
            let mut body = sign::root(c.stamp(Role::Root, 24), &c.roles()).unwrap();
            body["roles"]["timestamp"]["threshold"] = json!(0);
            let bytes = sign::signed(&body, &c.key(Role::Root)).unwrap();
            c.put(Role::Root, bytes);
        },
        "bad_field",
    ),
    Lie(
        "one signature where two are needed",
        |c| {
            c.threshold = 2;
            c.keys.get_mut(&Role::Timestamp).unwrap().push(pair());
            c.put_root(2, &[Role::Root]);
            let body = c.timestamp_body();
            let one =
                c.keys[&Role::Timestamp][0].sign(&super::canonical::canonical(&body).unwrap());
            // The same one twice is still one.
            c.put(Role::Timestamp, sign::envelope(&body, &[one.clone(), one]));
        },
        "bad_signature",
    ),
    Lie(
        "more roots than are followed",
        |c| {
            for version in 2..=ROOTS_MAX + 2 {
                c.put_root(version, &[Role::Root]);
            }
        },
        "root_chain_long",
    ),
    Lie(
        "an old timestamp",
        |c| {
            let old = sign::timestamp(
                Stamp {
                    version: 1,
                    expires: at(30),
                },
                at(1),
                (2, &c.bytes(Role::Snapshot)),
            );
            c.versions.insert(Role::Timestamp, 2);
            c.put_timestamp();
            let bytes = sign::signed(&old, &c.key(Role::Timestamp)).unwrap();
            c.put(Role::Timestamp, bytes);
        },
        "rollback",
    ),
];

#[test]
fn every_lie_is_refused_for_its_own_reason() {
    assert!(LIES.len() >= 25);
    let mut wrong = Vec::new();
    for Lie(name, tell, code) in LIES {
        let mut centre = Centre::new();
        // What a node has seen before is version 1, or version 2 where the lie is an old one.
        let mut trusted = centre.followed();
        centre.release();
        if name.contains("yesterday") || *name == "an old timestamp" {
            trusted = centre.followed();
            centre.release();
            centre.versions.insert(Role::Timestamp, 3);
        }
        tell(&mut centre);
        let outcome = poll(&centre.memory, &trusted, at(2));
        match outcome {
            Ok(_) => wrong.push(format!("{name}: believed")),
            Err(error) if error.code() == *code => {}
            Err(error) => wrong.push(format!("{name}: {}: {error}", error.code())),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_root_that_nobody_signed_is_not_trusted() {
    let centre = Centre::new();
    let mut file: Value = serde_json::from_slice(&centre.bytes(Role::Root)).unwrap();
    file["signed"]["version"] = json!(2);
    let error = Trusted::new(file.to_string().into_bytes()).unwrap_err();
    assert_eq!(error.code(), "bad_signature");
    assert_eq!(Trusted::new(b"{}".to_vec()).unwrap_err().code(), "bad_json");
}

#[test]
fn a_flipped_or_missing_byte_of_any_file_is_refused_or_changes_nothing() {
    let mut centre = Centre::new();
    let trusted = centre.followed();
    centre.rotate(Role::Targets);
    centre.release();
    let (_, release) = changed(poll(&centre.memory, &trusted, at(2)));
    let metadata = centre.memory.files.keys();
    let paths: Vec<_> = metadata
        .filter(|path| path.starts_with("metadata/"))
        .cloned()
        .collect();
    let (mut tried, mut same) = (0, 0);
    for path in paths {
        let good = centre.memory.files[&path].clone();
        for at_byte in (0..good.len()).step_by(3) {
            let mut flipped = good.clone();
            flipped[at_byte] ^= 1 << (at_byte % 8);
            for bad in [flipped, good[..at_byte].to_vec()] {
                centre.memory.files.insert(path.clone(), bad);
                tried += 1;
                match poll(&centre.memory, &trusted, at(2)) {
                    Err(_) | Ok(Poll::Unchanged { .. }) => {}
                    Ok(Poll::Changed { release: got, .. }) => {
                        assert_eq!(got, release, "{path} byte {at_byte}");
                        same += 1;
                    }
                }
            }
        }
        centre.memory.files.insert(path, good);
    }
    // Files of the first release, which nobody reads any more, may be anything.
    println!("{tried} damaged files, {same} without effect");
    assert!(tried > 2000, "{tried}");
}

//! Publishing into folders, and what followers make of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use galley_node::store::RowBatch;
use galley_node::{JobState, MaterializeRequest, Node};
use galley_types::EventTime;

use super::super::{Keyring, NewKeyring, Poll, Release, Role, Trusted, decode_part, poll};
use super::*;
use crate::ParquetMaterializer;
use crate::remote::{Ask, Fetched, Folder, Listed, Remote, RemoteError};
use crate::testing::Rides;

const HOUR: i64 = 3_600_000_000;

/// A repo, a feed and its keys.
struct Centre {
    rides: Rides,
    keys: PathBuf,
    feed: Folder,
    now: EventTime,
    keep: u64,
    dry_run: bool,
}

impl Centre {
    fn new() -> Self {
        let rides = Rides::installed();
        let keys = rides.dir.path().join("keys");
        let new = NewKeyring {
            root_keys: 1,
            threshold: 1,
        };
        // After all rows of the sample.
        let now = EventTime::parse("2030-01-01T00:00:00Z").unwrap();
        Keyring::create(&keys, new, now).unwrap();
        let feed = Folder::new(rides.dir.path().join("feed"));
        Self {
            rides,
            keys,
            feed,
            now,
            keep: 3,
            dry_run: false,
        }
    }

    fn try_publish(&self, what: &What) -> Result<Published> {
        self.try_publish_to(&self.feed, what)
    }

    fn try_publish_to(&self, store: &dyn RemoteStore, what: &What) -> Result<Published> {
        let keyring = Keyring::open(&self.keys)?;
        let manifest = self.rides.dir.path().join("spin.toml");
        let publisher = Publisher {
            store,
            keyring: &keyring,
            repo: &self.rides.repo,
            manifest: &manifest,
            scratch: self.rides.dir.path(),
            rows: MaterializeConfig::default(),
            lives: Lives::default(),
            keep: self.keep,
            orphans_after: Duration::from_hours(1),
            dry_run: self.dry_run,
        };
        publisher.publish(what, self.now, &mut |_, _, _| {})
    }

    fn publish(&mut self, rows: Rows) -> Published {
        self.now = EventTime(self.now.0 + HOUR);
        self.try_publish(&What::Release(rows, None)).unwrap()
    }

    fn rotate(&self, role: Role) {
        let mut keyring = Keyring::open(&self.keys).unwrap();
        keyring.rotate(role, None, self.now).unwrap();
    }

    fn newcomer(&self) -> Trusted {
        Trusted::new(std::fs::read(self.keys.join("1.root.json")).unwrap()).unwrap()
    }

    fn follow(&self, trusted: &Trusted) -> (Trusted, Release) {
        match poll(&self.feed, trusted, self.now).unwrap() {
            Poll::Changed { trusted, release } => (trusted, release),
            Poll::Unchanged { .. } => panic!("unchanged"),
        }
    }

    fn bytes(&self, path: &str) -> Vec<u8> {
        let Fetched::Body(mut body) = self.feed.read(path, &Ask::default()).unwrap() else {
            panic!("unchanged");
        };
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut body.bytes, &mut bytes).unwrap();
        bytes
    }

    fn files(&self) -> usize {
        RemoteStore::list(&self.feed, "").unwrap().len()
    }

    fn new_rows(&self) -> Rows {
        Rows::New { end: self.now }
    }
}

/// A feed to which somebody else publishes while whoever uses this is about to put targets.
struct Overtaken<F> {
    feed: Folder,
    other: F,
    done: AtomicBool,
}

impl<F> std::fmt::Debug for Overtaken<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Overtaken").field(&self.feed).finish()
    }
}

impl<F: Fn() + Send + Sync> Remote for Overtaken<F> {
    fn read(&self, path: &str, ask: &Ask) -> std::result::Result<Fetched, RemoteError> {
        self.feed.read(path, ask)
    }

    fn location(&self) -> String {
        self.feed.location()
    }
}

impl<F: Fn() + Send + Sync> RemoteStore for Overtaken<F> {
    fn put(&self, path: &str, bytes: &[u8]) -> std::result::Result<(), RemoteError> {
        self.feed.put(path, bytes)
    }

    fn swap(
        &self,
        path: &str,
        bytes: &[u8],
        before: Option<&[u8]>,
    ) -> std::result::Result<bool, RemoteError> {
        if path.ends_with("targets.json") && !self.done.swap(true, Ordering::Relaxed) {
            (self.other)();
        }
        self.feed.swap(path, bytes, before)
    }

    fn list(&self, prefix: &str) -> std::result::Result<Vec<Listed>, RemoteError> {
        self.feed.list(prefix)
    }

    fn delete(&self, path: &str) -> std::result::Result<(), RemoteError> {
        self.feed.delete(path)
    }
}

#[test]
fn of_two_who_publish_at_once_one_is_refused_and_the_others_release_is_whole() {
    let mut centre = Centre::new();
    let end = EventTime::parse("2026-03-01T06:00:00Z").unwrap();
    centre.publish(Rows::Full { end });
    let end_of_theirs = EventTime(i64::MAX / 2);
    let theirs = What::Release(Rows::New { end: end_of_theirs }, None);
    let overtaken = Overtaken {
        feed: centre.feed.clone(),
        other: || {
            assert_eq!(centre.try_publish(&theirs).unwrap().version, 2);
        },
        done: AtomicBool::new(false),
    };
    let ours = What::Release(Rows::Full { end }, None);
    let error = centre.try_publish_to(&overtaken, &ours).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("somebody else has published meanwhile"),
        "{said}"
    );
    let (_, release) = centre.follow(&centre.newcomer());
    assert_eq!(release.version, 2);
    assert!(release.batches.iter().any(|it| it.mode == Mode::Upsert));
    // Nothing is in the way of the next one.
    assert_eq!(centre.try_publish(&ours).unwrap().version, 3);
}

#[test]
fn a_follower_decodes_the_rows_that_materialisation_stores() {
    let mut centre = Centre::new();
    let published = centre.publish(Rows::Full {
        end: EventTime(i64::MAX / 2),
    });
    assert!(published.changed);
    let (_, release) = centre.follow(&centre.newcomer());
    assert_eq!(release.batches.len(), published.batches.len());
    same_as_materialised(&centre, &release);
}

#[test]
fn windows_one_after_the_other_make_up_the_whole() {
    let mut centre = Centre::new();
    // In the middle of the sample.
    let end = EventTime::parse("2026-03-01T06:00:00Z").unwrap();
    let first = centre.publish(Rows::Full { end });
    // One of the sample's rows is of a time to come.
    let second = centre.publish(Rows::New {
        end: EventTime(i64::MAX / 2),
    });
    let added = second.batches.iter().filter(|it| it.mode == Mode::Upsert);
    let added: Vec<_> = added
        .map(|it| (it.epoch, it.sequence, it.window.0))
        .collect();
    assert!(!added.is_empty() && !first.batches.is_empty());
    for batch in added {
        assert_eq!(batch, (1, 1, Some(EventTime(end.0 + 1))));
    }
    let (_, release) = centre.follow(&centre.newcomer());
    same_as_materialised(&centre, &release);
}

#[test]
fn components_and_manifest_go_along() {
    let mut centre = Centre::new();
    let dir = centre.rides.dir.path().to_owned();
    std::fs::create_dir(dir.join("made")).unwrap();
    std::fs::write(dir.join("made/x.wasm"), b"wasm").unwrap();
    let manifest = "spin_manifest_version = 2\n\n[application]\nname = \"a\"\nversion = \"1.0.0\"\n\n\
                    # Kept.\n[[trigger.galley]]\ncomponent = \"x\"\non-demand-feature-view = \"v\"\n\n\
                    [component.x]\nsource = \"made/x.wasm\"\n";
    std::fs::write(dir.join("spin.toml"), manifest).unwrap();
    centre.publish(Rows::Keep);
    let (trusted, release) = centre.follow(&centre.newcomer());
    let [(name, content)] = release.components.as_slice() else {
        panic!("{:?}", release.components);
    };
    assert_eq!(
        (name.as_str(), centre.bytes(&content.path)),
        ("x", b"wasm".to_vec())
    );
    let text = String::from_utf8(centre.bytes(&release.manifest.unwrap().path)).unwrap();
    assert!(
        text.contains("source = \"components/x.wasm\"") && text.contains("# Kept."),
        "{text}"
    );
    std::fs::remove_file(dir.join("spin.toml")).unwrap();
    centre.publish(Rows::Keep);
    let (_, release) = centre.follow(&trusted);
    assert!(release.manifest.is_none() && release.components.is_empty());
}

/// Installs a release in the centre's own node, and compares with what materialisation makes.
#[track_caller]
fn same_as_materialised(centre: &Centre, release: &Release) {
    let node = &centre.rides.node;
    for batch in &release.batches {
        let sink = node.sink(&batch.view).unwrap().unwrap();
        let mut rows = RowBatch::new(sink.table);
        for part in &batch.parts {
            let bytes = centre.bytes(&part.content.path);
            assert_eq!(sha256(&bytes), part.content.sha256);
            assert_eq!(decode_part(&bytes, &sink, &mut rows).unwrap(), part.rows);
        }
        assert_eq!(rows.len() as u64, batch.rows);
        let write = galley_node::store::Write {
            batches: vec![rows],
            ..Default::default()
        };
        node.commit(write).unwrap();
    }
    let fresh = Rides::installed();
    let views = release.batches.iter().map(|it| it.view.clone()).collect();
    materialise(&fresh, views);
    for batch in &release.batches {
        let got = rows(node, &batch.view);
        // One of the sample's files has no rows: what replaces by nothing is a batch as well.
        let none = batch.view == "device_complex";
        assert_eq!(got.is_empty(), none, "{}", batch.view);
        assert_eq!(got, rows(&fresh.node, &batch.view), "{}", batch.view);
    }
}

/// A view's rows as they are stored, by their keys.
fn rows(node: &Node, view: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let sink = node.sink(view).unwrap().unwrap();
    let mut rows = BTreeMap::new();
    let snapshot = node.store().load();
    snapshot
        .scan(sink.table, &mut |key, row| {
            // Who wrote a row is a bit of it, and so the checksum differs too.
            let mut row = row.to_vec();
            row[1] &= 1;
            row[4..8].fill(0);
            rows.insert(key.to_vec(), row);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

fn materialise(rides: &Rides, views: Vec<String>) {
    let materializer = ParquetMaterializer::new(rides.dir.path(), MaterializeConfig::default());
    rides.node.set_materializer(Arc::new(materializer));
    let request = MaterializeRequest {
        start: Some(EventTime(0)),
        end: Some(EventTime(i64::MAX / 2)),
        views: Some(views),
        ..MaterializeRequest::default()
    };
    let job = rides.node.materialize(&request).unwrap();
    while rides.node.job(job).unwrap().state == JobState::Running {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(rides.node.job(job).unwrap().state, JobState::Succeeded);
}

#[test]
fn nothing_new_is_nothing_but_a_timestamp() {
    let mut centre = Centre::new();
    let end = centre.now;
    centre.publish(Rows::Full { end });
    let (trusted, release) = centre.follow(&centre.newcomer());
    let files = centre.files();
    let rows = centre.new_rows();
    let again = centre.publish(rows);
    assert!(!again.changed);
    assert_eq!((again.files, again.version), (0, release.version));
    assert_eq!(centre.files(), files);
    let (next, same) = centre.follow(&trusted);
    assert_ne!(next.timestamp, trusted.timestamp);
    assert_eq!(same.version, release.version);
    let only = centre.try_publish(&What::Timestamp).unwrap();
    assert_eq!((only.changed, only.files), (false, 0));
}

#[test]
fn a_dry_run_puts_nothing() {
    let mut centre = Centre::new();
    centre.dry_run = true;
    let end = centre.now;
    let report = centre.publish(Rows::Full { end });
    assert!(report.files > 0 && report.dry_run);
    assert_eq!(centre.files(), 0);
}

#[test]
fn old_releases_are_removed_and_what_is_kept_stays_whole() {
    let mut centre = Centre::new();
    let end = centre.now;
    let mut pruned = 0;
    for _ in 0..6 {
        pruned += centre.publish(Rows::Full { end }).pruned;
    }
    assert!(pruned > 0);
    let (_, release) = centre.follow(&centre.newcomer());
    assert!(release.batches.iter().all(|batch| batch.epoch == 6));
    let targets = std::fs::read_dir(centre.rides.dir.path().join("feed/metadata")).unwrap();
    let targets = targets.filter(|it| {
        let name = it.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".targets.json")
    });
    assert_eq!(targets.count(), 3);
    // What old and new releases share.
    assert!(!centre.bytes(&release.registry.path).is_empty());
    for batch in &release.batches {
        for part in &batch.parts {
            assert_eq!(
                centre.bytes(&part.content.path).len() as u64,
                part.content.size
            );
        }
    }
}

/// Makes a file so many hours older.
fn age(path: PathBuf, hours: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let put = file.metadata().unwrap().modified().unwrap();
    file.set_modified(put - Duration::from_hours(hours))
        .unwrap();
}

#[test]
fn what_a_broken_publication_left_is_removed_when_it_is_old_and_nothing_else() {
    let mut centre = Centre::new();
    let end = centre.now;
    for _ in 0..2 {
        centre.publish(Rows::Full { end });
    }
    let put = |path: &str, age_hours: u64| {
        centre.feed.put(path, b"left").unwrap();
        age(centre.rides.dir.path().join("feed").join(path), age_hours);
    };
    let digest = |fill: &str| fill.repeat(32);
    let old = format!("targets/batches/v/1-0/{}.0.arrow", digest("ab"));
    let fresh = format!("targets/batches/v/1-0/{}.1.arrow", digest("cd"));
    let foreign = "targets/notes.txt";
    put(&old, 2);
    put(&fresh, 0);
    put(foreign, 1_000);
    // Whatever a kept release names stays, however old it is.
    let feed = centre.rides.dir.path().join("feed");
    for object in RemoteStore::list(&centre.feed, "targets/batches").unwrap() {
        if object.path != fresh {
            age(feed.join(&object.path), 500);
        }
    }
    let files = centre.files();
    centre.dry_run = true;
    let told = centre.publish(Rows::Keep);
    // Only what is put now says what time it is there: this machine's clock is years ahead.
    assert_eq!((told.orphans, told.orphan_bytes), (2, 8));
    assert_eq!(centre.files(), files, "a dry run");
    centre.dry_run = false;
    let only = centre.try_publish(&What::Timestamp).unwrap();
    assert_eq!(only.orphans, 0, "a timestamp is only that");
    let done = centre.publish(Rows::Keep);
    assert_eq!((done.orphans, done.orphan_bytes), (1, 4));
    let paths = RemoteStore::list(&centre.feed, "targets").unwrap();
    let there = |path: &str| paths.iter().any(|it| it.path == path);
    assert!(!there(&old) && there(&fresh) && there(foreign));
    let (_, release) = centre.follow(&centre.newcomer());
    for part in release.batches.iter().flat_map(|it| &it.parts) {
        assert!(there(&part.content.path), "{}", part.content.path);
    }
    // The older release, which is kept, is whole too.
    let targets = std::fs::read(feed.join("metadata/1.targets.json")).unwrap();
    let targets: Value = serde_json::from_slice(&targets).unwrap();
    let files = targets["signed"]["targets"].as_object().unwrap();
    assert!(prune::content_names(files).iter().all(|path| there(path)));
}

#[test]
fn every_key_can_be_rotated_between_publications() {
    let mut centre = Centre::new();
    let end = centre.now;
    centre.publish(Rows::Full { end });
    let (mut trusted, _) = centre.follow(&centre.newcomer());
    for role in Role::ALL {
        centre.rotate(role);
        centre.publish(Rows::Keep);
        trusted = centre.follow(&trusted).0;
    }
    assert_eq!(trusted.root_version().unwrap(), 5);
    assert_eq!(centre.follow(&centre.newcomer()).0, trusted);
}

#[test]
fn a_feed_that_has_expired_is_published_on() {
    let mut centre = Centre::new();
    let end = centre.now;
    centre.publish(Rows::Full { end });
    let (trusted, release) = centre.follow(&centre.newcomer());
    centre.now = EventTime(centre.now.0 + 30 * 24 * HOUR);
    let frozen = poll(&centre.feed, &trusted, centre.now).unwrap();
    assert_eq!(frozen, Poll::Unchanged { expired: true });
    centre.publish(Rows::Keep);
    let (_, next) = centre.follow(&trusted);
    assert!(next.version > release.version);
    assert_eq!(next.batches, release.batches);
}

#[test]
fn other_keys_and_a_clock_behind_are_refused() {
    let mut centre = Centre::new();
    let end = centre.now;
    centre.publish(Rows::Full { end });
    let keys = std::mem::replace(&mut centre.keys, centre.rides.dir.path().join("others"));
    let new = NewKeyring {
        root_keys: 1,
        threshold: 1,
    };
    Keyring::create(&centre.keys, new, centre.now).unwrap();
    let what = What::Release(Rows::Keep, None);
    let refused = centre.try_publish(&what).unwrap_err().to_string();
    assert!(refused.contains("other keys"), "{refused}");
    centre.keys = keys;
    centre.now = EventTime(centre.now.0 - 24 * HOUR);
    let refused = centre.try_publish(&what).unwrap_err().to_string();
    assert!(refused.contains("clock"), "{refused}");
}

//! P20: nodes whose clock is wrong. What has expired is never taken for fresh, and what serves is never
//! dropped, whatever the time of day is said to be.
//!
//! The clock of the real binary is set with libfaketime; the clock that counts time goes on as it is.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::follow::{Centre, feed_status, number, reached};
use crate::support::{Galley, Launch, copy_dir};

/// How long a node may take to notice; the library looks at its file once a second.
const NOTICED_MAX: Duration = Duration::from_secs(30);
const RIGHT: &str = "+0";
const AHEAD: &str = "+10y";
const BEHIND: &str = "-10y";
/// A clock without a battery: it says the same, whenever it is asked.
const DEAD: &str = "1970-01-02 00:00:00";

/// The library, where there is one.
fn library() -> Option<PathBuf> {
    let mut folders = vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")];
    let more = std::fs::read_dir("/usr/lib").ok()?.flatten();
    folders.extend(more.map(|entry| entry.path()));
    folders
        .into_iter()
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.is_file())
}

/// A clock of one process, which can be set while it runs.
struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    fn set(&self, time: &str) {
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, format!("{time}\n")).unwrap();
        std::fs::rename(beside, &self.file).unwrap();
    }

    fn variables(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

/// A centre whose publisher has a clock, and a node that has another.
struct Case {
    centre: Centre,
    publisher: Clock,
    clock: Clock,
    launch: Launch,
}

impl Case {
    fn new(library: &Path) -> Self {
        let centre = Centre::new(4, 100);
        let clock = |name: &str| Clock {
            library: library.to_owned(),
            file: centre.path(name),
        };
        let (publisher, clock) = (clock("publishers-clock"), clock("nodes-clock"));
        publisher.set(RIGHT);
        clock.set(RIGHT);
        let feed = centre.path("feed").display().to_string();
        let launch = centre.node("node", &feed);
        let launch = (clock.variables().into_iter())
            .fold(launch, |launch, (name, value)| launch.env(&name, value));
        let centre = centre.to(&feed, publisher.variables());
        Self {
            centre,
            publisher,
            clock,
            launch,
        }
    }

    /// Publishes the next release at a time of the publisher's.
    fn publish(&self, time: &str) -> u64 {
        self.publisher.set(time);
        self.centre.publish(&[])
    }

    /// Starts the node at a time.
    fn start(&self, time: &str) -> Galley {
        self.clock.set(time);
        self.launch.start()
    }

    /// What one look at the feed says at a time.
    fn sync(&self, time: &str) -> (bool, String) {
        self.clock.set(time);
        let output = self.launch.run(&["sync", "--once"]);
        (output.status.success(), output.stdout + &output.stderr)
    }
}

/// Waits until what the node says of the feed is as `done` wants it.
#[track_caller]
fn until(node: &Galley, what: &str, done: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + NOTICED_MAX;
    loop {
        let status = feed_status(node);
        if done(&status) {
            return status;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: {status}\n{}",
            node.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[track_caller]
fn serves(node: &Galley, release: u64) {
    assert_eq!(number(&mut node.client(), 7), release);
    let status = node.client().get("/status").unwrap();
    let metrics = node.client().get("/metrics").unwrap();
    assert_eq!((status.status, metrics.status), (200, 200));
}

/// The node looks at the feed and finds everything as it should be.
#[track_caller]
fn is_fresh(node: &Galley) {
    let polls = |status: &Value| status["polls"].as_u64().unwrap();
    let before = polls(&feed_status(node));
    let status = until(node, "polls", |status| polls(status) > before + 1);
    assert_eq!(status["frozen"], false, "{status}");
    assert!(status["error"].is_null(), "{status}");
}

/// The node takes nothing from the feed, says that it has expired, and no longer that it was found as
/// it should be.
#[track_caller]
fn is_frozen(node: &Galley) {
    let polls = |status: &Value| status["polls"].as_u64().unwrap();
    let frozen = until(node, "the news of expiry", |status| {
        status["frozen"] == true
    });
    let later = until(node, "more polls", |status| {
        polls(status) > polls(&frozen) + 2
    });
    assert_eq!(later["frozen"], true, "{later}");
    assert_eq!(later["checked_at"], frozen["checked_at"], "{later}");
    let metrics = node.client().get("/metrics").unwrap().text();
    assert!(metrics.contains("galley_feed_frozen 1"), "{metrics}");
}

#[test]
fn a_node_without_data_takes_what_has_not_expired_whatever_its_clock() {
    let Some(library) = library() else {
        println!("skipped: no libfaketime on this machine (Debian: apt-get install libfaketime)");
        return;
    };
    // 1: a feed that was published long ago and held back since.
    let case = Case::new(&library);
    case.publish("-3d");
    let (done, said) = case.sync(RIGHT);
    assert!(!done && said.contains("expired"), "{said}");
    // 2: ten years ahead, what is fresh has expired: it is refused, not dropped.
    case.publish(RIGHT);
    let (done, said) = case.sync(AHEAD);
    assert!(!done && said.contains("expired"), "{said}");
    // 3 and 4: behind, and without any time of day, what is fresh is taken.
    for (release, time) in [(2, BEHIND), (3, DEAD)] {
        if release == 3 {
            case.publish(RIGHT);
        }
        let (done, said) = case.sync(time);
        assert!(done && said.contains("installed"), "{said}");
        let node = case.start(time);
        serves(&node, release);
        is_fresh(&node);
    }
}

#[test]
fn a_node_that_serves_goes_on_whatever_its_clock_is_at_the_start() {
    let Some(library) = library() else {
        println!("skipped: no libfaketime on this machine (Debian: apt-get install libfaketime)");
        return;
    };
    let case = Case::new(&library);
    case.publish(RIGHT);
    let (done, said) = case.sync(RIGHT);
    assert!(done, "{said}");
    case.publish(RIGHT);
    // 5: ahead, nothing new is taken.
    let node = case.start(AHEAD);
    is_frozen(&node);
    serves(&node, 1);
    assert!(node.terminate().success());
    // 6: behind, what is new is.
    let node = case.start(BEHIND);
    reached(&node, 2);
    is_fresh(&node);
    serves(&node, 2);
    assert!(node.terminate().success());
    // 7: a dead clock, likewise.
    case.publish(RIGHT);
    let node = case.start(DEAD);
    reached(&node, 3);
    is_fresh(&node);
    serves(&node, 3);
}

#[test]
fn a_clock_that_jumps_freezes_and_thaws_and_drops_nothing() {
    let Some(library) = library() else {
        println!("skipped: no libfaketime on this machine (Debian: apt-get install libfaketime)");
        return;
    };
    let case = Case::new(&library);
    case.publish(RIGHT);
    let node = case.start(RIGHT);
    reached(&node, 1);
    // 8: ahead by ten years, and 9: right again.
    case.clock.set(AHEAD);
    is_frozen(&node);
    case.publish(RIGHT);
    std::thread::sleep(Duration::from_secs(2));
    is_frozen(&node);
    serves(&node, 1);
    case.clock.set(RIGHT);
    reached(&node, 2);
    is_fresh(&node);
    // 10: back by ten years.
    case.clock.set(BEHIND);
    std::thread::sleep(Duration::from_secs(2));
    is_fresh(&node);
    case.publish(RIGHT);
    reached(&node, 3);
    serves(&node, 3);
    is_fresh(&node);
}

#[test]
fn what_had_expired_when_newer_was_signed_is_refused_by_any_clock() {
    let Some(library) = library() else {
        println!("skipped: no libfaketime on this machine (Debian: apt-get install libfaketime)");
        return;
    };
    let case = Case::new(&library);
    case.publish("-30d");
    let (feed, fork) = (case.centre.path("feed"), case.centre.path("fork"));
    copy_dir(&feed, &fork);
    case.publish(RIGHT);
    let (done, said) = case.sync(RIGHT);
    assert!(done, "{said}");
    // Somebody has the keys and a clock that is a month behind: what is newer by its number had
    // expired when what the node has was signed.
    std::fs::remove_dir_all(&feed).unwrap();
    std::fs::rename(&fork, &feed).unwrap();
    case.publish("-29d");
    case.publish("-28d");
    // 11: by the clock.
    let node = case.start(RIGHT);
    is_refused(&node);
    serves(&node, 2);
    // 12: by the newest signed time, for a clock that is as wrong as that one, or worse.
    for time in ["-28d", BEHIND, DEAD] {
        case.clock.set(time);
        let deadline = Instant::now() + NOTICED_MAX;
        loop {
            let status = node.client().get("/status").unwrap().json();
            let behind = status["now"].as_str() < status["feed"]["published_at"].as_str();
            if behind {
                break;
            }
            assert!(Instant::now() < deadline, "the clock is not set: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
        is_refused(&node);
        serves(&node, 2);
    }
}

/// The node refuses what the feed has now; what it has installed is still vouched for.
#[track_caller]
fn is_refused(node: &Galley) {
    let polls = |status: &Value| status["polls"].as_u64().unwrap();
    let before = polls(&feed_status(node));
    let status = until(node, "more polls", |status| polls(status) > before + 2);
    assert_eq!(status["error_code"], "frozen", "{status}");
    assert_eq!(status["version"], 2, "{status}");
    assert_eq!(status["frozen"], false, "{status}");
}

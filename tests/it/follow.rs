//! Nodes that follow a feed: real files on a real web server, broken in every way a network breaks.
//!
//! The centre publishes numbered releases of two views with one source: every driver's
//! `trips_today` is the release's number, in both. An answer with two numbers is a mix.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::feast_sdk::{feast, run};
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::process::{clean, galley};
use crate::support::web::Web;
use crate::support::{Client, Galley, Launch, RaiseAtEnd, Random, copy_dir, long, seed};

/// Rows of a release: enough for several parts a view, or few.
const DRIVERS: (i64, i64) = (60_000, 1_000);
const INTERVAL: Duration = Duration::from_millis(300);
/// How long a release may take to reach a node through whatever is in its way.
const REACHED_MAX: Duration = Duration::from_secs(60);

/// Writes the source of each numbered release.
const SOURCES: &str = r"
import sys, pandas as pd, numpy as np
folder, like, count, drivers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
sample = pd.read_parquet(like)
time = [c for c in sample.columns if str(sample[c].dtype).startswith('datetime')]
for n in range(1, count + 1):
    rows = {}
    for c in sample.columns:
        if c in time:
            rows[c] = pd.Series([pd.Timestamp('2026-03-01', tz='UTC') + pd.Timedelta(seconds=n)] * drivers)
        elif c == 'driver_id':
            rows[c] = np.arange(drivers, dtype=sample[c].dtype)
        elif c == 'trips_today':
            rows[c] = np.full(drivers, n, dtype=sample[c].dtype)
        else:
            rows[c] = pd.Series([sample[c].iloc[0]] * drivers, dtype=sample[c].dtype)
    frame = pd.DataFrame(rows)
    for c in time:
        frame[c] = frame[c].astype(sample[c].dtype)
    frame.to_parquet(f'{folder}/{n}.parquet')
";

/// A repo, its keys and its feed.
pub(crate) struct Centre {
    dir: TempDir,
    /// Where the feed is published to, and the variables by which that is reached.
    to: Option<(String, Vec<(String, String)>)>,
    sources: usize,
    published: AtomicU64,
}

impl Centre {
    /// A centre with sources for `releases` releases; none is published yet.
    pub(crate) fn new(releases: usize, drivers: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let demo = demo();
        copy_dir(demo, &dir.path().join("repo"));
        std::fs::create_dir(dir.path().join("sources")).unwrap();
        run(feast("python")
            .arg("-c")
            .arg(SOURCES)
            .arg(dir.path().join("sources"))
            .arg(demo.join("data/driver_activity.parquet"))
            .arg(releases.to_string())
            .arg(drivers.to_string()));
        let centre = Self {
            dir,
            to: None,
            sources: releases,
            published: AtomicU64::new(0),
        };
        centre.galley(&["keys", "init"], &[&centre.path("keys")]);
        centre
    }

    /// Publishes to this place.
    pub(crate) fn to(mut self, location: &str, variables: Vec<(String, String)>) -> Self {
        self.to = Some((location.to_owned(), variables));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn galley(&self, command: &[&str], paths: &[&Path]) -> String {
        run(clean(galley()).args(command).args(paths))
    }

    /// Publishes the next release; its number is what every driver has.
    pub(crate) fn publish(&self, more: &[&str]) -> u64 {
        let number = self.published.fetch_add(1, Ordering::Relaxed) + 1;
        let source = self.path("sources").join(format!("{number}.parquet"));
        assert!(number as usize <= self.sources, "no source {number}");
        std::fs::copy(source, self.path("repo/data/driver_activity.parquet")).unwrap();
        // The window is of event times, which here count releases.
        let (feed, keys, repo) = (self.path("feed"), self.path("keys"), self.path("repo"));
        let mut command = clean(galley());
        command.args(["publish", "--json", "--to"]);
        match &self.to {
            None => command.arg(feed),
            Some((location, variables)) => command.arg(location).envs(variables.clone()),
        };
        command.arg("--keys").arg(keys).arg("--repo").arg(repo);
        if number == 1 {
            command.args(["--full"]);
        } else {
            command.args(["--start", "2026-03-01T00:00:00Z"]);
            command.args(["--views", "driver_activity,driver_pulse"]);
        }
        let said: Value = serde_json::from_str(&run(command.args(more))).unwrap();
        said["version"].as_u64().unwrap()
    }

    pub(crate) fn node(&self, name: &str, feed: &str) -> Launch {
        Launch::new(&self.path("nowhere"), &self.path(name))
            .env("GALLEY_SYNC_FEED", feed)
            .env("GALLEY_SYNC_ROOT", self.path("keys/1.root.json").display())
            .env(
                "GALLEY_SYNC_INTERVAL",
                format!("{}ms", INTERVAL.as_millis()),
            )
            .env("GALLEY_SYNC_BACKOFF_MAX", "200ms")
            .env("GALLEY_REMOTE_READ_TIMEOUT", "300ms")
            .env("GALLEY_FEAST_PYTHON_QUIRKS", "true")
    }
}

/// The sample repo with its Parquet, made once.
fn demo() -> &'static Path {
    static DEMO: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    DEMO.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("galley-follow-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        run(clean(galley())
            .args(["demo", "--once", "--listen", "127.0.0.1:0", "--dir"])
            .arg(&dir));
        let _ = std::fs::remove_dir_all(dir.join(".galley"));
        dir
    })
}

fn look_up(client: &mut Client, driver: i64) -> Value {
    let body = json!({
        "features": ["driver_activity:trips_today", "driver_pulse:trips_today"],
        "entities": { "driver_id": [driver] },
        "full_feature_names": true,
    });
    let reply = client.post("/get-online-features", &body).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// The number that both views have for a driver; panics when they differ.
pub(crate) fn number(client: &mut Client, driver: i64) -> u64 {
    let answer = look_up(client, driver);
    let values: Vec<u64> = answer["results"].as_array().unwrap()[1..]
        .iter()
        .map(|column| column["values"][0].as_u64().unwrap())
        .collect();
    assert_eq!(values.len(), 2, "{answer}");
    assert_eq!(values[0], values[1], "two releases in one answer: {answer}");
    values[0]
}

pub(crate) fn feed_status(server: &Galley) -> Value {
    server.client().get("/status").unwrap().json()["feed"].clone()
}

/// Waits until the node serves `version`.
pub(crate) fn reached(server: &Galley, version: u64) -> Duration {
    let started = Instant::now();
    loop {
        let status = feed_status(server);
        if status["version"].as_u64() == Some(version) {
            return started.elapsed();
        }
        assert!(
            started.elapsed() < REACHED_MAX,
            "release {version} did not arrive: {status}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_node_follows_rolls_back_and_serves_without_the_centre() {
    let centre = Centre::new(4, DRIVERS.1);
    let web = Web::start(&centre.path("feed"));
    let launch = centre.node("node", &web.url());
    assert_eq!(centre.publish(&[]), 1);
    let server = launch.start();
    reached(&server, 1);
    let mut client = server.client();
    assert_eq!(number(&mut client, 7), 1);

    // An unchanged poll is one small conditional request.
    web.take_answered();
    std::thread::sleep(INTERVAL * 5);
    let answered = web.take_answered();
    assert!(answered.len() >= 3, "{answered:?}");
    for answer in &answered {
        assert_eq!(
            (answer.status, answer.path.as_str()),
            (304, "/metadata/timestamp.json")
        );
        assert!(answer.bytes + answer.asked_bytes <= 2048, "{answer:?}");
    }

    // A release arrives within the interval and a second.
    let version = centre.publish(&[]);
    let took = reached(&server, version);
    assert!(took <= INTERVAL + Duration::from_secs(1), "{took:?}");
    assert_eq!(number(&mut client, 7), 2);

    // What was pushed since stays when a release is taken back.
    let row = json!({"driver_id": [5], "trips_today": [4242], "is_online": [true], "created": ["2026-04-01T00:00:00Z"], "event_timestamp": ["2026-04-01T00:00:00Z"]});
    let body = json!({ "feature_view_name": "driver_pulse", "df": row });
    let reply = client.post("/write-to-online-store", &body).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let rolled = launch.run(&["rollback", "--json"]).ok().json();
    assert_eq!(
        rolled,
        json!({"outcome": "rolled_back", "version": 1, "rows": 0})
    );
    assert_eq!(number(&mut client, 7), 1);
    assert_eq!(look_up(&mut client, 5)["results"][2]["values"][0], 4242);
    std::thread::sleep(INTERVAL * 4);
    let status = feed_status(&server);
    assert_eq!(
        (&status["version"], &status["held_version"]),
        (&json!(1), &json!(2))
    );
    let again = launch.run(&["rollback"]);
    assert!(!again.status.success());
    assert!(
        again.stderr.contains("no release to roll back to"),
        "{}",
        again.stderr
    );

    // A newer release ends that.
    let version = centre.publish(&[]);
    reached(&server, version);
    assert_eq!(number(&mut client, 7), 3);

    // Without the centre a start serves what was there.
    drop(client);
    assert!(server.terminate().success());
    drop(web);
    let server = launch.start();
    assert_eq!(number(&mut server.client(), 7), 3);
    assert_eq!(feed_status(&server)["error_code"], "feed_unreachable");
    let synced = launch.run(&["sync", "--once"]);
    assert!(
        !synced.status.success() && synced.stderr.contains("read the feed"),
        "{}",
        synced.stderr
    );
}

#[test]
fn two_hundred_faults_make_no_wrong_generation() {
    let releases = if long() { 200 } else { 25 };
    let faults_each = 8;
    let centre = Centre::new(releases + 1, DRIVERS.0);
    centre.publish(&[]);
    let web = Web::start(&centre.path("feed"));
    let proxy = FaultProxy::start(web.address);
    let server = centre.node("node", &proxy.url()).start();
    reached(&server, 1);
    let whole = web.sent();
    let mut random = Random::new(seed());
    println!("seed {}", seed());
    let done = AtomicBool::new(false);
    let started = Instant::now();
    let (mut needed, before) = (0, feed_status(&server)["bytes_fetched"].as_u64().unwrap());
    std::thread::scope(|scope| {
        let _end = RaiseAtEnd(&done);
        let (server, done) = (&server, &done);
        let looks = scope.spawn(move || {
            let (mut client, mut newest, mut looks) = (server.client(), 0, 0_u64);
            while !done.load(Ordering::Relaxed) {
                let number = number(&mut client, looks as i64 % DRIVERS.0);
                assert!(number >= newest, "{number} after {newest}");
                (newest, looks) = (number, looks + 1);
            }
            looks
        });
        for _ in 0..releases {
            let size = folder_bytes(&centre.path("feed/targets"));
            let version = centre.publish(&[]);
            let size = folder_bytes(&centre.path("feed/targets")) - size;
            needed += size;
            let faults: Vec<Fault> = (0..faults_each).map(|_| fault(&mut random, size)).collect();
            proxy.strike(&faults);
            reached(server, version);
        }
        done.store(true, Ordering::Relaxed);
        let looks = looks.join().unwrap();
        println!("{looks} look-ups");
        assert!(looks > releases as u64 * 10);
    });
    let fetched = feed_status(&server)["bytes_fetched"].as_u64().unwrap() - before;
    let ratio = fetched as f64 / needed as f64;
    println!(
        "{} faults struck, {} left, {needed} bytes needed, {fetched} fetched ({ratio:.2}), the first \
         release had {whole}, {:?}",
        proxy.struck(),
        proxy.waiting(),
        started.elapsed()
    );
    assert!(
        proxy.struck() >= releases as u64 * 4,
        "{} faults struck",
        proxy.struck()
    );
    assert!(
        ratio <= 1.2,
        "{fetched} bytes fetched where {needed} were needed"
    );
    assert_eq!(number(&mut server.client(), 3), releases as u64 + 1);
}

/// A fault that strikes somewhere in the transfer of `size` bytes.
fn fault(random: &mut Random, size: u64) -> Fault {
    let at = random.below(size.min(2 << 20));
    match random.below(16) {
        0..=5 => Fault::Cut(at),
        6..=8 => Fault::Stall(at, 500),
        9 => Fault::Corrupt(at),
        10 => Fault::Duplicate(at),
        11 | 12 => Fault::HalfOpen(500),
        _ => Fault::Down,
    }
}

fn folder_bytes(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        bytes += match entry.file_type().unwrap().is_dir() {
            true => folder_bytes(&entry.path()),
            false => entry.metadata().unwrap().len(),
        };
    }
    bytes
}

#[test]
fn an_agent_killed_at_any_moment_goes_on() {
    let kills = if long() { 300 } else { 30 };
    let releases = 6;
    let centre = Centre::new(releases, DRIVERS.0);
    centre.publish(&[]);
    let web = Web::start(&centre.path("feed"));
    let launch = centre.node("node", &web.url());
    let mut random = Random::new(seed());
    println!("seed {}", seed());
    let server = launch.start();
    reached(&server, 1);
    server.kill();
    let mut newest = 1;
    for kill in 0..kills {
        if kill % (kills / (releases - 1)) == 0 && newest < releases as u64 {
            newest = centre.publish(&[]);
        }
        let server = launch.start();
        // A start takes the time of the first polls, in which releases are fetched and installed.
        std::thread::sleep(Duration::from_millis(random.below(250)));
        let number = number(&mut server.client(), 11);
        assert!(number <= newest, "{number} of {newest}");
        server.kill();
    }
    let server = launch.start();
    reached(&server, newest);
    assert_eq!(number(&mut server.client(), 11), newest);
    assert!(server.terminate().success());
    launch.run(&["check"]).ok();
}

#[test]
fn the_demo_of_a_fleet_shows_what_it_says() {
    let said = run(clean(galley()).args(["demo", "--fleet", "--once"]));
    let releases: Vec<String> = said
        .lines()
        .filter_map(|line| {
            let (node, rest) = line.trim().split_once("  release ")?;
            Some(format!("{node} {}", rest.split(':').next()?))
        })
        .collect();
    let expect = [
        ["node-1 1", "node-2 1", "node-3 1"],
        ["node-1 2", "node-2 2", "node-3 2"],
        ["node-1 3", "node-2 3", "node-3 2"],
        ["node-1 3", "node-2 3", "node-3 3"],
        ["node-1 2", "node-2 3", "node-3 3"],
    ];
    assert_eq!(releases, expect.concat(), "{said}");
    assert!(said.contains("is 203"), "{said}");
}

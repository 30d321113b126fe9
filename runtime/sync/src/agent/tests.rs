//! A centre whose signatures are right and whose content is not, and places that send something else.

use std::io::{Cursor, Read as _};
use std::sync::Arc;

use galley_node::store::{Store, StoreConfig};
use galley_node::{DecodeOptions, Node, NodeConfig, Registry, StoredView};
use galley_types::{Cell, Clock as _, EntityKey, EventTime, KeyType, SystemClock, Value};
use serde_json::json;

use super::{Agent, AgentConfig, Outcome};
use crate::feed::testing::{Centre, Memory};
use crate::feed::{Role, path_of};
use crate::remote::{Ask, Body, Fetched, Remote, RemoteError};
use crate::testing::data;

const VIEW: &str = "driver_hourly_stats";
/// How long a timestamp of the tests' centre is good.
const TIMESTAMP_HOURS: i64 = 24;

/// What is wrong with what a place sends of files below `targets/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// It never ends.
    Endless,
    /// Half of it.
    Short,
    /// One bit is another.
    Bit,
    /// It claims to be unchanged.
    Unchanged,
}

#[derive(Debug)]
struct Place {
    memory: Memory,
    lie: Arc<std::sync::Mutex<Lie>>,
}

impl Remote for Place {
    fn read(&self, path: &str, ask: &Ask) -> Result<Fetched, RemoteError> {
        let fetched = self.memory.read(path, ask)?;
        let lie = *self.lie.lock().unwrap();
        let Fetched::Body(mut body) = fetched else {
            return Ok(fetched);
        };
        if !path.starts_with("targets/") || lie == Lie::None {
            return Ok(Fetched::Body(body));
        }
        let mut bytes = Vec::new();
        body.bytes.read_to_end(&mut bytes).unwrap();
        let bytes: Box<dyn std::io::Read + Send> = match lie {
            Lie::Unchanged => return Ok(Fetched::Unchanged),
            Lie::Endless => Box::new(Cursor::new(bytes).chain(std::io::repeat(7))),
            Lie::Short => Box::new(Cursor::new(bytes[..bytes.len() / 2].to_vec())),
            Lie::Bit | Lie::None => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                Box::new(Cursor::new(bytes))
            }
        };
        Ok(Fetched::Body(Body { bytes, ..body }))
    }

    fn location(&self) -> String {
        "place".to_owned()
    }
}

impl Place {
    /// The place and what it lies about, to be changed.
    fn of(memory: &Memory) -> (Arc<dyn Remote>, Arc<std::sync::Mutex<Lie>>) {
        let lie = Arc::new(std::sync::Mutex::new(Lie::None));
        let place = Self {
            memory: memory.clone(),
            lie: Arc::clone(&lie),
        };
        (Arc::new(place), lie)
    }
}

struct Bench {
    centre: Centre,
    view: StoredView,
    lie: Arc<std::sync::Mutex<Lie>>,
    node: Arc<Node>,
    agent: Agent,
    folder: tempfile::TempDir,
}

/// A node that serves the first release: one row.
fn bench() -> Bench {
    bench_with(AgentConfig::default())
}

fn bench_with(config: AgentConfig) -> Bench {
    let registry = std::fs::read(data("registry.pb")).unwrap();
    let options = DecodeOptions {
        project: Some("rides"),
        versioning: false,
    };
    let decoded = Registry::decode(&registry, &options).unwrap();
    let view = decoded.view(decoded.find_view(VIEW).unwrap()).unwrap();
    let view = view.clone();
    let now = SystemClock.now();
    let mut centre = Centre::new(&registry, now);
    centre.batch(&view, (1, 0), &[(1, now.0, 11)], 10);
    centre.release(now);
    let (place, lie) = Place::of(&centre.memory);
    let folder = tempfile::tempdir().unwrap();
    let store_config = StoreConfig {
        free_space_min_bytes: 0,
        free_space_min_percent: 0,
        ..StoreConfig::default()
    };
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, store_config, &mut |_| {}).unwrap();
    let node = Node::open(store, NodeConfig::default(), Arc::new(SystemClock)).unwrap();
    let config = AgentConfig {
        folder: folder.path().join("feed"),
        ..config
    };
    let root = centre.root();
    let mut agent = Agent::open(Arc::clone(&node), place, &root, None, config).unwrap();
    let outcome = agent.round().unwrap();
    assert_eq!(
        outcome,
        Outcome::Installed {
            version: 1,
            rows: 1
        }
    );
    Bench {
        centre,
        view,
        lie,
        node,
        agent,
        folder,
    }
}

impl Bench {
    /// The agent of the node's next start, which follows what is in `memory`.
    fn restart(&mut self, memory: &Memory, config: AgentConfig) {
        let (place, lie) = Place::of(memory);
        let root = memory.files()[&path_of(Role::Root, 1)].clone();
        let config = AgentConfig {
            folder: self.folder.path().join("feed"),
            ..config
        };
        let node = Arc::clone(&self.node);
        self.agent = Agent::open(node, place, &root, None, config).unwrap();
        self.lie = lie;
    }

    /// The rate of the sample view's driver 1.
    fn rate(&self) -> i64 {
        let sink = self.node.sink(VIEW).unwrap().unwrap();
        let rate = sink.view.position("conv_rate").unwrap();
        let snapshot = self.node.store().load_full();
        let mut found = None;
        snapshot
            .scan(sink.table, &mut |key, row| {
                let values = EntityKey::decode(&[KeyType::Int64], key).unwrap();
                if values == [Value::Int64(1)] {
                    let row = galley_node::store::Row::parse(row).unwrap();
                    let value_type = sink.view.schema.fields[rate].value_type;
                    if let Cell::Float(value) = row.cell(rate, value_type).unwrap() {
                        found = Some(value as i64);
                    }
                }
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        found.expect("driver 1 has a rate")
    }

    fn rows(&self) -> u64 {
        self.rows_of(VIEW)
    }

    fn rows_of(&self, view: &str) -> u64 {
        let sink = self.node.sink(view).unwrap().unwrap();
        let stats = self.node.store().stats();
        let mut tables = stats.tables.iter();
        tables.find(|it| it.table == sink.table).unwrap().rows
    }

    /// The next release is refused for `code`, and the first one serves.
    #[track_caller]
    fn refused(&mut self, code: &str) {
        self.centre.release(SystemClock.now());
        let error = self.agent.round().unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        let status = self.agent.status();
        assert_eq!(status.installed.unwrap().version, 1);
        assert_eq!(status.error.unwrap().0, code);
        assert_eq!(self.rows(), 1);
        // Refused again, not forgotten and not taken.
        assert_eq!(self.agent.round().unwrap_err().code(), code);
        assert_eq!(self.agent.status().failures, 2);
    }

    /// With something better the node goes on.
    fn recovers(&mut self, expect: u64) {
        let now = SystemClock.now();
        let rows: Vec<_> = (0..expect as i64).map(|id| (id, now.0, id)).collect();
        self.centre.batch(&self.view, (2, 0), &rows, 3);
        let version = self.centre.release(now);
        let outcome = self.agent.round().unwrap();
        assert_eq!(
            outcome,
            Outcome::Installed {
                version,
                rows: expect
            }
        );
        assert_eq!((self.rows(), self.agent.status().failures), (expect, 0));
    }
}

#[test]
fn content_that_is_signed_and_bad_is_refused_by_its_own_reason() {
    let mut bench = bench();
    bench.centre.put_file(
        "registry.pb",
        b"no registry",
        &json!({ "kind": "registry" }),
    );
    bench.refused("registry");
    let registry = std::fs::read(data("registry.pb")).unwrap();
    bench
        .centre
        .put_file("registry.pb", &registry, &json!({ "kind": "registry" }));
    bench.recovers(7);
}

#[test]
fn rows_of_a_view_that_is_not_there_are_refused() {
    let mut bench = bench();
    let mut view = bench.view.clone();
    view.name = "nobody_knows".to_owned();
    bench.centre.batch(&view, (1, 0), &[(1, 1, 1)], 10);
    bench.refused("rows");
}

#[test]
fn rows_of_another_schema_are_refused() {
    let mut bench = bench();
    let mut view = bench.view.clone();
    view.schema.fields.pop();
    bench
        .centre
        .batch(&view, (1, 1), &[(1, i64::MAX / 2, 1)], 10);
    bench.refused("bad_part");
    bench.recovers(3);
}

#[test]
fn an_endless_file_is_read_to_its_signed_length() {
    let mut bench = bench();
    let before = bench.agent.status().bytes;
    let now = SystemClock.now();
    bench
        .centre
        .batch(&bench.view.clone(), (1, 1), &[(2, now.0, 2)], 10);
    bench.centre.release(now);
    *bench.lie.lock().unwrap() = Lie::Endless;
    assert!(bench.agent.round().is_ok());
    assert_eq!(bench.rows(), 2);
    let fetched = bench.agent.status().bytes - before;
    assert!(fetched < 16 << 10, "{fetched} bytes fetched");
}

#[test]
fn places_that_send_something_else_are_refused_and_cost_little() {
    let cases = [
        (Lie::Short, "short_file"),
        (Lie::Bit, "wrong_digest"),
        (Lie::Unchanged, "odd_answer"),
    ];
    for (lie, code) in cases {
        let mut bench = bench();
        let before = bench.agent.status().bytes;
        let now = SystemClock.now();
        bench
            .centre
            .batch(&bench.view.clone(), (1, 1), &[(2, now.0, 2)], 10);
        *bench.lie.lock().unwrap() = lie;
        bench.refused(code);
        let fetched = bench.agent.status().bytes - before;
        assert!(fetched < 4 << 20, "{lie:?}: {fetched} bytes fetched");
        *bench.lie.lock().unwrap() = Lie::None;
        bench.recovers(5);
        // The registry stays, and nothing of what was refused.
        let content = bench.folder.path().join("feed/content");
        let left = std::fs::read_dir(content).unwrap().count();
        assert_eq!(left, 1, "{lie:?}");
    }
}

#[test]
fn only_views_that_are_wanted_bring_rows() {
    let other = "driver_hourly_stats_fresh";
    let wants = [
        (
            AgentConfig {
                views: vec![VIEW.to_owned()],
                ..AgentConfig::default()
            },
            [2, 0],
        ),
        (
            AgentConfig {
                views: vec![other.to_owned(), VIEW.to_owned()],
                ..AgentConfig::default()
            },
            [2, 3],
        ),
        (AgentConfig::default(), [2, 3]),
    ];
    for (config, expect) in wants {
        let mut bench = bench_with(config);
        let now = SystemClock.now();
        let registry = bench.node.registry().unwrap();
        let view = registry.view(registry.find_view(other).unwrap()).unwrap();
        let rows: Vec<_> = (0..3).map(|id| (id, now.0, id)).collect();
        bench.centre.batch(view, (1, 0), &rows, 2);
        bench
            .centre
            .batch(&bench.view.clone(), (1, 1), &[(2, now.0, 2)], 10);
        bench.centre.release(now);
        bench.agent.round().unwrap();
        assert_eq!([bench.rows(), bench.rows_of(other)], expect);
    }
}

#[test]
fn transfers_keep_to_their_bandwidth() {
    let config = AgentConfig {
        bandwidth_max: Some(256 << 10),
        ..AgentConfig::default()
    };
    let mut bench = bench_with(config);
    let now = SystemClock.now();
    let rows: Vec<_> = (0..4_000).map(|id| (id, now.0, id)).collect();
    bench
        .centre
        .batch(&bench.view.clone(), (2, 0), &rows, 10_000);
    bench.centre.release(now);
    let before = bench.agent.status().bytes;
    let started = std::time::Instant::now();
    bench.agent.round().unwrap();
    let (took, bytes) = (started.elapsed(), bench.agent.status().bytes - before);
    assert!(bytes > 128 << 10, "{bytes} bytes");
    let due = bytes as f64 / f64::from(256 << 10);
    assert!(took.as_secs_f64() > due * 0.9, "{bytes} bytes in {took:?}");
}

#[test]
fn a_manifest_that_leads_elsewhere_is_refused() {
    let sources = [
        r#"{ url = "http://169.254.169.254/x", digest = "sha256:00" }"#,
        r#""../../../../etc/passwd""#,
        r#""components/other.wasm""#,
    ];
    for source in sources {
        let mut bench = bench();
        let manifest = format!(
            "spin_manifest_version = 2\n[application]\nname = \"a\"\n\
             [[trigger.galley]]\ncomponent = \"c\"\non-demand-feature-view = \"v\"\n\
             [component.c]\nsource = {source}\n"
        );
        let kind = json!({ "kind": "manifest" });
        bench
            .centre
            .put_file("spin.toml", manifest.as_bytes(), &kind);
        bench.refused("manifest");
        assert!(
            bench
                .agent
                .status()
                .error
                .unwrap()
                .1
                .contains("component.c"),
            "{source}"
        );
    }
}

#[test]
fn what_expired_before_it_could_be_installed_is_not_installed() {
    let mut bench = bench();
    let now = SystemClock.now();
    bench
        .centre
        .batch(&bench.view.clone(), (1, 1), &[(2, now.0, 2)], 10);
    *bench.lie.lock().unwrap() = Lie::Bit;
    // It is good for another second and a half.
    let life = EventTime(now.0 + 1_500_000 - TIMESTAMP_HOURS * 3_600_000_000);
    bench.centre.release(life);
    assert_eq!(bench.agent.round().unwrap_err().code(), "wrong_digest");
    assert!(!bench.agent.status().frozen);
    *bench.lie.lock().unwrap() = Lie::None;
    std::thread::sleep(std::time::Duration::from_millis(1_600));
    assert_eq!(bench.agent.round().unwrap_err().code(), "frozen");
    assert_eq!(bench.rows(), 1);
    // Published again, it is.
    bench.centre.release(SystemClock.now());
    assert!(bench.agent.round().is_ok());
    assert_eq!(bench.rows(), 2);
}

#[test]
fn rows_beyond_the_memory_for_them_are_seen_all_at_once_and_taken_back() {
    let config = AgentConfig {
        memory_max: 1,
        ..AgentConfig::default()
    };
    let mut bench = bench_with(config);
    let now = SystemClock.now();
    let rows: Vec<_> = (0..30).map(|id| (id, now.0 + 1, 77)).collect();
    // Behind many parts that are as they should be comes one that is not.
    bench.centre.batch(&bench.view, (1, 1), &rows, 7);
    let last = json!({
        "kind": "batch", "project": "rides", "view": VIEW, "epoch": 1, "sequence": 1,
        "mode": "upsert", "part": 4, "parts": 5, "rows": 2, "end": 0,
    });
    let path = format!("batches/{VIEW}/1-1/4.arrow");
    bench.centre.put_file(&path, b"no part", &last);
    bench.refused("bad_part");
    bench.centre.batch(&bench.view, (1, 1), &rows, 7);
    let version = bench.centre.release(SystemClock.now());
    let outcome = bench.agent.round().unwrap();
    assert_eq!(outcome, Outcome::Installed { version, rows: 30 });
    assert_eq!(bench.rows(), 30);
    assert!(bench.node.store().check().unwrap().is_whole());
    assert_eq!(bench.agent.roll_back().unwrap(), 1);
    assert_eq!(bench.rows(), 1);
    assert!(bench.node.store().check().unwrap().is_whole());
}

/// A view that was gone while the node looked away comes back with the epoch it began with.
#[test]
fn rows_of_a_view_that_came_back_are_those_of_the_new_one() {
    let mut bench = bench();
    let view = bench.view.clone();
    let now = SystemClock.now();
    bench
        .centre
        .batch(&view, (1, 0), &[(1, now.0, 99), (2, now.0, 5)], 10);
    bench.centre.release(now);
    bench.agent.round().unwrap();
    assert_eq!((bench.rate(), bench.rows()), (99, 2));
    // What is the same is not taken again.
    bench.centre.batch(&view, (1, 1), &[(3, now.0, 7)], 10);
    bench.centre.release(now);
    let outcome = bench.agent.round().unwrap();
    assert!(matches!(outcome, Outcome::Installed { rows: 1, .. }));
}

#[test]
fn a_feed_made_anew_is_followed_from_its_own_root_once_the_other_is_forgotten() {
    let mut bench = bench();
    let registry = std::fs::read(data("registry.pb")).unwrap();
    let now = SystemClock.now();
    let mut other = Centre::new(&registry, now);
    other.batch(&bench.view, (1, 0), &[(1, now.0, 99), (2, now.0, 5)], 10);
    other.release(now);
    bench.restart(&other.memory, AgentConfig::default());
    let error = bench.agent.round().unwrap_err();
    assert!(error.to_string().contains("--forget"), "{error}");
    assert_eq!((bench.rate(), bench.rows()), (11, 1));
    // What was trusted is let go for a root only.
    Agent::forget(&bench.node, b"{}").unwrap_err();
    bench.restart(&other.memory, AgentConfig::default());
    assert!(bench.agent.round().is_err());
    Agent::forget(&bench.node, &other.root()).unwrap();
    bench.restart(&other.memory, AgentConfig::default());
    let installed = Outcome::Installed {
        version: 1,
        rows: 2,
    };
    assert_eq!(bench.agent.round().unwrap(), installed);
    assert_eq!((bench.rate(), bench.rows()), (99, 2));
    assert_eq!(
        bench.agent.round().unwrap(),
        Outcome::Unchanged { version: 1 }
    );
}

#[test]
fn views_wanted_since_a_start_are_fetched_from_the_release_that_serves() {
    let other = "driver_hourly_stats_fresh";
    let narrow = AgentConfig {
        views: vec![VIEW.to_owned()],
        ..AgentConfig::default()
    };
    let mut bench = bench_with(narrow);
    let now = SystemClock.now();
    let registry = bench.node.registry().unwrap();
    let view = registry.view(registry.find_view(other).unwrap()).unwrap();
    bench
        .centre
        .batch(view, (1, 0), &[(1, now.0, 1), (2, now.0, 2)], 2);
    let version = bench.centre.release(now);
    bench.agent.round().unwrap();
    assert_eq!([bench.rows(), bench.rows_of(other)], [1, 0]);
    bench.restart(&bench.centre.memory.clone(), AgentConfig::default());
    let installed = Outcome::Installed { version, rows: 2 };
    assert_eq!(bench.agent.round().unwrap(), installed);
    assert_eq!([bench.rows(), bench.rows_of(other)], [1, 2]);
    assert_eq!(bench.agent.round().unwrap(), Outcome::Unchanged { version });
    // There is nothing before: it would be the same release.
    assert_eq!(
        bench.agent.roll_back().unwrap_err().code(),
        "nothing_before"
    );
}

/// A place that says nothing more once it has begun.
#[derive(Debug)]
struct Drip(Memory);

impl Remote for Drip {
    fn read(&self, path: &str, ask: &Ask) -> Result<Fetched, RemoteError> {
        struct Slow;
        impl std::io::Read for Slow {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                std::thread::sleep(std::time::Duration::from_millis(50));
                buffer[0] = b' ';
                Ok(1)
            }
        }
        let fetched = self.0.read(path, ask)?;
        Ok(match fetched {
            Fetched::Body(body) => Fetched::Body(Body {
                bytes: Box::new(Slow),
                ..body
            }),
            unchanged => unchanged,
        })
    }

    fn location(&self) -> String {
        "drip".to_owned()
    }
}

#[test]
fn a_rollback_and_the_end_do_not_wait_for_a_place_that_sends_one_byte_after_the_other() {
    let mut bench = bench();
    let now = SystemClock.now();
    bench
        .centre
        .batch(&bench.view.clone(), (1, 1), &[(2, now.0, 2)], 10);
    bench.centre.release(now);
    bench.agent.round().unwrap();
    bench.centre.sign(now);
    let place = Arc::new(Drip(bench.centre.memory.clone()));
    let config = AgentConfig {
        folder: bench.folder.path().join("feed"),
        ..AgentConfig::default()
    };
    let root = bench.centre.root();
    let agent = Agent::open(Arc::clone(&bench.node), place, &root, None, config).unwrap();
    let started = std::time::Instant::now();
    let handle = super::AgentHandle::start(agent).unwrap();
    while handle.status().state != super::AgentState::Looking {
        std::thread::yield_now();
    }
    let answer = handle.ask(super::Command::RollBack).unwrap();
    let answer = answer.recv_timeout(std::time::Duration::from_secs(5));
    assert_eq!(answer, Ok(Ok(Outcome::RolledBack { version: 1 })));
    assert_eq!(bench.rows(), 1);
    drop(handle);
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

//! Three nodes and a centre, in virtual time: partitions, lies, crashes, clocks that jump.
//!
//! Every seed is one history. After every step each node must hold exactly what the release it
//! says it serves holds; when all is well again all must hold the same.

mod disk;
mod line;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use galley_node::store::{Row as StoredRow, Store, StoreConfig};
use galley_node::{DecodeOptions, Node, NodeConfig, Registry, StoredView};
use galley_types::{Cell, Clock, EntityKey, EventTime, KeyType, Value};

use super::{Agent, AgentConfig, Outcome};
use crate::feed::Role;
use crate::feed::testing::{Centre, Files, Row};
use crate::remote::Remote;
use crate::testing::data;
use disk::Disk;
use line::{Line, Weather};

/// Histories of a run; `GALLEY_SEED` at build time picks a single one.
const SEEDS: u64 = 1_000;
const STEPS: usize = 30;
const NODES: usize = 3;
const DRIVERS: u64 = 8;
const VIEWS: [&str; 2] = ["driver_hourly_stats", "driver_hourly_stats_fresh"];
/// States of the feed that a mirror may go back to.
const PAST_MAX: usize = 4;
const HOUR: i64 = 3_600_000_000;
const T0: i64 = 1_790_000_000_000_000;

/// A small generator with a seed that is printed.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// True time, and how far a node's clock is from it.
#[derive(Debug)]
struct SimClock {
    time: Arc<AtomicI64>,
    skew: AtomicI64,
}

impl Clock for SimClock {
    fn now(&self) -> EventTime {
        let time = self.time.load(Ordering::Relaxed);
        EventTime(time.saturating_add(self.skew.load(Ordering::Relaxed)))
    }
}

/// What a view holds: driver -> (event time, rate).
type Content = BTreeMap<i64, (i64, i64)>;
/// What both views hold.
type Contents = [Content; 2];

struct SimNode {
    disk: Disk,
    clock: Arc<SimClock>,
    line: Arc<Line>,
    folder: tempfile::TempDir,
    running: Option<(Arc<Node>, Agent)>,
    /// Bytes of a release's rows that wait in memory: none, some, all.
    memory_max: u64,
    /// The newest release it installed.
    newest: u64,
}

struct World {
    centre: Centre,
    time: Arc<AtomicI64>,
    registry: Vec<u8>,
    views: Vec<StoredView>,
    chains: [(u64, u64); 2],
    now: Contents,
    /// The feed as it was after each of its last changes.
    past: Vec<Files>,
    /// What each release holds.
    history: BTreeMap<u64, Contents>,
    nodes: Vec<SimNode>,
}

fn store(disk: &Disk) -> Store {
    let config = StoreConfig {
        cache_bytes: 1 << 20,
        free_space_min_bytes: 0,
        free_space_min_percent: 0,
        ..StoreConfig::default()
    };
    Store::with_backend(disk.clone(), config).unwrap()
}

impl SimNode {
    fn start(&mut self, root: &[u8]) {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let node = Node::open(store(&self.disk), NodeConfig::default(), clock).unwrap();
        let config = AgentConfig {
            folder: self.folder.path().to_owned(),
            memory_max: self.memory_max,
            ..AgentConfig::default()
        };
        let line = Arc::clone(&self.line) as Arc<dyn Remote>;
        let agent = Agent::open(Arc::clone(&node), line, root, None, config).unwrap();
        self.running = Some((node, agent));
    }

    /// The power goes, and comes back.
    fn crash(&mut self, root: &[u8], random: &mut Random) {
        let disk = self.disk.crashed(random);
        if let Some((node, agent)) = self.running.take() {
            drop(agent);
            node.shutdown();
        }
        self.disk = disk;
        self.start(root);
    }

    fn round(&mut self) -> Result<Outcome, String> {
        let (_, agent) = self.running.as_mut().unwrap();
        agent.round().map_err(|error| error.code().to_owned())
    }

    fn serves(&self) -> Option<u64> {
        let (_, agent) = self.running.as_ref().unwrap();
        agent.status().installed.map(|installed| installed.version)
    }

    fn content(&self) -> Contents {
        let (node, _) = self.running.as_ref().unwrap();
        VIEWS.map(|view| {
            let sink = node.sink(view).unwrap().unwrap();
            let rate = sink.view.position("conv_rate").unwrap();
            let value_type = sink.view.schema.fields[rate].value_type;
            let mut content = Content::new();
            let snapshot = node.store().load_full();
            snapshot
                .scan(sink.table, &mut |key, row| {
                    let values = EntityKey::decode(&[KeyType::Int64], key).unwrap();
                    let [Value::Int64(driver)] = values.as_slice() else {
                        panic!("not a key");
                    };
                    // What look-ups read and what lies in the file are the same.
                    let looked_up = snapshot.get(sink.table, key).unwrap().unwrap();
                    assert_eq!(&*looked_up, row);
                    let row = StoredRow::parse(row).unwrap();
                    let Cell::Float(found) = row.cell(rate, value_type).unwrap() else {
                        panic!("not a rate");
                    };
                    content.insert(*driver, (row.event_time().0, found as i64));
                    std::ops::ControlFlow::Continue(())
                })
                .unwrap();
            content
        })
    }
}

impl World {
    fn new(random: &mut Random) -> Self {
        let registry = std::fs::read(data("registry.pb")).unwrap();
        let options = DecodeOptions {
            project: Some("rides"),
            versioning: false,
        };
        let decoded = Registry::decode(&registry, &options).unwrap();
        let views = VIEWS.map(|name| {
            let index = decoded.find_view(name).unwrap();
            decoded.view(index).unwrap().clone()
        });
        let time = Arc::new(AtomicI64::new(T0));
        let centre = Centre::new(&registry, EventTime(T0));
        let nodes = (0..NODES).map(|at| {
            let clock = SimClock {
                time: Arc::clone(&time),
                skew: AtomicI64::new(0),
            };
            let line = Line {
                memory: centre.memory.clone(),
                weather: Mutex::default(),
                random: Mutex::new(Random(random.below(u64::MAX))),
            };
            SimNode {
                disk: Disk::default(),
                clock: Arc::new(clock),
                line: Arc::new(line),
                folder: tempfile::tempdir().unwrap(),
                running: None,
                memory_max: [0, 150, 1 << 20].get(at).copied().unwrap_or(0),
                newest: 0,
            }
        });
        let mut world = Self {
            nodes: nodes.collect(),
            centre,
            time,
            registry,
            views: views.to_vec(),
            chains: [(0, 0); 2],
            now: Contents::default(),
            past: Vec::new(),
            history: BTreeMap::new(),
        };
        let root = world.centre.root();
        for node in &mut world.nodes {
            node.start(&root);
        }
        world
    }

    fn time(&self) -> EventTime {
        EventTime(self.time.load(Ordering::Relaxed))
    }

    /// Publishes rows for one view or both: some on top of those there are, or all anew.
    fn publish(&mut self, random: &mut Random) {
        for view in 0..VIEWS.len() {
            let first = self.chains[view].0 == 0;
            if !first && random.one_in(3) {
                continue;
            }
            let rows: Vec<Row> = (0..random.below(6) + 1)
                .map(|_| {
                    let back = random.below(50) as i64 * 1_000_000;
                    let driver = random.below(DRIVERS) as i64;
                    (driver, self.time().0 - back, random.below(1000) as i64)
                })
                .collect();
            let whole = first || random.one_in(4);
            let (epoch, sequence) = self.chains[view];
            self.chains[view] = if whole {
                (epoch + 1, 0)
            } else {
                (epoch, sequence + 1)
            };
            if whole {
                self.now[view].clear();
            }
            for (driver, time, rate) in &rows {
                let known = self.now[view].get(driver);
                if known.is_none_or(|known| *time >= known.0) {
                    self.now[view].insert(*driver, (*time, *rate));
                }
            }
            let part = random.below(4) as usize + 1;
            self.centre
                .batch(&self.views[view], self.chains[view], &rows, part);
        }
        let now = self.time();
        let version = self.centre.release(now);
        self.history.insert(version, self.now.clone());
        if self.past.len() == PAST_MAX {
            self.past.remove(0);
        }
        self.past.push(self.centre.memory.files().clone());
    }

    /// A node holds what the release that it serves holds, and nothing else.
    fn check(&self, seed: u64) {
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(version) = node.serves() else {
                continue;
            };
            let content = node.content();
            assert_eq!(
                content, self.history[&version],
                "seed {seed}: node {at} does not hold release {version}"
            );
        }
    }

    fn step(&mut self, random: &mut Random, seed: u64) {
        let time = random.below(3 * HOUR as u64) as i64;
        self.time.fetch_add(time, Ordering::Relaxed);
        let now = self.time();
        let root = self.centre.root();
        let at = random.below(NODES as u64) as usize;
        match random.below(16) {
            0..=2 => self.publish(random),
            3 => self.centre.sign(now),
            4 if random.one_in(2) => {
                let roles = Role::ALL;
                let role = roles[random.below(roles.len() as u64) as usize];
                self.centre.rotate(role, now);
            }
            4..=9 => {
                // A failure is an answer: the check after it tells whether what serves is right.
                if let Ok(Outcome::Installed { version, .. }) = self.nodes[at].round() {
                    let newest = &mut self.nodes[at].newest;
                    assert!(
                        version > *newest,
                        "seed {seed}: node {at} installed release {version} after {newest}"
                    );
                    *newest = version;
                }
            }
            10 => self.nodes[at].crash(&root, random),
            11 => {
                let far = [HOUR, 24 * HOUR, 10 * 365 * 24 * HOUR];
                let skew = far[random.below(3) as usize] * (random.below(3) as i64 - 1);
                self.nodes[at].clock.skew.store(skew, Ordering::Relaxed);
            }
            12 => {
                let (_, agent) = self.nodes[at].running.as_mut().unwrap();
                // Nothing to go back to is an answer.
                let _ = agent.roll_back();
            }
            _ => {
                let files = self.past.get(random.below(self.past.len() as u64) as usize);
                let stale = files.cloned().filter(|_| random.one_in(3));
                let mut weather = self.nodes[at].line.weather.lock().unwrap();
                *weather = Weather {
                    cut: random.one_in(4),
                    trouble: [0, 0, 10, 50][random.below(4) as usize],
                    stale,
                };
            }
        }
        self.check(seed);
    }

    /// All is well again, something new is published, and every node comes to hold it.
    fn converge(&mut self, random: &mut Random, seed: u64) {
        for node in &mut self.nodes {
            *node.line.weather.lock().unwrap() = Weather::default();
            node.clock.skew.store(0, Ordering::Relaxed);
        }
        self.time.fetch_add(HOUR, Ordering::Relaxed);
        self.publish(random);
        let version = self.centre.version();
        for at in 0..NODES {
            let outcome = self.nodes[at].round();
            assert!(
                matches!(outcome, Ok(Outcome::Installed { version: got, .. }) if got == version),
                "seed {seed}: node {at} came to {outcome:?}, not to release {version}"
            );
            assert_eq!(
                self.nodes[at].round(),
                Ok(Outcome::Unchanged { version }),
                "seed {seed}"
            );
        }
        self.check(seed);
        let first = self.nodes[0].content();
        for node in &self.nodes {
            assert_eq!(node.content(), first, "seed {seed}");
        }
    }

    fn stop(&mut self) {
        for node in &mut self.nodes {
            if let Some((node, agent)) = node.running.take() {
                drop(agent);
                node.shutdown();
            }
        }
        drop(std::mem::take(&mut self.registry));
    }
}

fn history(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
    let mut world = World::new(&mut random);
    for _ in 0..STEPS {
        world.step(&mut random, seed);
    }
    world.converge(&mut random, seed);
    world.stop();
}

#[test]
fn nodes_hold_what_they_say_and_all_come_to_hold_the_same() {
    let (from, seeds) = match option_env!("GALLEY_SEED").and_then(|it| it.parse().ok()) {
        Some(seed) => (seed, 1),
        None => (0, SEEDS),
    };
    let next = AtomicU64::new(from);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        break;
                    }
                    history(seed);
                }
            });
        }
    });
}

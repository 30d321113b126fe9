//! `galley demo --fleet`: a centre and three nodes on one machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use galley_sync::feed::{Keyring, Lives, NewKeyring, ORPHANS_AFTER, Publisher, Rows, What};
use galley_sync::remote::Folder;
use galley_sync::{MaterializeConfig, Repo};
use galley_types::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::{set_up, sources, step};
use crate::app::Background;
use crate::client::Client;
use crate::config::{Config, Overrides};
use crate::output;

/// Nodes of the fleet.
const NODES: usize = 3;
/// How often each looks at the feed.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a release may take to arrive before the demo gives up.
const ARRIVAL_MAX: Duration = Duration::from_secs(60);
/// How often the demo looks whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The driver that is looked at.
const DRIVER: i64 = 7;

/// The central side: a repo, keys, and the feed.
struct Centre {
    folder: PathBuf,
    keyring: Keyring,
    repo: Repo,
}

/// A node, and the line on which it reaches the feed.
struct Node {
    name: String,
    line: PathBuf,
    background: Background,
    client: Client,
}

/// Sets a fleet up in `folder` and shows what it does; the nodes serve until they are dropped.
pub(super) fn show(folder: &Path) -> Result<Fleet> {
    let started = Instant::now();
    let centre = Centre::new(folder)?;
    step("A centre: a Feast repo, keys and a signed feed", started);
    let started = Instant::now();
    let version = centre.publish()?;
    step(&format!("galley publish: release {version}"), started);

    let started = Instant::now();
    let nodes: Vec<Node> = (1..=NODES)
        .map(|number| Node::start(folder, number))
        .collect::<Result<_>>()?;
    let [first, second, third] = nodes.as_slice() else {
        bail!("the fleet has {} nodes", nodes.len());
    };
    all_reach(&[first, second, third], version)?;
    step(
        &format!("{NODES} nodes follow and serve release {version}"),
        started,
    );
    say(&nodes)?;

    sources::write_trips(&folder.join("centre/data"), 100, SystemClock.now())?;
    let version = centre.publish()?;
    let started = Instant::now();
    all_reach(&[first, second, third], version)?;
    let title = format!("\nNew rows, published as release {version}: on all nodes after");
    step(&title, started);
    say(&nodes)?;

    fs::remove_file(&third.line).context("cut the third node off")?;
    sources::write_trips(&folder.join("centre/data"), 200, SystemClock.now())?;
    let version = centre.publish()?;
    all_reach(&[first, second], version)?;
    third.sync();
    output::line(format!(
        "\n{} is cut off; release {version} reaches the others, it goes on with what it has",
        third.name
    ));
    say(&nodes)?;

    let started = Instant::now();
    symlink(folder.join("feed"), &third.line).context("join the third node again")?;
    third.sync();
    all_reach(&[third], version)?;
    step("\nThe line is back: it catches up in", started);
    say(&nodes)?;

    let started = Instant::now();
    first.client.post("/v1/rollback", &Value::Null)?;
    let title = format!(
        "\ngalley rollback on {}: the release before serves in",
        first.name
    );
    step(&title, started);
    say(&nodes)?;
    Ok(Fleet(nodes))
}

/// Nodes that serve.
pub(super) struct Fleet(Vec<Node>);

impl Fleet {
    /// The nodes' addresses.
    pub(super) fn urls(&self) -> Vec<&str> {
        self.0.iter().map(|node| node.client.url()).collect()
    }

    /// Stops the nodes.
    pub(super) fn close(self) -> Result<()> {
        self.0
            .into_iter()
            .try_for_each(|node| node.background.close())
    }
}

// === impl Centre ===

impl Centre {
    fn new(folder: &Path) -> Result<Self> {
        let repo_folder = folder.join("centre");
        set_up(&repo_folder)?;
        let keys = folder.join("keys");
        let keyring = match Keyring::open(&keys) {
            Ok(keyring) => keyring,
            Err(_) => {
                let new = NewKeyring {
                    root_keys: 1,
                    threshold: 1,
                };
                Keyring::create(&keys, new, SystemClock.now())?
            }
        };
        Ok(Self {
            folder: folder.to_owned(),
            keyring,
            repo: Repo::open(&repo_folder, &|name| crate::environment(name))?,
        })
    }

    fn publish(&self) -> Result<u64> {
        let store = Folder::new(self.folder.join("feed"));
        let publisher = Publisher {
            store: &store,
            keyring: &self.keyring,
            repo: &self.repo,
            manifest: &self.folder.join("centre/spin.toml"),
            scratch: &self.folder.join("scratch"),
            rows: MaterializeConfig::default(),
            lives: Lives::default(),
            keep: 8,
            orphans_after: ORPHANS_AFTER,
            dry_run: false,
        };
        let now = SystemClock.now();
        let what = What::Release(Rows::New { end: now }, None);
        Ok(publisher.publish(&what, now, &mut |_, _, _| {})?.version)
    }
}

// === impl Node ===

impl Node {
    fn start(folder: &Path, number: usize) -> Result<Self> {
        let name = format!("node-{number}");
        let line = folder.join(format!("{name}-line"));
        if fs::symlink_metadata(&line).is_err() {
            symlink(folder.join("feed"), &line)
                .with_context(|| format!("make {}", line.display()))?;
        }
        let mut config = Config::resolve(&Overrides::default(), std::iter::empty())?;
        config.data_dir = Some(folder.join(&name));
        config.feed = Some(line.display().to_string());
        config.feed_root = Some(folder.join("keys/1.root.json"));
        config.agent.interval = INTERVAL;
        config.api.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.api.workers = Some(1);
        let background = Background::start(&config)?;
        let client = Client::new(&background.url)?;
        Ok(Self {
            name,
            line,
            background,
            client,
        })
    }

    /// Asks the node to look at the feed now; whether it could is in its status.
    fn sync(&self) {
        if let Err(error) = self.client.post("/v1/sync", &Value::Null) {
            tracing::debug!(node = self.name, %error, "no sync");
        }
    }

    fn status(&self) -> Result<Value> {
        let status = self.client.get("/status")?.body;
        Ok(status.get("feed").cloned().unwrap_or_default())
    }

    /// What the node answers for one driver.
    fn trips(&self) -> Result<String> {
        let body = json!({
            "features": ["driver_activity:trips_today"],
            "entities": { "driver_id": [DRIVER] },
        });
        let answer = self.client.post("/get-online-features", &body)?.body;
        let value = answer.pointer("/results/1/values/0");
        Ok(value.map(ToString::to_string).unwrap_or_default())
    }
}

/// Waits until all `nodes` serve `version`.
fn all_reach(nodes: &[&Node], version: u64) -> Result<()> {
    let started = Instant::now();
    for node in nodes {
        loop {
            let status = node.status()?;
            if status.get("version").and_then(Value::as_u64) >= Some(version) {
                break;
            }
            if started.elapsed() > ARRIVAL_MAX {
                bail!("release {version} did not reach {}: {status}", node.name);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    Ok(())
}

fn say(nodes: &[Node]) -> Result<()> {
    for node in nodes {
        let status = node.status()?;
        let text = |key: &str| status.get(key).map(ToString::to_string).unwrap_or_default();
        let problem = match status.get("error_code").and_then(Value::as_str) {
            Some(code) => format!(", the feed is {code}"),
            None => String::new(),
        };
        output::line(format!(
            "  {}  release {}: trips_today of driver {DRIVER} is {}{problem}",
            node.name,
            text("version"),
            node.trips()?,
        ));
    }
    Ok(())
}

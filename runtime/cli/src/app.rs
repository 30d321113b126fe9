//! A node with everything around it: store, registry, materialiser, follower, server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use galley_api::{NodeSlot, Server, ServerInfo};
use galley_node::store::{OpenProgress, Store, StoreConfig};
use galley_node::{Importer, JobProgress, MaterializeError, Materializer, Node, NodeConfig};
use galley_sync::flight::OfflineClient;
use galley_sync::outbox::{Centre, Landing, OfflineStore, OutboxSource, Sender, fresh_producer};
use galley_sync::{GrpcAddress, GrpcTls};
use galley_sync::{
    ParquetMaterializer, RegistryFollower, Repo, Scheduler, TransformFollower, TransformLoader,
    remote,
};
use galley_transform::Worker;
use galley_types::{Classify as _, SystemClock};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::feed;
use crate::http_components::HttpComponents;
use crate::job_history::JobHistory;
use crate::signals::Stop;

/// The store's file in the data folder.
const STORE_FILE: &str = "store.redb";

/// Tells other commands where the server that holds the data folder is.
const ADDRESS_FILE: &str = "galley.json";

/// The last registry that was good, for starts at which the repo's is not.
const LAST_GOOD_FILE: &str = "registry.last-good.pb";

/// Compiled and fetched components lie in this folder of the data folder.
const TRANSFORMS_FOLDER: &str = "transforms";

/// Files of sources from elsewhere lie in this folder of the data folder while they are read.
const DOWNLOADS_FOLDER: &str = "downloads";

/// Files to import lie in this folder of the data folder.
const IMPORTS_FOLDER: &str = "imports";

/// A node that serves a repo.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) node: Arc<Node>,
    following: Option<Following>,
    http: Option<HttpComponents>,
    scheduler: Option<Scheduler>,
    sender: Option<Sender>,
}

/// What keeps a node at what is elsewhere, until it is dropped.
#[derive(Debug)]
enum Following {
    /// The registry and the manifest of a repo.
    Repo(
        #[expect(dead_code, reason = "held so that it goes on")]
        (RegistryFollower, TransformFollower),
    ),
    /// A feed.
    Feed(Arc<feed::Following>),
}

/// A server on a thread of its own, for commands that need one while they run.
#[derive(Debug)]
pub(crate) struct Background {
    pub(crate) url: String,
    stop: Stop,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    app: Option<App>,
}

/// The address file's content.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Address {
    pub(crate) address: String,
    pub(crate) pid: u32,
}

/// The address file while a server runs; it goes with the server.
#[derive(Debug)]
pub(crate) struct AddressFile {
    path: PathBuf,
}

/// What opening a node is busy with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opening {
    /// Its store.
    Store(OpenProgress),
    /// What it follows: registry, manifest, components.
    Repo,
}

// === impl App ===

impl App {
    /// Opens store and registry and joins them.
    pub(crate) fn open(config: &Config, progress: &mut dyn FnMut(Opening)) -> Result<Self> {
        let repo = match config.feed {
            None => Some(config.open_repo()?),
            Some(_) => None,
        };
        let node = open_node(config, &mut |store| progress(Opening::Store(store)))?;
        progress(Opening::Repo);
        let data_dir = config.data_dir();
        let kept_max = config.node.jobs_kept_max;
        let (history, past) = JobHistory::open(&data_dir, kept_max);
        node.keep_jobs(Arc::new(history), past);
        node.set_materializer(materializer(config, repo.as_ref()));
        let imports = data_dir.join(IMPORTS_FOLDER);
        node.set_importer(Arc::new(FolderImporter { folder: imports }));
        let following = match repo {
            Some(repo) => {
                let repo = repo.with_last_good(data_dir.join(LAST_GOOD_FILE));
                follow(&node, repo, config).map(Following::Repo)
            }
            None => feed::agent(config, &node)
                .and_then(feed::Following::start)
                .map(|agent| Following::Feed(Arc::new(agent))),
        };
        match following {
            Ok(following) => Ok(Self {
                node,
                following: Some(following),
                http: None,
                scheduler: None,
                sender: None,
            }),
            Err(error) => {
                node.shutdown();
                Err(error)
            }
        }
    }

    /// Sends home what waits in the outbox, for as long as the node is served.
    pub(crate) fn send_home(&mut self, config: &Config) -> Result<()> {
        let Some(to) = &config.outbox.to else {
            return Ok(());
        };
        let centre: Arc<dyn Centre> = match offline_server(to)? {
            Some(address) => {
                // Without a repo there is no section that says who this node is.
                let remote = match &config.feed {
                    None => config.open_repo()?.remote().clone(),
                    Some(_) => config.feast_remote(),
                };
                let client = OfflineClient::new(address, &remote, config.offline.clone())?;
                let node = Arc::clone(&self.node);
                let registry = Box::new(move || node.registry());
                Arc::new(OfflineStore::new(client, registry))
            }
            None => Arc::new(Landing::new(
                remote::open(to, &config.remote).context("outbox.to")?,
            )),
        };
        let node = Arc::clone(&self.node) as Arc<dyn OutboxSource>;
        self.sender = Some(Sender::start(node, centre, config.outbox.drain.clone())?);
        Ok(())
    }

    /// Has the server in `slot` answer for the HTTP components of the manifest too.
    pub(crate) fn serve_components(&mut self, config: &Config, slot: &Arc<NodeSlot>) -> Result<()> {
        self.send_home(config)?;
        self.http = Some(HttpComponents::follow(config, &self.node, slot)?);
        if let Some(Following::Feed(agent)) = &self.following {
            slot.follow(Arc::clone(agent) as Arc<dyn galley_api::FeedAgent>);
        }
        Ok(())
    }

    /// Starts the jobs of the configuration's schedules at their times.
    pub(crate) fn keep_schedules(&mut self, config: &Config) -> Result<()> {
        let schedules = config.schedules.clone();
        if !schedules.is_empty() {
            let started = Scheduler::start(&self.node, schedules, Arc::new(SystemClock))?;
            self.scheduler = Some(started);
        }
        Ok(())
    }

    /// Ends following, then writing; what was acknowledged is in the store.
    pub(crate) fn close(mut self) {
        drop(self.scheduler.take());
        drop(self.http.take());
        drop(self.sender.take());
        match self.following.take() {
            // The server may still hold it: it is ended here, whoever holds it.
            Some(Following::Feed(agent)) => agent.stop(),
            following => drop(following),
        }
        self.node.shutdown();
    }
}

/// The offline server that `to` names, if it names one.
fn offline_server(to: &str) -> Result<Option<GrpcAddress>> {
    let tls = match to.split_once("://") {
        Some(("grpc" | "grpc+tcp", _)) => None,
        Some(("grpc+tls", _)) => Some(GrpcTls::default()),
        _ => return Ok(None),
    };
    Ok(Some(GrpcAddress::parse(to, tls).context("outbox.to")?))
}

/// Imports SQLite online stores of Feast from one folder.
#[derive(Debug)]
struct FolderImporter {
    folder: PathBuf,
}

impl Importer for FolderImporter {
    fn run(&self, node: &Arc<Node>, file: &str, job: &JobProgress) -> Result<(), MaterializeError> {
        let mut before = (0, 0);
        let mut view_before = String::new();
        let imported =
            galley_sync::import::feast_sqlite(&self.folder.join(file), node, &mut |view| {
                if view_before != view.name {
                    view_before.clone_from(&view.name);
                    before = (0, 0);
                    job.set_view(&view.name);
                }
                job.add_rows(view.rows - before.0, view.written - before.1);
                before = (view.rows, view.written);
            });
        match imported {
            Ok(_) => Ok(()),
            Err(error) => Err(MaterializeError {
                kind: error.kind(),
                message: galley_sync::chain(&error),
            }),
        }
    }
}

/// The folder where files to import are put.
pub(crate) fn imports_folder(config: &Config) -> PathBuf {
    config.data_dir().join(IMPORTS_FOLDER)
}

/// What materialises the views: as the repo says, or from what the sources of a feed's registry name.
fn materializer(config: &Config, repo: Option<&Repo>) -> Arc<dyn Materializer> {
    let folder = config.data_dir().join(DOWNLOADS_FOLDER);
    match repo {
        Some(repo) => {
            galley_sync::materializer(repo, &folder, &config.materialize, &config.offline)
        }
        None => Arc::new(
            ParquetMaterializer::new(&config.repo, config.materialize.clone())
                .with_remote(&config.remote, folder),
        ),
    }
}

/// Installs the repo's registry, or the last good one where the repo's is broken, with the
/// transformations of its manifest, and follows both.
fn follow(
    node: &Arc<Node>,
    repo: Repo,
    config: &Config,
) -> Result<(RegistryFollower, TransformFollower)> {
    // A start does not wait for what is elsewhere when it was read before: the follower asks at once.
    let kept = match repo.registry_file() {
        Some(_) => None,
        None => repo.read_last_good(),
    };
    match kept.map_or_else(|| repo.read_registry(), Ok) {
        Ok(registry) => node.install(registry)?,
        Err(error) => {
            let Some(registry) = repo.read_last_good() else {
                return Err(error.into());
            };
            node.install(registry)?;
            node.refuse(galley_sync::chain(&error));
        }
    }
    let transforms = TransformFollower::start(
        Arc::clone(node),
        transform_loader(config),
        config.manifest(),
        config.transforms_poll,
    )?;
    let registry = RegistryFollower::start(Arc::clone(node), repo, config.registry_poll)?;
    Ok((registry, transforms))
}

/// Opens the store of the data folder and a node on it, that serves nothing yet.
pub(crate) fn open_node(
    config: &Config,
    progress: &mut dyn FnMut(OpenProgress),
) -> Result<Arc<Node>> {
    let data_dir = make_data_dir(config)?;
    let outbox = &config.outbox;
    let store_config = StoreConfig {
        producer: match outbox.to {
            Some(_) => Some(fresh_producer()?),
            None => None,
        },
        ..config.store.clone()
    };
    let store = Store::open(&data_dir.join(STORE_FILE), store_config, progress)?;
    let node = NodeConfig {
        outbox: outbox.to.as_ref().map(|_| outbox.limits.clone()),
        ..config.node.clone()
    };
    Ok(Node::open(store, node, Arc::new(SystemClock))?)
}

/// Where the compiled components of a node are.
pub(crate) fn compiled_folder(config: &Config) -> PathBuf {
    let folder = config.data_dir().join(TRANSFORMS_FOLDER);
    TransformLoader::compiled_in(&folder)
}

/// What loads components for this data folder.
pub(crate) fn transform_loader(config: &Config) -> TransformLoader {
    TransformLoader::new(
        config.data_dir().join(TRANSFORMS_FOLDER),
        Worker::this_program(),
        Box::new(crate::environment),
    )
    .with_remote(config.remote.clone())
}

/// Where the store's file is.
pub(crate) fn store_path(config: &Config) -> PathBuf {
    config.data_dir().join(STORE_FILE)
}

fn make_data_dir(config: &Config) -> Result<PathBuf> {
    let data_dir = config.data_dir();
    fs::create_dir_all(&data_dir)
        .with_context(|| format!("make the data folder {}", data_dir.display()))?;
    Ok(data_dir)
}

// === impl Background ===

impl Background {
    /// Opens the store here and serves it on `config`'s address.
    pub(crate) fn start(config: &Config) -> Result<Self> {
        let mut app = App::open(config, &mut |_| {})?;
        let slot = Arc::new(NodeSlot::filled(Arc::clone(&app.node)));
        app.serve_components(config, &slot)?;
        let server = Server::bind(config.api.clone(), slot, info())
            .with_context(|| format!("listen on {}", config.api.listen))?;
        let url = format!("http://{}", server.local_addr()?);
        let stop = Stop::new();
        let stopped = stop.wait();
        let thread = std::thread::Builder::new()
            .name("galley-server".to_owned())
            .spawn(move || server.run(stopped))
            .context("start the server's thread")?;
        Ok(Self {
            url,
            stop,
            thread: Some(thread),
            app: Some(app),
        })
    }

    /// Stops the server, then the node.
    pub(crate) fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.stop.ask();
        let served = match self.thread.take() {
            Some(thread) => thread
                .join()
                .map_err(|_| anyhow!("the server's thread panicked"))?,
            None => Ok(()),
        };
        if let Some(app) = self.app.take() {
            app.close();
        }
        Ok(served?)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, "server ended badly");
        }
    }
}

/// What the server tells of itself.
pub(crate) fn info() -> ServerInfo {
    ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

// === impl AddressFile ===

impl AddressFile {
    /// Writes the address of a server that holds the data folder.
    pub(crate) fn write(config: &Config, address: std::net::SocketAddr) -> Result<Self> {
        let path = make_data_dir(config)?.join(ADDRESS_FILE);
        let content = serde_json::to_vec(&Address {
            address: address.to_string(),
            pid: std::process::id(),
        })?;
        let draft = path.with_extension("json.new");
        fs::write(&draft, content).with_context(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("write {}", path.display()))?;
        Ok(Self { path })
    }

    /// The server that claims the data folder, if any; it may be gone.
    pub(crate) fn read(data_dir: &Path) -> Option<Address> {
        let bytes = fs::read(data_dir.join(ADDRESS_FILE)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "address file not removed");
        }
    }
}

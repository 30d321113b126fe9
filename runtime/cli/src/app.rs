//! A node with everything around it: store, registry, materialiser, follower, server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use galley_api::{NodeSlot, Server, ServerInfo};
use galley_node::store::{OpenProgress, Store};
use galley_node::{Importer, JobProgress, MaterializeError, Node};
use galley_sync::{RegistryFollower, Repo, TransformFollower, TransformLoader};
use galley_transform::Worker;
use galley_types::{Classify as _, SystemClock};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::http_components::HttpComponents;
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
    followers: Option<(RegistryFollower, TransformFollower)>,
    http: Option<HttpComponents>,
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

// === impl App ===

impl App {
    /// Opens store and registry and joins them.
    pub(crate) fn open(config: &Config, progress: &mut dyn FnMut(OpenProgress)) -> Result<Self> {
        let repo = config.open_repo()?;
        let data_dir = make_data_dir(config)?;
        let store = Store::open(&data_dir.join(STORE_FILE), config.store.clone(), progress)?;
        let node = Node::open(store, config.node.clone(), Arc::new(SystemClock))?;
        node.set_materializer(galley_sync::materializer(
            &repo,
            &data_dir.join(DOWNLOADS_FOLDER),
            &config.materialize,
            &config.offline,
        ));
        let imports = data_dir.join(IMPORTS_FOLDER);
        node.set_importer(Arc::new(FolderImporter { folder: imports }));
        let repo = repo.with_last_good(data_dir.join(LAST_GOOD_FILE));
        match follow(&node, repo, config) {
            Ok(followers) => Ok(Self {
                node,
                followers: Some(followers),
                http: None,
            }),
            Err(error) => {
                node.shutdown();
                Err(error)
            }
        }
    }

    /// Has the server in `slot` answer for the HTTP components of the manifest too.
    pub(crate) fn serve_components(&mut self, config: &Config, slot: &Arc<NodeSlot>) -> Result<()> {
        self.http = Some(HttpComponents::follow(config, &self.node, slot)?);
        Ok(())
    }

    /// Ends following, then writing; what was acknowledged is in the store.
    pub(crate) fn close(mut self) {
        drop(self.http.take());
        drop(self.followers.take());
        self.node.shutdown();
    }
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

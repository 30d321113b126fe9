//! From the manifest to components that are loaded and know what they are.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use galley_manifest::{Manifest, Source, TransformTrigger};
use galley_node::TransformOffer;
use galley_node::transform::{
    Cache, Digest, Engine, Inspection, Transform, TransformConfig, Worker, digest,
};

use super::config::{engine_config, on_error, transform_config};
use super::fetch;
use crate::error::chain;
use crate::remote::RemoteConfig;

/// Components loaded at the same time.
const LOADS_MAX: usize = 4;
/// Bytes of a component where no setting says otherwise: what an interpreted one may have.
const COMPONENT_BYTES_MAX: u64 = 32 << 20;

/// A variable of the environment.
pub type Environment = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Loads the components a manifest binds, and keeps those that did not change.
pub struct TransformLoader {
    /// Where compiled code and fetched components are kept.
    folder: PathBuf,
    worker: Worker,
    environment: Box<Environment>,
    /// How components elsewhere are reached.
    remote: RemoteConfig,
    host: Option<Host>,
    known: HashMap<String, Known>,
}

/// What compiles and runs; made when the first component is there.
struct Host {
    engine: Engine,
    cache: Cache,
}

/// A component that is loaded, with all that it was loaded by.
#[derive(Clone)]
struct Known {
    digest: Digest,
    trigger: TransformTrigger,
    variables: std::collections::BTreeMap<String, String>,
    transform: Arc<Transform>,
}

// === impl TransformLoader ===

impl TransformLoader {
    /// A loader that keeps its files in `folder` and compiles by `worker`.
    #[must_use]
    pub fn new(folder: PathBuf, worker: Worker, environment: Box<Environment>) -> Self {
        Self {
            folder,
            worker,
            environment,
            remote: RemoteConfig::default(),
            host: None,
            known: HashMap::new(),
        }
    }

    /// Fetches components from elsewhere as `remote` says.
    #[must_use]
    pub fn with_remote(mut self, remote: RemoteConfig) -> Self {
        self.remote = remote;
        self
    }

    /// Where a loader that keeps its files in `folder` keeps compiled code.
    #[must_use]
    pub fn compiled_in(folder: &Path) -> PathBuf {
        folder.join("compiled")
    }

    /// An offer for every view the manifest binds: the component, or why it cannot be loaded.
    pub fn load(&mut self, manifest: &Manifest) -> Vec<TransformOffer> {
        if manifest.transforms.is_empty() {
            self.known.clear();
            return Vec::new();
        }
        if self.host.is_none() {
            match self.open(manifest) {
                Ok(host) => self.host = Some(host),
                Err(reason) => {
                    let offers = manifest.transforms.iter();
                    return offers.map(|it| offer(it, Err(reason.clone()))).collect();
                }
            }
        }
        let results = self.load_all(manifest);
        self.known.clear();
        let mut offers = Vec::with_capacity(results.len());
        for (trigger, result) in manifest.transforms.iter().zip(results) {
            let transform = result.map(|known| {
                let transform = Arc::clone(&known.transform);
                self.known.insert(trigger.id.clone(), known);
                transform
            });
            offers.push(offer(trigger, transform));
        }
        offers
    }

    fn open(&self, manifest: &Manifest) -> Result<Host, String> {
        let engine = Engine::new(engine_config(&manifest.engine)).map_err(|error| chain(&error))?;
        let folder = Self::compiled_in(&self.folder);
        let cache = Cache::open(&folder, self.worker.clone()).map_err(|error| chain(&error))?;
        Ok(Host { engine, cache })
    }

    /// Loads every trigger's component, several at a time: compiling one is the work of a core.
    fn load_all(&self, manifest: &Manifest) -> Vec<Result<Known, String>> {
        let triggers = &manifest.transforms;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<Option<Result<Known, String>>>> =
            Mutex::new(triggers.iter().map(|_| None).collect());
        let work = || {
            while let Some((at, trigger)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                triggers.get(at).map(|trigger| (at, trigger))
            } {
                let result = self.load_one(manifest, trigger);
                let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(place) = results.get_mut(at) {
                    *place = Some(result);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..cores.min(LOADS_MAX).min(triggers.len()) {
                scope.spawn(work);
            }
            work();
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        let missing = || Err("its loading was broken off".to_owned());
        let results = results.into_iter();
        results
            .map(|result| result.unwrap_or_else(missing))
            .collect()
    }

    fn load_one(&self, manifest: &Manifest, trigger: &TransformTrigger) -> Result<Known, String> {
        let Some(host) = &self.host else {
            return Err("the engine is not set up".to_owned());
        };
        let limit = trigger.settings.component_bytes_max;
        let source = ComponentSource {
            manifest,
            name: &trigger.component,
            table: "[[trigger.galley]]",
            bytes_max: limit.unwrap_or(COMPONENT_BYTES_MAX),
            remote: &self.remote,
        };
        let bytes = source.read(&self.folder)?;
        let variables = manifest
            .variables_of(&trigger.component, &self.environment)
            .map_err(|error| chain(&error))?;
        let digest = digest(&bytes);
        let known = self.known.get(&trigger.id).filter(|known| {
            known.digest == digest && known.variables == variables && same(&known.trigger, trigger)
        });
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let transform = load_component(host, &bytes, trigger, &variables)?;
        tracing::info!(
            view = trigger.view,
            component = trigger.component,
            %digest,
            "transform loaded"
        );
        Ok(Known {
            digest,
            trigger: trigger.clone(),
            variables,
            transform: Arc::new(transform),
        })
    }
}

/// A component of a manifest, as it is asked for: by whom, and how large it may be.
#[derive(Clone, Copy, Debug)]
pub struct ComponentSource<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The component's name in it.
    pub name: &'a str,
    /// The table of the manifest that bounds its size.
    pub table: &'a str,
    /// Bytes it may have.
    pub bytes_max: u64,
    /// How another place is reached.
    pub remote: &'a RemoteConfig,
}

impl ComponentSource<'_> {
    /// The component: its file, or what its URL holds, kept in `folder` once it was fetched.
    ///
    /// # Errors
    /// Why it cannot be had, and what to do about it.
    pub fn read(&self, folder: &Path) -> Result<Vec<u8>, String> {
        let Some(component) = self.manifest.components.get(self.name) else {
            return Err(format!("there is no [component.{}]", self.name));
        };
        match &component.source {
            Source::File(path) => {
                let path = self.manifest.folder().join(path);
                read_file(&path, (self.bytes_max, self.table))
            }
            Source::Url { url, digest } => {
                let asked = (url.as_str(), digest.as_str(), self.bytes_max);
                fetch::component(&folder.join("fetched"), asked, self.remote)
            }
            Source::Registry { .. } => Err(format!(
                "[component.{}] names a package of a registry, which is not fetched here: give a \
                 path, or a url with its digest",
                self.name
            )),
        }
    }
}

fn load_component(
    host: &Host,
    bytes: &[u8],
    trigger: &TransformTrigger,
    variables: &std::collections::BTreeMap<String, String>,
) -> Result<Transform, String> {
    let inspection = Inspection::of(bytes).map_err(|error| chain(&error))?;
    let config: TransformConfig = transform_config(
        &trigger.view,
        &inspection,
        &trigger.settings,
        variables.clone(),
    );
    let loaded = host
        .cache
        .load(&host.engine, bytes, &trigger.view, &config.limits)
        .map_err(|error| chain(&error))?;
    Transform::load(&host.engine, &loaded, config).map_err(|error| chain(&error))
}

/// Whether two triggers call the same component in the same way; where they stand in the file does
/// not matter.
fn same(one: &TransformTrigger, other: &TransformTrigger) -> bool {
    one.view == other.view && one.settings == other.settings && one.component == other.component
}

fn offer(trigger: &TransformTrigger, transform: Result<Arc<Transform>, String>) -> TransformOffer {
    if let Err(reason) = &transform {
        tracing::warn!(view = trigger.view, component = trigger.component, %reason, "transform not loaded");
    }
    TransformOffer {
        project: trigger.project.clone(),
        view: trigger.view.clone(),
        component: trigger.component.clone(),
        transform,
        on_error: on_error(&trigger.settings),
    }
}

/// The bytes of a file, at most `limit` of them.
pub(super) fn read_file(path: &Path, (limit, table): (u64, &str)) -> Result<Vec<u8>, String> {
    let fail = |error: std::io::Error| {
        format!(
            "read the component '{}': {error}; build it ('galley transform build'), or correct its \
             source in spin.toml",
            path.display()
        )
    };
    let file = File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > limit {
        return Err(format!(
            "the component '{}' has more than {limit} bytes (max-component); where it needs more, \
             raise it under its {table} in spin.toml",
            path.display()
        ));
    }
    Ok(bytes)
}

impl std::fmt::Debug for TransformLoader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransformLoader")
            .field("folder", &self.folder)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

//! HTTP components: from the manifest's `[[trigger.http]]` to the server's paths.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use galley_api::{ComponentAnswer, ComponentFailure, HttpComponentStatus, NodeSlot, own_paths};
use galley_manifest::{
    EngineSettings, HttpHostSettings, HttpSettings, HttpTrigger, Manifest, set, set_count, set_size,
};
use galley_node::Node;
use galley_spin::{
    ComponentStatus, HttpApp, HttpComponentConfig, HttpEngine, HttpEngineConfig, HttpLimits,
    KeyValue, KeyValueLimits, Limit, OutboundOutcome, Outcome, Surroundings,
};
use galley_sync::remote::RemoteConfig;
use galley_sync::{ComponentSource, Follow, Stamp, breaker_config, chain};
use galley_transform::{Cache, Worker};
use hyper::Request;

use crate::config::Config;

/// What components keep in key-value stores, in the data folder.
const KEY_VALUE_FILE: &str = "key-value.redb";
/// Compiled and fetched components lie in this folder of the data folder.
const FOLDER: &str = "http-components";
/// How often files are looked at, at most.
const POLL_MIN: Duration = Duration::from_millis(10);

/// The HTTP components of a server, kept at what the manifest says until this is dropped.
#[derive(Debug)]
pub(crate) struct HttpComponents {
    follow: Option<Follow>,
    slot: Arc<NodeSlot>,
}

/// Loads what the manifest binds.
struct Loader {
    node: Arc<Node>,
    slot: Arc<NodeSlot>,
    manifest: PathBuf,
    data_dir: PathBuf,
    remote: RemoteConfig,
    /// The manifest and the components' files as they were when they were last dealt with.
    seen: Vec<(PathBuf, Option<Stamp>)>,
    host: Option<Host>,
}

/// What runs components; made when the first one is bound.
struct Host {
    engine: Arc<HttpEngine>,
    key_value: Arc<KeyValue>,
    cache: Cache,
    settings: (EngineSettings, HttpHostSettings),
}

/// The components as the server knows them.
#[derive(Debug)]
struct Served(HttpApp);

// === impl HttpComponents ===

impl HttpComponents {
    /// Loads the components of the manifest, puts them into `slot`, and does so again whenever the
    /// manifest or a component changes. Nothing is set up where the manifest binds none.
    pub(crate) fn follow(config: &Config, node: &Arc<Node>, slot: &Arc<NodeSlot>) -> Result<Self> {
        let mut loader = Loader {
            node: Arc::clone(node),
            slot: Arc::clone(slot),
            manifest: config.manifest(),
            data_dir: config.data_dir(),
            remote: config.remote.clone(),
            seen: Vec::new(),
            host: None,
        };
        // Here, not on the thread: who is told that the node is ready finds its components.
        loader.install();
        let poll = config.transforms_poll.max(POLL_MIN);
        let follow = Follow::start("galley-components", Some(config.manifest()), move |_| {
            loader.look();
            poll
        })?;
        Ok(Self {
            follow: Some(follow),
            slot: Arc::clone(slot),
        })
    }
}

impl Drop for HttpComponents {
    fn drop(&mut self) {
        drop(self.follow.take());
        self.slot.serve_components(None);
    }
}

// === impl Loader ===

impl Loader {
    fn look(&mut self) {
        let changed = |(path, stamp): &(PathBuf, Option<Stamp>)| *stamp != Stamp::of(path);
        if self.seen.iter().any(changed) {
            self.install();
        }
    }

    fn install(&mut self) {
        // Stamped before they are read: what changes in between is seen the next time.
        self.seen = vec![stamped(&self.manifest)];
        let is_there = self.seen.iter().any(|(_, stamp)| stamp.is_some());
        let manifest = match is_there.then(|| Manifest::read(&self.manifest)) {
            Some(Ok(manifest)) => manifest,
            // Told by whoever follows the transformations; what serves goes on.
            Some(Err(_)) => return,
            None => return self.slot.serve_components(None),
        };
        let bound = manifest.http.iter();
        let components = bound.filter_map(|trigger| manifest.components.get(&trigger.component));
        let files = components.filter_map(|component| manifest.file_of(component));
        self.seen.extend(files.map(|file| stamped(&file)));
        if manifest.http.is_empty() {
            return self.slot.serve_components(None);
        }
        match self.load(&manifest) {
            Ok(app) => self.slot.serve_components(Some(Arc::new(Served(app)))),
            Err(error) => tracing::error!(
                reason = %chain(&*error),
                "HTTP components cannot be served"
            ),
        }
    }

    fn load(&mut self, manifest: &Manifest) -> Result<HttpApp> {
        let folder = self.data_dir.join(FOLDER);
        let configs = configs(manifest, &folder, &self.remote);
        let host = match self.host.take() {
            Some(host) => host,
            None => Host::open(&self.data_dir, &folder, manifest)?,
        };
        let asked = (manifest.http_engine.clone(), manifest.http_host.clone());
        if host.settings != asked {
            tracing::warn!("[application.trigger.http] has changed: restart the server for it");
        }
        let own_paths = own_paths();
        // Read each time, so that a new certificate needs no restart.
        let is_granted = |config: &HttpComponentConfig| !config.allowed_outbound_hosts.is_empty();
        let tls = match configs.iter().any(is_granted) {
            true => galley_sync::https_client(&self.remote),
            false => Err("no component needs TLS".to_owned()),
        };
        let surroundings = Surroundings {
            node: &self.node,
            key_value: &host.key_value,
            cache: &host.cache,
            tls: &tls,
            own_paths: &own_paths,
        };
        let app = HttpApp::load(&host.engine, &surroundings, configs);
        for component in app.status() {
            let ComponentStatus {
                name,
                route,
                digest,
                ..
            } = component;
            tracing::info!(component = name, route, %digest, "HTTP component loaded");
        }
        self.host = Some(host);
        Ok(app)
    }
}

// === impl Host ===

impl Host {
    fn open(data_dir: &Path, folder: &Path, manifest: &Manifest) -> Result<Self> {
        let settings = (manifest.http_engine.clone(), manifest.http_host.clone());
        let engine = HttpEngine::new(engine_config(&settings))?;
        let limits = key_value_limits(&settings.1);
        Ok(Self {
            engine: Arc::new(engine),
            key_value: Arc::new(KeyValue::open(&data_dir.join(KEY_VALUE_FILE), limits)?),
            cache: Cache::open(&folder.join("compiled"), Worker::this_program())?,
            settings,
        })
    }
}

fn stamped(path: &Path) -> (PathBuf, Option<Stamp>) {
    (path.to_owned(), Stamp::of(path))
}

/// Every `[[trigger.http]]` with its component.
fn configs(manifest: &Manifest, folder: &Path, remote: &RemoteConfig) -> Vec<HttpComponentConfig> {
    let mut names = HashSet::new();
    let mut configs = Vec::with_capacity(manifest.http.len());
    for trigger in &manifest.http {
        let Some(route) = &trigger.route else {
            tracing::warn!(
                component = trigger.component,
                "its route is private, and components do not call one another here: not served"
            );
            continue;
        };
        // A component that answers two routes is told apart by the names of its triggers.
        let name = match names.insert(&trigger.component) {
            true => trigger.component.clone(),
            false => trigger.id.clone(),
        };
        let limits = limits(&trigger.settings);
        let mut config = HttpComponentConfig {
            name,
            route: route.clone(),
            limits,
            ..HttpComponentConfig::default()
        };
        if let Err(reason) = fill(&mut config, manifest, (trigger, folder, remote)) {
            config.missing = Some(reason);
        }
        configs.push(config);
    }
    configs
}

/// What the manifest says of the component itself.
fn fill(
    config: &mut HttpComponentConfig,
    manifest: &Manifest,
    (trigger, folder, remote): (&HttpTrigger, &Path, &RemoteConfig),
) -> Result<(), String> {
    let source = ComponentSource {
        manifest,
        name: &trigger.component,
        table: "[[trigger.http]]",
        bytes_max: config.limits.component_bytes_max as u64,
        remote,
    };
    config.bytes = source.read(folder)?;
    if let Some(component) = manifest.components.get(&trigger.component) {
        config.environment = component.environment.clone();
        config.key_value_stores = component.key_value_stores.clone();
    }
    config.variables = manifest
        .variables_of(&trigger.component, &crate::environment)
        .map_err(|error| chain(&error))?;
    config.allowed_outbound_hosts = manifest
        .outbound_hosts_of(&trigger.component, &crate::environment)
        .map_err(|error| chain(&error))?;
    Ok(())
}

fn limits(settings: &HttpSettings) -> HttpLimits {
    let mut limits = HttpLimits::default();
    set(&mut limits.deadline, settings.deadline);
    // Whoever gives a request more time means time to run, too.
    set(&mut limits.cpu_deadline, settings.deadline);
    set(&mut limits.cpu_deadline, settings.cpu_deadline);
    set_size(&mut limits.memory_bytes_max, settings.memory_bytes_max);
    set_count(&mut limits.table_elements_max, settings.table_elements_max);
    set_count(&mut limits.core_instances_max, settings.core_instances_max);
    set(&mut limits.concurrency_max, settings.concurrency_max);
    set(&mut limits.waiting_max, settings.waiting_max);
    set_size(
        &mut limits.request_body_bytes_max,
        settings.request_bytes_max,
    );
    set_size(
        &mut limits.response_body_bytes_max,
        settings.response_bytes_max,
    );
    set(&mut limits.instance_reuse_max, settings.reuse_max);
    set_size(
        &mut limits.instance_growth_bytes_max,
        settings.growth_bytes_max,
    );
    set(&mut limits.instance_idle_max, settings.idle_max);
    set_size(&mut limits.transfer_bytes_max, settings.transfer_bytes_max);
    set_count(&mut limits.handles_max, settings.handles_max);
    set_size(&mut limits.header_bytes_max, settings.header_bytes_max);
    outbound_limits(&mut limits, settings);
    set_size(&mut limits.log_bytes_max, settings.log_bytes_max);
    set_size(
        &mut limits.component_bytes_max,
        settings.component_bytes_max,
    );
    limits.breaker = breaker_config(&settings.breaker);
    let compile = &mut limits.compile;
    set(&mut compile.wall, settings.compile_wall);
    set(
        &mut compile.memory_bytes_max,
        settings.compile_memory_bytes_max,
    );
    set(&mut compile.code_bytes_max, settings.compiled_bytes_max);
    limits
}

fn outbound_limits(limits: &mut HttpLimits, settings: &HttpSettings) {
    set(
        &mut limits.outbound_requests_max,
        settings.outbound_requests_max,
    );
    set_size(
        &mut limits.outbound_request_bytes_max,
        settings.outbound_request_bytes_max,
    );
    set_size(
        &mut limits.outbound_body_bytes_max,
        settings.outbound_bytes_max,
    );
    set(
        &mut limits.outbound_connect_max,
        settings.outbound_connect_max,
    );
    set(
        &mut limits.outbound_first_byte_max,
        settings.outbound_first_byte_max,
    );
    set(&mut limits.outbound_time_max, settings.outbound_time_max);
}

fn engine_config((engine, host): &(EngineSettings, HttpHostSettings)) -> HttpEngineConfig {
    let mut config = HttpEngineConfig::default();
    set(
        &mut config.threads,
        host.threads.map(|threads| Some(threads as usize)),
    );
    set(&mut config.instances_max, engine.instances_max);
    set(&mut config.core_instances_max, engine.core_instances_max);
    set_size(&mut config.memory_bytes_max, engine.memory_bytes_max);
    set_count(&mut config.table_elements_max, engine.table_elements_max);
    set_size(&mut config.stack_bytes_max, engine.stack_bytes_max);
    set_size(&mut config.keep_resident_bytes, engine.keep_resident_bytes);
    config
}

fn key_value_limits(settings: &HttpHostSettings) -> KeyValueLimits {
    let mut limits = KeyValueLimits::default();
    set(&mut limits.store_bytes_max, settings.store_bytes_max);
    set(&mut limits.keys_max, settings.store_keys_max);
    set_size(&mut limits.key_bytes_max, settings.key_bytes_max);
    set_size(&mut limits.value_bytes_max, settings.value_bytes_max);
    set_count(&mut limits.queue_max, settings.store_queue_max);
    limits
}

// === impl Served ===

impl galley_api::HttpComponents for Served {
    fn body_bytes_max(&self, path: &str) -> Option<usize> {
        self.0.body_bytes_max(path)
    }

    fn handle(
        self: Arc<Self>,
        request: Request<Bytes>,
        client: Option<SocketAddr>,
    ) -> ComponentAnswer {
        Box::pin(async move {
            let answer = self.0.handle(request, client).await;
            answer.map_err(|error| ComponentFailure {
                status: error.status(),
                code: error.code(),
                message: error.to_string(),
                cause: error.cause().map(str::to_owned),
            })
        })
    }

    fn status(&self) -> Vec<HttpComponentStatus> {
        let refused = self.0.refused().iter().map(|refused| HttpComponentStatus {
            name: refused.component.clone(),
            route: refused.route.clone(),
            refused: Some(chain(&refused.error)),
            ..HttpComponentStatus::default()
        });
        let served = self.0.status().into_iter().map(status);
        served.chain(refused).collect()
    }
}

fn status(status: ComponentStatus) -> HttpComponentStatus {
    let limits = Limit::ALL.iter().filter_map(|limit| {
        let value = status.limits.value(*limit)?;
        Some((limit.setting(), value.to_string()))
    });
    let outbound = OutboundOutcome::ALL.map(OutboundOutcome::name);
    let outbound = outbound.into_iter().zip(status.outbound).collect();
    let outcomes = Outcome::ALL.map(|outcome| (outcome.name(), status.count(outcome)));
    HttpComponentStatus {
        limits: limits.collect(),
        outcomes: outcomes.to_vec(),
        outbound,
        digest: format!("sha256:{}", status.digest),
        name: status.name,
        route: status.route,
        refused: None,
        key_value_stores: status.key_value_stores,
        instances: status.instances,
        kept: status.kept,
        breaker: status.breaker.name(),
        breaker_opened: status.breaker_opened,
        running: status.running,
        waiting: status.waiting,
        p50: status.p50,
        p99: status.p99,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_be_set_by_the_name_its_message_gives() {
        for limit in Limit::ALL {
            let Some(value) = HttpLimits::default().value(limit) else {
                continue;
            };
            let other = value.doubled();
            let text = format!(
                "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\n\
                 component = \"c\"\nroute = \"/c\"\n{} = {}\n[component.c]\n\
                 source = \"c.wasm\"\n",
                limit.setting(),
                other.toml(),
            );
            let manifest = Manifest::parse(&text, "spin.toml".as_ref()).unwrap();
            let set = limits(&manifest.http[0].settings);
            assert_eq!(set.value(limit), Some(other), "{limit:?}");
        }
    }

    #[test]
    fn reuse_and_breaker_are_set_as_those_of_transformations() {
        let text = "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\n\
                    component = \"c\"\nroute = \"/c\"\nmax-reuse = 7\nmax-idle = \"3s\"\n\
                    max-growth = \"1MiB\"\nbreaker-failures = 30\nbreaker-calls = 4\n\
                    breaker-window = \"5s\"\nbreaker-open = \"6s\"\n[component.c]\n\
                    source = \"c.wasm\"\n";
        let manifest = Manifest::parse(text, "spin.toml".as_ref()).unwrap();
        let set = limits(&manifest.http[0].settings);
        assert_eq!(set.instance_reuse_max, 7);
        assert_eq!(set.instance_idle_max, Duration::from_secs(3));
        assert_eq!(set.instance_growth_bytes_max, 1 << 20);
        let breaker = (set.breaker.failures_percent, set.breaker.calls_min);
        assert_eq!(breaker, (30, 4));
        assert_eq!(set.breaker.window, Duration::from_secs(5));
        assert_eq!(set.breaker.open, Duration::from_secs(6));
    }

    #[test]
    fn quotas_and_engine_are_set_for_all_components() {
        let text = "spin_manifest_version = 2\n[application]\nname = \"a\"\n\
                    [application.trigger.http]\nthreads = 3\nmax-instances = 9\n\
                    max-store = \"1KiB\"\nmax-store-keys = 4\nmax-key = \"5B\"\n\
                    max-value = \"6B\"\nmax-store-queue = 7\n";
        let manifest = Manifest::parse(text, "spin.toml".as_ref()).unwrap();
        let settings = (manifest.http_engine, manifest.http_host);
        let engine = engine_config(&settings);
        assert_eq!((engine.threads, engine.instances_max), (Some(3), 9));
        let expect = KeyValueLimits {
            store_bytes_max: 1 << 10,
            keys_max: 4,
            key_bytes_max: 5,
            value_bytes_max: 6,
            queue_max: 7,
        };
        assert_eq!(key_value_limits(&settings.1), expect);
    }
}

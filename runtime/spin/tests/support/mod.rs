//! A node with features, and components built from source.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::panic,
    reason = "shared by tests of which none uses all, and tests may fail loudly"
)]

#[path = "../../../../tests/it/support/certificate.rs"]
pub(crate) mod certificate;
#[path = "../../../../tests/it/support/secure.rs"]
pub(crate) mod secure;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use galley_build::{RustToolchain, Workshop, find_or_install_rust, from_core_module};
use galley_node::store::{Store, StoreConfig};
use galley_node::{DecodeOptions, Node, NodeConfig, Registry};
use galley_spin::{
    Error, HttpApp, HttpComponentConfig, HttpEngine, HttpEngineConfig, KeyValue, KeyValueLimits,
    Surroundings,
};
use galley_transform::{Cache, Worker};
use galley_types::{Clock, EventTime};
use hyper::{Request, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

const RIDES: &[u8] = include_bytes!("../../../../examples/rides/data/registry.db");
const TARGET: &str = "wasm32-unknown-unknown";

/// A clock that stands still.
#[derive(Debug)]
struct Fixed(EventTime);

impl Clock for Fixed {
    fn now(&self) -> EventTime {
        self.0
    }
}

/// What components are put among.
pub(crate) struct Host {
    pub(crate) node: Arc<Node>,
    pub(crate) key_value: Arc<KeyValue>,
    pub(crate) engine: Arc<HttpEngine>,
    pub(crate) folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(HttpEngineConfig::default(), KeyValueLimits::default())
    }

    pub(crate) fn with(engine: HttpEngineConfig, key_value: KeyValueLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store_config = StoreConfig {
            free_space_min_bytes: 0,
            ..StoreConfig::default()
        };
        let path = folder.path().join("store.redb");
        let store = Store::open(&path, store_config, &mut |_| {}).unwrap();
        let now = EventTime::parse("2026-03-10T00:00:00Z").unwrap();
        let node = Node::open(store, NodeConfig::default(), Arc::new(Fixed(now))).unwrap();
        let options = DecodeOptions {
            project: None,
            versioning: false,
        };
        node.install(Registry::decode(RIDES, &options).unwrap())
            .unwrap();
        let path = folder.path().join("key-value.redb");
        Self {
            node,
            key_value: Arc::new(KeyValue::open(&path, key_value).unwrap()),
            engine: Arc::new(HttpEngine::new(engine).unwrap()),
            folder,
            runtime: tokio::runtime::Runtime::new().unwrap(),
        }
    }

    pub(crate) fn load(&self, configs: Vec<HttpComponentConfig>) -> Arc<HttpApp> {
        self.load_trusting(configs, &Ok(trusting(None)))
    }

    pub(crate) fn load_trusting(
        &self,
        configs: Vec<HttpComponentConfig>,
        tls: &Result<Arc<ClientConfig>, String>,
    ) -> Arc<HttpApp> {
        let cache = Cache::open(&cache_folder(), Worker::InProcess).unwrap();
        let surroundings = Surroundings {
            node: &self.node,
            key_value: &self.key_value,
            cache: &cache,
            tls,
            own_paths: &["/health", "/get-online-features", "/v1/"],
        };
        Arc::new(HttpApp::load(&self.engine, &surroundings, configs))
    }

    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The answer to a request with a body.
    pub(crate) fn ask(
        &self,
        app: &HttpApp,
        path: &str,
        body: &str,
    ) -> Result<Response<Bytes>, Error> {
        self.run(app.handle(request(path, body), None))
    }

    /// The text of a good answer.
    pub(crate) fn text(&self, app: &HttpApp, path: &str) -> String {
        let response = self.ask(app, path, "").unwrap();
        String::from_utf8(response.into_body().to_vec()).unwrap()
    }
}

/// TLS that trusts the authority of a PEM file, and nobody else.
pub(crate) fn trusting(pem: Option<&Path>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in pem
        .map(|pem| CertificateDer::pem_file_iter(pem).unwrap())
        .into_iter()
        .flatten()
    {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

pub(crate) fn request(path: &str, body: &str) -> Request<Bytes> {
    Request::post(path)
        .header("host", "node.test:6566")
        .body(Bytes::from(body.to_owned()))
        .unwrap()
}

/// The component that misbehaves as its path says.
pub(crate) fn hostile() -> HttpComponentConfig {
    HttpComponentConfig {
        name: "hostile".to_owned(),
        route: "/hostile/...".to_owned(),
        bytes: guest("hostile"),
        key_value_stores: vec!["default".to_owned()],
        ..HttpComponentConfig::default()
    }
}

pub(crate) fn score() -> HttpComponentConfig {
    let variables = [
        ("bias", "-1.5"),
        (
            "weights",
            "acceptance_rate=2.5, trips_today=0.1, is_online=1",
        ),
    ];
    HttpComponentConfig {
        name: "score".to_owned(),
        route: "/score".to_owned(),
        bytes: guest("score"),
        variables: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        key_value_stores: vec!["default".to_owned()],
        ..HttpComponentConfig::default()
    }
}

/// Compiled code outlives a test run: compiling in a test build takes seconds.
fn cache_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("http-code")
}

/// A component of `guest-transforms/http`, built once for all tests.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(build);
    let path = folder.join(format!("{name}.wasm"));
    let module = std::fs::read(&path).unwrap();
    from_core_module(&module, &path).unwrap()
}

fn build() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("http-guests");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-transforms/http");
    let mut workshop = Workshop::new(target.join("tools"), &|_| {});
    workshop.may_install = false;
    let toolchain = find_or_install_rust(&workshop).unwrap_or_else(|error| panic!("{error}"));
    let mut cargo = match &toolchain {
        RustToolchain::WithTarget => Command::new("cargo"),
        RustToolchain::BuildStd { linker } => {
            let mut cargo = Command::new("/usr/bin/cargo");
            cargo
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTC_BOOTSTRAP", "1")
                .env_remove("RUSTUP_TOOLCHAIN")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                .arg("-Zbuild-std=std,panic_abort");
            cargo
        }
        other => panic!("{other:?} is not known here"),
    };
    let status = cargo
        .args(["build", "--release", "--locked", "--target", TARGET])
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(workspace)
        .status()
        .unwrap();
    assert!(status.success(), "the guests do not build");
    target.join(TARGET).join("release")
}

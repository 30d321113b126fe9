//! What is read of `feature_store.yaml`, and what is refused.

use super::*;
use galley_types::{Classify as _, ErrorKind};

fn open(yaml: &str) -> Result<Repo> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(Repo::FILE), yaml).unwrap();
    Repo::open(dir.path(), &|name| match name {
        "SET" => Some("value".to_owned()),
        "DIR" => Some("/srv".to_owned()),
        _ => None,
    })
    .map(|mut repo| {
        // The folder is a fresh one each time: a fixed name makes paths comparable.
        if let RegistryPlace::File(path) = &mut repo.registry
            && let Ok(relative) = path.strip_prefix(dir.path())
        {
            *path = Path::new("/repo").join(relative);
        }
        repo
    })
}

fn message(yaml: &str) -> String {
    open(yaml).unwrap_err().to_string()
}

#[test]
fn the_repo_of_feast_init_is_read() {
    let repo = open(
        "project: my_project\n# By default, the registry is a file\nregistry: data/registry.db\n\
         # The provider\nprovider: local\nonline_store:\n    type: sqlite\n    path: data/online_store.db\n\
         entity_key_serialization_version: 3\nauth:\n    type: no_auth\n",
    )
    .unwrap();
    assert_eq!(repo.project(), "my_project");
    assert_eq!(
        repo.registry_file().unwrap(),
        Path::new("/repo/data/registry.db")
    );
    assert_eq!(repo.online_store().kind, "sqlite");
    assert!(
        repo.online_store()
            .sqlite_path
            .as_ref()
            .unwrap()
            .ends_with("data/online_store.db")
    );
    assert_eq!((repo.auth(), repo.offline_kind()), ("no_auth", "file"));
    assert!(!repo.versioning());
}

#[test]
fn a_registry_table_and_keys_of_no_use_are_read() {
    let repo = open(
        "project: p\nprovider: aws\nregistry:\n  registry_type: file\n  path: file:///srv/r.pb\n  \
         cache_ttl_seconds: 60\n  enable_online_feature_view_versioning: true\n  s3_additional_kwargs: {a: b}\n\
         online_store: {type: redis, connection_string: \"${REDIS}\"}\noffline_store: snowflake.offline\n\
         batch_engine: {type: local}\nfeature_server: {enabled: true, nested: [1, {a: 2}]}\nflags: null\n",
    )
    .unwrap();
    assert_eq!(repo.registry_file().unwrap(), Path::new("/srv/r.pb"));
    assert_eq!(repo.cache_ttl(), Some(Duration::from_secs(60)));
    assert!(repo.versioning());
    assert_eq!(repo.offline_kind(), "snowflake.offline");
    assert_eq!(
        repo.online_store(),
        &OnlineStore {
            kind: "redis".into(),
            sqlite_path: None
        }
    );
}

#[test]
fn variables_are_put_in_as_feast_does() {
    let repo = open("project: ${SET}_$SET\nregistry: ${DIR}/r.pb\n").unwrap();
    assert_eq!(repo.project(), "value_value");
    assert_eq!(repo.registry_file().unwrap(), Path::new("/srv/r.pb"));
    let repo = open("project: ${NOPE:fallback}\nregistry: ${NOPE:-x}/r.pb\n").unwrap();
    assert_eq!(repo.project(), "fallback");
    assert_eq!(repo.registry_file().unwrap(), Path::new("/repo/x/r.pb"));
    // A lone dollar and a variable in a setting of no use stay as they are.
    let repo = open("project: a$ # $NOPE\nregistry: r.pb\nflags: ${NOPE}\n").unwrap();
    assert_eq!(repo.project(), "a$");
}

#[test]
fn an_unset_variable_in_use_is_named_with_its_line() {
    let text = message("project: p\n\nregistry:\n  path: ${NOPE}/r.pb\n");
    assert!(
        text.contains("feature_store.yaml:4: registry: the environment variable NOPE is not set"),
        "{text}"
    );
}

#[test]
fn registries_elsewhere_are_known_by_their_place() {
    let place = |yaml: &str| open(yaml).unwrap().registry_location();
    for (registry, expect) in [
        ("s3://b/r.pb", "s3://b/r.pb"),
        ("{path: gs://b/r}", "gs://b/r"),
        (
            "{registry_store_type: feast.x.AzureRegistryStore, path: https://me.blob.core.windows.net/c/r}",
            "https://me.blob.core.windows.net/c/r",
        ),
        ("https://u:s3cret@h/r.pb?sig=s3cret", "https://h/r.pb?..."),
        (
            "{registry_type: remote, path: 'feast:6570'}",
            "grpc://feast:6570",
        ),
        (
            "{registry_type: remote, path: 'feast:6570', is_tls: true}",
            "grpc+tls://feast:6570",
        ),
        (
            "{registry_type: remote, path: 'feast:6570', cert: ca.pem}",
            "grpc+tls://feast:6570",
        ),
    ] {
        assert_eq!(
            place(&format!("project: p\nregistry: {registry}\n")),
            expect
        );
    }
}

#[test]
fn registries_that_only_feast_reads_are_refused_by_name() {
    for (registry, expect) in [
        (
            "hdfs://u:s3cret@b/r.pb",
            ":2: registry: a registry at hdfs:// cannot",
        ),
        (
            "\n  registry_type: sql\n  path: postgresql://u:s3cret@h/db",
            ":3: registry: a registry of type sql cannot be followed by this node: run 'feast \
             serve_registry' where it is and give 'registry_type: remote'",
        ),
        (
            "{registry_type: snowflake.registry}",
            "of type snowflake.registry",
        ),
    ] {
        let error = open(&format!("project: p\nregistry: {registry}\n")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(expect), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
    for bad in [
        "feast",
        "'feast:x'",
        "u:s3cret@feast:1",
        "'feast:1', client_cert: x",
    ] {
        let yaml = format!("project: p\nregistry: {{registry_type: remote, path: {bad}}}\n");
        let error = open(&yaml).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

#[test]
fn offline_stores_are_files_a_server_or_a_name() {
    let store = |yaml: &str| {
        let yaml = format!("project: p\nregistry: r.pb\noffline_store: {yaml}\n");
        open(&yaml).unwrap().offline_store().clone()
    };
    for files in ["file", "dask", "{type: duckdb}", "null"] {
        assert_eq!(store(files), OfflineStore::Files);
    }
    let location = |yaml: &str| match store(yaml) {
        OfflineStore::Server(address) => address.location(),
        other => format!("{other:?}"),
    };
    assert_eq!(location("{type: remote, host: h}"), "grpc://h:8815");
    assert_eq!(
        location("{type: remote, host: h, port: 1, scheme: https, cert: c.pem}"),
        "grpc+tls://h:1"
    );
    assert!(location("{type: remote, host: '${NOPE}'}").contains("variable NOPE is not set"));
    assert!(location("{type: remote}").contains("give the host"));
    assert_eq!(
        store("{type: snowflake.offline, host: [1, {a: 2}], port: x}"),
        OfflineStore::Other("snowflake.offline".to_owned())
    );
}

#[test]
fn broken_files_say_where() {
    assert!(
        message("project: [1\n").contains("feature_store.yaml:"),
        "{}",
        message("project: [1\n")
    );
    assert!(message("registry: r.pb\n").contains("project: not given"));
    assert!(message("project: p\n").contains("registry: not given"));
    assert!(
        message("project: p\nregistry: [1, 2]\n").contains(":2:"),
        "{}",
        message("project: p\nregistry: [1, 2]\n")
    );
    assert!(
        message("- 1\n").contains("feature_store.yaml:1"),
        "{}",
        message("- 1\n")
    );
    assert!(message("").contains("feature_store.yaml"));
    let empty = tempfile::tempdir().unwrap();
    let error = Repo::open(empty.path(), &|_| None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    std::fs::write(empty.path().join(Repo::FILE), vec![b' '; (1 << 20) + 1]).unwrap();
    let error = Repo::open(empty.path(), &|_| None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn who_a_node_is_to_the_servers_is_what_feasts_clients_would_say() {
    let token = |auth: &str| {
        let yaml = format!("project: p\nregistry: r.db\nauth: {auth}\n");
        let repo = open(&yaml).unwrap().with_remote(RemoteConfig::default());
        let identity = repo.remote().identity.clone()?;
        let blocking = crate::remote::Blocking::new("x").unwrap();
        let asked = blocking.wait(identity.token(&RemoteConfig::default()));
        Some(asked.map_err(|error| error.to_string()))
    };
    let given = |text: &str| Some(Ok(Some(text.to_owned())));
    assert_eq!(token("no_auth"), None);
    assert_eq!(token("{type: oidc, token: abc}"), given("abc"));
    assert_eq!(token("{type: oidc, token: $SET}"), given("value"));
    assert_eq!(token("{type: oidc, token_env_var: SET}"), given("value"));
    assert_eq!(token("{type: kubernetes, user_token: k}"), given("k"));
    // A server's own section has no token; neither has this machine.
    let server = "{type: oidc, auth_discovery_url: 'https://h/d', client_id: c}";
    assert_eq!(token(server), Some(Ok(None)));
    for (auth, reason) in [
        ("{type: oidc, token: $NOWHERE}", "NOWHERE"),
        ("{type: oidc, token_env_var: NOWHERE}", "NOWHERE"),
        ("{type: oidc, client_secret: x3cret}", "auth_discovery_url"),
        (
            "{type: oidc, client_secret: x3cret, client_id: c, auth_discovery_url: ftp://h}",
            "no http(s) URL",
        ),
        (
            "{type: oidc, client_secret: x3cret, client_id: c, auth_discovery_url: 'http://h', \
             username: u}",
            "both username and password",
        ),
        (
            "{type: oidc, client_secret: x3cret, client_id: c, auth_discovery_url: 'http://h', \
             verify_ssl: false}",
            "ca_cert_path",
        ),
    ] {
        let said = token(auth).unwrap().unwrap_err();
        assert!(said.contains(reason) && !said.contains("x3cret"), "{said}");
        assert!(said.contains("feature_store.yaml:3"), "{said}");
    }
}

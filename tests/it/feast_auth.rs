//! Feast's servers with authentication: a provider of tokens on this machine, and nodes that get in,
//! are kept out, and go on serving.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stock_feast::{has_view, node_repo, refused, registry_server, status, until};
use crate::support::emulators::{feast_with_extras, packages};
use crate::support::feast::{FeastServer, free_port, program};
use crate::support::repo::{self, Sandbox};
use crate::support::{Client, Launch, here};

const WINDOW: (&str, &str) = ("2020-01-01T00:00:00+00:00", "2035-01-01T00:00:00+00:00");

/// A provider of tokens; killed when dropped.
struct Provider {
    child: Child,
    port: u16,
}

// === impl Provider ===

impl Provider {
    fn start() -> Self {
        let port = free_port();
        let child = program("python")
            .arg(here().join("data/sdk/oidc.py"))
            .arg(packages())
            .arg(port.to_string())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let provider = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while provider.client().get("/asked").is_err() {
            assert!(Instant::now() < deadline, "the provider does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        provider
    }

    fn client(&self) -> Client {
        Client::new(([127, 0, 0, 1], self.port).into())
    }

    /// A token made beside the protocol.
    fn token(&self, how: &str) -> String {
        let path = format!("/mint?who=ann&{how}");
        self.client().get(&path).unwrap().text()
    }

    /// The kinds of tokens that were asked for by the protocol.
    fn asked(&self) -> Vec<Value> {
        let asked = self.client().get("/asked").unwrap().json();
        asked.as_array().unwrap().clone()
    }

    fn discovery(&self) -> String {
        let port = self.port;
        format!("auth_discovery_url: 'http://127.0.0.1:{port}/.well-known/openid-configuration'")
    }

    /// Has Feast's servers of this repo ask for tokens.
    fn guard(&self, repo: &Path) {
        let path = repo.join("feature_store.yaml");
        let yaml = std::fs::read_to_string(&path).unwrap();
        let yaml = yaml.replace("\nauth:\n  type: no_auth", "");
        let discovery = self.discovery();
        let auth = format!("\nauth: {{type: oidc, {discovery}, client_id: feast}}\n");
        std::fs::write(path, yaml + &auth).unwrap();
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(what: &str, repo: &Path) -> FeastServer {
    FeastServer::start_with(feast_with_extras(), what, repo, None, None)
}

/// What a node's `check` says of its registry.
fn registry_of(launch: &Launch) -> String {
    let said = launch.run(&["check"]).stdout;
    let line = said.lines().find(|line| line.contains("registry: "));
    line.unwrap_or_else(|| panic!("{said}")).to_owned()
}

fn with_auth(sandbox: &Sandbox, settings: &str, auth: &str) -> PathBuf {
    let settings = if auth.is_empty() {
        settings.to_owned()
    } else {
        format!("{settings}auth: {{type: oidc, {auth}}}\n")
    };
    node_repo(sandbox, "rides", &settings)
}

#[test]
fn servers_that_want_tokens_are_followed_with_one_and_say_so_without() {
    let centre = repo::rides();
    let provider = Provider::start();
    provider.guard(&centre.repo);
    let registry = serve("serve_registry", &centre.repo);
    let offline = serve("serve_offline", &centre.repo);
    let settings = format!(
        "{}offline_store: {{type: remote, host: localhost, port: {}}}\n",
        registry_server(registry.port, ""),
        offline.port
    );
    let launch = |auth: &str| {
        let repo = with_auth(&centre, &settings, auth);
        Launch::new(&repo, &centre.data).env("GALLEY_FEAST_REGISTRY_POLL", "200ms")
    };

    // No token, one of another's key, one that has ended, and what is none.
    for token in [
        String::new(),
        provider.token("key=other"),
        provider.token("life=-100"),
        "nonsense".to_owned(),
    ] {
        let said = registry_of(&launch("").env("GALLEY_FEAST_TOKEN", &token));
        assert!(
            said.starts_with("BAD") && said.contains("set feast.token"),
            "{said}"
        );
        assert!(token.is_empty() || !said.contains(&token), "{said}");
    }

    // Every way in which Feast's own clients get one.
    let good = provider.token("life=300");
    let client = format!("{}, client_id: feast, client_secret", provider.discovery());
    let person = format!("{client}: client-s3cret, username: ann, password: pass-s3cret");
    let ways = [
        (String::new(), Some("GALLEY_FEAST_TOKEN"), None),
        (format!("token: {good}"), None, None),
        (
            "token_env_var: THE_TOKEN".to_owned(),
            Some("THE_TOKEN"),
            None,
        ),
        (provider.discovery(), Some("FEAST_OIDC_TOKEN"), None),
        (
            format!("{client}: client-s3cret"),
            None,
            Some("client_credentials"),
        ),
        (person.clone(), None, Some("password")),
    ];
    for (auth, variable, grant) in ways {
        let mut launch = launch(&auth);
        if let Some(variable) = variable {
            launch = launch.env(variable, &good);
        }
        let said = registry_of(&launch);
        assert!(said.starts_with("ok"), "{said}");
        let asked = provider.asked();
        assert_eq!(asked.last().and_then(Value::as_str), grant, "{asked:?}");
    }
    let said = registry_of(&launch(&format!("{client}: wr0ng")));
    assert!(
        said.contains("invalid_client") && !said.contains("wr0ng"),
        "{said}"
    );

    // The offline server, by the same token; and it says so without.
    let materialize = |launch: &Launch| {
        launch.run(&[
            "materialize",
            WINDOW.0,
            WINDOW.1,
            "--views",
            "driver_hourly_stats",
        ])
    };
    materialize(&launch(&person)).ok();
    let before = provider.asked().len();

    // A node that follows asks for one token, not for one with every call.
    let launch = launch(&person);
    let node = launch.start();
    let seen = status(&node);
    assert!(
        has_view(&seen, "driver_hourly_stats") && refused(&seen).is_empty(),
        "{seen}"
    );
    std::thread::sleep(Duration::from_secs(3));
    let asked = provider.asked().len() - before;
    assert!((1..=3).contains(&asked), "{asked} tokens");
    assert!(refused(&status(&node)).is_empty());
    let body =
        json!({"start_ts": WINDOW.0, "end_ts": WINDOW.1, "feature_views": ["driver_hourly_stats"]});
    let answer = node.client().post("/materialize", &body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(node.terminate().success());

    // With a token that ends, the last state is served, and the reason is there.
    let short = with_auth(&centre, &settings, "");
    let launch = Launch::new(&short, &centre.data)
        .env("GALLEY_FEAST_REGISTRY_POLL", "200ms")
        .env("GALLEY_FEAST_TOKEN", provider.token("life=-5"));
    let node = launch.start();
    let seen = until(&node, "the refusal", |status| {
        refused(status).contains("set feast.token")
    });
    assert!(has_view(&seen, "driver_hourly_stats"), "{seen}");
    let answer = node.client().post("/materialize", &body).unwrap();
    let said = answer.text();
    assert!(
        answer.status != 200 && said.contains("set feast.token"),
        "{said}"
    );
    let asked =
        json!({"features": ["driver_hourly_stats:conv_rate"], "entities": {"driver_id": [1001]}});
    let answer = node.client().post("/get-online-features", &asked).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

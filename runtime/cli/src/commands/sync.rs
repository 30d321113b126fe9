//! `galley sync` and `galley rollback`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use galley_api::FeedOutcome;
use galley_node::Node;
use galley_sync::agent::{Agent, Outcome};
use serde_json::{Value, json};

use crate::app::open_node;
use crate::args::{ClientArgs, RollbackArgs, SyncArgs};
use crate::client::{Client, live_server};
use crate::config::Config;
use crate::{environment_all, feed, logging, output};

/// How long a rollback is waited for. It is a commit and no look at the feed.
const ROLLBACK_WAIT: Duration = Duration::from_mins(2);

/// What a server is asked, and how long its answer is waited for.
struct Ask<'a> {
    path: &'a str,
    wait: Duration,
}

pub(crate) fn once(args: &SyncArgs) -> Result<ExitCode> {
    if !args.once {
        bail!(
            "nothing to do: `galley serve` follows the feed of sync.feed; `galley sync --once` \
             looks at it now"
        );
    }
    let mut overrides = args.client.node.overrides();
    if let Some(feed) = &args.feed {
        overrides.values.push(("sync.feed", "--feed", feed.clone()));
    }
    if let Some(root) = &args.root {
        let root = root.display().to_string();
        overrides.values.push(("sync.root", "--root", root));
    }
    let config = Config::resolve(&overrides, environment_all())?;
    logging::start(&config, logging::Default::Tool);
    if args.forget {
        if let Some(server) = live_server(&config)? {
            bail!(
                "the server at {} follows the feed: stop it, then forget what it has seen",
                server.url()
            );
        }
        return tell(&args.client, &tree(&feed::told(anew(&config)?)));
    }
    let ask = Ask {
        path: &format!("/v1/sync?wait={}", args.wait),
        wait: Duration::from_secs(args.wait),
    };
    run(&args.client, &config, &ask, |agent| Ok(agent.round()?))
}

pub(crate) fn roll_back(args: &RollbackArgs) -> Result<ExitCode> {
    let config = Config::resolve(&args.client.node.overrides(), environment_all())?;
    logging::start(&config, logging::Default::Tool);
    let ask = Ask {
        path: &format!("/v1/rollback?wait={}", ROLLBACK_WAIT.as_secs()),
        wait: ROLLBACK_WAIT,
    };
    run(&args.client, &config, &ask, |agent| {
        let version = agent.roll_back()?;
        Ok(Outcome::RolledBack { version })
    })
}

/// Asks the server that holds the data folder, or does it here when none does.
fn run(
    args: &ClientArgs,
    config: &Config,
    ask: &Ask<'_>,
    work: impl FnOnce(&mut Agent) -> Result<Outcome>,
) -> Result<ExitCode> {
    let server = match &args.server {
        Some(server) => Some(Client::new(server)?),
        None => live_server(config)?,
    };
    let told = match server {
        Some(client) => client.post_for(ask.path, ask.wait)?.body,
        None => tree(&feed::told(here(config, work)?)),
    };
    tell(args, &told)
}

fn tell(args: &ClientArgs, told: &Value) -> Result<ExitCode> {
    if args.output.json {
        output::json(told);
    } else {
        output::line(sentence(told)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Looks at the feed as if nothing had been seen of it before.
fn anew(config: &Config) -> Result<Outcome> {
    // What was trusted is not let go for a root that cannot be read.
    let (_, root) = feed::source(config)?;
    let node: Arc<Node> = open_node(config, &mut |_| {})?;
    let outcome = Agent::forget(&node, &root)
        .map_err(anyhow::Error::from)
        .and_then(|()| feed::agent(config, &node))
        .and_then(|mut agent| Ok(agent.round()?));
    node.shutdown();
    outcome
}

fn here(config: &Config, work: impl FnOnce(&mut Agent) -> Result<Outcome>) -> Result<Outcome> {
    let node: Arc<Node> = open_node(config, &mut |_| {})?;
    let outcome = feed::agent(config, &node).and_then(|mut agent| work(&mut agent));
    node.shutdown();
    outcome
}

fn tree(outcome: &FeedOutcome) -> Value {
    json!({ "outcome": outcome.outcome, "version": outcome.version, "rows": outcome.rows })
}

fn sentence(told: &Value) -> Result<String> {
    let text = |key: &str| told.get(key).map(ToString::to_string).unwrap_or_default();
    let version = text("version");
    let outcome = told.get("outcome").and_then(Value::as_str);
    Ok(match outcome {
        Some("installed") => format!("release {version} installed, {} rows", text("rows")),
        Some("unchanged") => format!("release {version} is the newest"),
        Some("frozen") => format!(
            "release {version} is the newest there is, and what vouches for it has expired: publish \
             again, or find what holds the feed back"
        ),
        Some("rolled_back") => format!(
            "release {version} serves again; the one after it stays away, a newer one will come"
        ),
        Some("nothing") => "the feed has no release yet".to_owned(),
        Some("running") => "it goes on: see `galley status`".to_owned(),
        _ => return Err(anyhow!("the server answered {told}")),
    })
}

//! `galley sync` and `galley rollback`.

use std::process::ExitCode;
use std::sync::Arc;

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
    let path = format!("/v1/sync?wait={}", args.wait);
    run(&args.client, &config, &path, |agent| Ok(agent.round()?))
}

pub(crate) fn roll_back(args: &RollbackArgs) -> Result<ExitCode> {
    let config = Config::resolve(&args.client.node.overrides(), environment_all())?;
    logging::start(&config, logging::Default::Tool);
    run(&args.client, &config, "/v1/rollback", |agent| {
        let version = agent.roll_back()?;
        Ok(Outcome::RolledBack { version })
    })
}

/// Asks the server that holds the data folder, or does it here when none does.
fn run(
    args: &ClientArgs,
    config: &Config,
    path: &str,
    work: impl FnOnce(&mut Agent) -> Result<Outcome>,
) -> Result<ExitCode> {
    let server = match &args.server {
        Some(server) => Some(Client::new(server)?),
        None => live_server(config)?,
    };
    let told = match server {
        Some(client) => client.post(path, &Value::Null)?.body,
        None => tree(&feed::told(here(config, work)?)),
    };
    if args.output.json {
        output::json(&told);
    } else {
        output::line(sentence(&told)?);
    }
    Ok(ExitCode::SUCCESS)
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

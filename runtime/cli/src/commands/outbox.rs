//! `galley outbox`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use galley_api::outbox_tree;
use galley_node::{Node, ParkedChange};
use serde_json::{Value, json};

use crate::app::open_node;
use crate::args::{ClientArgs, DropWhich, OutboxArgs, OutboxCommand};
use crate::client::{Client, live_server};
use crate::commands::status::plain;
use crate::config::Config;
use crate::{environment_all, logging, output, table};

pub(crate) fn run(args: &OutboxArgs) -> Result<ExitCode> {
    match &args.what {
        None => list(&args.client),
        Some(OutboxCommand::List { client }) => list(client),
        Some(OutboxCommand::Retry { target, client }) => {
            let body = json!({ "target": target });
            let done = change(client, ("retry", &body), |node| {
                Ok(node.outbox_retry(target.as_deref())?)
            })?;
            tell(client, &done, "to be sent again");
            Ok(ExitCode::SUCCESS)
        }
        Some(OutboxCommand::Drop { which, client }) => {
            let DropWhich { target, all } = which;
            let body = json!({ "target": target, "all": all });
            let done = change(client, ("drop", &body), |node| {
                Ok(node.outbox_drop(target.as_deref())?)
            })?;
            tell(client, &done, "dropped");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Asks the server, or the store when no server holds it. Nothing is sent from here: a node that is
/// served does that.
fn ask<T>(
    args: &ClientArgs,
    there: impl FnOnce(&Client) -> Result<T>,
    here: impl FnOnce(&Node) -> Result<T>,
) -> Result<T> {
    let config = Config::resolve(&args.node.overrides(), environment_all())?;
    logging::start(&config, logging::Default::Tool);
    let server = match &args.server {
        Some(server) => Some(Client::new(server)?),
        None => live_server(&config)?,
    };
    if let Some(client) = server {
        return there(&client);
    }
    let node: Arc<Node> = open_node(&config, &mut |_| {})?;
    let outcome = here(&node);
    node.shutdown();
    outcome
}

fn change(
    args: &ClientArgs,
    (what, body): (&str, &Value),
    here: impl FnOnce(&Node) -> Result<ParkedChange>,
) -> Result<Value> {
    ask(
        args,
        |client| Ok(client.post(&format!("/v1/outbox/{what}"), body)?.body),
        |node| {
            let done = here(node)?;
            Ok(json!({ "parts": done.parts, "entries": done.entries, "bytes": done.bytes }))
        },
    )
}

fn tell(args: &ClientArgs, done: &Value, what: &str) {
    if args.output.json {
        output::json(done);
        return;
    }
    let text = |key: &str| done.get(key).map(plain).unwrap_or_default();
    if done.get("parts").and_then(Value::as_u64) == Some(0) {
        output::line("nothing is parked");
    } else {
        output::line(format!(
            "{} entries of {} bytes in {} batches: {what}",
            text("entries"),
            text("bytes"),
            text("parts"),
        ));
    }
}

fn list(args: &ClientArgs) -> Result<ExitCode> {
    let told = ask(
        args,
        |client| Ok(client.get("/v1/outbox")?.body),
        |node| {
            let parked = node.outbox_parked(usize::MAX)?;
            let tree = node.outbox_status().map(|mut outbox| {
                outbox.parked = parked;
                outbox_tree(&outbox)
            });
            Ok(json!({ "outbox": tree }))
        },
    )?;
    if args.output.json {
        output::json(&told);
        return Ok(ExitCode::SUCCESS);
    }
    let Some(outbox) = told.get("outbox").filter(|it| it.is_object()) else {
        output::line("there is no outbox: set outbox.to to where pushed rows go");
        return Ok(ExitCode::SUCCESS);
    };
    show(outbox);
    Ok(ExitCode::SUCCESS)
}

fn show(outbox: &Value) {
    let text = |pointer: &str| outbox.pointer(pointer).map(plain).unwrap_or_default();
    output::line(format!(
        "to        {}\nwaiting   {} entries of {} bytes, the oldest since {}\n\
         parked    {} entries of {} bytes, the oldest since {}\n\
         bound     {} bytes, {} s",
        text("/to"),
        text("/entries"),
        text("/bytes"),
        text("/oldest"),
        text("/parked/entries"),
        text("/parked/bytes"),
        text("/parked/oldest"),
        text("/bytes_max"),
        text("/age_max_seconds"),
    ));
    if let Some(reason) = outbox.get("failure").and_then(Value::as_str) {
        output::line(format!("UNSENT    {reason}"));
    }
    let targets = outbox.pointer("/parked/targets").and_then(Value::as_array);
    let Some(targets) = targets.filter(|targets| !targets.is_empty()) else {
        return;
    };
    let columns = [
        ("parked", "target"),
        ("kind", "kind"),
        ("batches", "parts"),
        ("again", "due_parts"),
        ("entries", "entries"),
        ("bytes", "bytes"),
        ("since", "parked"),
        ("refused", "refused"),
        ("attempts", "attempts"),
    ];
    let mut rows = vec![columns.map(|(heading, _)| heading.to_owned()).to_vec()];
    for target in targets {
        let cell = |(_, key)| target.get(key).map(plain).unwrap_or_default();
        rows.push(columns.map(cell).to_vec());
    }
    output::line("");
    output::line(table::lay_out(&rows));
    for target in targets {
        let text = |key: &str| target.get(key).map(plain).unwrap_or_default();
        output::line(format!("REFUSED   {}: {}", text("target"), text("reason")));
    }
    output::line("");
    output::line(
        "set the centre right and `galley outbox retry`, or give it up: `galley outbox drop`",
    );
}

//! `galley keys`.

use std::process::ExitCode;

use anyhow::Result;
use galley_sync::feed::{Keyring, KeyringShown, NewKeyring, Role};
use galley_types::{Clock as _, SystemClock};
use serde_json::json;

use crate::args::{KeysArgs, KeysCommand, RoleArg};
use crate::{output, table};

pub(crate) fn run(args: &KeysArgs) -> Result<ExitCode> {
    let now = SystemClock.now();
    let (keyring, hint, output) = match &args.command {
        KeysCommand::Init(args) => {
            let new = NewKeyring {
                root_keys: args.root_keys,
                threshold: args.threshold,
            };
            let keyring = Keyring::create(&args.dir, new, now)?;
            let hint = "Give 1.root.json to the nodes (sync.root) by a way you trust, keep the root's \
                        keys apart from the others, and publish with `galley publish`.";
            (keyring, hint, &args.output)
        }
        KeysCommand::Rotate(args) => {
            let mut keyring = Keyring::open(&args.dir)?;
            keyring.rotate(role(args.role), args.key.as_deref(), now)?;
            let hint = "Publish now: nodes follow the new root from the ones they have. The key that \
                        was replaced can be destroyed once the root is complete.";
            (keyring, hint, &args.output)
        }
        KeysCommand::SignRoot(args) => {
            let mut keyring = Keyring::open(&args.dir)?;
            keyring.sign_root(now)?;
            let hint = "Copy the root to the folder that is published with, and publish.";
            (keyring, hint, &args.output)
        }
        KeysCommand::Show(args) => (Keyring::open(&args.dir)?, "", &args.output),
    };
    let shown = keyring.show()?;
    if output.json {
        output::json(&to_json(&shown));
    } else {
        show(&shown);
        if !hint.is_empty() {
            output::note(hint);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(shown: &KeyringShown) {
    output::line(format!(
        "root {}, good until {}, signed by {} of its keys: {}",
        shown.root_version,
        shown.expires_at,
        shown.threshold,
        shown.root_file.display()
    ));
    let mut rows = vec![["role", "key", "state"].map(str::to_owned).to_vec()];
    for key in &shown.keys {
        let state = match (&key.file, key.trusted) {
            (Some(_), true) => "here",
            (None, _) => "elsewhere",
            (Some(_), false) => "no longer trusted",
        };
        let id: String = key.id.chars().take(12).collect();
        rows.push(vec![key.role.name().to_owned(), id, state.to_owned()]);
    }
    output::line(table::lay_out(&rows));
    if let Some(missing) = &shown.missing {
        output::note(missing);
    }
}

fn to_json(shown: &KeyringShown) -> serde_json::Value {
    let keys: Vec<_> = shown
        .keys
        .iter()
        .map(|key| {
            json!({
                "role": key.role.name(),
                "id": key.id,
                "file": key.file,
                "trusted": key.trusted,
            })
        })
        .collect();
    json!({
        "root_version": shown.root_version,
        "root_file": shown.root_file,
        "expires_at": shown.expires_at.to_string(),
        "threshold": shown.threshold,
        "missing": shown.missing,
        "keys": keys,
    })
}

fn role(role: RoleArg) -> Role {
    match role {
        RoleArg::Root => Role::Root,
        RoleArg::Targets => Role::Targets,
        RoleArg::Snapshot => Role::Snapshot,
        RoleArg::Timestamp => Role::Timestamp,
    }
}

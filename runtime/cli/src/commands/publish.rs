//! `galley publish`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use galley_manifest::Manifest;
use galley_sync::MaterializeConfig;
use galley_sync::feed::{Keyring, Lives, Published, Publisher, Rows, What};
use galley_sync::remote::{self, RemoteConfig};
use galley_types::{Clock as _, EventTime, SystemClock};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::args::{NodeArgs, PublishArgs};
use crate::config::Config;
use crate::{environment_all, logging, output, table};

pub(crate) fn run(args: &PublishArgs) -> Result<ExitCode> {
    let node = NodeArgs {
        repo: args.repo.clone(),
        config: args.config.clone(),
        data_dir: None,
    };
    let config = Config::resolve(&node.overrides(), environment_all())?;
    logging::start(&config, logging::Default::Tool);
    let now = SystemClock.now();
    let what = what(args, now)?;
    let remote_config = RemoteConfig {
        token: config.feed_token.clone(),
        ..config.remote.clone()
    };
    let store = remote::open(&args.to, &remote_config)?;
    let keyring = Keyring::open(&args.keys)?;
    let repo = config.open_repo()?;
    let manifest = config.manifest.clone();
    let manifest: PathBuf = manifest.unwrap_or_else(|| config.repo.join(Manifest::FILE));
    let scratch = tempfile::tempdir().context("make a temporary folder")?;
    let publisher = Publisher {
        store: store.as_ref(),
        keyring: &keyring,
        repo: &repo,
        manifest: &manifest,
        scratch: scratch.path(),
        rows: MaterializeConfig::default(),
        lives: Lives::default(),
        keep: args.keep,
        orphans_after: args.orphans_after,
        dry_run: args.dry_run,
    };
    let bar = ProgressBar::new_spinner();
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {msg} {wide_bar} {human_pos}/{human_len} rows")
    {
        bar.set_style(style);
    }
    let published = publisher.publish(&what, now, &mut |view, read, total| {
        bar.set_message(view.to_owned());
        bar.set_length(total);
        bar.set_position(read);
    });
    bar.finish_and_clear();
    let published = published?;
    if args.output.json {
        output::json(&to_json(&published));
    } else {
        show(&published);
    }
    Ok(ExitCode::SUCCESS)
}

fn what(args: &PublishArgs, now: EventTime) -> Result<What> {
    if args.timestamp_only {
        return Ok(What::Timestamp);
    }
    let time = |name: &str, text: &str| {
        EventTime::parse(text).map_err(|error| anyhow!("--{name}: {error}"))
    };
    let end = match &args.end {
        // Rows of the future would never be asked for again.
        Some(end) => time("end", end)?.min(now),
        None => now,
    };
    let rows = match &args.start {
        _ if args.no_data => Rows::Keep,
        _ if args.full => Rows::Full { end },
        Some(start) => Rows::Window {
            start: time("start", start)?,
            end,
        },
        None => Rows::New { end },
    };
    let views = (!args.views.is_empty()).then(|| args.views.clone());
    Ok(What::Release(rows, views))
}

fn show(published: &Published) {
    if !published.batches.is_empty() {
        let heading = [
            "feature view",
            "batch",
            "rows",
            "parts",
            "bytes",
            "from",
            "to",
        ];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for batch in &published.batches {
            rows.push(vec![
                batch.view.clone(),
                format!("{} {}-{}", batch.mode.name(), batch.epoch, batch.sequence),
                batch.rows.to_string(),
                batch.parts.to_string(),
                batch.bytes.to_string(),
                batch.window.0.map_or_else(String::new, |it| it.to_string()),
                batch.window.1.to_string(),
            ]);
        }
        output::line(table::lay_out(&rows));
    }
    for (view, why) in &published.skipped {
        output::note(format!("{view}: {why}"));
    }
    let done = match (published.dry_run, published.changed) {
        (true, true) => "there would be a new release",
        (true, false) => "nothing but a fresh timestamp would be published for release",
        (false, true) => "published release",
        (false, false) => "nothing new: a fresh timestamp for release",
    };
    output::line(format!(
        "{done} {}: {} files of {} bytes put, {} removed; publish again before {}",
        published.version, published.files, published.bytes, published.pruned, published.expires_at
    ));
    if published.orphans > 0 {
        let removed = if published.dry_run {
            "would be removed"
        } else {
            "removed"
        };
        output::line(format!(
            "{} files of {} bytes that no release names {removed}",
            published.orphans, published.orphan_bytes
        ));
    }
}

fn to_json(published: &Published) -> Value {
    let batches: Vec<Value> = published
        .batches
        .iter()
        .map(|batch| {
            json!({
                "feature_view": batch.view,
                "mode": batch.mode.name(),
                "epoch": batch.epoch,
                "sequence": batch.sequence,
                "rows": batch.rows,
                "parts": batch.parts,
                "bytes": batch.bytes,
                "start": batch.window.0.map(|it| it.to_string()),
                "end": batch.window.1.to_string(),
            })
        })
        .collect();
    let skipped: Vec<Value> = published
        .skipped
        .iter()
        .map(|(view, why)| json!({ "feature_view": view, "why": why }))
        .collect();
    json!({
        "version": published.version,
        "changed": published.changed,
        "expires_at": published.expires_at.to_string(),
        "batches": batches,
        "skipped": skipped,
        "files_put": published.files,
        "bytes_put": published.bytes,
        "files_removed": published.pruned,
        "orphans_removed": published.orphans,
        "orphan_bytes_removed": published.orphan_bytes,
        "dry_run": published.dry_run,
    })
}

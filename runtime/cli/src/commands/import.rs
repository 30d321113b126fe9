//! `galley import`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::app::{App, imports_folder};
use crate::args::{ImportArgs, ImportFrom};
use crate::client::{Client, live_server};
use crate::commands::materialize::follow;
use crate::config::Config;
use crate::{environment_all, logging, output, table};

pub(crate) fn run(args: &ImportArgs) -> Result<ExitCode> {
    let ImportFrom::FeastSqlite { file, node, output } = &args.from;
    let config = Config::resolve(&node.overrides(), environment_all())?;
    logging::start(&config, logging::Default::Tool);
    match live_server(&config)? {
        Some(client) => through_server(&config, &client, file, output.json),
        None => here(&config, file, output.json),
    }
}

/// Opens the store and imports into it.
fn here(config: &Config, file: &Path, as_json: bool) -> Result<ExitCode> {
    let app = App::open(config, &mut |_| {})?;
    let bar = ProgressBar::new_spinner();
    let imported = galley_sync::import::feast_sqlite(file, &app.node, &mut |view| {
        bar.set_message(format!("{}: {} rows", view.name, view.rows));
        bar.tick();
    });
    bar.finish_and_clear();
    app.close();
    let report = imported?;
    if as_json {
        let views: Vec<Value> = report
            .views
            .iter()
            .map(|view| {
                json!({
                    "feature_view": view.name,
                    "rows": view.rows,
                    "rows_stored": view.written,
                    "values_absent": view.absent,
                })
            })
            .collect();
        let skipped: Vec<Value> = report
            .skipped
            .iter()
            .map(|(table, why)| json!({ "table": table, "why": why }))
            .collect();
        output::json(&json!({ "feature_views": views, "skipped_tables": skipped }));
    } else {
        let mut rows = vec![
            ["feature view", "rows read", "rows stored"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for view in &report.views {
            rows.push(vec![
                view.name.clone(),
                view.rows.to_string(),
                view.written.to_string(),
            ]);
        }
        output::line(table::lay_out(&rows));
        for (table, why) in &report.skipped {
            output::note(format!("skipped table {table}: {why}"));
        }
    }
    if report.views.is_empty() {
        bail!(
            "{} holds no table of a feature view in the registry",
            file.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts a copy where the server that holds the store looks, and has it import that.
fn through_server(
    config: &Config,
    client: &Client,
    file: &Path,
    as_json: bool,
) -> Result<ExitCode> {
    let copy = Copied::make(file, &imports_folder(config))?;
    let answer = client.post("/v1/imports", &json!({ "file": copy.name }))?;
    let job = answer
        .job
        .ok_or_else(|| anyhow!("{} named no job", client.url()))?;
    let done = follow(client, job)?;
    if as_json {
        output::json(&done);
    }
    let text = |key: &str| done.get(key).map(Value::to_string).unwrap_or_default();
    if done.get("state").and_then(Value::as_str) != Some("succeeded") {
        let error = done
            .get("error")
            .and_then(Value::as_str)
            .unwrap_or("no reason given");
        bail!("import ended after {} rows: {error}", text("rows_read"));
    }
    if !as_json {
        output::line(format!(
            "{} rows read, {} rows stored",
            text("rows_read"),
            text("rows_written")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// A copy of a SQLite file and of what its writer has not moved into it yet; it goes when dropped.
struct Copied {
    folder: PathBuf,
    name: String,
}

/// Endings of the files that belong to a SQLite file.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

impl Copied {
    fn make(file: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let copy = Self {
            folder: folder.to_path_buf(),
            name: format!("import-{}.db", std::process::id()),
        };
        for part in PARTS {
            let mut from = file.as_os_str().to_owned();
            from.push(part);
            let from = PathBuf::from(from);
            if part.is_empty() || from.try_exists().unwrap_or(false) {
                let to = folder.join(format!("{}{part}", copy.name));
                fs::copy(&from, &to)
                    .with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
            }
        }
        Ok(copy)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        for part in PARTS {
            // What is not there needs no removal.
            drop(fs::remove_file(
                self.folder.join(format!("{}{part}", self.name)),
            ));
        }
    }
}

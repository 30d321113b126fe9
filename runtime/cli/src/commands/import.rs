//! `galley import`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use indicatif::ProgressBar;
use serde_json::json;

use crate::app::{AddressFile, App};
use crate::args::{ImportArgs, ImportFrom};
use crate::config::Config;
use crate::{environment_all, logging, output, table};

pub(crate) fn run(args: &ImportArgs) -> Result<ExitCode> {
    let ImportFrom::FeastSqlite { file, node, output } = &args.from;
    let config = Config::resolve(&node.overrides(), environment_all())?;
    logging::start(&config, logging::Default::Tool);
    let app = App::open(&config, &mut |_| {}).map_err(|error| {
        match AddressFile::read(&config.data_dir()) {
            Some(address) => error.context(format!(
                "the server at {} (process {}) may hold the store: stop it to import",
                address.address, address.pid
            )),
            None => error,
        }
    })?;
    let bar = ProgressBar::new_spinner();
    let imported = galley_sync::import::feast_sqlite(file, &app.node, &mut |view| {
        bar.set_message(format!("{}: {} rows", view.name, view.rows));
        bar.tick();
    });
    bar.finish_and_clear();
    app.close();
    let report = imported?;
    if output.json {
        let views: Vec<_> = report
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
        output::json(
            &json!({ "feature_views": views, "skipped_tables": report.skipped.iter().map(|(table, why)| json!({ "table": table, "why": why })).collect::<Vec<_>>() }),
        );
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

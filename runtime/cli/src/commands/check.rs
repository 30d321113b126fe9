//! `galley check`.

use std::process::ExitCode;

use anyhow::Result;
use galley_manifest::Manifest;
use galley_node::Registry;
use galley_node::check_signature;
use galley_node::store::{Error as StoreError, OutboxCheck, Store, TableCheck};
use galley_sync::Scheduler;
use galley_sync::agent::preview;
use galley_types::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::app::{store_path, transform_loader};
use crate::args::CheckArgs;
use crate::config::{Config, settings, variable};
use crate::{environment_all, feed, logging, output, table};

/// One thing that was checked.
struct Finding {
    what: &'static str,
    outcome: Result<String, String>,
    notes: Vec<String>,
}

pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode> {
    let config = Config::resolve(&args.node.overrides(), environment_all())?;
    logging::start(&config, logging::Default::Tool);
    let (place, registry, read) = match config.feed {
        Some(_) => check_feed(&config),
        None => check_repo(&config),
    };
    let findings = [
        place,
        registry,
        check_transforms(&config, read.as_ref()),
        check_schedules(&config),
        check_store(&config),
    ];
    let good = findings.iter().all(|finding| finding.outcome.is_ok());
    if args.output.json {
        output::json(&to_json(&config, &findings, good));
    } else {
        show(&config, &findings);
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Reads the feed as a node that knows nothing of it yet.
fn check_feed(config: &Config) -> (Finding, Finding, Option<Registry>) {
    let finding = |what, outcome| Finding {
        what,
        outcome,
        notes: vec![],
    };
    let unread = || finding("registry", Err("not read".into()));
    let offered = feed::source(config).and_then(|(remote, root)| {
        let offered = preview(remote.as_ref(), &root, &config.agent, SystemClock.now())?;
        Ok((remote.location(), offered))
    });
    match offered {
        Err(error) => (finding("feed", Err(format!("{error:#}"))), unread(), None),
        Ok((location, None)) => {
            let none = format!("{location}: no release is published yet");
            (finding("feed", Err(none)), unread(), None)
        }
        Ok((location, Some((release, read)))) => {
            let found = format!(
                "{location}: release {}, good until {}",
                release.version, release.expires_at
            );
            let registry = described(&location, &read);
            (finding("feed", Ok(found)), registry, Some(read))
        }
    }
}

/// What a registry holds.
fn described(location: &str, read: &Registry) -> Finding {
    Finding {
        what: "registry",
        outcome: Ok(format!(
            "{location}: {} feature views, {} on-demand feature views, {} feature services, {} push \
             sources",
            read.views().len(),
            read.on_demand_views().len(),
            read.services().len(),
            read.push_sources().len()
        )),
        notes: read.warnings().to_vec(),
    }
}

fn check_repo(config: &Config) -> (Finding, Finding, Option<Registry>) {
    let mut registry = Finding {
        what: "registry",
        outcome: Err("not read".into()),
        notes: vec![],
    };
    let repo = match config.open_repo() {
        Ok(repo) => repo,
        Err(error) => {
            let outcome = Err(galley_sync::chain(&error));
            return (
                Finding {
                    what: "repo",
                    outcome,
                    notes: vec![],
                },
                registry,
                None,
            );
        }
    };
    let found = format!("project {} in {}", repo.project(), config.repo.display());
    let read = match repo.read_registry() {
        Ok(read) => {
            registry = described(&repo.registry_location(), &read);
            Some(read)
        }
        Err(error) => {
            registry.outcome = Err(galley_sync::chain(&error));
            None
        }
    };
    (
        Finding {
            what: "repo",
            outcome: Ok(found),
            notes: vec![],
        },
        registry,
        read,
    )
}

/// Reads the manifest and loads every component, as the server does.
fn check_transforms(config: &Config, registry: Option<&Registry>) -> Finding {
    let path = config.manifest();
    let mut finding = Finding {
        what: "transforms",
        outcome: Ok(format!("{}: none", path.display())),
        notes: vec![],
    };
    if matches!(path.try_exists(), Ok(false)) {
        return finding;
    }
    let manifest = match Manifest::read(&path) {
        Ok(manifest) => manifest,
        Err(error) => {
            finding.outcome = Err(galley_sync::chain(&error));
            return finding;
        }
    };
    finding.notes.clone_from(&manifest.warnings);
    let mut bad = Vec::new();
    for offer in transform_loader(config).load(&manifest) {
        let view = registry
            .as_ref()
            .and_then(|it| Some((it, it.find_any_on_demand_view(&offer.view)?)));
        match (&offer.transform, view) {
            (Err(reason), _) => bad.push(format!("{}: {reason}", offer.view)),
            (Ok(_), None) => bad.push(format!("{}: the registry has no such view", offer.view)),
            (Ok(transform), Some((registry, view))) => bad.extend(
                check_signature(registry, view, transform.signature())
                    .iter()
                    .filter(|check| !check.fits)
                    .map(|check| format!("{}: {check}", offer.view)),
            ),
        }
    }
    let bound = manifest.transforms.len();
    finding.outcome = if bad.is_empty() {
        Ok(format!("{}: {bound} bound, all fit", path.display()))
    } else {
        Err(format!("{}: {bound} bound, not all fit", path.display()))
    };
    finding.notes.extend(bad);
    finding
}

/// Reads cron expressions and time zones, as the server does.
fn check_schedules(config: &Config) -> Finding {
    let found = |outcome, notes| Finding {
        what: "schedules",
        outcome,
        notes,
    };
    let schedules = &config.schedules;
    let next = match Scheduler::check(schedules, SystemClock.now()) {
        Ok(next) => next,
        Err(error) => return found(Err(galley_sync::chain(&error)), vec![]),
    };
    let notes = schedules.iter().zip(next).filter_map(|(schedule, next)| {
        let (name, cron) = (&schedule.name, &schedule.cron);
        Some(format!("{name}: '{cron}', next {}", next?))
    });
    let outcome = match schedules.len() {
        0 => "none".to_owned(),
        count => format!("{count}"),
    };
    found(Ok(outcome), notes.collect())
}

fn check_store(config: &Config) -> Finding {
    let path = store_path(config);
    let found = |outcome| Finding {
        what: "store",
        outcome,
        notes: vec![],
    };
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return found(Ok(format!("{}: none yet", path.display()))),
        Err(error) => return found(Err(format!("{}: {error}", path.display()))),
    }
    match Store::open(&path, config.store.clone(), &mut |_| {}) {
        Ok(store) => match store.check() {
            Ok(report) if report.is_whole() => found(Ok(format!(
                "{}: {} rows in {} tables, every checksum and digest right",
                path.display(),
                report.tables.iter().map(|table| table.rows).sum::<u64>(),
                report.tables.len()
            ))),
            Ok(report) => Finding {
                what: "store",
                outcome: Err(format!("{}: damaged", path.display())),
                notes: report
                    .tables
                    .iter()
                    .filter(|table| !table.is_whole())
                    .map(damage)
                    .chain(outbox_damage(&report.outbox))
                    .collect(),
            },
            Err(error) => found(Err(error.to_string())),
        },
        Err(StoreError::InUse { .. }) => found(Ok(format!(
            "{}: held by a running server, not checked",
            path.display()
        ))),
        Err(error) => found(Err(error.to_string())),
    }
}

fn damage(table: &TableCheck) -> String {
    format!(
        "table {}: {} of {} rows read, {} damaged{}",
        table.name,
        table.rows,
        table.rows_expected,
        table.rows_damaged,
        table
            .error
            .as_ref()
            .map(|error| format!(", {error}"))
            .unwrap_or_default()
    )
}

fn outbox_damage(outbox: &OutboxCheck) -> Option<String> {
    let OutboxCheck {
        entries,
        entries_expected,
        entries_damaged,
    } = outbox;
    (!outbox.is_whole()).then(|| {
        format!("outbox: {entries} of {entries_expected} entries read, {entries_damaged} damaged")
    })
}

fn show(config: &Config, findings: &[Finding]) {
    let mut rows = vec![["setting", "value", "from"].map(str::to_owned).to_vec()];
    for setting in settings() {
        let origin = config.origin(setting.key).to_string();
        rows.push(vec![setting.key.to_owned(), config.show(setting), origin]);
    }
    output::line(table::lay_out(&rows));
    output::line("");
    for finding in findings {
        match &finding.outcome {
            Ok(text) => output::line(format!("ok    {}: {text}", finding.what)),
            Err(text) => output::line(format!("BAD   {}: {text}", finding.what)),
        }
        for note in &finding.notes {
            output::line(format!("note  {}: {note}", finding.what));
        }
    }
}

fn to_json(config: &Config, findings: &[Finding], good: bool) -> Value {
    let shown: Vec<Value> = settings()
        .map(|setting| {
            json!({
                "key": setting.key,
                "value": config.show(setting),
                "from": config.origin(setting.key).to_string(),
                "variable": variable(setting.key),
                "help": setting.help,
            })
        })
        .collect();
    let findings: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "what": finding.what,
                "ok": finding.outcome.is_ok(),
                "text": match &finding.outcome { Ok(text) | Err(text) => text },
                "notes": finding.notes,
            })
        })
        .collect();
    json!({ "ok": good, "settings": shown, "findings": findings })
}

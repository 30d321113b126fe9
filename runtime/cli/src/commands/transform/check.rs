//! `galley transform check`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use galley_node::{FieldCheck, check_signature};
use serde_json::{Value, json};

use crate::args::CheckTransformArgs;
use crate::commands::transform::host::Host;
use crate::commands::transform::{registry, subject};
use crate::{output, table};

pub(crate) fn run(args: &CheckTransformArgs) -> Result<ExitCode> {
    let host = Host::open()?;
    let mut reports = Vec::new();
    for subject in subject::all(&args.target, &host)? {
        let bytes = subject.bytes()?;
        let transform = host
            .load(&bytes, &subject.setup(&[])?)
            .with_context(|| subject.path.display().to_string())?;
        let signature = transform.signature();
        let known = registry::find(
            args.repo.as_deref(),
            &args.target.target,
            subject.manifest.as_ref(),
        )?;
        let bound = subject.trigger.as_ref().map(|trigger| &trigger.view);
        let name = args.view.as_ref().or(bound).unwrap_or(&signature.name);
        let view = registry::view(&known, name)?;
        reports.push((view.name.clone(), check_signature(&known, view, signature)));
    }
    let good = reports
        .iter()
        .all(|(_, checks)| checks.iter().all(|check| check.fits));
    if args.target.output.json {
        let views: Vec<Value> = reports
            .iter()
            .map(|(view, checks)| {
                let fields: Vec<Value> = checks.iter().map(to_json).collect();
                json!({ "view": view, "fits": checks.iter().all(|it| it.fits), "fields": fields })
            })
            .collect();
        output::json(&json!({ "ok": good, "views": views }));
    } else {
        for (view, checks) in &reports {
            show(view, checks);
        }
    }
    Ok(match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn show(view: &str, checks: &[FieldCheck]) {
    let fits = checks.iter().all(|check| check.fits);
    output::line(match fits {
        true => format!("ok      {view}"),
        false => format!("DIFFERS {view}"),
    });
    let heading = ["", "", "name", "registry", "component", ""];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(checks.iter().map(|check| {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        vec![
            String::new(),
            check.what.to_owned(),
            check.name.clone(),
            or_none(&check.expected),
            or_none(&check.got),
            match check.fits {
                true => "ok".to_owned(),
                false => "DIFFERS".to_owned(),
            },
        ]
    }));
    output::line(table::lay_out(&rows));
}

fn to_json(check: &FieldCheck) -> Value {
    json!({
        "what": check.what,
        "name": check.name,
        "expected": check.expected,
        "got": check.got,
        "fits": check.fits,
    })
}

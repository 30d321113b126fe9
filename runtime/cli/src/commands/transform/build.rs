//! `galley transform build`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::args::BuildArgs;
use crate::commands::transform::host::Host;
use crate::commands::transform::subject::{self, Subject, with_workshop};
use crate::commands::transform::tools::Progress;
use crate::output;

pub(crate) fn run(args: &BuildArgs) -> Result<ExitCode> {
    let host = Host::open()?;
    let module = &args.target.target;
    let subjects = match galley_build::is_core_module(module)? {
        true => {
            let output = args
                .copy_to
                .clone()
                .unwrap_or_else(|| module.with_extension("component.wasm"));
            vec![of_module(args, &host, &output)?]
        }
        false => subject::all(&args.target, &host)?,
    };
    if let Some(copy) = &args.copy_to {
        let [subject] = subjects.as_slice() else {
            bail!("--output takes one component: choose it with --only NAME");
        };
        std::fs::write(copy, subject.bytes()?)
            .with_context(|| format!("write {}", copy.display()))?;
    }
    let mut built = Vec::new();
    for subject in &subjects {
        built.push((subject, about(subject)?));
    }
    if args.target.output.json {
        let built: Vec<Value> = built
            .iter()
            .map(|(subject, (digest, bytes))| {
                json!({
                    "name": subject.name,
                    "path": subject.path,
                    "digest": format!("sha256:{digest}"),
                    "bytes": bytes,
                    "built": subject.is_new,
                })
            })
            .collect();
        output::json(&json!({ "components": built }));
    } else {
        for (subject, (digest, bytes)) in &built {
            output::line(format!(
                "{} {}, {}, sha256:{}{}",
                subject.name,
                subject.path.display(),
                size(*bytes),
                digest.to_string().get(..12).unwrap_or_default(),
                if subject.is_new { "" } else { " (unchanged)" }
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The component around a core module, at `output`.
fn of_module(args: &BuildArgs, host: &Host, output: &Path) -> Result<Subject> {
    let progress = Progress::new();
    let built = with_workshop(host, !args.target.no_install, &progress, |workshop| {
        galley_build::componentize(workshop, &args.target.target, output)
    });
    progress.done();
    Ok(Subject::bound(built??.path, true))
}

fn about(subject: &Subject) -> Result<(galley_transform::Digest, u64)> {
    let bytes = subject.bytes()?;
    Ok((galley_transform::digest(&bytes), bytes.len() as u64))
}

/// Bytes as people say them.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
    }
}

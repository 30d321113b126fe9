//! `galley version`.

use std::process::ExitCode;

use anyhow::Result;

use crate::args::OutputArgs;
use crate::output;

pub(crate) fn run(args: &OutputArgs) -> Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    if args.json {
        output::json(&serde_json::json!({ "name": "galley", "version": version }));
    } else {
        output::line(format!("galley {version}"));
    }
    Ok(ExitCode::SUCCESS)
}

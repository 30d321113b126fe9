//! `galley transform test`.

use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use crate::args::TestArgs;
use crate::commands::transform::golden::{self, Difference, Golden};
use crate::commands::transform::host::Host;
use crate::commands::transform::subject::{self, Subject};
use crate::output;

/// Differences that are printed for one component; the rest is counted.
const SHOWN_MAX: usize = 20;

/// How one component did.
struct Report {
    name: String,
    file: String,
    golden: Vec<Golden>,
    differences: Vec<Difference>,
}

pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    let host = Host::open()?;
    let mut reports = Vec::new();
    for subject in subject::all(&args.target, &host)? {
        let path = args.golden.clone().or_else(|| subject.golden.clone());
        let path = path.ok_or_else(|| {
            anyhow!(
                "{} has no golden rows: put some into golden.jsonl of its project, or name a file \
                 with --golden FILE (see galley transform test --help)",
                subject.name
            )
        })?;
        let golden = golden::read(&path)?;
        let differences = replay(&host, &subject, &golden)
            .with_context(|| format!("golden rows {}", path.display()))?;
        reports.push(Report {
            name: subject.name,
            file: path.display().to_string(),
            golden,
            differences,
        });
    }
    let good = reports.iter().all(|report| report.differences.is_empty());
    if args.target.output.json {
        let components: Vec<Value> = reports.iter().map(Report::to_json).collect();
        output::json(&json!({ "ok": good, "components": components }));
    } else {
        reports.iter().for_each(Report::show);
    }
    Ok(match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn replay(host: &Host, subject: &Subject, golden: &[Golden]) -> Result<Vec<Difference>> {
    let bytes = subject.bytes()?;
    let transform = host
        .load(&bytes, &subject.setup(&[])?)
        .with_context(|| subject.path.display().to_string())?;
    golden::replay(&transform, golden)
}

impl Report {
    fn failed(&self) -> usize {
        let mut lines: Vec<usize> = self.differences.iter().map(|it| it.line).collect();
        lines.dedup();
        lines.len()
    }

    fn show(&self) {
        let rows = self.golden.len();
        match self.failed() {
            0 => output::line(format!("ok      {}: {rows} rows", self.name)),
            failed => output::line(format!("FAILED  {}: {failed} of {rows} rows", self.name)),
        }
        for difference in self.differences.iter().take(SHOWN_MAX) {
            let input = self
                .golden
                .iter()
                .find(|row| row.line == difference.line)
                .map_or_else(String::new, |row| {
                    Value::Object(row.input.clone()).to_string()
                });
            output::line(format!("\n  {}:{}", self.file, difference.line));
            output::line(format!("    input     {input}"));
            if let Some(name) = &difference.output {
                output::line(format!("    output    {name}"));
            }
            output::line(format!("    expected  {}", difference.expected));
            output::line(format!("    got       {}", difference.got));
        }
        let more = self.differences.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            output::line(format!("\n  and {more} more"));
        }
    }

    fn to_json(&self) -> Value {
        let differences: Vec<Value> = self
            .differences
            .iter()
            .map(|difference| {
                json!({
                    "line": difference.line,
                    "output": difference.output,
                    "expected": difference.expected,
                    "got": difference.got,
                })
            })
            .collect();
        json!({
            "name": self.name,
            "golden": self.file,
            "rows": self.golden.len(),
            "failed": self.failed(),
            "differences": differences,
        })
    }
}

//! `galley transform run`.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::args::{InputArgs, RunArgs};
use crate::commands::transform::golden;
use crate::commands::transform::host::{Host, context};
use crate::commands::transform::subject::{self, Subject};
use crate::commands::transform::values::{Inputs, Row, rows};
use crate::output;

/// The largest input, in bytes.
const INPUT_BYTES_MAX: u64 = 64 << 20;

pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    let host = Host::open()?;
    let subject = subject::one(&args.target, &host)?;
    let input = input(&args.input, &subject)?;
    let bytes = subject.bytes()?;
    let transform = host
        .load(&bytes, &subject.setup(&args.input.variables)?)
        .with_context(|| subject.path.display().to_string())?;
    let inputs = Inputs::new(transform.signature(), input.iter())?;
    let columns = inputs.columns();
    let context = context(args.input.now.as_deref(), args.input.seed)?;
    let started = Instant::now();
    let answer = transform.call(&context, inputs.batch(&columns))?;
    let took = started.elapsed();
    let rows = rows(transform.signature(), &answer)?;
    if args.target.output.json {
        output::json(&json!({
            "rows": rows,
            "microseconds": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        }));
    } else {
        for row in rows {
            output::line(Value::Object(row).to_string());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The rows to run: as told, else those of the golden rows.
pub(crate) fn input(args: &InputArgs, subject: &Subject) -> Result<Vec<Row>> {
    let rows = match (&args.input, &subject.golden) {
        (Some(input), _) => read(input)?,
        (None, Some(path)) => golden::read(path)?
            .into_iter()
            .map(|row| row.input)
            .collect(),
        (None, None) => bail!(
            "there are no rows: give some with --input, for example --input '{{\"rate\": 0.5}}'"
        ),
    };
    if rows.is_empty() {
        bail!("there are no rows in it");
    }
    Ok(rows)
}

fn read(input: &str) -> Result<Vec<Row>> {
    let (text, place) = match input.trim_start().starts_with(['{', '[']) {
        true => (input.to_owned(), "--input".to_owned()),
        false if input == "-" => {
            let mut text = String::new();
            std::io::stdin()
                .take(INPUT_BYTES_MAX)
                .read_to_string(&mut text)
                .context("standard input")?;
            (text, "standard input".to_owned())
        }
        false => {
            let path = Path::new(input);
            let bytes = std::fs::metadata(path).with_context(|| format!("--input {input}"))?;
            if bytes.len() > INPUT_BYTES_MAX {
                bail!("--input {input}: more than {INPUT_BYTES_MAX} bytes");
            }
            let text = std::fs::read_to_string(path).with_context(|| format!("--input {input}"))?;
            (text, input.to_owned())
        }
    };
    let mut rows = Vec::new();
    // One document after the other: an object, an array of them, or an object a line.
    for document in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        match document.with_context(|| place.clone())? {
            Value::Object(row) => rows.push(row),
            Value::Array(items) => {
                for item in items {
                    match item {
                        Value::Object(row) => rows.push(row),
                        other => bail!("{place}: expected a JSON object a row, got {other}"),
                    }
                }
            }
            other => bail!("{place}: expected a JSON object a row, got {other}"),
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn rows_come_as_objects_arrays_or_lines() {
        assert_eq!(read("{\"a\": 1}").unwrap().len(), 1);
        assert_eq!(read("[{\"a\": 1}, {\"a\": 2}]").unwrap().len(), 2);
        assert_eq!(read("{\"a\": 1}\n{\"a\": 2}\n").unwrap().len(), 2);
        assert!(read("[1]").is_err() && read("{\"a\": ").is_err());
    }
}

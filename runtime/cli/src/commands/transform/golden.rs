//! Golden rows: what goes in and what has to come out, a JSON object a line.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use galley_transform::{DataType, Error as TransformError, Field, Kind, Signature, Transform};
use galley_types::EventTime;
use serde_json::Value;

use crate::commands::transform::host::context;
use crate::commands::transform::values::{Inputs, Row, rows};

/// The largest file of golden rows, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// The time of a request whose row names none: the same each time.
const NOW: &str = "2026-01-01T00:00:00Z";

/// One golden row.
#[derive(Clone, Debug)]
pub(crate) struct Golden {
    /// The line it stands on, from 1.
    pub(crate) line: usize,
    pub(crate) input: Row,
    wanted: Wanted,
    now: String,
    seed: u64,
    tolerance: f64,
}

#[derive(Clone, Debug)]
enum Wanted {
    Outputs(Row),
    /// A part of the message with which the function refuses the row.
    Rejection(String),
    /// A part of the message with which the function fails.
    Failure(String),
}

/// Something that is not as it should be.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    /// The line of the golden row.
    pub(crate) line: usize,
    /// The output; `None` when the row failed as a whole.
    pub(crate) output: Option<String>,
    pub(crate) expected: String,
    pub(crate) got: String,
}

/// Reads a file of golden rows.
pub(crate) fn read(path: &Path) -> Result<Vec<Golden>> {
    let bytes = std::fs::metadata(path)
        .with_context(|| format!("golden rows {}", path.display()))?
        .len();
    if bytes > FILE_BYTES_MAX {
        bail!(
            "golden rows {}: {bytes} bytes, more than {FILE_BYTES_MAX}",
            path.display()
        );
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("golden rows {}", path.display()))?;
    let mut golden = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let line_number = index + 1;
        let row = parse(line, line_number)
            .with_context(|| format!("{}:{line_number}", path.display()))?;
        golden.push(row);
    }
    Ok(golden)
}

fn parse(line: &str, number: usize) -> Result<Golden> {
    let mut row: Row = serde_json::from_str(line).context("expected a JSON object")?;
    let mut object = |key: &str| match row.remove(key) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(anyhow!("'{key}' should be an object")),
    };
    let input = object("input")?.context("there is no 'input'")?;
    let expected = object("expected")?;
    let mut part = |key: &str| match row.remove(key) {
        None => Ok(None),
        Some(Value::String(part)) => Ok(Some(part)),
        Some(_) => Err(anyhow!("'{key}' should be a part of the message")),
    };
    let wanted = match (expected, part("rejected")?, part("failed")?) {
        (Some(outputs), None, None) => Wanted::Outputs(outputs),
        (None, Some(part), None) => Wanted::Rejection(part),
        (None, None, Some(part)) => Wanted::Failure(part),
        (None, None, None) => bail!("there is neither 'expected' nor 'rejected' nor 'failed'"),
        _ => bail!("there are several of 'expected', 'rejected' and 'failed'"),
    };
    let now = match row.remove("now") {
        None => NOW.to_owned(),
        Some(Value::String(text)) => text,
        Some(_) => bail!("'now' should be an RFC 3339 text"),
    };
    let seed = match row.remove("seed") {
        None => 0,
        Some(seed) => seed.as_u64().context("'seed' should be a whole number")?,
    };
    let tolerance = match row.remove("tolerance") {
        None => 0.0,
        Some(share) => share.as_f64().context("'tolerance' should be a number")?,
    };
    if let Some(key) = row.keys().next() {
        bail!(
            "'{key}' is no part of a golden row; there are input, expected, rejected, failed, \
             now, seed and tolerance"
        );
    }
    Ok(Golden {
        line: number,
        input,
        wanted,
        now,
        seed,
        tolerance,
    })
}

/// Runs each row by itself, and then those that are to be answered together, as a request with
/// several entities does.
pub(crate) fn replay(transform: &Transform, golden: &[Golden]) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for row in golden {
        differences.extend(row.replay(transform)?);
    }
    if differences.is_empty() {
        differences.extend(together(transform, golden)?);
    }
    Ok(differences)
}

impl Golden {
    fn replay(&self, transform: &Transform) -> Result<Vec<Difference>> {
        let signature = transform.signature();
        let inputs = Inputs::new(signature, std::iter::once(&self.input))
            .with_context(|| format!("line {}", self.line))?;
        let columns = inputs.columns();
        let context = context(Some(&self.now), self.seed)?;
        let answer = transform.call(&context, inputs.batch(&columns));
        match (&self.wanted, answer) {
            (Wanted::Outputs(expected), Ok(answer)) => {
                let rows = rows(signature, &answer)?;
                let got = rows.first().context("no row came back")?;
                self.compare(signature, expected, got)
            }
            (Wanted::Rejection(part), Err(TransformError::Rejected { message, .. }))
                if message.contains(part.as_str()) =>
            {
                Ok(Vec::new())
            }
            (Wanted::Failure(part), Err(error))
                if error.is_guest_fault() && error.to_string().contains(part.as_str()) =>
            {
                Ok(Vec::new())
            }
            (wanted, answer) => {
                let expected = match wanted {
                    Wanted::Outputs(expected) => Value::Object(expected.clone()).to_string(),
                    Wanted::Rejection(part) => format!("a rejection with \"{part}\""),
                    Wanted::Failure(part) => format!("a failure with \"{part}\""),
                };
                let got = match answer {
                    Ok(answer) => rows(signature, &answer)?
                        .into_iter()
                        .next()
                        .map_or_else(String::new, |row| Value::Object(row).to_string()),
                    Err(error) => error.to_string(),
                };
                Ok(vec![self.difference(None, expected, got)])
            }
        }
    }

    fn compare(&self, signature: &Signature, expected: &Row, got: &Row) -> Result<Vec<Difference>> {
        if let Some(name) = expected.keys().find(|name| !got.contains_key(*name)) {
            let names: Vec<&str> = got.keys().map(String::as_str).collect();
            bail!(
                "line {}: there is no output '{name}'; there are {}",
                self.line,
                names.join(", ")
            );
        }
        let mut differences = Vec::new();
        for field in &signature.outputs {
            let (Some(wanted), Some(value)) = (expected.get(&field.name), got.get(&field.name))
            else {
                // What is not expected is not looked at.
                continue;
            };
            if !same(field, wanted, value, self.tolerance) {
                differences.push(self.difference(
                    Some(&field.name),
                    wanted.to_string(),
                    value.to_string(),
                ));
            }
        }
        Ok(differences)
    }

    fn difference(&self, output: Option<&str>, expected: String, got: String) -> Difference {
        Difference {
            line: self.line,
            output: output.map(str::to_owned),
            expected,
            got,
        }
    }
}

/// All rows of the same time and seed in one call: a row must not care about its neighbours.
fn together(transform: &Transform, golden: &[Golden]) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    let answered: Vec<&Golden> = golden
        .iter()
        .filter(|row| matches!(row.wanted, Wanted::Outputs(_)))
        .collect();
    let Some(first) = answered.first() else {
        return Ok(differences);
    };
    let batch: Vec<&Golden> = answered
        .iter()
        .copied()
        .filter(|row| (&row.now, row.seed) == (&first.now, first.seed))
        .collect();
    let signature = transform.signature();
    let inputs = Inputs::new(signature, batch.iter().map(|row| &row.input))?;
    let columns = inputs.columns();
    let context = context(Some(&first.now), first.seed)?;
    match transform.call(&context, inputs.batch(&columns)) {
        Err(error) => differences.push(first.difference(
            None,
            format!("{} rows in one call to be answered", batch.len()),
            error.to_string(),
        )),
        Ok(answer) => {
            for (row, got) in batch.iter().zip(rows(signature, &answer)?) {
                if let Wanted::Outputs(expected) = &row.wanted {
                    differences.extend(row.compare(signature, expected, &got)?);
                }
            }
            for difference in &mut differences {
                difference
                    .got
                    .push_str(" (in one call with the other rows)");
            }
        }
    }
    Ok(differences)
}

/// Whether a value is the expected one, as its type compares.
fn same(field: &Field, expected: &Value, got: &Value, tolerance: f64) -> bool {
    match (field.data_type, expected, got) {
        (_, Value::Null, _) | (_, _, Value::Null) => expected == got,
        (DataType::Scalar(kind), _, _) => same_item(kind, expected, got, tolerance),
        (DataType::Array(kind), Value::Array(expected), Value::Array(got)) => {
            expected.len() == got.len()
                && expected
                    .iter()
                    .zip(got)
                    .all(|(expected, got)| same_item(kind, expected, got, tolerance))
        }
        _ => false,
    }
}

fn same_item(kind: Kind, expected: &Value, got: &Value, tolerance: f64) -> bool {
    match kind {
        Kind::Float64 | Kind::Float32 => match (expected.as_f64(), got.as_f64()) {
            (Some(expected), Some(got)) => {
                let same_single = kind == Kind::Float32 && expected as f32 == got as f32;
                let near = tolerance * expected.abs().max(got.abs());
                expected == got || same_single || (expected - got).abs() <= near
            }
            _ => expected == got,
        },
        Kind::Int32 | Kind::Int64 => match (expected.as_i64(), got.as_i64()) {
            (Some(expected), Some(got)) => expected == got,
            _ => expected.as_f64().is_some() && expected.as_f64() == got.as_f64(),
        },
        Kind::TimestampMicros => match (expected.as_str(), got.as_str()) {
            (Some(expected), Some(got)) => {
                match (EventTime::parse(expected), EventTime::parse(got)) {
                    (Ok(expected), Ok(got)) => expected == got,
                    _ => false,
                }
            }
            _ => false,
        },
        Kind::Utf8 if !expected.is_string() => got
            .as_str()
            .and_then(|text| serde_json::from_str::<Value>(text).ok())
            .is_some_and(|parsed| parsed == *expected),
        _ => expected == got,
    }
}

/// The golden rows beside a component that was built in a project: `golden.jsonl` of the project.
pub(crate) fn beside(project: &Path) -> Option<PathBuf> {
    let path = project.join("golden.jsonl");
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use galley_transform::{DataType, Field, Kind};
    use serde_json::json;

    use super::{parse, same};

    #[test]
    fn values_are_compared_as_their_types_compare() {
        let check = |kind, expected: serde_json::Value, got: serde_json::Value, tolerance| {
            let field = Field {
                name: "x".to_owned(),
                data_type: DataType::Scalar(kind),
                nullable: true,
            };
            same(&field, &expected, &got, tolerance)
        };
        assert!(check(Kind::Float64, json!(1), json!(1.0), 0.0));
        assert!(!check(Kind::Float64, json!(1.0), json!(1.000_001), 0.0));
        assert!(check(Kind::Float64, json!(1.0), json!(1.000_001), 1e-5));
        assert!(check(Kind::Float64, json!("NaN"), json!("NaN"), 0.0));
        assert!(check(
            Kind::Float32,
            json!(0.100_000_001_490_116_12),
            json!(0.1),
            0.0
        ));
        assert!(check(Kind::Int64, json!(3.0), json!(3), 0.0));
        assert!(!check(Kind::Int64, json!(3), serde_json::Value::Null, 0.0));
        assert!(check(
            Kind::Utf8,
            json!({"a": [1]}),
            json!("{\"a\": [1]}"),
            0.0
        ));
        assert!(check(
            Kind::TimestampMicros,
            json!("2026-03-01T13:00:00+01:00"),
            json!("2026-03-01T12:00:00Z"),
            0.0
        ));
    }

    #[test]
    fn a_row_says_what_it_lacks() {
        let lacks = |line: &str| format!("{:#}", parse(line, 1).unwrap_err());
        assert!(lacks("{}").contains("no 'input'"));
        assert!(lacks("{\"input\": {}}").contains("neither"));
        assert!(lacks("{\"input\": {}, \"expcted\": {}}").contains("neither"));
        assert!(
            lacks("{\"input\": {}, \"expected\": {}, \"tolerence\": 1}").contains("'tolerence'")
        );
    }
}

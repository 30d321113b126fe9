//! `galley push`.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Map, Value, json};

use crate::args::{PushArgs, PushTarget};
use crate::client::with_node;
use crate::output;

/// The largest input that is read; the server has its own, smaller bound.
const INPUT_BYTES_MAX: u64 = 256 << 20;

pub(crate) fn run(args: &PushArgs) -> Result<ExitCode> {
    let frame = frame(&read(&args.file)?)
        .with_context(|| format!("read rows from {}", args.file.display()))?;
    let (path, body) = if args.view {
        (
            "/write-to-online-store",
            json!({ "feature_view_name": args.source, "df": frame }),
        )
    } else {
        let to = match args.to {
            PushTarget::Online => "online",
            PushTarget::Offline => "offline",
            PushTarget::OnlineAndOffline => "online_and_offline",
        };
        (
            "/push",
            json!({ "push_source_name": args.source, "df": frame, "to": to }),
        )
    };
    let path = if args.queue {
        format!("{path}?mode=async")
    } else {
        path.to_owned()
    };
    let rows = frame
        .as_object()
        .and_then(|columns| columns.values().next()?.as_array().map(Vec::len));
    let rows = rows.unwrap_or(0);
    let answer = with_node(&args.client, |client| client.post(&path, &body))?;
    let ticket = answer.body.get("ticket").cloned().unwrap_or(Value::Null);
    if args.client.output.json {
        output::json(&json!({ "rows": rows, "ticket": ticket }));
    } else if ticket.is_null() {
        output::line(format!("{rows} rows pushed to {}", args.source));
    } else {
        output::line(format!(
            "{rows} rows queued for {}, ticket {ticket}",
            args.source
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let source: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?)
    };
    let read = source.take(INPUT_BYTES_MAX + 1).read_to_string(&mut text);
    if read.with_context(|| format!("read {}", path.display()))? as u64 > INPUT_BYTES_MAX {
        bail!(
            "{} is larger than {INPUT_BYTES_MAX} bytes; push it in parts",
            path.display()
        );
    }
    Ok(text)
}

/// Columns from a JSON object of columns, an array of rows, or one row a line.
fn frame(text: &str) -> Result<Value> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) if object.values().all(Value::is_array) => {
            Ok(Value::Object(object))
        }
        Ok(Value::Object(row)) => columns(&[Value::Object(row)]),
        Ok(Value::Array(rows)) => columns(&rows),
        Ok(other) => bail!("expected columns or rows, got {other}"),
        Err(whole) => {
            let lines = text
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim().is_empty());
            let rows: Result<Vec<Value>> = lines
                .map(|(index, line)| {
                    serde_json::from_str(line).map_err(|error| {
                        if index == 0 {
                            anyhow!("not JSON: {whole}")
                        } else {
                            anyhow!("line {}: not JSON: {error}", index + 1)
                        }
                    })
                })
                .collect();
            columns(&rows?)
        }
    }
}

fn columns(rows: &[Value]) -> Result<Value> {
    let mut frame: Map<String, Value> = Map::new();
    for (index, row) in rows.iter().enumerate() {
        let Value::Object(row) = row else {
            bail!("row {index}: expected an object, got {row}")
        };
        for name in row.keys() {
            let column = frame.entry(name.clone()).or_insert_with(|| json!([]));
            if let Value::Array(values) = column {
                values.resize(index, Value::Null);
            }
        }
        for (name, column) in &mut frame {
            if let Value::Array(values) = column {
                values.push(row.get(name).cloned().unwrap_or(Value::Null));
            }
        }
    }
    Ok(Value::Object(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns_with_nulls_where_a_row_lacks_one() {
        let expect = json!({ "a": [1, null], "b": [null, 2] });
        assert_eq!(frame("[{\"a\": 1}, {\"b\": 2}]").unwrap(), expect);
        assert_eq!(frame("{\"a\": 1}\n{\"b\": 2}\n").unwrap(), expect);
        assert_eq!(
            frame("{\"a\": [1, null], \"b\": [null, 2]}").unwrap(),
            expect
        );
        assert_eq!(frame("{\"a\": 1}").unwrap(), json!({ "a": [1] }));
        assert!(
            frame("{\"a\": 1}\nnot json")
                .unwrap_err()
                .to_string()
                .contains("line 2")
        );
        assert!(frame("[1]").is_err());
    }
}

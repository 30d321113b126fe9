//! `galley get`.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use serde_json::{Map, Value, json};

use crate::args::GetArgs;
use crate::client::with_node;
use crate::{output, table};

pub(crate) fn run(args: &GetArgs) -> Result<ExitCode> {
    let body = body(args)?;
    let answer = with_node(&args.client, |client| {
        client.post("/get-online-features", &body)
    })?;
    if args.client.output.json {
        output::json(&answer.body);
    } else {
        output::line(show(&answer.body));
    }
    Ok(ExitCode::SUCCESS)
}

fn body(args: &GetArgs) -> Result<Value> {
    let mut entities = Map::new();
    for entity in &args.entities {
        let (key, values) = entity.split_once('=').ok_or_else(|| {
            anyhow!("--entity {entity}: expected KEY=VALUE, such as driver_id=1001")
        })?;
        // Numbers may stay text: the server knows each key's type.
        let values: Vec<Value> = values.split(',').map(Value::from).collect();
        if entities
            .insert(key.to_owned(), Value::Array(values))
            .is_some()
        {
            return Err(anyhow!(
                "--entity {entity}: {key} is given twice; write {key}=A,B"
            ));
        }
    }
    let mut body = json!({ "entities": entities, "full_feature_names": args.full_feature_names });
    if let Some(object) = body.as_object_mut() {
        match &args.service {
            Some(service) => object.insert("feature_service".to_owned(), json!(service)),
            None => object.insert("features".to_owned(), json!(args.features)),
        };
    }
    Ok(body)
}

/// One line a row and feature: value, status and event time.
pub(crate) fn show(answer: &Value) -> String {
    let names = answer
        .pointer("/metadata/feature_names")
        .and_then(Value::as_array);
    let results = answer.get("results").and_then(Value::as_array);
    let (Some(names), Some(results)) = (names, results) else {
        return answer.to_string();
    };
    let mut rows = vec![
        ["row", "feature", "value", "status", "event time"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let count = results
        .iter()
        .filter_map(|result| result.get("values")?.as_array())
        .map(Vec::len);
    for row in 0..count.max().unwrap_or(0) {
        for (name, result) in names.iter().zip(results) {
            let at = |key: &str| result.get(key).and_then(|column| column.get(row));
            let text = |key: &str| {
                at(key)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            rows.push(vec![
                row.to_string(),
                name.as_str().unwrap_or_default().to_owned(),
                at("values").map(Value::to_string).unwrap_or_default(),
                text("statuses"),
                text("event_timestamps").replace("1970-01-01T00:00:00Z", "-"),
            ]);
        }
    }
    table::lay_out(&rows)
}

//! `galley transform inspect`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use galley_transform::Inspection;
use serde_json::{Value, json};

use crate::args::InspectArgs;
use crate::commands::transform::build::size;
use crate::commands::transform::host::Host;
use crate::commands::transform::subject::{self, Subject};
use crate::output;

pub(crate) fn run(args: &InspectArgs) -> Result<ExitCode> {
    let host = Host::open()?;
    let subjects = subject::all(&args.target, &host)?;
    let mut documents = Vec::new();
    for subject in &subjects {
        documents.push(inspect(&host, subject)?);
    }
    if args.target.output.json {
        output::json(&json!({ "components": documents }));
    } else {
        documents.iter().for_each(show);
    }
    Ok(ExitCode::SUCCESS)
}

fn inspect(host: &Host, subject: &Subject) -> Result<Value> {
    let bytes = subject.bytes()?;
    let found = Inspection::of(&bytes).with_context(|| subject.path.display().to_string())?;
    let setup = subject.setup(&[])?;
    let limits = setup.config(&found).limits;
    let world = found.check(&subject.name, &limits);
    let limits: serde_json::Map<String, Value> = limits
        .all()
        .map(|(limit, value)| (limit.setting().to_owned(), value.to_string().into()))
        .collect();
    // What was put in when it was built tells without running it; a node compares the two.
    let (signature, origin) = match &found.signature {
        Some(text) => (
            serde_json::from_str(text).context("its section galley:signature")?,
            "section",
        ),
        None => {
            let transform = host.load(&bytes, &setup)?;
            let text = transform.signature().json();
            (serde_json::from_str::<Value>(&text)?, "describe")
        }
    };
    Ok(json!({
        "name": subject.name,
        "path": subject.path,
        "digest": format!("sha256:{}", galley_transform::digest(&bytes)),
        "bytes": found.component_bytes,
        "interpreted": found.interpreted(),
        "modules": found.modules,
        "core_instances": found.core_instances,
        "memory_bytes": found.memory_bytes,
        "table_elements": found.table_elements,
        "imports": found.imports,
        "exports": found.exports,
        "fits_the_world": world.is_ok(),
        "why_not": world.err().map(|error| error.to_string()),
        "signature": signature,
        "signature_from": origin,
        "limits": limits,
    }))
}

fn show(document: &Value) {
    let text = |key: &str| match &document[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let number = |key: &str| document[key].as_u64().unwrap_or(0);
    output::line(format!("{}  {}", text("name"), text("path")));
    output::line(format!("  {}", text("digest")));
    output::line(format!(
        "  {}, {} core modules, starts with {} of memory{}",
        size(number("bytes")),
        number("modules"),
        size(number("memory_bytes")),
        match document["interpreted"] == true {
            true => ", carries an interpreter",
            false => "",
        }
    ));
    if document["fits_the_world"] != true {
        output::line(format!("  REFUSED by nodes: {}", text("why_not")));
    }
    let names = |key: &str| -> Vec<String> {
        let names = document[key].as_array().into_iter().flatten();
        names
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    let imports = names("imports");
    output::line(format!(
        "  imports   {}",
        match imports.is_empty() {
            true => "nothing".to_owned(),
            false => imports.join(", "),
        }
    ));
    output::line(format!("  exports   {}", names("exports").join(", ")));
    let signature = &document["signature"];
    let field = |key: &str| signature[key].as_str().unwrap_or_default().to_owned();
    output::line(format!(
        "  answers   {} {} ({}, {})",
        field("name"),
        field("version"),
        field("null-handling"),
        field("volatility")
    ));
    for (what, key) in [("takes", "inputs"), ("gives", "outputs")] {
        for column in signature[key].as_array().into_iter().flatten() {
            output::line(format!(
                "  {what}     {}: {}{}",
                column["name"].as_str().unwrap_or_default(),
                column["type"].as_str().unwrap_or_default(),
                match column["nullable"] == true {
                    true => ", or null",
                    false => "",
                }
            ));
        }
    }
    let limits: Vec<String> = document["limits"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name} {}", value.as_str().unwrap_or_default()))
        .collect();
    output::line(format!("  limits    {}", limits.join(", ")));
}

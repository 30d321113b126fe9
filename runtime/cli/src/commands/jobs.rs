//! `galley jobs`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use crate::args::{ClientArgs, JobsArgs, JobsCommand};
use crate::client::with_node;
use crate::commands::materialize::follow as follow_job;
use crate::commands::status::plain;
use crate::{output, table};

pub(crate) fn run(args: &JobsArgs) -> Result<ExitCode> {
    match &args.what {
        None => list(&args.client),
        Some(JobsCommand::List { client }) => list(client),
        Some(JobsCommand::Show { id, follow, client }) => show(client, *id, *follow),
        Some(JobsCommand::Cancel { id, client }) => cancel(client, *id),
    }
}

fn list(args: &ClientArgs) -> Result<ExitCode> {
    let answer = with_node(args, |client| Ok(client.get("/v1/jobs")?.body))?;
    if args.output.json {
        output::json(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let jobs = answer.get("jobs").and_then(Value::as_array);
    let Some(jobs) = jobs.filter(|jobs| !jobs.is_empty()) else {
        output::line("no jobs");
        return Ok(ExitCode::SUCCESS);
    };
    let columns = [
        ("job", "id"),
        ("kind", "kind"),
        ("state", "state"),
        ("schedule", "schedule"),
        ("started", "started"),
        ("finished", "finished"),
        ("rows read", "rows_read"),
        ("rows stored", "rows_written"),
    ];
    let mut rows = vec![columns.map(|(heading, _)| heading.to_owned()).to_vec()];
    for job in jobs {
        let cell = |(_, key)| job.get(key).map(plain).unwrap_or_default();
        rows.push(columns.map(cell).to_vec());
    }
    output::line(table::lay_out(&rows));
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ClientArgs, id: u64, follow: bool) -> Result<ExitCode> {
    let job = with_node(args, |client| {
        if follow {
            follow_job(client, id)
        } else {
            Ok(client.get(&format!("/v1/jobs/{id}"))?.body)
        }
    })?;
    tell(args, &job);
    let succeeded = job.get("state").and_then(Value::as_str) == Some("succeeded");
    Ok(if follow && !succeeded {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn cancel(args: &ClientArgs, id: u64) -> Result<ExitCode> {
    let job = with_node(args, |client| {
        Ok(client.delete(&format!("/v1/jobs/{id}"))?.body)
    })?;
    if args.output.json {
        output::json(&job);
    } else {
        output::line(format!("job {id} was asked to stop"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows a job, a line for each thing there is to say of it.
fn tell(args: &ClientArgs, job: &Value) {
    if args.output.json {
        output::json(job);
        return;
    }
    let mut rows = Vec::new();
    for (key, value) in job.as_object().into_iter().flatten() {
        let text = match value {
            Value::Null => continue,
            Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
            other => plain(other),
        };
        rows.push(vec![key.replace('_', " "), text]);
    }
    output::line(table::lay_out(&rows));
}

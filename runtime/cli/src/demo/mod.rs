//! `galley demo`: a sample repo, served.

mod fleet;
mod sources;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::app::{AddressFile, Background};
use crate::args::DemoArgs;
use crate::client::Client;
use crate::commands::{get, materialize};
use crate::config::{Config, Overrides};
use crate::signals::Stop;
use crate::{environment_all, logging, output};

/// The sample repo's files; its registry was made by Feast itself. The manifest and its components
/// are those of this project.
const FILES: [(&str, &[u8]); 10] = [
    (
        "feature_store.yaml",
        include_bytes!("../../../../examples/rides/feature_store.yaml"),
    ),
    (
        "definitions.py",
        include_bytes!("../../../../examples/rides/definitions.py"),
    ),
    (
        "data/registry.db",
        include_bytes!("../../../../examples/rides/data/registry.db"),
    ),
    ("spin.toml", include_bytes!("../../../../spin.toml")),
    (
        "guest-transforms/components/conversion_rate.wasm",
        include_bytes!("../../../../guest-transforms/components/conversion_rate.wasm"),
    ),
    (
        "guest-transforms/components/time_since_last_event.wasm",
        include_bytes!("../../../../guest-transforms/components/time_since_last_event.wasm"),
    ),
    (
        "guest-transforms/components/geo_distance.wasm",
        include_bytes!("../../../../guest-transforms/components/geo_distance.wasm"),
    ),
    (
        "guest-transforms/components/text_normalizer.wasm",
        include_bytes!("../../../../guest-transforms/components/text_normalizer.wasm"),
    ),
    (
        "guest-transforms/components/embedding_dot.wasm",
        include_bytes!("../../../../guest-transforms/components/embedding_dot.wasm"),
    ),
    (
        "guest-transforms/components/score.wasm",
        include_bytes!("../../../../guest-transforms/components/score.wasm"),
    ),
];

/// How often a look-up is repeated to tell its latency.
const REPEATS: usize = 200;

pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode> {
    let (folder, _temporary) = match &args.dir {
        Some(dir) => (dir.clone(), None),
        None => {
            let temporary = tempfile::Builder::new().prefix("galley-demo-").tempdir()?;
            (temporary.path().to_path_buf(), Some(temporary))
        }
    };
    let stop = Stop::new();
    stop.on_signals()?;

    if args.fleet {
        return run_fleet(args, &folder, &stop);
    }
    let started = Instant::now();
    let rows = set_up(&folder)?;
    step(
        &format!(
            "Feast repo with {rows} rows of Parquet in {}",
            folder.display()
        ),
        started,
    );

    let started = Instant::now();
    let (config, background) = serve(args, &folder)?;
    let address = background.url.trim_start_matches("http://").parse()?;
    let address_file = AddressFile::write(&config, address)?;
    step(&format!("serving on {}", background.url), started);

    let client = Client::new(&background.url)?;
    let started = Instant::now();
    let body = json!({ "disable_event_timestamp": true });
    let answer = client.post("/materialize?async=true", &body)?;
    let job = materialize::follow(&client, answer.job.context("the server named no job")?)?;
    if job.get("state").and_then(Value::as_str) != Some("succeeded") {
        anyhow::bail!("materialization failed: {job}");
    }
    step(
        &format!(
            "materialized {} rows",
            job.get("rows_written").unwrap_or(&Value::Null)
        ),
        started,
    );

    show(&client)?;
    if args.once || stop.asked() {
        drop(address_file);
        background.close()?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format!(
        "\nStill serving on {url}. In another terminal:\n\
         \n  curl -s {url}/get-online-features -d '{{\"features\": [\"driver_activity:trips_today\"], \
         \"entities\": {{\"driver_id\": [7]}}}}'\n  \
         galley status --repo {repo}\n  \
         galley get --repo {repo} --service dispatch --entity driver_id=7 --entity customer_id=C0007\n\
         \nCtrl-C ends the demo.",
        url = background.url,
        repo = folder.display()
    ));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(stop.wait());
    drop(address_file);
    background.close()?;
    Ok(ExitCode::SUCCESS)
}

/// Shows a fleet; it serves until Ctrl-C, or until it was shown.
fn run_fleet(args: &DemoArgs, folder: &Path, stop: &Stop) -> Result<ExitCode> {
    let config = Config::resolve(&Overrides::default(), environment_all())?;
    logging::start(&config, logging::Default::Tool);
    // Nodes know the feed by its path, wherever they are started.
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let folder = folder
        .canonicalize()
        .with_context(|| format!("find {}", folder.display()))?;
    let fleet = fleet::show(&folder)?;
    if !args.once && !stop.asked() {
        output::line(format!(
            "\nThe nodes still serve and follow: {urls}. In another terminal:\n\n  \
             galley publish --to {folder}/feed --keys {folder}/keys --repo {folder}/centre --full\n  \
             galley status --server {first}\n  galley rollback --server {first}\n\n\
             Ctrl-C ends the demo.",
            urls = fleet.urls().join(" "),
            folder = folder.display(),
            first = fleet.urls().first().copied().unwrap_or_default(),
        ));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(stop.wait());
    }
    fleet.close()?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the sample repo; a store left by an earlier demo stays.
fn set_up(folder: &Path) -> Result<usize> {
    for (name, content) in FILES {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    sources::write(&folder.join("data"))
}

/// Serves the repo on the address asked for, on Feast's port, or where that is taken on a free one.
fn serve(args: &DemoArgs, folder: &Path) -> Result<(Config, Background)> {
    let values = vec![("feast.repo", "--dir", folder.display().to_string())];
    let overrides = Overrides {
        config_file: None,
        values,
    };
    let mut config = Config::resolve(&overrides, environment_all())?;
    config.repo = PathBuf::from(folder);
    config.data_dir = Some(folder.join(".galley"));
    logging::start(&config, logging::Default::Tool);
    if let Some(listen) = args.listen {
        config.api.listen = listen;
    } else if std::net::TcpListener::bind(config.api.listen).is_err() {
        config.api.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    }
    let background = Background::start(&config)?;
    Ok((config, background))
}

/// Look-ups, transformations among them, and a push, with what they answer and how long they take.
fn show(client: &Client) -> Result<()> {
    let features = json!({
        "features": ["driver_activity:acceptance_rate", "driver_activity:trips_today",
                     "driver_activity:recent_zones"],
        "entities": { "driver_id": [7] },
    });
    look_up(client, "Features of one driver", &features)?;
    let service = json!({
        "feature_service": "dispatch",
        "entities": { "driver_id": [7, 8], "customer_id": ["C0007", "nobody"] },
    });
    look_up(
        client,
        "A feature service over two entities (the second customer is unknown)",
        &service,
    )?;
    let aliased = json!({
        "feature_service": "route", "full_feature_names": true,
        "entities": { "origin_zone": ["harbour"], "destination_zone": ["airport"] },
    });
    look_up(
        client,
        "One view under two names, by feature service",
        &aliased,
    )?;

    let transformed = json!({
        "feature_service": "match",
        "entities": {
            "driver_id": [7], "customer_id": ["C0007"],
            "val_to_add": [1], "val_to_add_2": [10],
            "request_lat": [52.52], "request_lon": [13.405],
            "item_embedding": [[0.5, 0.25, 0.0, 1.0, -0.5, 0.0, 0.75, -1.0]],
        },
    });
    look_up(
        client,
        "Five transformations of stored features and the request, each a WebAssembly component \
         in a sandbox of its own",
        &transformed,
    )?;

    let now = galley_types::Clock::now(&galley_types::SystemClock).to_string();
    let push = json!({
        "push_source_name": "driver_pings",
        "df": {
            "driver_id": [7], "acceptance_rate": [0.99], "trips_today": [31], "is_online": [true],
            "vehicle": ["van"], "recent_zones": [["harbour"]], "last_ping": [now],
            "event_timestamp": [now], "created": [now],
        },
    });
    let started = Instant::now();
    client.post("/push", &push)?;
    step(
        "\nPush to driver_pings: durable, and visible in both views it feeds",
        started,
    );
    let both = json!({
        "features": ["driver_activity:trips_today", "driver_pulse:trips_today"],
        "full_feature_names": true,
        "entities": { "driver_id": [7] },
    });
    look_up(client, "The pushed value", &both)
}

fn look_up(client: &Client, title: &str, body: &Value) -> Result<()> {
    let answer = client.post("/get-online-features", body)?;
    let mut times = Vec::with_capacity(REPEATS);
    for _ in 0..REPEATS {
        let started = Instant::now();
        client.post("/get-online-features", body)?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let median = times.get(REPEATS / 2).copied().unwrap_or_default();
    output::line(format!("\n{title} ({} round trip)", microseconds(median)));
    for line in get::show(&answer.body).lines() {
        output::line(format!("  {line}"));
    }
    Ok(())
}

fn step(text: &str, started: Instant) {
    output::line(format!("{text} ({})", microseconds(started.elapsed())));
}

fn microseconds(duration: Duration) -> String {
    if duration < Duration::from_millis(10) {
        format!("{} us", duration.as_micros())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

//! Measures galley side by side with a bare server, in one run, and quotes ratios.
//!
//! usage: cargo xtask bench [--rounds 3] [--secs 3] [--rows 100000] [--only PART,PART] [--json FILE]
//! parts: materialize lookups transforms components pushes feed flight start memory
//!
//! How: servers are pinned to core 0, the load generator to core 1. For each look-up workload galley
//! answers one body of the kind, and the bare server then answers every request with those very
//! bytes; both are measured in turns of a second, and the median of the turns' ratios counts: a machine
//! that others use as well changes its pace within seconds. The absolute figures depend on the machine
//! and on what else it does; the ratios much less.
//!
//! Cost model: a look-up reads the request, finds its plan by the list of features, makes one point
//! read for each view and entity, and prints each double once. W1 is mostly HTTP, W2 mostly
//! printing, W3 printing and moving 260 KB. A push waits for a group commit, so pushes per fsync say
//! how well the fsync is shared.
//! Batch sizes: 1000 different bodies a workload, entities uniform over all rows, 8 connections
//! (pushes 64), 10 features a view.
//!
//! Not measured: several cores, TLS, cold page caches, time to first byte, disks slower than the one
//! below.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use galley_benches::flight::Flight;
use galley_benches::process::{LOAD_CPU, Server, pinned};
use galley_benches::web::Web;
use galley_benches::workload::Workload;
use galley_benches::{Result, client, data, median};
use galley_sync::GrpcAddress;
use galley_sync::flight::{OfflineClient, OfflineConfig, PullLatest};
use galley_sync::remote::{RemoteConfig, RemoteError};
use galley_types::EventTime;
use serde_json::{Value, json};

const HELP: &str = "\
Measures galley side by side with a bare hyper server

Usage: cargo xtask bench [OPTIONS]

  --rounds N     rounds of each look-up workload, bare and galley in turn [default: 3]
  --secs S       seconds each takes in a round, in turns of one [default: 3]
  --rows N       rows of each of the five views [default: 100000]
  --only A,B     materialize, lookups, transforms, components, pushes, feed, flight, start, memory
                 [default: all]
  --json FILE    also write every figure to FILE

GALLEY_BIN names the binary (cargo xtask bench builds it in release mode).";

/// Connections of the look-up workloads.
const CONNECTIONS: usize = 8;
/// Clients that push one row each.
const PUSHERS: usize = 64;
/// Rows of the store whose start is timed.
const START_ROWS: usize = 1_000_000;
/// What the Flight server is asked for, which does not look at it.
const PULL: PullLatest<'static> = PullLatest {
    source: "fv_0",
    join_keys: &[],
    features: &[],
    timestamp: "event_timestamp",
    created: None,
    window: (EventTime::EPOCH, EventTime::EPOCH),
};
const WARMUP_SECONDS: f64 = 0.3;
/// The longest that the bare server or galley is measured before the other is.
const TURN_SECONDS: f64 = 1.0;
const WINDOW: &str = r#""start_ts": "2025-12-01T00:00:00Z", "end_ts": "2026-03-01T00:00:00Z""#;

struct Options {
    rounds: usize,
    secs: f64,
    rows: usize,
    only: Vec<String>,
    json: Option<PathBuf>,
}

/// How a server is asked.
#[derive(Clone, Copy)]
struct Pressure {
    connections: usize,
    seconds: f64,
}

struct Bench {
    options: Options,
    galley: PathBuf,
    work: PathBuf,
    figures: Vec<Value>,
}

fn main() -> Result<()> {
    let Some(options) = options()? else {
        println!("{HELP}");
        return Ok(());
    };
    let here = std::env::current_exe()?;
    let beside = here.parent().ok_or("no folder of the program")?.to_owned();
    let galley =
        std::env::var_os("GALLEY_BIN").map_or_else(|| beside.join("galley"), PathBuf::from);
    let work = beside.join("../bench-work");
    fs::create_dir_all(&work)?;
    let mut bench = Bench {
        options,
        galley,
        work: work.canonicalize()?,
        figures: Vec::new(),
    };
    bench.run()?;
    if let Some(path) = &bench.options.json {
        fs::write(path, serde_json::to_string_pretty(&bench.figures)? + "\n")?;
    }
    let missed: Vec<String> = bench
        .figures
        .iter()
        .filter(|figure| figure["good"] == false)
        .map(|figure| figure["what"].to_string())
        .collect();
    if missed.is_empty() {
        Ok(())
    } else {
        Err(format!("below the bar: {}", missed.join(", ")).into())
    }
}

fn options() -> Result<Option<Options>> {
    let mut options = Options {
        rounds: 3,
        secs: 3.0,
        rows: 100_000,
        only: Vec::new(),
        json: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--help" || arg == "-h" {
            return Ok(None);
        }
        let value = args
            .next()
            .ok_or_else(|| format!("{arg} needs a value\n\n{HELP}"))?;
        match arg.as_str() {
            "--rounds" => options.rounds = value.parse()?,
            "--secs" => options.secs = value.parse()?,
            "--rows" => options.rows = value.parse()?,
            "--only" => options.only = value.split(',').map(str::to_owned).collect(),
            "--json" => options.json = Some(value.into()),
            _ => return Err(format!("no option {arg}\n\n{HELP}").into()),
        }
    }
    Ok(Some(options))
}

impl Bench {
    fn run(&mut self) -> Result<()> {
        let repo = self.work.join("repo");
        data::repo(&repo, self.options.rows)?;
        let data_dir = self.fresh("data")?;
        if self.wants("memory") {
            self.memory(&repo)?;
        }
        let (server, _) = Server::galley(&self.galley, &repo, &data_dir)?;
        self.materialize(&server)?;
        if self.wants("lookups") {
            for workload in Workload::LOOK_UPS {
                self.look_ups(workload, &server)?;
            }
        }
        if self.wants("pushes") {
            self.pushes(&server)?;
        }
        server.stop()?;
        if self.wants("transforms") {
            self.transformed_look_ups(&repo)?;
            self.transforms()?;
        }
        if self.wants("components") {
            self.components()?;
        }
        if self.wants("feed") {
            self.feed()?;
        }
        if self.wants("flight") {
            self.flight()?;
        }
        if self.wants("start") {
            self.start()?;
        }
        Ok(())
    }

    fn wants(&self, part: &str) -> bool {
        self.options.only.is_empty() || self.options.only.iter().any(|only| only == part)
    }

    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let dir = self.work.join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Prints and keeps one figure with the bar it has to reach.
    fn figure(&mut self, what: &str, (value, unit): (f64, &str), good: bool, note: &str) {
        let mark = if good { "ok  " } else { "MISS" };
        println!("{mark} {what:<34} {value:>12.3} {unit:<10} {note}");
        self.figures
            .push(json!({"what": what, "value": value, "unit": unit, "good": good, "note": note}));
    }

    // === parts ===

    fn materialize(&mut self, server: &Server) -> Result<()> {
        let mut speeds = Vec::new();
        for view in 0..data::VIEWS {
            let body = format!(r#"{{{WINDOW}, "feature_views": ["fv_{view}"]}}"#);
            let begun = Instant::now();
            client::ok(server.address, "POST", "/materialize", &body)?;
            speeds.push(self.options.rows as f64 / begun.elapsed().as_secs_f64());
        }
        if self.wants("materialize") {
            let speed = median(&speeds);
            let note = format!(
                "{} rows x {} doubles, one view at a time",
                self.options.rows,
                data::FEATURES
            );
            self.figure(
                "materialize from Parquet",
                (speed, "rows/s"),
                speed >= 500_000.0,
                &note,
            );
        }
        Ok(())
    }

    fn look_ups(&mut self, workload: Workload, galley: &Server) -> Result<()> {
        let name = workload.name();
        let bodies = workload.bodies(self.options.rows);
        let file = self.work.join(format!("{name}.ndjson"));
        fs::write(&file, &bodies)?;
        let first = bodies.lines().next().ok_or("no bodies")?;
        let answer = client::ok(galley.address, "POST", workload.path(), first)?;
        let bytes = self.work.join(format!("{name}.answer"));
        fs::write(&bytes, &answer)?;
        let bare = Server::bare(&self.beside("bare"), &bytes)?;

        let (mut shares, mut speeds, mut cpu, mut waits) = (vec![], vec![], vec![], vec![]);
        let turn = Pressure {
            connections: CONNECTIONS,
            seconds: TURN_SECONDS,
        };
        for _ in 0..self.turns() {
            let (limit, _) = self.load(&bare, workload, &file, turn)?;
            let (own, us) = self.load(galley, workload, &file, turn)?;
            let speed = |report: &Value| report["per_second"].as_f64().unwrap_or(f64::NAN);
            shares.push(speed(&own) / speed(&limit));
            speeds.push(speed(&own));
            cpu.push(us);
        }
        for _ in 0..self.options.rounds {
            let (alone, _) = self.load(galley, workload, &file, self.pressure(1))?;
            waits.push(alone["p50_us"].as_f64().unwrap_or(f64::NAN));
        }
        let share = median(&shares);
        let note = format!(
            "{:.0} req/s, {} byte answers, {:.1} us CPU a request; p50 alone {:.0} us",
            median(&speeds),
            answer.len(),
            median(&cpu),
            median(&waits)
        );
        let what = format!("{name} share of bare hyper");
        self.figure(&what, (share, ""), share >= workload.share_min(), &note);
        Ok(())
    }

    fn transformed_look_ups(&mut self, plain: &Path) -> Result<()> {
        for workload in [Workload::W4Fresh, Workload::W4Pooled] {
            let name = workload.name();
            let isolation = name.trim_start_matches("w4-");
            let repo = self.fresh(&format!("repo-{name}"))?;
            data::repo_with_transform(&repo, plain, isolation)?;
            let data_dir = self.fresh(&format!("data-{name}"))?;
            let (server, _) = Server::galley(&self.galley, &repo, &data_dir)?;
            client::ok(
                server.address,
                "POST",
                "/materialize",
                &format!("{{{WINDOW}}}"),
            )?;
            self.look_ups(workload, &server)?;
            server.stop()?;
        }
        Ok(())
    }

    /// What an HTTP component adds to the look-up it makes: the scoring component and the same features
    /// asked for directly, in turn, of one server.
    fn components(&mut self) -> Result<()> {
        for (kind, reuse) in [("fresh", 1), ("kept", 1_000)] {
            let repo = self.fresh(&format!("repo-score-{kind}"))?;
            data::repo_with_component(&repo, reuse)?;
            let data_dir = self.fresh(&format!("data-score-{kind}"))?;
            let (server, _) = Server::galley(&self.galley, &repo, &data_dir)?;
            client::ok(server.address, "POST", "/push", &data::drivers())?;
            let measure = |workload: Workload| {
                let file = self.work.join(format!("{}.ndjson", workload.name()));
                fs::write(&file, workload.bodies(data::DRIVERS))?;
                let (report, us) =
                    self.load(&server, workload, &file, self.pressure(CONNECTIONS))?;
                let speed = report["per_second"].as_f64().unwrap_or(f64::NAN);
                Ok::<_, Box<dyn std::error::Error>>((speed, us))
            };
            let (mut costs, mut own, mut plain) = (vec![], vec![], vec![]);
            for _ in 0..self.options.rounds {
                let (look_up, score) = (measure(Workload::ScoreLookUp)?, measure(Workload::Score)?);
                costs.push(score.1 / look_up.1);
                own.push(score);
                plain.push(look_up);
            }
            server.stop()?;
            let middle = |of: &[(f64, f64)]| {
                let (speeds, times): (Vec<f64>, Vec<f64>) = of.iter().copied().unzip();
                (median(&speeds), median(&times))
            };
            let ((speed, us), (plain_speed, plain_us)) = (middle(&own), middle(&plain));
            let note = format!(
                "{speed:.0} req/s, {us:.1} us CPU a request; its look-up alone {plain_speed:.0} \
                 req/s, {plain_us:.1} us"
            );
            let what = format!("HTTP component, {kind} instance");
            // No bar: what an instance costs is what isolation costs.
            self.figure(&what, (median(&costs), "x CPU"), true, &note);
        }
        Ok(())
    }

    /// What the engine does without a server around it.
    fn transforms(&mut self) -> Result<()> {
        let folder = self.work.join("transforms");
        fs::create_dir_all(&folder)?;
        let mut bench = pinned(LOAD_CPU, &self.beside("transforms"));
        bench.arg(data::component()).arg(&folder);
        match self.wrapped_python() {
            Ok(component) => {
                bench.arg(component);
            }
            Err(error) => println!("Python is not measured: {error}"),
        }
        let output = bench.output()?;
        let figures: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
        for figure in figures.as_array().into_iter().flatten() {
            let text = |key: &str| figure[key].as_str().unwrap_or_default();
            let value = figure["value"].as_f64().unwrap_or(f64::NAN);
            let good = figure["good"] == true;
            self.figure(text("what"), (value, text("unit")), good, text("note"));
        }
        Ok(())
    }

    /// The repo's own on-demand view as a component, by the command that users have.
    fn wrapped_python(&self) -> Result<PathBuf> {
        let repo = self.work.join("repo-w4-fresh");
        let out = self.work.join("wrapped");
        let output = Command::new(&self.galley)
            .args(["transform", "wrap", "--replace", "--view", "fare_quote"])
            .arg("--repo")
            .arg(repo)
            .arg("--out")
            .arg(&out)
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().into());
        }
        Ok(out.join("fare_quote/target/galley/fare_quote.wasm"))
    }

    fn pushes(&mut self, server: &Server) -> Result<()> {
        let file = self.work.join("push1.ndjson");
        fs::write(&file, Workload::Push.bodies(self.options.rows))?;
        let before = fsyncs(server)?;
        let (report, us) = self.load(server, Workload::Push, &file, self.pressure(PUSHERS))?;
        let fsyncs = fsyncs(server)? - before;
        let seconds = report["seconds"].as_f64().unwrap_or(f64::NAN);
        let per_second = report["per_second"].as_f64().unwrap_or(f64::NAN);
        // The warm-up pushed as well, at about the same pace.
        let pushes = per_second * (seconds + WARMUP_SECONDS);
        let shared = pushes / fsyncs.max(1.0);
        let note = format!(
            "{per_second:.0} pushes/s, p50 {} us, p99 {} us, {us:.1} us CPU each",
            report["p50_us"], report["p99_us"]
        );
        self.figure(
            "pushes per fsync, 64 clients",
            (shared, ""),
            shared >= 30.0,
            &note,
        );
        Ok(())
    }

    /// A million rows from a Flight server that does nothing but send: taken from the wire and
    /// decoded by the client, and by a node into its store.
    fn flight(&mut self) -> Result<()> {
        let plain = self.work.join("repo");
        data::repo(&plain, self.options.rows)?;
        let server = Flight::start(data::batches("f0_", START_ROWS)?)?;
        let address = GrpcAddress::parse(&format!("127.0.0.1:{}", server.port), None)?;
        let (remote, config) = (RemoteConfig::default(), OfflineConfig::default());
        let client = OfflineClient::new(address, &remote, config)?;
        let mut speeds = Vec::new();
        for _ in 0..self.options.rounds {
            let begun = Instant::now();
            let mut rows = 0;
            client.pull_latest::<RemoteError>(&PULL, &mut || Ok(()), &mut |batch| {
                rows += batch.num_rows();
                Ok(())
            })?;
            speeds.push(rows as f64 / begun.elapsed().as_secs_f64());
        }
        let speed = median(&speeds);
        let note = format!(
            "{START_ROWS} rows x {} doubles from loopback",
            data::FEATURES
        );
        let what = "flight: pull and decode";
        self.figure(what, (speed, "rows/s"), speed >= 1_000_000.0, &note);

        let repo = self.work.join("repo-flight");
        data::repo_with_server(&repo, &plain, server.port)?;
        let data_dir = self.fresh("data-flight")?;
        let (node, _) = Server::galley(&self.galley, &repo, &data_dir)?;
        let begun = Instant::now();
        let body = format!("{{{WINDOW}, \"feature_views\": [\"fv_0\"]}}");
        client::ok(node.address, "POST", "/materialize", &body)?;
        let speed = START_ROWS as f64 / begun.elapsed().as_secs_f64();
        node.stop()?;
        let what = "flight: pull, decode, install";
        self.figure(what, (speed, "rows/s"), speed >= 500_000.0, &note);
        Ok(())
    }

    /// A release of a million rows: fetched from loopback, verified and installed while look-ups go
    /// on.
    fn feed(&mut self) -> Result<()> {
        let repo = self.work.join("repo-feed");
        data::repo(&repo, START_ROWS)?;
        let place = self.fresh("feed")?;
        let (keys, feed) = (place.join("keys"), place.join("feed"));
        self.run_galley(&["keys", "init"], &[&keys])?;
        let publish = ["publish", "--full", "--views", "fv_0", "--to"];
        let paths = [
            feed.as_path(),
            Path::new("--keys"),
            &keys,
            Path::new("--repo"),
            &repo,
        ];
        self.run_galley(&publish, &paths)?;
        let web = Web::start(&feed);
        let data_dir = self.fresh("data-feed")?;
        let settings = [
            ("GALLEY_SYNC_FEED", web.url()),
            (
                "GALLEY_SYNC_ROOT",
                keys.join("1.root.json").display().to_string(),
            ),
            ("GALLEY_SYNC_INTERVAL", "1h".to_owned()),
        ];
        let server = Server::follower(&self.galley, &data_dir, &settings)?;
        let address = server.address;
        let sync = move || client::ok(address, "POST", "/v1/sync?wait=600", "");
        sync()?;
        let workload = Workload::W1;
        let file = self.work.join("feed.ndjson");
        fs::write(&file, workload.bodies(START_ROWS))?;
        let quiet = self.load(&server, workload, &file, self.pressure(1))?.0;
        let (mut speeds, mut waits) = (vec![], vec![]);
        for _ in 0..self.options.rounds {
            self.run_galley(&publish, &paths)?;
            let begun = Instant::now();
            let syncing = std::thread::spawn(move || {
                let outcome = sync().map_err(|error| error.to_string());
                (outcome, begun.elapsed())
            });
            let busy = self.load(&server, workload, &file, self.pressure(1))?.0;
            let (outcome, took) = syncing.join().map_err(|_| "the sync panicked")?;
            let outcome: Value = serde_json::from_slice(&outcome?)?;
            if outcome["outcome"] != "installed" {
                return Err(format!("no release was installed: {outcome}").into());
            }
            speeds.push(START_ROWS as f64 / took.as_secs_f64());
            let p99 = |report: &Value| report["p99_us"].as_f64().unwrap_or(f64::NAN);
            waits.push(p99(&busy) / p99(&quiet));
        }
        server.stop()?;
        let (speed, wait) = (median(&speeds), median(&waits));
        let note = format!(
            "{START_ROWS} rows x {} doubles, look-ups meanwhile",
            data::FEATURES
        );
        let what = "feed: fetch, verify, install";
        self.figure(what, (speed, "rows/s"), speed >= 500_000.0, &note);
        let note = format!("p99 of {} us without", quiet["p99_us"]);
        self.figure("feed: p99 meanwhile", (wait, "x idle"), wait <= 2.0, &note);
        Ok(())
    }

    fn run_galley(&self, command: &[&str], paths: &[&Path]) -> Result<()> {
        let output = Command::new(&self.galley)
            .args(command)
            .args(paths)
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }

    fn start(&mut self) -> Result<()> {
        let repo = self.work.join("repo-large");
        data::repo(&repo, START_ROWS / data::VIEWS)?;
        let data_dir = self.fresh("data-large")?;
        let (server, _) = Server::galley(&self.galley, &repo, &data_dir)?;
        client::ok(
            server.address,
            "POST",
            "/materialize",
            &format!("{{{WINDOW}}}"),
        )?;
        let resident = server.resident_mib()?;
        server.stop()?;
        let mut times = Vec::new();
        for _ in 0..5 {
            let (server, took) = Server::galley(&self.galley, &repo, &data_dir)?;
            times.push(took.as_secs_f64() * 1e3);
            server.stop()?;
        }
        let took = median(&times);
        let note =
            format!("{START_ROWS} rows after a clean stop; {resident:.0} MiB while serving them");
        self.figure("process start to ready", (took, "ms"), took < 300.0, &note);
        Ok(())
    }

    fn memory(&mut self, repo: &Path) -> Result<()> {
        let (server, took) = Server::galley(&self.galley, repo, &self.fresh("data-empty")?)?;
        for _ in 0..100 {
            client::ok(server.address, "GET", "/health", "")?;
        }
        let resident = server.resident_mib()?;
        let note = format!("ready after {:.0} ms", took.as_secs_f64() * 1e3);
        self.figure(
            "memory of an empty server",
            (resident, "MiB"),
            resident < 60.0,
            &note,
        );
        server.stop()
    }

    // === helpers ===

    fn beside(&self, program: &str) -> PathBuf {
        std::env::current_exe().map_or_else(|_| program.into(), |path| path.with_file_name(program))
    }

    /// Turns of a second that make up all rounds.
    fn turns(&self) -> usize {
        let seconds = self.options.rounds as f64 * self.options.secs;
        (seconds / TURN_SECONDS).ceil().max(1.0) as usize
    }

    /// As long as was asked for.
    fn pressure(&self, connections: usize) -> Pressure {
        Pressure {
            connections,
            seconds: self.options.secs,
        }
    }

    /// One measurement: the generator's report, and the server's processor time a request.
    fn load(
        &self,
        server: &Server,
        workload: Workload,
        bodies: &Path,
        pressure: Pressure,
    ) -> Result<(Value, f64)> {
        let before = server.cpu_us()?;
        let output = pinned(LOAD_CPU, &self.beside("load"))
            .arg(server.address.to_string())
            .arg(workload.path())
            .arg(bodies)
            .args([
                pressure.connections.to_string(),
                pressure.seconds.to_string(),
                WARMUP_SECONDS.to_string(),
            ])
            .output()?;
        let used = server.cpu_us()? - before;
        if !output.status.success() {
            return Err(format!("load: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let report: Value = serde_json::from_slice(&output.stdout)?;
        if report["errors"] != 0 {
            return Err(format!(
                "{}: {} errors, first: {}",
                workload.name(),
                report["errors"],
                report["first_error"]
            )
            .into());
        }
        let per_second = report["per_second"].as_f64().unwrap_or(f64::NAN);
        let requests = per_second * (pressure.seconds + WARMUP_SECONDS);
        Ok((report, used / requests))
    }
}

/// How often the store has made a commit durable.
fn fsyncs(server: &Server) -> Result<f64> {
    let status = client::json(server.address, "/status")?;
    let commits = ["fsyncs", "commits"]
        .iter()
        .find_map(|key| status["store"][*key].as_f64());
    commits.ok_or_else(|| format!("/status does not count commits: {status}").into())
}

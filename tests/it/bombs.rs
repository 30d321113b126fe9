//! Parquet files that are not what they say, and an offline server that means harm: a running server
//! refuses each with its own reason, goes on answering, and is no larger afterwards.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::bombs::bombs;
use crate::support::feast::program;
use crate::support::{Galley, Launch, RaiseAtEnd, here, repo};

/// How long any of them may keep the server busy.
const JOB_MAX: Duration = Duration::from_secs(60);
/// What the server may have in memory at most, and what it may keep of it.
const PEAK_MAX: u64 = 1 << 30;
const KEPT_MAX: u64 = 128 << 20;
/// How long it may take to give back what it does not keep.
const SETTLED_MAX: Duration = Duration::from_secs(15);

/// A figure of the server's memory, in bytes.
fn memory(server: &Galley, figure: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(figure));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() << 10
}

/// Bytes the server keeps beyond `before`, once it has had the time to give the others back.
fn kept(server: &Galley, before: u64) -> u64 {
    let deadline = Instant::now() + SETTLED_MAX;
    loop {
        let kept = memory(server, "VmRSS:").saturating_sub(before);
        if kept < KEPT_MAX || Instant::now() > deadline {
            return kept;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_server_survives_every_bomb_in_the_place_of_a_source() {
    let sandbox = repo::rides();
    let launch = sandbox.launch();
    let online = here().join("data/rides/state/online_store.db");
    launch
        .run(&["import", "feast-sqlite", online.to_str().unwrap()])
        .ok();
    let mut server = launch.start();
    let before = memory(&server, "VmRSS:");
    let forget = PathBuf::from(format!("/proc/{}/clear_refs", server.pid()));
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut wrong, mut largest, mut slowest) = (Vec::new(), 0, Duration::ZERO);
    std::thread::scope(|scope| {
        let _raise = RaiseAtEnd(&done);
        let mut honest = server.client();
        let (done, asked) = (&done, &asked);
        scope.spawn(move || {
            let look_up = json!({"features": ["driver_hourly_stats:conv_rate"],
                "entities": {"driver_id": [1001, 1002]}});
            while !done.load(Ordering::Relaxed) {
                let answer = honest.post("/get-online-features", &look_up).unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
                asked.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let mut client = server.client();
        for bomb in bombs() {
            let source = sandbox.repo.join(format!("data/{}.parquet", bomb.view));
            std::fs::write(source, &bomb.bytes).unwrap();
            std::fs::write(&forget, "5").unwrap();
            let begun = Instant::now();
            let window = json!({"start_ts": "2020-01-01T00:00:00Z", "end_ts": "2035-01-01T00:00:00Z",
                "feature_views": [bomb.view]});
            let answer = client.post("/materialize?force=true", &window).unwrap();
            let (took, peak) = (begun.elapsed(), memory(&server, "VmHWM:"));
            (slowest, largest) = (slowest.max(took), largest.max(peak));
            let said = answer.text();
            let well = match bomb.reason {
                "" => answer.status == 200,
                reason => answer.status >= 400 && said.contains(reason) && said.contains(bomb.view),
            };
            if !well || took > JOB_MAX || peak > PEAK_MAX {
                let status = answer.status;
                wrong.push(format!("{}: {status} {took:?} {peak} {said}", bomb.name));
            }
            let answered = client.get("/ready").map(|reply| reply.status);
            assert_eq!(answered.ok(), Some(200), "after {}", bomb.name);
        }
    });
    assert!(server.alive(), "{}", server.log());
    let kept = kept(&server, before);
    println!(
        "{} look-ups meanwhile; {largest} bytes at most, {kept} more at the end than before, {slowest:?} at most",
        asked.load(Ordering::Relaxed)
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(kept < KEPT_MAX, "{kept} bytes are kept");
    assert!(asked.load(Ordering::Relaxed) > 20);
}

/// What a hostile offline server sends, and a part of the reason it is refused with; empty when it is
/// taken, and does no harm.
const TABLES: [(&str, &str); 11] = [
    ("good", ""),
    ("compressed", "compressed batch"),
    ("nulls", "claims 1000000000 rows"),
    ("word", "texts come to more than"),
    ("message", "too large"),
    ("wide", ""),
    ("deep", "without a header"),
    ("twice", "stands there twice"),
    ("missing", "no column summary"),
    ("times", "out of range"),
    ("types", "t_c"),
];

#[test]
fn a_server_survives_whatever_an_offline_server_sends() {
    let centre = repo::rides();
    let kind = centre.dir.path().join("kind");
    let mut hostile = program("python")
        .arg(here().join("data/flight/hostile.py"))
        .arg(&kind)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    let mut said = BufReader::new(hostile.stdout.take().unwrap());
    said.read_line(&mut port).unwrap();
    let repo = centre.dir.path().join("node");
    std::fs::create_dir_all(&repo).unwrap();
    let yaml = format!(
        "project: rides\nprovider: local\nregistry: {}\nentity_key_serialization_version: 3\n\
         offline_store: {{type: remote, host: localhost, port: {}}}\n",
        centre.registry().display(),
        port.trim()
    );
    std::fs::write(repo.join("feature_store.yaml"), yaml).unwrap();
    let launch = Launch::new(&repo, &centre.data).env("GALLEY_MATERIALIZE_MESSAGE_MAX", "64MiB");
    let mut server = launch.start();
    let before = memory(&server, "VmRSS:");
    let mut client = server.client();
    let mut wrong = Vec::new();
    for (name, reason) in TABLES {
        std::fs::write(&kind, name).unwrap();
        let begun = Instant::now();
        let window = json!({"start_ts": "2020-01-01T00:00:00Z", "end_ts": "2035-01-01T00:00:00Z",
            "feature_views": ["location_weather"]});
        let answer = client.post("/materialize?force=true", &window).unwrap();
        let (took, said) = (begun.elapsed(), answer.text());
        println!("{took:?} {} {name}: {said}", memory(&server, "VmHWM:"));
        let well = match reason {
            "" => answer.status == 200,
            reason => answer.status >= 400 && said.contains(reason) && said.contains("grpc://"),
        };
        if !well || took > JOB_MAX {
            wrong.push(format!("{name}: {} {took:?} {said}", answer.status));
        }
    }
    let _ = hostile.kill();
    let _ = hostile.wait();
    let (peak, kept) = (memory(&server, "VmHWM:"), kept(&server, before));
    assert!(server.alive(), "{}", server.log());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(peak < PEAK_MAX, "{peak} bytes");
    assert!(kept < KEPT_MAX, "{kept} bytes are kept");
}

//! Parquet files that are not what they say, in the place of a batch source: a running server refuses
//! each with its own reason, goes on answering, and is no larger afterwards.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::bombs::bombs;
use crate::support::{Galley, RaiseAtEnd, here, repo};

/// How long any of them may keep the server busy.
const JOB_MAX: Duration = Duration::from_secs(60);
/// What the server may have in memory at most, and what it may keep of it.
const PEAK_MAX: u64 = 1 << 30;
const KEPT_MAX: u64 = 128 << 20;

/// A figure of the server's memory, in bytes.
fn memory(server: &Galley, figure: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(figure));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() << 10
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
    let kept = memory(&server, "VmRSS:").saturating_sub(before);
    println!(
        "{} look-ups meanwhile; {largest} bytes at most, {kept} more at the end than before, {slowest:?} at most",
        asked.load(Ordering::Relaxed)
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(kept < KEPT_MAX, "{kept} bytes are kept");
    assert!(asked.load(Ordering::Relaxed) > 20);
}

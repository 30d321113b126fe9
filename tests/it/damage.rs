//! Damaged files: refused with the path and the reason, never a silent wrong value, never touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::repo::{Sandbox, column, get_pair, replace};
use crate::support::{Client, Random, long, repo, seed};

const ROWS: i64 = 200;

/// A cleanly closed store with [`ROWS`] rows in two views; row `k` holds `k * 7`.
fn closed_store() -> (Sandbox, PathBuf) {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let keys: Vec<i64> = (0..ROWS).collect();
    let values: Vec<i64> = keys.iter().map(|k| k * 7).collect();
    let body = json!({
        "push_source_name": "items",
        "df": {
            "item_id": keys, "event_timestamp": vec!["2026-02-01T00:00:00Z"; ROWS as usize], "x": values, "y": values,
        },
    });
    let reply = server.client().post("/push", &body).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(server.terminate().success());
    let store = store_file(&sandbox.data);
    (sandbox, store)
}

fn store_file(data: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = std::fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "redb"))
        .collect();
    assert_eq!(
        files.len(),
        1,
        "one store file in {}: {files:?}",
        data.display()
    );
    files.remove(0)
}

/// What became of one damaged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Every row read right: the damage hit nothing that matters.
    Harmless,
    /// The server refused to start, in words.
    Refused,
    /// The same, after something was written to the file.
    RefusedLate,
    /// The look-ups of the damaged rows were errors; the others were right.
    Error,
    /// A row was not found, and the server knew that something is wrong.
    MissedKnown,
}

#[test]
fn flipped_bits_never_become_a_wrong_value() {
    let flips = if long() { 2000 } else { 100 };
    let (sandbox, store) = closed_store();
    let good = std::fs::read(&store).unwrap();
    // Most of a young file is zeros nobody reads: flip where something is.
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let mut random = Random::new(seed());
    println!(
        "seed {}, {} of {} bytes in use",
        seed(),
        used.len(),
        good.len()
    );
    let mut fates: BTreeMap<Fate, u32> = BTreeMap::new();
    for _ in 0..flips {
        let at = used[usize::try_from(random.below(used.len() as u64)).unwrap()];
        let bit = random.below(8);
        let mut bad = good.clone();
        bad[at] ^= 1 << bit;
        std::fs::write(&store, &bad).unwrap();
        let what = format!("bit {bit} of byte {at}");
        let mut fate = serve_damaged(&sandbox, &store, &what);
        // Damage that shows only after the file was accepted may be refused after a first write to
        // it. That must not make things worse: the next start is as careful.
        if fate == Fate::Refused && std::fs::read(&store).unwrap() != bad {
            fate = Fate::RefusedLate;
            serve_damaged(&sandbox, &store, &format!("{what}, second start"));
        }
        *fates.entry(fate).or_default() += 1;
    }
    println!("{fates:?}");
    assert!(
        fates.keys().any(|fate| *fate != Fate::Harmless),
        "no flip did any harm: the test tests nothing"
    );
}

/// The server ended by itself, not by a panic, and said which file it refused.
#[track_caller]
fn assert_refused(status: ExitStatus, log: &str, path: &Path, what: &str) {
    let ended_itself = status.code().is_some_and(|code| code != 0 && code != 101);
    assert!(ended_itself, "{what}: {status}\n{log}");
    assert!(
        log.contains(path.to_str().unwrap()),
        "{what}: the path is not named: {log}"
    );
}

fn serve_damaged(sandbox: &Sandbox, store: &Path, what: &str) -> Fate {
    let server = match sandbox.launch().try_start() {
        Ok(mut server) => {
            server.may_panic = true;
            server
        }
        Err((status, log)) => {
            assert_refused(status, &log, store, what);
            return Fate::Refused;
        }
    };
    let mut client = server.client();
    let mut fate = Fate::Harmless;
    for key in 0..ROWS {
        let reply = client
            .post("/get-online-features", &get_pair(&[key]))
            .unwrap();
        if reply.status != 200 {
            assert!(
                reply.status >= 500 && !reply.body.is_empty(),
                "{what}: {} {}",
                reply.status,
                reply.text()
            );
            fate = fate.max(Fate::Error);
            continue;
        }
        let answer = reply.json();
        for name in ["left_a__x", "left_a__y", "right_a__x", "right_a__y"] {
            let (values, statuses) = column(&answer, name);
            if statuses[0] == "PRESENT" {
                assert_eq!(
                    values[0],
                    json!(key * 7),
                    "{what}: a wrong value in silence"
                );
            } else {
                assert!(
                    values[0].is_null(),
                    "{what}: {statuses:?} with a value: {values:?}"
                );
                fate = Fate::MissedKnown;
            }
        }
    }
    drop(server);
    if fate == Fate::MissedKnown {
        let check = sandbox.launch().run(&["check"]);
        assert!(
            !check.status.success(),
            "{what}: rows are missing and `check` finds nothing: {}",
            check.stdout
        );
    }
    fate
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let (sandbox, store) = closed_store();
    let good = std::fs::read(&store).unwrap();
    let mut files: Vec<(String, Vec<u8>)> = vec![
        ("zeros".into(), vec![0; good.len()]),
        ("text".into(), b"not a store at all\n".repeat(400)),
        (
            "a SQLite file".into(),
            std::fs::read(crate::support::here().join("data/rides/state/online_store.db")).unwrap(),
        ),
    ];
    for part in [
        1,
        9,
        63,
        64,
        512,
        4096,
        good.len() / 3,
        good.len() / 2,
        good.len() - 4096,
        good.len() - 1,
    ] {
        files.push((format!("cut after {part} bytes"), good[..part].to_vec()));
    }
    for (what, bytes) in files {
        std::fs::write(&store, &bytes).unwrap();
        match sandbox.launch().try_start() {
            Err((status, log)) => {
                assert_refused(status, &log, &store, &what);
                let untouched = std::fs::read(&store).unwrap() == bytes;
                assert!(untouched, "{what}: the file was touched");
            }
            // A cut in the unused end of the file may do no harm; then everything is there.
            Ok(server) => {
                let keys: Vec<i64> = (0..ROWS).collect();
                let reply = server
                    .client()
                    .post("/get-online-features", &get_pair(&keys))
                    .unwrap();
                let answer = reply.json();
                let want: Vec<Value> = keys.iter().map(|k| json!(k * 7)).collect();
                assert_eq!(
                    column(&answer, "left_a__x").0,
                    want,
                    "{what}: accepted, and rows are gone"
                );
            }
        }
    }
}

#[test]
fn a_damaged_registry_at_the_start_is_refused_with_path_and_reason() {
    let sandbox = repo::swap('a');
    let good = std::fs::read(sandbox.registry()).unwrap();
    for (what, bytes) in [
        ("text", b"no registry".to_vec()),
        ("half", good[..good.len() / 2].to_vec()),
    ] {
        replace(&sandbox.registry(), &bytes);
        let (status, log) = sandbox
            .launch()
            .try_start()
            .err()
            .unwrap_or_else(|| panic!("{what}: served"));
        assert!(
            status.code().is_some_and(|code| code != 0 && code != 101),
            "{what}: {status}\n{log}"
        );
        assert!(
            log.contains(sandbox.registry().to_str().unwrap()),
            "{what}: the path is not named: {log}"
        );
    }
    std::fs::remove_file(sandbox.registry()).unwrap();
    let (_, log) = sandbox.launch().try_start().expect_err("nothing to serve");
    assert!(log.contains("registry.db"), "{log}");
    replace(&sandbox.registry(), &good);
    sandbox.launch().start();
}

#[test]
fn a_damaged_parquet_file_fails_the_job_and_leaves_the_old_rows() {
    let sandbox = repo::rides();
    let server = sandbox
        .launch()
        .env("GALLEY_FEAST_PYTHON_QUIRKS", "true")
        .start();
    let mut client = server.client();
    let window = json!({
        "start_ts": "2020-01-01T00:00:00Z", "end_ts": "2026-06-01T00:00:00Z", "feature_views": ["driver_hourly_stats"],
    });
    assert_eq!(client.post("/materialize", &window).unwrap().status, 200);
    let file = sandbox.repo.join("data/driver_stats.parquet");
    let good = std::fs::read(&file).unwrap();
    let before = stats(&mut client);
    for (what, bytes) in damaged_parquet(&good) {
        replace(&file, &bytes);
        let mut forced = window.clone();
        forced["feature_views"] = json!(["driver_hourly_stats"]);
        let reply = client.post("/materialize?force=true", &forced).unwrap();
        let text = reply.text();
        assert!(reply.status >= 400, "{what}: {} {text}", reply.status);
        assert!(
            text.contains("driver_stats.parquet"),
            "{what}: the path is not named: {text}"
        );
        let jobs = client.get("/v1/jobs").unwrap().text();
        assert!(
            jobs.to_lowercase().contains("failed") && jobs.contains("driver_stats.parquet"),
            "{what}: {jobs}"
        );
        assert_eq!(stats(&mut client), before, "{what}: the old rows serve");
    }
    std::fs::remove_file(&file).unwrap();
    let reply = client.post("/materialize", &window).unwrap();
    assert!(
        reply.status >= 400 && reply.text().contains("driver_stats.parquet"),
        "gone: {}",
        reply.text()
    );
    replace(&file, &good);
    assert_eq!(
        client.post("/materialize", &window).unwrap().status,
        200,
        "a good file works again"
    );
    assert_eq!(stats(&mut client), before);
}

fn damaged_parquet(good: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("empty".to_owned(), Vec::new()),
        ("text".to_owned(), b"not parquet ".repeat(200)),
        ("cut in half".to_owned(), good[..good.len() / 2].to_vec()),
        (
            "without its end".to_owned(),
            good[..good.len() - 4].to_vec(),
        ),
    ];
    let footer =
        u32::from_le_bytes(good[good.len() - 8..good.len() - 4].try_into().unwrap()) as usize;
    let mut long_footer = good.to_vec();
    let at = good.len() - 8;
    long_footer[at..at + 4].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    files.push(("a footer longer than the file".to_owned(), long_footer));
    let mut zeros = good.to_vec();
    zeros[good.len() - 8 - footer..good.len() - 8].fill(0);
    files.push(("a footer of zeros".to_owned(), zeros));
    files
}

fn stats(client: &mut Client) -> Value {
    let body = json!({
        "features": ["driver_hourly_stats:conv_rate", "driver_hourly_stats:avg_daily_trips"],
        "entities": {"driver_id": [1001, 1002, 1003, 1004, 1005]},
    });
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let reply = client.post("/get-online-features", &body).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answer = reply.json();
        if column(&answer, "conv_rate")
            .1
            .iter()
            .all(|s| *s == "PRESENT")
            || Instant::now() > deadline
        {
            return answer;
        }
    }
}

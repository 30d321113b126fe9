//! A full disk: writes are refused in words while reads go on, and resume when there is room again.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::repo::{Sandbox, column, get_pair, push_item};
use crate::support::{Client, Galley, RaiseAtEnd, repo};

/// The small file system the data folder lies on, in MiB.
const DISK_MIB: u64 = 64;
/// How long a shortage may go unnoticed.
const NOTICED_MAX: Duration = Duration::from_secs(5);
/// How long writes may stay refused after there is room again.
const RECOVERY_MAX: Duration = Duration::from_secs(8);

/// A server whose data folder is a small tmpfs, in a mount namespace of its own: nothing to unmount.
fn start_on_small_disk(sandbox: &Sandbox, free_space_min: &str) -> Option<(Galley, PathBuf)> {
    let root = rustix::process::geteuid().is_root();
    let flags: &[&str] = if root { &["-m"] } else { &["-Urm"] };
    let probe = Command::new("unshare")
        .args(flags)
        .args(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("not run: this machine lets nobody mount a tmpfs");
        return None;
    }
    let mut launch = sandbox.launch().on_small_disk(flags, DISK_MIB);
    if !free_space_min.is_empty() {
        launch = launch
            .env("GALLEY_STORE_FREE_SPACE_MIN", free_space_min)
            .env("GALLEY_STORE_FREE_SPACE_MIN_PERCENT", "0");
    }
    let server = launch.start();
    let seen_from_here = PathBuf::from(format!("/proc/{}/root", server.pid()))
        .join(sandbox.data.strip_prefix("/").unwrap());
    Some((server, seen_from_here))
}

/// Writes a file until `leave` bytes are free, or until nothing more goes in.
fn fill(dir: &Path, leave: u64) -> PathBuf {
    let path = dir.join("filler");
    let mut file = File::create(&path).unwrap();
    let chunk = vec![7_u8; 256 << 10];
    while free(dir) > leave {
        if file.write_all(&chunk).is_err() {
            let byte_by_byte = vec![7_u8; 4096];
            while leave == 0 && file.write_all(&byte_by_byte).is_ok() {}
            break;
        }
    }
    path
}

fn free(dir: &Path) -> u64 {
    let stat = rustix::fs::statvfs(dir).unwrap();
    stat.f_bavail * stat.f_frsize
}

fn push(client: &mut Client, value: i64) -> u16 {
    let seconds = value % 60;
    let time = format!(
        "2026-02-01T{:02}:{:02}:{seconds:02}Z",
        value / 3600 % 24,
        value / 60 % 60
    );
    let reply = client
        .post("/push", &push_item(value % 8, value, &time))
        .unwrap();
    if reply.status != 200 {
        assert!(
            matches!(reply.status, 507 | 503),
            "a full disk is answered with 507 or 503: {} {}",
            reply.status,
            reply.text()
        );
        let wait: Option<u64> = reply
            .header("retry-after")
            .and_then(|text| text.parse().ok());
        assert!(
            wait.is_some_and(|s| s > 0),
            "no Retry-After: {:?}",
            reply.headers
        );
        assert!(!reply.body.is_empty(), "refused without a word");
    }
    reply.status
}

fn read(client: &mut Client) -> Vec<i64> {
    let reply = client
        .post("/get-online-features", &get_pair(&[0, 1, 2, 3, 4, 5, 6, 7]))
        .unwrap();
    assert_eq!(reply.status, 200, "reads go on: {}", reply.text());
    let answer = reply.json();
    let (left, _) = column(&answer, "left_a__x");
    assert_eq!(
        left,
        column(&answer, "right_a__y").0,
        "both views hold the same push"
    );
    left.iter().map(|value| value.as_i64().unwrap()).collect()
}

#[test]
fn pushes_are_refused_before_the_disk_is_full_and_resume_without_a_restart() {
    let sandbox = repo::swap('a');
    let Some((mut server, disk)) = start_on_small_disk(&sandbox, "") else {
        return;
    };
    let mut client = server.client();
    for value in 0..8 {
        assert_eq!(push(&mut client, value), 200);
    }
    // Below the watermark, which a quarter of the file system bounds; free space is looked at only
    // now and then.
    let filler = fill(&disk, 8 << 20);
    let mut value = 8;
    let deadline = Instant::now() + NOTICED_MAX;
    while push(&mut client, value) != 507 {
        assert!(
            Instant::now() < deadline,
            "no push is refused below the watermark"
        );
        value += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    let held = read(&mut client);
    let refused = (value..value + 8)
        .map(|value| push(&mut client, value))
        .collect::<Vec<_>>();
    assert!(refused.iter().all(|status| *status == 507), "{refused:?}");
    assert_eq!(read(&mut client), held, "refused pushes wrote nothing");
    // The disk is full to the last byte: reads still go on.
    std::fs::remove_file(&filler).unwrap();
    let filler = fill(&disk, 0);
    assert_eq!(push(&mut client, value), 507);
    for _ in 0..50 {
        read(&mut client);
    }
    std::fs::remove_file(&filler).unwrap();
    resumes(&mut client, 1000);
    assert!(server.alive());
    assert!(server.terminate().success());
}

#[test]
fn a_disk_that_fills_up_in_the_middle_of_writing_loses_nothing_acknowledged() {
    let sandbox = repo::swap('a');
    // Without the watermark the store itself runs into the end of the disk.
    let Some((mut server, disk)) = start_on_small_disk(&sandbox, "0") else {
        return;
    };
    let mut client = server.client();
    for value in 0..8 {
        assert_eq!(push(&mut client, value), 200);
    }
    let stop = AtomicBool::new(false);
    let acknowledged = AtomicU64::new(7);
    std::thread::scope(|scope| {
        let _end = RaiseAtEnd(&stop);
        let (stop, acknowledged, server) = (&stop, &acknowledged, &server);
        scope.spawn(move || {
            let mut client = server.client();
            for value in 8.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                if push(&mut client, value) == 200 {
                    acknowledged.store(value as u64, Ordering::Relaxed);
                }
            }
        });
        scope.spawn(move || {
            let mut client = server.client();
            while !stop.load(Ordering::Relaxed) {
                read(&mut client);
            }
        });
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(100));
            let filler = fill(&disk, 0);
            std::thread::sleep(Duration::from_millis(200));
            std::fs::remove_file(filler).unwrap();
            let begun = acknowledged.load(Ordering::Relaxed);
            let deadline = Instant::now() + RECOVERY_MAX;
            while acknowledged.load(Ordering::Relaxed) == begun {
                assert!(
                    Instant::now() < deadline,
                    "pushes do not resume within {RECOVERY_MAX:?}"
                );
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let last = i64::try_from(acknowledged.load(Ordering::Relaxed)).unwrap();
    let newest = read(&mut client).into_iter().max().unwrap();
    assert!(
        newest >= last,
        "acknowledged push {last} is lost: newest is {newest}"
    );
    assert!(server.alive());
}

fn resumes(client: &mut Client, mut value: i64) {
    let deadline = Instant::now() + RECOVERY_MAX;
    while push(client, value) != 200 {
        assert!(
            Instant::now() < deadline,
            "pushes do not resume within {RECOVERY_MAX:?}"
        );
        value += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(
        read(client).contains(&value),
        "what was acknowledged is read"
    );
}

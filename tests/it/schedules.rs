//! A node that nobody calls loads its views by itself.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::repo::{self, Sandbox};
use crate::support::{Client, here};

const TIMEOUT: Duration = Duration::from_secs(30);

fn rides(galley_toml: &str) -> Sandbox {
    let sandbox = repo::rides();
    std::fs::write(sandbox.repo.join("galley.toml"), galley_toml).unwrap();
    sandbox
}

/// The schedule of a name, once it is as wanted.
#[track_caller]
fn schedule(client: &mut Client, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let all = client.get("/v1/schedules").unwrap().json();
        let found = all["schedules"].as_array().unwrap().iter();
        let found = found.clone().find(|it| it["name"] == name).unwrap().clone();
        if wanted(&found) {
            return found;
        }
        assert!(Instant::now() < deadline, "{found}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn count(schedule: &Value, key: &str) -> u64 {
    schedule[key].as_u64().unwrap()
}

#[test]
fn views_are_loaded_at_their_times() {
    let sandbox = rides(
        "[[schedule]]\nname = \"often\"\ncron = \"* * * * * *\"\nviews = [\"zone_events\"]\nkind = \"full\"\n\
         [[schedule]]\nname = \"nightly\"\ncron = \"30 2 * * *\"\nservice = \"driver_activity_v1\"\n\
         timezone = \"Europe/Berlin\"\n\
         [[schedule]]\nname = \"later\"\ncron = \"* * * * * *\"\nviews = [\"not_yet\"]\n",
    );
    let server = sandbox.launch().start();
    let mut client = server.client();
    let often = schedule(&mut client, "often", |it| {
        count(it, "started") >= 2 && it["last_outcome"] == "succeeded"
    });
    let id = often["last_job"].as_u64().unwrap();
    let job = client.get(&format!("/v1/jobs/{id}")).unwrap().json();
    assert_eq!(
        (&job["schedule"], &job["feature_views"][0]),
        (&often["name"], &"zone_events".into())
    );
    let status = client.get("/status").unwrap().json();
    let views = status["feature_views"].as_array().unwrap();
    let zone = views
        .iter()
        .find(|view| view["name"] == "zone_events")
        .unwrap();
    assert!(zone["rows"].as_u64().unwrap() > 0, "{zone}");
    let nightly = schedule(&mut client, "nightly", |_| true);
    let next = nightly["next_run"].as_str().unwrap();
    assert!(
        next.ends_with("T00:30:00Z") || next.ends_with("T01:30:00Z"),
        "{next}"
    );
    let later = schedule(&mut client, "later", |it| count(it, "refused") >= 1);
    assert!(
        later["problem"].as_str().unwrap().contains("not_yet"),
        "{later}"
    );
    assert_eq!(later["last_outcome"], "refused");
    let page = client.get("/metrics").unwrap().text();
    for line in [
        "galley_schedule_turns_total{schedule=\"later\",outcome=\"started\"} 0",
        "galley_schedule_last_outcome{schedule=\"later\",outcome=\"refused\"} 1",
        "galley_schedule_next_run_timestamp_seconds{schedule=\"often\"}",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    let shown = sandbox.launch().run(&["status"]).ok().stdout;
    assert!(
        shown.contains("Europe") || shown.contains("30 2 * * *"),
        "{shown}"
    );
    assert!(shown.contains("SCHEDULE later"), "{shown}");
    assert!(server.terminate().success());
}

#[test]
fn a_run_that_would_overlap_is_skipped() {
    let sandbox = rides(
        "[[schedule]]\nname = \"often\"\ncron = \"* * * * * *\"\nviews = [\"zone_events\"]\nkind = \"full\"\n",
    );
    // Reading a pipe waits until somebody writes to it.
    let file = sandbox.repo.join("data/zone_events.parquet");
    std::fs::remove_file(&file).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&file)
            .status()
            .unwrap()
            .success()
    );
    let server = sandbox.launch().start();
    let mut client = server.client();
    let held = schedule(&mut client, "often", |it| count(it, "skipped") >= 2);
    assert_eq!(
        (count(&held, "started"), &held["last_outcome"]),
        (1, &"skipped".into())
    );
    assert!(
        held["last_error"].as_str().unwrap().contains("job 1"),
        "{held}"
    );
    // The pipe's end is that of an empty file, which is no Parquet; the next run finds a whole one.
    let pipe = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let from = here().join("data/rides/state/parquet/zone_events.parquet");
    std::fs::copy(from, &file).unwrap();
    drop(pipe);
    schedule(&mut client, "often", |it| it["last_outcome"] == "succeeded");
    let first = client.get("/v1/jobs/1").unwrap().json();
    assert_eq!(first["state"], "failed", "{first}");
}

#[test]
fn a_wrong_schedule_is_named_before_anything_starts() {
    let sandbox = rides("[[schedule]]\nname = \"odd\"\ncron = \"61 * * * *\"\n");
    let (status, log) = sandbox.launch().try_start().unwrap_err();
    assert!(!status.success());
    assert!(
        log.contains("schedule 'odd'") && log.contains("61 * * * *"),
        "{log}"
    );
    let checked = sandbox.launch().run(&["check"]);
    assert!(!checked.status.success());
    assert!(checked.stdout.contains("schedule 'odd'"), "{checked:?}");
}

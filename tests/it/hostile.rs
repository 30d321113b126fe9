//! Guests that misbehave, each bound to a view of a server that goes on serving others.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::assemble::Guest;
use crate::support::repo::{Sandbox, column};
use crate::support::{Galley, RaiseAtEnd, repo, root};

/// What a view answers.
enum Answer {
    /// The component is not used at all, for this reason.
    Quarantined(&'static str),
    /// Every call ends with this message.
    Fails(&'static str),
    /// These values, for the rows 7 and 8.
    Gives([Option<i64>; 2]),
}
use Answer::{Fails, Gives, Quarantined};

const DEADLINE: &str = "processor time of a call (deadline = 50ms) was reached; where it needs more, \
                        set `deadline = \"100ms\"` under its [[trigger.galley]] in spin.toml";
const MEMORY: &str = "memory (max-memory = 16MiB) was reached; where it needs more, set \
                      `max-memory = \"32MiB\"` under its [[trigger.galley]] in spin.toml";
const RESULT: &str = "bytes handed to the host at once (max-result = 4MiB) was reached; where it \
                      needs more, set `max-result = \"8MiB\"`";

/// Every guest of `guest-transforms/hostile`, and those assembled here.
const GUESTS: &[(&str, Answer)] = &[
    ("cpu_apply", Fails(DEADLINE)),
    ("cpu_describe", Quarantined(DEADLINE)),
    ("cpu_log", Fails(DEADLINE)),
    ("cpu_post_return", Fails(DEADLINE)),
    ("cpu_realloc", Fails(DEADLINE)),
    ("cpu_realloc_first", Fails(DEADLINE)),
    (
        "err_blames_host",
        Fails("it cannot use the batch: the signature is not kept"),
    ),
    ("err_control", Fails("refuses the data")),
    ("err_huge", Fails(RESULT)),
    (
        "import_foreign",
        Quarantined(
            "the component imports 'evil:host/files@0.1.0', which a transformation does not get",
        ),
    ),
    ("iso_counter", Gives([Some(1), Some(1)])),
    ("iso_remember", Gives([Some(-1), Some(-1)])),
    ("mem_leak", Gives([Some(7), Some(8)])),
    ("mem_many", Fails(MEMORY)),
    ("mem_one", Fails(MEMORY)),
    (
        "ret_boolean",
        Fails("column 'value': a boolean is neither 0 nor 1"),
    ),
    (
        "ret_columns",
        Fails("it has 10000 columns, the signature 1"),
    ),
    (
        "ret_form",
        Fails("column 'value': it is array of int64, the signature says int64"),
    ),
    ("ret_huge", Fails(RESULT)),
    ("ret_huge_text", Fails(RESULT)),
    (
        "ret_kind",
        Fails("column 'value': it is float64, the signature says int64"),
    ),
    ("ret_no_columns", Fails("it has 0 columns, the signature 1")),
    (
        "ret_offsets_fall",
        Fails("column 'value': its offsets do not start with 0"),
    ),
    ("ret_offsets_few", Fails("offsets for 2 values")),
    (
        "ret_offsets_past",
        Fails("column 'value': its offsets do not end with the data"),
    ),
    ("ret_rows", Fails("it has 4 rows, 2 were asked")),
    ("ret_short", Fails("values for 2 rows")),
    (
        "ret_utf8",
        Fails("column 'value': it has text that is not UTF-8"),
    ),
    (
        "ret_utf8_split",
        Fails("column 'value': it has text that is not UTF-8"),
    ),
    ("ret_validity", Fails("column 'value': its validity has")),
    (
        "sig_asks",
        Quarantined("describe asked for 'now-micros', which is there in apply only"),
    ),
    (
        "sig_control",
        Quarantined("the signature of the component makes no sense"),
    ),
    (
        "sig_huge",
        Quarantined("it has 100000 outputs, more than 1024"),
    ),
    (
        "sig_long_name",
        Quarantined("the signature of the component makes no sense"),
    ),
    ("sig_trap", Quarantined("failed in describe: wasm trap")),
    (
        "sig_twice",
        Quarantined("the signature of the component makes no sense"),
    ),
    (
        "stack",
        Fails("failed in apply: wasm trap: out of bounds memory access"),
    ),
    ("trap", Fails("failed in apply: wasm trap")),
    ("trap_once", Gives([Some(7), Some(8)])),
    ("trap_panic", Fails("it said: panicked at")),
    (
        "trap_pointer",
        Fails("failed in apply: wasm trap: out of bounds memory access"),
    ),
    (
        "wat_tables",
        Fails("entries of a table (max-table-elements = 10000) was reached"),
    ),
    (
        "wat_start",
        Quarantined("while it was instantiated: the limit on processor time"),
    ),
    ("wat_aliased", Fails(RESULT)),
    (
        "wat_bomb",
        Quarantined("was stopped while it was loaded: the limit on "),
    ),
];

/// Builds the guests that are written in Rust; `None` without the toolchain.
fn compiled() -> Option<BTreeMap<String, Vec<u8>>> {
    let target = "wasm32-unknown-unknown";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--examples",
            "--target",
            target,
        ])
        .args(["--package", "galley-hostile"])
        .current_dir(root().join("guest-transforms"))
        .env("CARGO_TARGET_DIR", &folder)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&built.stderr);
    if stderr.contains("can't find crate for `core`")
        || stderr.contains("can't find crate for `std`")
    {
        println!("not tested: `rustup target add {target}` brings what it needs");
        return None;
    }
    assert!(built.status.success(), "{stderr}");
    let examples = folder.join(target).join("release/examples");
    let names = GUESTS.iter().map(|(name, _)| *name);
    let guests = names.filter(|name| !name.starts_with("wat_")).map(|name| {
        let path: PathBuf = examples.join(format!("{name}.wasm"));
        let module = std::fs::read(&path).unwrap();
        let component = galley_build::from_core_module(&module, &path).unwrap();
        (name.to_owned(), component)
    });
    Some(guests.collect())
}

/// What no Rust compiler makes.
fn assembled() -> BTreeMap<String, Vec<u8>> {
    let mut tables = Guest::new("wat_tables");
    tables.extra = "(table $table 1 funcref)".to_owned();
    tables.apply = "(loop $more (br_if $more (i32.ne
          (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))
        (unreachable)"
        .to_owned();
    let mut start = Guest::new("wat_start");
    start.extra = "(func $start (loop $more (br $more))) (start $start)".to_owned();
    // A hundred columns that are all the same 64 KiB.
    let mut aliased = Guest::new("wat_aliased");
    aliased.apply = "(loop $next
          (i32.store (i32.add (i32.const 8196) (local.get $j)) (i32.const 0))
          (i32.store (i32.add (i32.const 8200) (local.get $j)) (i32.const 0))
          (i32.store (i32.add (i32.const 8204) (local.get $j)) (i32.const 65536))
          (local.set $j (i32.add (local.get $j) (i32.const 44)))
          (br_if $next (i32.lt_u (local.get $j) (i32.const 4400))))
        (i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 2))
        (i32.store (i32.const 24) (i32.const 8192)) (i32.store (i32.const 28) (i32.const 100))
        (i32.const 16)"
        .to_owned();
    // Functions of a hundred thousand steps, under a limit that is low so that the test is short.
    let mut bomb = Guest::new("wat_bomb");
    let steps = "(local.set 0 (i64.add (local.get 0) (i64.const 1)))".repeat(100_000);
    for _ in 0..4 {
        let _ = write!(
            bomb.extra,
            "(func (param i64) (result i64) {steps} (local.get 0))"
        );
    }
    [tables, start, aliased, bomb]
        .into_iter()
        .map(|guest| (guest.name.clone(), guest.build()))
        .collect()
}

fn lay_out(sandbox: &Sandbox, guests: &BTreeMap<String, Vec<u8>>) {
    let folder = sandbox.repo.join("guests");
    std::fs::create_dir_all(&folder).unwrap();
    let mut manifest = "spin_manifest_version = 2\n[application]\nname = \"hostile\"\n".to_owned();
    for (name, component) in guests {
        std::fs::write(folder.join(format!("{name}.wasm")), component).unwrap();
        let id = name.replace('_', "-");
        let _ = write!(
            manifest,
            "[[trigger.galley]]\ncomponent = \"{id}\"\non-demand-feature-view = \"{name}\"\n\
             isolation = \"fresh\"\nbreaker-failures = 0\n\
             max-compile-time = \"{}\"\n{}\
             [component.{id}]\nsource = \"guests/{name}.wasm\"\n",
            if name == "wat_bomb" { "300ms" } else { "120s" },
            // How much it says is to be looked at, not how long it takes to.
            if name == "sig_huge" {
                "deadline = \"2s\"\nwall-deadline = \"10s\"\n"
            } else {
                ""
            }
        );
    }
    std::fs::write(sandbox.repo.join("spin.toml"), manifest).unwrap();
}

fn ask(server: &Galley, name: &str) -> (u16, Value) {
    let body = json!({
        "features": [format!("{name}:value")], "full_feature_names": true,
        "entities": {"value": [7, 8]},
    });
    let reply = server.client().post("/get-online-features", &body).unwrap();
    (reply.status, reply.json())
}

/// What is wrong with an answer, if anything.
fn judge(name: &str, expected: &Answer, (status, answer): (u16, Value)) -> Option<String> {
    let said = match &answer {
        Value::String(text) => text.replace("\\\"", "\""),
        other => other.to_string(),
    };
    let fine = match expected {
        Quarantined(reason) => {
            status == 501 && said.contains("is quarantined") && said.contains(reason)
        }
        Fails(reason) => status >= 400 && said.contains(reason) && said.contains(name),
        Gives(values) => {
            status == 200
                && column(&answer, &format!("{name}__value")).0
                    == [json!(values[0]), json!(values[1])]
        }
    };
    (!fine).then(|| format!("{name}: {status} {said}"))
}

fn resident_kib(server: &Galley) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How long look-ups of the calm view take at the 99th percentile until `done`.
fn p99_of_others(server: &Galley, done: &AtomicBool) -> Duration {
    let mut client = server.client();
    let body = json!({"features": ["calm:x"], "entities": {"item_id": [1]}});
    let mut times = Vec::new();
    while !done.load(Ordering::Relaxed) || times.len() < 100 {
        let begun = Instant::now();
        let reply = client.post("/get-online-features", &body).unwrap();
        times.push(begun.elapsed());
        assert_eq!(column(&reply.json(), "x").0, [json!(5)]);
        std::thread::sleep(Duration::from_millis(1));
    }
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[test]
fn every_hostile_guest_is_contained_while_others_are_served() {
    let Some(mut guests) = compiled() else {
        return;
    };
    guests.extend(assembled());
    let sandbox = repo::hostile();
    lay_out(&sandbox, &guests);
    let mut server = sandbox.launch().start();
    // What guests say of their own panics is in the log.
    server.may_panic = true;
    let push = json!({"push_source_name": "items", "df": {
        "item_id": [1], "x": [5], "event_timestamp": ["2026-02-01T00:00:00Z"]}});
    assert_eq!(server.client().post("/push", &push).unwrap().status, 200);

    let round = || -> Vec<String> {
        let judged = GUESTS
            .iter()
            .map(|(name, expected)| judge(name, expected, ask(&server, name)));
        judged.flatten().collect()
    };
    let wrong = round();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let still = AtomicBool::new(true);
    let alone = p99_of_others(&server, &still);
    let resident = resident_kib(&server);
    let done = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        let others = scope.spawn(|| p99_of_others(&server, &done));
        let ended = RaiseAtEnd(&done);
        for _ in 0..5 {
            let wrong = round();
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
        drop(ended);
        others.join().unwrap()
    });
    // A machine that runs other tests as well has waits of its own.
    let bound = (alone * 3).max(Duration::from_millis(10));
    assert!(beside <= bound, "p99 of others {beside:?}, {alone:?} alone");
    let grown = resident_kib(&server).saturating_sub(resident);
    assert!(grown < 16 << 10, "{grown} KiB more after five rounds");
    assert!(!server.log().contains("thread '"), "{}", server.log());
}

/// Whether a process has a child that compiles.
fn compiles(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut children = tasks.flatten().filter_map(|task| {
        // Of threads that have ended since there is nothing to read.
        std::fs::read_to_string(task.path().join("children")).ok()
    });
    children.any(|children| {
        children.split_whitespace().any(|child| {
            let line = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("compile-worker")
        })
    })
}

#[test]
fn a_compilation_does_not_keep_a_node_from_ending() {
    let sandbox = repo::hostile();
    let server = sandbox.launch().start();
    let bomb = assembled().remove("wat_bomb").unwrap();
    lay_out(&sandbox, &[("wat_slow".to_owned(), bomb)].into());
    let begun = Instant::now();
    while !compiles(server.pid()) {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{}",
            server.log()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let begun = Instant::now();
    assert!(server.terminate().success());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?} to end");
}

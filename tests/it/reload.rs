//! A new registry is taken over under load: no request fails, none sees a mix, a broken file changes nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::repo::{column, get_pair, replace, swap_registry};
use crate::support::{Client, RaiseAtEnd, long, repo};

/// How long a changed file may go unnoticed.
const NOTICED_MAX: Duration = Duration::from_secs(15);

/// Every column of both versions, so that the push fits whichever registry serves.
fn push_all(client: &mut Client) {
    let keys: Vec<i64> = (0..10).collect();
    let body = json!({
        "push_source_name": "items",
        "df": {
            "item_id": keys,
            "event_timestamp": vec!["2026-02-01T00:00:00Z"; 10],
            "x": keys,
            "y": keys.iter().map(|k| k + 100).collect::<Vec<_>>(),
            "z": keys.iter().map(|k| k + 200).collect::<Vec<_>>(),
        },
    });
    let reply = client.post("/push", &body).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Which registry an answer comes from; panics when it comes from both, or holds a wrong value.
fn version_of(answer: &Value, keys: &[i64]) -> char {
    let names: Vec<&str> = answer["metadata"]["feature_names"]
        .as_array()
        .unwrap_or_else(|| panic!("no names: {answer}"))
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let (version, extra, offset) = if names.iter().any(|name| name.contains("_a__")) {
        ('a', "y", 100)
    } else {
        ('b', "z", 200)
    };
    let want = [
        "item_id".to_owned(),
        format!("left_{version}__x"),
        format!("left_{version}__{extra}"),
        format!("right_{version}__x"),
        format!("right_{version}__{extra}"),
    ];
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, want, "an answer of one registry");
    for view in ["left", "right"] {
        let (values, statuses) = column(answer, &format!("{view}_{version}__x"));
        assert_eq!(
            values,
            keys.iter().map(|k| json!(k)).collect::<Vec<_>>(),
            "x is in both versions"
        );
        assert!(statuses.iter().all(|s| *s == "PRESENT"), "{statuses:?}");
        let (values, statuses) = column(answer, &format!("{view}_{version}__{extra}"));
        for (at, key) in keys.iter().enumerate() {
            // Written under the other version: the feature did not exist then.
            let absent = statuses[at] == "NOT_FOUND" && values[at].is_null();
            assert!(
                absent || values[at] == json!(key + offset),
                "{view} {extra}: {values:?} {statuses:?}"
            );
        }
    }
    version
}

fn serves(client: &mut Client, version: char) {
    let deadline = Instant::now() + NOTICED_MAX;
    loop {
        let reply = client
            .post("/get-online-features", &get_pair(&[1]))
            .unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        if version_of(&reply.json(), &[1]) == version {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "version {version} is not served within {NOTICED_MAX:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn no_request_sees_a_mix_of_two_registries() {
    let swaps = if long() { 300 } else { 20 };
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let mut client = server.client();
    push_all(&mut client);
    let files = ['a', 'b'].map(|version| std::fs::read(swap_registry(version)).unwrap());
    let stop = AtomicBool::new(false);
    let seen = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        let _end = RaiseAtEnd(&stop);
        for reader in 0..3 {
            let (server, stop, seen) = (&server, &stop, &seen);
            scope.spawn(move || {
                let mut client = server.client();
                let keys: Vec<i64> = (0..=reader * 3).collect();
                while !stop.load(Ordering::Relaxed) {
                    let reply = client
                        .post("/get-online-features", &get_pair(&keys))
                        .unwrap();
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    let version = version_of(&reply.json(), &keys);
                    seen[usize::from(version == 'b')].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (server, stop_writing) = (&server, &stop);
        scope.spawn(move || {
            let mut client = server.client();
            while !stop_writing.load(Ordering::Relaxed) {
                push_all(&mut client);
            }
        });
        for swap in 1..=swaps {
            replace(&sandbox.registry(), &files[swap % 2]);
            serves(&mut client, if swap % 2 == 0 { 'a' } else { 'b' });
        }
        stop.store(true, Ordering::Relaxed);
    });
    let [a, b] = seen.map(AtomicU64::into_inner);
    println!("{swaps} swaps, {a} answers of a, {b} of b");
    assert!(
        a > 20 && b > 20,
        "the readers saw too little: {a} of a, {b} of b"
    );
}

#[test]
fn a_broken_registry_leaves_the_old_one_serving_and_status_says_why() {
    let sandbox = repo::swap('a');
    let server = sandbox.launch().start();
    let mut client = server.client();
    push_all(&mut client);
    let good = std::fs::read(swap_registry('a')).unwrap();
    let broken: [(&str, Vec<u8>); 4] = [
        ("text", b"this is no registry".to_vec()),
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("empty", Vec::new()),
        (
            "another project",
            std::fs::read(crate::support::root().join("examples/rides/data/registry.db")).unwrap(),
        ),
    ];
    for (what, bytes) in broken {
        let before = registry_error(&mut client);
        replace(&sandbox.registry(), &bytes);
        let deadline = Instant::now() + NOTICED_MAX;
        let error = loop {
            if let Some(error) =
                registry_error(&mut client).filter(|error| before.as_ref() != Some(error))
            {
                break error;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: /status says nothing: {}",
                client.get("/status").unwrap().text()
            );
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(error.len() > 10, "{what}: {error}");
        serves(&mut client, 'a');
        // A good file takes over and the complaint is gone.
        replace(
            &sandbox.registry(),
            &std::fs::read(swap_registry('b')).unwrap(),
        );
        serves(&mut client, 'b');
        assert_eq!(
            registry_error(&mut client),
            None,
            "{what}: the complaint outlives its reason"
        );
        replace(&sandbox.registry(), &good);
        serves(&mut client, 'a');
    }
    // The file is gone for a while: nothing happens.
    std::fs::remove_file(sandbox.registry()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    serves(&mut client, 'a');
}

/// The last refusal of a registry, as /status tells it.
fn registry_error(client: &mut Client) -> Option<String> {
    let status = client.get("/status").unwrap().json();
    status["registry"]["refused"].as_str().map(str::to_owned)
}

//! Feast's own answers, recorded once, replayed in order against the real server.
//!
//! The goldens are one sequence: later reads depend on earlier writes. Where Galley differs on
//! purpose, `tests/data/feast_deviations.json` names the golden, the reason and what comes instead.
//! `GALLEY_PRINT_ACTUAL=1` prints what came for every golden that does not pass.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::support::{Client, Reply, here, repo};

/// Goldens about things this server does not serve yet: they must still be refused in words.
const NOT_SERVED_YET: [&str; 2] = ["documents", "offline"];
/// Relative difference up to which two floats are the same number.
const FLOAT_TOLERANCE: f64 = 1e-9;

#[test]
fn recorded_answers_of_feast_come_back() {
    let sandbox = repo::rides();
    let launch = sandbox.launch().env("GALLEY_FEAST_PYTHON_QUIRKS", "true");
    let online = here().join("data/rides/state/online_store.db");
    launch
        .run(&["import", "feast-sqlite", online.to_str().unwrap()])
        .ok();
    // Feast's own functions, as components.
    launch.wrap();
    let server = launch.start();
    let mut client = server.client();

    let deviations = deviations();
    let print = std::env::var_os("GALLEY_PRINT_ACTUAL").is_some();
    let (mut passed, mut refused, mut failures) = (0, 0, Vec::new());
    let mut used = BTreeSet::new();
    for golden in goldens() {
        let name = golden["name"].as_str().unwrap().to_owned();
        if let Some(seconds) = golden["wait_before_s"].as_f64() {
            std::thread::sleep(Duration::from_secs_f64(seconds));
        }
        let reply = call(&mut client, &golden["request"]);
        if not_served_yet(&golden) {
            refused += 1;
            if reply.status >= 500 && reply.status != 501
                || reply.status >= 400 && reply.body.is_empty()
            {
                failures.push(format!(
                    "{name}: not served yet, but {} {}",
                    reply.status,
                    reply.text()
                ));
            }
            continue;
        }
        let deviation = deviations.get(&name);
        if deviation.is_some() {
            used.insert(name.clone());
        }
        let differences = compare(&golden, deviation, &reply);
        if differences.is_empty() {
            passed += 1;
            continue;
        }
        if print {
            println!("ACTUAL {name} {} {}", reply.status, reply.text());
        }
        failures.push(format!("{name}: {}", differences.join("\n      ")));
    }
    println!(
        "{passed} passed, {} failed, {refused} concern what is not served yet",
        failures.len()
    );
    for name in deviations.keys() {
        if !used.contains(name) {
            failures.push(format!("deviation {name}: no such golden"));
        }
    }
    assert!(
        failures.is_empty(),
        "{} goldens failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(passed >= 200, "only {passed} goldens were compared");
}

fn goldens() -> Vec<Value> {
    let dir = here().join("golden/feast");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
        .collect()
}

fn deviations() -> BTreeMap<String, Map<String, Value>> {
    let text = std::fs::read(here().join("data/feast_deviations.json")).unwrap();
    let all: BTreeMap<String, Map<String, Value>> = serde_json::from_slice(&text).unwrap();
    for (name, deviation) in &all {
        assert!(
            deviation
                .get("why")
                .and_then(Value::as_str)
                .is_some_and(|why| why.len() > 20),
            "deviation {name} has no reason"
        );
        assert!(
            deviation.contains_key("status") || deviation.contains_key("body"),
            "deviation {name} does not say what comes instead"
        );
    }
    all
}

fn not_served_yet(golden: &Value) -> bool {
    let tags = golden["tags"].as_array().unwrap();
    tags.iter()
        .any(|tag| NOT_SERVED_YET.contains(&tag.as_str().unwrap()))
}

fn call(client: &mut Client, request: &Value) -> Reply {
    let body = match (&request["raw_body"], request.get("body")) {
        (Value::String(raw), _) => Some(raw.clone()),
        (_, Some(body)) => Some(body.to_string()),
        _ => None,
    };
    let mut headers: Vec<(&str, &str)> = Vec::new();
    match request["headers"].as_object() {
        Some(given) => headers.extend(given.iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap()))),
        None if body.is_some() => headers.push(("content-type", "application/json")),
        None => {}
    }
    let (method, path) = (
        request["method"].as_str().unwrap(),
        request["path"].as_str().unwrap(),
    );
    client
        .send(method, path, &headers, body.unwrap_or_default().as_bytes())
        .unwrap()
}

/// What differs between a recorded answer (or the deviation that takes its place) and the real one.
fn compare(golden: &Value, deviation: Option<&Map<String, Value>>, reply: &Reply) -> Vec<String> {
    let pick = |key: &str| {
        deviation
            .and_then(|d| d.get(key))
            .unwrap_or(&golden["response"][key])
    };
    let (want_body, body_kind) = (pick("body"), pick("body_kind"));
    let mut want_status = u16::try_from(pick("status").as_u64().unwrap()).unwrap();
    // Where Feast answers 5xx to a caller's mistake, any 4xx with a detail is the better answer.
    if want_status >= 500 && (400..500).contains(&reply.status) {
        want_status = reply.status;
    }
    if reply.status != want_status {
        return vec![format!(
            "status: want {want_status}, got {}: {}",
            reply.status,
            clip(&reply.text())
        )];
    }
    let body = reply.json();
    let mut out = Vec::new();
    if reply.status >= 400 {
        if is_empty(&body) {
            out.push("error without a detail in the body".to_owned());
        }
        return out;
    }
    let nothing = want_body.is_null() || matches!(body_kind.as_str(), Some("empty" | "text"));
    if want_body.get("results").is_some() {
        compare_vectors(golden, want_body, &body, &mut out);
    } else if !nothing {
        diff(want_body, &body, "body", &mut out);
    }
    out
}

/// Feature vectors are matched by name: Feast's own order within a view is random.
fn compare_vectors(golden: &Value, want: &Value, got: &Value, out: &mut Vec<String>) {
    let (Some(mut wanted), Some(mut given)) = (vectors(want), vectors(got)) else {
        out.push("metadata.feature_names and results differ in length".to_owned());
        return;
    };
    let unordered: Vec<&str> = golden["unordered"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let names: BTreeSet<String> = wanted.keys().chain(given.keys()).cloned().collect();
    for name in names {
        match (wanted.get_mut(&name), given.get_mut(&name)) {
            (Some(w), Some(g)) => {
                if unordered.contains(&name.as_str()) {
                    w.iter_mut().chain(g.iter_mut()).for_each(sort_elements);
                }
                diff(
                    &Value::Array(w.clone()),
                    &Value::Array(g.clone()),
                    &name,
                    out,
                );
            }
            (Some(_), None) => out.push(format!("feature {name}: missing")),
            (None, _) => out.push(format!("feature {name}: unexpected")),
        }
    }
    let rest = |body: &Value| {
        let mut body = body.clone();
        body.as_object_mut().unwrap().remove("results");
        body["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("feature_names");
        body
    };
    diff(&rest(want), &rest(got), "body", out);
}

fn vectors(body: &Value) -> Option<BTreeMap<String, Vec<Value>>> {
    let names = body["metadata"]["feature_names"].as_array()?;
    let results = body["results"].as_array()?;
    if names.len() != results.len() {
        return None;
    }
    let mut map: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (name, result) in names.iter().zip(results) {
        map.entry(name.as_str()?.to_owned())
            .or_default()
            .push(result.clone());
    }
    Some(map)
}

/// Sets have no order: sorts the elements of every value of a vector.
fn sort_elements(vector: &mut Value) {
    for value in vector["values"].as_array_mut().into_iter().flatten() {
        if let Value::Array(elements) = value {
            elements.sort_by_key(ToString::to_string);
        }
    }
}

fn diff(want: &Value, got: &Value, path: &str, out: &mut Vec<String>) {
    let same = match (want, got) {
        (Value::String(w), _) if w == "<now>" => got.as_str().is_some_and(is_recent),
        (Value::Number(w), Value::Number(g)) => match (w.as_i64(), g.as_i64()) {
            (Some(w), Some(g)) => w == g,
            _ => close(w.as_f64().unwrap(), g.as_f64().unwrap()),
        },
        (Value::Object(w), Value::Object(g)) => {
            for key in w.keys().chain(g.keys()).collect::<BTreeSet<_>>() {
                match (w.get(key), g.get(key)) {
                    (Some(w), Some(g)) => diff(w, g, &format!("{path}.{key}"), out),
                    (Some(_), None) => out.push(format!("{path}.{key}: missing")),
                    (None, _) => out.push(format!("{path}.{key}: unexpected {}", g[key])),
                }
            }
            return;
        }
        (Value::Array(w), Value::Array(g)) if w.len() == g.len() => {
            for (i, (w, g)) in w.iter().zip(g).enumerate() {
                diff(w, g, &format!("{path}[{i}]"), out);
            }
            return;
        }
        _ => want == got,
    };
    if !same {
        out.push(format!(
            "{path}: want {}, got {}",
            clip(&want.to_string()),
            clip(&got.to_string())
        ));
    }
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= FLOAT_TOLERANCE * a.abs().max(b.abs())
}

/// Whether an RFC 3339 UTC time lies within a day of the server's clock: what `<now>` stands for,
/// a time given by the server that is asked. Times that the imported store brings are written out.
fn is_recent(text: &str) -> bool {
    let Some(day) = text
        .get(..10)
        .filter(|_| text.ends_with('Z') && text.get(10..11) == Some("T"))
    else {
        return false;
    };
    let parts: Vec<i64> = day
        .split('-')
        .filter_map(|part| part.parse().ok())
        .collect();
    let [year, month, date] = parts[..] else {
        return false;
    };
    // Days since 1970 by the civil calendar.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + date - 1 - 719_468;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        / 86_400;
    (days - i64::try_from(now).unwrap()).abs() <= 1
}

fn is_empty(body: &Value) -> bool {
    match body {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn clip(text: &str) -> String {
    text.chars().take(300).collect()
}

//! Components in the place of Feast's functions: bound by spin.toml, checked, followed, contained.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::repo::Sandbox;
use crate::support::{Client, Galley, Reply, here, repo, root};

/// How long a changed manifest may go unnoticed, on a machine that runs the other tests as well.
const NOTICED_MAX: Duration = Duration::from_secs(30);

const HEAD: &str = "spin_manifest_version = 2\n[application]\nname = \"rides\"\n";

/// A binding of a committed component to a view, with settings of its own.
fn bound(component: &str, file: &str, view: &str, settings: &str) -> String {
    let source = root().join("guest-transforms/components").join(file);
    format!(
        "[[trigger.galley]]\ncomponent = \"{component}\"\non-demand-feature-view = \"{view}\"\n\
         {settings}\n[component.{component}]\nsource = \"{}\"\n",
        source.display()
    )
}

fn conversion_rate(settings: &str) -> String {
    let view = "transformed_conv_rate";
    bound("conversion-rate", "conversion_rate.wasm", view, settings)
}

fn write_manifest(sandbox: &Sandbox, bindings: &[String]) {
    let text = format!("{HEAD}{}", bindings.concat());
    std::fs::write(sandbox.repo.join("spin.toml"), text).unwrap();
}

/// The sample repo with its recorded rows, served.
fn serve(sandbox: &Sandbox) -> Galley {
    let launch = sandbox.launch();
    let online = here().join("data/rides/state/online_store.db");
    launch
        .run(&["import", "feast-sqlite", online.to_str().unwrap()])
        .ok();
    launch.start()
}

fn look_up(client: &mut Client, features: &[&str]) -> Reply {
    let body = json!({
        "features": features,
        "entities": {
            "driver_id": [1001, 9009], "val_to_add": [1, 2], "val_to_add_2": [10, 20],
            "distance_km": [1.0, 2.0], "promo": ["X", ""],
        },
    });
    client.post("/get-online-features", &body).unwrap()
}

/// What stands behind a view.
fn transform(client: &mut Client, view: &str) -> Value {
    let answer = client.get("/v1/transforms").unwrap().json();
    let transforms = answer["transforms"].as_array().unwrap();
    let found = transforms
        .iter()
        .find(|it| it["on_demand_feature_view"] == view);
    found.unwrap_or_else(|| panic!("{view}: {answer}")).clone()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + NOTICED_MAX;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come to pass");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const CONV: &str = "transformed_conv_rate:conv_rate_plus_val1";
const FARE: &str = "fare_quote:fare";
const STORED: &str = "driver_hourly_stats:acc_rate";

#[test]
fn a_component_computes_what_is_asked_and_nulls_stay_null() {
    let sandbox = repo::rides();
    write_manifest(&sandbox, &[conversion_rate("")]);
    // The recorded rows are old: without the time to live they are served.
    let launch = sandbox.launch().env("GALLEY_FEAST_PYTHON_QUIRKS", "true");
    let online = here().join("data/rides/state/online_store.db");
    launch
        .run(&["import", "feast-sqlite", online.to_str().unwrap()])
        .ok();
    let server = launch.start();
    let mut client = server.client();
    let answer = look_up(&mut client, &[CONV, STORED]).json();
    assert_eq!(
        answer["metadata"]["feature_names"],
        json!(["driver_id", "acc_rate", "conv_rate_plus_val1"]),
        "{answer}"
    );
    assert_eq!(answer["results"][2]["values"], json!([1.5, null]));
    let shown = transform(&mut client, "transformed_conv_rate");
    assert_eq!(shown["state"], "ready");
    assert_eq!((&shown["calls"], &shown["rows"]), (&json!(1), &json!(2)));
    assert_eq!(shown["limits"]["deadline"], "50ms");
    let metrics = client.get("/metrics").unwrap().text();
    let line =
        "galley_transform_calls_total{odfv_name=\"transformed_conv_rate\",outcome=\"answered\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let status = sandbox.launch().run(&["status"]);
    assert!(
        status.stdout.contains("transformed_conv_rate"),
        "{}",
        status.stdout
    );
}

#[test]
fn without_python_quirks_an_old_row_is_null_for_the_component_and_the_null_is_told() {
    let sandbox = repo::rides();
    write_manifest(&sandbox, &[conversion_rate("")]);
    let server = serve(&sandbox);
    let answer = look_up(&mut server.client(), &[CONV]).json();
    let result = &answer["results"][1];
    assert_eq!(result["values"], json!([null, null]), "{answer}");
    assert_eq!(result["statuses"], json!(["NULL_VALUE", "NULL_VALUE"]));
}

#[test]
fn a_component_that_does_not_fit_takes_only_its_own_view_out_of_service() {
    let sandbox = repo::rides();
    let wrong = bound("wrong", "geo_distance.wasm", "fare_quote", "");
    let gone = bound("gone", "there_is_no_such.wasm", "acc_singleton", "");
    write_manifest(&sandbox, &[conversion_rate(""), wrong, gone]);
    let server = serve(&sandbox);
    let mut client = server.client();
    assert_eq!(look_up(&mut client, &[CONV]).status, 200);
    let refused = look_up(&mut client, &[FARE]);
    assert_eq!(refused.status, 501, "{}", refused.text());
    let text = refused.text();
    for part in [
        "fare_quote",
        "'wrong'",
        "geo_distance",
        "output 'fare'",
        "float64",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let missing = look_up(&mut client, &["acc_singleton:acc_scaled"]).text();
    assert!(missing.contains("there_is_no_such.wasm"), "{missing}");
    let unbound = look_up(&mut client, &["failing_quote:speed_hint"]).text();
    assert!(unbound.contains("galley transform wrap"), "{unbound}");
    assert_eq!(look_up(&mut client, &[STORED]).status, 200);
    let check = sandbox.launch().run(&["check"]);
    assert!(!check.status.success());
    assert!(check.stdout.contains("output 'fare'"), "{}", check.stdout);
}

#[test]
fn the_manifest_is_followed_and_a_broken_one_changes_nothing() {
    let sandbox = repo::rides();
    let server = serve(&sandbox);
    let mut client = server.client();
    assert_eq!(look_up(&mut client, &[CONV]).status, 501);
    write_manifest(&sandbox, &[conversion_rate("")]);
    wait_for("the binding", || {
        look_up(&mut client, &[CONV]).status == 200
    });
    std::fs::write(
        sandbox.repo.join("spin.toml"),
        format!("{HEAD}\nnonsense = 1\n"),
    )
    .unwrap();
    let refused = |client: &mut Client| {
        let status = client.get("/status").unwrap().json();
        status["transforms_refused"].as_str().map(str::to_owned)
    };
    wait_for("the refusal", || refused(&mut client).is_some());
    let reason = refused(&mut client).unwrap();
    assert!(
        reason.contains("nonsense") && reason.contains("spin.toml"),
        "{reason}"
    );
    assert_eq!(look_up(&mut client, &[CONV]).status, 200);
    write_manifest(&sandbox, &[]);
    wait_for("the end of the binding", || {
        look_up(&mut client, &[CONV]).status == 501
    });
    assert_eq!(refused(&mut client), None);
}

#[test]
fn missing_and_wrong_request_data_are_named() {
    let sandbox = repo::rides();
    write_manifest(&sandbox, &[conversion_rate("")]);
    let server = serve(&sandbox);
    let mut client = server.client();
    let mut ask = |entities: Value| {
        let body = json!({"features": [CONV], "entities": entities});
        client.post("/get-online-features", &body).unwrap()
    };
    let missing = ask(json!({"driver_id": [1001], "val_to_add": [1]}));
    assert_eq!(missing.status, 404, "{}", missing.text());
    let text = missing.text();
    assert!(
        text.contains("RequestDataNotFoundInEntityRowsException") && text.contains("val_to_add_2"),
        "{text}"
    );
    let wrong = ask(json!({"driver_id": [1001], "val_to_add": ["x"], "val_to_add_2": [1]}));
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    assert!(wrong.text().contains("val_to_add"), "{}", wrong.text());
    let ragged = ask(json!({"driver_id": [1001], "val_to_add": [1, 2], "val_to_add_2": [1]}));
    assert_eq!(ragged.status, 400, "{}", ragged.text());
}

#[test]
fn limits_of_the_manifest_strike_with_their_name_and_on_error_null_answers_all_the_same() {
    let sandbox = repo::rides();
    write_manifest(&sandbox, &[conversion_rate("max-rows = 1")]);
    let server = serve(&sandbox);
    let mut client = server.client();
    let refused = look_up(&mut client, &[CONV]);
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(
        refused.text().contains("max-rows = 2"),
        "{}",
        refused.text()
    );
    // So little memory that no instance can be had: the limit is found when it is loaded.
    let starved = conversion_rate("max-memory = \"64KiB\"\non-error = \"null\"");
    write_manifest(&sandbox, &[starved]);
    let state = |client: &mut Client| transform(client, "transformed_conv_rate");
    wait_for("the quarantine", || {
        state(&mut client)["state"] == "quarantined"
    });
    let shown = state(&mut client).to_string();
    assert!(shown.contains("max-memory"), "{shown}");
}

/// The manifest in the repo's root binds what is committed, and everything in it is there.
#[test]
fn the_manifest_in_the_root_names_components_that_are_there() {
    let text = std::fs::read_to_string(root().join("spin.toml")).unwrap();
    let sources: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("source = \""))
        .filter_map(|line| line.strip_suffix('"'))
        .collect();
    assert!(sources.len() >= 5, "{sources:?}");
    for source in sources {
        assert!(Path::new(root()).join(source).is_file(), "{source}");
    }
}

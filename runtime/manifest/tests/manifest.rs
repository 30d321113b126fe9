//! What a manifest may say, and what it is told when it says something else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use galley_manifest::{Binding, BuildStep, Error, Isolation, Manifest, OnError, Source, bind};
use proptest::prelude::*;

const FRAUD: &str = include_str!("data/fraud.toml");

fn parse(text: &str) -> Result<Manifest, Error> {
    Manifest::parse(text, Path::new("repo/spin.toml"))
}

fn message(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The manifest of `entries` below the least that has to be there.
fn with(entries: &str) -> String {
    format!("spin_manifest_version = 2\n[application]\nname = \"a\"\n{entries}")
}

#[test]
fn a_whole_manifest_is_read() {
    let manifest = parse(FRAUD).unwrap();
    assert_eq!(manifest.application.name, "fraud-transforms");
    assert_eq!(
        manifest.application.registry,
        Some("data/registry.db".into())
    );
    assert_eq!(manifest.engine.stack_bytes_max, Some(1 << 20));
    let [trigger] = manifest.transforms.as_slice() else {
        panic!("{:?}", manifest.transforms);
    };
    assert_eq!(
        (trigger.view.as_str(), trigger.project.as_deref()),
        ("txn_ratios", Some("fraud"))
    );
    assert_eq!(trigger.settings.deadline, Some(Duration::from_millis(5)));
    assert_eq!(trigger.settings.memory_bytes_max, Some(16 << 20));
    assert_eq!(trigger.settings.isolation, Some(Isolation::Fresh));
    assert_eq!(trigger.settings.on_error, Some(OnError::Null));
    assert_eq!(trigger.settings.rows_max, None);
    let component = &manifest.components["txn-ratios"];
    assert_eq!(
        component.source,
        Source::File("target/galley/txn_ratios.wasm".into())
    );
    assert_eq!(component.golden, Some("tests/txn_ratios.jsonl".into()));
    assert_eq!(
        component.build.as_ref().unwrap().commands,
        ["galley transform build"]
    );
    assert_eq!(
        manifest.file_of(component).unwrap(),
        PathBuf::from("repo/target/galley/txn_ratios.wasm")
    );
    assert_eq!(manifest.http[0].route.as_deref(), Some("/score/..."));
    assert_eq!(manifest.http[0].settings.request_bytes_max, Some(64 << 10));
    assert!(matches!(
        &manifest.components["score"].source,
        Source::Url { .. }
    ));
    let warned = manifest.warnings.join("\n");
    assert!(
        warned.contains("sqlite_databases") && warned.contains("[[trigger.redis]]"),
        "{warned}"
    );
    assert_eq!(manifest.warnings.len(), 2, "{warned}");
}

#[test]
fn variables_come_from_the_environment_before_their_defaults() {
    let manifest = parse(FRAUD).unwrap();
    let token = |name: &str| (name == "SPIN_VARIABLE_API_TOKEN").then(|| "s3cret".to_owned());
    let values = manifest.variables_of("txn-ratios", &token).unwrap();
    assert_eq!(values["greeting"], "over 0.9 at s3cret");
    assert_eq!(
        manifest
            .outbound_hosts_of("score", &|_| Some("1".to_owned()))
            .unwrap(),
        ["https://1.example.com"]
    );
    let error = manifest.variables_of("txn-ratios", &|_| None).unwrap_err();
    assert!(
        error.to_string().contains("set SPIN_VARIABLE_API_TOKEN"),
        "{error}"
    );
    let odd = with(
        "[component.x]\nsource = \"x.wasm\"\nvariables = { a = \"{{ thresold }}\" }\n\
                    [variables]\nthreshold = { default = \"1\" }",
    );
    let error = parse(&odd)
        .unwrap()
        .variables_of("x", &|_| None)
        .unwrap_err();
    assert!(
        error.to_string().contains("did you mean 'threshold'"),
        "{error}"
    );
}

#[test]
fn unknown_keys_are_errors_with_line_table_and_nearest_key() {
    let trigger = |line: &str| {
        with(&format!(
            "[component.x]\nsource = \"x.wasm\"\n[[trigger.galley]]\ncomponent = \"x\"\n\
             on-demand-feature-view = \"v\"\n{line}"
        ))
    };
    assert_eq!(
        message(&trigger("max-memry = \"1MiB\"")),
        "repo/spin.toml:9: [[trigger.galley]] has no key 'max-memry'; did you mean 'max-memory'?"
    );
    assert_eq!(
        message(&trigger("deadline = 5")),
        "repo/spin.toml:9: deadline in [[trigger.galley]]: expected a duration such as \"50ms\" or \
         \"5s\", got 5"
    );
    for (entries, expected) in [
        ("[aplication]\n", "did you mean 'application'"),
        ("[component.x]\nsorce = \"x\"", "lacks 'source'"),
        (
            "[component.x]\nsource = \"x\"\nkey_value_store = []",
            "did you mean 'key_value_stores'",
        ),
        (
            "[component.x]\nsource = \"x\"\n[component.x.tool.galley]\ngoldn = \"\"",
            "'golden'",
        ),
        ("[component.x_y]\nsource = \"x\"", "for example x-y"),
        (
            "[component.x]\nsource = { url = \"u\", digest = \"md5:1\" }",
            "sha256",
        ),
        ("[component.x]\nsource = { url = \"u\" }", "lacks 'digest'"),
        ("[application.trigger.galley]\nmax-stak = 1", "'max-stack'"),
        (
            "[[trigger.galley]]\ncomponent = \"x\"\non-demand-feature-view = \"v\"",
            "no [component.x]",
        ),
        ("[variables]\nx = {}", "required = true"),
    ] {
        let message = message(&with(entries));
        assert!(message.contains(expected), "{entries}: {message}");
    }
    assert!(message(&trigger("breaker-failures = 101")).contains("percentage"));
    assert!(message(&trigger("max-rows = 0")).contains("from 1 up"));
    assert!(message("spin_manifest_version = 1\n").contains("expected 2, got 1"));
    assert!(message("a = 1\nb = = 2\n").starts_with("repo/spin.toml:2:"));
}

#[test]
fn a_view_is_bound_once() {
    let twice = |one: &str, other: &str| {
        with(&format!(
            "[component.x]\nsource = \"x\"\n\
             [[trigger.galley]]\ncomponent = \"x\"\non-demand-feature-view = \"v\"\n{one}\n\
             [[trigger.galley]]\ncomponent = \"x\"\non-demand-feature-view = \"v\"\n{other}\n"
        ))
    };
    assert!(message(&twice("", "project = \"p\"")).contains("bound already, on line 6"));
    assert!(parse(&twice("project = \"q\"", "project = \"p\"")).is_ok());
    assert!(
        message(&twice(
            "project = \"q\"\nid = \"t\"",
            "project = \"p\"\nid = \"t\""
        ))
        .contains("the id 't'")
    );
    let unused = parse(&with("[component.x]\nsource = \"x\"")).unwrap();
    assert!(unused.warnings[0].contains("named by no trigger"));
}

#[test]
fn routes_are_spins() {
    let route = |route: &str| {
        parse(&with(&format!(
            "[component.x]\nsource = \"x\"\n[[trigger.http]]\ncomponent = \"x\"\nroute = {route}"
        )))
    };
    for good in [
        "\"/\"",
        "\"/...\"",
        "\"/a/:id/b/...\"",
        "{ private = true }",
    ] {
        assert!(route(good).is_ok(), "{good}: {:?}", route(good));
    }
    for bad in [
        "\"a\"",
        "\"/.../a\"",
        "\"/a//b\"",
        "\"/:\"",
        "{ private = false }",
        "{ privat = true }",
        "1",
    ] {
        assert!(route(bad).is_err(), "{bad}");
    }
}

#[test]
fn binding_a_view_keeps_what_the_author_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spin.toml");
    let mut binding = Binding {
        view: "conv_rate".into(),
        component: "conv_rate".into(),
        source: "transforms/conv_rate.wasm".into(),
        build: Some(BuildStep {
            command: "galley transform build".into(),
            ..BuildStep::default()
        }),
        ..Binding::default()
    };
    let made = bind(&path, &binding).unwrap();
    assert_eq!(made.transforms[0].component, "conv-rate");

    let text = std::fs::read_to_string(&path).unwrap();
    let edited = text.replace(
        "on-demand-feature-view = \"conv_rate\"",
        "on-demand-feature-view = \"conv_rate\" # ours\ndeadline = \"7ms\"  # slow machine",
    );
    std::fs::write(&path, format!("{edited}\n# The end.\n")).unwrap();
    binding.source = "elsewhere.wasm".into();
    let again = bind(&path, &binding).unwrap();
    assert_eq!(again.transforms.len(), 1);
    assert_eq!(
        again.transforms[0].settings.deadline,
        Some(Duration::from_millis(7))
    );
    let text = std::fs::read_to_string(&path).unwrap();
    for kept in ["# ours", "# slow machine", "# The end.", "elsewhere.wasm"] {
        assert!(text.contains(kept), "{kept} is not in\n{text}");
    }

    // A component that another view has is not taken from it.
    binding.view = "other".into();
    let both = bind(&path, &binding).unwrap();
    assert_eq!(both.components.len(), 2);
    assert_ne!(both.transforms[0].component, both.transforms[1].component);
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, before.replace("name =", "nam =")).unwrap();
    assert!(
        bind(&path, &binding).is_err(),
        "a broken manifest is left alone"
    );
}

#[test]
fn a_file_is_bounded_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(Manifest::FILE);
    let missing = Manifest::read(&path).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }), "{missing}");
    std::fs::write(&path, vec![b'#'; Manifest::BYTES_MAX as usize + 1]).unwrap();
    assert!(matches!(
        Manifest::read(&path).unwrap_err(),
        Error::TooLarge { .. }
    ));
    std::fs::write(&path, b"a = 1\n\xff").unwrap();
    assert!(
        Manifest::read(&path)
            .unwrap_err()
            .to_string()
            .contains(":2:")
    );
}

/// Lines that mean something, so that random manifests get past the first check.
fn line() -> impl Strategy<Value = String> {
    let known: Vec<&str> = FRAUD.lines().collect();
    prop_oneof![
        8 => proptest::sample::select(known).prop_map(str::to_owned),
        1 => "[ -~]{0,40}",
        1 => any::<String>(),
    ]
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(lines in prop::collection::vec(line(), 0..40)) {
        let text = lines.join("\n");
        if let Ok(manifest) = parse(&text) {
            let none: BTreeMap<String, String> = BTreeMap::new();
            for id in manifest.components.keys() {
                let _ = manifest.variables_of(id, &|name| none.get(name).cloned());
            }
        }
    }

    #[test]
    fn a_manifest_with_a_line_cut_short_never_panics(at in 0..FRAUD.len(), with in "[ -~]{0,8}") {
        let cut = format!("{}{with}", &FRAUD[..at]);
        let _ = parse(&cut);
        let _ = parse(&format!("{}{with}{}", &FRAUD[..at], &FRAUD[at..]));
    }
}

//! The authors' commands: from nothing to a component that answers, in every language, and the same
//! answers as outside of the sandbox.
//!
//! Tools that the commands install, and the code they compile, are kept between runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::feast;
use crate::support::process::{Output, clean, galley};
use crate::support::{copy_dir, here, repo, root, seed};

/// What is kept between runs: tools, compiled code, projects that did not change.
fn kept(folder: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("authors")
        .join(folder);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// `galley transform ..` in `dir`.
fn author(dir: &Path, args: &[&str]) -> Output {
    let output = clean(galley())
        .arg("transform")
        .args(args)
        .current_dir(dir)
        .env("XDG_CACHE_HOME", kept("cache"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Golden rows as plain Python answers them, in a file of `dir`.
fn golden_rows(dir: &Path, kind: &str, app: &Path, count: usize) -> PathBuf {
    let seed = seed();
    println!("GALLEY_SEED={seed}");
    let output = Command::new("python3")
        .arg(here().join("data/authors/golden_rows.py"))
        .arg(kind)
        .arg(app)
        .args([seed.to_string(), count.to_string()])
        .env("PYTHONPATH", root().join("runtime/build/assets/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let name = app.parent().unwrap().file_name().unwrap();
    let path = dir.join(name).with_extension("random.jsonl");
    std::fs::write(&path, output.stdout).unwrap();
    path
}

/// Whether the component of `target` gives what the golden rows say, all of them.
#[track_caller]
fn agrees(target: &Path, golden: &Path, count: usize) {
    let target = target.to_str().unwrap();
    let golden = golden.to_str().unwrap();
    let report = author(root(), &["test", target, "--golden", golden, "--json"]);
    assert!(
        report.status.success(),
        "{}\n{}",
        report.stdout,
        report.stderr
    );
    assert_eq!(report.json()["components"][0]["rows"], count, "{report:?}");
}

#[test]
fn a_new_project_builds_passes_its_rows_and_answers_in_every_language() {
    let dir = tempfile::tempdir().unwrap();
    for (language, main) in [
        ("rust", "src/lib.rs"),
        ("python", "app.py"),
        ("ts", "transform.ts"),
    ] {
        let name = format!("new_{language}");
        author(dir.path(), &["new", &name, "--lang", language]).ok();
        let project = dir.path().join(&name);
        let report = author(&project, &["test", "--json"]).ok().json();
        assert_eq!(report["components"][0]["rows"], 2, "{report}");
        let input = "{\"conv_rate\": 1.5, \"val_to_add\": 2}";
        let said = author(&project, &["run", "--input", input]).ok().stdout;
        assert_eq!(said, "{\"conv_rate_plus_val\":3.5}\n", "{language}");
        // What it says of itself can be read without running it.
        let found = author(&project, &["inspect", "--json"]).ok().json();
        let found = &found["components"][0];
        assert_eq!(found["signature_from"], "section", "{found}");
        assert_eq!(found["signature"]["name"], name.as_str(), "{found}");
        // Built again it is the same file.
        let built = author(&project, &["build", "--json"]).ok().json();
        assert_eq!(built["components"][0]["digest"], found["digest"]);

        // A mistake is shown as expected and got, on the author's own row.
        let golden = project.join("golden.jsonl");
        let rows = std::fs::read_to_string(&golden).unwrap();
        std::fs::write(&golden, rows.replace("1.5}}", "1.75}}")).unwrap();
        let failed = author(&project, &["test"]);
        assert!(!failed.status.success(), "{failed:?}");
        for part in ["golden.jsonl:1", "expected  1.75", "got       1.5"] {
            assert!(failed.stdout.contains(part), "{part}: {}", failed.stdout);
        }
        assert!(project.join(main).is_file());
    }
    let taken = author(dir.path(), &["new", "new_rust"]);
    assert!(
        !taken.status.success() && taken.stderr.contains("is there already"),
        "{taken:?}"
    );
}

/// A function that gives back what it is given, of every type a column may have.
const MIRROR: &str = r#"
use galley::Timestamp;

#[derive(galley::Outputs)]
pub struct Mirror {
    truth: Option<bool>,
    small: Option<i32>,
    number: Option<i64>,
    single: Option<f32>,
    double: Option<f64>,
    text: Option<String>,
    bytes: Option<Vec<u8>>,
    time: Option<Timestamp>,
    truths: Vec<bool>,
    numbers: Vec<i64>,
    singles: Vec<f32>,
    texts: Vec<String>,
    times: Vec<Timestamp>,
}

#[galley::transform(name = "mirror")]
pub fn mirror(
    truth: Option<bool>,
    small: Option<i32>,
    number: Option<i64>,
    single: Option<f32>,
    double: Option<f64>,
    text: Option<&str>,
    bytes: Option<&[u8]>,
    time: Option<Timestamp>,
    truths: Vec<bool>,
    numbers: &[i64],
    singles: &[f32],
    texts: Vec<&str>,
    times: Vec<Timestamp>,
) -> Result<Mirror, String> {
    if number == Some(-1) {
        return Err("no -1 here".to_owned());
    }
    Ok(Mirror {
        truth,
        small,
        number,
        single,
        double,
        text: text.map(str::to_owned),
        bytes: bytes.map(<[u8]>::to_vec),
        time,
        truths,
        numbers: numbers.to_vec(),
        singles: singles.to_vec(),
        texts: texts.into_iter().map(str::to_owned).collect(),
        times,
    })
}
"#;

/// The row `row` of a mirror, with nulls where `null` says.
fn mirrored(row: usize, null: bool) -> Value {
    let some = |value: Value| if null { Value::Null } else { value };
    let time = "2026-03-01T12:00:00Z";
    json!({
        "truth": some(json!(row.is_multiple_of(2))),
        "small": some(json!(row)),
        "number": some(json!(1_u64 << 40 | row as u64)),
        "single": some(json!(0.5 + row as f64)),
        "double": some(json!(0.1 * row as f64)),
        "text": some(json!("\u{e9}".repeat(row % 7))),
        "bytes": some(json!("AP8=")),
        "time": some(json!(time)),
        "truths": vec![true; row % 3],
        "numbers": (0..row % 5).collect::<Vec<_>>(),
        "singles": vec![1.5; row % 2],
        "texts": (0..row % 4).map(|text| "x".repeat(text)).collect::<Vec<_>>(),
        "times": vec![time; row % 3],
    })
}

#[test]
fn every_type_goes_through_the_rust_sdk_and_comes_back() {
    /// More than the SDK's arena holds, so that its lists are asked for one by one.
    const MANY: usize = 2_000;
    let dir = kept("mirror");
    let project = dir.join("mirror");
    if !project.is_dir() {
        author(&dir, &["new", "mirror", "--lang", "rust"]).ok();
    }
    std::fs::write(project.join("src/lib.rs"), MIRROR).unwrap();
    let line = |row, null| {
        let row = mirrored(row, null);
        json!({"input": row, "expected": row}).to_string() + "\n"
    };
    let rows: String = (0..20).map(|row| line(row, row % 3 == 1)).collect();
    std::fs::write(project.join("golden.jsonl"), rows).unwrap();
    let report = author(&project, &["test", "--json"]).ok().json();
    assert_eq!(report["components"][0]["rows"], 20, "{report}");

    // Calls of few rows and of many, in one batch each, of what was built.
    let input = project.join("rows.json");
    for count in [1, 3, MANY] {
        let rows: Vec<Value> = (0..count).map(|row| mirrored(row, row % 3 == 1)).collect();
        std::fs::write(&input, Value::from(rows.clone()).to_string()).unwrap();
        let said = author(&project, &["run", "--input", "rows.json"]).ok();
        let given: Vec<Value> = said
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(given, rows);
    }
    let mut row = mirrored(0, false);
    row["number"] = json!(-1);
    let refused = author(&project, &["run", "--input", &row.to_string()]);
    assert!(refused.stderr.contains("no -1 here"), "{refused:?}");
}

#[test]
fn a_project_for_a_view_of_the_registry_fits_it_before_a_line_is_written() {
    let sandbox = repo::rides();
    let repo = sandbox.repo.to_str().unwrap();
    author(&sandbox.repo, &["new", "match_features", "--repo", repo]).ok();
    let listed = author(&sandbox.repo, &["list", "--json"]).ok().json();
    let states = |listed: &Value, view: &str| {
        let views = listed["views"].as_array().unwrap();
        let found = views.iter().find(|entry| entry["view"] == view);
        found.unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(states(&listed, "match_features"), "not built");
    assert_eq!(states(&listed, "fare_quote"), "missing");

    let tested = author(&sandbox.repo, &["test", "--json"]).ok().json();
    assert_eq!(tested["components"][0]["name"], "match_features");
    let checked = author(&sandbox.repo, &["check", "--json"]).ok().json();
    assert_eq!(checked["ok"], true, "{checked}");

    // The component of one view is none for another, field by field.
    let differs = author(&sandbox.repo, &["check", "--view", "fare_quote", "--json"]);
    assert!(!differs.status.success());
    let fields = &differs.json()["views"][0]["fields"];
    let fare = fields
        .as_array()
        .unwrap()
        .iter()
        .find(|field| field["name"] == "fare");
    assert_eq!(fare.unwrap()["got"], Value::Null, "{fields}");
    let unknown = author(&sandbox.repo, &["new", "match_feature", "--repo", repo]);
    assert!(
        unknown.stderr.contains("did you mean 'match_features'"),
        "{unknown:?}"
    );
}

#[test]
fn wrapped_views_answer_as_plain_python_does() {
    const ROWS: usize = 200;
    let sandbox = repo::rides();
    let out = kept("wrapped");
    let wrap = |views: &[&str]| {
        let mut args = vec!["wrap", "--json", "--out", out.to_str().unwrap()];
        args.extend(views.iter().flat_map(|view| ["--view", view]));
        author(&sandbox.repo, &args)
    };
    let views = [
        "match_features",
        "transformed_conv_rate_py",
        "acc_singleton",
    ];
    let wrapped = wrap(&views).ok().json();
    assert_eq!(wrapped["wrapped"], views.len(), "{wrapped}");
    // Nothing changed: nothing is built again.
    let again = wrap(&views).ok().json();
    let built = again["views"].as_array().unwrap();
    assert!(built.iter().all(|view| view["built"] == false), "{again}");
    let checked = author(&sandbox.repo, &["check", "--json"]).ok().json();
    assert_eq!(checked["ok"], true, "{checked}");
    for view in views {
        let project = out.join(view);
        let golden = golden_rows(sandbox.dir.path(), "wrapped", &project.join("app.py"), ROWS);
        agrees(&project, &golden, ROWS);
    }
}

/// Wrapped views in pandas mode run on columns of our own: pandas says what they are to answer.
#[test]
fn columns_of_wrapped_views_answer_as_pandas_does() {
    let output = feast::program("python")
        .arg(root().join("runtime/build/tests/column_shim.py"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("0 differ"), "{said}");
}

#[test]
fn twins_in_three_languages_give_the_same_answers() {
    const ROWS: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let examples = root().join("guest-transforms/examples");
    for (name, twins) in [
        ("text_normalizer", ["", "python/", "javascript/"].as_slice()),
        ("conversion_rate", &["", "javascript/"]),
    ] {
        let app = examples.join("python").join(name).join("app.py");
        let golden = golden_rows(dir.path(), "plain", &app, ROWS);
        for twin in twins {
            let project = match *twin {
                // In a workspace of its own, with the SDK beside it.
                "" => examples.join(name),
                _ => {
                    let copy = kept("twins").join(twin).join(name);
                    copy_dir(&examples.join(twin).join(name), &copy);
                    copy
                }
            };
            agrees(&project, &golden, ROWS);
        }
    }
}

//! Feast's own on-demand feature views, from the source text that the registry keeps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use galley_types::ValueType;
use serde::{Deserialize, Serialize};

use crate::run::Step;
use crate::{Error, Result, Workshop, embedded, files, python, type_tag};

/// An on-demand feature view.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The view's name.
    pub name: &'a str,
    /// The view's version number.
    pub version: u32,
    /// The function's source text, decorators and all.
    pub source_text: &'a str,
    /// `python` or `pandas`; everything else is refused.
    pub mode: &'a str,
    /// Whether the function takes one row at a time.
    pub singleton: bool,
    /// What it may read: the features of its sources, request columns, and join keys.
    pub inputs: Vec<ViewInput<'a>>,
    /// What it gives.
    pub outputs: Vec<(&'a str, ValueType)>,
}

/// What the function may read.
#[derive(Clone, Copy, Debug)]
pub struct ViewInput<'a> {
    /// The feature or column.
    pub name: &'a str,
    /// The source view that a feature is of; `None` for request columns and join keys.
    pub view: Option<&'a str>,
    /// Its type.
    pub value_type: ValueType,
    /// Whether it is a join key: these are inputs only where the function names them.
    pub is_join_key: bool,
}

/// A Python project that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// Where it is; [`crate::build`] makes the component.
    pub project_dir: PathBuf,
    /// The inputs that the function reads, called as in the component's signature.
    pub inputs: Vec<String>,
}

#[derive(Serialize)]
struct Question<'a> {
    view: &'a str,
    version: String,
    source: &'a str,
    mode: &'a str,
    singleton: bool,
    inputs: Vec<Column<'a>>,
    outputs: Vec<Column<'a>>,
    /// The column shim's modules with their texts.
    shim: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Column<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    tag: String,
    view: Option<&'a str>,
    join_key: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Refused { refusals: Vec<String> },
    App { app: String, inputs: Vec<String> },
}

/// Writes a Python project for `view` into `dir`, with the comment `heading` above it. The text is read, never run: the first time that
/// it runs is inside the sandbox, while the component is built.
///
/// # Errors
///
/// [`Error::Refused`] with every reason that was found: another mode than `python` and `pandas`,
/// names that the function's own text does not bring, packages that are not there, columns that
/// no source has, operations that the column shim lacks.
pub fn wrap(
    workshop: &Workshop<'_>,
    view: &View<'_>,
    dir: &Path,
    heading: &str,
) -> Result<Wrapped> {
    let python = python::environment(workshop)?.python();
    let (app, inputs) = read(workshop, python, view)?;
    files::write(&dir.join("app.py"), format!("{heading}{app}"))?;
    Ok(Wrapped {
        project_dir: dir.to_owned(),
        inputs,
    })
}

/// The text of `app.py` and the inputs that the function reads.
fn read(
    workshop: &Workshop<'_>,
    mut python: Command,
    view: &View<'_>,
) -> Result<(String, Vec<String>)> {
    let question = Question {
        view: view.name,
        version: format!("{}.0.0", view.version),
        source: view.source_text,
        mode: view.mode,
        singleton: view.singleton,
        inputs: view.inputs.iter().map(input).collect(),
        outputs: view.outputs.iter().map(output).collect(),
        shim: embedded::column_shim().collect(),
    };
    let refused = |reasons: Vec<String>| Error::Refused {
        view: view.name.to_owned(),
        reasons,
    };
    let question = serde_json::to_vec(&question)
        .map_err(|error| refused(vec![format!("it cannot be written down: {error}")]))?;
    python.args(["-I", "-c", embedded::WRAP_SCRIPT]);
    let mut step = Step::new(python, "reading the view's source text", "");
    step.stdin = &question;
    let answer = step.run(workshop)?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::App { app, inputs }) => Ok((app, inputs)),
        Ok(Answer::Refused { refusals }) => Err(refused(refusals)),
        Err(error) => Err(refused(vec![format!(
            "its source text was not understood: {error}"
        )])),
    }
}

fn input<'a>(input: &ViewInput<'a>) -> Column<'a> {
    Column {
        name: input.name,
        tag: type_tag(input.value_type),
        view: input.view,
        join_key: input.is_join_key,
    }
}

fn output<'a>((name, value_type): &(&'a str, ValueType)) -> Column<'a> {
    Column {
        name,
        tag: type_tag(*value_type),
        view: None,
        join_key: false,
    }
}

#[cfg(test)]
mod tests {
    use galley_types::ScalarType;

    use super::*;

    const INT64: ValueType = ValueType::Scalar(ScalarType::Int64);

    fn feature<'a>(view: &'a str, name: &'a str) -> ViewInput<'a> {
        ViewInput {
            name,
            view: Some(view),
            value_type: INT64,
            is_join_key: false,
        }
    }

    /// The inputs read, or the refusals.
    fn check(mode: &str, body: &str) -> std::result::Result<Vec<String>, String> {
        let source_text =
            format!("@on_demand_feature_view(sources=[a, b])\ndef view(inputs: Any):\n{body}\n");
        check_text(mode, &source_text)
    }

    fn check_text(mode: &str, source_text: &str) -> std::result::Result<Vec<String>, String> {
        let view = View {
            name: "view",
            version: 1,
            source_text,
            mode,
            singleton: false,
            inputs: vec![
                feature("a", "trips"),
                feature("a", "rate"),
                feature("b", "trips"),
                ViewInput {
                    view: None,
                    is_join_key: true,
                    ..feature("", "driver_id")
                },
            ],
            outputs: vec![("out", INT64)],
        };
        let workshop = Workshop::new("/nonexistent", &|_| {});
        match read(&workshop, Command::new("python3"), &view) {
            Ok((_, inputs)) => Ok(inputs),
            Err(Error::Refused { reasons, .. }) => Err(reasons.join("; ")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn refusal(mode: &str, body: &str) -> String {
        check(mode, body).unwrap_err()
    }

    #[test]
    fn only_the_inputs_that_the_function_reads_are_taken() {
        let body =
            "    return {'out': [r + t for r, t in zip(inputs['rate'], inputs['b__trips'])]}";
        assert_eq!(check("python", body).unwrap(), ["rate", "b__trips"]);
        let body = "    return {'out': inputs['driver_id'] or inputs.get('rate')}";
        assert_eq!(check("python", body).unwrap(), ["rate", "driver_id"]);
    }

    #[test]
    fn a_function_that_may_read_anything_is_given_all_but_join_keys() {
        let body = "    return {k: v for k, v in inputs.items()}";
        assert_eq!(
            check("python", body).unwrap(),
            ["a__trips", "rate", "b__trips"]
        );
    }

    #[test]
    fn names_that_the_text_does_not_bring_are_named() {
        let text = refusal("python", "    return {'out': [THRESHOLD + helper(1)]}");
        assert!(
            text.contains("uses THRESHOLD") && text.contains("uses helper"),
            "{text}"
        );
        assert_eq!(
            check("python", "    x: Any = 1\n    return {'out': [x]}")
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn arguments_with_default_values_are_left_to_them() {
        let view = |arguments: &str| {
            let source_text = format!(
                "@on_demand_feature_view(sources=[a])\ndef view({arguments}):\n    \
                 return {{'out': inputs['rate']}}\n"
            );
            check_text("python", &source_text)
        };
        assert_eq!(view("inputs, scale=2.0, *, shift=1").unwrap(), ["rate"]);
        for arguments in ["inputs, scale", "inputs, *, shift", "*inputs", ""] {
            let text = view(arguments).unwrap_err();
            assert!(text.contains("exactly one argument"), "{arguments}: {text}");
        }
        let text = view("inputs, scale=THRESHOLD").unwrap_err();
        assert!(text.contains("uses THRESHOLD"), "{text}");
    }

    #[test]
    fn columns_of_its_own_making_may_be_read_as_attributes() {
        let body = "    df = pd.DataFrame({'one': inputs['rate']})\n    df['two'] = df.one\n    \
                    return df.assign(out=df.one + df.two)";
        assert_eq!(check("pandas", body).unwrap(), ["rate"]);
        let text = refusal("pandas", "    return inputs.assign(out=inputs.three)");
        assert!(text.contains(".three (line 3)"), "{text}");
    }

    #[test]
    fn packages_that_are_not_there_are_named() {
        let text = refusal(
            "python",
            "    import math, sklearn.svm\n    return {'out': [1]}",
        );
        assert_eq!(
            text,
            "it imports sklearn.svm (line 3), a package that is not in the sandbox"
        );
        let body = "    from urllib import parse\n    return {'out': [parse.quote('a')]}";
        check("python", body).unwrap();
        let text = refusal("python", "    from urllib import request\n    return {}");
        assert!(text.contains("imports urllib (line 3)"), "{text}");
    }

    #[test]
    fn inputs_that_no_source_has_are_named() {
        let text = refusal("python", "    return {'out': inputs['nope']}");
        assert_eq!(
            text,
            "it reads 'nope' (line 3), which none of its sources have"
        );
        let text = refusal("python", "    return {'out': inputs['trips']}");
        assert!(text.contains("several of its sources"), "{text}");
    }

    #[test]
    fn operations_that_the_column_shim_lacks_are_named() {
        let body = "    df = pd.DataFrame()\n    df['out'] = inputs['rate'].rolling(3).std()\n    return df";
        let text = refusal("pandas", body);
        assert!(
            text.contains(".rolling (line 4)") && text.contains(".std"),
            "{text}"
        );
        let text = refusal("pandas", "    return pd.concat([inputs])");
        assert!(text.contains("pd.concat"), "{text}");
        let body = "    df = pd.DataFrame()\n    df['out'] = np.where(inputs['rate'] > 1, 1, 0)\n    return df";
        assert_eq!(check("pandas", body).unwrap(), ["rate"]);
        let body = "    df = pd.DataFrame()\n    df['out'] = np.arcsin(np.radians(inputs[['rate']].max(axis=1)))\n    return df";
        assert_eq!(check("pandas", body).unwrap(), ["rate"]);
    }

    #[test]
    fn other_modes_and_odd_functions_are_refused() {
        assert!(refusal("substrait", "    return 1").contains("mode is substrait"));
        assert!(refusal("python", "    yield 1").contains("generator"));
        assert!(refusal("python", "    return open('x')").contains("no files in the sandbox"));
        assert!(refusal("python", "    return (").contains("not Python"));
    }
}

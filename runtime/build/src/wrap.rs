//! Feast's own on-demand feature views, from the source text that the registry keeps.

use std::path::{Path, PathBuf};

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

/// Writes a Python project for `view` into `dir`. The text is read, never run: the first time that
/// it runs is inside the sandbox, while the component is built.
///
/// # Errors
///
/// [`Error::Refused`] with every reason that was found: another mode than `python` and `pandas`,
/// names that the function's own text does not bring, packages that are not there, columns that
/// no source has, operations that the column shim lacks.
pub fn wrap(workshop: &Workshop<'_>, view: &View<'_>, dir: &Path) -> Result<Wrapped> {
    let question = Question {
        view: view.name,
        version: format!("{}.0.0", view.version),
        source: view.source_text,
        mode: view.mode,
        singleton: view.singleton,
        inputs: view.inputs.iter().map(input).collect(),
        outputs: view.outputs.iter().map(output).collect(),
    };
    let refused = |reasons: Vec<String>| Error::Refused {
        view: view.name.to_owned(),
        reasons,
    };
    let question = serde_json::to_vec(&question)
        .map_err(|error| refused(vec![format!("it cannot be written down: {error}")]))?;
    let mut command = python::environment(workshop)?.python();
    command.args(["-I", "-c", embedded::WRAP_SCRIPT]);
    let mut step = Step::new(command, "reading the view's source text", "");
    step.stdin = &question;
    let answer = step.run(workshop)?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::App { app, inputs }) => {
            files::write(&dir.join("app.py"), app)?;
            Ok(Wrapped {
                project_dir: dir.to_owned(),
                inputs,
            })
        }
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

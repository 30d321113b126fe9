//! New projects.

use std::path::{Path, PathBuf};

use galley_types::ValueType;

use crate::skeleton;
use crate::{Error, Language, Result, embedded, files};

/// A project to be laid out.
#[derive(Clone, Debug)]
pub struct NewProject<'a> {
    /// What the project is called, which is a name in every language.
    pub name: &'a str,
    /// The on-demand feature view it answers, which may be called anything where `columns` are known.
    pub view: &'a str,
    /// What it is written in.
    pub language: Language,
    /// What the view takes and gives; `None` lays out an example that can be tried at once.
    pub columns: Option<ViewColumns<'a>>,
}

/// What a view takes and gives.
#[derive(Clone, Debug)]
pub struct ViewColumns<'a> {
    /// The inputs, under the names they have in a signature.
    pub inputs: Vec<(String, ValueType)>,
    /// The outputs.
    pub outputs: Vec<(&'a str, ValueType)>,
}

/// A project that was laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaffold {
    /// Where it is.
    pub dir: PathBuf,
    /// What was written that is the author's, relative to it.
    pub files: Vec<&'static str>,
}

const GOLDEN: &str = "golden.jsonl";
const IGNORED: &str = "/target\nnode_modules\n__pycache__\n";
const EXAMPLE_GOLDEN: &str = include_str!("../assets/templates/golden.jsonl");

/// Files of a language beside the function itself.
fn extras(language: Language) -> &'static [(&'static str, &'static str)] {
    match language {
        Language::Rust => &[(
            "Cargo.toml",
            include_str!("../assets/templates/Cargo.toml.txt"),
        )],
        Language::TypeScript => &[
            (
                "galley.d.ts",
                include_str!("../assets/templates/galley.d.ts.txt"),
            ),
            (
                "tsconfig.json",
                include_str!("../assets/templates/tsconfig.json.txt"),
            ),
        ],
        Language::Python | Language::JavaScript => &[],
    }
}

/// The file of the function, and an example of it.
fn main_file(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::Rust => ("src/lib.rs", include_str!("../assets/templates/lib.rs.txt")),
        Language::Python => ("app.py", include_str!("../assets/templates/app.py.txt")),
        Language::JavaScript => (
            "transform.js",
            include_str!("../assets/templates/transform.js.txt"),
        ),
        Language::TypeScript => (
            "transform.ts",
            include_str!("../assets/templates/transform.ts.txt"),
        ),
    }
}

/// Lays out a project that builds and passes its golden rows as it is, in a directory that does not
/// exist yet.
///
/// # Errors
///
/// [`Error::Project`] when the directory is there, or the name is not one that all languages take.
pub fn new(dir: &Path, project: &NewProject<'_>) -> Result<Scaffold> {
    let refuse = |reason: &str| Error::Project {
        path: dir.to_owned(),
        reason: reason.to_owned(),
    };
    let name = project.name;
    if !is_name(name) {
        return Err(refuse(&format!(
            "'{name}' is no name for a project: letters, digits and _, a letter first. For a view \
             that is called otherwise give the project another name, and --view with the view's"
        )));
    }
    if files::is_there(dir)? {
        return Err(refuse("is there already; choose a directory that is not"));
    }
    let (main, example) = main_file(project.language);
    let (text, golden) = match &project.columns {
        None => (example.to_owned(), EXAMPLE_GOLDEN.to_owned()),
        Some(columns) => (
            skeleton::function(project, columns),
            skeleton::golden(columns),
        ),
    };
    let mut written = vec![main];
    files::write(&dir.join(main), text.replace("{{name}}", name))?;
    for (file, text) in extras(project.language) {
        files::write(&dir.join(file), text.replace("{{name}}", name))?;
        written.push(*file);
    }
    files::write(&dir.join(GOLDEN), golden)?;
    files::write(&dir.join(".gitignore"), IGNORED)?;
    written.extend([GOLDEN, ".gitignore"]);
    if project.language == Language::Rust {
        // Carried along, so that cargo, editors and other people's machines need nothing else.
        for (file, text) in embedded::sdk_files() {
            files::write(&dir.join("vendor").join(file), text)?;
        }
        written.push("vendor/");
    }
    Ok(Scaffold {
        dir: dir.to_owned(),
        files: written,
    })
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(name: &str, language: Language) -> NewProject<'_> {
        NewProject {
            name,
            view: name,
            language,
            columns: None,
        }
    }

    #[test]
    fn a_new_project_is_named_and_known_by_its_language() {
        let parent = tempfile::tempdir().unwrap();
        for (language, file) in Language::ALL {
            let dir = parent.path().join(file);
            new(&dir, &example("my_view", language)).unwrap();
            assert_eq!(crate::language(&dir).unwrap(), language);
            let text = std::fs::read_to_string(dir.join(main_file(language).0)).unwrap();
            assert!(text.contains("my_view") && !text.contains("{{"), "{text}");
        }
    }

    #[test]
    fn what_is_there_is_left_alone_and_odd_names_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        assert!(new(parent.path(), &example("my_view", Language::Rust)).is_err());
        let dir = parent.path().join("x");
        for name in ["", "1st", "a b", "../up", "naive-bayes"] {
            assert!(new(&dir, &example(name, Language::Rust)).is_err(), "{name}");
        }
    }
}

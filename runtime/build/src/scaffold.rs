//! New projects.

use std::path::{Path, PathBuf};

use crate::{Error, Language, Result, files};

/// A project that was laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaffold {
    /// Where it is.
    pub dir: PathBuf,
    /// What was written, relative to it.
    pub files: Vec<&'static str>,
}

const COMMON: &[(&str, &str)] = &[
    (
        "golden.jsonl",
        include_str!("../assets/templates/golden.jsonl"),
    ),
    (".gitignore", "/target\nnode_modules\n__pycache__\n"),
];
const RUST: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        include_str!("../assets/templates/Cargo.toml.txt"),
    ),
    ("src/lib.rs", include_str!("../assets/templates/lib.rs.txt")),
];
const PYTHON: &[(&str, &str)] = &[("app.py", include_str!("../assets/templates/app.py.txt"))];
const JAVASCRIPT: &[(&str, &str)] = &[(
    "transform.js",
    include_str!("../assets/templates/transform.js.txt"),
)];

/// Lays out a project that builds and passes its golden rows as it is, in a directory that does not
/// exist yet. `name` is the on-demand feature view's.
///
/// # Errors
///
/// [`Error::Project`] when the directory is there, or the name is not one that all languages take.
pub fn new(dir: &Path, name: &str, language: Language) -> Result<Scaffold> {
    let refuse = |reason: &str| Error::Project {
        path: dir.to_owned(),
        reason: reason.to_owned(),
    };
    let mut letters = name.chars();
    let begins_well = letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic());
    if !begins_well || !letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        return Err(refuse(
            "a transformation's name has letters, digits and _, a letter first",
        ));
    }
    if files::is_there(dir)? {
        return Err(refuse("is there already; choose a directory that is not"));
    }
    let own = match language {
        Language::Rust => RUST,
        Language::Python => PYTHON,
        Language::JavaScript => JAVASCRIPT,
    };
    let mut written = Vec::new();
    for (file, text) in own.iter().chain(COMMON) {
        files::write(&dir.join(file), text.replace("{{name}}", name))?;
        written.push(*file);
    }
    Ok(Scaffold {
        dir: dir.to_owned(),
        files: written,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_project_is_named_and_known_by_its_language() {
        let parent = tempfile::tempdir().unwrap();
        for (language, file) in Language::ALL {
            let dir = parent.path().join(file);
            new(&dir, "my_view", language).unwrap();
            assert_eq!(crate::language(&dir).unwrap(), language);
            let text = std::fs::read_to_string(dir.join(file)).unwrap();
            assert!(text.contains("my_view") && !text.contains("{{"), "{text}");
        }
    }

    #[test]
    fn what_is_there_is_left_alone_and_odd_names_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        assert!(new(parent.path(), "my_view", Language::Rust).is_err());
        let dir = parent.path().join("x");
        for name in ["", "1st", "a b", "../up", "naive-bayes"] {
            assert!(new(&dir, name, Language::Rust).is_err(), "{name}");
        }
    }
}

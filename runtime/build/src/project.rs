//! Projects in any language.

use std::path::Path;

use crate::{BuiltComponent, Error, Result, Workshop, files, javascript, python, rust};

/// What a transformation is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// A crate with `#[galley::transform]`.
    Rust,
    /// A module `app.py` with `@transform`.
    Python,
    /// A module `transform.js` with a default export.
    JavaScript,
}

impl Language {
    /// Every language with the file that tells it.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Rust, "Cargo.toml"),
        (Self::Python, "app.py"),
        (Self::JavaScript, "transform.js"),
    ];
}

/// The language of the project at `dir`.
///
/// # Errors
///
/// [`Error::Project`] when none of the files that tell it is there.
pub fn language(dir: &Path) -> Result<Language> {
    for (language, file) in Language::ALL {
        if files::is_there(&dir.join(file))? {
            return Ok(language);
        }
    }
    Err(Error::Project {
        path: dir.to_owned(),
        reason: "there is no Cargo.toml, app.py or transform.js. \
                 'galley transform new' makes a project"
            .to_owned(),
    })
}

/// Builds the project at `dir`; the component goes to `target/galley/` in it, called like the
/// Rust library or else like the directory.
///
/// # Errors
///
/// Names the tool, the step and the way out; what the compiler says is quoted.
pub fn build(workshop: &Workshop<'_>, dir: &Path) -> Result<BuiltComponent> {
    let dir = files::absolute(dir)?;
    let out_dir = dir.join("target/galley");
    let name = dir
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .replace('-', "_");
    let output = out_dir.join(format!("{name}.wasm"));
    match language(&dir)? {
        Language::Rust => rust::build(workshop, &dir, &out_dir),
        Language::Python => python::build(workshop, &dir, &output),
        Language::JavaScript => javascript::build(workshop, &dir, &output),
    }
}

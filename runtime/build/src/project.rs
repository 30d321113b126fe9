//! Projects in any language.

use std::path::Path;

use crate::stamp::Stamp;
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
    /// A module `transform.ts` with a default export.
    TypeScript,
}

impl Language {
    /// Every language with the file that tells it.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Rust, "Cargo.toml"),
        (Self::Python, "app.py"),
        (Self::TypeScript, "transform.ts"),
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
        reason: "there is no Cargo.toml, app.py, transform.ts or transform.js. \
                 'galley transform new' makes a project"
            .to_owned(),
    })
}

/// What a build did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// What is there now.
    pub component: BuiltComponent,
    /// Whether it had to be built; otherwise it was there already, of the same sources.
    pub is_new: bool,
}

/// Builds the project at `dir`; the component goes to `target/galley/` in it, called like the
/// Rust library or else like the directory. A Python or JavaScript component that is there already
/// and of the same sources is left as it is; cargo knows by itself what to do.
///
/// # Errors
///
/// Names the tool, the step and the way out; what the compiler says is quoted.
pub fn build(workshop: &Workshop<'_>, dir: &Path) -> Result<Built> {
    let dir = files::absolute(dir)?;
    let out_dir = dir.join("target/galley");
    let name = dir
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .replace('-', "_");
    let output = out_dir.join(format!("{name}.wasm"));
    let language = language(&dir)?;
    if language == Language::Rust {
        let component = rust::build(workshop, &dir, &out_dir)?;
        return Ok(Built {
            component,
            is_new: true,
        });
    }
    let stamp = Stamp::of(workshop, &dir, &output)?;
    if let Some(component) = stamp.component()? {
        return Ok(Built {
            component,
            is_new: false,
        });
    }
    let component = match language {
        Language::Rust | Language::Python => python::build(workshop, &dir, &output),
        Language::JavaScript => javascript::build(workshop, &dir, "transform.js", &output),
        Language::TypeScript => javascript::build(workshop, &dir, "transform.ts", &output),
    }?;
    stamp.write(&component)?;
    Ok(Built {
        component,
        is_new: true,
    })
}

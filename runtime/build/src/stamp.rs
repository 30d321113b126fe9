//! What a component was built from, so that the same is not built twice.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::component::{BuiltComponent, hexadecimal};
use crate::{Error, Result, Workshop, embedded, files};

/// Raised when the same sources make another component, without a new version of this program.
const REVISION: u8 = 2;
/// Files of a project that are looked at.
const FILES_MAX: usize = 2_000;
/// How deep they may lie.
const DEPTH_MAX: usize = 8;
/// Endings of files that a build reads.
const SOURCES: [&str; 6] = ["py", "js", "mjs", "ts", "mts", "json"];
/// Folders that no build reads.
const SKIPPED: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// What a project looks like now, and where it is noted what it looked like when it was built.
#[derive(Debug)]
pub(crate) struct Stamp {
    path: PathBuf,
    output: PathBuf,
    sources: String,
}

impl Stamp {
    /// Looks at the sources in `dir` of the component `output`.
    pub(crate) fn of(workshop: &Workshop<'_>, dir: &Path, output: &Path) -> Result<Self> {
        let mut sources = Vec::new();
        gather(dir, DEPTH_MAX, &mut sources)?;
        sources.sort();
        let mut digest = Sha256::new();
        let mut add = |part: &[u8]| {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        };
        add(env!("CARGO_PKG_VERSION").as_bytes());
        add(&[REVISION, u8::from(workshop.sign.is_some())]);
        let carried = embedded::PYTHON_RUNTIME
            .iter()
            .chain(embedded::JAVASCRIPT_RUNTIME);
        for (_, text) in carried {
            add(text.as_bytes());
        }
        for path in sources {
            let name = path.strip_prefix(dir).unwrap_or(&path);
            add(name.as_os_str().as_encoded_bytes());
            add(&files::read(&path)?);
        }
        Ok(Self {
            path: output.with_extension("built-from"),
            output: output.to_owned(),
            sources: hexadecimal(&digest.finalize()),
        })
    }

    /// The component, if it is there and was built from what is there.
    pub(crate) fn component(&self) -> Result<Option<BuiltComponent>> {
        if !files::is_there(&self.path)? || !files::is_there(&self.output)? {
            return Ok(None);
        }
        let component = BuiltComponent::of(&self.output, &files::read(&self.output)?);
        let same = files::read_text(&self.path)? == self.text(&component);
        Ok(same.then_some(component))
    }

    /// Notes that `component` was built from what is there.
    pub(crate) fn write(&self, component: &BuiltComponent) -> Result<()> {
        files::write(&self.path, self.text(component))
    }

    fn text(&self, component: &BuiltComponent) -> String {
        format!("{}\n{}\n", self.sources, component.digest)
    }
}

fn gather(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).map_err(files::failed("list", dir))? {
        let entry = entry.map_err(files::failed("list", dir))?;
        let (path, name) = (entry.path(), entry.file_name());
        let skipped = SKIPPED.iter().any(|skipped| name == *skipped)
            || name.as_encoded_bytes().starts_with(b".");
        if path.is_dir() {
            if !skipped && depth > 0 {
                gather(&path, depth - 1, found)?;
            }
            continue;
        }
        let is_source = path
            .extension()
            .is_some_and(|extension| SOURCES.iter().any(|known| extension == *known));
        if is_source {
            if found.len() >= FILES_MAX {
                return Err(Error::Project {
                    path: dir.to_owned(),
                    reason: format!("the project has more than {FILES_MAX} source files"),
                });
            }
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_of_its_sources_until_one_of_them_changes() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let output = dir.join("target/galley/x.wasm");
        let workshop = Workshop::new("/nonexistent", &|_| {});
        files::write(&dir.join("app.py"), "one").unwrap();
        files::write(&output, "component").unwrap();
        let stamp = || Stamp::of(&workshop, dir, &output).unwrap();
        assert_eq!(stamp().component().unwrap(), None);
        stamp()
            .write(&BuiltComponent::of(&output, b"component"))
            .unwrap();
        assert!(stamp().component().unwrap().is_some());
        files::write(&dir.join("golden.jsonl"), "no source").unwrap();
        assert!(stamp().component().unwrap().is_some());
        files::write(&dir.join("lib/helper.py"), "new").unwrap();
        assert_eq!(stamp().component().unwrap(), None);
        std::fs::remove_dir_all(dir.join("lib")).unwrap();
        files::write(&output, "another").unwrap();
        assert_eq!(stamp().component().unwrap(), None);
    }
}

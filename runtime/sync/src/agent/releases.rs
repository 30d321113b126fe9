//! Manifests of releases with their components beside them, as files.

use std::path::{Path, PathBuf};

use super::AgentError;
use super::content::digest_of;
use crate::files::read_bounded;

/// Folder of the manifests with their components beside them.
const RELEASES_FOLDER: &str = "releases";
/// The manifest's name.
pub(super) const MANIFEST_FILE: &str = "spin.toml";
/// Names the release that serves, in the folder of releases.
const CURRENT_LINK: &str = "current";

/// The folder of the releases that may serve.
#[derive(Clone, Debug)]
pub(super) struct Releases(PathBuf);

// === impl Releases ===

impl Releases {
    /// The releases in the agent's `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.join(RELEASES_FOLDER))
    }

    /// The manifest of the release that serves.
    pub(super) fn current(&self) -> PathBuf {
        self.0.join(CURRENT_LINK).join(MANIFEST_FILE)
    }

    /// The folder of a release.
    pub(super) fn folder(&self, version: u64) -> PathBuf {
        self.0.join(format!("r{version}"))
    }

    /// Points the link `current` at a release, for what follows the manifest as a file.
    pub(super) fn link(&self, version: u64) {
        let folder = &self.0;
        let draft = folder.join(".current");
        // What a broken attempt left.
        let _ = std::fs::remove_file(&draft);
        let linked = std::fs::create_dir_all(folder)
            .and_then(|()| std::os::unix::fs::symlink(format!("r{version}"), &draft))
            .and_then(|()| std::fs::rename(&draft, folder.join(CURRENT_LINK)));
        if let Err(error) = linked {
            tracing::warn!(folder = %folder.display(), %error, "the manifest's link not renewed");
        }
    }

    /// Removes the releases but those of the versions `keep`.
    pub(super) fn prune(&self, keep: &[u64]) {
        let Ok(entries) = std::fs::read_dir(&self.0) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let kept = keep
                .iter()
                .any(|version| name.to_str() == Some(&format!("r{version}")));
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder
                && !kept
                && let Err(error) = std::fs::remove_dir_all(entry.path())
            {
                tracing::debug!(path = %entry.path().display(), %error, "folder not removed");
            }
        }
    }
}

/// Writes a file of a release unless it is there already.
pub(super) fn lay(path: &Path, bytes: &[u8]) -> Result<(), AgentError> {
    let max = bytes.len() as u64;
    if read_bounded(path, max).is_ok_and(|known| digest_of(&known) == digest_of(bytes)) {
        return Ok(());
    }
    let draft = path.with_extension("new");
    std::fs::write(&draft, bytes)
        .and_then(|()| std::fs::rename(&draft, path))
        .map_err(|source| AgentError::io("write", path, source))
}

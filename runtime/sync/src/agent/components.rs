//! Manifest and components of a release.

use galley_manifest::{Manifest, Source};
use galley_node::TransformOffer;

use super::content::Transfer;
use super::releases::{MANIFEST_FILE, lay};
use super::watched::Watched;
use super::{Agent, AgentError};
use crate::error::chain;
use crate::feed::Release;

impl Agent {
    /// Fetches the manifest and the components, lays them out as the manifest names them, and
    /// loads them.
    pub(super) fn components(
        &mut self,
        release: &Release,
        transfer: &mut Transfer,
    ) -> Result<Vec<TransformOffer>, AgentError> {
        let Some(manifest) = &release.manifest else {
            return Ok(Vec::new());
        };
        let folder = self.releases.folder(release.version);
        let beside = folder.join("components");
        std::fs::create_dir_all(&beside)
            .map_err(|source| AgentError::io("make", &beside, source))?;
        let place = Watched::new(self.remote.as_ref(), &self.stop);
        let bytes = self.contents.fetch(&place, manifest, transfer)?;
        lay(&folder.join(MANIFEST_FILE), &bytes)?;
        for (name, content) in &release.components {
            self.stop.check()?;
            let bytes = self.contents.fetch(&place, content, transfer)?;
            lay(&beside.join(format!("{name}.wasm")), &bytes)?;
        }
        self.load_manifest(release.version, true)
    }

    pub(super) fn load_manifest(
        &mut self,
        version: u64,
        is_there: bool,
    ) -> Result<Vec<TransformOffer>, AgentError> {
        let path = self.releases.folder(version).join(MANIFEST_FILE);
        if !is_there {
            return Ok(Vec::new());
        }
        let refused = |reason: String| AgentError::Manifest { version, reason };
        let manifest = Manifest::read(&path).map_err(|error| refused(chain(&error)))?;
        // What a release says must not lead anywhere else: neither to hosts nor to other files.
        for (name, component) in &manifest.components {
            let expected = format!("components/{name}.wasm");
            match &component.source {
                Source::File(path) if *path == *expected => {}
                _ => {
                    return Err(refused(format!(
                        "the source of [component.{name}] is not {expected} of the release"
                    )));
                }
            }
        }
        let loader = self.loader.as_mut();
        Ok(loader
            .map(|loader| loader.load(&manifest))
            .unwrap_or_default())
    }
}

/// Components that could not be loaded here take only their own views out of service: the release as a
/// whole is sound.
pub(super) fn tell_unloaded(offers: &[TransformOffer]) {
    for offer in offers {
        if let Err(reason) = &offer.transform {
            tracing::warn!(view = %offer.view, %reason, "component of the release not loaded");
        }
    }
}

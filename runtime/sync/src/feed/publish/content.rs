//! Registry, manifest and components of a release.

use galley_manifest::{Manifest, relocate};
use galley_node::Registry;
use serde_json::{Value, json};

use super::{Draft, error};
use crate::error::{Error, Result, chain};
use crate::feed::release::{COMPONENT_BYTES_MAX, MANIFEST, REGISTRY, component_path};
use crate::files::read_bounded;
use crate::transforms::ComponentSource;

impl Draft<'_> {
    /// Adds registry, manifest and components; the registry.
    pub(super) fn content(&mut self) -> Result<Registry> {
        let repo = self.publisher.repo;
        let bytes = repo.registry_source()?.read(true)?.unwrap_or_default();
        let registry = repo.decode_registry(&bytes)?;
        self.add(REGISTRY, &bytes, &json!({ "kind": "registry" }))?;
        self.files.retain(|_, file| {
            let kind = file.pointer("/custom/galley/kind").and_then(Value::as_str);
            !matches!(kind, Some("manifest" | "component"))
        });
        self.manifest()?;
        self.forget(&registry);
        Ok(registry)
    }

    fn manifest(&mut self) -> Result<()> {
        let path = self.publisher.manifest;
        let bytes = match read_bounded(path, Manifest::BYTES_MAX) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(());
            }
            read => read?,
        };
        let refused = |reason: String| error(path.display().to_string(), &reason);
        let text = String::from_utf8(bytes).map_err(|error| refused(error.to_string()))?;
        let manifest = Manifest::parse(&text, path).map_err(|error| refused(chain(&error)))?;
        for name in manifest.components.keys() {
            let source = ComponentSource {
                manifest: &manifest,
                name,
                table: &format!("[component.{name}]"),
                bytes_max: COMPONENT_BYTES_MAX,
                remote: self.publisher.repo.remote(),
            };
            let bytes = source.read(self.publisher.scratch).map_err(refused)?;
            let galley = json!({ "kind": "component", "name": name });
            self.add(&component_path(name), &bytes, &galley)?;
        }
        let text = relocate(&text, path, &component_path).map_err(|it| refused(chain(&it)))?;
        self.add(MANIFEST, text.as_bytes(), &json!({ "kind": "manifest" }))
    }

    /// Leaves out batches of views that the registry no longer has.
    fn forget(&mut self, registry: &Registry) {
        self.files.retain(|_, file| {
            let Some(galley) = file.pointer("/custom/galley") else {
                return true;
            };
            let text = |key: &str| galley.get(key).and_then(Value::as_str);
            if text("kind") != Some("batch") {
                return true;
            }
            text("project") == Some(registry.project())
                && text("view").is_some_and(|view| registry.find_view(view).is_some())
        });
    }
}

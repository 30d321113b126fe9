//! Which of a release's rows this node wants.

use std::collections::BTreeSet;

use galley_node::Registry;

use super::AgentConfig;
use super::state::InstalledRelease;
use crate::feed::Release;

/// The views whose rows are wanted; `None` for all.
pub(super) fn wanted(config: &AgentConfig, registry: &Registry) -> Option<BTreeSet<String>> {
    let AgentConfig {
        views,
        services,
        tags,
        ..
    } = config;
    if views.is_empty() && services.is_empty() && tags.is_empty() {
        return None;
    }
    for view in views {
        if registry.find_view(view).is_none() {
            tracing::warn!(%view, "sync.views names no feature view of the registry");
        }
    }
    let mut wanted: BTreeSet<String> = views.iter().cloned().collect();
    for service in services {
        match registry.views_of_service(service) {
            Some(views) => wanted.extend(views),
            None => tracing::warn!(%service, "sync.services names no service of the registry"),
        }
    }
    for tag in tags {
        let views = registry.views().iter().filter(|view| {
            let mut tags = view.tags.iter();
            tags.any(|(key, value)| *tag == format!("{key}={value}"))
        });
        let named: Vec<String> = views.map(|view| view.name.clone()).collect();
        if named.is_empty() {
            tracing::warn!(%tag, "sync.tags names no tag of a feature view: tags are key=value");
        }
        wanted.extend(named);
    }
    Some(wanted)
}

/// Whether `release`, which is `current`, has rows that are wanted and were not when it was
/// installed.
pub(super) fn widened(
    config: &AgentConfig,
    (release, registry): (&Release, &Registry),
    current: &InstalledRelease,
) -> bool {
    let wanted = wanted(config, registry);
    let is_wanted = |view: &str| wanted.as_ref().is_none_or(|wanted| wanted.contains(view));
    release.batches.iter().any(|batch| {
        batch.project == registry.project()
            && is_wanted(&batch.view)
            && !current.batches.contains_key(&batch.view)
    })
}

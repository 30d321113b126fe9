//! The registry of one project, immutable.

use std::collections::BTreeSet;

use galley_types::EventTime;

use crate::model::{
    FeatureService, NameMap, OnDemandView, ProjectKey, PushSource, StoredView, ViewIndex,
};

/// One project of a Feast registry, with what was not understood of it.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(crate) project: String,
    pub(crate) version_id: String,
    pub(crate) last_updated: Option<EventTime>,
    pub(crate) warnings: Vec<String>,
    pub(crate) views: Vec<StoredView>,
    pub(crate) on_demand_views: Vec<OnDemandView>,
    pub(crate) services: Vec<FeatureService>,
    pub(crate) push_sources: Vec<PushSource>,
    pub(crate) keys: Vec<ProjectKey>,
    pub(crate) index: Index,
    pub(crate) versioning: bool,
}

/// How to find things by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    pub(crate) names: NameMap<Named>,
    pub(crate) services: NameMap<u32>,
    pub(crate) push_sources: NameMap<u32>,
    pub(crate) keys: NameMap<u32>,
}

/// What the name of a view stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named {
    /// A view with rows.
    Stored(ViewIndex),
    /// The position in [`Registry::on_demand_views`].
    OnDemand(u32),
}

// === impl Registry ===

impl Registry {
    /// The project.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Feast's id of this state of the registry: a UUID, new at each commit.
    #[must_use]
    pub fn version_id(&self) -> &str {
        &self.version_id
    }

    /// When the registry was last written, by its own account.
    #[must_use]
    pub fn last_updated(&self) -> Option<EventTime> {
        self.last_updated
    }

    /// What was not understood, or is there and not acted on: one sentence each, with name and
    /// place. At most 1001.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// All views that have rows: feature views, stream feature views, label views, and on-demand
    /// feature views with `write_to_online_store`; each kind in the order of the file.
    #[must_use]
    pub fn views(&self) -> &[StoredView] {
        &self.views
    }

    /// The view at `index`.
    #[must_use]
    pub fn view(&self, index: ViewIndex) -> Option<&StoredView> {
        self.views.get(index.as_usize())
    }

    /// The index of the view with rows named `name`.
    #[must_use]
    pub fn find_view(&self, name: &str) -> Option<ViewIndex> {
        match self.index.names.get(name) {
            Some(Named::Stored(index)) => Some(*index),
            _ => None,
        }
    }

    /// The on-demand feature views that are computed when they are read.
    #[must_use]
    pub fn on_demand_views(&self) -> &[OnDemandView] {
        &self.on_demand_views
    }

    /// The on-demand feature view named `name` that is computed when it is read.
    #[must_use]
    pub fn find_on_demand_view(&self, name: &str) -> Option<&OnDemandView> {
        match self.index.names.get(name) {
            Some(Named::OnDemand(index)) => self.on_demand_views.get(*index as usize),
            _ => None,
        }
    }

    /// The feature services.
    #[must_use]
    pub fn services(&self) -> &[FeatureService] {
        &self.services
    }

    /// The feature service named `name`.
    #[must_use]
    pub fn find_service(&self, name: &str) -> Option<&FeatureService> {
        let index = *self.index.services.get(name)?;
        self.services.get(index as usize)
    }

    /// The names of the views whose rows a feature service needs, those its on-demand feature
    /// views compute from among them; `None` for a service that is not there.
    #[must_use]
    pub fn views_of_service(&self, name: &str) -> Option<BTreeSet<String>> {
        let service = self.find_service(name)?;
        let mut views = BTreeSet::new();
        for projection in &service.projections {
            match self.find_any_on_demand_view(&projection.view) {
                Some(view) => views.extend(view.sources.iter().map(|it| it.view.clone())),
                None => drop(views.insert(projection.view.clone())),
            }
        }
        Some(views)
    }

    /// The push sources that feed a view.
    #[must_use]
    pub fn push_sources(&self) -> &[PushSource] {
        &self.push_sources
    }

    /// The push source named `name`, if it feeds a view.
    #[must_use]
    pub fn find_push_source(&self, name: &str) -> Option<&PushSource> {
        let index = *self.index.push_sources.get(name)?;
        self.push_sources.get(index as usize)
    }

    /// The project's join key that a request column stands for: the join key of that name, or that
    /// of the entity of that name (a form Feast keeps for old clients).
    #[must_use]
    pub fn join_key(&self, column: &str) -> Option<&ProjectKey> {
        let index = *self.index.keys.get(column)?;
        self.keys.get(index as usize)
    }

    /// Whether references may name a version.
    #[must_use]
    pub fn versioning(&self) -> bool {
        self.versioning
    }
}

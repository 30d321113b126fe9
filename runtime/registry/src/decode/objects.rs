//! Entities, on-demand views, services, and what is there but not acted on.

use galley_types::RowSchema;

use super::source::REQUEST;
use super::views::{RawView, key_type, schema};
use super::{Builder, DUMMY_ENTITY, DUMMY_KEY, Entity, listed};
use crate::error::shown;
use crate::model::{
    FeatureLookup, FeatureService, NameMap, OnDemandView, ProjectKey, Projection, PushSource,
    RequestSource, StoredView, Transformation, ViewIndex, ViewKind,
};
use crate::proto;
use crate::registry::Named;

// === impl Builder ===

impl Builder {
    /// Names what the project has that this node does not act on.
    pub(super) fn note_unserved(&mut self, file: &proto::Registry, project: &str) {
        let tables = file
            .feature_tables
            .iter()
            .filter_map(|table| table.spec.as_ref());
        for table in tables.filter(|table| table.project == project) {
            self.warnings.push(format!(
                "feature table '{}' is left out: Feast no longer has feature tables, make it a \
                 feature view",
                shown(&table.name)
            ));
        }
        let permissions = file.permissions.iter().filter_map(|it| it.spec.as_ref());
        let permissions = permissions.filter(|it| it.project == project);
        let names = listed(permissions.map(|it| it.name.as_str()));
        if !names.is_empty() {
            self.warnings.push(format!(
                "permissions are not enforced yet: every caller may do what {names} would restrict"
            ));
        }
    }

    pub(super) fn add_entities(&mut self, entities: Vec<proto::Entity>, project: &str) {
        let specs = entities.into_iter().filter_map(|entity| entity.spec);
        for spec in specs.filter(|spec| spec.project == project) {
            let join_key = if spec.join_key.is_empty() {
                &spec.name
            } else {
                &spec.join_key
            };
            let entity = Entity {
                join_key: join_key.clone(),
                value_type: spec.value_type,
            };
            if self.entities.contains_key(&spec.name) {
                self.warnings.push(format!(
                    "entity '{}' is there twice: the first counts",
                    shown(&spec.name)
                ));
                continue;
            }
            self.entity_names.push(spec.name.clone());
            self.entities.insert(spec.name, entity);
        }
    }

    pub(super) fn add_on_demand_view(&mut self, view: proto::OnDemandFeatureView, project: &str) {
        let Some(mut spec) = view.spec.filter(|spec| spec.project == project) else {
            return;
        };
        let version = view.meta.map_or(0, |meta| meta.current_version_number);
        let features = std::mem::take(&mut spec.features);
        let entities = std::mem::take(&mut spec.entities);
        let entity_columns = std::mem::take(&mut spec.entity_columns);
        let stored = spec.write_to_online_store;
        let place = format!("{} '{}'", ViewKind::OnDemand.noun(), shown(&spec.name));
        if !stored {
            let Ok(index) = u32::try_from(self.on_demand_views.len()) else {
                return;
            };
            if !self.take_name(&spec.name, Named::OnDemand(index), &place) {
                return;
            }
            let mut view = self.on_demand_view(spec, version, &place);
            (view.schema, view.lookup) = schema(features, &place, &mut self.warnings);
            self.on_demand_views.push(view);
            return;
        }
        let (name, tags, enabled) = (spec.name.clone(), spec.tags.clone(), !spec.disabled);
        let definition = self.on_demand_view(spec, version, &place);
        self.add_view(RawView {
            kind: ViewKind::OnDemand,
            name,
            entities,
            features,
            entity_columns,
            tags,
            ttl: None,
            online: true,
            enabled,
            batch_source: None,
            stream_source: None,
            timestamp_field: String::new(),
            version,
            batch_transformed: false,
            on_demand: Some(Box::new(definition)),
        });
    }

    /// All of the view but its features, which the caller knows.
    fn on_demand_view(
        &mut self,
        spec: proto::OnDemandFeatureViewSpec,
        version: i32,
        place: &str,
    ) -> OnDemandView {
        let mut sources = Vec::new();
        let mut request_sources = Vec::new();
        for (name, source) in spec.sources {
            if let Some(projected) = source.feature_view_projection {
                sources.push(projection(projected));
            } else if let Some(request) = source.request_data_source {
                request_sources.push(self.request_source(request, place));
            } else if let Some(view) = source.feature_view.and_then(|view| view.spec) {
                sources.push(whole_view(view));
            } else {
                self.warnings.push(format!(
                    "{place}: its source '{}' is of a kind that is not known",
                    shown(&name)
                ));
            }
        }
        let function = spec
            .feature_transformation
            .and_then(|transformation| transformation.user_defined_function)
            .or(spec.user_defined_function);
        let mode = match (&function, spec.mode) {
            (Some(function), mode) if mode.is_empty() => function.mode.clone(),
            (_, mode) => mode,
        };
        OnDemandView {
            name: spec.name,
            schema: RowSchema::default(),
            sources,
            request_sources,
            mode,
            singleton: spec.singleton,
            enabled: !spec.disabled,
            version: u32::try_from(version).unwrap_or(0),
            transformation: function.map(|function| Transformation {
                name: function.name,
                source_text: function.body_text,
            }),
            tags: spec.tags,
            lookup: FeatureLookup::default(),
        }
    }

    fn request_source(&mut self, source: proto::DataSource, place: &str) -> RequestSource {
        let place = format!("{place}, request source '{}'", shown(&source.name));
        if source.kind != REQUEST {
            self.warnings.push(format!(
                "{place} is not of the kind of request sources (number {})",
                source.kind
            ));
        }
        let options = source.request_data_options.unwrap_or_default();
        let columns = if options.schema.is_empty() {
            let older = options.deprecated_schema.into_iter();
            older
                .map(|(name, value_type)| proto::Feature { name, value_type })
                .collect()
        } else {
            options.schema
        };
        let (schema, _) = schema(columns, &place, &mut self.warnings);
        RequestSource {
            name: source.name,
            schema,
        }
    }

    /// Names the sources of on-demand views that are not there.
    pub(super) fn check_on_demand_sources(&mut self) {
        let stored = self
            .views
            .iter()
            .filter_map(|view| view.on_demand.as_deref());
        for view in self.on_demand_views.iter().chain(stored) {
            for source in &view.sources {
                if !self.names.contains_key(&source.view) {
                    self.warnings.push(format!(
                        "on-demand feature view '{}' computes from the view '{}', which is not in \
                         the registry",
                        shown(&view.name),
                        shown(&source.view)
                    ));
                }
            }
        }
    }

    pub(super) fn services(
        &mut self,
        services: Vec<proto::FeatureService>,
        project: &str,
    ) -> (Vec<FeatureService>, NameMap<u32>) {
        let mut kept = Vec::new();
        let mut names: NameMap<u32> = NameMap::default();
        let specs = services.into_iter().filter_map(|service| service.spec);
        for spec in specs.filter(|spec| spec.project == project) {
            let place = format!("feature service '{}'", shown(&spec.name));
            let Ok(index) = u32::try_from(kept.len()) else {
                break;
            };
            if names.contains_key(&spec.name) {
                self.warnings
                    .push(format!("{place} is there twice: the first counts"));
                continue;
            }
            let projections: Vec<Projection> = spec.features.into_iter().map(projection).collect();
            for projection in &projections {
                self.check_projection(projection, &place);
            }
            names.insert(spec.name.clone(), index);
            kept.push(FeatureService {
                name: spec.name,
                projections,
                tags: spec.tags,
                log_sample_rate: spec.logging_config.map(|logging| logging.sample_rate),
            });
        }
        (kept, names)
    }

    /// Names what a service takes that is not there.
    fn check_projection(&mut self, projection: &Projection, place: &str) {
        let name = shown(&projection.view);
        let view = match self.names.get(&projection.view) {
            Some(Named::Stored(index)) => self.views.get(index.as_usize()),
            Some(Named::OnDemand(_)) => None,
            None => {
                self.warnings.push(format!(
                    "{place} takes the view '{name}', which is not in the registry"
                ));
                None
            }
        };
        let Some(view) = view else { return };
        for feature in &projection.features {
            let lookup = &view.lookup;
            if !lookup.positions.contains_key(feature) && !lookup.unsupported.contains_key(feature)
            {
                self.warnings.push(format!(
                    "{place} takes the feature '{}', which view '{name}' does not have",
                    shown(feature)
                ));
            }
        }
        for (join_key, _) in &projection.join_key_map {
            if view.join_keys.iter().all(|key| key.name != *join_key) {
                self.warnings.push(format!(
                    "{place} maps the join key '{}', which view '{name}' does not have",
                    shown(join_key)
                ));
            }
        }
    }

    /// The join keys of the project, and how to find them by name and by entity.
    pub(super) fn keys(&mut self) -> (Vec<ProjectKey>, NameMap<u32>) {
        let mut keys: Vec<ProjectKey> = Vec::new();
        let mut names: NameMap<u32> = NameMap::default();
        let mut put = |key: ProjectKey, names: &mut NameMap<u32>| {
            if let Ok(index) = u32::try_from(keys.len()) {
                names.insert(key.name.clone(), index);
                keys.push(key);
            }
        };
        let mut types: NameMap<(galley_types::KeyType, &str)> = NameMap::default();
        for view in &self.views {
            for key in &view.join_keys {
                let Some((first, other)) = types.get(&key.name) else {
                    types.insert(key.name.clone(), (key.key_type, &view.name));
                    let name = key.name.clone();
                    put(
                        ProjectKey {
                            name,
                            key_type: key.key_type,
                        },
                        &mut names,
                    );
                    continue;
                };
                if *first != key.key_type {
                    self.warnings.push(format!(
                        "join key '{}' is {first} in view '{}' and {} in view '{}': requests are \
                         answered in the first type and each view is read by its own",
                        shown(&key.name),
                        shown(other),
                        key.key_type,
                        shown(&view.name)
                    ));
                }
            }
        }
        for name in &self.entity_names {
            let Some(entity) = self.entities.get(name) else {
                continue;
            };
            if name == DUMMY_ENTITY || entity.join_key == DUMMY_KEY {
                continue;
            }
            if names.contains_key(&entity.join_key) {
                continue;
            }
            match key_type(entity.value_type) {
                Ok(key_type) => {
                    let name = entity.join_key.clone();
                    put(ProjectKey { name, key_type }, &mut names);
                }
                Err(why) => self
                    .warnings
                    .push(format!("entity '{}' {why}", shown(name))),
            }
        }
        // A join key wins over an entity of the same name.
        for name in &self.entity_names {
            let key = self
                .entities
                .get(name)
                .and_then(|entity| names.get(&entity.join_key));
            if let Some(&index) = key {
                names.entry(name.clone()).or_insert(index);
            }
        }
        (keys, names)
    }
}

/// The push sources and the views they feed, in the order of the views.
pub(super) fn push_sources(views: &[StoredView]) -> (Vec<PushSource>, NameMap<u32>) {
    let mut sources: Vec<PushSource> = Vec::new();
    let mut names: NameMap<u32> = NameMap::default();
    for (index, view) in (0_u32..).zip(views) {
        let Some(name) = &view.push_source else {
            continue;
        };
        let Ok(next) = u32::try_from(sources.len()) else {
            break;
        };
        let at = *names.entry(name.clone()).or_insert(next);
        if at == next {
            sources.push(PushSource {
                name: name.clone(),
                views: Vec::new(),
            });
        }
        if let Some(source) = sources.get_mut(at as usize) {
            source.views.push(ViewIndex(index));
        }
    }
    (sources, names)
}

fn projection(projection: proto::FeatureViewProjection) -> Projection {
    let features = projection.feature_columns.into_iter();
    Projection {
        view: projection.feature_view_name,
        alias: Some(projection.feature_view_name_alias).filter(|alias| !alias.is_empty()),
        features: features.map(|feature| feature.name).collect(),
        join_key_map: projection.join_key_map.into_iter().collect(),
        version: projection
            .version_tag
            .and_then(|tag| u32::try_from(tag).ok()),
    }
}

fn whole_view(view: proto::FeatureViewSpec) -> Projection {
    let features = view.features.into_iter();
    Projection {
        view: view.name,
        alias: None,
        features: features.map(|feature| feature.name).collect(),
        join_key_map: Vec::new(),
        version: None,
    }
}

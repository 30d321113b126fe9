//! Read plans: what a selection of features needs and gives.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use galley_types::{FeatureRef, KeyType, ReferenceError, RowSchema};

use crate::decode::repeated;
use crate::error::shown;
use crate::model::{FeatureLookup, NameMap, OnDemandView, Projection, StoredView, ViewIndex};
use crate::registry::Named;
use crate::{Error, Registry, Result};

mod shape;

pub use shape::{
    PlanKey, PlanOutput, PlanPart, PlanRequestColumn, PlanTransform, ReadPlan, ReadRequest,
    Selection,
};

/// A view as a request names it.
struct Target<'a> {
    view: &'a str,
    /// The name before a version is added.
    name: &'a str,
    version: Option<u32>,
    projection: Option<&'a Projection>,
}

/// What a target turns out to be.
enum Resolved<'r> {
    /// A view with rows.
    Part(usize, &'r StoredView),
    /// A view that is computed.
    Transform(usize, &'r OnDemandView),
}

/// A plan while it is being made.
struct Planner<'r> {
    registry: &'r Registry,
    full_feature_names: bool,
    keys: Vec<PlanKey>,
    key_positions: HashMap<(String, KeyType), usize, foldhash::fast::RandomState>,
    parts: Vec<PlanPart>,
    part_positions: NameMap<usize>,
    /// The outputs of each part.
    outputs: Vec<Vec<PlanOutput>>,
    versions: Vec<(String, u32)>,
    version_positions: NameMap<()>,
    transforms: Vec<(PlanTransform, &'r OnDemandView)>,
    /// The outputs of each transform.
    computed: Vec<Vec<PlanOutput>>,
}

// === impl Registry ===

impl Registry {
    /// Plans the look-up of a selection of features. Takes time linear in the features asked for.
    ///
    /// # Errors
    /// [`Error::NoFeatures`], [`Error::BadReference`], [`Error::ServiceNotFound`],
    /// [`Error::ViewNotFound`], [`Error::FeatureNotFound`], [`Error::TypeNotSupported`],
    /// [`Error::ViewDisabled`], [`Error::NotOnline`], [`Error::NotServable`],
    /// [`Error::VersioningDisabled`], [`Error::VersionNotServed`] and [`Error::NameCollision`].
    pub fn plan_read(&self, request: &ReadRequest<'_>) -> Result<ReadPlan> {
        let mut planner = Planner::new(self, request.full_feature_names);
        match request.selection {
            Selection::Features(references) => {
                for reference in references {
                    planner.add_reference(reference)?;
                }
            }
            Selection::Service(name) => {
                let Some(service) = self.find_service(name) else {
                    return Err(Error::ServiceNotFound {
                        service: shown(name),
                        project: self.project.clone(),
                    });
                };
                for projection in &service.projections {
                    planner.add_projection(projection)?;
                }
            }
        }
        planner.finish()
    }
}

// === impl Planner ===

impl<'r> Planner<'r> {
    fn new(registry: &'r Registry, full_feature_names: bool) -> Self {
        Self {
            registry,
            full_feature_names,
            keys: Vec::new(),
            key_positions: HashMap::default(),
            parts: Vec::new(),
            part_positions: NameMap::default(),
            outputs: Vec::new(),
            versions: Vec::new(),
            version_positions: NameMap::default(),
            transforms: Vec::new(),
            computed: Vec::new(),
        }
    }

    fn add_reference(&mut self, text: &str) -> Result<()> {
        let reference =
            FeatureRef::parse(text).map_err(|ReferenceError(text)| ReferenceError(shown(&text)))?;
        let resolved = self.resolve(&Target {
            view: reference.view,
            name: reference.view,
            version: reference.version,
            projection: None,
        })?;
        self.add_feature(&resolved, reference.view, reference.feature)
    }

    fn add_projection(&mut self, projection: &Projection) -> Result<()> {
        let name = projection.name();
        let resolved = self.resolve(&Target {
            view: &projection.view,
            name,
            version: projection.version,
            projection: Some(projection),
        })?;
        for feature in &projection.features {
            self.add_feature(&resolved, name, feature)?;
        }
        if projection.features.is_empty() {
            for field in &resolved.schema().fields {
                self.add_feature(&resolved, name, &field.name)?;
            }
        }
        Ok(())
    }

    fn resolve(&mut self, target: &Target<'_>) -> Result<Resolved<'r>> {
        let registry = self.registry;
        let (enabled, version) = match registry.index.names.get(target.view) {
            Some(Named::Stored(index)) => {
                let view = registry
                    .view(*index)
                    .map(|view| (view.enabled, view.version));
                view.unwrap_or_default()
            }
            Some(Named::OnDemand(_)) => {
                let view = registry.find_on_demand_view(target.view);
                view.map(|view| (view.enabled, view.version))
                    .unwrap_or_default()
            }
            None => {
                return Err(Error::ViewNotFound {
                    view: shown(target.view),
                    project: registry.project.clone(),
                });
            }
        };
        check_version(registry.versioning, target, version)?;
        let view = target.view.to_owned();
        if !enabled {
            return Err(Error::ViewDisabled { view });
        }
        if let Some(on_demand) = registry.find_on_demand_view(target.view) {
            return Ok(Resolved::Transform(
                self.transform(on_demand, target),
                on_demand,
            ));
        }
        let (index, stored) = self.readable(target.view)?;
        Ok(Resolved::Part(self.part(index, stored, target), stored))
    }

    /// The view with rows named `name`, if this node serves it.
    fn readable(&self, name: &str) -> Result<(ViewIndex, &'r StoredView)> {
        let registry = self.registry;
        let view = name.to_owned();
        let index = registry.find_view(name);
        let Some((index, stored)) = index.and_then(|index| Some((index, registry.view(index)?)))
        else {
            return Err(Error::ViewNotFound {
                view,
                project: registry.project.clone(),
            });
        };
        if !stored.online {
            return Err(Error::NotOnline { view });
        }
        if let Err(reason) = &stored.servable {
            let reason = reason.clone();
            return Err(Error::NotServable { view, reason });
        }
        Ok((index, stored))
    }

    /// The transform that computes `view`, made if it is not there yet.
    fn transform(&mut self, view: &'r OnDemandView, target: &Target<'_>) -> usize {
        let name = target.shown();
        let same = |(transform, _): &(PlanTransform, _)| transform.name == name;
        if let Some(at) = self.transforms.iter().position(same) {
            return at;
        }
        self.note_version(target.name, view.version);
        let transform = PlanTransform {
            view: view.name.clone(),
            name: name.into_owned(),
            sources: Vec::new(),
        };
        self.transforms.push((transform, view));
        self.computed.push(Vec::new());
        self.transforms.len() - 1
    }

    fn note_version(&mut self, name: &str, version: u32) {
        let seen = self.version_positions.insert(name.to_owned(), ());
        if seen.is_none() {
            self.versions.push((name.to_owned(), version));
        }
    }

    /// The part that reads `view` as `target` has it, made if it is not there yet.
    fn part(&mut self, index: ViewIndex, view: &StoredView, target: &Target<'_>) -> usize {
        let name = target.shown();
        let found = self.part_positions.get(name.as_ref()).copied();
        // References to one view share a part; projections are compared by their columns.
        if let (Some(at), None) = (found, target.projection) {
            return at;
        }
        let key_columns = self.key_columns(view, target.projection);
        let same = |part: &PlanPart| part.view == index && part.key_columns == key_columns;
        if let Some(at) = found.filter(|at| self.parts.get(*at).is_some_and(same)) {
            return at;
        }
        self.note_version(target.name, view.version);
        let name = name.into_owned();
        self.part_positions.insert(name.clone(), self.parts.len());
        self.push_part(PlanPart {
            view: index,
            name,
            key_columns,
            ttl: view.ttl,
        })
    }

    fn push_part(&mut self, part: PlanPart) -> usize {
        self.outputs.push(Vec::new());
        self.parts.push(part);
        self.parts.len() - 1
    }

    /// The positions of the columns that `view`, projected so, is read by.
    fn key_columns(&mut self, view: &StoredView, projection: Option<&Projection>) -> Vec<usize> {
        let mut columns = Vec::with_capacity(view.join_keys.len());
        for key in &view.join_keys {
            let column = projection.map_or(key.name.as_str(), |it| it.column(&key.name));
            columns.push(self.key(column, key.key_type));
        }
        columns
    }

    /// Plans the reading of what each transform computes from.
    fn add_sources(&mut self) -> Result<()> {
        for at in 0..self.transforms.len() {
            let Some((_, view)) = self.transforms.get(at) else {
                continue;
            };
            let mut sources = Vec::with_capacity(view.sources.len());
            for projection in &view.sources {
                sources.push(self.source(projection)?);
            }
            if let Some((transform, _)) = self.transforms.get_mut(at) {
                transform.sources = sources;
            }
        }
        Ok(())
    }

    /// The part that reads a source: one that is there for another reason, or one of its own.
    fn source(&mut self, projection: &Projection) -> Result<usize> {
        let (index, view) = self.readable(&projection.view)?;
        let key_columns = self.key_columns(view, Some(projection));
        let same = |part: &PlanPart| part.view == index && part.key_columns == key_columns;
        if let Some(at) = self.parts.iter().position(same) {
            return Ok(at);
        }
        Ok(self.push_part(PlanPart {
            view: index,
            name: projection.name().to_owned(),
            key_columns,
            ttl: view.ttl,
        }))
    }

    fn request_columns(&self) -> Vec<PlanRequestColumn> {
        let mut columns: Vec<PlanRequestColumn> = Vec::new();
        let sources = self
            .transforms
            .iter()
            .flat_map(|(_, view)| &view.request_sources);
        for field in sources.flat_map(|source| &source.schema.fields) {
            if !columns.iter().any(|column| column.name == field.name) {
                columns.push(PlanRequestColumn {
                    name: field.name.clone(),
                    value_type: field.value_type,
                });
            }
        }
        columns
    }

    /// The position of a key column of this type, made if it is not there yet.
    fn key(&mut self, column: &str, key_type: KeyType) -> usize {
        let at = self.keys.len();
        let entry = self.key_positions.entry((column.to_owned(), key_type));
        if let Entry::Occupied(found) = entry {
            return *found.get();
        }
        entry.insert_entry(at);
        self.keys.push(PlanKey {
            column: column.to_owned(),
            key_type,
            needed: true,
        });
        at
    }

    fn add_feature(
        &mut self,
        resolved: &Resolved<'_>,
        shown_as: &str,
        feature: &str,
    ) -> Result<()> {
        let lookup = resolved.lookup();
        if let Some(&number) = lookup.unsupported.get(feature) {
            return Err(Error::TypeNotSupported {
                view: shown_as.to_owned(),
                feature: shown(feature),
                number,
            });
        }
        let not_found = || Error::FeatureNotFound {
            view: shown_as.to_owned(),
            feature: shown(feature),
        };
        let position = *lookup.positions.get(feature).ok_or_else(not_found)? as usize;
        let fields = &resolved.schema().fields;
        let field = fields.get(position).ok_or_else(not_found)?;
        let (part, named, outputs) = match resolved {
            Resolved::Part(at, _) => (
                *at,
                self.parts.get(*at).map(|part| &part.name),
                self.outputs.get_mut(*at),
            ),
            Resolved::Transform(at, _) => (
                *at,
                self.transforms.get(*at).map(|(it, _)| &it.name),
                self.computed.get_mut(*at),
            ),
        };
        let (view, outputs) = named.zip(outputs).ok_or_else(not_found)?;
        let name = if self.full_feature_names {
            format!("{view}__{feature}")
        } else {
            feature.to_owned()
        };
        outputs.push(PlanOutput {
            name,
            part,
            feature: position,
            value_type: field.value_type,
        });
        Ok(())
    }

    fn finish(mut self) -> Result<ReadPlan> {
        let stored = self.outputs.iter().flatten();
        let names = stored.chain(self.computed.iter().flatten());
        let names = repeated(names.map(|output| output.name.as_str()));
        if !names.is_empty() {
            return Err(Error::NameCollision {
                names: names.into_iter().map(str::to_owned).collect(),
                full_names: self.full_feature_names,
            });
        }
        self.add_sources()?;
        let request_columns = self.request_columns();
        let parts = self.parts.len();
        let computed = self.computed.into_iter().flatten();
        let mut outputs: Vec<PlanOutput> = self.outputs.into_iter().flatten().collect();
        outputs.extend(computed.map(|output| PlanOutput {
            part: parts + output.part,
            ..output
        }));
        if outputs.is_empty() {
            return Err(Error::NoFeatures);
        }
        Ok(ReadPlan {
            keys: self.keys,
            parts: self.parts,
            transforms: self.transforms.into_iter().map(|(it, _)| it).collect(),
            request_columns,
            outputs,
            versions: self.versions,
        })
    }
}

// === impl Target ===

impl<'a> Target<'a> {
    /// The name in the answer.
    fn shown(&self) -> Cow<'a, str> {
        match self.version {
            Some(version) => Cow::Owned(format!("{}@v{version}", self.name)),
            None => Cow::Borrowed(self.name),
        }
    }
}

// === impl Resolved ===

impl<'r> Resolved<'r> {
    fn lookup(&self) -> &'r FeatureLookup {
        match self {
            Self::Part(_, view) => &view.lookup,
            Self::Transform(_, view) => &view.lookup,
        }
    }

    fn schema(&self) -> &'r RowSchema {
        match self {
            Self::Part(_, view) => &view.schema,
            Self::Transform(_, view) => &view.schema,
        }
    }
}

fn check_version(versioning: bool, target: &Target<'_>, current: u32) -> Result<()> {
    let Some(version) = target.version else {
        return Ok(());
    };
    let view = target.view.to_owned();
    if !versioning {
        return Err(Error::VersioningDisabled { view, version });
    }
    if version != current {
        return Err(Error::VersionNotServed {
            view,
            version,
            current,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;

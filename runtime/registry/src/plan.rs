//! Read plans: what a selection of features needs and gives.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use galley_types::{FeatureRef, KeyType, ReferenceError, ValueType};

use crate::decode::repeated;
use crate::error::shown;
use crate::model::{FeatureLookup, NameMap, Projection, StoredView, ViewIndex};
use crate::registry::Named;
use crate::{Error, Registry, Result};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection<'a> {
    /// Feature references.
    Features(&'a [&'a str]),
    /// A feature service.
    Service(&'a str),
}

/// A request, as far as its plan depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest<'a> {
    /// The features.
    pub selection: Selection<'a>,
    /// Whether names in the answer carry the view's name.
    pub full_feature_names: bool,
}

/// How a request is answered. Plans depend on the registry and the [`ReadRequest`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPlan {
    /// The columns the parts need, in order of first need. A column is there twice only where two
    /// views use it with different types.
    pub keys: Vec<PlanKey>,
    /// The views to read, in order of first appearance.
    pub parts: Vec<PlanPart>,
    /// The columns of the answer that are features, those of a part together.
    pub outputs: Vec<PlanOutput>,
    /// Name and version of the view of each part, each name once; version 0 is left out on the
    /// wire.
    pub versions: Vec<(String, u32)>,
}

/// A column of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanKey {
    /// The join key, or the name it has in the request.
    pub column: String,
    /// The type its values are taken as.
    pub key_type: KeyType,
    /// Whether a request without this column is at fault. Set for every join key of a part.
    pub needed: bool,
}

/// A view to read by one set of columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanPart {
    /// The view.
    pub view: ViewIndex,
    /// Its name in the answer: the alias or its own, with `@vN` if that was asked for.
    pub name: String,
    /// Positions in [`ReadPlan::keys`], in the order of the view's join keys.
    pub key_columns: Vec<usize>,
    /// How long its rows are served; `None`: forever.
    pub ttl: Option<Duration>,
}

/// A feature of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanOutput {
    /// The name in the answer.
    pub name: String,
    /// Position in [`ReadPlan::parts`].
    pub part: usize,
    /// Position in the schema of the part's view.
    pub feature: usize,
    /// The type.
    pub value_type: ValueType,
}

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
    /// A view whose function is not here.
    Missing(&'r FeatureLookup),
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
    /// The first view whose function is not here: told only if nothing else is wrong, as what
    /// does not exist is the more telling fact.
    missing: Option<String>,
}

// === impl Registry ===

impl Registry {
    /// Plans the look-up of a selection of features. Takes time linear in the features asked for.
    ///
    /// # Errors
    /// [`Error::NoFeatures`], [`Error::BadReference`], [`Error::ServiceNotFound`],
    /// [`Error::ViewNotFound`], [`Error::FeatureNotFound`], [`Error::TypeNotSupported`],
    /// [`Error::ViewDisabled`], [`Error::NotOnline`], [`Error::NotServable`],
    /// [`Error::VersioningDisabled`], [`Error::VersionNotServed`], [`Error::NameCollision`] and
    /// [`Error::TransformMissing`].
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
            missing: None,
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
        if let (true, Resolved::Part(_, view)) = (projection.features.is_empty(), &resolved) {
            for field in &view.schema.fields {
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
            self.missing.get_or_insert(view);
            return Ok(Resolved::Missing(&on_demand.lookup));
        }
        let index = registry.find_view(target.view);
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
        Ok(Resolved::Part(self.part(index, stored, target), stored))
    }

    /// The part that reads `view` as `target` has it, made if it is not there yet.
    fn part(&mut self, index: ViewIndex, view: &StoredView, target: &Target<'_>) -> usize {
        let name = match target.version {
            Some(version) => Cow::Owned(format!("{}@v{version}", target.name)),
            None => Cow::Borrowed(target.name),
        };
        let found = self.part_positions.get(name.as_ref()).copied();
        // References to one view share a part; projections are compared by their columns.
        if let (Some(at), None) = (found, target.projection) {
            return at;
        }
        let mut key_columns = Vec::with_capacity(view.join_keys.len());
        for key in &view.join_keys {
            let column = target
                .projection
                .map_or(key.name.as_str(), |it| it.column(&key.name));
            key_columns.push(self.key(column, key.key_type));
        }
        let same = |part: &PlanPart| part.view == index && part.key_columns == key_columns;
        if let Some(at) = found.filter(|at| self.parts.get(*at).is_some_and(same)) {
            return at;
        }
        let at = self.parts.len();
        if self
            .version_positions
            .insert(target.name.to_owned(), ())
            .is_none()
        {
            self.versions.push((target.name.to_owned(), view.version));
        }
        let name = name.into_owned();
        self.part_positions.insert(name.clone(), at);
        self.outputs.push(Vec::new());
        self.parts.push(PlanPart {
            view: index,
            name,
            key_columns,
            ttl: view.ttl,
        });
        at
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
        let lookup = match resolved {
            Resolved::Part(_, view) => &view.lookup,
            Resolved::Missing(lookup) => lookup,
        };
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
        let Resolved::Part(part, view) = resolved else {
            return Ok(());
        };
        let field = view.schema.fields.get(position).ok_or_else(not_found)?;
        let named = self.parts.get(*part).zip(self.outputs.get_mut(*part));
        let (plan_part, outputs) = named.ok_or_else(not_found)?;
        let name = if self.full_feature_names {
            format!("{}__{feature}", plan_part.name)
        } else {
            feature.to_owned()
        };
        outputs.push(PlanOutput {
            name,
            part: *part,
            feature: position,
            value_type: field.value_type,
        });
        Ok(())
    }

    fn finish(self) -> Result<ReadPlan> {
        let outputs: Vec<PlanOutput> = self.outputs.into_iter().flatten().collect();
        let names = repeated(outputs.iter().map(|output| output.name.as_str()));
        if !names.is_empty() {
            return Err(Error::NameCollision {
                names: names.into_iter().map(str::to_owned).collect(),
                full_names: self.full_feature_names,
            });
        }
        if let Some(view) = self.missing {
            return Err(Error::TransformMissing { view });
        }
        if outputs.is_empty() {
            return Err(Error::NoFeatures);
        }
        Ok(ReadPlan {
            keys: self.keys,
            parts: self.parts,
            outputs,
            versions: self.versions,
        })
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

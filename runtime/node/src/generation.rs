//! An immutable bundle of what requests run on: a registry and the tables its views live in.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use galley_registry::{ReadRequest, Registry, ViewIndex};
use galley_store::{Installed, SchemaId, TableId};
use galley_types::RowSchema;
use std::collections::HashMap;

use crate::get::{Selection, over_limit};
use crate::logs::LogPlan;
use crate::plan::Plan;
use crate::transforms::Bindings;
use crate::{Error, NodeConfig, Result, TransformOffer};

/// A longer list of references is taken apart each time.
const TEXT_KEPT_BYTES_MAX: usize = 64 << 10;

/// What requests run on.
#[derive(Debug)]
pub(crate) struct Generation {
    /// Counts installs since the start, from 1.
    pub number: u64,
    /// The store's release it goes with.
    pub release: u64,
    /// The one before it, while there may be requests that loaded the store before its release.
    pub before: ArcSwapOption<Self>,
    pub registry: Arc<Registry>,
    pub bindings: Bindings,
    /// Whether a view's rows are computed when they are written.
    pub computes_writes: bool,
    tables: Vec<Option<Table>>,
    plans: PlanCache,
}

/// Where a view's rows are and how to read them.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// `None` for a view without a table: everything is not found.
    pub id: Option<TableId>,
    /// The schema rows are written with.
    pub schema: SchemaId,
    /// How rows of each schema map to the view's features.
    layouts: Arc<[(SchemaId, Layout)]>,
}

/// Slots of a view's features in rows of one schema.
#[derive(Debug)]
enum Layout {
    /// The view's own schema: feature i is in slot i.
    Same,
    /// Another schema: slot of each feature, `None` where those rows lack it.
    Mapped(Box<[Option<u16>]>),
}

/// Plans by what was asked; readers take no lock.
#[derive(Debug)]
struct PlanCache {
    plans: ArcSwap<HashMap<u64, (Asked, Arc<Plan>)>>,
    hasher: foldhash::fast::RandomState,
    limit: usize,
}

/// What was asked, owned: two requests with one hash are told apart by it.
#[derive(Clone, Debug)]
struct Asked {
    selection: AskedSelection,
    full_feature_names: bool,
}

#[derive(Clone, Debug)]
enum AskedSelection {
    Features(Box<[Box<str>]>),
    Service(Box<str>),
    Text(Box<str>),
}

// === impl Generation ===

impl Generation {
    /// Joins a registry to the tables installed for its views, `tables[i]` for view i, and to the
    /// transformations offered for them.
    pub(crate) fn new(
        (number, release): (u64, u64),
        (registry, tables): (Arc<Registry>, Vec<Option<Table>>),
        offers: &[TransformOffer],
        plans_max: usize,
    ) -> Self {
        let plans = PlanCache {
            plans: ArcSwap::default(),
            hasher: foldhash::fast::RandomState::default(),
            limit: plans_max,
        };
        Self {
            number,
            release,
            before: ArcSwapOption::empty(),
            bindings: Bindings::new(&registry, offers),
            computes_writes: registry.views().iter().any(|it| it.on_demand.is_some()),
            registry,
            tables,
            plans,
        }
    }

    /// The table of a view.
    pub(crate) fn table(&self, view: ViewIndex) -> Option<&Table> {
        self.tables.get(usize::try_from(view.0).ok()?)?.as_ref()
    }

    /// The plan for what was asked, compiled on first use.
    pub(crate) fn plan(
        &self,
        (selection, full_feature_names): (&Selection<'_>, bool),
        config: &NodeConfig,
    ) -> Result<Arc<Plan>> {
        let hash = self.plans.hash(selection, full_feature_names);
        if let Some((asked, plan)) = self.plans.plans.load().get(&hash)
            && asked.is(selection, full_feature_names)
        {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(self.compile((selection, full_feature_names), config)?);
        if matches!(selection, Selection::Text(list) if list.text.len() > TEXT_KEPT_BYTES_MAX) {
            return Ok(plan);
        }
        self.plans
            .keep(hash, &Asked::new(selection, full_feature_names), &plan);
        Ok(plan)
    }

    fn compile(
        &self,
        (selection, full_feature_names): (&Selection<'_>, bool),
        config: &NodeConfig,
    ) -> Result<Plan> {
        let taken_apart: Vec<Cow<'_, str>>;
        let names: Vec<&str>;
        let selection = match selection {
            Selection::Service(name) => galley_registry::Selection::Service(name),
            Selection::Features(features) => {
                names = features.iter().map(Cow::as_ref).collect();
                galley_registry::Selection::Features(&names)
            }
            Selection::Text(list) => {
                taken_apart = (list.parse)(list.text).ok_or(Error::SelectionText)?;
                let setting = "limits.features_max";
                over_limit("features", taken_apart.len(), config.features_max, setting)?;
                names = taken_apart.iter().map(Cow::as_ref).collect();
                galley_registry::Selection::Features(&names)
            }
        };
        let plan = self.registry.plan_read(&ReadRequest {
            selection,
            full_feature_names,
        })?;
        for part in &plan.parts {
            if let Some(view) = self.registry.view(part.view)
                && let Err(reason) = &view.servable
            {
                return Err(Error::NotServable {
                    view: view.name.clone(),
                    reason: reason.clone(),
                });
            }
        }
        let log = match selection {
            galley_registry::Selection::Service(name) if config.outbox.is_some() => {
                LogPlan::new(&self.registry, &plan, (name, &config.logs))
            }
            _ => None,
        };
        let views: Vec<ViewIndex> = plan.parts.iter().map(|part| part.view).collect();
        let mut bound = Plan::bind(
            plan,
            |part| views.get(part).and_then(|view| self.table(*view)).cloned(),
            |view| self.bindings.ready(view).cloned(),
        )?;
        bound.log = log.map(Arc::new);
        Ok(bound)
    }
}

// === impl Table ===

impl Table {
    /// From what the store installed for a view with the features `schema`.
    pub(crate) fn new(installed: &Installed, schema: &RowSchema) -> Self {
        let layouts = installed
            .schemas
            .iter()
            .map(|(id, known)| (*id, Layout::between(schema, known)))
            .collect();
        Self {
            id: Some(installed.table),
            schema: installed.schema,
            layouts,
        }
    }

    /// A view without rows.
    pub(crate) fn none() -> Self {
        Self {
            id: None,
            schema: SchemaId(0),
            layouts: Arc::default(),
        }
    }

    /// Whether rows of a schema hold the view's features in their order.
    #[inline]
    pub(crate) fn is_current(&self, schema: SchemaId) -> bool {
        let layout = self.layouts.iter().find(|(id, _)| *id == schema);
        matches!(layout, Some((_, Layout::Same)))
    }

    /// The slot of a feature in rows of a schema; `None` where such rows lack the feature.
    #[inline]
    pub(crate) fn slot(&self, schema: SchemaId, feature: usize) -> Option<usize> {
        let layout = self.layouts.iter().find(|(id, _)| *id == schema);
        match layout {
            Some((_, Layout::Same)) => Some(feature),
            Some((_, Layout::Mapped(slots))) => slots.get(feature)?.map(usize::from),
            None => None,
        }
    }
}

// === impl Layout ===

impl Layout {
    fn between(view: &RowSchema, rows: &RowSchema) -> Self {
        if view == rows {
            return Self::Same;
        }
        let slots = view.fields.iter().map(|field| {
            let slot = rows.fields.iter().position(|known| known == field)?;
            u16::try_from(slot).ok()
        });
        Self::Mapped(slots.collect())
    }
}

// === impl PlanCache ===

impl PlanCache {
    fn hash(&self, selection: &Selection<'_>, full_feature_names: bool) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        full_feature_names.hash(&mut hasher);
        match selection {
            Selection::Service(name) => name.hash(&mut hasher),
            Selection::Text(list) => hasher.write(list.text.as_bytes()),
            Selection::Features(features) => {
                for feature in *features {
                    hasher.write(feature.as_bytes());
                    hasher.write_u8(0xff);
                }
            }
        }
        hasher.finish()
    }

    /// Adds a plan by copy and swap. A full cache starts again: what is in use comes back at once.
    fn keep(&self, hash: u64, asked: &Asked, plan: &Arc<Plan>) {
        let limit = self.limit;
        self.plans.rcu(|plans| {
            let mut next = if plans.len() < limit {
                (**plans).clone()
            } else {
                HashMap::new()
            };
            next.insert(hash, (asked.clone(), Arc::clone(plan)));
            next
        });
    }
}

// === impl Asked ===

impl Asked {
    fn new(selection: &Selection<'_>, full_feature_names: bool) -> Self {
        let selection = match selection {
            Selection::Service(name) => AskedSelection::Service((*name).into()),
            Selection::Text(list) => AskedSelection::Text(list.text.into()),
            Selection::Features(features) => AskedSelection::Features(
                features
                    .iter()
                    .map(|feature| feature.as_ref().into())
                    .collect(),
            ),
        };
        Self {
            selection,
            full_feature_names,
        }
    }

    fn is(&self, selection: &Selection<'_>, full_feature_names: bool) -> bool {
        if self.full_feature_names != full_feature_names {
            return false;
        }
        match (&self.selection, selection) {
            (AskedSelection::Service(known), Selection::Service(name)) => **known == **name,
            (AskedSelection::Text(known), Selection::Text(list)) => **known == *list.text,
            (AskedSelection::Features(known), Selection::Features(features)) => {
                known.len() == features.len()
                    && known
                        .iter()
                        .zip(*features)
                        .all(|(known, feature)| **known == **feature)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use galley_types::{Field, ScalarType, ValueType};

    use super::*;

    fn schema(fields: &[(&str, ScalarType)]) -> RowSchema {
        let field = |(name, scalar): &(&str, ScalarType)| Field {
            name: (*name).to_owned(),
            value_type: ValueType::Scalar(*scalar),
        };
        RowSchema {
            fields: fields.iter().map(field).collect(),
        }
    }

    #[test]
    fn rows_of_an_older_schema_keep_the_features_they_have() {
        let view = schema(&[("a", ScalarType::Int64), ("b", ScalarType::Double)]);
        let older = schema(&[("b", ScalarType::Double), ("a", ScalarType::Int32)]);
        let Layout::Mapped(slots) = Layout::between(&view, &older) else {
            panic!("the schemas differ")
        };
        assert_eq!(&*slots, &[None, Some(0)], "a changed its type, b its place");
        assert!(matches!(Layout::between(&view, &view), Layout::Same));
    }
}

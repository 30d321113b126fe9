//! A look-up's plan as the node runs it: the registry's plan bound to tables and row slots.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use galley_registry::{PlanKey, PlanOutput, PlanRequestColumn, ReadPlan};
use galley_types::{KeyType, ValueType};

use crate::Result;
use crate::columns::FixedOutput;
use crate::generation::Table;
use crate::logs::LogPlan;
use crate::transforms::{Bound, BoundSource};

/// One output of a look-up.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its name in the answer.
    pub name: String,
    /// The part it comes from: a view that is read, and past those one that is computed.
    pub part: usize,
    /// Its position in the view's schema.
    pub feature: usize,
    /// Its type.
    pub value_type: ValueType,
    /// Its position among the columns of fixed-width types, if it is of one.
    pub(crate) column: Option<usize>,
}

/// A compiled look-up; shared by all requests that ask for the same features.
#[derive(Debug)]
pub struct Plan {
    pub(crate) keys: Vec<PlanKey>,
    pub(crate) key_sets: Vec<KeySet>,
    pub(crate) parts: Vec<Part>,
    pub(crate) request_columns: Vec<PlanRequestColumn>,
    transforms: Vec<PlanTransform>,
    outputs: Vec<Output>,
    /// Number of outputs of fixed-width types.
    pub(crate) column_count: usize,
    versions: Vec<(String, u32)>,
    /// See [`Plan::prepared`].
    prepared: OnceLock<Box<dyn Any + Send + Sync>>,
    /// How answers are logged, where a feature service asks for it.
    pub(crate) log: Option<Arc<LogPlan>>,
}

/// Columns that together make an entity key; parts with the same columns share it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeySet {
    /// Positions in [`Plan::keys`], in the order of the view's join keys.
    pub columns: Vec<usize>,
    /// The view's key types, in the same order.
    pub types: Vec<KeyType>,
}

/// One view of a look-up.
#[derive(Debug)]
pub(crate) struct Part {
    /// The view's name or alias, for messages.
    pub name: String,
    /// Position in [`Plan::key_sets`].
    pub key_set: usize,
    /// Where its rows are.
    pub table: Table,
    /// Time to live in microseconds.
    pub ttl_micros: Option<i64>,
    /// Its outputs of fixed-width types.
    pub fixed: Box<[FixedOutput]>,
}

/// One on-demand feature view of a look-up, computed when it is read.
#[derive(Debug)]
pub(crate) struct PlanTransform {
    /// The view's name or alias.
    pub name: String,
    /// What computes it.
    pub bound: Arc<Bound>,
    /// Its inputs, in the order of its signature.
    pub inputs: Box<[TransformInput]>,
}

/// Where an input of a transformation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransformInput {
    /// A feature of a part.
    Stored {
        part: usize,
        feature: usize,
        value_type: ValueType,
    },
    /// Position in [`Plan::keys`].
    Key(usize),
    /// Position in [`Plan::request_columns`].
    Requested(usize),
}

// === impl Plan ===

impl Plan {
    /// Binds a registry's plan to the tables and transformations of a generation.
    ///
    /// # Errors
    /// What `bound` says of a view without a transformation.
    pub(crate) fn bind(
        plan: ReadPlan,
        table: impl Fn(usize) -> Option<Table>,
        bound: impl Fn(&str) -> Result<Arc<Bound>>,
    ) -> Result<Self> {
        let mut transforms = Vec::with_capacity(plan.transforms.len());
        for planned in &plan.transforms {
            let bound = bound(&planned.view)?;
            transforms.push(PlanTransform {
                name: planned.name.clone(),
                inputs: inputs(&plan, &planned.sources, &bound),
                bound,
            });
        }
        let ReadPlan {
            keys,
            parts: planned,
            request_columns,
            outputs,
            versions,
            ..
        } = plan;
        let outputs = with_columns(outputs);
        let mut key_sets: Vec<KeySet> = Vec::new();
        let mut parts = Vec::with_capacity(planned.len());
        for (index, part) in planned.into_iter().enumerate() {
            let types = part
                .key_columns
                .iter()
                .filter_map(|column| keys.get(*column))
                .map(|key| key.key_type)
                .collect();
            let set = KeySet {
                columns: part.key_columns,
                types,
            };
            let key_set = key_sets
                .iter()
                .position(|known| *known == set)
                .unwrap_or_else(|| {
                    key_sets.push(set);
                    key_sets.len() - 1
                });
            let ttl_micros = part
                .ttl
                .map(|ttl| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX));
            let fixed = outputs.iter().filter(|output| output.part == index);
            let fixed = fixed.filter_map(|output| {
                let feature = output.feature;
                output.column.map(|column| FixedOutput { column, feature })
            });
            parts.push(Part {
                fixed: fixed.collect(),
                name: part.name,
                key_set,
                table: table(index).unwrap_or_else(Table::none),
                ttl_micros,
            });
        }
        Ok(Self {
            keys,
            key_sets,
            parts,
            request_columns,
            transforms,
            column_count: outputs.iter().filter(|it| it.column.is_some()).count(),
            outputs,
            versions,
            prepared: OnceLock::new(),
            log: None,
        })
    }

    /// What is computed, in the order of the parts past those that are read.
    pub(crate) fn transforms(&self) -> &[PlanTransform] {
        &self.transforms
    }

    /// Where the rows of a part are; `None` for one that is computed.
    #[inline]
    pub(crate) fn table(&self, part: usize) -> Option<&Table> {
        self.parts.get(part).map(|part| &part.table)
    }

    /// The outputs in the order of the answer.
    #[must_use]
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Number of views read.
    #[must_use]
    pub fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// Number of views computed.
    #[must_use]
    pub fn transform_count(&self) -> usize {
        self.transforms.len()
    }

    /// Names of the views read, then of those computed; aliases where a service gives them.
    pub fn part_names(&self) -> impl Iterator<Item = &str> {
        let computed = self.transforms.iter().map(|it| it.name.as_str());
        self.parts.iter().map(|it| it.name.as_str()).chain(computed)
    }

    /// Views and their version numbers, for the answer's metadata.
    #[must_use]
    pub fn versions(&self) -> &[(String, u32)] {
        &self.versions
    }

    /// What the wire prepares once for all answers of the plan, as `prepare` made it for the first.
    /// There is one kind of it; whoever asks for another gets `None`.
    pub fn prepared<T: Any + Send + Sync>(&self, prepare: impl FnOnce() -> T) -> Option<&T> {
        let prepared = self.prepared.get_or_init(|| Box::new(prepare()));
        prepared.downcast_ref()
    }
}

/// The outputs of a plan; those of fixed-width types have their columns in the same order.
fn with_columns(planned: Vec<PlanOutput>) -> Vec<Output> {
    let mut columns = 0..;
    let outputs = planned.into_iter().map(|output| Output {
        column: output.value_type.fixed().and_then(|_| columns.next()),
        name: output.name,
        part: output.part,
        feature: output.feature,
        value_type: output.value_type,
    });
    outputs.collect()
}

/// Where a transformation's inputs come from in a plan that reads its sources as `sources` says.
fn inputs(plan: &ReadPlan, sources: &[usize], bound: &Bound) -> Box<[TransformInput]> {
    let inputs = bound.inputs.iter().map(|input| match input.source {
        BoundSource::Feature { source, feature } => TransformInput::Stored {
            part: sources.get(source).copied().unwrap_or(usize::MAX),
            feature,
            value_type: input.value_type,
        },
        BoundSource::JoinKey { source, key } => {
            let part = sources.get(source).and_then(|part| plan.parts.get(*part));
            let column = part.and_then(|part| part.key_columns.get(key));
            TransformInput::Key(column.copied().unwrap_or(usize::MAX))
        }
        BoundSource::Request => {
            let mut columns = plan.request_columns.iter();
            let column = columns.position(|column| column.name == input.name);
            TransformInput::Requested(column.unwrap_or(usize::MAX))
        }
    });
    inputs.collect()
}

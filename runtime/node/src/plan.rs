//! A look-up's plan as the node runs it: the registry's plan bound to tables and row slots.

use std::sync::OnceLock;

use galley_registry::{PlanKey, ReadPlan};
use galley_types::{KeyType, ValueType};

use crate::generation::Table;

/// One output of a look-up.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its name in the answer.
    pub name: String,
    /// The part (view) it comes from.
    pub part: usize,
    /// Its position in the view's schema.
    pub feature: usize,
    /// Its type.
    pub value_type: ValueType,
}

/// A compiled look-up; shared by all requests that ask for the same features.
#[derive(Debug)]
pub struct Plan {
    pub(crate) keys: Vec<PlanKey>,
    pub(crate) key_sets: Vec<KeySet>,
    pub(crate) parts: Vec<Part>,
    outputs: Vec<Output>,
    versions: Vec<(String, u32)>,
    rendered: OnceLock<Box<[u8]>>,
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
}

// === impl Plan ===

impl Plan {
    /// Binds a registry's plan to the tables of a generation.
    pub(crate) fn bind(plan: ReadPlan, table: impl Fn(usize) -> Option<Table>) -> Self {
        let ReadPlan {
            keys,
            parts: planned,
            outputs,
            versions,
            ..
        } = plan;
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
            parts.push(Part {
                name: part.name,
                key_set,
                table: table(index).unwrap_or_else(Table::none),
                ttl_micros,
            });
        }
        let outputs = outputs
            .into_iter()
            .map(|output| Output {
                name: output.name,
                part: output.part,
                feature: output.feature,
                value_type: output.value_type,
            })
            .collect();
        Self {
            keys,
            key_sets,
            parts,
            outputs,
            versions,
            rendered: OnceLock::new(),
        }
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

    /// Names of the views read, aliases where a service gives them.
    pub fn part_names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.name.as_str())
    }

    /// Views and their version numbers, for the answer's metadata.
    #[must_use]
    pub fn versions(&self) -> &[(String, u32)] {
        &self.versions
    }

    /// A place for bytes that the wire renders once per plan.
    #[must_use]
    pub fn rendered(&self) -> &OnceLock<Box<[u8]>> {
        &self.rendered
    }
}

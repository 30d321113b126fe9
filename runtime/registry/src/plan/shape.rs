//! What a read plan is made of.

use std::time::Duration;

use galley_types::{KeyType, ValueType};

use crate::model::ViewIndex;

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
    /// The on-demand feature views to compute, in order of first appearance. Their sources are among
    /// the parts, those that nothing else asks for last.
    pub transforms: Vec<PlanTransform>,
    /// The request columns that the transforms need, each name once.
    pub request_columns: Vec<PlanRequestColumn>,
    /// The columns of the answer that are features, those of a part together, computed ones last.
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

/// An on-demand feature view to compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTransform {
    /// The view.
    pub view: String,
    /// Its name in the answer: the alias or its own, with `@vN` if that was asked for.
    pub name: String,
    /// For each of the view's sources, its position in [`ReadPlan::parts`].
    pub sources: Vec<usize>,
}

/// A column of request data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRequestColumn {
    /// Its name.
    pub name: String,
    /// The type its values are taken as: that of the first transform that needs it.
    pub value_type: ValueType,
}

/// A feature of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanOutput {
    /// The name in the answer.
    pub name: String,
    /// Position in [`ReadPlan::parts`], and past their end that in [`ReadPlan::transforms`].
    pub part: usize,
    /// Position in the schema of the part's view.
    pub feature: usize,
    /// The type.
    pub value_type: ValueType,
}

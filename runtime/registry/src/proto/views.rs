//! The messages of the four kinds of views.

use std::collections::BTreeMap;

use prost::Message;

use super::{DataSource, Duration, Empty, FeatureViewProjection};

/// `feast.core.FeatureSpecV2`: a feature or a column.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Feature {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Feast's number of the type; Python knows numbers that the enumeration lacks.
    #[prost(int32, tag = "2")]
    pub value_type: i32,
}

/// `feast.core.FeatureView`.
#[derive(Clone, PartialEq, Message)]
pub struct FeatureView {
    /// What it is.
    #[prost(message, optional, tag = "1")]
    pub spec: Option<FeatureViewSpec>,
    /// What happened to it.
    #[prost(message, optional, tag = "2")]
    pub meta: Option<FeatureViewMeta>,
}

/// `feast.core.FeatureViewSpec`.
#[derive(Clone, PartialEq, Message)]
pub struct FeatureViewSpec {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The project.
    #[prost(string, tag = "2")]
    pub project: String,
    /// Names of the entities.
    #[prost(string, repeated, tag = "3")]
    pub entities: Vec<String>,
    /// The features.
    #[prost(message, repeated, tag = "4")]
    pub features: Vec<Feature>,
    /// Tags.
    #[prost(btree_map = "string, string", tag = "5")]
    pub tags: BTreeMap<String, String>,
    /// Time to live; zero or absent: forever.
    #[prost(message, optional, tag = "6")]
    pub ttl: Option<Duration>,
    /// Where batches come from.
    #[prost(message, optional, tag = "7")]
    pub batch_source: Option<DataSource>,
    /// Whether it is served online.
    #[prost(bool, tag = "8")]
    pub online: bool,
    /// Where fresh rows come from.
    #[prost(message, optional, tag = "9")]
    pub stream_source: Option<DataSource>,
    /// The join keys with their types.
    #[prost(message, repeated, tag = "12")]
    pub entity_columns: Vec<Feature>,
    /// The function that its batches pass through.
    #[prost(message, optional, tag = "15")]
    pub feature_transformation: Option<FeatureTransformation>,
    /// Whether it is switched off.
    #[prost(bool, tag = "20")]
    pub disabled: bool,
}

/// `feast.core.FeatureViewMeta`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct FeatureViewMeta {
    /// The version number.
    #[prost(int32, tag = "4")]
    pub current_version_number: i32,
}

/// `feast.core.StreamFeatureView`.
#[derive(Clone, PartialEq, Message)]
pub struct StreamFeatureView {
    /// What it is.
    #[prost(message, optional, tag = "1")]
    pub spec: Option<StreamFeatureViewSpec>,
    /// What happened to it.
    #[prost(message, optional, tag = "2")]
    pub meta: Option<FeatureViewMeta>,
}

/// `feast.core.StreamFeatureViewSpec`.
#[derive(Clone, PartialEq, Message)]
pub struct StreamFeatureViewSpec {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The project.
    #[prost(string, tag = "2")]
    pub project: String,
    /// Names of the entities.
    #[prost(string, repeated, tag = "3")]
    pub entities: Vec<String>,
    /// The features; Feast lists the join key among them when the schema does.
    #[prost(message, repeated, tag = "4")]
    pub features: Vec<Feature>,
    /// The join keys with their types.
    #[prost(message, repeated, tag = "5")]
    pub entity_columns: Vec<Feature>,
    /// Tags.
    #[prost(btree_map = "string, string", tag = "7")]
    pub tags: BTreeMap<String, String>,
    /// Time to live; zero or absent: forever.
    #[prost(message, optional, tag = "9")]
    pub ttl: Option<Duration>,
    /// Where batches come from.
    #[prost(message, optional, tag = "10")]
    pub batch_source: Option<DataSource>,
    /// Where fresh rows come from.
    #[prost(message, optional, tag = "11")]
    pub stream_source: Option<DataSource>,
    /// Whether it is served online.
    #[prost(bool, tag = "12")]
    pub online: bool,
    /// The function that its rows pass through, in the older form.
    #[prost(message, optional, tag = "13")]
    pub user_defined_function: Option<UserDefinedFunction>,
    /// Aggregations over its rows; only their presence counts here.
    #[prost(message, repeated, tag = "15")]
    pub aggregations: Vec<Empty>,
    /// The column of event times, where it differs from the source's.
    #[prost(string, tag = "16")]
    pub timestamp_field: String,
    /// The function that its rows pass through.
    #[prost(message, optional, tag = "17")]
    pub feature_transformation: Option<FeatureTransformation>,
    /// Whether it is switched off.
    #[prost(bool, tag = "23")]
    pub disabled: bool,
}

/// `feast.core.LabelView`.
#[derive(Clone, PartialEq, Message)]
pub struct LabelView {
    /// What it is.
    #[prost(message, optional, tag = "1")]
    pub spec: Option<LabelViewSpec>,
}

/// `feast.core.LabelViewSpec`. Its conflict policy concerns offline reads only.
#[derive(Clone, PartialEq, Message)]
pub struct LabelViewSpec {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The project.
    #[prost(string, tag = "2")]
    pub project: String,
    /// Names of the entities.
    #[prost(string, repeated, tag = "3")]
    pub entities: Vec<String>,
    /// The features: labels and the labeler.
    #[prost(message, repeated, tag = "4")]
    pub features: Vec<Feature>,
    /// Tags.
    #[prost(btree_map = "string, string", tag = "5")]
    pub tags: BTreeMap<String, String>,
    /// Time to live; zero or absent: forever.
    #[prost(message, optional, tag = "6")]
    pub ttl: Option<Duration>,
    /// Where labels come from, most often a push source.
    #[prost(message, optional, tag = "7")]
    pub source: Option<DataSource>,
    /// Whether it is served online.
    #[prost(bool, tag = "8")]
    pub online: bool,
    /// The join keys with their types.
    #[prost(message, repeated, tag = "11")]
    pub entity_columns: Vec<Feature>,
}

/// `feast.core.OnDemandFeatureView`.
#[derive(Clone, PartialEq, Message)]
pub struct OnDemandFeatureView {
    /// What it is.
    #[prost(message, optional, tag = "1")]
    pub spec: Option<OnDemandFeatureViewSpec>,
    /// What happened to it.
    #[prost(message, optional, tag = "2")]
    pub meta: Option<OnDemandFeatureViewMeta>,
}

/// `feast.core.OnDemandFeatureViewMeta`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct OnDemandFeatureViewMeta {
    /// The version number.
    #[prost(int32, tag = "3")]
    pub current_version_number: i32,
}

/// `feast.core.OnDemandFeatureViewSpec`.
#[derive(Clone, PartialEq, Message)]
pub struct OnDemandFeatureViewSpec {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The project.
    #[prost(string, tag = "2")]
    pub project: String,
    /// What it computes.
    #[prost(message, repeated, tag = "3")]
    pub features: Vec<Feature>,
    /// What it computes from, by name.
    #[prost(btree_map = "string, message", tag = "4")]
    pub sources: BTreeMap<String, OnDemandSource>,
    /// The function, in the older form.
    #[prost(message, optional, tag = "5")]
    pub user_defined_function: Option<UserDefinedFunction>,
    /// Tags.
    #[prost(btree_map = "string, string", tag = "7")]
    pub tags: BTreeMap<String, String>,
    /// The function.
    #[prost(message, optional, tag = "10")]
    pub feature_transformation: Option<FeatureTransformation>,
    /// `python`, `pandas` or `substrait`.
    #[prost(string, tag = "11")]
    pub mode: String,
    /// Whether it runs when rows are written, and its results are stored.
    #[prost(bool, tag = "12")]
    pub write_to_online_store: bool,
    /// Names of the entities.
    #[prost(string, repeated, tag = "13")]
    pub entities: Vec<String>,
    /// The join keys with their types.
    #[prost(message, repeated, tag = "14")]
    pub entity_columns: Vec<Feature>,
    /// Whether the function takes one row at a time.
    #[prost(bool, tag = "15")]
    pub singleton: bool,
    /// Whether it is switched off.
    #[prost(bool, tag = "19")]
    pub disabled: bool,
}

/// `feast.core.OnDemandSource`: one of the three is set.
#[derive(Clone, PartialEq, Message)]
pub struct OnDemandSource {
    /// A whole feature view (older files).
    #[prost(message, optional, tag = "1")]
    pub feature_view: Option<FeatureView>,
    /// Columns of the request.
    #[prost(message, optional, tag = "2")]
    pub request_data_source: Option<DataSource>,
    /// Some features of a view.
    #[prost(message, optional, tag = "3")]
    pub feature_view_projection: Option<FeatureViewProjection>,
}

/// `feast.core.UserDefinedFunction` and `UserDefinedFunctionV2`, without the pickled body.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct UserDefinedFunction {
    /// The function's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its source text.
    #[prost(string, tag = "3")]
    pub body_text: String,
    /// `python` or `pandas`.
    #[prost(string, tag = "4")]
    pub mode: String,
}

/// `feast.core.FeatureTransformationV2`, without the Substrait plan.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct FeatureTransformation {
    /// The function.
    #[prost(message, optional, tag = "1")]
    pub user_defined_function: Option<UserDefinedFunction>,
}

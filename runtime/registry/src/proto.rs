//! The part of Feast's registry messages (`feast.core`, Feast 0.67) that Galley reads.
//!
//! Fields that are not listed are skipped on the wire: descriptions, owners, vector indexes,
//! materialization intervals, and above all the pickled `body` of user-defined functions.

mod views;

use std::collections::BTreeMap;

use prost::Message;

pub use views::{
    Feature, FeatureTransformation, FeatureView, FeatureViewMeta, FeatureViewSpec, LabelView,
    LabelViewSpec, OnDemandFeatureView, OnDemandFeatureViewMeta, OnDemandFeatureViewSpec,
    OnDemandSource, StreamFeatureView, StreamFeatureViewSpec, UserDefinedFunction,
};

/// `feast.core.Registry`: the whole file.
#[derive(Clone, PartialEq, Message)]
pub struct Registry {
    /// Entities.
    #[prost(message, repeated, tag = "1")]
    pub entities: Vec<Entity>,
    /// Feature tables: gone from Feast long ago, still in old files.
    #[prost(message, repeated, tag = "2")]
    pub feature_tables: Vec<FeatureTable>,
    /// Version of the registry's schema, "1" so far.
    #[prost(string, tag = "3")]
    pub registry_schema_version: String,
    /// A UUID, new at each commit.
    #[prost(string, tag = "4")]
    pub version_id: String,
    /// When the file was last written.
    #[prost(message, optional, tag = "5")]
    pub last_updated: Option<Timestamp>,
    /// Feature views.
    #[prost(message, repeated, tag = "6")]
    pub feature_views: Vec<FeatureView>,
    /// Feature services.
    #[prost(message, repeated, tag = "7")]
    pub feature_services: Vec<FeatureService>,
    /// On-demand feature views.
    #[prost(message, repeated, tag = "8")]
    pub on_demand_feature_views: Vec<OnDemandFeatureView>,
    /// Data sources.
    #[prost(message, repeated, tag = "12")]
    pub data_sources: Vec<DataSource>,
    /// Stream feature views.
    #[prost(message, repeated, tag = "14")]
    pub stream_feature_views: Vec<StreamFeatureView>,
    /// Projects, in the older form.
    #[prost(message, repeated, tag = "15")]
    pub project_metadata: Vec<ProjectMetadata>,
    /// Permissions.
    #[prost(message, repeated, tag = "16")]
    pub permissions: Vec<Permission>,
    /// Projects.
    #[prost(message, repeated, tag = "17")]
    pub projects: Vec<Project>,
    /// Label views.
    #[prost(message, repeated, tag = "19")]
    pub label_views: Vec<LabelView>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Timestamp {
    /// Seconds since the epoch.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds on top.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Duration {
    /// Seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds on top, of the same sign.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `feast.core.Entity`.
#[derive(Clone, PartialEq, Message)]
pub struct Entity {
    /// What it is.
    #[prost(message, optional, tag = "1")]
    pub spec: Option<EntitySpec>,
}

/// `feast.core.EntitySpecV2`.
#[derive(Clone, PartialEq, Message)]
pub struct EntitySpec {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Feast's number of the type of its join key.
    #[prost(int32, tag = "2")]
    pub value_type: i32,
    /// The join key; empty: the name.
    #[prost(string, tag = "4")]
    pub join_key: String,
    /// The project.
    #[prost(string, tag = "9")]
    pub project: String,
}

/// `feast.core.FeatureTable`.
#[derive(Clone, PartialEq, Message)]
pub struct FeatureTable {
    /// What it is.
    #[prost(message, optional, tag = "1")]
    pub spec: Option<FeatureTableSpec>,
}

/// `feast.core.FeatureTableSpec`.
#[derive(Clone, PartialEq, Message)]
pub struct FeatureTableSpec {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The project.
    #[prost(string, tag = "9")]
    pub project: String,
}

/// `feast.core.FeatureService`.
#[derive(Clone, PartialEq, Message)]
pub struct FeatureService {
    /// What it is.
    #[prost(message, optional, tag = "1")]
    pub spec: Option<FeatureServiceSpec>,
}

/// `feast.core.FeatureServiceSpec`.
#[derive(Clone, PartialEq, Message)]
pub struct FeatureServiceSpec {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The project.
    #[prost(string, tag = "2")]
    pub project: String,
    /// What it serves.
    #[prost(message, repeated, tag = "3")]
    pub features: Vec<FeatureViewProjection>,
    /// Tags.
    #[prost(btree_map = "string, string", tag = "4")]
    pub tags: BTreeMap<String, String>,
    /// How served features are logged.
    #[prost(message, optional, tag = "7")]
    pub logging_config: Option<LoggingConfig>,
}

/// `feast.core.LoggingConfig`: the rate only. Where logs go is this node's to say.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct LoggingConfig {
    /// Share of the look-ups that is logged, from 0 to 1.
    #[prost(float, tag = "1")]
    pub sample_rate: f32,
}

/// `feast.core.FeatureViewProjection`.
#[derive(Clone, PartialEq, Message)]
pub struct FeatureViewProjection {
    /// The view.
    #[prost(string, tag = "1")]
    pub feature_view_name: String,
    /// The features taken.
    #[prost(message, repeated, tag = "2")]
    pub feature_columns: Vec<Feature>,
    /// The name used instead of the view's; empty: none.
    #[prost(string, tag = "3")]
    pub feature_view_name_alias: String,
    /// The view's join keys to the columns that requests send instead.
    #[prost(btree_map = "string, string", tag = "4")]
    pub join_key_map: BTreeMap<String, String>,
    /// The version pinned.
    #[prost(int32, optional, tag = "10")]
    pub version_tag: Option<i32>,
}

/// `feast.core.DataSource`.
#[derive(Clone, PartialEq, Message)]
pub struct DataSource {
    /// Feast's number of the kind of source.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// Columns of the source to features.
    #[prost(btree_map = "string, string", tag = "2")]
    pub field_mapping: BTreeMap<String, String>,
    /// The column of event times.
    #[prost(string, tag = "3")]
    pub timestamp_field: String,
    /// The column of creation times; empty: none.
    #[prost(string, tag = "5")]
    pub created_timestamp_column: String,
    /// Where the files lie.
    #[prost(message, optional, tag = "11")]
    pub file_options: Option<FileOptions>,
    /// The columns of a request source.
    #[prost(message, optional, tag = "18")]
    pub request_data_options: Option<RequestDataOptions>,
    /// The Python class of the source.
    #[prost(string, tag = "17")]
    pub data_source_class_type: String,
    /// The name.
    #[prost(string, tag = "20")]
    pub name: String,
    /// The project.
    #[prost(string, tag = "21")]
    pub project: String,
    /// Where the batches of a push or stream source come from.
    #[prost(message, optional, boxed, tag = "26")]
    pub batch_source: Option<Box<Self>>,
}

/// `feast.core.DataSource.FileOptions`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct FileOptions {
    /// The format of the files; absent: Parquet.
    #[prost(message, optional, tag = "1")]
    pub file_format: Option<FileFormat>,
    /// A path, directory or URI.
    #[prost(string, tag = "2")]
    pub uri: String,
    /// The address of an S3-compatible server; empty for the usual one.
    #[prost(string, tag = "3")]
    pub s3_endpoint_override: String,
}

/// `feast.core.FileFormat`: one of the two is set.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct FileFormat {
    /// Parquet.
    #[prost(message, optional, tag = "1")]
    pub parquet_format: Option<Empty>,
    /// Delta tables.
    #[prost(message, optional, tag = "2")]
    pub delta_format: Option<Empty>,
}

/// A message of which only the presence counts.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

/// `feast.core.DataSource.RequestDataOptions`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RequestDataOptions {
    /// The columns, in the older form, by name.
    #[prost(btree_map = "string, int32", tag = "2")]
    pub deprecated_schema: BTreeMap<String, i32>,
    /// The columns.
    #[prost(message, repeated, tag = "3")]
    pub schema: Vec<Feature>,
}

/// `feast.core.Permission`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Permission {
    /// What it is.
    #[prost(message, optional, tag = "1")]
    pub spec: Option<PermissionSpec>,
}

/// `feast.core.PermissionSpec`: its name only.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PermissionSpec {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The project.
    #[prost(string, tag = "2")]
    pub project: String,
}

/// `feast.core.Project`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Project {
    /// What it is.
    #[prost(message, optional, tag = "1")]
    pub spec: Option<ProjectSpec>,
}

/// `feast.core.ProjectSpec`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProjectSpec {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `feast.core.ProjectMetadata`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProjectMetadata {
    /// The name.
    #[prost(string, tag = "1")]
    pub project: String,
}

// === impl Registry ===

impl Registry {
    /// Numbers of the fields of `feast.core.Registry` that Feast 0.67 defines, read here or not.
    pub(crate) const FIELDS_KNOWN: std::ops::RangeInclusive<u32> = 1..=19;

    /// The registry as a file holds it; what [`crate::Registry::decode`] takes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

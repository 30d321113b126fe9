//! What a registry holds, once understood.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use galley_types::{KeyType, RowSchema};

/// A map from names; the seeds of its hashes are random.
pub(crate) type NameMap<V> = HashMap<String, V, foldhash::fast::RandomState>;

/// The position of a view in [`crate::Registry::views`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewIndex(pub u32);

/// What kind of view it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ViewKind {
    /// A feature view.
    Batch,
    /// A stream feature view.
    Stream,
    /// A label view: written by pushes only.
    Label,
    /// An on-demand feature view whose results are stored (`write_to_online_store`).
    OnDemand,
}

/// One join key of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinKey {
    /// The column.
    pub name: String,
    /// The entity it belongs to.
    pub entity: String,
    /// The type.
    pub key_type: KeyType,
}

/// A join key of the project, whatever view it is used in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectKey {
    /// The join key.
    pub name: String,
    /// The type: that of the first view that uses it, else the entity's.
    pub key_type: KeyType,
}

/// The format of the files of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Parquet.
    Parquet,
    /// A Delta table.
    Delta,
}

/// Where the rows of a source lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceLocation {
    /// Files.
    File {
        /// Path, directory or URI, as in the registry: relative paths start at the repo.
        uri: String,
        /// Their format.
        format: FileFormat,
        /// The address of the S3-compatible server they are on, where it is not the usual one.
        s3_endpoint: Option<String>,
    },
    /// Elsewhere: Feast's name of the system.
    Other(&'static str),
}

/// Where the batches of a view come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSource {
    /// The name.
    pub name: String,
    /// Where its rows lie.
    pub location: SourceLocation,
    /// The source's column of event times.
    pub timestamp_field: String,
    /// The source's column of creation times.
    pub created_field: Option<String>,
    /// Columns of the source and the features they hold, sorted by column; columns that are not
    /// listed have the feature's name.
    pub field_mapping: Vec<(String, String)>,
}

/// A view that has rows.
#[derive(Clone, Debug)]
pub struct StoredView {
    /// The name.
    pub name: String,
    /// The kind.
    pub kind: ViewKind,
    /// The join keys, sorted by name; empty for a view without entities.
    pub join_keys: Vec<JoinKey>,
    /// The features as declared. Stream views may list their join key here too.
    pub schema: RowSchema,
    /// How long a row may be served after its event time; `None`: forever.
    pub ttl: Option<Duration>,
    /// Whether it is served online.
    pub online: bool,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Where its batches come from.
    pub batch_source: Option<BatchSource>,
    /// The push source that feeds it.
    pub push_source: Option<String>,
    /// The column of event times in pushed and written rows.
    pub timestamp_field: String,
    /// The column of creation times in pushed and written rows.
    pub created_field: Option<String>,
    /// The version number; 0 is the first.
    pub version: u32,
    /// Why this node cannot hold rows of the view, if it cannot.
    pub servable: Result<(), String>,
    /// Whether Feast computes the view's batches with a function or aggregations, which this node
    /// does not run; pushed rows are already computed.
    pub batch_transformed: bool,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// How the rows of a [`ViewKind::OnDemand`] view are computed.
    pub on_demand: Option<Box<OnDemandView>>,
    pub(crate) lookup: FeatureLookup,
}

/// Features by name: where they stand in the schema, or the number of the type that is not known.
#[derive(Clone, Debug, Default)]
pub(crate) struct FeatureLookup {
    pub(crate) positions: NameMap<u32>,
    pub(crate) unsupported: NameMap<i32>,
}

/// An on-demand feature view: features computed by a function.
#[derive(Clone, Debug)]
pub struct OnDemandView {
    /// The name.
    pub name: String,
    /// What it computes.
    pub schema: RowSchema,
    /// The features it computes from.
    pub sources: Vec<Projection>,
    /// The request columns it computes from.
    pub request_sources: Vec<RequestSource>,
    /// `python`, `pandas` or `substrait`.
    pub mode: String,
    /// Whether the function takes one row at a time.
    pub singleton: bool,
    /// Whether it is switched on.
    pub enabled: bool,
    /// The version number; 0 is the first.
    pub version: u32,
    /// The function, where it has source text.
    pub transformation: Option<Transformation>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    pub(crate) lookup: FeatureLookup,
}

/// The user-defined function of an on-demand feature view. Its pickle is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transformation {
    /// The function's name.
    pub name: String,
    /// Its source text, decorator included.
    pub source_text: String,
}

/// Columns that a request must carry for an on-demand feature view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSource {
    /// The name.
    pub name: String,
    /// The columns.
    pub schema: RowSchema,
}

/// Some features of a view, perhaps under another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    /// The view.
    pub view: String,
    /// The name used instead of the view's.
    pub alias: Option<String>,
    /// The features, in order; empty: all of the view's.
    pub features: Vec<String>,
    /// The view's join keys and the columns that requests send instead, sorted by join key.
    pub join_key_map: Vec<(String, String)>,
    /// The version pinned.
    pub version: Option<u32>,
}

/// A feature service: a named selection of features.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureService {
    /// The name.
    pub name: String,
    /// What it serves, in order.
    pub projections: Vec<Projection>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Share of its look-ups whose answers are logged, from 0 to 1; `None`: it asks for no logs.
    pub log_sample_rate: Option<f32>,
}

/// A source that rows can be pushed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushSource {
    /// The name.
    pub name: String,
    /// The views it feeds, in the order of [`crate::Registry::views`]; never empty.
    pub views: Vec<ViewIndex>,
}

// === impl StoredView ===

impl StoredView {
    /// The position of a feature in [`StoredView::schema`], found in constant time.
    #[must_use]
    pub fn position(&self, feature: &str) -> Option<usize> {
        let position = self.lookup.positions.get(feature)?;
        usize::try_from(*position).ok()
    }
}

// === impl Projection ===

impl Projection {
    /// The name of the view as answers give it: the alias or the view's own.
    #[must_use]
    pub fn name(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.view)
    }

    /// The request column that carries `join_key`.
    #[must_use]
    pub fn column<'a>(&'a self, join_key: &'a str) -> &'a str {
        self.join_key_map
            .iter()
            .find(|(original, _)| original == join_key)
            .map_or(join_key, |(_, column)| column.as_str())
    }
}

// === impl ViewIndex ===

impl ViewIndex {
    /// As an index of [`crate::Registry::views`].
    #[must_use]
    pub fn as_usize(self) -> usize {
        self.0 as usize
    }
}

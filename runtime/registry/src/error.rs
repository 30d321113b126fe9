//! Why a registry was refused, or a request could not be planned.

use galley_types::{Classify, ErrorKind, Limits, ReferenceError};

/// The result of this room.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong. Where Feast has a text for it, that text is kept, because clients know it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a registry.
    #[error(
        "the registry is not a Feast registry file: {reason}. Run 'feast apply' to write it anew"
    )]
    Malformed {
        /// What the decoder stumbled over.
        reason: String,
    },
    /// The registry passes [`crate::Registry::BYTES_MAX`].
    #[error("the registry has {bytes} bytes, more than the {bytes_max} that are read")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The registry does not hold the project.
    #[error("{}", project_not_found(project.as_deref(), have))]
    ProjectNotFound {
        /// The project asked for; `None`: any.
        project: Option<String>,
        /// The projects that are there.
        have: Vec<String>,
    },
    /// The registry holds several projects and none was named.
    #[error(
        "the registry holds the projects {}: set 'project' in feature_store.yaml to one of them",
        have.join(", ")
    )]
    ProjectAmbiguous {
        /// The projects that are there.
        have: Vec<String>,
    },
    /// No view has the name.
    #[error("Feature view {view} does not exist in project {project}")]
    ViewNotFound {
        /// The view asked for.
        view: String,
        /// The project.
        project: String,
    },
    /// No feature service has the name.
    #[error("Feature service {service} does not exist in project {project}")]
    ServiceNotFound {
        /// The service asked for.
        service: String,
        /// The project.
        project: String,
    },
    /// The view does not have the feature.
    #[error("Feature {feature} not found in projection {view}")]
    FeatureNotFound {
        /// The view, or its alias.
        view: String,
        /// The feature asked for.
        feature: String,
    },
    /// The feature is of a type this version does not know.
    #[error(
        "Feature {feature} of view {view} has value type number {number}, which this version of \
         Galley does not know: leave it out of the request, or run a newer version"
    )]
    TypeNotSupported {
        /// The view.
        view: String,
        /// The feature.
        feature: String,
        /// Feast's number of the type.
        number: i32,
    },
    /// Several columns of the answer would have the same name.
    #[error("{}", name_collision(names, *full_names))]
    NameCollision {
        /// The names that occur more than once, in order of first occurrence.
        names: Vec<String>,
        /// Whether the names were full ones.
        full_names: bool,
    },
    /// A feature reference has no colon.
    #[error(transparent)]
    BadReference(#[from] ReferenceError),
    /// A version was asked for and versions are off.
    #[error(
        "Version-qualified ref '{view}@v{version}' not supported: online versioning is disabled. \
         Set 'enable_online_feature_view_versioning: true' under 'registry' in feature_store.yaml."
    )]
    VersioningDisabled {
        /// The view.
        view: String,
        /// The version asked for.
        version: u32,
    },
    /// A version other than the current one was asked for.
    #[error(
        "Version {version} of feature view {view} is not served: this node holds rows of the \
         current version only, which is {current}. Ask for '{view}@v{current}' or '{view}@latest'"
    )]
    VersionNotServed {
        /// The view.
        view: String,
        /// The version asked for.
        version: u32,
        /// The version that is served.
        current: u32,
    },
    /// The view is switched off.
    #[error(
        "Feature view '{view}' is disabled and cannot serve features. Enable it with \
         `feast feature-views enable {view}` or set enabled=True."
    )]
    ViewDisabled {
        /// The view.
        view: String,
    },
    /// The view is not for online serving.
    #[error(
        "Feature view '{view}' is not configured to be served online: set online=True in its \
         definition and run 'feast apply'"
    )]
    NotOnline {
        /// The view.
        view: String,
    },
    /// This node cannot hold rows of the view.
    #[error("Feature view '{view}' cannot be served by this node: {reason}")]
    NotServable {
        /// The view.
        view: String,
        /// Why not.
        reason: String,
    },
    /// Neither features nor a feature service were asked for.
    #[error("No features specified for retrieval")]
    NoFeatures,
    /// No view is fed by a push source of that name.
    #[error("Unable to find push source '{source_name}'.")]
    PushSourceNotFound {
        /// The source asked for.
        source_name: String,
    },
    /// Nothing that can be written has the name.
    #[error("Can't recognize feast object with a name {name}")]
    ObjectNotFound {
        /// The name asked for.
        name: String,
    },
    /// The on-demand feature view is computed when it is read and has no rows to write.
    #[error(
        "On demand feature view {view} is computed when it is read and stores no rows: write to \
         the views it computes from, or set write_to_online_store=True in its definition"
    )]
    NotWritable {
        /// The view.
        view: String,
    },
    /// On-demand feature views are written to, not materialized.
    #[error(
        "On demand feature view {view} is not materialized on this node: write rows to it \
         (POST /write-to-online-store), and its transform runs over them"
    )]
    MaterializeWritten {
        /// The view.
        view: String,
    },
    /// The view's batches pass through a function that is not run here.
    #[error(
        "Feature view {view} is computed from its batch source by a transformation that is not \
         run on this node: materialize it with Feast, and push the rows here"
    )]
    BatchTransformMissing {
        /// The view.
        view: String,
    },
    /// Label views are written by pushes only.
    #[error(
        "LabelView {view} cannot be materialized via materialize(). Use FeatureStore.push() to \
         write labels."
    )]
    LabelNotMaterializable {
        /// The view.
        view: String,
    },
    /// The view is switched off, so it is not materialized.
    #[error("FeatureView {view} is disabled. Enable it before materializing.")]
    MaterializeDisabled {
        /// The view.
        view: String,
    },
    /// The view is not for online serving, so it is not materialized.
    #[error("FeatureView {view} is not configured to be served online.")]
    MaterializeOffline {
        /// The view.
        view: String,
    },
    /// The on-demand feature view stores nothing, so it is not materialized.
    #[error("OnDemandFeatureView {view} is not configured for write_to_online_store.")]
    MaterializeReadTime {
        /// The view.
        view: String,
    },
    /// The view has no batch source to materialize from.
    #[error(
        "Feature view {view} has no batch source to materialize from: push its rows, or give it \
         a batch source and run 'feast apply'"
    )]
    NoBatchSource {
        /// The view.
        view: String,
    },
}

// === impl Error ===

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed { .. } => ErrorKind::Corrupt,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::ProjectNotFound { .. }
            | Self::ViewNotFound { .. }
            | Self::ServiceNotFound { .. }
            | Self::FeatureNotFound { .. }
            | Self::PushSourceNotFound { .. }
            | Self::ObjectNotFound { .. } => ErrorKind::NotFound,
            Self::TypeNotSupported { .. }
            | Self::NotServable { .. }
            | Self::MaterializeWritten { .. }
            | Self::BatchTransformMissing { .. } => ErrorKind::Unsupported,
            Self::ProjectAmbiguous { .. }
            | Self::NameCollision { .. }
            | Self::BadReference(_)
            | Self::VersioningDisabled { .. }
            | Self::VersionNotServed { .. }
            | Self::ViewDisabled { .. }
            | Self::NotOnline { .. }
            | Self::NoFeatures
            | Self::NotWritable { .. }
            | Self::LabelNotMaterializable { .. }
            | Self::MaterializeDisabled { .. }
            | Self::MaterializeOffline { .. }
            | Self::MaterializeReadTime { .. }
            | Self::NoBatchSource { .. } => ErrorKind::Invalid,
        }
    }

    fn feast_class(&self) -> Option<&'static str> {
        match self {
            Self::ViewNotFound { .. } => Some("FeatureViewNotFoundException"),
            Self::ServiceNotFound { .. } => Some("FeatureServiceNotFoundException"),
            Self::FeatureNotFound { .. } => Some("SpecifiedFeaturesNotPresentError"),
            Self::NameCollision { .. } => Some("FeatureNameCollisionError"),
            Self::PushSourceNotFound { .. } => Some("PushSourceNotFoundException"),
            Self::ObjectNotFound { .. } => Some("FeastObjectNotFoundException"),
            Self::VersionNotServed { .. } => Some("VersionedOnlineReadNotSupported"),
            _ => None,
        }
    }
}

fn project_not_found(project: Option<&str>, have: &[String]) -> String {
    let wanted = match project {
        Some(project) => format!("the registry does not hold the project '{project}'"),
        None => "the registry does not hold a project".to_owned(),
    };
    if have.is_empty() {
        format!("{wanted}: it is empty. Run 'feast apply' to fill it")
    } else {
        format!("{wanted}: it holds {}", have.join(", "))
    }
}

/// Feast's two texts of `FeatureNameCollisionError`.
fn name_collision(names: &[String], full_names: bool) -> String {
    let way_out = if full_names {
        "please ensure that the feature views or their own features have different names. If \
         you're intentionally joining the same feature view twice on different sets of entities, \
         please rename one of the feature views with '.with_name'."
    } else {
        "either use the full feature name by setting 'full_feature_names=True', or ensure that \
         the features in question have different names."
    };
    let names = names.join(", ");
    format!("Duplicate features named {names} found.\nTo resolve this collision, {way_out}")
}

/// A name for a message: cut where it passes [`Limits::NAME_BYTES_MAX`], so that neither a request
/// nor a damaged file can fill the log.
pub(crate) fn shown(name: &str) -> String {
    let mut end = name.len().min(Limits::NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let head = name.get(..end).unwrap_or_default();
    if end < name.len() {
        format!("{head}...")
    } else {
        head.to_owned()
    }
}

//! Views: what they hold, by which keys, and whether this node can hold it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use galley_types::{Field, KeyType, Limits, RowSchema, ValueType};

use super::source::{PUSH, Sources};
use super::{Builder, DUMMY_ENTITY, DUMMY_KEY, Warnings};
use crate::error::shown;
use crate::model::{FeatureLookup, JoinKey, OnDemandView, StoredView, ViewIndex, ViewKind};
use crate::proto;
use crate::registry::Named;

/// What every kind of view with rows has in common.
pub(super) struct RawView {
    pub(super) kind: ViewKind,
    pub(super) name: String,
    pub(super) entities: Vec<String>,
    pub(super) features: Vec<proto::Feature>,
    pub(super) entity_columns: Vec<proto::Feature>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) ttl: Option<proto::Duration>,
    pub(super) online: bool,
    pub(super) enabled: bool,
    pub(super) batch_source: Option<proto::DataSource>,
    pub(super) stream_source: Option<proto::DataSource>,
    pub(super) timestamp_field: String,
    pub(super) version: i32,
    pub(super) batch_transformed: bool,
    pub(super) on_demand: Option<Box<OnDemandView>>,
}

/// The join keys of a view, and why rows cannot be held by them, if so.
struct Keys {
    keys: Vec<JoinKey>,
    problem: Option<String>,
}

// === impl Builder ===

impl Builder {
    pub(super) fn add_feature_view(&mut self, view: proto::FeatureView, project: &str) {
        let Some(spec) = view.spec.filter(|spec| spec.project == project) else {
            return;
        };
        self.add_view(RawView {
            kind: ViewKind::Batch,
            name: spec.name,
            entities: spec.entities,
            features: spec.features,
            entity_columns: spec.entity_columns,
            tags: spec.tags,
            ttl: spec.ttl,
            online: spec.online,
            enabled: !spec.disabled,
            batch_source: spec.batch_source,
            stream_source: spec.stream_source,
            timestamp_field: String::new(),
            version: view.meta.map_or(0, |meta| meta.current_version_number),
            batch_transformed: spec.feature_transformation.is_some(),
            on_demand: None,
        });
    }

    pub(super) fn add_stream_view(&mut self, view: proto::StreamFeatureView, project: &str) {
        let Some(spec) = view.spec.filter(|spec| spec.project == project) else {
            return;
        };
        self.add_view(RawView {
            kind: ViewKind::Stream,
            name: spec.name,
            entities: spec.entities,
            features: spec.features,
            entity_columns: spec.entity_columns,
            tags: spec.tags,
            ttl: spec.ttl,
            online: spec.online,
            enabled: !spec.disabled,
            batch_source: spec.batch_source,
            stream_source: spec.stream_source,
            timestamp_field: spec.timestamp_field,
            version: view.meta.map_or(0, |meta| meta.current_version_number),
            batch_transformed: spec.feature_transformation.is_some()
                || spec.user_defined_function.is_some()
                || !spec.aggregations.is_empty(),
            on_demand: None,
        });
    }

    pub(super) fn add_label_view(&mut self, view: proto::LabelView, project: &str) {
        let Some(spec) = view.spec.filter(|spec| spec.project == project) else {
            return;
        };
        let is_push = spec
            .source
            .as_ref()
            .is_some_and(|source| source.kind == PUSH);
        let (batch_source, stream_source) = if is_push {
            (None, spec.source)
        } else {
            (spec.source, None)
        };
        self.add_view(RawView {
            kind: ViewKind::Label,
            name: spec.name,
            entities: spec.entities,
            features: spec.features,
            entity_columns: spec.entity_columns,
            tags: spec.tags,
            ttl: spec.ttl,
            online: spec.online,
            enabled: true,
            batch_source,
            stream_source,
            timestamp_field: String::new(),
            version: 0,
            batch_transformed: false,
            on_demand: None,
        });
    }

    /// Takes `name` for `named`; a name that is taken, or empty, is left out with a warning.
    pub(super) fn take_name(&mut self, name: &str, named: Named, place: &str) -> bool {
        if name.is_empty() {
            self.warnings.push(format!("{place} has no name: left out"));
            return false;
        }
        if self.names.contains_key(name) {
            self.warnings.push(format!(
                "{place} has the name of a view met before: left out"
            ));
            return false;
        }
        self.names.insert(name.to_owned(), named);
        true
    }

    pub(super) fn add_view(&mut self, raw: RawView) {
        let place = format!("{} '{}'", raw.kind.noun(), shown(&raw.name));
        let Ok(index) = u32::try_from(self.views.len()) else {
            return;
        };
        if !self.take_name(&raw.name, Named::Stored(ViewIndex(index)), &place) {
            return;
        }
        let declared = raw.features.len();
        let (schema, lookup) = schema(raw.features, &place, &mut self.warnings);
        let Keys { keys, problem } = self.keys_of(&raw.entities, &raw.entity_columns, &place);
        let problem = problem.or_else(|| over_limit(&raw.name, declared, &schema, &keys));
        if let Some(problem) = &problem {
            self.warnings
                .push(format!("{place} cannot be served: {problem}"));
        }
        let mut sources = Sources::new(
            raw.batch_source,
            raw.stream_source.as_ref(),
            &place,
            &mut self.warnings,
        );
        if !raw.timestamp_field.is_empty() {
            sources.timestamp_field = raw.timestamp_field;
        }
        if raw.batch_transformed && sources.batch.is_some() {
            self.warnings.push(format!(
                "{place}: the transformation of its batches is not run by this node, so it cannot \
                 be materialized here; pushed rows are taken as they are"
            ));
        }
        let on_demand = raw.on_demand.map(|mut definition| {
            definition.schema.clone_from(&schema);
            definition.lookup.clone_from(&lookup);
            definition
        });
        self.views.push(StoredView {
            ttl: time_to_live(raw.ttl, &place, &mut self.warnings),
            name: raw.name,
            kind: raw.kind,
            join_keys: keys,
            schema,
            online: raw.online,
            enabled: raw.enabled,
            batch_source: sources.batch,
            push_source: sources.push,
            timestamp_field: sources.timestamp_field,
            created_field: sources.created_field,
            version: u32::try_from(raw.version).unwrap_or(0),
            servable: problem.map_or(Ok(()), Err),
            batch_transformed: raw.batch_transformed,
            tags: raw.tags,
            on_demand,
            lookup,
        });
    }

    /// The join keys of the named entities, sorted by name.
    fn keys_of(&mut self, entities: &[String], columns: &[proto::Feature], place: &str) -> Keys {
        let mut keys: Vec<JoinKey> = Vec::new();
        let mut problem = None;
        for name in entities {
            let Some(entity) = self.entities.get(name) else {
                if name != DUMMY_ENTITY {
                    let name = shown(name);
                    problem.get_or_insert(format!("its entity '{name}' is not in the registry"));
                }
                continue;
            };
            let join_key = entity.join_key.clone();
            if name == DUMMY_ENTITY || join_key == DUMMY_KEY {
                continue;
            }
            let column = columns.iter().find(|column| column.name == join_key);
            let number = match column {
                Some(column) if column.value_type != 0 => column.value_type,
                _ => entity.value_type,
            };
            if number == 0 {
                self.warnings.push(format!(
                    "{place}: its join key '{}' has no type: taken as STRING",
                    shown(&join_key)
                ));
            }
            match key_type(number) {
                Ok(key_type) => keys.push(JoinKey {
                    name: join_key,
                    entity: name.clone(),
                    key_type,
                }),
                Err(why) => {
                    problem.get_or_insert(format!("its join key '{}' {why}", shown(&join_key)));
                }
            }
        }
        keys.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some([one, _]) = keys
            .array_windows()
            .find(|[one, other]| one.name == other.name)
        {
            let name = shown(&one.name);
            problem.get_or_insert(format!("two of its entities have the join key '{name}'"));
        }
        Keys { keys, problem }
    }
}

// === impl ViewKind ===

impl ViewKind {
    /// The kind in words.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Batch => "feature view",
            Self::Stream => "stream feature view",
            Self::Label => "label view",
            Self::OnDemand => "on-demand feature view",
        }
    }
}

/// The key type of Feast's type number; 0 is no type and taken as text. Else why it cannot be a key.
pub(super) fn key_type(number: i32) -> Result<KeyType, String> {
    if number == 0 {
        return Ok(KeyType::String);
    }
    let Some(value_type) = ValueType::from_feast(number) else {
        return Err(format!(
            "has a value type that is not known (number {number})"
        ));
    };
    KeyType::from_value_type(value_type).ok_or_else(|| {
        format!(
            "has type {value_type}, which cannot be a key: use STRING, INT32, INT64, BYTES or \
             UNIX_TIMESTAMP"
        )
    })
}

/// The features whose types are known, and how to find them.
pub(super) fn schema(
    features: Vec<proto::Feature>,
    place: &str,
    warnings: &mut Warnings,
) -> (RowSchema, FeatureLookup) {
    let mut fields = Vec::with_capacity(features.len());
    let mut lookup = FeatureLookup::default();
    for feature in features {
        let known = &feature.name;
        if lookup.positions.contains_key(known) || lookup.unsupported.contains_key(known) {
            warnings.push(format!(
                "{place}: feature '{}' is declared twice: the first counts",
                shown(known)
            ));
            continue;
        }
        let number = feature.value_type;
        let (Some(value_type), Ok(position)) =
            (ValueType::from_feast(number), u32::try_from(fields.len()))
        else {
            warnings.push(format!(
                "{place}: feature '{}' has a value type that is not known (number {number}): it \
                 is left out",
                shown(known)
            ));
            lookup.unsupported.insert(feature.name, number);
            continue;
        };
        lookup.positions.insert(feature.name.clone(), position);
        fields.push(Field {
            name: feature.name,
            value_type,
        });
    }
    (RowSchema { fields }, lookup)
}

/// Which of the bounds on views is passed, if one is.
fn over_limit(name: &str, features: usize, schema: &RowSchema, keys: &[JoinKey]) -> Option<String> {
    let long = |name: &str| name.len() > Limits::NAME_BYTES_MAX;
    let max = Limits::NAME_BYTES_MAX;
    if long(name) {
        return Some(format!("its name is longer than {max} bytes"));
    }
    if features > Limits::FEATURES_MAX {
        let max = Limits::FEATURES_MAX;
        return Some(format!("it has {features} features, more than {max}"));
    }
    if keys.len() > Limits::JOIN_KEYS_MAX {
        let (count, max) = (keys.len(), Limits::JOIN_KEYS_MAX);
        return Some(format!("it has {count} join keys, more than {max}"));
    }
    let mut names = schema.fields.iter().map(|field| field.name.as_str());
    if let Some(name) = names.find(|name| long(name)) {
        return Some(format!(
            "the name of its feature '{}' is longer than {max} bytes",
            shown(name)
        ));
    }
    let key = keys.iter().find(|key| long(&key.name))?;
    Some(format!(
        "the name of its join key '{}' is longer than {max} bytes",
        shown(&key.name)
    ))
}

/// `None` is forever, as Feast has it for zero.
fn time_to_live(
    ttl: Option<proto::Duration>,
    place: &str,
    warnings: &mut Warnings,
) -> Option<Duration> {
    let ttl = ttl.filter(|ttl| ttl.seconds != 0 || ttl.nanos != 0)?;
    let parts = (u64::try_from(ttl.seconds), u32::try_from(ttl.nanos));
    if let (Ok(seconds), Ok(nanos @ 0..1_000_000_000)) = parts {
        return Some(Duration::new(seconds, nanos));
    }
    warnings.push(format!(
        "{place}: its ttl of {} s is not a time to live: its rows are served for ever",
        ttl.seconds
    ));
    None
}

/// The names that occur more than once, in order of first occurrence.
pub(crate) fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen: HashSet<&str, foldhash::fast::RandomState> = HashSet::default();
    let mut told: HashSet<&str, foldhash::fast::RandomState> = HashSet::default();
    names
        .filter(|name| !seen.insert(name) && told.insert(name))
        .collect()
}

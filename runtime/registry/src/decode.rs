//! Registry bytes to a [`Registry`].

mod objects;
mod source;
mod views;

pub(crate) use views::repeated;

use std::collections::BTreeSet;

use galley_types::EventTime;
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use crate::error::shown;
use crate::model::{NameMap, OnDemandView, StoredView};
use crate::registry::{Index, Named};
use crate::{Error, Registry, Result, proto};

/// How to read a registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecodeOptions<'a> {
    /// The project to keep; `None`: the only one there.
    pub project: Option<&'a str>,
    /// Whether references may name a version (`enable_online_feature_view_versioning`).
    pub versioning: bool,
}

/// What could not be understood, in the order in which it was met.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    texts: Vec<String>,
    dropped: usize,
}

/// An entity, as views need it.
struct Entity {
    join_key: String,
    value_type: i32,
}

/// A registry while it is being built.
struct Builder {
    warnings: Warnings,
    entities: NameMap<Entity>,
    /// Names of the entities in the order of the file.
    entity_names: Vec<String>,
    views: Vec<StoredView>,
    on_demand_views: Vec<OnDemandView>,
    names: NameMap<Named>,
}

/// The entity that Feast gives to views without entities, and its join key.
const DUMMY_ENTITY: &str = "__dummy";
const DUMMY_KEY: &str = "__dummy_id";

/// Names listed in one message; the rest is counted.
const NAMES_SHOWN_MAX: usize = 20;

// === impl Registry ===

impl Registry {
    /// The size in bytes of the largest registry that is read.
    pub const BYTES_MAX: usize = 64 << 20;

    /// Reads a serialized `feast.core.Registry` and keeps one project of it.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Malformed`], and [`Error::ProjectNotFound`] or
    /// [`Error::ProjectAmbiguous`] with the projects that are there.
    pub fn decode(bytes: &[u8], options: &DecodeOptions<'_>) -> Result<Self> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(Error::TooLarge {
                bytes: bytes.len(),
                bytes_max: Self::BYTES_MAX,
            });
        }
        let malformed = |error: prost::DecodeError| Error::Malformed {
            reason: shown(&error.to_string()),
        };
        let mut file = proto::Registry::decode(bytes).map_err(malformed)?;
        let project = choose_project(&file, options.project)?;
        if projects(&file).len() == 1 {
            adopt(&mut file, &project);
        }
        let mut warnings = Warnings::default();
        for tag in unknown_fields(bytes).map_err(malformed)? {
            warnings.push(format!(
                "the registry's field {tag} is not known: the objects it holds, of a newer \
                 version of Feast, are left out"
            ));
        }
        if !matches!(file.registry_schema_version.as_str(), "" | "1") {
            warnings.push(format!(
                "the registry's schema version '{}' is not known: read as version 1",
                shown(&file.registry_schema_version)
            ));
        }
        Ok(build(file, project, warnings, options.versioning))
    }
}

fn build(file: proto::Registry, project: String, warnings: Warnings, versioning: bool) -> Registry {
    let mut builder = Builder {
        warnings,
        entities: NameMap::default(),
        entity_names: Vec::new(),
        views: Vec::new(),
        on_demand_views: Vec::new(),
        names: NameMap::default(),
    };
    builder.note_unserved(&file, &project);
    builder.add_entities(file.entities, &project);
    builder.note_sources(&file.data_sources, &project);
    for view in file.feature_views {
        builder.add_feature_view(view, &project);
    }
    for view in file.stream_feature_views {
        builder.add_stream_view(view, &project);
    }
    for view in file.label_views {
        builder.add_label_view(view, &project);
    }
    for view in file.on_demand_feature_views {
        builder.add_on_demand_view(view, &project);
    }
    builder.check_on_demand_sources();
    let (services, service_names) = builder.services(file.feature_services, &project);
    let (push_sources, push_names) = objects::push_sources(&builder.views);
    let (keys, key_names) = builder.keys();
    Registry {
        project,
        version_id: file.version_id,
        last_updated: file.last_updated.map(event_time),
        warnings: builder.warnings.finish(),
        views: builder.views,
        on_demand_views: builder.on_demand_views,
        services,
        push_sources,
        keys,
        index: Index {
            names: builder.names,
            services: service_names,
            push_sources: push_names,
            keys: key_names,
        },
        versioning,
    }
}

// === impl Warnings ===

impl Warnings {
    /// Warnings kept; the rest is counted.
    const COUNT_MAX: usize = 1000;

    pub(crate) fn push(&mut self, text: String) {
        if self.texts.len() < Self::COUNT_MAX {
            self.texts.push(text);
        } else {
            self.dropped += 1;
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.dropped > 0 {
            self.texts
                .push(format!("{} more warnings are not listed", self.dropped));
        }
        self.texts
    }
}

/// The project to keep. Projects are those listed and those that objects name.
fn choose_project(file: &proto::Registry, asked: Option<&str>) -> Result<String> {
    let projects = projects(file);
    if let Some(asked) = asked {
        if projects.contains(asked) {
            return Ok(asked.to_owned());
        }
    } else if let (1, Some(only)) = (projects.len(), projects.first()) {
        return Ok((*only).to_owned());
    }
    let mut have: Vec<String> = projects
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(|name| shown(name))
        .collect();
    if projects.len() > have.len() {
        have.push(format!("and {} more", projects.len() - have.len()));
    }
    if asked.is_none() && !have.is_empty() {
        return Err(Error::ProjectAmbiguous { have });
    }
    Err(Error::ProjectNotFound {
        project: asked.map(shown),
        have,
    })
}

/// Gives objects without a project the only one there is: Feast's registry server sends them so.
fn adopt(file: &mut proto::Registry, project: &str) {
    macro_rules! adopt {
        ($($objects:ident),+) => {$(
            for spec in file.$objects.iter_mut().filter_map(|object| object.spec.as_mut()) {
                if spec.project.is_empty() {
                    project.clone_into(&mut spec.project);
                }
            }
        )+};
    }
    adopt!(
        entities,
        feature_views,
        stream_feature_views,
        label_views,
        on_demand_feature_views,
        feature_services
    );
    for source in &mut file.data_sources {
        if source.project.is_empty() {
            project.clone_into(&mut source.project);
        }
    }
}

fn projects(file: &proto::Registry) -> BTreeSet<&str> {
    let listed = file
        .projects
        .iter()
        .filter_map(|project| project.spec.as_ref());
    let mut names: BTreeSet<&str> = listed.map(|spec| spec.name.as_str()).collect();
    names.extend(
        file.project_metadata
            .iter()
            .map(|project| project.project.as_str()),
    );
    let specs = file
        .entities
        .iter()
        .filter_map(|entity| entity.spec.as_ref());
    names.extend(specs.map(|spec| spec.project.as_str()));
    let specs = file
        .feature_views
        .iter()
        .filter_map(|view| view.spec.as_ref());
    names.extend(specs.map(|spec| spec.project.as_str()));
    let specs = file
        .stream_feature_views
        .iter()
        .filter_map(|view| view.spec.as_ref());
    names.extend(specs.map(|spec| spec.project.as_str()));
    let specs = file
        .label_views
        .iter()
        .filter_map(|view| view.spec.as_ref());
    names.extend(specs.map(|spec| spec.project.as_str()));
    let specs = file
        .on_demand_feature_views
        .iter()
        .filter_map(|view| view.spec.as_ref());
    names.extend(specs.map(|spec| spec.project.as_str()));
    let specs = file
        .feature_services
        .iter()
        .filter_map(|service| service.spec.as_ref());
    names.extend(specs.map(|spec| spec.project.as_str()));
    names.remove("");
    names
}

/// The numbers of the file's top-level fields that Feast 0.67 does not define, in order.
fn unknown_fields(mut bytes: &[u8]) -> std::result::Result<BTreeSet<u32>, prost::DecodeError> {
    let mut unknown = BTreeSet::new();
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes)?;
        if !proto::Registry::FIELDS_KNOWN.contains(&tag) && unknown.len() < NAMES_SHOWN_MAX {
            unknown.insert(tag);
        }
        skip_field(wire_type, tag, &mut bytes, DecodeContext::default())?;
    }
    Ok(unknown)
}

fn event_time(time: proto::Timestamp) -> EventTime {
    let micros = EventTime::from_seconds(time.seconds).0;
    EventTime(micros.saturating_add(i64::from(time.nanos / 1000)))
}

/// `names` for a message: quoted, and cut where there are many.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut count = 0_usize;
    let mut list = String::new();
    for name in names {
        if count < NAMES_SHOWN_MAX {
            let comma = if count == 0 { "" } else { ", " };
            list.push_str(&format!("{comma}'{}'", shown(name)));
        }
        count += 1;
    }
    if count > NAMES_SHOWN_MAX {
        list.push_str(&format!(" and {} more", count - NAMES_SHOWN_MAX));
    }
    list
}

#[cfg(test)]
mod tests;

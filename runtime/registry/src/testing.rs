//! Registries for tests: a real one, and small ones made by hand.

use crate::{DecodeOptions, Registry, proto};

/// A registry that Feast 0.67 wrote: project `rides`.
pub(crate) const RIDES: &[u8] = include_bytes!("../tests/data/rides.registry.pb");

pub(crate) fn rides() -> Registry {
    let options = DecodeOptions {
        project: Some("rides"),
        versioning: false,
    };
    Registry::decode(RIDES, &options).unwrap()
}

pub(crate) fn decode(file: &proto::Registry) -> Registry {
    let options = DecodeOptions {
        project: Some("p"),
        versioning: true,
    };
    Registry::decode(&file.to_bytes(), &options).unwrap()
}

pub(crate) fn feature(name: &str, value_type: i32) -> proto::Feature {
    proto::Feature {
        name: name.into(),
        value_type,
    }
}

pub(crate) fn entity(name: &str, join_key: &str, value_type: i32) -> proto::Entity {
    proto::Entity {
        spec: Some(proto::EntitySpec {
            name: name.into(),
            value_type,
            join_key: join_key.into(),
            project: "p".into(),
        }),
    }
}

/// An online feature view of project `p` with one INT64 feature `f`.
pub(crate) fn view(name: &str, entities: &[&str]) -> proto::FeatureView {
    proto::FeatureView {
        spec: Some(proto::FeatureViewSpec {
            name: name.into(),
            project: "p".into(),
            entities: entities.iter().map(|&entity| entity.to_owned()).collect(),
            features: vec![feature("f", 4)],
            online: true,
            ..Default::default()
        }),
        meta: None,
    }
}

pub(crate) fn projection(view: &str, features: &[&str]) -> proto::FeatureViewProjection {
    proto::FeatureViewProjection {
        feature_view_name: view.into(),
        feature_columns: features.iter().map(|name| feature(name, 4)).collect(),
        ..Default::default()
    }
}

pub(crate) fn service(
    name: &str,
    features: Vec<proto::FeatureViewProjection>,
) -> proto::FeatureService {
    proto::FeatureService {
        spec: Some(proto::FeatureServiceSpec {
            name: name.into(),
            project: "p".into(),
            features,
            ..Default::default()
        }),
    }
}

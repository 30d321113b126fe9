use std::time::Duration;

use galley_types::{Classify, ErrorKind, KeyType, Limits, ScalarType, ValueType};
use proptest::prelude::*;

use crate::testing::{RIDES, decode, entity, feature, projection, rides, service, view};
use crate::{
    DecodeOptions, Error, FileFormat, ProjectKey, Registry, SourceLocation, StoredView, ViewIndex,
    ViewKind, proto,
};

fn stored<'a>(registry: &'a Registry, name: &str) -> &'a StoredView {
    registry.view(registry.find_view(name).unwrap()).unwrap()
}

fn key_names(view: &StoredView) -> Vec<&str> {
    view.join_keys.iter().map(|key| key.name.as_str()).collect()
}

fn feature_names(view: &StoredView) -> Vec<&str> {
    view.schema
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect()
}

/// A registry of project `p` that holds one view.
fn one(view: proto::FeatureView, entities: Vec<proto::Entity>) -> Registry {
    decode(&proto::Registry {
        entities,
        feature_views: vec![view],
        ..Default::default()
    })
}

fn warned(registry: &Registry, text: &str) -> bool {
    registry
        .warnings()
        .iter()
        .any(|warning| warning.contains(text))
}

#[test]
fn a_real_registry_is_understood_without_warnings() {
    let registry = rides();
    assert_eq!(registry.project(), "rides");
    assert_eq!(
        registry.version_id(),
        "1e9e3b22-dab1-478d-aa63-856cc3cf26bb"
    );
    assert_eq!(registry.last_updated().unwrap().0, 1_795_191_880_852_521);
    assert_eq!(registry.warnings(), [""; 0]);
    let views: Vec<_> = registry
        .views()
        .iter()
        .map(|view| (view.name.as_str(), view.kind))
        .collect();
    assert_eq!(
        views,
        [
            ("device_complex", ViewKind::Batch),
            ("zone_disabled", ViewKind::Batch),
            ("zone_offline_only", ViewKind::Batch),
            ("city_totals", ViewKind::Batch),
            ("customer_profile", ViewKind::Batch),
            ("device_types", ViewKind::Batch),
            ("driver_hourly_stats", ViewKind::Batch),
            ("driver_hourly_stats_fresh", ViewKind::Batch),
            ("driver_trips_fresh", ViewKind::Batch),
            ("location_weather", ViewKind::Batch),
            ("trip_pair_stats", ViewKind::Batch),
            ("zone_events", ViewKind::Batch),
            ("driver_stream", ViewKind::Stream),
            ("driver_labels", ViewKind::Label),
            ("driver_written", ViewKind::OnDemand),
        ]
    );
    assert!(registry.views().iter().all(|view| view.servable.is_ok()));
    let on_demand: Vec<_> = registry
        .on_demand_views()
        .iter()
        .map(|view| view.name.as_str())
        .collect();
    assert_eq!(
        on_demand,
        [
            "acc_singleton",
            "failing_quote",
            "fare_quote",
            "match_features",
            "transformed_conv_rate",
            "transformed_conv_rate_py",
        ]
    );
    assert_eq!(registry.services().len(), 7);
}

#[test]
fn a_view_has_its_keys_features_and_sources() {
    let registry = rides();
    let view = stored(&registry, "driver_hourly_stats_fresh");
    assert_eq!(key_names(view), ["driver_id"]);
    assert_eq!(view.join_keys[0].entity, "driver");
    assert_eq!(view.join_keys[0].key_type, KeyType::Int64);
    assert_eq!(
        feature_names(view),
        ["conv_rate", "acc_rate", "avg_daily_trips"]
    );
    assert_eq!(
        view.schema.fields[0].value_type,
        ValueType::Scalar(ScalarType::Float)
    );
    assert_eq!(view.position("avg_daily_trips"), Some(2));
    assert_eq!(view.ttl, Some(Duration::from_secs(86_400)));
    assert_eq!(
        view.push_source.as_deref(),
        Some("driver_stats_push_source")
    );
    assert_eq!(view.timestamp_field, "event_timestamp");
    assert_eq!(view.created_field.as_deref(), Some("created"));
    assert_eq!(view.tags["team"], "driver_performance");
    let source = view.batch_source.as_ref().unwrap();
    assert_eq!(source.name, "driver_hourly_stats_source");
    assert_eq!(
        source.location,
        SourceLocation::File {
            uri: "data/driver_stats.parquet".into(),
            format: FileFormat::Parquet,
            s3_endpoint: None,
        }
    );

    let weather = stored(&registry, "location_weather");
    let source = weather.batch_source.as_ref().unwrap();
    assert_eq!(
        source.field_mapping,
        [("t_c".to_owned(), "temperature".to_owned())]
    );
    assert_eq!(
        (
            weather.timestamp_field.as_str(),
            source.timestamp_field.as_str()
        ),
        ("ts", "ts")
    );
    assert_eq!(weather.join_keys[0].key_type, KeyType::Int32);

    let labels = stored(&registry, "driver_labels");
    assert_eq!(labels.push_source.as_deref(), Some("driver_labels_push"));
    assert_eq!(
        labels.batch_source.as_ref().unwrap().name,
        "driver_labels_batch"
    );

    assert_eq!(stored(&registry, "city_totals").join_keys, []);
    assert_eq!(
        key_names(stored(&registry, "trip_pair_stats")),
        ["customer_id", "driver_id"]
    );
    assert_eq!(
        feature_names(stored(&registry, "driver_stream")),
        ["conv_rate", "driver_id"]
    );
    assert!(!stored(&registry, "zone_disabled").enabled);
    assert!(!stored(&registry, "zone_offline_only").online);
    assert_eq!(stored(&registry, "device_complex").schema.fields.len(), 15);
}

#[test]
fn on_demand_views_keep_their_source_text_and_never_a_pickle() {
    let registry = rides();
    let view = registry
        .find_on_demand_view("transformed_conv_rate_py")
        .unwrap();
    assert_eq!((view.mode.as_str(), view.singleton), ("python", false));
    assert_eq!(view.sources[0].view, "driver_hourly_stats");
    assert_eq!(
        view.sources[0].features,
        ["conv_rate", "acc_rate", "avg_daily_trips"]
    );
    assert_eq!(view.request_sources[0].name, "vals_to_add");
    assert_eq!(view.request_sources[0].schema.fields[0].name, "val_to_add");
    let function = view.transformation.as_ref().unwrap();
    assert_eq!(function.name, "transformed_conv_rate_py");
    assert!(function.source_text.contains("trips_bucket_py"));
    assert!(
        registry
            .find_on_demand_view("acc_singleton")
            .unwrap()
            .singleton
    );

    let written = stored(&registry, "driver_written");
    assert_eq!(key_names(written), ["driver_id"]);
    assert_eq!(
        (written.ttl, written.timestamp_field.as_str()),
        (None, "event_timestamp")
    );
    let definition = written.on_demand.as_ref().unwrap();
    assert_eq!(definition.schema, written.schema);
    assert_eq!(definition.sources[0].view, "driver_hourly_stats_fresh");
    assert!(registry.find_on_demand_view("driver_written").is_none());
}

#[test]
fn sources_of_every_kind_are_told_apart() {
    let bytes = include_bytes!("../../tests/data/kinds.registry.pb");
    let registry = Registry::decode(bytes, &DecodeOptions::default()).unwrap();
    let location = |name| {
        stored(&registry, name)
            .batch_source
            .clone()
            .unwrap()
            .location
    };
    let delta = SourceLocation::File {
        uri: "data/x".into(),
        format: FileFormat::Delta,
        s3_endpoint: None,
    };
    assert_eq!(location("delta_v"), delta);
    assert_eq!(location("bq_v"), SourceLocation::Other("BigQuery"));
    // The batches behind a stream source.
    assert_eq!(location("kafka_v"), delta);
    assert_eq!(stored(&registry, "kafka_v").push_source, None);
    assert!(warned(
        &registry,
        "feature view 'kafka_v': its stream source 'kk' (Kafka) is not"
    ));
    assert_eq!(
        stored(&registry, "pushed_v").push_source.as_deref(),
        Some("ps_nobatch")
    );
    let view = stored(&registry, "delta_v");
    assert_eq!((view.version, view.timestamp_field.as_str()), (1, "ts"));
    // PdfBytes, a type that only Feast's Python classes number.
    assert_eq!(
        view.schema.fields[1].value_type,
        ValueType::Scalar(ScalarType::Bytes)
    );
    assert_eq!(registry.services()[0].projections[0].version, Some(1));
    assert!(stored(&registry, "flag_v").servable.is_err());
}

#[test]
fn columns_are_found_by_join_key_and_by_entity() {
    let registry = rides();
    let driver = ProjectKey {
        name: "driver_id".into(),
        key_type: KeyType::Int64,
    };
    assert_eq!(registry.join_key("driver_id"), Some(&driver));
    assert_eq!(registry.join_key("driver"), Some(&driver));
    assert_eq!(registry.join_key("__dummy_id"), None);
    assert_eq!(registry.join_key("origin_id"), None);
}

#[test]
fn projects_in_one_file_are_kept_apart() {
    let mut other = view("v", &[]);
    let spec = other.spec.as_mut().unwrap();
    spec.project = "q".into();
    spec.features = vec![feature("g", 2)];
    let file = proto::Registry {
        feature_views: vec![other, view("v", &[])],
        ..Default::default()
    };
    let registry = decode(&file);
    assert_eq!(registry.views().len(), 1);
    assert_eq!(feature_names(&registry.views()[0]), ["f"]);

    let bytes = file.to_bytes();
    let open = |project| {
        Registry::decode(
            &bytes,
            &DecodeOptions {
                project,
                versioning: false,
            },
        )
    };
    assert_eq!(feature_names(&open(Some("q")).unwrap().views()[0]), ["g"]);
    let have = vec!["p".to_owned(), "q".to_owned()];
    assert_eq!(
        open(None).unwrap_err(),
        Error::ProjectAmbiguous { have: have.clone() }
    );
    let missing = open(Some("r")).unwrap_err();
    let project = Some("r".to_owned());
    assert_eq!(missing, Error::ProjectNotFound { project, have });
    assert_eq!(
        missing.to_string(),
        "the registry does not hold the project 'r': it holds p, q"
    );
}

#[test]
fn the_only_project_needs_no_name() {
    let registry = Registry::decode(RIDES, &DecodeOptions::default()).unwrap();
    assert_eq!(registry.project(), "rides");
    let empty = Registry::decode(&[], &DecodeOptions::default()).unwrap_err();
    assert!(matches!(&empty, Error::ProjectNotFound { have, .. } if have.is_empty()));
    assert_eq!(empty.kind(), ErrorKind::NotFound);
}

#[test]
fn features_of_unknown_types_are_left_out_by_name() {
    let mut future = view("v", &[]);
    let features = &mut future.spec.as_mut().unwrap().features;
    features.insert(0, feature("future", 99));
    features.push(feature("f", 2));
    let registry = one(future, vec![]);
    assert_eq!(feature_names(&registry.views()[0]), ["f"]);
    assert_eq!(
        registry.views()[0].schema.fields[0].value_type,
        ValueType::Scalar(ScalarType::Int64)
    );
    assert!(warned(
        &registry,
        "feature view 'v': feature 'future' has a value type"
    ));
    assert!(warned(&registry, "number 99"));
    assert!(warned(&registry, "feature 'f' is declared twice"));
    assert!(registry.views()[0].servable.is_ok());
}

#[test]
fn views_that_cannot_be_served_do_not_spoil_the_others() {
    let check = |entities: Vec<proto::Entity>, reason: &str| {
        let registry = decode(&proto::Registry {
            entities,
            feature_views: vec![view("bad", &["e"]), view("good", &[])],
            ..Default::default()
        });
        let bad = stored(&registry, "bad");
        assert!(
            bad.servable.as_ref().unwrap_err().contains(reason),
            "{:?}",
            bad.servable
        );
        assert!(warned(&registry, "feature view 'bad' cannot be served"));
        assert!(stored(&registry, "good").servable.is_ok());
    };
    check(vec![], "its entity 'e' is not in the registry");
    check(vec![entity("e", "k", 7)], "its join key 'k' has type BOOL");
    check(
        vec![entity("e", "k", 12)],
        "its join key 'k' has type STRING_LIST",
    );
    check(vec![entity("e", "k", 99)], "number 99");
    let long = "k".repeat(Limits::NAME_BYTES_MAX + 1);
    check(vec![entity("e", &long, 2)], "is longer than 512 bytes");
}

#[test]
fn bounds_on_views_are_kept() {
    let mut wide = view("wide", &[]);
    let features = (0..=Limits::FEATURES_MAX).map(|at| feature(&at.to_string(), 4));
    wide.spec.as_mut().unwrap().features = features.collect();
    let registry = one(wide, vec![]);
    let reason = registry.views()[0].servable.as_ref().unwrap_err();
    assert_eq!(reason, "it has 8193 features, more than 8192");

    let names: Vec<String> = (0..=Limits::JOIN_KEYS_MAX)
        .map(|at| format!("e{at}"))
        .collect();
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    let entities = refs.iter().map(|name| entity(name, name, 4)).collect();
    let registry = one(view("v", &refs), entities);
    let reason = registry.views()[0].servable.as_ref().unwrap_err();
    assert_eq!(reason, "it has 17 join keys, more than 16");

    let large = vec![0; Registry::BYTES_MAX + 1];
    let error = Registry::decode(&large, &DecodeOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn key_types_come_from_the_view_then_from_the_entity() {
    let mut typed = view("v", &["e"]);
    typed.spec.as_mut().unwrap().entity_columns = vec![feature("k", 3)];
    let registry = one(typed, vec![entity("e", "k", 4), entity("only", "", 1)]);
    assert_eq!(registry.views()[0].join_keys[0].key_type, KeyType::Int32);
    assert_eq!(registry.join_key("e").unwrap().key_type, KeyType::Int32);
    assert_eq!(registry.join_key("only").unwrap().key_type, KeyType::Bytes);

    let registry = one(view("v", &["e"]), vec![entity("e", "k", 4)]);
    assert_eq!(registry.views()[0].join_keys[0].key_type, KeyType::Int64);
    assert_eq!(registry.warnings(), [""; 0]);

    let registry = one(view("v", &["e"]), vec![entity("e", "k", 0)]);
    assert_eq!(registry.views()[0].join_keys[0].key_type, KeyType::String);
    assert!(warned(
        &registry,
        "its join key 'k' has no type: taken as STRING"
    ));
}

#[test]
fn a_name_taken_twice_goes_to_the_first() {
    let registry = decode(&proto::Registry {
        feature_views: vec![view("v", &[]), view("v", &[])],
        label_views: vec![proto::LabelView {
            spec: Some(proto::LabelViewSpec {
                name: "v".into(),
                project: "p".into(),
                ..Default::default()
            }),
        }],
        ..Default::default()
    });
    assert_eq!(registry.views().len(), 1);
    assert_eq!(registry.find_view("v"), Some(ViewIndex(0)));
    assert!(warned(
        &registry,
        "feature view 'v' has the name of a view met before"
    ));
    assert!(warned(
        &registry,
        "label view 'v' has the name of a view met before"
    ));
}

#[test]
fn times_to_live_are_read_as_feast_means_them() {
    let check = |seconds, nanos, expect| {
        let mut timed = view("v", &[]);
        timed.spec.as_mut().unwrap().ttl = Some(proto::Duration { seconds, nanos });
        assert_eq!(one(timed, vec![]).views()[0].ttl, expect);
    };
    check(0, 0, None);
    check(60, 0, Some(Duration::from_secs(60)));
    check(0, 500_000_000, Some(Duration::from_millis(500)));
    check(-60, 0, None);
    check(i64::MAX, i32::MAX, None);
}

#[test]
fn what_is_not_acted_on_is_named() {
    let mut kafka = view("k", &[]);
    kafka.spec.as_mut().unwrap().stream_source = Some(proto::DataSource {
        kind: 3,
        name: "trips_topic".into(),
        ..Default::default()
    });
    let odd = proto::DataSource {
        kind: 77,
        name: "odd".into(),
        project: "p".into(),
        ..Default::default()
    };
    let mut moved = view("m", &[]);
    moved.spec.as_mut().unwrap().feature_transformation = Some(Default::default());
    moved.spec.as_mut().unwrap().batch_source = Some(proto::DataSource {
        kind: 2,
        ..Default::default()
    });
    let mut bytes = proto::Registry {
        feature_views: vec![kafka, moved],
        data_sources: vec![odd],
        feature_tables: vec![proto::FeatureTable {
            spec: Some(proto::FeatureTableSpec {
                name: "old".into(),
                project: "p".into(),
            }),
        }],
        permissions: vec![proto::Permission {
            spec: Some(proto::PermissionSpec {
                name: "readers".into(),
                project: "p".into(),
            }),
        }],
        feature_services: vec![service(
            "s",
            vec![projection("gone", &["f"]), projection("k", &["g"])],
        )],
        registry_schema_version: "2".into(),
        ..Default::default()
    }
    .to_bytes();
    // Field 25, one empty message.
    bytes.extend_from_slice(&[0xca, 0x01, 0x00]);
    let registry = Registry::decode(&bytes, &DecodeOptions::default()).unwrap();
    for text in [
        "the registry's field 25 is not known",
        "the registry's schema version '2' is not known",
        "feature table 'old' is left out",
        "permissions are not enforced yet: every caller may do what 'readers' would restrict",
        "data source 'odd' is of a kind that is not known (number 77",
        "feature view 'k': its stream source 'trips_topic' (Kafka) is not read",
        "feature view 'm': the transformation of its batches is not run",
        "feature service 's' takes the view 'gone', which is not in the registry",
        "feature service 's' takes the feature 'g', which view 'k' does not have",
    ] {
        assert!(
            warned(&registry, text),
            "{text}: {:#?}",
            registry.warnings()
        );
    }
    assert_eq!(registry.warnings().len(), 9);
    let source = stored(&registry, "m").batch_source.as_ref().unwrap();
    assert_eq!(source.location, SourceLocation::Other("BigQuery"));
}

#[test]
fn warnings_are_bounded_in_count_and_length() {
    let name = "x".repeat(10_000);
    let mut noisy = view(&name, &[]);
    noisy.spec.as_mut().unwrap().features = (0..2000).map(|_| feature(&name, 99)).collect();
    let registry = one(noisy, vec![]);
    assert_eq!(registry.warnings().len(), 1001);
    assert!(
        registry
            .warnings()
            .iter()
            .all(|warning| warning.len() < 2000)
    );
    assert!(warned(&registry, "1001 more warnings are not listed"));
}

#[test]
fn a_file_cut_anywhere_is_refused_or_read_in_part_and_never_panics() {
    let mut refused = 0;
    for cut in (0..RIDES.len()).step_by(7) {
        match Registry::decode(&RIDES[..cut], &DecodeOptions::default()) {
            Err(Error::Malformed { .. }) => refused += 1,
            Err(Error::ProjectNotFound { .. }) | Ok(_) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > RIDES.len() / 7 * 9 / 10, "{refused}");
    let garbage = Registry::decode(b"not a registry", &DecodeOptions::default()).unwrap_err();
    assert_eq!(garbage.kind(), ErrorKind::Corrupt);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn flipped_bits_never_panic(flips in prop::collection::vec((0..RIDES.len(), 0_u8..8), 1..20)) {
        let mut bytes = RIDES.to_vec();
        for (at, bit) in flips {
            bytes[at] ^= 1 << bit;
        }
        let options = DecodeOptions { project: Some("rides"), versioning: true };
        if let Ok(registry) = Registry::decode(&bytes, &options) {
            for service in registry.services() {
                let selection = crate::Selection::Service(&service.name);
                let request = crate::ReadRequest { selection, full_feature_names: true };
                let _ = registry.plan_read(&request);
            }
            let _ = registry.plan_materialize(None);
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Registry::decode(&bytes, &DecodeOptions::default());
    }
}

#[test]
fn a_service_says_how_much_of_it_is_logged() {
    // As Feast 0.67 writes it: field 7 of the service's spec, 0.5 as its field 1.
    let spec = b"\x0a\x06served\x12\x01p\x3a\x05\x0d\x00\x00\x00\x3f";
    let length = |bytes: usize| u8::try_from(bytes).unwrap();
    let service = [&[0x0a, length(spec.len())], spec.as_slice()].concat();
    let file = [&[0x3a, length(service.len())], service.as_slice()].concat();
    let options = DecodeOptions {
        project: Some("p"),
        versioning: false,
    };
    let registry = Registry::decode(&file, &options).unwrap();
    let served = registry.find_service("served").unwrap();
    assert_eq!(served.log_sample_rate, Some(0.5));
    let rides = rides();
    assert!(
        rides
            .services()
            .iter()
            .all(|it| it.log_sample_rate.is_none())
    );
}

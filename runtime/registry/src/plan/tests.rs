use std::time::{Duration, Instant};

use galley_types::{Classify, ErrorKind, KeyType, ScalarType, ValueType};

use crate::testing::{decode, entity, feature, projection, rides, service, view};
use crate::{
    Error, PlanKey, PlanOutput, PlanPart, ReadPlan, ReadRequest, Registry, Result, Selection, proto,
};

fn features(
    registry: &Registry,
    references: &[&str],
    full_feature_names: bool,
) -> Result<ReadPlan> {
    let selection = Selection::Features(references);
    registry.plan_read(&ReadRequest {
        selection,
        full_feature_names,
    })
}

fn of_service(registry: &Registry, name: &str, full_feature_names: bool) -> Result<ReadPlan> {
    let selection = Selection::Service(name);
    registry.plan_read(&ReadRequest {
        selection,
        full_feature_names,
    })
}

fn names(plan: &ReadPlan) -> Vec<&str> {
    plan.outputs
        .iter()
        .map(|output| output.name.as_str())
        .collect()
}

fn columns(plan: &ReadPlan) -> Vec<&str> {
    plan.keys.iter().map(|key| key.column.as_str()).collect()
}

fn driver_key() -> PlanKey {
    PlanKey {
        column: "driver_id".into(),
        key_type: KeyType::Int64,
        needed: true,
    }
}

#[test]
fn one_feature_makes_one_part() {
    let registry = rides();
    let view = registry.find_view("driver_hourly_stats").unwrap();
    let plan = features(&registry, &["driver_hourly_stats:acc_rate"], false).unwrap();
    assert_eq!(
        plan,
        ReadPlan {
            keys: vec![driver_key()],
            parts: vec![PlanPart {
                view,
                name: "driver_hourly_stats".into(),
                key_columns: vec![0],
                ttl: Some(Duration::from_secs(86_400)),
            }],
            transforms: Vec::new(),
            request_columns: Vec::new(),
            outputs: vec![PlanOutput {
                name: "acc_rate".into(),
                part: 0,
                feature: 1,
                value_type: ValueType::Scalar(ScalarType::Float),
            }],
            versions: vec![("driver_hourly_stats".into(), 0)],
        }
    );
}

#[test]
fn features_of_a_view_stay_together_in_the_order_asked() {
    let plan = features(
        &rides(),
        &[
            "driver_hourly_stats:acc_rate",
            "trip_pair_stats:n_trips",
            "driver_hourly_stats@latest:conv_rate",
            "city_totals:surge",
            "trip_pair_stats:avg_rating",
        ],
        true,
    )
    .unwrap();
    assert_eq!(
        names(&plan),
        [
            "driver_hourly_stats__acc_rate",
            "driver_hourly_stats__conv_rate",
            "trip_pair_stats__n_trips",
            "trip_pair_stats__avg_rating",
            "city_totals__surge",
        ]
    );
    assert_eq!(columns(&plan), ["driver_id", "customer_id"]);
    let key_columns: Vec<_> = plan
        .parts
        .iter()
        .map(|part| part.key_columns.clone())
        .collect();
    // The join keys of trip_pair_stats sorted by name: customer_id, driver_id.
    assert_eq!(key_columns, [vec![0], vec![1, 0], vec![]]);
}

#[test]
fn a_service_reads_one_view_twice_under_aliases() {
    let registry = rides();
    let plan = of_service(&registry, "route_weather", true).unwrap();
    assert_eq!(columns(&plan), ["origin_id", "destination_id"]);
    assert!(plan.keys.iter().all(|key| key.key_type == KeyType::Int32));
    let view = registry.find_view("location_weather").unwrap();
    let parts: Vec<_> = plan
        .parts
        .iter()
        .map(|part| (part.name.as_str(), part.view, part.key_columns.as_slice()))
        .collect();
    assert_eq!(
        parts,
        [
            ("origin_weather", view, &[0][..]),
            ("destination_weather", view, &[1][..])
        ]
    );
    assert_eq!(
        names(&plan),
        [
            "origin_weather__temperature",
            "origin_weather__summary",
            "destination_weather__temperature",
            "destination_weather__summary",
        ]
    );
    assert_eq!(plan.versions[0], ("origin_weather".to_owned(), 0));
}

#[test]
fn a_service_takes_the_features_it_lists() {
    let registry = rides();
    let plan = of_service(&registry, "renamed_stats", true).unwrap();
    assert_eq!(
        names(&plan),
        [
            "ds__conv_rate",
            "ds__avg_daily_trips",
            "customer_profile__tier"
        ]
    );
    let plan = of_service(&registry, "customer_all", false).unwrap();
    assert_eq!(plan.outputs.len(), 8);
    assert_eq!(names(&plan)[7], "n_trips");
    assert_eq!(columns(&plan), ["customer_id", "driver_id"]);
}

#[test]
fn a_projection_without_features_takes_all_of_them() {
    let mut two = view("v", &[]);
    two.spec.as_mut().unwrap().features.push(feature("g", 2));
    let registry = decode(&proto::Registry {
        feature_views: vec![two],
        feature_services: vec![service("s", vec![projection("v", &[])])],
        ..Default::default()
    });
    assert_eq!(
        names(&of_service(&registry, "s", false).unwrap()),
        ["f", "g"]
    );
}

#[test]
fn stored_on_demand_and_label_and_stream_views_are_read_as_stored() {
    let references = [
        "driver_written:conv_pct",
        "driver_labels:labeler",
        "driver_stream:driver_id",
    ];
    let plan = features(&rides(), &references, false).unwrap();
    assert_eq!(names(&plan), ["conv_pct", "labeler", "driver_id"]);
    assert_eq!(plan.keys, [driver_key()]);
}

#[test]
fn errors_have_feasts_texts() {
    let registry = rides();
    let check = |references: &[&str], full, class: Option<&str>, text: &str| {
        let error = features(&registry, references, full).unwrap_err();
        assert_eq!(error.to_string(), text);
        assert_eq!(error.feast_class(), class, "{text}");
        assert_ne!(error.kind(), ErrorKind::Internal);
    };
    let unknown = "Feature view nope does not exist in project rides";
    check(
        &["nope:nope"],
        false,
        Some("FeatureViewNotFoundException"),
        unknown,
    );
    let garbage = "Feature view driver_hourly_stats@zz does not exist in project rides";
    check(
        &["driver_hourly_stats@zz:conv_rate"],
        false,
        Some("FeatureViewNotFoundException"),
        garbage,
    );
    let absent = Some("SpecifiedFeaturesNotPresentError");
    let text = "Feature nope not found in projection driver_hourly_stats";
    check(&["driver_hourly_stats:nope"], false, absent, text);
    let text = "Feature conv_rate:x not found in projection driver_hourly_stats";
    check(&["driver_hourly_stats:conv_rate:x"], false, absent, text);
    let text = "Feature driver_id not found in projection driver_hourly_stats";
    check(&["driver_hourly_stats:driver_id"], false, absent, text);
    let text = "Feature nope not found in projection transformed_conv_rate_py";
    check(&["transformed_conv_rate_py:nope"], false, absent, text);
    let format =
        "Expected format: '<feature_view>:<feature>' or '<feature_view>@<version>:<feature>'";
    check(
        &["conv_rate"],
        false,
        None,
        &format!("Invalid feature reference 'conv_rate'. {format}"),
    );
    check(
        &[""],
        false,
        None,
        &format!("Invalid feature reference ''. {format}"),
    );
    check(&[], false, None, "No features specified for retrieval");
    let text = "Version-qualified ref 'driver_hourly_stats@v1' not supported: online versioning is \
                disabled. Set 'enable_online_feature_view_versioning: true' under 'registry' in \
                feature_store.yaml.";
    check(&["driver_hourly_stats@v1:conv_rate"], false, None, text);
    let text = "Feature view 'zone_disabled' is disabled and cannot serve features. Enable it with \
                `feast feature-views enable zone_disabled` or set enabled=True.";
    check(&["zone_disabled:n_events"], false, None, text);
    let error = features(&registry, &["zone_offline_only:n_events"], false).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("'zone_offline_only' is not configured to be served online")
    );
    let error = of_service(&registry, "nope", false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Feature service nope does not exist in project rides"
    );
    assert_eq!(error.feast_class(), Some("FeatureServiceNotFoundException"));
}

#[test]
fn colliding_names_have_feasts_texts() {
    let registry = rides();
    let (conv, fresh) = (
        "driver_hourly_stats:conv_rate",
        "driver_hourly_stats_fresh:conv_rate",
    );
    let short = |names: &str| {
        format!(
            "Duplicate features named {names} found.\nTo resolve this collision, either use the \
             full feature name by setting 'full_feature_names=True', or ensure that the features \
             in question have different names."
        )
    };
    let check = |plan: Result<ReadPlan>, text: &str| {
        let error = plan.unwrap_err();
        assert_eq!(error.to_string(), text);
        assert_eq!(error.feast_class(), Some("FeatureNameCollisionError"));
    };
    check(
        features(&registry, &[conv, conv], false),
        &short("conv_rate"),
    );
    check(
        features(&registry, &[conv, fresh], false),
        &short("conv_rate"),
    );
    check(
        of_service(&registry, "route_weather", false),
        &short("temperature, summary"),
    );
    check(
        of_service(&registry, "driver_activity_v3", false),
        &short("avg_daily_trips"),
    );
    check(
        features(&registry, &[conv, conv], true),
        "Duplicate features named driver_hourly_stats__conv_rate found.\nTo resolve this \
         collision, please ensure that the feature views or their own features have different \
         names. If you're intentionally joining the same feature view twice on different sets of \
         entities, please rename one of the feature views with '.with_name'.",
    );
    assert!(features(&registry, &[conv, fresh], true).is_ok());
}

#[test]
fn computed_features_come_last_and_their_sources_are_read_once() {
    let registry = rides();
    let plan = features(
        &registry,
        &[
            "transformed_conv_rate_py:trips_x2_py",
            "driver_hourly_stats:acc_rate",
        ],
        false,
    )
    .unwrap();
    assert_eq!(names(&plan), ["acc_rate", "trips_x2_py"]);
    assert_eq!(
        plan.parts.len(),
        1,
        "the source is the view that was asked for"
    );
    let [transform] = plan.transforms.as_slice() else {
        panic!("{:?}", plan.transforms)
    };
    assert_eq!(transform.sources, [0]);
    assert_eq!((plan.outputs[1].part, plan.outputs[1].feature), (1, 2));
    let requested: Vec<&str> = plan
        .request_columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(requested, ["val_to_add", "val_to_add_2"]);
}

#[test]
fn sources_that_nobody_asked_for_are_read_and_not_shown() {
    let registry = rides();
    let plan = features(&registry, &["match_features:match_score"], true).unwrap();
    assert_eq!(names(&plan), ["match_features__match_score"]);
    assert_eq!(columns(&plan), ["customer_id", "driver_id"]);
    assert_eq!(plan.transforms[0].sources, [0, 1]);
    assert_eq!(plan.versions, [("match_features".to_owned(), 0)]);
    let of_service = of_service(&registry, "driver_activity_v1", false).unwrap();
    assert_eq!(
        names(&of_service),
        ["conv_rate", "conv_rate_plus_val1", "conv_rate_plus_val2"]
    );
    let nowhere = features(&registry, &["vals_to_add:val_to_add"], false).unwrap_err();
    assert!(matches!(nowhere, Error::ViewNotFound { .. }));
}

#[test]
fn only_the_current_version_is_served() {
    let mut versioned = view("v", &[]);
    versioned.meta = Some(proto::FeatureViewMeta {
        current_version_number: 2,
    });
    let registry = decode(&proto::Registry {
        feature_views: vec![versioned],
        ..Default::default()
    });
    let plan = features(&registry, &["v@v2:f", "v:f"], true).unwrap();
    assert_eq!(names(&plan), ["v@v2__f", "v__f"]);
    assert_eq!(plan.versions, [("v".to_owned(), 2)]);
    let error = features(&registry, &["v@v1:f"], true).unwrap_err();
    assert_eq!(error.feast_class(), Some("VersionedOnlineReadNotSupported"));
    assert!(
        error
            .to_string()
            .contains("the current version only, which is 2")
    );
}

#[test]
fn one_column_of_two_types_is_read_in_both() {
    let mut narrow = view("narrow", &["e"]);
    narrow.spec.as_mut().unwrap().entity_columns = vec![feature("k", 3)];
    let registry = decode(&proto::Registry {
        entities: vec![entity("e", "k", 4)],
        feature_views: vec![view("wide", &["e"]), narrow],
        ..Default::default()
    });
    assert!(registry.warnings()[0].contains("join key 'k' is INT64 in view 'wide' and INT32"));
    let plan = features(&registry, &["wide:f", "narrow:f", "wide:f"], true);
    assert!(matches!(plan, Err(Error::NameCollision { .. })));
    let plan = features(&registry, &["wide:f", "narrow:f"], true).unwrap();
    assert_eq!(columns(&plan), ["k", "k"]);
    assert_eq!(plan.parts[1].key_columns, [1]);
}

#[test]
fn views_that_cannot_be_served_say_why() {
    let mut future = view("future", &[]);
    future
        .spec
        .as_mut()
        .unwrap()
        .features
        .push(feature("g", 99));
    let registry = decode(&proto::Registry {
        feature_views: vec![view("v", &["gone"]), future],
        ..Default::default()
    });
    let error = features(&registry, &["v:f"], false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Feature view 'v' cannot be served by this node: its entity 'gone' is not in the registry"
    );
    let error = features(&registry, &["future:g"], false).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("Feature g of view future has value type number 99")
    );
    assert!(features(&registry, &["future:f"], false).is_ok());
}

#[test]
fn texts_of_requests_are_cut_in_errors() {
    let long = "\u{e9}".repeat(100_000);
    for reference in [
        long.clone(),
        format!("{long}:f"),
        format!("city_totals:{long}"),
    ] {
        let error = features(&rides(), &[&reference], false).unwrap_err();
        assert!(error.to_string().len() < 1000);
    }
}

#[test]
fn planning_takes_linear_time() {
    let mut wide = view("wide", &[]);
    let count = 8000;
    let columns = (0..count).map(|at| feature(&format!("f{at}"), 4));
    wide.spec.as_mut().unwrap().features = columns.collect();
    let registry = decode(&proto::Registry {
        feature_views: vec![wide],
        ..Default::default()
    });
    let references: Vec<String> = (0..count).map(|at| format!("wide:f{at}")).collect();
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    let start = Instant::now();
    let plan = features(&registry, &references, true).unwrap();
    assert_eq!(plan.outputs.len(), count);
    // Quadratic planning of 8000 references takes tens of seconds in a debug build.
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

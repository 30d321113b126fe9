use galley_types::Classify;

use crate::testing::{decode, rides, view};
use crate::{Error, Registry, ViewIndex, proto};

fn view_names(registry: &Registry, views: &[ViewIndex]) -> Vec<String> {
    views
        .iter()
        .map(|index| registry.view(*index).unwrap().name.clone())
        .collect()
}

fn materialize(registry: &Registry, names: &[&str]) -> crate::Result<Vec<String>> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let views = registry.plan_materialize(Some(&names))?;
    Ok(view_names(registry, &views))
}

/// A view of project `p` fed by the push source `s`.
fn pushed(name: &str, online: bool, entities: &[&str]) -> proto::FeatureView {
    let mut pushed = view(name, entities);
    let spec = pushed.spec.as_mut().unwrap();
    spec.online = online;
    spec.stream_source = Some(proto::DataSource {
        kind: 9,
        name: "s".into(),
        ..Default::default()
    });
    pushed
}

#[test]
fn a_push_reaches_every_view_of_its_source() {
    let registry = rides();
    let plan = registry.plan_push("driver_stats_push_source").unwrap();
    assert_eq!(
        view_names(&registry, &plan.views),
        [
            "driver_hourly_stats_fresh",
            "driver_trips_fresh",
            "driver_stream"
        ]
    );
    let plan = registry.plan_push("driver_labels_push").unwrap();
    assert_eq!(view_names(&registry, &plan.views), ["driver_labels"]);
    for name in ["nope", "driver_hourly_stats_source"] {
        let error = registry.plan_push(name).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("Unable to find push source '{name}'.")
        );
        assert_eq!(error.feast_class(), Some("PushSourceNotFoundException"));
    }
}

#[test]
fn offline_views_take_no_part_in_online_pushes() {
    let push = |feature_views| {
        let registry = decode(&proto::Registry {
            feature_views,
            ..Default::default()
        });
        registry
            .plan_push("s")
            .map(|plan| view_names(&registry, &plan.views))
    };
    assert_eq!(
        push(vec![pushed("a", false, &[]), pushed("b", true, &[])]).unwrap(),
        ["b"]
    );
    let only_offline = push(vec![pushed("a", false, &[])]).unwrap_err();
    assert_eq!(only_offline, Error::NotOnline { view: "a".into() });
    let broken = push(vec![pushed("a", true, &["gone"]), pushed("b", true, &[])]).unwrap_err();
    assert!(matches!(broken, Error::NotServable { view, .. } if view == "a"));
}

#[test]
fn writes_go_to_one_view() {
    let registry = rides();
    for name in [
        "driver_hourly_stats",
        "zone_disabled",
        "driver_stream",
        "driver_written",
    ] {
        let plan = registry.plan_write(name).unwrap();
        assert_eq!(view_names(&registry, &plan.views), [name]);
        assert_eq!(plan.source, name);
    }
    for name in ["nope", "driver_labels"] {
        let error = registry.plan_write(name).unwrap_err();
        let text = format!("Can't recognize feast object with a name {name}");
        assert_eq!(error.to_string(), text);
        assert_eq!(error.feast_class(), Some("FeastObjectNotFoundException"));
    }
    let error = registry.plan_write("zone_offline_only").unwrap_err();
    assert!(matches!(error, Error::NotOnline { .. }));
    let error = registry.plan_write("transformed_conv_rate_py").unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }));
}

#[test]
fn everything_online_and_enabled_is_materialized() {
    let registry = rides();
    let views = registry.plan_materialize(None).unwrap();
    assert_eq!(
        view_names(&registry, &views),
        [
            "device_complex",
            "city_totals",
            "customer_profile",
            "device_types",
            "driver_hourly_stats",
            "driver_hourly_stats_fresh",
            "driver_trips_fresh",
            "location_weather",
            "trip_pair_stats",
            "zone_events",
            "driver_stream",
        ]
    );
    let named = materialize(&registry, &["zone_events", "city_totals", "zone_events"]).unwrap();
    assert_eq!(named, ["zone_events", "city_totals"]);
    assert_eq!(materialize(&registry, &[]).unwrap(), [""; 0]);
}

#[test]
fn refusals_to_materialize_have_feasts_texts() {
    let registry = rides();
    let check = |name: &str, text: &str| {
        let error = materialize(&registry, &["zone_events", name]).unwrap_err();
        assert_eq!(error.to_string(), text);
    };
    check("nope", "Feature view nope does not exist in project rides");
    check(
        "driver_labels",
        "LabelView driver_labels cannot be materialized via materialize(). Use \
         FeatureStore.push() to write labels.",
    );
    check(
        "zone_disabled",
        "FeatureView zone_disabled is disabled. Enable it before materializing.",
    );
    check(
        "zone_offline_only",
        "FeatureView zone_offline_only is not configured to be served online.",
    );
    check(
        "transformed_conv_rate_py",
        "OnDemandFeatureView transformed_conv_rate_py is not configured for write_to_online_store.",
    );
    let written = materialize(&registry, &["driver_written"]).unwrap_err();
    assert_eq!(
        written,
        Error::MaterializeWritten {
            view: "driver_written".into()
        }
    );
}

#[test]
fn views_without_plain_batches_are_not_materialized() {
    let mut transformed = view("t", &[]);
    let spec = transformed.spec.as_mut().unwrap();
    spec.feature_transformation = Some(Default::default());
    spec.batch_source = Some(proto::DataSource {
        kind: 2,
        ..Default::default()
    });
    let registry = decode(&proto::Registry {
        feature_views: vec![pushed("a", true, &[]), transformed],
        ..Default::default()
    });
    let error = materialize(&registry, &["a"]).unwrap_err();
    assert_eq!(error, Error::NoBatchSource { view: "a".into() });
    let error = materialize(&registry, &["t"]).unwrap_err();
    assert_eq!(error, Error::BatchTransformMissing { view: "t".into() });
    assert_eq!(registry.plan_materialize(None).unwrap(), []);
}

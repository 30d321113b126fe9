use galley_registry::DecodeOptions;
use galley_transform::{Kind, NullHandling, Volatility};

use super::*;

/// A registry that Feast 0.67 wrote: project `rides`.
const RIDES: &[u8] = include_bytes!("../../../registry/tests/data/rides.registry.pb");

fn rides() -> Registry {
    let options = DecodeOptions {
        project: Some("rides"),
        versioning: false,
    };
    Registry::decode(RIDES, &options).unwrap()
}

fn fields(fields: &[(&str, Kind)]) -> Vec<Field> {
    let field = |(name, kind): &(&str, Kind)| Field {
        name: (*name).to_owned(),
        data_type: DataType::Scalar(*kind),
        nullable: true,
    };
    fields.iter().map(field).collect()
}

fn signature(name: &str, inputs: &[(&str, Kind)], outputs: &[(&str, Kind)]) -> Signature {
    Signature {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        inputs: fields(inputs),
        outputs: fields(outputs),
        null_handling: NullHandling::CalledOnNull,
        volatility: Volatility::Immutable,
    }
}

fn problems(view: &str, signature: &Signature) -> Vec<String> {
    let registry = rides();
    let view = registry.find_any_on_demand_view(view).unwrap();
    check_signature(&registry, view, signature)
        .iter()
        .filter(|check| !check.fits)
        .map(FieldCheck::to_string)
        .collect()
}

#[test]
fn a_component_that_fits_its_view_has_no_problems() {
    let inputs = [
        // Wider than stored, by its full name, a join key, request data.
        ("conv_rate", Kind::Float64),
        ("driver_hourly_stats__acc_rate", Kind::Float32),
        ("driver_id", Kind::Int64),
        ("val_to_add", Kind::Int64),
    ];
    let outputs = [
        ("conv_rate_plus_val2", Kind::Float64),
        ("conv_rate_plus_val1", Kind::Float64),
    ];
    let fitting = signature("transformed_conv_rate", &inputs, &outputs);
    assert_eq!(
        problems("transformed_conv_rate", &fitting),
        Vec::<String>::new()
    );
    let registry = rides();
    let view = registry
        .find_any_on_demand_view("transformed_conv_rate")
        .unwrap();
    let columns = registry.input_columns(view);
    let bound: Vec<_> = fitting
        .inputs
        .iter()
        .map(|field| bound_input(field, &columns).unwrap())
        .map(|input| (input.name, input.source))
        .collect();
    let feature = |feature| BoundSource::Feature { source: 0, feature };
    assert_eq!(
        bound,
        [
            ("conv_rate".to_owned(), feature(0)),
            ("acc_rate".to_owned(), feature(1)),
            (
                "driver_id".to_owned(),
                BoundSource::JoinKey { source: 0, key: 0 }
            ),
            ("val_to_add".to_owned(), BoundSource::Request),
        ]
    );
}

#[test]
fn every_field_that_does_not_fit_is_named_with_what_is_expected_and_what_came() {
    let wrong = signature(
        "other_view",
        &[("conv_rate", Kind::Utf8), ("nowhere", Kind::Int64)],
        &[
            ("conv_rate_plus_val1", Kind::Float32),
            ("too_many", Kind::Int64),
        ],
    );
    assert_eq!(
        problems("transformed_conv_rate", &wrong),
        [
            "it implements the view 'other_view', expected 'transformed_conv_rate'",
            "input 'conv_rate': expected float32 for FLOAT, got utf8",
            "input 'nowhere': the view has none of that name, neither in its sources nor in its \
             features",
            "output 'conv_rate_plus_val1': expected float64 for DOUBLE, got float32",
            "output 'conv_rate_plus_val2': expected float64 for DOUBLE, got none",
            "output 'too_many': the view has none of that name, neither in its sources nor in its \
             features",
        ]
    );
}

#[test]
fn a_view_that_cannot_be_computed_says_why() {
    let registry = rides();
    let offer = |view: &str, reason: &str| TransformOffer {
        project: None,
        view: view.to_owned(),
        component: "c".to_owned(),
        transform: Err(reason.to_owned()),
        on_error: OnError::Fail,
    };
    let offers = [
        offer("fare_quote", "it is no component"),
        offer("nowhere", "x"),
    ];
    let bindings = Bindings::new(&registry, &offers);
    let error = bindings.ready("fare_quote").unwrap_err().to_string();
    assert!(
        error.contains("fare_quote") && error.contains("it is no component"),
        "{error}"
    );
    let missing = bindings.ready("acc_singleton").unwrap_err().to_string();
    assert!(
        missing.contains("on-demand-feature-view = \"acc_singleton\""),
        "{missing}"
    );
    let states = bindings.status(&registry);
    let of = |view: &str| &states.iter().find(|it| it.view == view).unwrap().state;
    assert_eq!(of("acc_singleton"), &TransformState::Missing);
    assert_eq!(of("nowhere"), &TransformState::Unused);
    assert!(
        states
            .iter()
            .any(|it| it.view == "driver_written" && it.at_write)
    );
}

//! Functions as components, called without a sandbox.

use galley::Timestamp;
use galley::bindings::galley::transform::types::{ArrayValues, Packed, ScalarValues, Values};
use galley::rt::{Batch, Column, DataType, Error, Guest, Kind, NullHandling};

#[galley::transform(outputs("sum", "label"), version = "3")]
fn add(
    left: f64,
    #[name("view__right")] right: i64,
    text: Option<&str>,
) -> Result<(f64, Option<String>), String> {
    if right < 0 {
        return Err(format!("{right} is negative"));
    }
    Ok((left + right as f64, text.map(str::to_uppercase)))
}

#[derive(galley::Outputs)]
struct Age {
    seconds: f64,
    #[name("is_old")]
    old: bool,
}

#[galley::transform(name = "age_of")]
fn age(at: Timestamp) -> Age {
    let seconds = galley::request::now().seconds_since(at);
    Age {
        seconds,
        old: seconds > 60.0,
    }
}

#[galley::transform(columns, outputs("dot", "tags"))]
fn dot(
    left: &[&[f32]],
    right: &[Option<f64>],
    names: &[Vec<&str>],
) -> (Vec<Option<f64>>, Vec<Vec<String>>) {
    let dots = left
        .iter()
        .zip(right)
        .map(|(left, right)| right.map(|right| right * f64::from(left.iter().sum::<f32>())));
    let tags = names
        .iter()
        .map(|names| names.iter().map(|name| format!("{name}!")).collect());
    (dots.collect(), tags.collect())
}

#[galley::transform(volatility = "immutable")]
fn frozen(_value: i64) -> i64 {
    galley::request::now().micros()
}

fn scalar(values: ScalarValues, validity: Option<Vec<u8>>) -> Column {
    Column {
        values: Values::Scalar(values),
        validity,
    }
}

fn packed(texts: &[&str]) -> Packed {
    let mut offsets = vec![0];
    let mut data = Vec::new();
    for text in texts {
        data.extend_from_slice(text.as_bytes());
        offsets.push(data.len() as u32);
    }
    Packed { offsets, data }
}

#[test]
fn the_signature_follows_from_the_function() {
    let signature = __galley_add::describe();
    assert_eq!(
        (signature.name.as_str(), signature.version.as_str()),
        ("add", "3")
    );
    let inputs: Vec<_> = signature
        .inputs
        .iter()
        .map(|field| (field.name.as_str(), field.nullable))
        .collect();
    assert_eq!(
        inputs,
        [("left", true), ("view__right", true), ("text", true)]
    );
    assert!(matches!(
        signature.inputs[1].data_type,
        DataType::Scalar(Kind::Int64)
    ));
    assert!(matches!(
        signature.null_handling,
        NullHandling::CalledOnNull
    ));
    let outputs: Vec<_> = signature
        .outputs
        .iter()
        .map(|field| (field.name.as_str(), field.nullable))
        .collect();
    assert_eq!(outputs, [("sum", true), ("label", true)]);
}

#[test]
fn rows_with_a_null_that_the_function_cannot_take_are_null() {
    let batch = Batch {
        rows: 3,
        columns: vec![
            scalar(
                ScalarValues::Float64(vec![0.5, 0.0, 2.0]),
                Some(vec![0b101]),
            ),
            scalar(ScalarValues::Int64(vec![1, 2, 3]), None),
            scalar(
                ScalarValues::Utf8(packed(&["a", "b", ""])),
                Some(vec![0b011]),
            ),
        ],
    };
    let answer = __galley_add::apply(batch).unwrap();
    assert_eq!(answer.columns[0].validity, Some(vec![0b1111_1101]));
    let Values::Scalar(ScalarValues::Float64(sums)) = &answer.columns[0].values else {
        panic!()
    };
    assert_eq!((sums[0], sums[2]), (1.5, 5.0));
    let Values::Scalar(ScalarValues::Utf8(labels)) = &answer.columns[1].values else {
        panic!()
    };
    assert_eq!(
        (labels.offsets.as_slice(), labels.data.as_slice()),
        (&[0, 1, 1, 1][..], &b"A"[..])
    );
    assert_eq!(
        answer.columns[1].validity.as_ref().unwrap()[0] & 0b111,
        0b001
    );
}

#[test]
fn a_rejection_names_the_row() {
    let batch = Batch {
        rows: 2,
        columns: vec![
            scalar(ScalarValues::Float64(vec![0.5, 1.0]), None),
            scalar(ScalarValues::Int64(vec![1, -2]), None),
            scalar(ScalarValues::Utf8(packed(&["", ""])), None),
        ],
    };
    let Err(Error::Rejected(rejection)) = __galley_add::apply(batch) else {
        panic!()
    };
    assert_eq!(
        (rejection.row, rejection.message.as_str()),
        (Some(1), "-2 is negative")
    );
}

#[test]
fn a_struct_names_the_outputs_and_the_request_has_a_clock() {
    let signature = __galley_age::describe();
    let names: Vec<_> = signature
        .outputs
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    assert_eq!(names, ["seconds", "is_old"]);
    galley::request::set_for_tests(Timestamp::from_micros(90_000_000), 0, &[]);
    let column = scalar(ScalarValues::TimestampMicros(vec![0, 60_000_000]), None);
    let answer = __galley_age::apply(Batch {
        rows: 2,
        columns: vec![column],
    })
    .unwrap();
    let Values::Scalar(ScalarValues::Boolean(old)) = &answer.columns[1].values else {
        panic!()
    };
    assert_eq!(old, &[1, 0]);
}

#[test]
fn columns_carry_lists_and_nulls() {
    let list = |offsets: Vec<u32>, items| Column {
        values: Values::Array(ArrayValues { offsets, items }),
        validity: None,
    };
    let batch = Batch {
        rows: 2,
        columns: vec![
            list(vec![0, 2, 3], ScalarValues::Float32(vec![1.0, 2.0, 4.0])),
            scalar(ScalarValues::Float64(vec![2.0, 0.0]), Some(vec![0b01])),
            list(vec![0, 0, 2], ScalarValues::Utf8(packed(&["x", "yz"]))),
        ],
    };
    let answer = __galley_dot::apply(batch).unwrap();
    let Values::Scalar(ScalarValues::Float64(dots)) = &answer.columns[0].values else {
        panic!()
    };
    assert_eq!(
        (dots[0], answer.columns[0].validity.clone()),
        (6.0, Some(vec![0b1111_1101]))
    );
    let Values::Array(ArrayValues {
        offsets,
        items: ScalarValues::Utf8(tags),
    }) = &answer.columns[1].values
    else {
        panic!()
    };
    assert_eq!(
        (offsets.as_slice(), tags.data.as_slice()),
        (&[0, 0, 2][..], &b"x!yz!"[..])
    );
}

#[test]
fn a_column_of_another_type_is_the_hosts_fault() {
    let column = scalar(ScalarValues::Int64(vec![1]), None);
    let answer = __galley_age::apply(Batch {
        rows: 1,
        columns: vec![column],
    });
    let Err(Error::InvalidInput(message)) = answer else {
        panic!()
    };
    assert!(message.contains("at"), "{message}");
}

#[test]
#[should_panic(expected = "declared immutable")]
fn an_immutable_function_may_not_ask_for_the_time() {
    let column = scalar(ScalarValues::Int64(vec![1]), None);
    let _ = __galley_frozen::apply(Batch {
        rows: 1,
        columns: vec![column],
    });
}

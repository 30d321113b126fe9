use std::convert::Infallible;

use super::*;

/// Two views: the first with a row, an expired row and no row; the second with three rows.
struct Sample {
    quirks: bool,
}

const TYPES: [(usize, ValueType); 4] = [
    (0, ValueType::Scalar(ScalarType::Double)),
    (0, ValueType::Scalar(ScalarType::Int64)),
    (0, ValueType::Scalar(ScalarType::UnixTimestamp)),
    (1, ValueType::Scalar(ScalarType::String)),
];

const ROW_STATUSES: [FieldStatus; 3] = [
    FieldStatus::Present,
    FieldStatus::OutsideMaxAge,
    FieldStatus::NotFound,
];
const NULL_STATUSES: [FieldStatus; 3] = [
    FieldStatus::NullValue,
    FieldStatus::OutsideMaxAge,
    FieldStatus::NotFound,
];

fn column(output: usize) -> FixedColumn<'static> {
    let (statuses, bits) = match output {
        0 => (&ROW_STATUSES, &[0x3fe0_0000_0000_0000, 0, 0]),
        1 => (&ROW_STATUSES, &[0xffff_ffff_ffff_fff9, 0, 0]),
        _ => (&NULL_STATUSES, &[0; 3]),
    };
    FixedColumn { statuses, bits }
}

impl Rows for Sample {
    type Error = Infallible;

    fn row_count(&self) -> usize {
        3
    }

    fn part_count(&self) -> usize {
        2
    }

    fn outputs(&self) -> impl Iterator<Item = (usize, ValueType, FixedColumn<'_>)> {
        let all = TYPES.into_iter().enumerate();
        all.map(|(output, (part, value_type))| (part, value_type, column(output)))
    }

    fn part_rows(&self, part: usize) -> impl Iterator<Item = (FieldStatus, EventTime)> {
        let second = |seconds| EventTime::from_seconds(seconds);
        let rows = match part {
            0 => [
                (FieldStatus::Present, second(1_772_366_400)),
                (FieldStatus::OutsideMaxAge, second(86_399)),
                (FieldStatus::NotFound, EventTime::EPOCH),
            ],
            _ => [(FieldStatus::Present, EventTime(1_772_366_400_500_000)); 3],
        };
        rows.into_iter()
    }

    fn cell(&self, output: usize, row: usize) -> Result<(FieldStatus, Cell<'_>), Infallible> {
        let (part, _) = TYPES[output];
        let (status, _) = self.part_rows(part).nth(row).unwrap();
        if status != FieldStatus::Present {
            return Ok((status, Cell::Null));
        }
        let null = if self.quirks {
            FieldStatus::Present
        } else {
            FieldStatus::NullValue
        };
        assert_eq!(output, 3, "the others are of fixed width");
        Ok(match row {
            0 => (FieldStatus::NotFound, Cell::Null),
            1 => (null, Cell::Null),
            _ => (status, Cell::Text("\u{e9}\"")),
        })
    }

    fn quirks(&self) -> bool {
        self.quirks
    }
}

fn render(quirks: bool, versions: Option<&[(String, u32)]>) -> (String, Vec<StatusCounts>) {
    let values = [Value::Int64(1), Value::Int64(2), Value::Int64(3)];
    let texts = ["a", "b", "c"].map(|text| Value::Text(text.to_owned()));
    let output_names = names(["d", "i", "t", "s"].into_iter());
    let frame = Frame {
        columns: &[("key", &values), ("other", &texts)],
        output_names: &output_names,
        bytes_max: 1 << 20,
        versions,
        freshness: None,
    };
    let mut counts = Vec::new();
    let out = write_answer(&Sample { quirks }, &frame, &mut counts).unwrap();
    (String::from_utf8(out).unwrap(), counts)
}

#[test]
fn an_answer_reads_as_feasts() {
    let (text, counts) = render(false, None);
    let entity = r#""statuses":["PRESENT","PRESENT","PRESENT"],"event_timestamps":["1970-01-01T00:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]}"#;
    let shared = r#""statuses":["PRESENT","OUTSIDE_MAX_AGE","NOT_FOUND"],"event_timestamps":["2026-03-01T12:00:00Z","1970-01-01T23:59:59Z","1970-01-01T00:00:00Z"]}"#;
    let expected = [
        r#"{"results":[{"values":[1,2,3],"#,
        entity,
        r#",{"values":["a","b","c"],"#,
        entity,
        r#",{"values":[0.5,null,null],"#,
        shared,
        r#",{"values":[-7,null,null],"#,
        shared,
        r#",{"values":[null,null,null],"statuses":["NULL_VALUE","OUTSIDE_MAX_AGE","NOT_FOUND"],"event_timestamps":["2026-03-01T12:00:00Z","1970-01-01T23:59:59Z","1970-01-01T00:00:00Z"]}"#,
        ",{\"values\":[null,null,\"\u{e9}\\\"\"],",
        r#""statuses":["NOT_FOUND","NULL_VALUE","PRESENT"],"event_timestamps":["1970-01-01T00:00:00Z","2026-03-01T12:00:00.500Z","2026-03-01T12:00:00.500Z"]}"#,
        r#"],"metadata":{"feature_names":["key","other","d","i","t","s"]}}"#,
    ];
    assert_eq!(text, expected.concat());
    assert_eq!(counts, [[2, 1, 3, 3], [1, 1, 1, 0]]);
}

#[test]
fn quirks_show_null_times_as_python_does() {
    let (text, _) = render(true, None);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let times = &value["results"][4];
    assert_eq!(times["values"], serde_json::json!([i64::MIN, null, null]));
    assert_eq!(times["statuses"][0], "PRESENT");
}

#[test]
fn versions_are_told_when_asked_for() {
    let (text, _) = render(false, Some(&[("v".to_owned(), 0), ("w".to_owned(), 2)]));
    assert!(
        text.ends_with(r#""feature_view_metadata":[{"name":"v"},{"name":"w","version":2}]}}"#),
        "{text}"
    );
}

#[test]
fn an_answer_is_bounded() {
    let output_names = names(["d", "i", "t", "s"].into_iter());
    let frame = Frame {
        columns: &[],
        output_names: &output_names,
        bytes_max: 300,
        versions: None,
        freshness: None,
    };
    let written = write_answer(&Sample { quirks: false }, &frame, &mut Vec::new());
    assert!(matches!(written, Err(WriteError::TooLarge)));
}

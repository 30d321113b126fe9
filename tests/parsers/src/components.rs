//! Components, and what they answer.

use std::sync::LazyLock;
use std::time::Duration;

use galley_transform::{
    Batch, Cache, CallContext, Column, ColumnRef, Columns, DataType, Engine, EngineConfig,
    Inspection, Kind, Limits, PackedRef, ScalarsRef, Signature, Transform, TransformConfig, Values,
    ValuesRef, Worker, from_outside,
};
use galley_types::EventTime;

use crate::guest::{Guest, signature};
use crate::rides::folder;

const CONTEXT: CallContext = CallContext {
    now: EventTime(1_772_366_400_000_000),
    seed: 42,
};

/// Where the guest has its answer: what it was given lies there.
pub(crate) const ANSWER_AT: u32 = 64 << 10;

/// Rows of an answer.
pub(crate) const ROWS: u32 = 1;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let config = EngineConfig {
        instances_max: 8,
        ..EngineConfig::default()
    };
    Engine::new(config).expect("the machine runs an engine")
});

/// A guest whose answer is whatever bytes it is given.
static PARROT: LazyLock<Transform> = LazyLock::new(|| {
    let mut guest = Guest::echo(outputs());
    // The bytes of the only column of the batch, which is binary.
    guest.apply = format!(
        "(memory.copy (i32.const {ANSWER_AT})
           (i32.load offset=16 (local.get $columns)) (i32.load offset=20 (local.get $columns)))
         (i32.const {ANSWER_AT})"
    );
    guest.pages = 3;
    load(&guest.build(), quick_limits).expect("the parrot is sound")
});

/// A column of every kind that differs from the others in how it is checked.
fn outputs() -> Signature {
    let scalar = DataType::Scalar;
    let array = DataType::Array;
    signature(
        &[scalar(Kind::Binary)],
        &[
            scalar(Kind::Float64),
            scalar(Kind::Utf8),
            scalar(Kind::Boolean),
            array(Kind::Int32),
            array(Kind::Utf8),
            scalar(Kind::TimestampMicros),
        ],
    )
}

fn quick_limits(limits: &mut Limits) {
    limits.breaker.failures_percent = 0;
    limits.log_rate_max = 0;
    limits.deadline = Duration::from_millis(20);
    limits.wall_deadline = Duration::from_millis(400);
}

fn load(component: &[u8], adjust: impl Fn(&mut Limits)) -> galley_transform::Result<Transform> {
    let code = folder().join("code");
    let cache = Cache::open(&code, Worker::InProcess)?;
    let limits = Limits::default();
    let loaded = cache.load(&ENGINE, component, "a_view", &limits)?;
    let mut config = TransformConfig::suited("a_view", &loaded);
    adjust(&mut config.limits);
    let transform = Transform::load(&ENGINE, &loaded, config);
    // Each input is another component: their code would fill the disk.
    std::fs::remove_dir_all(&code).expect("it is ours");
    transform
}

/// What a guest gives back from `apply`, as it lies in its memory.
pub(crate) fn answer(bytes: &[u8]) {
    let (Ok(length), Ok(rows)) = (u32::try_from(bytes.len()), usize::try_from(ROWS)) else {
        return;
    };
    let offsets = [0, length];
    let column = ColumnRef {
        values: ValuesRef::Scalar(ScalarsRef::Binary(PackedRef {
            offsets: &offsets,
            data: bytes,
        })),
        validity: None,
    };
    let batch = Batch {
        rows: ROWS,
        columns: &[column],
    };
    if let Ok(answer) = PARROT.call(&CONTEXT, batch) {
        assert_eq!(answer.rows, ROWS);
        assert_eq!(answer.columns.len(), PARROT.signature().outputs.len());
        check(&answer, rows);
    }
}

/// What was let through has a value or a null for each row, and text is text.
fn check(answer: &Columns, rows: usize) {
    for (column, field) in answer.columns.iter().zip(&PARROT.signature().outputs) {
        let column: &Column = column;
        let column_ref = column.as_ref();
        assert_eq!(column_ref.data_type(), field.data_type);
        assert_eq!(column_ref.len(), rows, "{}", field.name);
        if let Values::Scalar(scalars) = &column.values
            && let ScalarsRef::Utf8(texts) = scalars.as_ref()
        {
            for row in 0..rows {
                let text = texts.get(row).expect("each row has one");
                assert!(std::str::from_utf8(text).is_ok(), "{text:?}");
            }
        }
    }
}

/// Small sound components for the fuzzers to begin with.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let numbers = [
        DataType::Scalar(Kind::Float64),
        DataType::Array(Kind::Int64),
    ];
    let texts = [DataType::Scalar(Kind::Utf8)];
    let mut growing = Guest::echo(signature(&texts, &texts));
    growing.describe = "(drop (memory.grow (i32.const 1)))".to_owned();
    growing.extra = "(global $calls (mut i64) (i64.const 7)) (table 4 funcref)".to_owned();
    growing.post_return = Some("(global.set $calls (i64.const 8))".to_owned());
    let mut endless = Guest::echo(signature(&numbers, &numbers));
    endless.apply = "(loop $again (br $again)) (unreachable)".to_owned();
    let guests = [Guest::echo(signature(&numbers, &numbers)), growing, endless];
    guests.iter().map(Guest::build).collect()
}

/// A component: looked into, given its function that puts it back, compiled, asked and called.
pub(crate) fn component(bytes: &[u8]) {
    let Ok(inspection) = Inspection::of(bytes) else {
        return;
    };
    let is_valid = wasmparser::Validator::new().validate_all(bytes).is_ok();
    if let Some(extended) = from_outside::with_reset(bytes)
        && is_valid
        && let Err(error) = wasmparser::Validator::new().validate_all(&extended)
    {
        panic!("a sound component is not after what was added: {error}");
    }
    if inspection.check("a_view", &Limits::default()).is_err() {
        return;
    }
    let Ok(transform) = load(bytes, quick_limits) else {
        return;
    };
    let inputs = transform.signature().inputs.iter();
    let columns: Vec<Column> = inputs.map(|field| Column::empty(field.data_type)).collect();
    let columns: Vec<ColumnRef<'_>> = columns.iter().map(Column::as_ref).collect();
    for _ in 0..3 {
        let batch = Batch {
            rows: 0,
            columns: &columns,
        };
        let _ = transform.call(&CONTEXT, batch);
    }
}

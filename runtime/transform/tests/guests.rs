//! Guests of every temper, each answered, or contained with the message that names the cause.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may fail loudly"
)]

mod guest;

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use galley_transform::{
    ArraysRef, Batch, BreakerConfig, BreakerState, Cache, CallContext, Column, ColumnRef, Columns,
    DataType, Engine, EngineConfig, Error, Isolation, Kind, Limit, Limits, LogLevel, LogSink,
    NullHandling, Outcome, PackedRef, Result, Scalars, ScalarsRef, Signature, Transform,
    TransformConfig, Values, ValuesRef, Worker,
};
use galley_types::{Classify, ErrorKind, EventTime};
use guest::{ANSWER_AT, BUMP, ECHO, Guest, doubles, signature};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    Engine::new(EngineConfig {
        instances_max: 64,
        ..EngineConfig::default()
    })
    .unwrap()
});

/// Compiled guests are kept between runs of the tests.
static CACHE: LazyLock<Cache> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    Cache::open(&folder, Worker::InProcess).unwrap()
});

const CONTEXT: CallContext = CallContext {
    now: EventTime(1_772_366_400_000_000),
    seed: 42,
};

const F64: DataType = DataType::Scalar(Kind::Float64);
const I64: DataType = DataType::Scalar(Kind::Int64);
const UTF8: DataType = DataType::Scalar(Kind::Utf8);

fn load(guest: &Guest) -> Result<Transform> {
    load_with(guest, |_| {})
}

fn load_with(guest: &Guest, adjust: impl FnOnce(&mut TransformConfig)) -> Result<Transform> {
    let loaded = CACHE.load(&ENGINE, &guest.build(), "a_view", &Limits::default())?;
    let mut config = TransformConfig::suited("a_view", &loaded);
    config.limits.breaker.failures_percent = 0;
    adjust(&mut config);
    Transform::load(&ENGINE, &loaded, config)
}

fn call(transform: &Transform, columns: &[ColumnRef<'_>]) -> Result<Columns> {
    let rows = columns.first().map_or(1, |column| column.len());
    let rows = u32::try_from(rows).unwrap();
    transform.call(&CONTEXT, Batch { rows, columns })
}

fn scalar(scalars: ScalarsRef<'_>) -> ColumnRef<'_> {
    ColumnRef {
        values: ValuesRef::Scalar(scalars),
        validity: None,
    }
}

/// Calls with one column of two doubles.
fn call_doubles(transform: &Transform) -> Result<Columns> {
    call(transform, &[scalar(ScalarsRef::Float64(&[1.5, f64::NAN]))])
}

fn fault_of(guest: &Guest) -> String {
    call_doubles(&load(guest).unwrap()).unwrap_err().to_string()
}

fn int64s(columns: &Columns, index: usize) -> &[i64] {
    match &columns.columns[index].values {
        Values::Scalar(Scalars::Int64(values)) => values,
        other => panic!("{other:?}"),
    }
}

/// Text that stores words, one after another, from `at`.
fn words(at: usize, words: &[i64]) -> String {
    words
        .iter()
        .enumerate()
        .map(|(index, word)| {
            format!(
                "(i32.store (i32.const {}) (i32.const {word}))\n",
                at + 4 * index
            )
        })
        .collect()
}

/// An answer of two rows with one column at 64, whose words are `column`.
fn answer(column: &[i64]) -> String {
    format!(
        "{}{}(i32.const {ANSWER_AT})",
        words(ANSWER_AT, &[0, 2, 64, 1]),
        words(64, column)
    )
}

/// What a guest's realloc begins with to lend one block, and to fail when it is asked for more.
const ONCE: &str = "
    (if (i32.or (i32.ne (local.get $align) (i32.const 16)) (global.get $asked)) (then (unreachable)))
    (global.set $asked (i32.const 1))";

/// A guest that lends a block for its lists; `realloc` is what its own begins with.
fn lending(mut guest: Guest, realloc: &str) -> Guest {
    guest.extra += r#"(global $asked (mut i32) (i32.const 0)) (@custom "galley:list-block" "")"#;
    guest.realloc = format!(
        "(local $at i32) {realloc} {}",
        BUMP.replace("(local $at i32)", "")
    );
    guest
}

#[test]
fn every_kind_of_column_crosses_both_ways_as_it_is() {
    let echo = |types: &[DataType]| Guest::echo(signature(types, types));
    crosses_as_it_is(echo);
    crosses_as_it_is(|types| lending(echo(types), ONCE));
    // A guest that has no such block is asked for each list.
    let none = "(if (i32.eq (local.get $align) (i32.const 16)) (then (return (i32.const 0))))";
    crosses_as_it_is(|types| lending(echo(types), none));
}

#[test]
fn a_block_that_was_lent_serves_the_calls_that_follow() {
    let values: Vec<f64> = (0..200).map(f64::from).collect();
    let called = |transform: &Transform, rows: usize| {
        let answer = call(transform, &[scalar(ScalarsRef::Float64(&values[..rows]))])?;
        let expect = Values::Scalar(Scalars::Float64(values[..rows].to_vec()));
        assert_eq!(answer.columns[0].values, expect);
        Ok::<_, Error>(())
    };
    let mut guest = lending(Guest::echo(signature(&[F64], &[F64])), ONCE);
    let is_asked = "(if (i32.eqz (global.get $asked)) (then (unreachable)))";
    guest.apply = format!("{is_asked} {}", guest.apply);
    let pooled = load_with(&guest, |config| {
        config.isolation = Some(Isolation::Pooled {
            calls_max: 100,
            growth_bytes_max: usize::MAX,
            idle_max: Duration::from_secs(60),
        });
    });
    let pooled = pooled.unwrap();
    for rows in [1, 3, 20, 1] {
        called(&pooled, rows).unwrap();
    }
    // A longer one is asked for, which this guest has not.
    assert!(matches!(called(&pooled, 200), Err(Error::Trap { .. })));
    called(&pooled, 2).unwrap();
    assert_eq!(pooled.stats().instances, 2);
    // An instance that was put back has lent nothing.
    let fresh = load(&guest).unwrap();
    for rows in [1, 3, 20] {
        called(&fresh, rows).unwrap();
    }
}

fn crosses_as_it_is(guest: impl Fn(&[DataType]) -> Guest) {
    let kinds = [
        Kind::Boolean,
        Kind::Int32,
        Kind::Int64,
        Kind::Float32,
        Kind::Float64,
        Kind::Utf8,
        Kind::Binary,
        Kind::TimestampMicros,
    ];
    let types: Vec<DataType> = kinds
        .iter()
        .flat_map(|kind| [DataType::Scalar(*kind), DataType::Array(*kind)])
        .collect();
    let transform = load(&guest(&types)).unwrap();
    let scalars = [
        ScalarsRef::Boolean(&[1, 0, 1]),
        ScalarsRef::Int32(&[i32::MIN, 0, 7]),
        ScalarsRef::Int64(&[i64::MIN, 0, 7]),
        ScalarsRef::Float32(&[f32::INFINITY, -0.0, 1.5]),
        ScalarsRef::Float64(&[f64::NEG_INFINITY, 0.0, 2.5]),
        ScalarsRef::Utf8(PackedRef {
            offsets: &[0, 2, 2, 5],
            data: "\u{e9}abc".as_bytes(),
        }),
        ScalarsRef::Binary(PackedRef {
            offsets: &[0, 1, 3, 3],
            data: &[0xff, 0, 0xfe],
        }),
        ScalarsRef::TimestampMicros(&[0, -1, 1]),
    ];
    let columns: Vec<ColumnRef<'_>> = scalars
        .iter()
        .flat_map(|scalars| {
            let array = ValuesRef::Array(ArraysRef {
                offsets: &[0, 0, 2, 3],
                items: *scalars,
            });
            let validity = Some(&[0b101_u8][..]);
            [
                scalar(*scalars),
                ColumnRef {
                    values: array,
                    validity,
                },
            ]
        })
        .collect();
    let answer = call(&transform, &columns).unwrap();
    assert_eq!(answer.rows, 3);
    let back: Vec<ColumnRef<'_>> = answer.columns.iter().map(Column::as_ref).collect();
    assert_eq!(back, columns);
    assert_eq!(transform.stats().count(Outcome::Answered), 1);
    assert_eq!(transform.stats().rows, 3);
}

#[test]
fn the_signature_is_what_describe_says() {
    let expect = signature(&[I64, DataType::Array(Kind::Utf8)], &[F64]);
    let transform = load(&Guest::echo(expect.clone())).unwrap();
    assert_eq!(transform.signature(), &expect);
    let component = Guest::echo(expect).build();
    assert_eq!(transform.digest(), galley_transform::digest(&component));
    assert_eq!(transform.isolation(), Isolation::Fresh);
}

#[test]
fn a_signature_that_makes_no_sense_is_refused() {
    let check = |adjust: &dyn Fn(&mut Signature), expect: &str| {
        let mut signature = signature(&[F64, F64], &[F64]);
        adjust(&mut signature);
        let error = load(&Guest::echo(signature)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the signature of the component makes no sense: {expect}")
        );
    };
    check(&|it| it.name.clear(), "the name of the view is empty");
    check(&|it| it.outputs.clear(), "it has no outputs");
    check(
        &|it| it.inputs[1].name = "in0".into(),
        "it has two inputs named 'in0'",
    );
    check(
        &|it| it.outputs[0].name = "a\u{1b}[2J".into(),
        "the name of an output has control characters",
    );
    check(
        &|it| it.inputs[0].name = "n".repeat(513),
        "the name of an input is longer than 512 bytes",
    );
    check(
        &|it| it.version = "v".repeat(129),
        "the version is longer than 128 bytes or has control characters",
    );
}

const NOW: &str = r#"
    (import "galley:transform/request@0.1.0" "now-micros" (func $now (result i64)))
    (import "galley:transform/request@0.1.0" "seed" (func $seed (result i64)))
    (import "galley:transform/request@0.1.0" "variable" (func $variable (param i32 i32 i32)))
    (import "galley:transform/log@0.1.0" "log" (func $log (param i32 i32 i32)))"#;

/// A guest without inputs that answers two numbers for one row.
fn numbers(first: &str, second: &str) -> Guest {
    let mut guest = Guest::echo(signature(&[], &[I64, I64]));
    guest.apply = format!(
        "(i64.store (i32.const 256) {first}) (i64.store (i32.const 264) {second})
         {} {} {} (i32.const {ANSWER_AT})",
        words(ANSWER_AT, &[0, 1, 64, 2]),
        words(64, &[0, 2, 256, 1]),
        words(64 + 44, &[0, 2, 264, 1]),
    );
    guest
}

#[test]
fn a_guest_knows_the_request_and_its_variables_and_nothing_else() {
    let mut guest = numbers(
        "(i64.add (call $now) (call $seed))",
        // The length of the variable's value; 99 where there is none.
        r#"(block (result i64)
             (call $variable (i32.const 512) (i32.const 5) (i32.const 600))
             (if (result i64) (i32.load8_u (i32.const 600))
               (then (i64.load32_u (i32.const 608))) (else (i64.const 99))))"#,
    );
    NOW.clone_into(&mut guest.imports);
    guest.extra = r#"(data (i32.const 512) "limit")"#.to_owned();
    let transform = load_with(&guest, |config| {
        config.variables.insert("limit".into(), "0.9".into());
    })
    .unwrap();
    let answer = call(&transform, &[]).unwrap();
    assert_eq!(int64s(&answer, 0), [CONTEXT.now.0 + 42]);
    assert_eq!(int64s(&answer, 1), [3]);
    let without = call(&load(&guest).unwrap(), &[]).unwrap();
    assert_eq!(int64s(&without, 1), [99]);
}

#[test]
fn describe_may_not_ask_for_anything() {
    let mut guest = numbers("(i64.const 0)", "(i64.const 0)");
    NOW.clone_into(&mut guest.imports);
    guest.describe = "(drop (call $seed))".to_owned();
    assert_eq!(
        load(&guest).unwrap_err().to_string(),
        "transform 'a_view' failed in describe: describe asked for 'seed', which is there in apply \
         only"
    );
}

#[derive(Debug, Default)]
struct Lines(Mutex<Vec<(LogLevel, String)>>);

impl LogSink for Lines {
    fn line(&self, transform: &str, level: LogLevel, message: &str) {
        assert_eq!(transform, "a_view");
        self.0.lock().unwrap().push((level, message.to_owned()));
    }
}

#[test]
fn log_lines_are_cleaned_and_bounded() {
    let mut guest = numbers("(i64.const 0)", "(i64.const 0)");
    NOW.clone_into(&mut guest.imports);
    guest.extra = r#"(data (i32.const 512) "a\1b[31m\0ab")"#.to_owned();
    guest.apply = format!(
        "(loop $again
           (call $log (i32.const 2) (i32.const 512) (i32.const 8))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const 20)))) {}",
        guest.apply
    );
    let lines = Arc::new(Lines::default());
    let transform = load_with(&guest, |config| {
        config.log = Arc::clone(&lines) as Arc<dyn LogSink>;
    })
    .unwrap();
    call(&transform, &[]).unwrap();
    let lines = lines.0.lock().unwrap();
    assert_eq!(lines.len(), 16);
    assert_eq!(lines[0], (LogLevel::Warn, "a [31m b".to_owned()));
    assert_eq!(transform.stats().log_lines_dropped, 4);
}

const FOREVER: &str = "(loop $forever (br $forever)) (unreachable)";
const DEADLINE: &str = "the limit on processor time of a call (deadline = 50ms) was reached; where \
                        it needs more, set `deadline = \"100ms\"` under its [[trigger.galley]] in \
                        spin.toml";

#[test]
fn a_guest_that_never_ends_is_stopped_wherever_it_is() {
    let apply = Guest::apply(FOREVER);
    let realloc = Guest {
        realloc: FOREVER.to_owned(),
        ..Guest::echo(doubles())
    };
    let post_return = Guest {
        post_return: Some(FOREVER.to_owned()),
        ..Guest::echo(doubles())
    };
    for guest in [apply, realloc, post_return] {
        let transform = load(&guest).unwrap();
        let started = Instant::now();
        let error = call_doubles(&transform).unwrap_err();
        assert!(started.elapsed() >= Duration::from_millis(50));
        assert_eq!(
            error.to_string(),
            format!("transform 'a_view' was stopped in apply: {DEADLINE}")
        );
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(transform.stats().count(Outcome::Limited), 1);
    }
    let describe = Guest {
        describe: FOREVER.to_owned(),
        ..Guest::echo(doubles())
    };
    assert_eq!(
        load(&describe).unwrap_err().to_string(),
        format!("transform 'a_view' was stopped in describe: {DEADLINE}")
    );
    let start = Guest {
        start: Some(FOREVER.to_owned()),
        ..Guest::echo(doubles())
    };
    assert_eq!(
        load(&start).unwrap_err().to_string(),
        format!("transform 'a_view' was stopped while it was instantiated: {DEADLINE}")
    );
}

#[test]
fn a_guest_is_stopped_though_nothing_was_called_for_a_while() {
    let transform = load(&Guest::apply(FOREVER)).unwrap();
    // Longer than the engine's clock waits before it goes to sleep.
    std::thread::sleep(Duration::from_millis(400));
    let started = Instant::now();
    assert!(call_doubles(&transform).is_err());
    assert!(started.elapsed() < Duration::from_millis(400));
}

#[test]
fn the_deadline_counts_the_time_a_guest_has_had_not_the_time_it_waited() {
    let busy = Guest::apply(&format!(
        "(loop $again
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const 20000000)))) {ECHO}"
    ));
    let transform = |deadline| {
        load_with(&busy, |config| {
            config.limits.deadline = deadline;
            config.limits.wall_deadline = Duration::from_secs(60);
        })
        .unwrap()
    };
    let free = transform(Duration::from_secs(60));
    let alone = (0..3)
        .map(|_| {
            let started = Instant::now();
            call_doubles(&free).unwrap();
            started.elapsed()
        })
        .min()
        .unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..cores * 6 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let answer = call_doubles(&transform(alone * 3));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        answer.unwrap();
    });
}

#[test]
fn memory_of_guests_that_were_stopped_is_given_back() {
    let resident = || -> u64 {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
    };
    // Takes all it can get, writes to every page, then traps.
    let greedy = Guest::apply(
        "(drop (memory.grow (i32.const 250)))
         (memory.fill (i32.const 65536) (i32.const 1)
           (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536)))
         (unreachable)",
    );
    let transform = load(&greedy).unwrap();
    assert!(call_doubles(&transform).is_err());
    let before = resident();
    for _ in 0..100 {
        assert!(call_doubles(&transform).is_err());
    }
    // Other tests run in this process; a hundred guests would leave 1.6 GB.
    let grown = resident().saturating_sub(before);
    assert!(grown < 256 << 20, "{grown}");
}

#[test]
fn time_on_the_clock_is_bounded_as_well() {
    let transform = load_with(&Guest::apply(FOREVER), |config| {
        config.limits.deadline = Duration::from_secs(3_600);
        config.limits.wall_deadline = Duration::from_millis(20);
    })
    .unwrap();
    assert_eq!(
        call_doubles(&transform).unwrap_err().to_string(),
        "transform 'a_view' was stopped in apply: the limit on time of a call (wall-deadline = \
         20ms) was reached; where it needs more, set `wall-deadline = \"40ms\"` under its \
         [[trigger.galley]] in spin.toml"
    );
}

#[test]
fn memory_is_bounded_at_the_start_and_in_growing() {
    let greedy = Guest::apply(
        "(loop $more
           (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
         (unreachable)",
    );
    let rest = "the limit on memory (max-memory = 16MiB) was reached; where it needs more, set \
                `max-memory = \"32MiB\"` under its [[trigger.galley]] in spin.toml";
    assert_eq!(
        fault_of(&greedy),
        format!("transform 'a_view' was stopped in apply: {rest}")
    );
    let at_once = Guest::apply("(drop (memory.grow (i32.const 30000))) (unreachable)");
    assert_eq!(
        fault_of(&at_once),
        format!("transform 'a_view' was stopped in apply: {rest}")
    );
    let large = Guest {
        pages: 257,
        ..Guest::echo(doubles())
    };
    assert_eq!(
        load(&large).unwrap_err().to_string(),
        format!("transform 'a_view' was stopped while it was loaded: {rest}")
    );
}

#[test]
fn growth_that_is_refused_is_an_answer_to_the_guest() {
    // It asks for too much, takes the refusal, and goes on.
    let modest = Guest::apply(&format!("(drop (memory.grow (i32.const 1000))) {ECHO}"));
    assert!(call_doubles(&load(&modest).unwrap()).is_ok());
}

#[test]
fn tables_are_bounded() {
    let mut guest = Guest::apply(
        "(loop $more
           (br_if $more
             (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))
         (unreachable)",
    );
    guest.extra = "(table $table 1 funcref)".to_owned();
    assert_eq!(
        fault_of(&guest),
        "transform 'a_view' was stopped in apply: the limit on entries of a table \
         (max-table-elements = 10000) was reached; where it needs more, set `max-table-elements = \
         20000` under its [[trigger.galley]] in spin.toml"
    );
    guest.extra = "(table $table 10001 funcref)".to_owned();
    let error = load(&guest).unwrap_err();
    assert!(matches!(
        error,
        Error::Limit {
            limit: Limit::TableElements,
            ..
        }
    ));
    guest.extra = "(table $table 1 funcref)".to_owned() + &"(table 1 funcref)".repeat(4);
    assert!(matches!(
        load(&guest).unwrap_err(),
        Error::Limit {
            limit: Limit::Tables,
            ..
        }
    ));
}

#[test]
fn recursion_is_bounded() {
    let mut guest = Guest::apply("(call $down (i64.const 1)) (unreachable)");
    guest.extra = "(func $down (param i64)
        (call $down (i64.add (local.get 0) (i64.const 1)))
        (call $down (local.get 0)))"
        .to_owned();
    assert_eq!(
        fault_of(&guest),
        "transform 'a_view' was stopped in apply: the limit on stack of a call (max-stack = \
         512KiB) was reached; where it needs more, set `max-stack = \"1MiB\"` under \
         [application.trigger.galley] in spin.toml"
    );
}

const TOO_MUCH: &str = "transform 'a_view' was stopped in apply: the limit on bytes handed to the \
                        host at once (max-result = 4MiB) was reached; where it needs more, set \
                        `max-result = \"8MiB\"` under its [[trigger.galley]] in spin.toml";

#[test]
fn an_answer_is_bounded_however_it_is_made_large() {
    let huge = Guest::apply(&format!(
        "(drop (memory.grow (i32.const 200))) {}",
        answer(&[0, 4, 0, 1 << 20])
    ));
    assert_eq!(fault_of(&huge), TOO_MUCH);
    // A hundred columns that are all the same 64 KiB.
    let aliased = Guest::apply(&format!(
        "(loop $next
           (i32.store (i32.add (i32.const 8196) (local.get $j)) (i32.const 4))
           (i32.store (i32.add (i32.const 8200) (local.get $j)) (i32.const 0))
           (i32.store (i32.add (i32.const 8204) (local.get $j)) (i32.const 8192))
           (local.set $j (i32.add (local.get $j) (i32.const 44)))
           (br_if $next (i32.lt_u (local.get $j) (i32.const 4400))))
         {} (i32.const {ANSWER_AT})",
        words(ANSWER_AT, &[0, 2, 8192, 100])
    ));
    assert_eq!(fault_of(&aliased), TOO_MUCH);
    // A count of columns that goes round the address space.
    let many = Guest::apply(&format!(
        "{} (i32.const {ANSWER_AT})",
        words(ANSWER_AT, &[0, 2, 64, i64::from(i32::MAX)])
    ));
    assert_eq!(
        fault_of(&many),
        "transform 'a_view' gave an answer that cannot be used: list pointer/length out of bounds \
         of memory"
    );
    let text = format!(
        "{} {} (i32.const {ANSWER_AT})",
        words(ANSWER_AT, &[1, 2, 0, 5 << 20]),
        "(drop (memory.grow (i32.const 200)))"
    );
    assert_eq!(fault_of(&Guest::apply(&text)), TOO_MUCH);
}

#[test]
fn columns_that_share_memory_are_copies_of_their_own() {
    let mut guest = Guest::echo(signature(&[I64], &[I64, I64]));
    // The column that came in, twice.
    guest.apply = format!(
        "(memory.copy (i32.const 64) (local.get $columns) (i32.const 44))
         (memory.copy (i32.const 108) (local.get $columns) (i32.const 44))
         {} (i32.const {ANSWER_AT})",
        words(ANSWER_AT, &[0, 2, 64, 2])
    );
    let answer = call(
        &load(&guest).unwrap(),
        &[scalar(ScalarsRef::Int64(&[3, 4]))],
    )
    .unwrap();
    assert_eq!(int64s(&answer, 0), [3, 4]);
    assert_eq!(int64s(&answer, 1), [3, 4]);
}

fn check_bad_result(guest: &Guest, expect: &str) {
    let transform = load(guest).unwrap();
    let error = call_doubles(&transform).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("transform 'a_view' gave an answer that cannot be used: {expect}")
    );
    assert_eq!(transform.stats().count(Outcome::BadResult), 1);
}

#[test]
fn an_answer_of_another_shape_is_refused() {
    let check = |body: &str, expect: &str| check_bad_result(&Guest::apply(body), expect);
    let rows = |count: i64| {
        format!(
            "{}{}(i32.const {ANSWER_AT})",
            words(ANSWER_AT, &[0, count, 64, 1]),
            words(64, &[0, 4, 256, count])
        )
    };
    check(&rows(1), "it has 1 rows, 2 were asked");
    check(&rows(3), "it has 3 rows, 2 were asked");
    check(
        &answer(&[0, 4, 256, 1]),
        "column 'out0': it has 1 values for 2 rows",
    );
    let columns = |count| {
        format!(
            "{} (i32.const {ANSWER_AT})",
            words(ANSWER_AT, &[0, 2, 2048, count])
        )
    };
    check(&columns(0), "it has 0 columns, the signature 1");
    check(&columns(2), "it has 2 columns, the signature 1");
    check(
        &answer(&[0, 2, 256, 2]),
        "column 'out0': it is int64, the signature says float64",
    );
    check(
        &answer(&[1, 256, 3, 4, 0, 0]),
        "column 'out0': it is array of float64, the signature says float64",
    );
    check(
        &answer(&[0, 4, 256, 2, 0, 0, 0, 0, 1, 256, 2]),
        "column 'out0': its validity has 2 bytes, 2 rows take 1",
    );
    check(&answer(&[0, 9, 256, 2]), "unexpected discriminant: 9");
    check(
        &answer(&[0, 4, 130_000, 1_000]),
        "list pointer/length out of bounds of memory",
    );
    check(&answer(&[0, 4, 257, 2]), "list pointer is not aligned");
    check("(i32.const 17)", "return pointer not aligned");
    check("(i32.const 131064)", "pointer out of bounds of memory");
}

#[test]
fn nulls_that_were_not_declared_are_refused() {
    let mut guest = Guest::apply(&answer(&[0, 4, 256, 2, 0, 0, 0, 0, 1, 2000, 1]));
    assert!(call_doubles(&load(&guest).unwrap()).is_ok());
    guest.signature.outputs[0].nullable = false;
    check_bad_result(
        &guest,
        "column 'out0': it has nulls, the signature says it has none",
    );
}

#[test]
fn text_and_offsets_are_checked() {
    let check = |output: DataType, column: &[i64], expect: &str| {
        let mut guest = Guest::echo(signature(&[F64], &[output]));
        // Offsets at 256, data at 300.
        guest.extra = r#"(data (i32.const 300) "ab\c3\a9\ff\02")"#.to_owned();
        guest.apply = answer(column);
        let offsets = [0, 2, 4, 0, 3, 4, 1, 2, 4, 0, 3, 2, 0, 2, 5];
        guest.apply = words(512, &offsets) + &guest.apply;
        check_bad_result(&guest, &format!("column 'out0': {expect}"));
    };
    let offsets = |set: i64| 512 + set * 12;
    let utf8 = |offsets: i64, bytes: i64| [0, 5, offsets, 3, 300, bytes];
    let not_utf8 = "it has text that is not UTF-8";
    check(UTF8, &utf8(offsets(4), 5), not_utf8);
    check(UTF8, &utf8(offsets(1), 4), not_utf8);
    check(
        UTF8,
        &utf8(offsets(2), 4),
        "its offsets do not start with 0",
    );
    check(UTF8, &utf8(offsets(3), 2), "its offsets fall");
    check(
        UTF8,
        &utf8(offsets(0), 5),
        "its offsets do not end with the data",
    );
    check(
        UTF8,
        &[0, 5, 512, 2, 300, 2],
        "it has 2 offsets for 2 values",
    );
    check(
        DataType::Scalar(Kind::Boolean),
        &[0, 0, 304, 2],
        "a boolean is neither 0 nor 1",
    );
    let bytes = DataType::Array(Kind::Boolean);
    check(
        bytes,
        &[1, 512, 3, 0, 0, 5],
        "its offsets do not end with the data",
    );
    check(bytes, &[1, 512, 0, 0, 0, 0], "it has 0 offsets for 2 lists");
}

#[test]
fn a_value_that_is_too_long_is_refused() {
    let mut guest = Guest::echo(signature(&[F64], &[UTF8]));
    guest.apply = words(512, &[0, 0, 65_537]) + &answer(&[0, 5, 512, 3, 2048, 65_537]);
    let error = call_doubles(&load(&guest).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "transform 'a_view' was stopped in apply: the limit on bytes of one value (max-cell = \
         64KiB) was reached; where it needs more, set `max-cell = \"128KiB\"` under its \
         [[trigger.galley]] in spin.toml"
    );
}

#[test]
fn a_trap_is_named_and_harms_no_other_call() {
    let mut guest = Guest::apply(&format!(
        "(if (f64.eq (f64.load (i32.load offset=8 (local.get $columns))) (f64.const 13))
           (then (unreachable))) {ECHO}"
    ));
    for isolation in [Isolation::Fresh, Isolation::pooled()] {
        let transform = load_with(&guest, |config| config.isolation = Some(isolation)).unwrap();
        for round in 0..3 {
            assert!(call_doubles(&transform).is_ok(), "{round}");
            let error = call(&transform, &[scalar(ScalarsRef::Float64(&[13.0]))]).unwrap_err();
            assert_eq!(
                error.to_string(),
                "transform 'a_view' failed in apply: wasm trap: wasm `unreachable` instruction \
                 executed"
            );
        }
        assert_eq!(transform.stats().count(Outcome::Trapped), 3);
    }
    guest.apply = "(i32.load (i32.const -4))".to_owned();
    assert_eq!(
        fault_of(&guest),
        "transform 'a_view' failed in apply: wasm trap: out of bounds memory access"
    );
}

#[test]
fn what_a_guest_said_last_explains_its_trap() {
    let mut guest = numbers("(i64.const 0)", "(i64.const 0)");
    NOW.clone_into(&mut guest.imports);
    guest.extra = r#"(data (i32.const 512) "panicked at src/lib.rs:7\0a")"#.to_owned();
    guest.apply =
        "(call $log (i32.const 3) (i32.const 512) (i32.const 25)) (unreachable)".to_owned();
    assert_eq!(
        call(&load(&guest).unwrap(), &[]).unwrap_err().to_string(),
        "transform 'a_view' failed in apply: wasm trap: wasm `unreachable` instruction executed; \
         before that it said: panicked at src/lib.rs:7 "
    );
}

#[test]
fn what_the_author_says_is_passed_on_clean_and_short() {
    let text = format!(
        r#"(data (i32.const 4096) "bad\1b[2J{}")"#,
        "x".repeat(2_000)
    );
    let mut guest = Guest::echo(doubles());
    guest.extra = text;
    let say = |words_of: &[i64]| {
        let mut guest = guest.clone();
        guest.apply = format!("{} (i32.const {ANSWER_AT})", words(ANSWER_AT, words_of));
        call_doubles(&load(&guest).unwrap()).unwrap_err()
    };
    let rejected = say(&[1, 1, 1, 1, 4096, 7]);
    assert_eq!(
        rejected.to_string(),
        "transform 'a_view' refuses the data of row 1: bad [2J"
    );
    assert_eq!(rejected.kind(), ErrorKind::Invalid);
    // A row there is not is not named.
    assert_eq!(
        say(&[1, 1, 1, 2, 4096, 3]).to_string(),
        "transform 'a_view' refuses the data: bad"
    );
    let failed = say(&[1, 2, 4096, 2_000]);
    let Error::Failed { message, .. } = &failed else {
        panic!("{failed}");
    };
    assert_eq!(message.len(), 1_024);
    assert!(message.starts_with("bad [2Jxx") && message.ends_with("x..."));
    assert_eq!(
        say(&[1, 0, 4096, 3]).to_string(),
        "transform 'a_view' says it failed: it cannot use the batch: bad"
    );
}

#[test]
fn nothing_survives_a_call_in_a_fresh_instance() {
    let mut guest = numbers(
        "(i64.extend_i32_u (global.get $calls))",
        // What lies in memory it has not written to yet.
        "(i64.load8_u (i32.const 20000))",
    );
    guest.extra = "(global $calls (mut i32) (i32.const 0))".to_owned();
    guest.apply = format!(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1))) {}",
        guest.apply.replacen(
            "(i32.store (i32.const 16)",
            "(i32.store8 (i32.const 20000) (i32.const 83)) (i32.store (i32.const 16)",
            1,
        )
    );
    // As many calls at once as there are threads: on a busy machine a call that has to wait for
    // another may be sent away.
    let transform = load_with(&guest, |config| config.limits.concurrency_max = 4).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let answer = call(&transform, &[]).unwrap();
                    assert_eq!(
                        (int64s(&answer, 0), int64s(&answer, 1)),
                        (&[1][..], &[0][..])
                    );
                }
            });
        }
    });
    // Put back after each call, or made anew where the kernel does not tell what was written.
    let made = if tells_written_pages() { 4 } else { 2_000 };
    assert!(transform.stats().instances <= made);
    let pooled = load_with(&guest, |config| {
        config.isolation = Some(Isolation::Pooled {
            calls_max: 3,
            growth_bytes_max: 0,
            idle_max: Duration::from_secs(60),
        });
    })
    .unwrap();
    let counts: Vec<i64> = (0..7)
        .map(|_| int64s(&call(&pooled, &[]).unwrap(), 0)[0])
        .collect();
    assert_eq!(counts, [1, 2, 3, 1, 2, 3, 1]);
    assert_eq!(pooled.stats().instances, 3);
}

/// Whether the kernel tells which pages were written.
fn tells_written_pages() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

/// Calls a fresh guest that gives two numbers of its state and then spoils them; returns how many
/// instances that took.
fn instances_for_five_calls(guest: &Guest, untouched: [i64; 2]) -> u64 {
    let transform = load(guest).unwrap();
    for _ in 0..5 {
        let answer = call(&transform, &[]).unwrap();
        assert_eq!(
            (int64s(&answer, 0), int64s(&answer, 1)),
            (&untouched[..1], &untouched[1..])
        );
    }
    transform.stats().instances
}

/// A guest that looks at two numbers, and then does something to its state.
fn spoiling(look: [&str; 2], spoil: &str) -> Guest {
    let mut guest = numbers(look[0], look[1]);
    let (answer, pointer) = guest.apply.rsplit_once("(i32.const").unwrap();
    guest.apply = format!("{answer} {spoil} (i32.const{pointer}");
    guest
}

#[test]
fn what_a_call_writes_anywhere_is_put_back() {
    if !tells_written_pages() {
        return;
    }
    // The image, a page behind everything, and globals of each type.
    let mut guest = spoiling(
        [
            "(i64.load8_u (i32.const 1024))",
            "(i64.add (i64.load (i32.const 131064)) (i64.add (global.get $long) (i64.extend_i32_u
              (i32.add (i32.trunc_f32_s (global.get $float)) (i32.trunc_f64_s (global.get $double))))))",
        ],
        "(i32.store (i32.const 1024) (i32.const -1)) (i64.store (i32.const 131064) (i64.const 9))
         (global.set $long (i64.const 1)) (global.set $float (f32.const 1))
         (global.set $double (f64.const 1))",
    );
    guest.extra = "(global $long (mut i64) (i64.const -5000000000))
                   (global $float (mut f32) (f32.const 20.5)) (global $double (mut f64) (f64.const 3))"
        .to_owned();
    let first = i64::from(*guest.signature_image().first().unwrap());
    let made = instances_for_five_calls(&guest, [first, -5_000_000_000 + 20 + 3]);
    assert_eq!(made, 1);
}

#[test]
fn state_that_cannot_be_put_back_is_left_behind_with_its_instance() {
    let grown = "(drop (memory.grow (i32.const 1)))";
    let size = "(i64.extend_i32_u (memory.size))";
    assert_eq!(
        instances_for_five_calls(&spoiling([size, size], grown), [2, 2]),
        5
    );

    // More pages than are worth it.
    let mut large = spoiling(
        ["(i64.load8_u (i32.const 600000))", "(i64.const 0)"],
        "(memory.fill (i32.const 65536) (i32.const 7) (i32.const 983040))",
    );
    large.pages = 16;
    assert_eq!(instances_for_five_calls(&large, [0, 0]), 5);

    let mut table = spoiling(
        [
            "(i64.extend_i32_u (ref.is_null (table.get $table (i32.const 1))))",
            "(i64.const 0)",
        ],
        "(table.set $table (i32.const 1) (table.get $table (i32.const 0)))",
    );
    table.extra =
        "(table $table 2 2 funcref) (elem (i32.const 0) $target) (func $target)".to_owned();
    assert_eq!(instances_for_five_calls(&table, [1, 0]), 5);

    let mut segment = spoiling(
        ["(i64.load8_u (i32.const 20000))", "(i64.const 0)"],
        "(memory.init $once (i32.const 20000) (i32.const 0) (i32.const 0)) (data.drop $once)",
    );
    segment.extra = "(data $once \"gone\")".to_owned();
    assert_eq!(instances_for_five_calls(&segment, [0, 0]), 5);

    // What a start function does is part of what an instance begins with.
    let mut started = spoiling(
        ["(i64.extend_i32_u (global.get $number))", "(i64.const 0)"],
        "(global.set $number (i32.const 3))",
    );
    started.extra = "(global $number (mut i32) (i32.const 1))".to_owned();
    started.start = Some("(global.set $number (i32.const 2))".to_owned());
    assert_eq!(instances_for_five_calls(&started, [2, 0]), 5);

    // An author's own function of the name that is added.
    let mut own = spoiling(
        ["(i64.extend_i32_u (global.get $number))", "(i64.const 0)"],
        "(global.set $number (i32.const 3))",
    );
    let export = "export transformer;";
    let more = "export transformer; export galley-reset: func(x: u32);";
    assert!(own.wit.contains(export));
    own.wit = own.wit.replace(export, more);
    own.extra = "(global $number (mut i32) (i32.const 1))
                 (func (export \"galley-reset\") (param i32))"
        .to_owned();
    assert_eq!(instances_for_five_calls(&own, [1, 0]), 5);
}

#[test]
fn a_call_that_fails_leaves_nothing_behind() {
    let mut guest = spoiling(
        ["(i64.extend_i32_u (global.get $number))", "(i64.const 0)"],
        "(global.set $number (i32.const 3))
         (if (i64.eq (i64.load (i32.const 20000)) (i64.const 0))
             (then) (else (unreachable)))",
    );
    guest.extra = "(global $number (mut i32) (i32.const 1))".to_owned();
    guest.apply = format!(
        "(if (i32.eq (local.get $rows) (i32.const 2))
             (then (global.set $number (i32.const 9)) (i32.store (i32.const 20000) (i32.const 1))
                   (unreachable)))
         {}",
        guest.apply
    );
    let transform = load(&guest).unwrap();
    for _ in 0..3 {
        assert_eq!(int64s(&call(&transform, &[]).unwrap(), 0), [1]);
        let two = Batch {
            rows: 2,
            columns: &[],
        };
        assert!(matches!(
            transform.call(&CONTEXT, two),
            Err(Error::Trap { .. })
        ));
    }
}

#[test]
fn an_instance_that_grew_or_waited_long_is_replaced() {
    let mut guest = numbers("(i64.extend_i32_u (global.get $calls))", "(i64.const 0)");
    guest.extra = "(global $calls (mut i32) (i32.const 0))".to_owned();
    let count = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))";
    guest.apply = format!("{count} (drop (memory.grow (i32.const 1))) {}", guest.apply);
    let growing = load_with(&guest, |config| {
        config.isolation = Some(Isolation::Pooled {
            calls_max: 100,
            growth_bytes_max: 128 << 10,
            idle_max: Duration::from_secs(60),
        });
    })
    .unwrap();
    let counts: Vec<i64> = (0..5)
        .map(|_| int64s(&call(&growing, &[]).unwrap(), 0)[0])
        .collect();
    assert_eq!(counts, [1, 2, 3, 1, 2]);
    let idle = load_with(&guest, |config| {
        config.isolation = Some(Isolation::Pooled {
            calls_max: 100,
            growth_bytes_max: 1 << 30,
            idle_max: Duration::ZERO,
        });
    })
    .unwrap();
    call(&idle, &[]).unwrap();
    std::thread::sleep(Duration::from_millis(1));
    idle.release_idle();
    assert_eq!(int64s(&call(&idle, &[]).unwrap(), 0), [1]);
}

#[test]
fn rows_with_nulls_are_kept_back_where_the_author_says_so() {
    let mut signature = signature(&[F64, UTF8], &[F64, UTF8]);
    let columns = [
        ColumnRef {
            values: ValuesRef::Scalar(ScalarsRef::Float64(&[1.0, 2.0, 3.0, 4.0])),
            validity: Some(&[0b1101]),
        },
        ColumnRef {
            values: ValuesRef::Scalar(ScalarsRef::Utf8(PackedRef {
                offsets: &[0, 1, 2, 2, 4],
                data: b"abdd",
            })),
            validity: Some(&[0b1011]),
        },
    ];
    let nulls = |signature: &Signature| {
        let answer = call(&load(&Guest::echo(signature.clone())).unwrap(), &columns).unwrap();
        let nulls = |column: &Column| -> Vec<bool> {
            (0..4).map(|row| column.as_ref().is_null(row)).collect()
        };
        let last = answer.columns[1].as_ref().cell(3).unwrap();
        assert_eq!(last, galley_types::Cell::Text("dd"));
        (nulls(&answer.columns[0]), nulls(&answer.columns[1]))
    };
    let both = vec![false, true, true, false];
    let (first, second) = (
        vec![false, true, false, false],
        vec![false, false, true, false],
    );
    assert_eq!(nulls(&signature), (first.clone(), second));
    signature.inputs[0].nullable = false;
    assert_eq!(nulls(&signature), (first, vec![false, true, true, false]));
    signature.null_handling = NullHandling::NullInNullOut;
    assert_eq!(nulls(&signature), (both.clone(), both));
    // No row is left: nothing is called.
    let all = ColumnRef {
        validity: Some(&[0]),
        ..columns[0]
    };
    let transform = load(&Guest {
        apply: "(unreachable)".to_owned(),
        ..Guest::echo(signature)
    })
    .unwrap();
    let answer = call(&transform, &[all, columns[1]]).unwrap();
    assert!((0..4).all(|row| answer.columns[0].as_ref().is_null(row)));
}

#[test]
fn a_batch_that_does_not_fit_is_not_handed_over() {
    let transform = load(&Guest::echo(doubles())).unwrap();
    let check = |columns: &[ColumnRef<'_>], expect: &str| {
        assert_eq!(
            call(&transform, columns).unwrap_err().to_string(),
            format!("the batch for transform 'a_view' does not fit its signature: {expect}")
        );
    };
    check(&[], "it has 0 columns, the signature 1");
    check(
        &[scalar(ScalarsRef::Int64(&[1]))],
        "column 'in0' is int64 of 1 rows, float64 of 1 rows is expected",
    );
    let short = ColumnRef {
        validity: Some(&[]),
        ..scalar(ScalarsRef::Float64(&[1.0]))
    };
    check(&[short], "the validity of column 'in0' is not of 1 bytes");
    let rows = vec![0.0; 10_001];
    let error = call(&transform, &[scalar(ScalarsRef::Float64(&rows))]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let none = call(&transform, &[scalar(ScalarsRef::Float64(&[]))]).unwrap();
    assert_eq!((none.rows, none.columns.len()), (0, 1));
}

#[test]
fn anything_outside_the_contract_may_not_be_imported() {
    let mut guest = Guest::echo(doubles());
    guest.wit = guest.wit.replace(
        "world transform {",
        "interface disk { wipe: func(); }\nworld transform {\n import disk;",
    );
    guest.imports = r#"(import "galley:transform/disk@0.1.0" "wipe" (func $wipe))"#.to_owned();
    guest.describe = "(call $wipe)".to_owned();
    let error = load(&guest).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the component imports 'galley:transform/disk@0.1.0', which a transformation does not get: \
         it may import only galley:transform/request and galley:transform/log at 0.1; build Rust \
         for wasm32-unknown-unknown, Python with --stub-wasi, JavaScript with all features disabled"
    );
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_component_of_another_world_is_refused() {
    let load = |component: &[u8]| {
        CACHE
            .load(&ENGINE, component, "a_view", &Limits::default())
            .and_then(|loaded| {
                Transform::load(&ENGINE, &loaded, TransformConfig::suited("a_view", &loaded))
            })
            .unwrap_err()
            .to_string()
    };
    let prefix = "the component does not implement the world galley:transform/transform@0.1.0: ";
    let empty = wat::parse_str("(component)").unwrap();
    assert_eq!(
        load(&empty),
        format!(
            "{prefix}it does not export galley:transform/transformer@0.1.0 (it exports nothing)"
        )
    );
    let name = "galley:transform/transformer@0.1.0";
    let hollow = wat::parse_str(format!(
        "(component (component $c) (instance $i (instantiate $c)) (export \"{name}\" (instance $i)))"
    ))
    .unwrap();
    assert_eq!(
        load(&hollow),
        format!("{prefix}it does not export galley:transform/transformer.describe at 0.1.0")
    );
    // An answer with another type of rows.
    let mut other = Guest::echo(doubles());
    other.wit = other.wit.replace("rows: u32", "rows: s32");
    assert!(
        load(&other.build()).starts_with(prefix),
        "{}",
        load(&other.build())
    );
    let module = wat::parse_str("(module)").unwrap();
    assert_eq!(
        load(&module),
        "this is not a WebAssembly component: it is a core module; make it a component, as `galley \
         transform build` and `wasm-tools component new` do"
    );
    assert_eq!(
        load(b"hello, component"),
        "this is not a WebAssembly component: it does not begin as WebAssembly does; `galley \
         transform build` makes components from source"
    );
    assert_eq!(
        load(b""),
        "this is not a WebAssembly component: it is empty"
    );
    let mut large = Guest::echo(doubles()).build();
    // A custom section of zeros.
    large.extend([0, 0x80, 0x80, 0x80, 0x04, 0]);
    large.resize(large.len() + (8 << 20) - 1, 0);
    assert_eq!(
        load(&large),
        "transform 'a_view' was stopped while it was loaded: the limit on size of the component \
         (max-component = 8MiB) was reached; where it needs more, set `max-component = \"16MiB\"` \
         under its [[trigger.galley]] in spin.toml"
    );
}

#[test]
fn a_transform_that_keeps_failing_is_left_alone() {
    let transform = load_with(&Guest::apply("(unreachable)"), |config| {
        config.limits.breaker = BreakerConfig {
            open: Duration::from_millis(100),
            ..BreakerConfig::default()
        };
    })
    .unwrap();
    for _ in 0..20 {
        assert!(matches!(call_doubles(&transform), Err(Error::Trap { .. })));
    }
    let error = call_doubles(&transform).unwrap_err();
    assert!(matches!(error, Error::BreakerOpen { .. }), "{error}");
    assert_eq!(transform.stats().breaker, BreakerState::Open);
    std::thread::sleep(Duration::from_millis(120));
    assert!(matches!(call_doubles(&transform), Err(Error::Trap { .. })));
    assert!(matches!(
        call_doubles(&transform),
        Err(Error::BreakerOpen { .. })
    ));
    assert_eq!(transform.stats().breaker_opened, 2);
}

#[test]
fn others_are_served_while_a_guest_misbehaves() {
    let good = load(&Guest::echo(doubles())).unwrap();
    let bodies = [
        FOREVER,
        "(unreachable)",
        "(drop (memory.grow (i32.const 250))) (loop $fill
           (memory.fill (i32.const 65536) (i32.const 1) (i32.const 16000000)) (br $fill))
         (unreachable)",
    ];
    std::thread::scope(|scope| {
        let hostile = bodies.map(|body| {
            scope.spawn(|| {
                let transform = load(&Guest::apply(body)).unwrap();
                for _ in 0..5 {
                    assert!(call_doubles(&transform).is_err());
                }
            })
        });
        let mut calls = 0;
        while !hostile
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            call_doubles(&good).unwrap();
            calls += 1;
        }
        assert!(calls > 100, "{calls}");
    });
}

#[test]
fn calls_past_the_places_are_turned_away() {
    let transform = load_with(&Guest::apply(FOREVER), |config| {
        config.limits.deadline = Duration::from_millis(400);
        config.limits.concurrency_max = 1;
        config.limits.waiting_max = 0;
    })
    .unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| call_doubles(&transform));
        while transform.stats().running == 0 {
            std::thread::yield_now();
        }
        let error = call_doubles(&transform).unwrap_err();
        assert_eq!(
            error.to_string(),
            "transform 'a_view' is busy: the limit on calls at the same time (max-concurrency = 1) \
             was reached; try again, or set `max-concurrency = 2` under its [[trigger.galley]] in \
             spin.toml"
        );
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(first.join().unwrap().is_err());
    });
}

#[test]
fn the_instances_of_a_process_are_bounded() {
    let engine = Engine::new(EngineConfig {
        instances_max: 1,
        ..EngineConfig::default()
    })
    .unwrap();
    let component = Guest::apply(FOREVER).build();
    let loaded = CACHE
        .load(&engine, &component, "a_view", &Limits::default())
        .unwrap();
    let transform =
        Transform::load(&engine, &loaded, TransformConfig::suited("a_view", &loaded)).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| call_doubles(&transform));
        while transform.stats().running == 0 {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(10));
        let error = call_doubles(&transform).unwrap_err();
        assert_eq!(
            error.to_string(),
            "transform 'a_view' is busy: the limit on live instances of all transforms \
             (max-instances = 1) was reached; try again, or set `max-instances = 2` under \
             [application.trigger.galley] in spin.toml"
        );
        assert!(first.join().unwrap().is_err());
    });
}

mod random {
    use super::*;
    use proptest::prelude::*;

    fn config(cases: u32) -> ProptestConfig {
        ProptestConfig {
            cases,
            failure_persistence: None,
            ..ProptestConfig::default()
        }
    }

    /// What a node does with a component, up to a call.
    fn try_all(component: &[u8]) {
        let limits = Limits::default();
        let Ok(loaded) = CACHE.load(&ENGINE, component, "a_view", &limits) else {
            return;
        };
        let config = TransformConfig::suited("a_view", &loaded);
        if let Ok(transform) = Transform::load(&ENGINE, &loaded, config) {
            let _ = call_doubles(&transform);
        }
    }

    static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| Guest::echo(doubles()).build());

    proptest! {
        #![proptest_config(config(300))]

        #[test]
        fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let limits = Limits::default();
            prop_assert!(CACHE.load(&ENGINE, &bytes, "a_view", &limits).is_err());
        }

        #[test]
        fn random_sections_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let component = [&b"\0asm\x0d\0\x01\0"[..], &bytes].concat();
            try_all(&component);
        }

        #[test]
        fn a_component_cut_short_harms_nobody(cut in 0..SOUND.len()) {
            try_all(&SOUND[..cut]);
        }
    }

    proptest! {
        #![proptest_config(config(40))]

        #[test]
        fn a_damaged_component_harms_nobody(
            damage in prop::collection::vec((0..SOUND.len(), any::<u8>()), 1..4)
        ) {
            let mut component = SOUND.clone();
            for (at, byte) in damage {
                component[at] = byte;
            }
            try_all(&component);
        }
    }
}

//! Serving logs: of look-ups of a feature service that asks for it, some are kept with what was
//! served, in the columns of Feast's logged features, and go home through the outbox.
//!
//! A look-up that is not sampled pays one branch. One that is encodes its rows and hands them to a
//! bounded queue; where that is full they are dropped and counted: they are samples, and a look-up
//! never waits for them.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use galley_registry::{ReadPlan, Registry};
use galley_store::{RowBatch, RowWriter, SchemaId, TableId};
use galley_types::{EventTime, Field, RowSchema, ScalarType, Value, ValueType};
use smallvec::SmallVec;

use crate::Answer;
use crate::parcel::{self, ParcelColumn, ParcelRole};

/// Feast's names of the columns that every table of logged features has.
const LOG_TIMESTAMP: &str = "__log_timestamp";
const LOG_DATE: &str = "__log_date";
const REQUEST_ID: &str = "__request_id";

/// How serving logs are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsConfig {
    /// Whether they are taken at all, where there is an outbox.
    pub enabled: bool,
    /// Of a hundred look-ups of a service that logs, how many are kept; `None`: what the service
    /// says.
    pub sample_percent: Option<u8>,
    /// Look-ups that wait to be written down; further ones are dropped.
    pub queue_max: usize,
    /// Bytes of their rows.
    pub queue_bytes_max: usize,
    /// How long rows are gathered before they join the outbox.
    pub gather: Duration,
    /// Bytes of rows that join the outbox at once.
    pub gather_bytes_max: usize,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            sample_percent: None,
            queue_max: 1_024,
            queue_bytes_max: 64 << 20,
            gather: Duration::from_secs(1),
            gather_bytes_max: 4 << 20,
        }
    }
}

/// How the look-ups of one service are logged: part of their plan.
#[derive(Debug)]
pub(crate) struct LogPlan {
    pub(crate) service: String,
    pub(crate) columns: Vec<ParcelColumn>,
    schema: RowSchema,
    sources: Vec<Source>,
    /// A look-up is kept when 32 random bits are below it.
    threshold: u64,
}

/// Where the value of a column comes from.
#[derive(Debug)]
enum Source {
    /// A column of join keys, by name.
    Key(String),
    /// Position among the request's own columns.
    Requested(usize),
    /// Position among the outputs.
    Feature(usize),
    /// The event time of an output.
    Time(usize),
    /// The status of an output.
    Status(usize),
    RequestId,
}

/// Rows of one look-up on their way to the outbox.
#[derive(Debug)]
pub(crate) struct Logged {
    pub(crate) plan: Arc<LogPlan>,
    pub(crate) rows: RowBatch,
}

/// The look-ups' end of the queue.
#[derive(Debug)]
pub(crate) struct Logs {
    sender: SyncSender<Logged>,
    shared: Arc<LogShared>,
    queue_bytes_max: usize,
}

/// What both ends share.
#[derive(Debug, Default)]
pub(crate) struct LogShared {
    /// Bytes in the queue.
    queued_bytes: AtomicUsize,
    pub(crate) dropped: AtomicU64,
    pub(crate) rows: AtomicU64,
    pub(crate) stop: AtomicBool,
}

// === impl LogPlan ===

impl LogPlan {
    /// How look-ups of `service` by `plan` are logged; `None` when they are not.
    pub(crate) fn new(
        registry: &Registry,
        plan: &ReadPlan,
        (service, config): (&str, &LogsConfig),
    ) -> Option<Self> {
        let rate = registry.find_service(service)?.log_sample_rate?;
        let rate = match config.sample_percent {
            Some(percent) => f64::from(percent) / 100.0,
            None => f64::from(rate),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 2^32"
        )]
        let threshold = (rate.clamp(0.0, 1.0) * 4_294_967_296.0) as u64;
        if threshold == 0 || !config.enabled {
            return None;
        }
        let mut log = Self {
            service: service.to_owned(),
            columns: Vec::new(),
            schema: RowSchema { fields: Vec::new() },
            sources: Vec::new(),
            threshold,
        };
        let mut part = None;
        for (index, output) in plan.outputs.iter().enumerate() {
            if part != Some(output.part) {
                part = Some(output.part);
                log.add_inputs(plan, output.part);
            }
            let (view, feature) = names(registry, plan, (output.part, output.feature))?;
            let name = format!("{view}__{feature}");
            let time = ValueType::Scalar(ScalarType::UnixTimestamp);
            let status = ValueType::Scalar(ScalarType::Int32);
            log.add(name.clone(), output.value_type, Source::Feature(index));
            log.add(format!("{name}__timestamp"), time, Source::Time(index));
            log.add(format!("{name}__status"), status, Source::Status(index));
        }
        log.columns
            .push(ParcelColumn::time(LOG_TIMESTAMP, ParcelRole::EventTime));
        log.columns
            .push(ParcelColumn::time(LOG_DATE, ParcelRole::Date));
        let text = ValueType::Scalar(ScalarType::String);
        log.add(REQUEST_ID.to_owned(), text, Source::RequestId);
        Some(log)
    }

    /// The columns a part is looked up by, or computed from.
    fn add_inputs(&mut self, plan: &ReadPlan, part: usize) {
        if let Some(part) = plan.parts.get(part) {
            for key in part.key_columns.iter().filter_map(|at| plan.keys.get(*at)) {
                let source = Source::Key(key.column.clone());
                self.add(key.column.clone(), key.key_type.value_type(), source);
            }
        } else {
            for (index, column) in plan.request_columns.iter().enumerate() {
                let source = Source::Requested(index);
                self.add(column.name.clone(), column.value_type, source);
            }
        }
    }

    fn add(&mut self, name: String, value_type: ValueType, source: Source) {
        if self.columns.iter().any(|column| column.name == name) {
            return;
        }
        let role = ParcelRole::Feature(parcel::position(self.schema.fields.len()));
        self.columns
            .push(ParcelColumn::new(&name, role, value_type));
        self.schema.fields.push(Field { name, value_type });
        self.sources.push(source);
    }

    /// The rows of an answer, under a new request id; `None` when they are too large to log.
    fn encode(&self, answer: &Answer<'_>, now: EventTime) -> Option<RowBatch> {
        let id = format!("{:016x}{:016x}", random(), random());
        let mut writer = RowWriter::new(&self.schema, SchemaId(0));
        let mut batch = RowBatch::new(TableId(0));
        let keys: Vec<Option<&[Value]>> = self
            .sources
            .iter()
            .map(|source| match source {
                Source::Key(name) => {
                    let mut columns = answer.entity_columns().iter();
                    let column = columns.find(|column| column.name == *name)?;
                    Some(column.values.as_slice())
                }
                Source::Requested(index) => answer.requested.get(*index).map(SmallVec::as_slice),
                _ => None,
            })
            .collect();
        for row in 0..answer.row_count() {
            writer.begin(now, None);
            for (slot, (source, key)) in self.sources.iter().zip(&keys).enumerate() {
                let value = match source {
                    Source::Key(_) | Source::Requested(_) => {
                        let value = key.and_then(|values| values.get(row));
                        value.cloned().unwrap_or(Value::Null)
                    }
                    Source::Feature(output) => answer.cell(*output, row).ok()?.1.to_value(),
                    Source::Status(output) => {
                        Value::Int32(answer.cell(*output, row).ok()?.0 as i32)
                    }
                    Source::Time(output) => Value::UnixTimestamp(answer.time(*output, row).0),
                    Source::RequestId => Value::Text(id.clone()),
                };
                writer.set(slot, &value).ok()?;
            }
            batch.push(&[], &mut writer).ok()?;
        }
        Some(batch)
    }
}

/// The names of a view and a feature of it, as the answer gives them.
fn names<'r>(
    registry: &'r Registry,
    plan: &'r ReadPlan,
    (part, feature): (usize, usize),
) -> Option<(&'r str, &'r str)> {
    let (name, schema) = match plan.parts.get(part) {
        Some(part) => (&part.name, &registry.view(part.view)?.schema),
        None => {
            let transform = plan.transforms.get(part.checked_sub(plan.parts.len())?)?;
            let view = registry.find_on_demand_view(&transform.view)?;
            (&transform.name, &view.schema)
        }
    };
    Some((name, &schema.fields.get(feature)?.name))
}

thread_local! {
    /// Each thread draws its own numbers, so that none waits for another.
    static STATE: Cell<u64> = Cell::new(seed());
}

fn seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    static THREADS: AtomicU64 = AtomicU64::new(0);
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(THREADS.fetch_add(1, Ordering::Relaxed));
    hasher.finish() | 1
}

/// The next number of this thread.
fn random() -> u64 {
    STATE.with(|state| {
        let mut value = state.get();
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
        state.set(value);
        value.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

// === impl Logs ===

impl Logs {
    /// Both ends of a queue.
    pub(crate) fn new(config: &LogsConfig) -> (Self, Receiver<Logged>) {
        let (sender, receiver) = sync_channel(config.queue_max);
        let logs = Self {
            sender,
            shared: Arc::default(),
            queue_bytes_max: config.queue_bytes_max,
        };
        (logs, receiver)
    }

    pub(crate) fn shared(&self) -> &Arc<LogShared> {
        &self.shared
    }

    /// Keeps an answer, if it is its turn.
    #[inline]
    pub(crate) fn sample(&self, plan: &Arc<LogPlan>, answer: &Answer<'_>, now: EventTime) {
        if random() >> 32 < plan.threshold {
            self.keep(plan, answer, now);
        }
    }

    fn keep(&self, plan: &Arc<LogPlan>, answer: &Answer<'_>, now: EventTime) {
        let shared = &self.shared;
        let dropped = || shared.drop_rows(answer.row_count());
        // Before the work of encoding, which would be for nothing.
        if shared.queued_bytes.load(Ordering::Relaxed) > self.queue_bytes_max {
            return dropped();
        }
        let Some(rows) = plan.encode(answer, now) else {
            return dropped();
        };
        let bytes = rows.bytes();
        shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let plan = Arc::clone(plan);
        if self.sender.try_send(Logged { plan, rows }).is_err() {
            shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            dropped();
        }
    }
}

impl LogShared {
    /// Counts rows that are not kept.
    pub(crate) fn drop_rows(&self, rows: usize) {
        self.dropped.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Counts rows that left the queue.
    pub(crate) fn taken(&self, logged: &Logged) {
        self.queued_bytes
            .fetch_sub(logged.rows.bytes(), Ordering::Relaxed);
    }
}

//! Counters of the request path, as atomics that need no lock, and the page that shows them with
//! the node's own figures. Names are Feast's where Feast has them.

mod cells;
mod components;
mod export;
mod feed;
mod freshness;
mod node;
mod outbox;
mod transforms;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

pub(crate) use cells::{Counter, Histogram};
pub(crate) use export::render;

use crate::render::StatusCounts;

/// What a request was for: the bounded set of `endpoint` labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Endpoint {
    /// `/get-online-features`.
    Get,
    /// `/push`.
    Push,
    /// `/write-to-online-store`.
    Write,
    /// `/materialize`.
    Materialize,
    /// `/materialize-incremental`.
    MaterializeIncremental,
    /// `/v1/jobs` and what is under it.
    Jobs,
    /// `/v1/tickets/{id}`.
    Tickets,
    /// `/v1/vector_stores`, `/search`, `/retrieve-online-documents`.
    Vectors,
    /// `/health`, `/live`, `/ready`, `/status`, `/metrics`, `/openapi.json`.
    Admin,
    /// Paths of HTTP components.
    Components,
    /// Anything else.
    Other,
}

/// Features and views of a look-up, as label values of a bounded set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    features: usize,
    views: usize,
}

const ENDPOINTS: [&str; 11] = [
    "/get-online-features",
    "/push",
    "/write-to-online-store",
    "/materialize",
    "/materialize-incremental",
    "/v1/jobs",
    "/v1/tickets",
    "/v1/vector_stores",
    "admin",
    "components",
    "other",
];
/// Feast's default ranges of feature counts, and what a look-up that failed is counted under.
const FEATURE_RANGES: [&str; 5] = ["1-10", "11-50", "51-200", "201+", ""];
const VIEW_COUNTS: [&str; 10] = ["1", "2", "3", "4", "5", "6", "7", "8", "9+", ""];
const STATUS_CLASSES: [&str; 4] = ["success", "client_error", "server_error", "busy"];
/// Upper bounds in seconds: Feast's, and finer ones below.
const LATENCY_BOUNDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
const ROW_BOUNDS: [f64; 9] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
/// Names that get counters of their own; those of registries long gone count too.
const NAMES_MAX: usize = 4096;

type Latency = Histogram<{ LATENCY_BOUNDS.len() }>;

/// Everything that is counted here.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: [[Counter; STATUS_CLASSES.len()]; ENDPOINTS.len()],
    latency: [Latency; ENDPOINTS.len()],
    get_latency: [[Latency; VIEW_COUNTS.len()]; FEATURE_RANGES.len()],
    entity_rows: Histogram<{ ROW_BOUNDS.len() }>,
    get_requests: Counter,
    view_cells: Named<CellCounters>,
    pushes: Named<[Counter; 2]>,
    /// Requests worked on.
    pub(crate) in_flight: AtomicUsize,
    /// Requests refused because too many were worked on.
    pub(crate) shed: Counter,
    /// Handlers that panicked.
    pub(crate) panics: Counter,
    /// Connections that are open.
    pub(crate) connections_open: AtomicUsize,
    /// Connections accepted.
    pub(crate) connections_accepted: Counter,
    /// Connections closed at once because there were too many.
    pub(crate) connections_refused: Counter,
    /// Connections closed because they took too long.
    pub(crate) connections_timed_out: Counter,
    /// Connections that ended in an error.
    pub(crate) connections_failed: Counter,
}

/// Cells of a view by their status, as in [`StatusCounts`].
type CellCounters = [Counter; 4];

/// The counters of the views of a plan, in their order.
pub(crate) type ViewCounters = Box<[Option<Arc<CellCounters>>]>;

/// Counters by the names of a registry: found without a lock, made under one.
#[derive(Debug)]
struct Named<T> {
    known: ArcSwap<HashMap<String, Arc<T>, RandomState>>,
    making: Mutex<()>,
}

// === impl Endpoint ===

impl Endpoint {
    /// The label.
    pub(crate) fn label(self) -> &'static str {
        ENDPOINTS.get(self as usize).copied().unwrap_or("other")
    }
}

// === impl Shape ===

impl Shape {
    /// The shape of a look-up of so many features from so many views.
    pub(crate) fn of(features: usize, views: usize) -> Self {
        Self {
            features: match features {
                0..=10 => 0,
                11..=50 => 1,
                51..=200 => 2,
                _ => 3,
            },
            views: views.clamp(1, 9) - 1,
        }
    }

    const UNKNOWN: Self = Self {
        features: FEATURE_RANGES.len() - 1,
        views: VIEW_COUNTS.len() - 1,
    };
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            latency: std::array::from_fn(|_| Histogram::new(&LATENCY_BOUNDS)),
            get_latency: std::array::from_fn(|_| {
                std::array::from_fn(|_| Histogram::new(&LATENCY_BOUNDS))
            }),
            entity_rows: Histogram::new(&ROW_BOUNDS),
            get_requests: Counter::default(),
            view_cells: Named::default(),
            pushes: Named::default(),
            in_flight: AtomicUsize::new(0),
            shed: Counter::default(),
            panics: Counter::default(),
            connections_open: AtomicUsize::new(0),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            connections_timed_out: Counter::default(),
            connections_failed: Counter::default(),
        }
    }
}

impl Metrics {
    /// Counts a request that was answered.
    pub(crate) fn answered(
        &self,
        endpoint: Endpoint,
        status: u16,
        latency: Duration,
        shape: Option<Shape>,
    ) {
        let class = match status {
            503 => 3,
            500.. => 2,
            400.. => 1,
            _ => 0,
        };
        let counters = self.requests.get(endpoint as usize);
        if let Some(counter) = counters.and_then(|classes| classes.get(class)) {
            counter.add(1);
        }
        let histogram = if endpoint == Endpoint::Get {
            let shape = shape.unwrap_or(Shape::UNKNOWN);
            let row = self.get_latency.get(shape.features);
            row.and_then(|row| row.get(shape.views))
        } else {
            self.latency.get(endpoint as usize)
        };
        if let Some(histogram) = histogram {
            histogram.observe(latency.as_secs_f64());
        }
    }

    /// The counters of views, for [`Metrics::looked_up`]; none for those beyond the names that are kept.
    pub(crate) fn of_views<'a>(&self, views: impl Iterator<Item = &'a str>) -> ViewCounters {
        views.map(|view| self.view_cells.get(view)).collect()
    }

    /// Counts a look-up that was answered: its rows, and its cells by view and status.
    pub(crate) fn looked_up(&self, rows: usize, views: &ViewCounters, counts: &[StatusCounts]) {
        self.get_requests.add(1);
        // Counts of rows are far below what a double holds exactly.
        self.entity_rows
            .observe(u32::try_from(rows).map_or(f64::MAX, f64::from));
        for (counters, counts) in views.iter().zip(counts) {
            let counters = counters.iter().flat_map(|counters| counters.iter());
            for (counter, count) in counters.zip(counts) {
                counter.add(*count);
            }
        }
    }

    /// Counts a push that was taken.
    pub(crate) fn pushed(&self, source: &str, is_async: bool) {
        if let Some(counters) = self.pushes.get(source) {
            let [sync, queued] = &*counters;
            if is_async { queued.add(1) } else { sync.add(1) }
        }
    }
}

// === impl Named ===

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self {
            known: ArcSwap::default(),
            making: Mutex::default(),
        }
    }
}

impl<T: Default> Named<T> {
    /// What is counted under a name; `None` when there are as many names as are kept.
    fn get(&self, name: &str) -> Option<Arc<T>> {
        let held = self.known.load().get(name).map(Arc::clone);
        held.or_else(|| self.make(name))
    }

    /// Only names that a plan was made for come here, each once.
    #[cold]
    fn make(&self, name: &str) -> Option<Arc<T>> {
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load_full();
        if let Some(held) = known.get(name) {
            return Some(Arc::clone(held));
        }
        if known.len() >= NAMES_MAX {
            return None;
        }
        let mut grown = HashMap::clone(&known);
        let made = Arc::new(T::default());
        grown.insert(name.to_owned(), Arc::clone(&made));
        self.known.store(Arc::new(grown));
        drop(making);
        Some(made)
    }

    fn sorted(&self) -> Vec<(String, Arc<T>)> {
        let known = self.known.load();
        let mut all: Vec<_> = known
            .iter()
            .map(|(name, held)| (name.clone(), Arc::clone(held)))
            .collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

/// Reads a gauge.
fn gauge(cell: &AtomicUsize) -> i64 {
    i64::try_from(cell.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
}

/// Reads a counter held elsewhere as a gauge.
fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

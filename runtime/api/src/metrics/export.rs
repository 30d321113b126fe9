//! The metrics page.

use std::fmt::Error as FmtError;
use std::sync::Arc;

use galley_node::{Node, NodeStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::cells::Histogram;
use super::{
    ENDPOINTS, FEATURE_RANGES, Metrics, STATUS_CLASSES, VIEW_COUNTS, clamped, components, feed,
    gauge, node,
};
use crate::{FeedStatus, HttpComponentStatus};

type Done = Result<(), FmtError>;

/// Everything there is to say at one moment.
#[derive(Debug)]
struct Page {
    metrics: Arc<Metrics>,
    status: Option<NodeStatus>,
    components: Vec<HttpComponentStatus>,
    feed: Option<FeedStatus>,
    version: String,
    uptime_seconds: f64,
}

/// The page in the OpenMetrics text format; empty if it cannot be written.
pub(crate) fn render(
    metrics: &Arc<Metrics>,
    (node, components, feed): (Option<&Node>, Vec<HttpComponentStatus>, Option<FeedStatus>),
    (version, uptime_seconds): (&str, f64),
) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page {
        metrics: Arc::clone(metrics),
        status: node.map(Node::status),
        components,
        feed,
        version: version.to_owned(),
        uptime_seconds,
    }));
    let mut out = String::new();
    match encode(&mut out, &registry) {
        Ok(()) => out,
        Err(_) => String::new(),
    }
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Done {
        let mut families = Families(encoder);
        self.requests(&mut families)?;
        self.reads_and_writes(&mut families)?;
        self.server(&mut families)?;
        families.gauges(
            "galley_up_seconds",
            "Seconds since the server started",
            |family| family.gauge(&[], self.uptime_seconds),
        )?;
        families.gauges("galley_build", "The version that runs", |family| {
            family.gauge(&[("version", &self.version)], 1.0)
        })?;
        components::encode(&self.components, &mut families)?;
        match &self.status {
            Some(status) => {
                if let Some(feed) = &self.feed {
                    feed::encode(feed, &mut families)?;
                }
                node::encode(status, &mut families)
            }
            None => Ok(()),
        }
    }
}

impl Page {
    fn requests(&self, families: &mut Families<'_>) -> Done {
        let help = "Requests answered, by endpoint and outcome";
        families.counters("feast_feature_server_request", help, |family| {
            for (endpoint, classes) in ENDPOINTS.iter().zip(&self.metrics.requests) {
                for (class, counter) in STATUS_CLASSES.iter().zip(classes) {
                    let labels = [("endpoint", *endpoint), ("status", *class)];
                    family.counter(&labels, counter.get())?;
                }
            }
            Ok(())
        })?;
        let help = "Seconds from a request's head to its answer";
        families.histograms(
            "feast_feature_server_request_latency_seconds",
            help,
            |family| {
                for (endpoint, histogram) in ENDPOINTS.iter().zip(&self.metrics.latency) {
                    let labels = [
                        ("endpoint", *endpoint),
                        ("feature_count", ""),
                        ("feature_view_count", ""),
                    ];
                    family.histogram(&labels, histogram)?;
                }
                for (features, row) in FEATURE_RANGES.iter().zip(&self.metrics.get_latency) {
                    for (views, histogram) in VIEW_COUNTS.iter().zip(row) {
                        let labels = [
                            ("endpoint", "/get-online-features"),
                            ("feature_count", *features),
                            ("feature_view_count", *views),
                        ];
                        family.histogram(&labels, histogram)?;
                    }
                }
                Ok(())
            },
        )
    }

    fn reads_and_writes(&self, families: &mut Families<'_>) -> Done {
        const STATUSES: [&str; 4] = ["present", "null_value", "not_found", "outside_max_age"];
        let metrics = &self.metrics;
        let help = "Look-ups answered";
        families.counters("feast_online_features_request", help, |family| {
            family.counter(&[], metrics.get_requests.get())
        })?;
        let help = "Entity rows of a look-up";
        families.histograms("feast_online_features_entity_count", help, |family| {
            family.histogram(&[], &metrics.entity_rows)
        })?;
        let help = "Feature values answered, by view and status";
        families.counters("feast_online_features_status", help, |family| {
            for (view, counters) in metrics.view_cells.sorted() {
                for (status, counter) in STATUSES.iter().zip(counters.iter()) {
                    let labels = [("feature_view", view.as_str()), ("status", *status)];
                    family.counter(&labels, counter.get())?;
                }
            }
            Ok(())
        })?;
        let help = "Pushes taken, by source and mode";
        families.counters("feast_push_request", help, |family| {
            for (source, counters) in metrics.pushes.sorted() {
                for (mode, counter) in ["sync", "async"].iter().zip(counters.iter()) {
                    let labels = [("push_source", source.as_str()), ("mode", *mode)];
                    family.counter(&labels, counter.get())?;
                }
            }
            Ok(())
        })
    }

    fn server(&self, families: &mut Families<'_>) -> Done {
        let metrics = &self.metrics;
        let counters = [
            (
                "galley_api_shed",
                "Requests refused: too many in flight",
                &metrics.shed,
            ),
            (
                "galley_api_panics",
                "Handlers that panicked",
                &metrics.panics,
            ),
            (
                "galley_api_connections_accepted",
                "Connections accepted",
                &metrics.connections_accepted,
            ),
            (
                "galley_api_connections_refused",
                "Connections closed at once: too many are open",
                &metrics.connections_refused,
            ),
            (
                "galley_api_connections_timed_out",
                "Connections closed: they took too long",
                &metrics.connections_timed_out,
            ),
            (
                "galley_api_connections_failed",
                "Connections that ended in an error",
                &metrics.connections_failed,
            ),
        ];
        for (name, help, counter) in counters {
            families.counters(name, help, |family| family.counter(&[], counter.get()))?;
        }
        let gauges = [
            (
                "galley_api_connections_open",
                "Connections open",
                &metrics.connections_open,
            ),
            (
                "galley_api_in_flight",
                "Requests being worked on",
                &metrics.in_flight,
            ),
        ];
        for (name, help, cell) in gauges {
            families.gauges(name, help, |family| family.count(&[], gauge(cell)))?;
        }
        Ok(())
    }
}

/// Writes metric families.
pub(super) struct Families<'a>(DescriptorEncoder<'a>);

/// Writes the metrics of one family.
pub(super) struct Family<'a>(prometheus_client::encoding::MetricEncoder<'a>);

pub(super) type Labels<'a> = [(&'a str, &'a str)];

// === impl Families ===

impl Families<'_> {
    /// A family of counters; `_total` is added to its name.
    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        write: impl FnOnce(&mut Family<'_>) -> Done,
    ) -> Done {
        self.family(name, help, MetricType::Counter, write)
    }

    /// A family of gauges.
    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        write: impl FnOnce(&mut Family<'_>) -> Done,
    ) -> Done {
        self.family(name, help, MetricType::Gauge, write)
    }

    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        write: impl FnOnce(&mut Family<'_>) -> Done,
    ) -> Done {
        self.family(name, help, MetricType::Histogram, write)
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        metric_type: MetricType,
        write: impl FnOnce(&mut Family<'_>) -> Done,
    ) -> Done {
        let encoder = self.0.encode_descriptor(name, help, None, metric_type)?;
        write(&mut Family(encoder))
    }
}

// === impl Family ===

impl Family<'_> {
    /// One counter.
    pub(super) fn counter(&mut self, labels: &Labels<'_>, value: u64) -> Done {
        if labels.is_empty() {
            return self.0.encode_counter::<NoLabelSet, u64, f64>(&value, None);
        }
        let mut family = self.0.encode_family(&labels)?;
        family.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    /// One gauge.
    pub(super) fn gauge(&mut self, labels: &Labels<'_>, value: f64) -> Done {
        if labels.is_empty() {
            return self.0.encode_gauge(&value);
        }
        self.0.encode_family(&labels)?.encode_gauge(&value)
    }

    /// One gauge of whole things.
    pub(super) fn count(&mut self, labels: &Labels<'_>, value: i64) -> Done {
        if labels.is_empty() {
            return self.0.encode_gauge(&value);
        }
        self.0.encode_family(&labels)?.encode_gauge(&value)
    }

    /// One gauge of a count that is held unsigned.
    pub(super) fn amount(&mut self, labels: &Labels<'_>, value: u64) -> Done {
        self.count(labels, clamped(value))
    }

    /// One histogram, unless nothing was observed under its labels.
    fn histogram<const N: usize>(&mut self, labels: &Labels<'_>, cells: &Histogram<N>) -> Done {
        if cells.is_empty() {
            return Ok(());
        }
        let (sum, _, buckets) = cells.read();
        self.buckets(labels, sum, &buckets)
    }

    /// One histogram from its sum and the count of each bucket with its bound, the last being
    /// infinity.
    pub(super) fn buckets(
        &mut self,
        labels: &Labels<'_>,
        sum: f64,
        buckets: &[(f64, u64)],
    ) -> Done {
        let count = buckets.iter().map(|(_, count)| *count).sum();
        if labels.is_empty() {
            return self
                .0
                .encode_histogram::<NoLabelSet>(sum, count, buckets, None);
        }
        let mut family = self.0.encode_family(&labels)?;
        family.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
    }
}

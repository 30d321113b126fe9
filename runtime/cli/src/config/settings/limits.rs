//! Bounds on requests, queues and jobs.

use super::{Setting, count, duration, show_duration, show_size, size};

/// The settings of `[limits]`.
pub(super) const LIMITS: &[Setting] = &[
    setting!(
        "limits.connections_max",
        count,
        api.connections_max,
        "Open connections"
    ),
    setting!(
        "limits.connections_per_ip_max",
        count,
        api.connections_per_ip_max,
        "Open connections of one address"
    ),
    setting!(
        "limits.head_bytes_max",
        size,
        api.head_bytes_max,
        "A request's head"
    ),
    setting!(
        "limits.headers_max",
        count,
        api.headers_max,
        "A request's header fields"
    ),
    setting!(
        "limits.target_bytes_max",
        size,
        api.target_bytes_max,
        "A request's target"
    ),
    setting!(
        "limits.body_bytes_max",
        size,
        api.body_bytes_max,
        "A request's body"
    ),
    setting!(
        "limits.bodies_bytes_max",
        size,
        api.bodies_bytes_max,
        "All requests' bodies held at once"
    ),
    setting!(
        "limits.answer_bytes_max",
        size,
        api.answer_bytes_max,
        "The answer to a look-up"
    ),
    setting!(
        "limits.inline_cells_max",
        count,
        api.inline_cells_max,
        "Cells of a look-up that is answered without leaving its worker"
    ),
    Setting {
        key: "limits.in_flight_max",
        help: "Requests worked on at once; auto is 128 for each core",
        apply: |config, text| {
            config.api.in_flight_max = if text == "auto" {
                None
            } else {
                Some(count(text)?)
            };
            Ok(())
        },
        show: |config| {
            config
                .api
                .in_flight_max
                .map_or_else(|| "auto".to_owned(), |it| it.to_string())
        },
    },
    setting!(
        "limits.entity_rows_max",
        count,
        node.entity_rows_max,
        "Entity rows of one look-up"
    ),
    setting!(
        "limits.features_max",
        count,
        node.features_max,
        "Features of one look-up"
    ),
    setting!(
        "limits.cells_max",
        count,
        node.cells_max,
        "Entity rows times features of one look-up"
    ),
    setting!(
        "limits.push_rows_max",
        count,
        node.push_rows_max,
        "Rows of one push"
    ),
    setting!(
        "limits.write_queue_max",
        count,
        node.write_queue_max,
        "Pushes that wait for a commit"
    ),
    setting!(
        "limits.queued_writes_max",
        count,
        node.queued_writes_max,
        "Asynchronous pushes that wait in the durable queue"
    ),
    setting!(
        "limits.group_writes_max",
        count,
        node.group_writes_max,
        "Pushes that share one commit"
    ),
    setting!(
        "limits.group_rows_max",
        count,
        node.group_rows_max,
        "Rows of one commit above which no further push joins it"
    ),
    setting!(
        "limits.drain_max",
        count,
        node.drain_max,
        "Queued asynchronous pushes applied with one commit"
    ),
    setting!(
        "limits.plans_max",
        count,
        node.plans_max,
        "Compiled look-ups that are kept"
    ),
    setting!(
        "limits.group_wait",
        duration,
        node.group_wait,
        "How long a commit waits for pushes that are under way"
    ),
    setting!(
        "limits.jobs_running_max",
        count,
        node.jobs_running_max,
        "Materialisations that run at once"
    ),
    setting!(
        "limits.jobs_kept_max",
        count,
        node.jobs_kept_max,
        "Jobs whose state is kept, over restarts too"
    ),
    setting!(
        "limits.idempotency_age_max",
        duration,
        node.idempotency_age_max,
        "How long a request repeated with its Idempotency-Key is answered by the same job"
    ),
    setting!(
        "limits.event_listeners_max",
        count,
        api.event_listeners_max,
        "Connections that listen to the events of jobs"
    ),
];

//! What is in the sample node's store before look-ups are tried.

/// Bodies of pushes.
pub(crate) const PUSHES: [&str; 1] = [r#"{"push_source_name": "driver_stats_push_source", "df": {
  "driver_id": [1001, 1002, 1003], "conv_rate": [0.5, null, 0.25], "acc_rate": [0.1, 1e-7, 3.5],
  "avg_daily_trips": [1, 2, null],
  "event_timestamp": ["2026-03-12T04:00:00Z", "2026-03-12T04:00:00Z", "2025-01-01T00:00:00Z"],
  "created": ["2026-03-12T04:00:00Z", "2026-03-12T04:00:00Z", "2026-03-12T04:00:00Z"]}}"#];

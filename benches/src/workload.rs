//! Request bodies: 1000 different ones of each kind, entity ids uniform over all rows.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::Random;
use crate::data::{FEATURES, VIEWS};

/// Different bodies of one workload.
const BODIES: usize = 1000;

/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// One entity, ten doubles of one view.
    W1,
    /// One entity, fifty doubles of five views.
    W2,
    /// A hundred entities, fifty doubles of five views.
    W3,
    /// One row pushed to one view.
    Push,
    /// W1 and a transformation over three of its doubles and two numbers of the request, in an
    /// instance of its own.
    W4Fresh,
    /// The same in an instance that is kept.
    W4Pooled,
    /// One driver scored by an HTTP component, from three features.
    Score,
    /// The look-up of those three features.
    ScoreLookUp,
}

impl Workload {
    /// The look-ups that are held against the bare server.
    pub const LOOK_UPS: [Self; 3] = [Self::W1, Self::W2, Self::W3];

    /// Its short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::W2 => "w2",
            Self::W3 => "w3",
            Self::Push => "push1",
            Self::W4Fresh => "w4-fresh",
            Self::W4Pooled => "w4-pooled",
            Self::Score => "score",
            Self::ScoreLookUp => "score-look-up",
        }
    }

    /// Where it is sent.
    pub fn path(self) -> &'static str {
        match self {
            Self::Push => "/push",
            Self::Score => "/score",
            _ => "/get-online-features",
        }
    }

    /// The smallest share of the bare server that is good enough.
    pub fn share_min(self) -> f64 {
        match self {
            Self::W1 => 0.80,
            Self::W2 => 0.55,
            Self::W3 => 0.15,
            Self::Push | Self::Score | Self::ScoreLookUp => 0.0,
            Self::W4Fresh => 0.40,
            Self::W4Pooled => 0.70,
        }
    }

    /// Its bodies over entities `0..rows`, one a line.
    pub fn bodies(self, rows: usize) -> String {
        let mut random = Random(11 + self as u64);
        let mut lines = String::new();
        for _ in 0..BODIES {
            let _ = writeln!(lines, "{}", self.body(rows as u64, &mut random));
        }
        lines
    }

    fn body(self, rows: u64, random: &mut Random) -> Value {
        let (views, entities) = match self {
            Self::W1 => (1, 1),
            Self::W2 => (VIEWS, 1),
            Self::W3 => (VIEWS, 100),
            Self::Push => return push(rows, random),
            Self::W4Fresh | Self::W4Pooled => return transformed(rows, random),
            Self::Score => return json!({"driver_id": [random.below(rows)]}),
            Self::ScoreLookUp => {
                let features = ["acceptance_rate", "trips_today", "is_online"];
                let features = features.map(|name| format!("driver_activity:{name}"));
                let entities = json!({"driver_id": [random.below(rows)]});
                return json!({"features": features, "entities": entities});
            }
        };
        let features: Vec<String> = (0..views)
            .flat_map(|v| (0..FEATURES).map(move |f| format!("fv_{v}:f{v}_{f}")))
            .collect();
        let ids: Vec<u64> = (0..entities).map(|_| random.below(rows)).collect();
        json!({"features": features, "entities": {"user_id": ids}})
    }
}

fn transformed(rows: u64, random: &mut Random) -> Value {
    let stored = ["base_fare", "fare_by_km", "surge"].map(str::to_owned);
    let stored = stored
        .into_iter()
        .chain((3..FEATURES).map(|f| format!("f0_{f}")));
    let mut features: Vec<String> = stored.map(|name| format!("fv_0:{name}")).collect();
    features.extend(["fare_quote:fare", "fare_quote:fare_per_km"].map(str::to_owned));
    json!({"features": features, "entities": {
        "user_id": [random.below(rows)],
        "distance_m": [random.below(20_000)],
        "wait_seconds": [random.below(600)],
    }})
}

fn push(rows: u64, random: &mut Random) -> Value {
    let mut df = json!({
        "user_id": [random.below(rows)],
        "event_timestamp": ["2026-02-01T00:00:00Z"],
        "created": ["2026-02-01T00:00:00Z"],
    });
    for feature in 0..FEATURES {
        df[format!("p{feature}")] = json!([random.unit() * 1000.0]);
    }
    json!({"push_source_name": "push_src", "df": df, "to": "online"})
}

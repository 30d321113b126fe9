//! Scores drivers for dispatch with a logistic regression over their features.
//!
//! `POST` a body such as `{"driver_id": [1001, 1002]}`; the answer has one score for each driver.
//! The weights are variables of the component, so that a new model needs no new build:
//!
//! ```toml
//! [component.score.variables]
//! weights = "acceptance_rate=2.5, trips_today=0.1, is_online=1"
//! bias = "-1.5"
//! ```
//!
//! Callers that name themselves in the header `x-caller` are counted in the key-value store.

use bytes::Bytes;
use galley_features::{Lookup, Status};
use serde::{Deserialize, Serialize};
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{FullBody, HeaderValue, Request, StatusCode};
use spin_sdk::key_value::Store;
use spin_sdk::{http_service, variables};

type Response = http::Response<FullBody<Bytes>>;

/// The view whose features the model may use.
const VIEW: &str = "driver_activity";
const DRIVERS_MAX: usize = 1_000;
const CALLER_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
struct Asked {
    driver_id: Vec<i64>,
}

#[derive(Serialize)]
struct Scored {
    scores: Vec<Score>,
    /// Calls of this caller so far, where it named itself.
    calls: Option<u64>,
}

#[derive(Serialize)]
struct Score {
    driver_id: i64,
    score: f64,
    /// Features that the model had to do without.
    missing: Vec<String>,
}

/// A logistic regression.
struct Model {
    bias: f64,
    weights: Vec<(String, f64)>,
}

/// What is told to the caller when there is no score.
struct Refusal(StatusCode, String);

#[http_service]
async fn handle(request: Request) -> Response {
    let (status, body) = match answer(request).await {
        Ok(scored) => match serde_json::to_string(&scored) {
            Ok(body) => (StatusCode::OK, body),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, refusal(&error.to_string())),
        },
        Err(Refusal(status, why)) => (status, refusal(&why)),
    };
    let mut response = Response::new(FullBody::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    response
}

fn refusal(why: &str) -> String {
    serde_json::json!({ "error": why }).to_string()
}

async fn answer(request: Request) -> Result<Scored, Refusal> {
    let caller = caller(&request)?;
    let body = request.into_body().bytes().await;
    let body = body.map_err(|error| bad(format!("the body did not arrive: {error:?}")))?;
    let asked: Asked =
        serde_json::from_slice(&body).map_err(|error| bad(format!("the body: {error}")))?;
    if asked.driver_id.is_empty() || asked.driver_id.len() > DRIVERS_MAX {
        return Err(bad(format!("'driver_id' must have 1 to {DRIVERS_MAX} ids")));
    }
    let scores = Model::from_variables().await?.score(&asked.driver_id)?;
    let calls = match caller {
        Some(caller) => Some(count(&caller).await?),
        None => None,
    };
    Ok(Scored { scores, calls })
}

fn caller(request: &Request) -> Result<Option<String>, Refusal> {
    let Some(name) = request.headers().get("x-caller") else {
        return Ok(None);
    };
    match name.to_str() {
        Ok(name) if !name.is_empty() && name.len() <= CALLER_BYTES_MAX => Ok(Some(name.to_owned())),
        _ => Err(bad(format!("x-caller must have 1 to {CALLER_BYTES_MAX} visible characters"))),
    }
}

/// One more call of `caller`. Two calls at the same moment may count as one.
async fn count(caller: &str) -> Result<u64, Refusal> {
    let failed = |error: spin_sdk::key_value::Error| internal(format!("key-value: {error:?}"));
    let store = Store::open_default().await.map_err(failed)?;
    let key = format!("calls/{caller}");
    let before = store.get(&key).await.map_err(failed)?;
    let before = before.and_then(|bytes| bytes.try_into().ok());
    let calls = before.map_or(0, u64::from_le_bytes) + 1;
    store.set(&key, calls.to_le_bytes()).await.map_err(failed)?;
    Ok(calls)
}

impl Model {
    async fn from_variables() -> Result<Self, Refusal> {
        let read = async |name: &str| {
            let value = variables::get(name).await;
            value.map_err(|error| internal(format!("variable '{name}': {error:?}")))
        };
        let bad_number = |text: &str| internal(format!("'{text}' is no number"));
        let bias = read("bias").await?;
        let bias = bias.trim().parse().map_err(|_| bad_number(&bias))?;
        let mut weights = Vec::new();
        for pair in read("weights").await?.split(',') {
            let (name, weight) = pair.split_once('=').ok_or_else(|| bad_number(pair))?;
            let weight = weight.trim().parse().map_err(|_| bad_number(pair))?;
            weights.push((name.trim().to_owned(), weight));
        }
        Ok(Self { bias, weights })
    }

    fn score(&self, drivers: &[i64]) -> Result<Vec<Score>, Refusal> {
        let references = self.weights.iter().map(|(name, _)| format!("{VIEW}:{name}"));
        let found = Lookup::features(references)
            .int64("driver_id", drivers.iter().copied())
            .get()
            .map_err(|error| internal(format!("features: {error}")))?;
        let scores = drivers.iter().enumerate().map(|(row, driver_id)| {
            let mut sum = self.bias;
            let mut missing = Vec::new();
            for (name, weight) in &self.weights {
                match found.float(name, row) {
                    Some(value) if found.status(name, row) == Status::Present => {
                        sum += weight * value;
                    }
                    _ => missing.push(name.clone()),
                }
            }
            Score {
                driver_id: *driver_id,
                score: 1.0 / (1.0 + (-sum).exp()),
                missing,
            }
        });
        Ok(scores.collect())
    }
}

fn bad(why: String) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, why)
}

fn internal(why: String) -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, why)
}

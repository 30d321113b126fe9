//! Misbehaves in the way that the last part of the path says; `hello` behaves.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use galley_features::{Lookup, Push};
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{EmptyBody, FullBody, Request, StatusCode, send};
use spin_sdk::key_value::Store;
use spin_sdk::{http_service, variables, wasip3};

static CALLS: AtomicU64 = AtomicU64::new(0);

#[http_service]
async fn handle(request: Request) -> http::Response<FullBody<Bytes>> {
    let (status, text) = answer(request).await;
    let mut response = http::Response::new(FullBody::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

async fn answer(request: Request) -> (StatusCode, String) {
    let calls = CALLS.fetch_add(1, Relaxed) + 1;
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
    };
    let text = match path.rsplit('/').next().unwrap_or_default() {
        "hello" => "hello".to_owned(),
        "calls" => calls.to_string(),
        "loop" => loop {
            std::hint::black_box(calls);
        },
        "memory" => {
            let mut kept: Vec<Vec<u8>> = Vec::new();
            loop {
                kept.push(std::hint::black_box(vec![1; 1 << 20]));
            }
        }
        "panic" => panic!("on purpose"),
        "grow" => {
            std::mem::forget(std::hint::black_box(vec![1_u8; 8 << 20]));
            calls.to_string()
        }
        "huge" => "x".repeat(32 << 20),
        "echo" => match request.into_body().bytes().await {
            Ok(body) => String::from_utf8_lossy(&body).into_owned(),
            Err(error) => format!("{error:?}"),
        },
        "wait" => std::future::pending().await,
        "headers" => [
            "spin-path-info",
            "spin-matched-route",
            "spin-component-route",
            "spin-base-path",
            "spin-client-addr",
            "spin-full-url",
            "spin-path-match-id",
        ]
        .map(|name| format!("{name}={}", header(name)))
        .join("\n"),
        "store" => store(&query).await,
        "fill" => fill().await,
        "keys" => keys().await,
        "fetch" => fetch(&query).await,
        "follow" => follow(&query).await,
        "flood" => flood(&query).await,
        "post" => post(&query).await,
        "variable" => format!("{:?}", variables::get(&query).await),
        "later" => {
            wasip3::spawn(async {
                let store = Store::open_default().await;
                if let Ok(store) = store {
                    drop(store.set("later", "done").await);
                }
            });
            "soon".to_owned()
        }
        "wasi" => wasi().await,
        "push" => push(&query).await,
        "lookup" => lookup(&query),
        other => return (StatusCode::NOT_FOUND, format!("no '{other}'")),
    };
    (StatusCode::OK, text)
}

async fn store(label: &str) -> String {
    match Store::open(label).await {
        Ok(_) => "open".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

/// Sets, reads, lists and deletes.
async fn keys() -> String {
    let run = async || {
        let store = Store::open_default().await?;
        store.set("b", "2").await?;
        store.set("a", "1").await?;
        let found = store.get("a").await?;
        let mut names = store.get_keys().await.collect().await?;
        names.sort();
        store.delete("a").await?;
        let gone = !store.exists("a").await?;
        Ok::<_, spin_sdk::key_value::Error>(format!("{found:?} {names:?} {gone}"))
    };
    run().await.unwrap_or_else(|error| format!("{error:?}"))
}

/// Uses what there is of WASI.
async fn wasi() -> String {
    let (mut writer, reader) = wasip3::wit_stream::new();
    let written = wasip3::cli::stdout::write_via_stream(reader);
    let rest = writer.write_all(b"one line\nand another".to_vec()).await;
    drop(writer);
    let written = written.await;
    let before = wasip3::clocks::monotonic_clock::now();
    wasip3::clocks::monotonic_clock::wait_for(2_000_000).await;
    let waited = wasip3::clocks::monotonic_clock::now() - before >= 2_000_000;
    let differ = wasip3::random::random::get_random_u64() != wasip3::random::random::get_random_u64();
    let environment = wasip3::cli::environment::get_environment();
    format!("{written:?} {} {waited} {differ} {environment:?}", rest.len())
}

/// Fills the store until it is refused.
async fn fill() -> String {
    let Ok(store) = Store::open_default().await else {
        return "no store".to_owned();
    };
    for number in 0..10_000 {
        if let Err(error) = store.set(format!("key{number}"), vec![0; 1_000]).await {
            return format!("{number}: {error:?}");
        }
    }
    "all".to_owned()
}

async fn fetch(url: &str) -> String {
    let Ok(request) = http::Request::get(url).body(EmptyBody::new()) else {
        return "no url".to_owned();
    };
    match send(request).await {
        Ok(response) => {
            let status = response.status();
            match response.into_body().bytes().await {
                Ok(body) => format!("{status} {}", String::from_utf8_lossy(&body)),
                Err(error) => format!("{error:?}"),
            }
        }
        Err(error) => format!("{error:?}"),
    }
}

/// Follows redirects, as clients do.
async fn follow(url: &str) -> String {
    let mut url = url.to_owned();
    let mut way = Vec::new();
    for _ in 0..4 {
        let Ok(request) = http::Request::get(&url).body(EmptyBody::new()) else {
            return "no url".to_owned();
        };
        match send(request).await {
            Ok(response) => {
                way.push(response.status().as_u16().to_string());
                let to = response.headers().get("location");
                match to.and_then(|to| to.to_str().ok()) {
                    Some(to) => url = to.to_owned(),
                    None => break,
                }
            }
            Err(error) => {
                way.push(format!("{error:?}"));
                break;
            }
        }
    }
    way.join(" ")
}

/// Asks a hundred times, and tells the last answer.
async fn flood(url: &str) -> String {
    let mut last = String::new();
    for _ in 0..100 {
        last = fetch(url).await;
    }
    last
}

/// Sends so many bytes to a URL: `BYTES,URL`.
async fn post(query: &str) -> String {
    let Some((bytes, url)) = query.split_once(',') else {
        return "no bytes".to_owned();
    };
    let body = Bytes::from(vec![b'x'; bytes.parse().unwrap_or(0)]);
    let Ok(request) = http::Request::post(url).body(FullBody::new(body)) else {
        return "no url".to_owned();
    };
    match send(request).await {
        Ok(response) => match response.into_body().bytes().await {
            Ok(body) => body.len().to_string(),
            Err(error) => format!("{error:?}"),
        },
        Err(error) => format!("{error:?}"),
    }
}

async fn push(trips: &str) -> String {
    let pushed = Push::to("driver_pings")
        .int64("driver_id", [1])
        .float64("acceptance_rate", [0.5])
        .int64("trips_today", [trips.parse().unwrap_or(0)])
        .boolean("is_online", [true])
        .text("vehicle", ["bike"])
        .text_lists("recent_zones", [["north", "old town"]])
        .timestamp_micros("last_ping", [1_772_000_000_000_001])
        .timestamp_micros("event_timestamp", [1_772_000_000_000_001])
        .text("created", ["2026-03-01T00:00:00Z"])
        .send()
        .await;
    format!("{pushed:?}")
}

fn lookup(reference: &str) -> String {
    match Lookup::features([reference]).int64("driver_id", [1, 2]).get() {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("{error}"),
    }
}

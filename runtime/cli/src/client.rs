//! A client of a node's HTTP API, and how commands find a node.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use crate::app::{AddressFile, Background};
use crate::args::ClientArgs;
use crate::config::Config;
use crate::{environment_all, logging};

/// How long a command waits for one answer; materializations are polled, so none takes longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a server may take to say that it lives.
const LIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A client of one node.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::blocking::Client,
    url: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Value,
    pub(crate) job: Option<u64>,
}

// === impl Client ===

impl Client {
    pub(crate) fn new(url: &str) -> Result<Self> {
        let http = reqwest::blocking::Client::builder()
            .timeout(ANSWER_TIMEOUT)
            .no_proxy()
            .build()
            .context("make an HTTP client")?;
        let url = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        Ok(Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.http.get(format!("{}{path}", self.url)))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.http.post(format!("{}{path}", self.url)).json(body))
    }

    /// Posts nothing to a path whose answer takes up to `wait`.
    pub(crate) fn post_for(&self, path: &str, wait: Duration) -> Result<Answer> {
        let request = self.http.post(format!("{}{path}", self.url));
        let timeout = ANSWER_TIMEOUT.saturating_add(wait);
        self.send(request.json(&Value::Null).timeout(timeout))
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Answer> {
        self.send(self.http.delete(format!("{}{path}", self.url)))
    }

    fn send(&self, request: reqwest::blocking::RequestBuilder) -> Result<Answer> {
        let response = request
            .send()
            .with_context(|| format!("ask the server at {}", self.url))?;
        let status = response.status();
        let job = response
            .headers()
            .get("x-galley-job")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let text = response
            .text()
            .with_context(|| format!("read from {}", self.url))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if !status.is_success() {
            bail!("{}", refusal(&body, status.as_u16()));
        }
        Ok(Answer { body, job })
    }

    fn lives(&self) -> bool {
        let asked = self
            .http
            .get(format!("{}/live", self.url))
            .timeout(LIVE_TIMEOUT)
            .send();
        asked.is_ok_and(|answer| answer.status().is_success())
    }
}

/// The message in an error's body: Feast's JSON in a string, FastAPI's detail, or text.
fn refusal(body: &Value, status: u16) -> String {
    if let Value::String(text) = body {
        let inner: Option<Value> = serde_json::from_str(text).ok();
        let message = inner
            .as_ref()
            .and_then(|inner| inner.get("message")?.as_str());
        return message.map_or_else(|| text.clone(), str::to_owned);
    }
    for key in ["detail", "error"] {
        if let Some(detail) = body.get(key) {
            return format!("refused ({status}): {detail}");
        }
    }
    format!("refused ({status}): {body}")
}

/// Runs `work` against the node a command means: the server named, the one that holds the data
/// folder, or one that is started for the command.
pub(crate) fn with_node<R>(
    args: &ClientArgs,
    work: impl FnOnce(&Client) -> Result<R>,
) -> Result<R> {
    let mut config = Config::resolve(&args.node.overrides(), environment_all())?;
    logging::start(&config, logging::Default::Tool);
    if let Some(server) = &args.server {
        return work(&Client::new(server)?);
    }
    if let Some(client) = live_server(&config)? {
        return work(&client);
    }
    config.api.listen = args
        .listen
        .unwrap_or_else(|| std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0)));
    config.api.workers = Some(1);
    let background = Background::start(&config).map_err(|error| in_use_hint(&config, error))?;
    let outcome = work(&Client::new(&background.url)?);
    background.close()?;
    outcome
}

/// The server that holds the data folder, if one does and answers.
pub(crate) fn live_server(config: &Config) -> Result<Option<Client>> {
    let Some(address) = AddressFile::read(&config.data_dir()) else {
        return Ok(None);
    };
    let client = Client::new(&reachable(&address.address))?;
    Ok(client.lives().then_some(client))
}

/// An address of this machine for one that listens everywhere.
fn reachable(address: &str) -> String {
    address
        .replacen("0.0.0.0:", "127.0.0.1:", 1)
        .replacen("[::]:", "[::1]:", 1)
}

fn in_use_hint(config: &Config, error: anyhow::Error) -> anyhow::Error {
    use galley_node::store::Error as StoreError;
    if matches!(
        error.downcast_ref::<StoreError>(),
        Some(StoreError::InUse { .. })
    ) {
        return anyhow!(
            "{error}; a server holds it but {}/galley.json names none that answers: name it with \
             --server URL",
            config.data_dir().display()
        );
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_unpacked() {
        let feast = Value::String(r#"{"module": "m", "class": "C", "message": "no such"}"#.into());
        assert_eq!(refusal(&feast, 404), "no such");
        assert_eq!(refusal(&Value::String("text".into()), 500), "text");
        assert!(refusal(&serde_json::json!({"detail": "Not Found"}), 404).contains("Not Found"));
    }
}

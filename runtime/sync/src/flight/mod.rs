//! The offline server of Feast (`feast serve_offline`), by Arrow Flight.
//!
//! A read is one exchange: the command goes as the descriptor, a table as its upload, and the result
//! comes back on the same call. Servers before Feast 0.66 want the command put first, then its
//! flight asked for, then got; that way is taken when the first is not known.

mod check;
mod columns;
mod materialize;
#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{RecordBatch, StringArray};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor, Ticket};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, stream};
use galley_types::EventTime;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::grpc::{GrpcAddress, failed, request};
use crate::remote::{Blocking, RemoteConfig, RemoteError, RemoteErrorKind};

pub use materialize::FlightMaterializer;
pub(crate) use materialize::take;

/// How often a call that waits looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// How the offline server is used.
#[derive(Clone, Debug)]
pub struct OfflineConfig {
    /// The longest that the server may stay silent: it computes a whole result before it sends the
    /// first byte of it.
    pub timeout: Duration,
    /// Bytes of one message, which is one record batch of the server.
    pub message_bytes_max: usize,
}

/// A client of the offline server. Each call makes a connection of its own.
#[derive(Clone, Debug)]
pub struct OfflineClient {
    address: GrpcAddress,
    location: String,
    remote: RemoteConfig,
    config: OfflineConfig,
    blocking: Blocking,
}

/// What `pull_latest_from_table_or_query` asks for; columns by the source's names.
#[derive(Clone, Debug)]
pub struct PullLatest<'a> {
    /// The name of the batch source in the registry.
    pub source: &'a str,
    /// Join keys.
    pub join_keys: &'a [String],
    /// Features.
    pub features: &'a [String],
    /// The column of event times.
    pub timestamp: &'a str,
    /// The column of created times.
    pub created: Option<&'a str>,
    /// First and last event time, both included.
    pub window: (EventTime, EventTime),
}

/// What a call was told by whoever waits for it.
enum Ended<E> {
    Stopped(E),
    Failed(RemoteError),
}

// === impl OfflineConfig ===

impl Default for OfflineConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(600),
            message_bytes_max: 1 << 30,
        }
    }
}

// === impl OfflineClient ===

impl OfflineClient {
    /// A client of the server at `address`. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn new(
        address: GrpcAddress,
        remote: &RemoteConfig,
        config: OfflineConfig,
    ) -> Result<Self, RemoteError> {
        let location = address.location();
        Ok(Self {
            blocking: Blocking::new(&location)?,
            address,
            location,
            remote: remote.clone(),
            config,
        })
    }

    /// Where the server is, for messages.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Makes a connection and all that a call needs beside its command. What fails here has nothing to
    /// do with what is asked.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn reach(&self) -> Result<(), RemoteError> {
        let never = &mut || Ok::<(), std::convert::Infallible>(());
        let reach = async {
            self.client().await?;
            request((), &self.remote, &self.location).await.map(drop)
        };
        match self.run(reach, never) {
            Ok(outcome) => outcome,
            Err(Ended::Failed(error)) => Err(error),
            Err(Ended::Stopped(never)) => match never {},
        }
    }

    /// Has the server write `batches`, by a command such as `{"api": "offline_write_batch",
    /// "feature_view_names": [..], "name_aliases": [null], "progress": null}`. When this returns
    /// the server has written them; after an error it may or may not have.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn put(
        &self,
        command: &Value,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<(), RemoteError> {
        let never = &mut || Ok::<(), std::convert::Infallible>(());
        let put = async {
            let mut client = self.client().await?;
            let descriptor = descriptor(&identified(command));
            self.send(&mut client, descriptor, schema, batches).await
        };
        match self.run(put, never) {
            Ok(outcome) => outcome,
            Err(Ended::Failed(error)) => Err(error),
            Err(Ended::Stopped(never)) => match never {},
        }
    }

    /// Whether the server is still at work on a command it was given by [`Self::put`] with a
    /// `command_id` of the caller's own. It goes on after a caller that hung up.
    ///
    /// # Errors
    /// [`RemoteError`] when the server could not be asked.
    pub fn is_at_work(&self, command: &Value) -> Result<bool, RemoteError> {
        let never = &mut || Ok::<(), std::convert::Infallible>(());
        let ask = async {
            let mut client = self.client().await?;
            let message = request(descriptor(command), &self.remote, &self.location).await?;
            match client.get_flight_info(message).await {
                Ok(_) => Ok(true),
                // The question did not get there, or the answer did not get back.
                Err(status) if is_lost(status.code()) => Err(self.failed(&status)),
                // It does not know it, which servers of several versions say by several codes.
                Err(_) => Ok(false),
            }
        };
        match self.run(ask, never) {
            Ok(outcome) => outcome,
            Err(Ended::Failed(error)) => Err(error),
            Err(Ended::Stopped(never)) => match never {},
        }
    }

    /// Pulls the newest row of every key within the window, and hands them to `each`, batch by
    /// batch; columns come in any order. Rows of a source without join keys come all of them.
    /// Whenever it waits, `wanted` is asked; the first error of either ends the call.
    ///
    /// # Errors
    /// Those of `each` and `wanted`; [`RemoteError`].
    pub fn pull_latest<E: From<RemoteError>>(
        &self,
        pull: &PullLatest<'_>,
        wanted: &mut dyn FnMut() -> Result<(), E>,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let command = identified(&pull.command());
        let outcome = self
            .exchange(&command, wanted, each)
            .or_else(|ended| match ended {
                // Nothing came of it, so nothing was handed over.
                Ended::Failed(error) if error.kind == RemoteErrorKind::Unsupported => {
                    tracing::debug!(%error, "no exchange: the older way is taken");
                    self.put_and_get(&command, wanted, each)
                }
                ended => Err(ended),
            });
        outcome.map_err(|ended| match ended {
            Ended::Stopped(error) => error,
            Ended::Failed(error) => error.into(),
        })
    }

    fn exchange<E>(
        &self,
        command: &Value,
        wanted: &mut dyn FnMut() -> Result<(), E>,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<(), Ended<E>> {
        let call = async {
            let mut client = self.client().await?;
            let (schema, batch) = no_upload();
            let upload = encoded(descriptor(command), schema, vec![batch]);
            let message = request(upload, &self.remote, &self.location).await?;
            let answer = client.do_exchange(message).await;
            answer.map_err(|status| self.failed(&status))
        };
        let answer = self.run(call, wanted)?.map_err(Ended::Failed)?;
        self.take(answer.into_inner(), wanted, each)
    }

    fn put_and_get<E>(
        &self,
        command: &Value,
        wanted: &mut dyn FnMut() -> Result<(), E>,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<(), Ended<E>> {
        let call = async {
            let mut client = self.client().await?;
            let (schema, batch) = no_upload();
            let asked = descriptor(command);
            self.send(&mut client, asked.clone(), schema, vec![batch])
                .await?;
            let message = request(asked, &self.remote, &self.location).await?;
            let failed = |status| self.failed(&status);
            let flight = client.get_flight_info(message).await.map_err(failed)?;
            // Where the flight is said to be is not gone to: hosts come from the configuration.
            let endpoint = flight.into_inner().endpoint.into_iter().next();
            let ticket = endpoint.and_then(|endpoint| endpoint.ticket);
            let ticket: Ticket = ticket.ok_or_else(|| self.invalid("a flight without a ticket"))?;
            let message = request(ticket, &self.remote, &self.location).await?;
            client.do_get(message).await.map_err(failed)
        };
        let answer = self.run(call, wanted)?.map_err(Ended::Failed)?;
        self.take(answer.into_inner(), wanted, each)
    }

    async fn client(&self) -> Result<FlightServiceClient<Channel>, RemoteError> {
        let channel = self.address.connect(&self.remote).await?;
        Ok(FlightServiceClient::new(channel)
            .max_decoding_message_size(self.config.message_bytes_max))
    }

    async fn send(
        &self,
        client: &mut FlightServiceClient<Channel>,
        descriptor: FlightDescriptor,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<(), RemoteError> {
        let upload = encoded(descriptor, schema, batches);
        let message = request(upload, &self.remote, &self.location).await?;
        let failed = |status| self.failed(&status);
        let mut answers = client.do_put(message).await.map_err(failed)?.into_inner();
        // The end of the stream is what says that the server is done.
        while answers.message().await.map_err(failed)?.is_some() {}
        Ok(())
    }

    /// Hands over the batches of an answer.
    fn take<E>(
        &self,
        answer: Streaming<FlightData>,
        wanted: &mut dyn FnMut() -> Result<(), E>,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<(), Ended<E>> {
        let mut batches = checked(answer.map_err(FlightError::from));
        while let Some(batch) = self.run(next(&mut batches), wanted)? {
            let batch = batch.map_err(|error| Ended::Failed(self.broken(&error)))?;
            each(batch).map_err(Ended::Stopped)?;
        }
        Ok(())
    }

    /// Waits for `future`, as long as the wait is wanted and the server not silent for too long.
    fn run<T, E>(
        &self,
        future: impl Future<Output = T>,
        wanted: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<T, Ended<E>> {
        let started = Instant::now();
        self.blocking.wait(async {
            let mut future = pin!(future);
            loop {
                if let Ok(value) = tokio::time::timeout(LOOK, &mut future).await {
                    return Ok(value);
                }
                wanted().map_err(Ended::Stopped)?;
                if started.elapsed() > self.config.timeout {
                    let seconds = self.config.timeout.as_secs();
                    return Err(Ended::Failed(RemoteError::new(
                        RemoteErrorKind::Unreachable,
                        &self.location,
                        format!("silent for {seconds} s"),
                    )));
                }
            }
        })
    }

    fn invalid(&self, detail: &str) -> RemoteError {
        RemoteError::new(RemoteErrorKind::Invalid, &self.location, detail)
    }

    fn failed(&self, status: &tonic::Status) -> RemoteError {
        let error = failed(&self.location, status);
        self.remote.denied(&error);
        error
    }

    fn broken(&self, error: &FlightError) -> RemoteError {
        match error {
            FlightError::Tonic(status) => self.failed(status),
            error => self.invalid(&crate::error::chain(error)),
        }
    }
}

// === impl PullLatest ===

impl PullLatest<'_> {
    fn command(&self) -> Value {
        json!({
            "api": "pull_latest_from_table_or_query",
            "data_source_name": self.source,
            "join_key_columns": self.join_keys,
            "feature_name_columns": self.features,
            "timestamp_field": self.timestamp,
            "created_timestamp_column": self.created,
            "start_date": iso(self.window.0),
            "end_date": iso(self.window.1),
        })
    }
}

/// The batches of `answer`, whose messages are looked at before their arrays are made.
pub(crate) fn checked(
    answer: impl Stream<Item = Result<FlightData, FlightError>> + Send + 'static,
) -> FlightRecordBatchStream {
    let looked_at = answer.and_then(async |message| check::message(&message).map(|()| message));
    FlightRecordBatchStream::new_from_flight_data(looked_at)
}

/// The next batch. What is checked beforehand does not keep the decoder from giving up in its own way,
/// and that is an error like others.
pub(crate) async fn next(
    batches: &mut FlightRecordBatchStream,
) -> Option<Result<RecordBatch, FlightError>> {
    let next = AssertUnwindSafe(batches.next()).catch_unwind().await;
    let gave_up = |_| {
        Some(Err(FlightError::DecodeError(
            "the decoder gave up".to_owned(),
        )))
    };
    next.unwrap_or_else(gave_up)
}

/// The time as Python's `datetime.fromisoformat` reads it, of whatever version, within what pandas
/// knows: nanoseconds in 64 bits.
fn iso(time: EventTime) -> String {
    const LAST: i64 = 9_223_372_036_000_000;
    const FIRST: i64 = -LAST;
    let time = jiff::Timestamp::from_microsecond(time.0.clamp(FIRST, LAST)).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

/// `command` with an id, by which the server knows it from another of the same words.
fn identified(command: &Value) -> Value {
    let mut command = command.clone();
    if let Some(fields) = command.as_object_mut() {
        let mut random = [0_u8; 16];
        // Without random numbers the time will do: it is a name, not a secret.
        if ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random).is_err() {
            random = jiff::Timestamp::now().as_nanosecond().to_be_bytes();
        }
        let id = format!("{:032x}", u128::from_be_bytes(random));
        fields
            .entry("command_id")
            .or_insert_with(|| Value::String(id));
    }
    command
}

/// Whether a call ended by what is between the two sides, and not by what the server made of it.
fn is_lost(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
    )
}

fn descriptor(command: &Value) -> FlightDescriptor {
    FlightDescriptor::new_cmd(command.to_string())
}

/// The table that stands for none.
fn no_upload() -> (SchemaRef, RecordBatch) {
    let schema = Arc::new(Schema::new(vec![Field::new("key", DataType::Utf8, true)]));
    let column = Arc::new(StringArray::from(vec!["mock_key"]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]);
    let batch = batch.unwrap_or_else(|_| RecordBatch::new_empty(Arc::clone(&schema)));
    (schema, batch)
}

fn encoded(
    descriptor: FlightDescriptor,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
) -> impl Stream<Item = FlightData> + Send + 'static {
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_flight_descriptor(Some(descriptor))
        .build(stream::iter(batches.into_iter().map(Ok)))
        // What is encoded is ours: it ends the upload, and the server says that it is short.
        .filter_map(async |message| message.ok())
}

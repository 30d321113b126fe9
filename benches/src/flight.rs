//! A Flight server that answers every exchange with the same rows, as fast as they go.

use std::net::TcpListener;
use std::pin::Pin;
use std::thread::JoinHandle;

use arrow_array::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::oneshot;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::Result;

/// Such a server, on a thread of its own; it ends with this.
#[derive(Debug)]
pub struct Flight {
    /// Where it listens on loopback.
    pub port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The messages of an answer, encoded once.
struct Rows(Vec<FlightData>);

type Messages<T> = Pin<Box<dyn Stream<Item = std::result::Result<T, Status>> + Send>>;
type Answer<T> = std::result::Result<Response<T>, Status>;

impl Flight {
    /// Starts a server of these batches.
    pub fn start(batches: Vec<RecordBatch>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let schema = batches.first().ok_or("no rows to serve")?.schema();
        let encoded = FlightDataEncoderBuilder::new()
            .with_schema(schema)
            .build(stream::iter(batches.into_iter().map(Ok)));
        let rows = Rows(runtime.block_on(encoded.try_collect())?);
        // Bound to learn of a free port; tonic binds it again.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let service = FlightServiceServer::new(rows);
        let thread = std::thread::spawn(move || {
            let ended = async { drop(stopped.await) };
            let serving = Server::builder()
                .add_service(service)
                .serve_with_shutdown(address, ended);
            if let Err(error) = runtime.block_on(serving) {
                eprintln!("the Flight server: {error}");
            }
        });
        Ok(Self {
            port: address.port(),
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[tonic::async_trait]
impl FlightService for Rows {
    type HandshakeStream = Messages<HandshakeResponse>;
    type ListFlightsStream = Messages<FlightInfo>;
    type DoGetStream = Messages<FlightData>;
    type DoPutStream = Messages<PutResult>;
    type DoExchangeStream = Messages<FlightData>;
    type DoActionStream = Messages<arrow_flight::Result>;
    type ListActionsStream = Messages<ActionType>;

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Answer<Self::DoExchangeStream> {
        let mut upload = request.into_inner();
        while upload.message().await?.is_some() {}
        let messages = self.0.clone();
        Ok(Response::new(stream::iter(messages).map(Ok).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Self::HandshakeStream> {
        Err(unknown())
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        Err(unknown())
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        Err(unknown())
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        Err(unknown())
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        Err(unknown())
    }

    async fn do_get(&self, _: Request<Ticket>) -> Answer<Self::DoGetStream> {
        Err(unknown())
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        Err(unknown())
    }

    async fn do_action(&self, _: Request<Action>) -> Answer<Self::DoActionStream> {
        Err(unknown())
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        Err(unknown())
    }
}

fn unknown() -> Status {
    Status::unimplemented("only exchanges are served")
}

//! Requests of components to other hosts.

use std::future::Future;
use std::io;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::http::uri::{Authority, Scheme};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::state::Shared;

type Done = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Done), Error>;

/// Sends the requests of one instance, where it may.
#[derive(Debug)]
pub(crate) struct Outbound {
    shared: Arc<Shared>,
    /// Requests the present call may still make.
    left: u32,
}

impl Outbound {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            left: shared.limits.outbound_requests_max,
            shared: Arc::clone(shared),
        }
    }

    /// The host and port of a request that may be sent.
    fn admit(&mut self, request: &Request<WasiBody>) -> Result<(String, u16), Error> {
        let uri = request.uri();
        let scheme = uri.scheme().unwrap_or(&Scheme::HTTPS);
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        let (host, port) = target(scheme, authority);
        if !self.shared.grants.allow(scheme.as_str(), host, port) {
            let component = &self.shared.name;
            tracing::warn!(
                component,
                host,
                port,
                "request to a host that allowed_outbound_hosts does not grant was refused"
            );
            return Err(Error::HttpRequestDenied);
        }
        if *scheme != Scheme::HTTP {
            return Err(Error::InternalError(Some(
                "this node sends plain http:// only: it carries no TLS; put a local proxy in front \
                 of the other host"
                    .to_owned(),
            )));
        }
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(Error::ConnectionLimitReached)?;
        Ok((host.to_owned(), port))
    }
}

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _io: Done,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let admitted = self.admit(&request);
        let body_bytes_max = self.shared.limits.outbound_body_bytes_max;
        Box::new(async move {
            let (host, port) = admitted?;
            let connect = TcpStream::connect((host.trim_matches(['[', ']']), port));
            let stream = match options.and_then(|options| options.connect_timeout) {
                Some(patience) => tokio::time::timeout(patience, connect)
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
                None => connect.await,
            };
            send(stream.map_err(Error::Connect)?, request, body_bytes_max).await
        })
    }
}

fn target<'a>(scheme: &Scheme, authority: &'a Authority) -> (&'a str, u16) {
    let usual = if *scheme == Scheme::HTTP { 80 } else { 443 };
    (authority.host(), authority.port_u16().unwrap_or(usual))
}

async fn send(stream: TcpStream, mut request: Request<WasiBody>, body_bytes_max: usize) -> Sent {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // A server is asked for a path; the host stands in its own header field.
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let connection = Connection(tokio::spawn(async move {
        // An error of the connection is one of the request or of its body, and told there.
        drop(connection.await);
    }));
    let response = sender.send_request(request).await?;
    let response = response.map(|body: Incoming| {
        Limited::new(body, body_bytes_max)
            .map_err(move |error| match error.downcast::<hyper::Error>() {
                Ok(error) => Error::Hyper(*error),
                Err(_) => Error::HttpResponseBodySize(Some(body_bytes_max as u64)),
            })
            .map_frame(move |frame| {
                // The connection goes when the body does.
                let _held = &connection;
                frame
            })
            .boxed_unsync()
    });
    Ok((response, Box::new(std::future::ready(Ok(())))))
}

/// The task of a connection; ends with the body it brings.
struct Connection(tokio::task::JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

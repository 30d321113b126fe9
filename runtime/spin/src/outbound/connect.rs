//! From a destination to a connection: its addresses, asked for once and checked, and TLS.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error;

use crate::grants::{Destination, parse_address};
use crate::state::Shared;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// A connection, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to where a request may go; gives up at `deadline`.
pub(super) async fn connect(
    shared: &Arc<Shared>,
    to: &Destination,
    deadline: Instant,
) -> Result<Box<dyn Stream>, Error> {
    let addresses = timeout_at(deadline.into(), addresses(shared, to))
        .await
        .map_err(|_| Error::DnsTimeout)??;
    let stream = first_of(&addresses, deadline).await?;
    // A request is written in few pieces, each of which the other side waits for.
    stream.set_nodelay(true).map_err(Error::Connect)?;
    if !to.is_secure {
        return Ok(Box::new(stream));
    }
    let tls = shared.tls.as_ref().ok_or(Error::ConfigurationError)?;
    let stream = timeout_at(deadline.into(), secured(tls, to, stream))
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    Ok(Box::new(stream))
}

/// The addresses a request may be sent to. They are what is connected to: a name that is answered
/// otherwise a moment later leads nowhere else.
async fn addresses(shared: &Arc<Shared>, to: &Destination) -> Result<Vec<SocketAddr>, Error> {
    let found = match parse_address(&to.host) {
        Some(address) => vec![SocketAddr::new(address, to.port)],
        None => look_up(shared, to).await?,
    };
    if found.is_empty() {
        return Err(Error::DestinationNotFound);
    }
    let reached = |address: &SocketAddr| shared.grants.reach(to, address.ip());
    let reached: Vec<SocketAddr> = found.into_iter().filter(reached).collect();
    if reached.is_empty() {
        return Err(Error::DestinationIpProhibited);
    }
    Ok(reached)
}

/// Asks the system. It cannot be told to stop: the place of a look-up is held until it has ended,
/// whoever waits for it, so that one component never takes all the threads there are for this.
async fn look_up(shared: &Arc<Shared>, to: &Destination) -> Result<Vec<SocketAddr>, Error> {
    let place = Arc::clone(&shared.look_ups).acquire_owned().await;
    let (host, port) = (to.host.clone(), to.port);
    let found = tokio::task::spawn_blocking(move || {
        let _held = place;
        let found = (host.as_str(), port).to_socket_addrs()?;
        Ok::<_, io::Error>(found.take(ADDRESSES_MAX).collect())
    });
    let failed = |error: io::Error| {
        tracing::debug!(host = to.host, %error, "a host's address was not found");
        Error::DnsError {
            rcode: Some("the name has no address".to_owned()),
            info_code: None,
        }
    };
    found
        .await
        .map_err(|_| Error::InternalError(None))?
        .map_err(failed)
}

/// A connection to the first address that takes one. Those that are silent share the time there is.
async fn first_of(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Error> {
    let mut why = Error::ConnectionTimeout;
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let patience = left.checked_div(others).unwrap_or(left);
        match tokio::time::timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = refused(error),
            Err(_) => why = Error::ConnectionTimeout,
        }
    }
    Err(why)
}

fn refused(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Error::DestinationUnavailable
        }
        _ => Error::Connect(error),
    }
}

async fn secured(
    tls: &Arc<ClientConfig>,
    to: &Destination,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
    let name = match parse_address(&to.host) {
        Some(address) => ServerName::from(address),
        None => ServerName::try_from(to.host.clone()).map_err(|_| Error::HttpRequestUriInvalid)?,
    };
    let connecting = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
    connecting.await.map_err(|error| {
        let cause = error.get_ref();
        match cause.and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
            Some(rustls::Error::AlertReceived(alert)) => alerted(*alert),
            Some(_) => Error::TlsProtocolError,
            None => Error::Tls(error),
        }
    })
}

fn alerted(alert: AlertDescription) -> Error {
    Error::TlsAlertReceived {
        alert_id: Some(u8::from(alert)),
        alert_message: Some(format!("{alert:?}")),
    }
}

//! The knobs of the front door.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Bounds and time-outs of the HTTP server. Every field may be set by an operator.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Worker threads; `None` takes as many as the process may use cores.
    pub workers: Option<usize>,
    /// Open connections; one more is accepted and closed at once.
    pub connections_max: usize,
    /// Open connections of one peer address.
    pub connections_per_ip_max: usize,
    /// Bytes of a request's header fields, names and values with their separators.
    pub head_bytes_max: usize,
    /// Header fields of a request.
    pub headers_max: usize,
    /// Bytes of a request's target (path and query).
    pub target_bytes_max: usize,
    /// How long a request's head may take from its first byte.
    pub header_timeout: Duration,
    /// How long a connection may wait between two requests.
    pub keep_alive_idle: Duration,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Bytes of large request bodies (over 64 KiB) that all connections hold together.
    pub bodies_bytes_max: usize,
    /// How long a body may pause.
    pub body_idle_timeout: Duration,
    /// How long a whole body may take.
    pub body_timeout: Duration,
    /// How long a peer may refuse to take any byte of an answer.
    pub response_stall_timeout: Duration,
    /// How long a connection that is closed on an unread body is read on, so that the peer sees the
    /// answer and not a reset.
    pub linger_timeout: Duration,
    /// Requests worked on at once; `None` is 128 for each core. One more is answered 503.
    pub in_flight_max: Option<usize>,
    /// What `Retry-After` says, in whole seconds.
    pub retry_after: Duration,
    /// A look-up of more cells than this leaves the worker for the blocking pool.
    pub inline_cells_max: usize,
    /// A body of more bytes than this is read as JSON on the blocking pool.
    pub inline_body_bytes_max: usize,
    /// Bytes of an answer to a look-up; a larger one is refused.
    pub answer_bytes_max: usize,
    /// Threads of each worker's blocking pool.
    pub blocking_threads_max: usize,
    /// Connections waiting to be taken over by one worker.
    pub handover_queue_max: usize,
    /// Connections that listen to the events of jobs at once.
    pub event_listeners_max: usize,
    /// How long requests in flight may take to finish after a shutdown was asked for.
    pub drain_timeout: Duration,
}

/// What the server tells of itself.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// The version in `/status`, `/openapi.json` and the metrics.
    pub version: String,
}

// === impl ApiConfig ===

impl ApiConfig {
    /// Feast's port.
    pub const PORT: u16 = 6566;
    /// Requests in flight for each core where [`ApiConfig::in_flight_max`] is not set.
    pub const IN_FLIGHT_PER_CORE: usize = 128;
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), Self::PORT),
            workers: None,
            connections_max: 4096,
            connections_per_ip_max: 256,
            head_bytes_max: 16 << 10,
            headers_max: 100,
            target_bytes_max: 8 << 10,
            header_timeout: Duration::from_secs(10),
            keep_alive_idle: Duration::from_secs(30),
            body_bytes_max: 8 << 20,
            bodies_bytes_max: 192 << 20,
            body_idle_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            response_stall_timeout: Duration::from_secs(30),
            linger_timeout: Duration::from_secs(2),
            in_flight_max: None,
            retry_after: Duration::from_secs(1),
            inline_cells_max: 50_000,
            inline_body_bytes_max: 256 << 10,
            answer_bytes_max: 256 << 20,
            blocking_threads_max: 2,
            handover_queue_max: 256,
            event_listeners_max: 64,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

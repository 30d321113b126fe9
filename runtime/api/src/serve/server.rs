//! The server: one acceptor, as many workers as there are cores, each with a runtime of its own so
//! that a connection never changes threads.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::admission::{Admission, Seat};
use super::connection::serve;
use crate::service::Service;
use crate::slot::NodeSlot;
use crate::{ApiConfig, ServerInfo};

/// Connections the kernel holds for us.
const BACKLOG: i32 = 1024;
/// How long the acceptor rests after an error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long blocking work may still run after everything else has ended.
const BLOCKING_GRACE: Duration = Duration::from_secs(1);

/// The HTTP server of a node.
#[derive(Debug)]
pub struct Server {
    listener: StdListener,
    service: Arc<Service>,
    workers: usize,
}

/// One accepted connection on its way to a worker.
struct Accepted {
    stream: std::net::TcpStream,
    seat: Seat,
}

/// Where the acceptor puts connections.
enum Handover {
    /// Onto its own runtime.
    Here(Connections),
    /// To workers in turn.
    Workers {
        senders: Vec<mpsc::Sender<Accepted>>,
        next: usize,
    },
}

/// Starts connections on the current runtime and knows when all have ended.
struct Connections {
    service: Arc<Service>,
    draining: watch::Receiver<bool>,
    /// Every connection holds a clone; the channel closes with the last.
    alive: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

// === impl Server ===

impl Server {
    /// Binds the address and is ready to answer `/live`; requests wait until [`Server::run`].
    ///
    /// # Errors
    /// The error of the socket, such as an address in use.
    pub fn bind(config: ApiConfig, slot: Arc<NodeSlot>, info: ServerInfo) -> io::Result<Self> {
        let address = config.listen;
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let workers = config.workers.unwrap_or(cores).max(1);
        Ok(Self {
            listener: socket.into(),
            service: Arc::new(Service::new(config, slot, info, cores)),
            workers,
        })
    }

    /// The address that was bound, with the port that was taken.
    ///
    /// # Errors
    /// The error of the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves on the calling thread and the workers' until `shutdown` is done; then takes no more
    /// connections, answers the requests in flight for as long as
    /// [`ApiConfig::drain_timeout`] and returns. `shutdown` is polled on a tokio runtime of the
    /// server's own, so it may wait for tokio's signals and timers.
    ///
    /// # Errors
    /// When a runtime or a thread cannot be started.
    pub fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let runtime = runtime(&self.service.config)?;
        let (drain, draining) = watch::channel(false);
        let admission = Admission::new(&self.service.config, Arc::clone(&self.service.metrics));
        let mut threads = Vec::new();
        let mut handover = if self.workers == 1 {
            Handover::Here(Connections::new(&self.service, &draining))
        } else {
            let mut senders = Vec::with_capacity(self.workers);
            for number in 0..self.workers {
                let (sender, receiver) = mpsc::channel(self.service.config.handover_queue_max);
                threads.push(worker(number, &self.service, &draining, receiver)?);
                senders.push(sender);
            }
            Handover::Workers { senders, next: 0 }
        };
        let service = Arc::clone(&self.service);
        let listener = self.listener;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            let mut shutdown = pin!(shutdown);
            loop {
                tokio::select! {
                    biased;
                    () = &mut shutdown => break,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, peer)) => handover.take(&admission, stream, peer),
                        Err(error) => {
                            tracing::warn!(%error, "connection not accepted");
                            sleep(ACCEPT_PAUSE).await;
                        }
                    },
                }
            }
            drop(listener);
            tracing::info!("draining connections");
            service.draining.store(true, Ordering::Release);
            // Without a receiver there is no connection left to tell.
            let _ = drain.send(true);
            if let Handover::Here(connections) = handover {
                connections.ended().await;
            }
            Ok::<(), io::Error>(())
        })?;
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
        runtime.shutdown_timeout(BLOCKING_GRACE);
        Ok(())
    }
}

fn runtime(config: &ApiConfig) -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(config.blocking_threads_max.max(1))
        .thread_name("galley-blocking")
        .build()
}

fn worker(
    number: usize,
    service: &Arc<Service>,
    draining: &watch::Receiver<bool>,
    mut accepted: mpsc::Receiver<Accepted>,
) -> io::Result<JoinHandle<()>> {
    let runtime = runtime(&service.config)?;
    let connections = Connections::new(service, draining);
    std::thread::Builder::new()
        .name(format!("galley-http-{number}"))
        .spawn(move || {
            runtime.block_on(async {
                // The acceptor drops its end when it stops.
                while let Some(Accepted { stream, seat }) = accepted.recv().await {
                    match TcpStream::from_std(stream) {
                        Ok(stream) => connections.start(stream, seat),
                        Err(error) => tracing::warn!(%error, "connection not taken over"),
                    }
                }
                connections.ended().await;
            });
            runtime.shutdown_timeout(BLOCKING_GRACE);
        })
}

// === impl Handover ===

impl Handover {
    fn take(&mut self, admission: &Arc<Admission>, stream: TcpStream, peer: SocketAddr) {
        // A connection without a seat is closed as it is dropped.
        let Some(seat) = admission.admit(peer.ip()) else {
            return;
        };
        // Answers are written whole, waiting for more to send would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection is gone");
            return;
        }
        match self {
            Self::Here(connections) => connections.start(stream, seat),
            Self::Workers { senders, next } => match stream.into_std() {
                Ok(stream) => hand_over(senders, next, Accepted { stream, seat }),
                Err(error) => tracing::debug!(%error, "connection is gone"),
            },
        }
    }
}

/// Gives a connection to the next worker in turn that has room; without any it is closed.
fn hand_over(senders: &[mpsc::Sender<Accepted>], next: &mut usize, accepted: Accepted) {
    let mut accepted = accepted;
    let turn = *next;
    *next = (turn + 1) % senders.len().max(1);
    for sender in senders.iter().cycle().skip(turn).take(senders.len()) {
        match sender.try_send(accepted) {
            Ok(()) => return,
            Err(
                mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back),
            ) => {
                accepted = back;
            }
        }
    }
    tracing::warn!("connection closed, no worker takes it");
}

// === impl Connections ===

impl Connections {
    fn new(service: &Arc<Service>, draining: &watch::Receiver<bool>) -> Self {
        let (alive, ended) = mpsc::channel(1);
        Self {
            service: Arc::clone(service),
            draining: draining.clone(),
            alive,
            ended,
        }
    }

    fn start(&self, stream: TcpStream, seat: Seat) {
        let (service, draining) = (Arc::clone(&self.service), self.draining.clone());
        let alive = self.alive.clone();
        tokio::spawn(async move {
            serve(stream, service, draining, seat).await;
            drop(alive);
        });
    }

    /// Waits until the last connection has ended, or the time for it is over.
    async fn ended(self) {
        let Self {
            service,
            alive,
            mut ended,
            ..
        } = self;
        drop(alive);
        let deadline = Instant::now() + service.config.drain_timeout;
        if timeout_at(deadline, ended.recv()).await.is_err() {
            tracing::warn!("connections closed that did not end in time");
        }
    }
}

//! The server of HTTP/1.1: the accept loop, with the time limits and bounds that `axum::serve` does not set.
//!
//! A connection executes one request at a time. It executes the next one after the last byte of the previous
//! answer has left, so a client that does not read gets no further answers.

mod connection;
mod exchange;
mod refusal;
mod socket;
mod stalled;

use std::{error::Error, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use futures::FutureExt;
use http::Request;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use self::stalled::StalledAnswers;
use super::hosts::{AllowedHosts, HostRule};
use crate::log_limit::LogLimit;

/// Limits of a server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Concurrent connections. Further ones wait to be accepted.
    pub connections_max: usize,
    /// Time limit for reading the head of a request, and for an idle connection.
    pub head_read_timeout: Duration,
    /// Time limit for sending an answer, from the moment when the client has not read what was sent. An answer
    /// of more than 64 KiB gets one second more for each further 64 KiB.
    pub answer_write_timeout: Duration,
    /// The most bytes of answers that wait for their clients to read, in all connections. Beyond it, the
    /// connection that has waited longest is closed.
    pub stalled_bytes_max: usize,
    /// Time that an idle connection has for one last request after the shutdown begins.
    pub idle_grace: Duration,
    /// Time limit for running requests after the shutdown begins.
    pub drain_timeout: Duration,
    /// Names of this server besides `localhost`.
    pub allowed_hosts: AllowedHosts,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            head_read_timeout: Duration::from_secs(30),
            answer_write_timeout: Duration::from_secs(30),
            stalled_bytes_max: 192 * 1024 * 1024,
            idle_grace: Duration::from_millis(500),
            drain_timeout: Duration::from_secs(10),
            allowed_hosts: AllowedHosts::default(),
        }
    }
}

/// How far the shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// Every answer announces the end of its connection.
    Draining,
    /// Idle connections are closed too.
    Closing,
    /// Every connection is closed, also within a request.
    Cut,
}

/// What all connections of a server share.
#[derive(Debug)]
struct Shared {
    options: ServerOptions,
    hosts: HostRule,
    stalled: Arc<StalledAnswers>,
}

/// Listens on an address, for [`serve`].
///
/// Accepted connections inherit the send buffer. The default of the operating system grows to 4 MiB for each
/// client that does not read.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    const SEND_BUFFER_BYTES: u32 = 256 * 1024;
    const BACKLOG: u32 = 1_024;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restarted server can listen at once, although connections of the previous one are still closing.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `shutdown`, then answers the requests under way within the drain time.
///
/// `service` is a router. Its errors end the connection without an answer.
pub async fn serve<S>(listener: TcpListener, service: S, options: ServerOptions, shutdown: CancellationToken)
where
    S: Service<Request<Body>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let permits = Arc::new(Semaphore::new(options.connections_max));
    let shared = Arc::new(Shared {
        hosts: HostRule::new(options.allowed_hosts.clone(), listener.local_addr().ok()),
        stalled: StalledAnswers::new(options.stalled_bytes_max),
        options,
    });
    let (stage, stages) = watch::channel(Stage::Serving);
    let connections = TaskTracker::new();
    let start = |(stream, permit): (TcpStream, OwnedSemaphorePermit)| {
        let running = connection::run(stream, service.clone(), Arc::clone(&shared), stages.clone());
        connections.spawn(async move {
            running.await;
            drop(permit);
        });
    };

    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &permits) => start(accepted),
        }
    }
    stage.send_replace(Stage::Draining);
    // Clients that connected before the listener closes may have sent a request.
    while let Some(accepted) = accept(&listener, &permits).now_or_never() {
        start(accepted);
    }
    drop(listener);
    connections.close();
    let (idle_grace, drain_timeout) = (shared.options.idle_grace, shared.options.drain_timeout);
    if time::timeout(idle_grace, connections.wait()).await.is_ok() {
        return;
    }
    stage.send_replace(Stage::Closing);
    if time::timeout(drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!("Requests still run after the drain time; their connections are closed");
        stage.send_replace(Stage::Cut);
        connections.wait().await;
    }
}

/// The next connection, and its place among `connections_max`.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    static FAILURES: LogLimit = LogLimit::new(Duration::from_secs(10));
    let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without this, a small answer waits for the acknowledgement of the previous one.
                let _ = stream.set_nodelay(true);
                return (stream, permit);
            }
            Err(error) => {
                // The process has no free file descriptors, or the peer disconnected.
                if let Some(omitted) = FAILURES.pass() {
                    tracing::warn!(%error, lines.omitted = omitted, "Cannot accept a connection; trying again in 50 ms");
                }
                time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

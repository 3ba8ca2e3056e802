//! The server of HTTP/1.1: the accept loop, with the time limits and bounds that `axum::serve` does not set.
//!
//! A connection executes one request at a time. It executes the next one after the last byte of the previous
//! answer has left, so a client that does not read gets no further answers.

mod connection;
mod connections;
mod exchange;
mod refusal;
mod socket;
mod stalled;

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::{Request, StatusCode};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{
    Layer, Service, ServiceExt,
    util::{option_layer, service_fn},
};

use self::{
    connection::Accepted,
    connections::{Connections, Place},
    stalled::StalledAnswers,
};
use super::{
    body,
    cors::AllowedOrigins,
    hosts::{AllowedHosts, HostRule},
    peer::TrustedProxies,
    slots::{self, Slots},
    tls::Tls,
};
use crate::{
    log_limit::LogLimit,
    measurements::{Counter, HTTP_CONNECTIONS_CLOSED},
};

/// Limits of a server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The name of the server in measurements.
    pub name: &'static str,
    /// Concurrent connections. Beyond it, connections that wait for their clients are closed.
    pub connections_max: usize,
    /// Concurrent connections of one address. Further ones are closed at once.
    pub connections_per_address_max: usize,
    /// Time limit for the head of a request, from its first byte, and for the handshake of TLS.
    pub head_read_timeout: Duration,
    /// Time limit for a connection without a request.
    pub idle_timeout: Duration,
    /// Time limit for sending an answer, from the moment when the client has not read what was sent. An answer
    /// of more than 64 KiB gets one second more for each further 64 KiB.
    pub answer_write_timeout: Duration,
    /// The most bytes of answers that wait for their clients to read, in all connections. Beyond it, the
    /// connection that has waited longest is closed.
    pub stalled_bytes_max: usize,
    /// Time for which the server accepts connections after the shutdown begins, so that a proxy can notice it.
    pub drain_delay: Duration,
    /// Time that an idle connection has for one last request after the shutdown begins.
    pub idle_grace: Duration,
    /// Time limit for running requests after the shutdown begins.
    pub drain_timeout: Duration,
    /// Names of this server besides `localhost`.
    pub allowed_hosts: AllowedHosts,
    /// The sites whose pages may send requests.
    pub allowed_origins: AllowedOrigins,
    /// The proxies that name the clients of their requests.
    pub trusted_proxies: TrustedProxies,
    /// The requests that are worked on at the same time.
    pub slots: Slots,
    /// Encrypts connections, if set.
    pub tls: Option<Tls>,
}

impl ServerOptions {
    /// The default of `connections_per_address_max`: a quarter of all connections.
    pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 1_024;
    pub const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(10);
    /// Longer than the 60 s for which proxies usually keep a connection, so that these close it first.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
    pub const ANSWER_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            name: "other",
            connections_max: 4_096,
            connections_per_address_max: Self::CONNECTIONS_PER_ADDRESS_MAX,
            head_read_timeout: Self::HEAD_READ_TIMEOUT,
            idle_timeout: Self::IDLE_TIMEOUT,
            answer_write_timeout: Self::ANSWER_WRITE_TIMEOUT,
            stalled_bytes_max: 192 * 1024 * 1024,
            drain_delay: Duration::ZERO,
            idle_grace: Duration::from_millis(500),
            drain_timeout: Duration::from_secs(10),
            allowed_hosts: AllowedHosts::default(),
            allowed_origins: AllowedOrigins::default(),
            trusted_proxies: TrustedProxies::default(),
            slots: Slots::default(),
            tls: None,
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
    closed: Closed,
}

/// Connections that the server has closed because of their clients.
#[derive(Debug)]
struct Closed {
    head_timeout: Counter,
    idle_timeout: Counter,
    answer_timeout: Counter,
    answer_evicted: Counter,
    tls_failed: Counter,
}

impl Closed {
    fn of(server: &'static str) -> Self {
        let closed = |reason| HTTP_CONNECTIONS_CLOSED.with([server, reason]);
        Self {
            head_timeout: closed("head_timeout"),
            idle_timeout: closed("idle_timeout"),
            answer_timeout: closed("answer_timeout"),
            answer_evicted: closed("answer_evicted"),
            tls_failed: closed("tls_failed"),
        }
    }
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
    let slots = options.slots.clone();
    let in_slots = service_fn(move |request: Request<Body>| {
        let (slots, service) = (slots.clone(), service.clone());
        async move {
            let method = request.method().clone();
            let response = match slots.enter(&method, request.uri().path()).await {
                Ok(None) => return service.oneshot(request).await,
                Ok(Some(slot)) => slots::within(slot, service.oneshot(request)).await?,
                Err(overloaded) => {
                    body::discard(request).await;
                    overloaded.into_response()
                }
            };
            // The slot is free again.
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                slots.refusal_may_leave(&method).await;
            }
            Ok(response)
        }
    });
    // Outside of the slots: a browser shows no refusal to a page without the headers of CORS.
    let service = option_layer(options.allowed_origins.layer()).layer(in_slots);
    let places = Connections::new(
        options.name,
        options.connections_max,
        options.connections_per_address_max,
        options.trusted_proxies.clone(),
    );
    let shared = Arc::new(Shared {
        hosts: HostRule::new(
            options.allowed_hosts.clone(),
            options.allowed_origins.clone(),
            listener.local_addr().ok(),
        ),
        stalled: StalledAnswers::new(options.stalled_bytes_max),
        closed: Closed::of(options.name),
        options,
    });
    let (stage, stages) = watch::channel(Stage::Serving);
    let connections = TaskTracker::new();
    let start = |(stream, peer, place): (TcpStream, IpAddr, Place)| {
        let accepted = Accepted { stream, peer, exchange: Arc::clone(&place.exchange) };
        let running = connection::run(accepted, service.clone(), Arc::clone(&shared), stages.clone());
        connections.spawn(async move {
            tokio::select! {
                () = running => {}
                () = place.exchange.evicted() => {}
            }
            drop(place);
        });
    };

    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => start(accepted),
        }
    }
    stage.send_replace(Stage::Draining);
    // A proxy sends requests until it has seen that this process is not ready.
    let accepting = async {
        loop {
            start(accept(&listener, &places).await);
        }
    };
    let _: Result<(), time::error::Elapsed> = time::timeout(shared.options.drain_delay, accepting).await;
    // Clients that connected before the listener closes may have sent a request.
    while let Some(accepted) = accept(&listener, &places).now_or_never() {
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

/// The next connection that has a place.
async fn accept(listener: &TcpListener, places: &Arc<Connections>) -> (TcpStream, IpAddr, Place) {
    static FAILURES: LogLimit = LogLimit::new(Duration::from_secs(10));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(place) = places.admit(peer.ip()).await else { continue };
                // Without this, a small answer waits for the acknowledgement of the previous one.
                let _ = stream.set_nodelay(true);
                return (stream, peer.ip(), place);
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

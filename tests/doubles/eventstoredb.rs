//! A server that speaks the part of EventStoreDB's gRPC protocol that concerns streams, and fails on demand.
//!
//! Written from the public protocol and the server's documented rules. An official client of another language
//! checks it: `tests/scripts/eventstoredb-client-check.sh`. It has one node, no access control, no soft
//! deletion, no links and no persistent subscriptions.

mod errors;
mod faults;
mod filter;
mod log;
mod messages;
mod reading;
mod service;
mod writing;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub use self::faults::Faults;
use self::{
    log::Log,
    service::{Shared, lock},
};

#[derive(Debug, Clone)]
pub struct FixtureOptions {
    /// Port 0 takes a free port.
    pub listen: SocketAddr,
    /// File of the log. Without one, the log is in memory.
    pub file: Option<PathBuf>,
    /// The server's setting `MaxAppendSize`, in bytes.
    pub append_bytes_max: usize,
}

impl Default for FixtureOptions {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), file: None, append_bytes_max: 1 << 20 }
    }
}

/// A running server. Dropping it stops the server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Cancelled while the server refuses connections.
    listening: Mutex<CancellationToken>,
}

impl Server {
    pub async fn start(options: FixtureOptions) -> io::Result<Self> {
        let log = Log::open(options.file.as_deref())?;
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            log: Arc::new(Mutex::new(log)),
            faults: Arc::default(),
            append_bytes_max: options.append_bytes_max,
            address,
        });
        let server = Self { address, shared, listening: Mutex::default() };
        server.listen(listener);
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connection string. `discoveryInterval` is 10 ms, because clients wait for it before every
    /// connection, even the first.
    pub fn url(&self) -> String {
        format!("esdb://{}?tls=false&discoveryInterval=10", self.address)
    }

    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Refuses new connections. Open ones stay.
    pub fn refuse_connections(&self) {
        lock(&self.listening).cancel();
    }

    /// Undoes [`Server::refuse_connections`], at the same address.
    pub async fn accept_connections(&self) -> io::Result<()> {
        // The old listener may hold the port a little longer. An outgoing connection may also have taken it.
        let mut attempts = 0;
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts < 2_000 => {
                    attempts += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                bound => break bound?,
            }
        };
        self.listen(listener);
        Ok(())
    }

    /// Cuts every connection and refuses new ones, as the end of its process would. The log stays.
    pub fn stop(&self) {
        self.refuse_connections();
        self.faults().cut_connections();
    }

    /// Takes the log back to its first `count` events, as a restored backup does: the store keeps its id. Call
    /// it between [`Server::stop`] and [`Server::accept_connections`].
    pub fn restore(&self, count: usize) {
        lock(&self.shared.log).restore(count);
    }

    /// The number of events in the log, with those of the server itself.
    pub fn events(&self) -> usize {
        lock(&self.shared.log).end()
    }

    fn listen(&self, listener: TcpListener) {
        let stop = CancellationToken::new();
        lock(&self.listening).clone_from(&stop);
        tokio::spawn(accept(listener, self.shared.clone(), stop));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        // The client closed the connection before it was accepted.
        let Ok((connection, _)) = accepted else { continue };
        let cut = shared.faults.connection_cut();
        let serving = serve(connection, shared.clone());
        tokio::spawn(async move { cut.run_until_cancelled(serving).await });
    }
}

async fn serve(connection: TcpStream, shared: Arc<Shared>) {
    // With Nagle's algorithm, answers would wait for acknowledgements.
    if connection.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request: http::Request<Incoming>| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(service::answer(shared, request.map(tonic::body::Body::new)).await) }
    });
    // An error means that the client disconnected.
    let _ =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), service).await;
}

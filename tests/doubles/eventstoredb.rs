//! A server that speaks the gRPC protocol of EventStoreDB, as far as streams go, and fails on demand.
//!
//! Written from the public protocol and the server's documented rules. It is itself checked by an official client of
//! another language: `tests/scripts/eventstoredb-client-check.sh`. It has one node, no access control, no soft deletion, no links
//! and no persistent subscriptions.

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

/// How the server is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port 0: any free one.
    pub listen: SocketAddr,
    /// Where the log is kept; none: in memory.
    pub file: Option<PathBuf>,
    /// The server's setting `MaxAppendSize`, bytes.
    pub append_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), file: None, append_bytes_max: 1 << 20 }
    }
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Cancelled: nobody listens.
    listening: Mutex<CancellationToken>,
}

impl Server {
    pub async fn start(options: Options) -> io::Result<Self> {
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

    /// A connection string for it. Clients wait for `discoveryInterval` before every connection, even the first.
    pub fn url(&self) -> String {
        format!("esdb://{}?tls=false&discoveryInterval=10", self.address)
    }

    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// From now on connections are refused; those there are stay.
    pub fn refuse_connections(&self) {
        lock(&self.listening).cancel();
    }

    /// Undoes [`Server::refuse_connections`], at the same address.
    pub async fn accept_connections(&self) -> io::Result<()> {
        // The one that was told to stop may hold the port for a moment more, and so may a connection that was given it
        // meanwhile.
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

    /// As when its process ends: no connection stays and none is accepted. What was written is kept.
    pub fn stop(&self) {
        self.refuse_connections();
        self.faults().cut_connections();
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
        // A connection that is gone before it is accepted is its client's affair.
        let Ok((connection, _)) = accepted else { continue };
        let cut = shared.faults.connection_cut();
        let serving = serve(connection, shared.clone());
        tokio::spawn(async move { cut.run_until_cancelled(serving).await });
    }
}

async fn serve(connection: TcpStream, shared: Arc<Shared>) {
    // Without it answers wait for acknowledgements.
    if connection.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request: http::Request<Incoming>| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(service::answer(shared, request.map(tonic::body::Body::new)).await) }
    });
    // An error here is a client that went away.
    let _ =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), service).await;
}

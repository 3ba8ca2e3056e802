//! A server that speaks the part of EventStoreDB's gRPC protocol that concerns streams, and fails on demand.
//!
//! Written from the public protocol and the server's documented rules. An official client of another language
//! checks it: `tests/scripts/eventstoredb-client-check.sh`. It resolves no links and has no persistent
//! subscriptions. The nodes of a [`Cluster`] share one log, so no node lags behind unless it is cut off.

mod access;
mod certificates;
mod cluster;
mod connections;
mod control;
mod counts;
mod errors;
mod faults;
mod filter;
mod log;
mod membership;
mod messages;
mod reading;
mod service;
mod wire;
mod writing;

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

pub use self::{
    access::User,
    certificates::Certificates,
    cluster::Cluster,
    control::obey,
    counts::{Calls, CallsPerEvent},
    faults::{Cancelled, Faults, Unready},
};
use self::{
    log::Log,
    membership::Membership,
    service::{Shared, lock},
};
use crate::port::HeldPort;

#[derive(Debug, Clone)]
pub struct FixtureOptions {
    /// Port 0 takes a free port.
    pub listen: SocketAddr,
    /// File of the log. Without one, the log is in memory.
    pub file: Option<PathBuf>,
    /// The server's setting `MaxAppendSize`, in bytes.
    pub append_bytes_max: usize,
    /// Without users, everybody may do everything: the server's setting `Insecure`.
    pub users: Vec<User>,
    /// Events that the server adds after each append: links of its projections.
    pub foreign_events: usize,
    /// Lets the kernel delay acknowledgements. A client that waits for them, because it left Nagle's algorithm
    /// on, needs 40 ms longer for each call. On Linux only.
    pub delay_acknowledgements: bool,
    /// Ends a connection after this many reads that its client broke off. The HTTP/2 library of the crate
    /// `eventstore` does so after 1,024, whenever the reset of the client crosses the end of the read.
    pub broken_off_reads_max: Option<usize>,
    /// In a cluster: a leader that is cut off goes on as a leader for this long beside the next leader.
    pub resignation_delay: Duration,
    /// Without certificates, connections are not encrypted.
    pub tls: Option<Certificates>,
}

impl Default for FixtureOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            file: None,
            append_bytes_max: 1 << 20,
            users: Vec::new(),
            foreign_events: 0,
            delay_acknowledgements: false,
            broken_off_reads_max: None,
            resignation_delay: Duration::ZERO,
            tls: None,
        }
    }
}

/// A running server. Dropping it stops the server.
#[derive(Debug)]
pub struct Server {
    port: HeldPort,
    url: String,
    shared: Arc<Shared>,
    /// Cancelled while the server refuses connections.
    listening: Mutex<CancellationToken>,
    /// For each type of event that was asked for: the calls and the number of events at that time.
    seen: Mutex<HashMap<String, (Calls, usize)>>,
}

impl Server {
    /// Starts a cluster of one node.
    pub async fn start(options: FixtureOptions) -> io::Result<Self> {
        let log = Log::open(options.file.as_deref(), options.foreign_events)?;
        let port = HeldPort::hold(options.listen)?;
        let listener = port.listen().await?;
        let membership = Arc::new(Membership::new(&[port.address()], Duration::ZERO, Duration::ZERO));
        Ok(Self::on((port, listener), Arc::new(Mutex::new(log)), (membership, 0), &options))
    }

    /// A node with its place in a cluster.
    fn on(
        (port, listener): (HeldPort, TcpListener),
        log: Arc<Mutex<Log>>,
        (membership, node): (Arc<Membership>, usize),
        options: &FixtureOptions,
    ) -> Self {
        let shared = Arc::new(Shared {
            log,
            faults: Faults::default(),
            append_bytes_max: options.append_bytes_max,
            users: options.users.clone(),
            delay_acknowledgements: options.delay_acknowledgements,
            tls: options.tls.clone(),
            broken_off_reads_max: options.broken_off_reads_max,
            membership,
            node,
            silent: watch::Sender::new(false),
            calls: Mutex::default(),
        });
        let url = connection_string(&[port.address()], options);
        let server = Self { port, url, shared, listening: Mutex::default(), seen: Mutex::default() };
        server.listen(listener);
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The connection string.
    pub fn url(&self) -> &str {
        &self.url
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
        // The task of the old listener may not have ended yet.
        let mut attempts = 0;
        let listener = loop {
            match self.port.listen().await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts < 2_000 => {
                    attempts += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                listening => break listening?,
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

    /// Keeps connections open and lets nothing through, as a stopped process.
    pub fn silence(&self) {
        self.shared.silent.send_replace(true);
    }

    /// Undoes [`Server::silence`].
    pub fn wake(&self) {
        self.shared.silent.send_replace(false);
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

    /// The calls since the start.
    pub fn calls(&self) -> Calls {
        *lock(&self.shared.calls)
    }

    /// The calls for each event of a type, since the last call of this method with that type or since the start.
    /// `type_prefix` is the beginning of the type's name.
    pub fn calls_per_event(&self, type_prefix: &str) -> CallsPerEvent {
        let calls = self.calls();
        let log = lock(&self.shared.log);
        let mut seen = lock(&self.seen);
        let (earlier, begin) = seen.insert(type_prefix.to_owned(), (calls, log.end())).unwrap_or_default();
        let new = log.events().iter().skip(begin).filter(|event| event.type_name.starts_with(type_prefix));
        calls.per_event(&earlier, new.count())
    }

    /// Sets the metadata of a stream, such as `{"$acl": {"$r": ["orders", "$admins"]}}` for `$all`.
    pub fn set_metadata(&self, stream: &str, metadata: &serde_json::Value) {
        lock(&self.shared.log).set_metadata(stream, metadata);
    }

    fn listen(&self, listener: TcpListener) {
        let stop = CancellationToken::new();
        lock(&self.listening).clone_from(&stop);
        tokio::spawn(connections::accept(listener, self.shared.clone(), stop));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `discoveryInterval` is 10 ms, because clients wait for it before every connection, even the first.
fn connection_string(addresses: &[SocketAddr], options: &FixtureOptions) -> String {
    let nodes: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    let tls = match &options.tls {
        Some(certificates) => format!("tls=true&tlsCAFile={}", certificates.authority().display()),
        None => "tls=false".to_owned(),
    };
    let leader = if addresses.len() > 1 { "&nodePreference=leader" } else { "" };
    format!("esdb://{}?{tls}&discoveryInterval=10{leader}", nodes.join(","))
}

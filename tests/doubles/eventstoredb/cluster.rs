//! Several nodes with one log, of which one leads.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use super::{
    FixtureOptions, Server, connection_string,
    log::Log,
    membership::{Membership, Reach},
    service::lock,
};
use crate::port::HeldPort;

/// Nodes that agree on a leader by majority. Dropping it stops the nodes.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
    membership: Arc<Membership>,
    url: String,
}

impl Cluster {
    /// Starts nodes at the address of the options, the first one, and at free ports. A lost leader is replaced
    /// after `election_time`.
    pub async fn start(count: usize, election_time: Duration, options: FixtureOptions) -> io::Result<Self> {
        let any_port = SocketAddr::new(options.listen.ip(), 0);
        let ports = (0..count)
            .map(|node| HeldPort::hold(if node == 0 { options.listen } else { any_port }))
            .collect::<io::Result<Vec<_>>>()?;
        let addresses: Vec<_> = ports.iter().map(HeldPort::address).collect();
        let membership = Arc::new(Membership::new(&addresses, election_time, options.resignation_delay));
        let log =
            Arc::new(std::sync::Mutex::new(Log::open(options.file.as_deref(), options.foreign_events)?));
        let url = connection_string(&addresses, &options);
        let mut nodes = Vec::with_capacity(count);
        for (index, port) in ports.into_iter().enumerate() {
            let listener = port.listen().await?;
            nodes.push(Server::on((port, listener), log.clone(), (membership.clone(), index), &options));
        }
        Ok(Self { nodes, membership, url })
    }

    /// The connection string with all nodes.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// The index of the leader; `None` during an election and without a majority.
    pub fn leader(&self) -> Option<usize> {
        self.membership.leader()
    }

    /// Ends the process of a node: its connections are cut, and new ones refused.
    pub fn kill(&self, node: usize) {
        self.membership.set_reach(node, Reach::Down);
        self.nodes[node].stop();
    }

    /// Starts the process of a node again, after [`Cluster::kill`].
    pub async fn start_again(&self, node: usize) -> io::Result<()> {
        self.nodes[node].accept_connections().await?;
        self.membership.set_reach(node, Reach::Up);
        Ok(())
    }

    /// Stops the process of a node, as SIGSTOP does: its connections stay open and nothing moves.
    pub fn silence(&self, node: usize) {
        self.membership.set_reach(node, Reach::Down);
        self.nodes[node].silence();
    }

    /// Lets a node go on after [`Cluster::silence`].
    pub fn wake(&self, node: usize) {
        self.membership.set_reach(node, Reach::Up);
        self.nodes[node].wake();
    }

    /// Cuts a node off from the other nodes, but not from clients.
    pub fn part(&self, node: usize) {
        // Holds the log, so that no write that the node saw comes after its last event.
        let log = lock(&self.nodes[node].shared.log);
        self.membership.set_reach(node, Reach::Apart { events: log.end() });
    }

    /// Undoes [`Cluster::part`]. The node takes the log of the others.
    pub fn rejoin(&self, node: usize) {
        self.membership.set_reach(node, Reach::Up);
    }
}

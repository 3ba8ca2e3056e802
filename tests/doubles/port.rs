//! A port that a server keeps while it is down.

#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Keeps a port for a server that stops and starts again at the same address. Without it, an outgoing connection or a
/// listener of another test can take the port while the server is down.
///
/// Holds a socket that is bound and does not listen. Linux gives the port to no socket that takes any free port, and still lets
/// another socket listen on it: both have `SO_REUSEADDR`.
#[derive(Debug)]
pub struct HeldPort {
    address: SocketAddr,
    /// Keeps the port until it is dropped.
    _socket: TcpSocket,
}

impl HeldPort {
    /// Port 0 takes a free port.
    pub fn hold(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self { address: socket.local_addr()?, _socket: socket })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens on the port. A listener before it must be closed.
    pub async fn listen(&self) -> io::Result<TcpListener> {
        TcpListener::bind(self.address).await
    }
}

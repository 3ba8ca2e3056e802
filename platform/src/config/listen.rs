//! Addresses to listen on: an IP address or a host name, and a port.

use std::net::{SocketAddr, ToSocketAddrs};

/// Parses `IP:PORT` or `HOST:PORT`. A host name is resolved now, to its first IPv4 address if it has one.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let expected = || "expected HOST:PORT, for example 127.0.0.1:8080 or localhost:8080".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let port: u16 = port.parse().map_err(|_| expected())?;
    if host.is_empty() {
        return Err(format!("the host is missing; 0.0.0.0:{port} listens on every address of this machine"));
    }
    let found = (host, port).to_socket_addrs();
    let addresses: Vec<SocketAddr> =
        found.map_err(|error| format!("the host name {host:?} has no address: {error}"))?.collect();
    let first_v4 = addresses.iter().find(|address| address.is_ipv4());
    first_v4.or(addresses.first()).copied().ok_or_else(|| format!("the host name {host:?} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_ip_address_or_a_host_name_with_a_port() {
        for (text, address) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:0", "[::1]:0"),
            ("localhost:8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(listen_address(text), Ok(address.parse().unwrap()), "{text}");
        }
        for (text, reason) in [
            ("localhost", "localhost:8080"),
            ("8080", "HOST:PORT"),
            ("localhost:http", "HOST:PORT"),
            ("localhost:65536", "HOST:PORT"),
            (":8080", "0.0.0.0:8080"),
            ("no such host:8080", "has no address"),
        ] {
            let error = listen_address(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}

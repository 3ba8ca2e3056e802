//! Where a request comes from: the address of its connection, or what a trusted proxy says.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other side of the connection of a request. The server puts it into the extensions of the request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The addresses of one proxy or of a network of proxies: `10.0.0.7` or `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyNetwork(IpNet);

impl FromStr for ProxyNetwork {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| "expected an IP address or a network, such as 10.0.0.0/8")
    }
}

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Arc<[ProxyNetwork]>);

impl FromIterator<ProxyNetwork> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = ProxyNetwork>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

impl TrustedProxies {
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|ProxyNetwork(network)| network.contains(&address))
    }

    /// The address of the client of a request. `None` if the request was made without a connection.
    ///
    /// Each proxy adds the address that it sees at the end of `X-Forwarded-For`. So the client is the last address
    /// that is no proxy: what stands before it is what the client has made up.
    pub fn client_of(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
        let Peer(peer) = *extensions.get()?;
        let mut client = peer.to_canonical();
        let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
        for entry in values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(',')) {
            match address(entry.trim()) {
                Some(forwarded) if self.contain(client) => client = forwarded,
                Some(_) | None => break,
            }
        }
        Some(client)
    }
}

/// Some proxies add the port.
fn address(entry: &str) -> Option<IpAddr> {
    let without_port = || entry.parse().map(|address: SocketAddr| address.ip());
    let found = entry.parse().or_else(|_| without_port()).ok();
    found.map(|address: IpAddr| address.to_canonical())
}

/// The address under which a client is counted. A client with IPv6 usually has a whole /64 network.
pub(super) fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(proxies: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let proxies: TrustedProxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
        let mut extensions = Extensions::new();
        extensions.insert(Peer(peer.parse().unwrap()));
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        proxies.client_of(&extensions, &headers).unwrap().to_string()
    }

    #[test]
    fn only_a_trusted_proxy_names_another_client() {
        assert_eq!(client(&[], "10.0.0.7", &["1.2.3.4"]), "10.0.0.7");
        assert_eq!(client(&["10.0.0.8"], "10.0.0.7", &["1.2.3.4"]), "10.0.0.7");
        assert_eq!(client(&["10.0.0.7"], "10.0.0.7", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client(&["10.0.0.0/8"], "::ffff:10.0.0.7", &["1.2.3.4:5678"]), "1.2.3.4");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.7", &["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.7", &[]), "10.0.0.7");
    }

    #[test]
    fn what_the_client_has_made_up_is_not_believed() {
        let proxies = ["10.0.0.0/8"];
        assert_eq!(client(&proxies, "10.0.0.7", &["9.9.9.9, 1.2.3.4, 10.0.0.9"]), "1.2.3.4");
        assert_eq!(client(&proxies, "10.0.0.7", &["9.9.9.9", "1.2.3.4"]), "1.2.3.4");
        assert_eq!(client(&proxies, "10.0.0.7", &["9.9.9.9, unknown"]), "10.0.0.7");
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let counted = |text: &str| counted_as(text.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("::ffff:1.2.3.4"), "1.2.3.4");
    }
}

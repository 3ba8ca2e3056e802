//! Keeps webhooks out of private networks.
//!
//! Subscribers choose the URLs. Without a guard they could reach the metadata service of a cloud, databases,
//! or Orderly itself. The guard checks the URL when a subscription is made or changed. It checks the IP
//! address again at each connection, because the DNS answer may change.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use infra::operations::webhooks::{RefusedUrl, URL_CHARS_MAX};
use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

const LOOKUP_TIME_MAX: Duration = Duration::from_secs(5);

/// Resolves host names.
#[async_trait]
pub trait HostNames: Send + Sync + 'static {
    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Resolves host names with the resolver of this machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemHostNames;

#[async_trait]
impl HostNames for SystemHostNames {
    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Decides which URLs and addresses webhooks may be sent to.
#[derive(Clone)]
pub struct UrlGuard {
    allow_private: bool,
    names: Arc<dyn HostNames>,
}

impl fmt::Debug for UrlGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlGuard").field("allow_private", &self.allow_private).finish_non_exhaustive()
    }
}

impl UrlGuard {
    /// `allow_private` permits every address and plain HTTP, for development.
    pub fn new(allow_private: bool) -> Self {
        Self::with_names(allow_private, Arc::new(SystemHostNames))
    }

    pub fn with_names(allow_private: bool, names: Arc<dyn HostNames>) -> Self {
        Self { allow_private, names }
    }

    /// Checks the URL of a subscription and every address that its host name resolves to now.
    pub async fn check(&self, url: &str) -> Result<(), RefusedUrl> {
        // The parser would remove them, and the subscription would have another URL than its webhooks.
        if url.contains(|char: char| char.is_control() || char.is_whitespace()) {
            return Err(RefusedUrl::NotAUrl);
        }
        let parsed = self.parse(url)?;
        if self.allow_private || literal(&parsed).is_some() {
            return Ok(());
        }
        let host = parsed.host_str().ok_or(RefusedUrl::NotAUrl)?;
        let addresses = self.look_up(host).await.map_err(|_| RefusedUrl::UnknownHost)?;
        match addresses.iter().find(|address| !is_public(**address)) {
            Some(_) => Err(RefusedUrl::NotPublic),
            None if addresses.is_empty() => Err(RefusedUrl::UnknownHost),
            None => Ok(()),
        }
    }

    /// Checks a URL without resolving its host name.
    pub(crate) fn parse(&self, url: &str) -> Result<Url, RefusedUrl> {
        if url.chars().count() > URL_CHARS_MAX {
            return Err(RefusedUrl::NotAUrl);
        }
        let parsed = Url::parse(url).map_err(|_| RefusedUrl::NotAUrl)?;
        match parsed.scheme() {
            "https" => {}
            "http" if self.allow_private => {}
            "http" => return Err(RefusedUrl::NotEncrypted),
            _ => return Err(RefusedUrl::OtherScheme),
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(RefusedUrl::Credentials);
        }
        // The HTTP client does not resolve a literal address, so the check in `resolve` would miss it.
        match literal(&parsed) {
            Some(address) if !self.permits(address) => Err(RefusedUrl::NotPublic),
            _ => Ok(parsed),
        }
    }

    fn permits(&self, address: IpAddr) -> bool {
        self.allow_private || is_public(address)
    }

    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let looking = tokio::time::timeout(LOOKUP_TIME_MAX, self.names.look_up(host));
        looking.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Resolves names for the HTTP client and leaves out the addresses that are not permitted.
impl Resolve for UrlGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = guard.look_up(name.as_str()).await?;
            let found_some = !found.is_empty();
            let permitted: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| guard.permits(*address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if permitted.is_empty() && found_some {
                return Err(RefusedUrl::NotPublic.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// The IP address in a URL without a host name. The URL parser has normalised notations such as `0x7f.1`.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// Networks outside the public Internet, from the registry of special-purpose addresses
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>), with multicast and reserved space.
const SPECIAL_IPV4: &[Ipv4Net] = &[
    ipv4([0, 0, 0, 0], 8),
    ipv4([10, 0, 0, 0], 8),
    ipv4([100, 64, 0, 0], 10),
    ipv4([127, 0, 0, 0], 8),
    ipv4([169, 254, 0, 0], 16),
    ipv4([172, 16, 0, 0], 12),
    ipv4([192, 0, 0, 0], 24),
    ipv4([192, 0, 2, 0], 24),
    ipv4([192, 31, 196, 0], 24),
    ipv4([192, 52, 193, 0], 24),
    ipv4([192, 88, 99, 0], 24),
    ipv4([192, 168, 0, 0], 16),
    ipv4([192, 175, 48, 0], 24),
    ipv4([198, 18, 0, 0], 15),
    ipv4([198, 51, 100, 0], 24),
    ipv4([203, 0, 113, 0], 24),
    ipv4([224, 0, 0, 0], 3),
    // Not special in the registry, but machines in Azure reach a service of their host at this address.
    ipv4([168, 63, 129, 16], 32),
];
/// The only IPv6 network that is assigned to the public Internet.
const GLOBAL_IPV6: Ipv6Net = ipv6([0x2000, 0, 0, 0], 3);
/// Special-purpose networks within [`GLOBAL_IPV6`]
/// (<https://www.iana.org/assignments/iana-ipv6-special-registry>).
const SPECIAL_IPV6: &[Ipv6Net] = &[
    ipv6([0x2001, 0, 0, 0], 23),
    ipv6([0x2001, 0xdb8, 0, 0], 32),
    ipv6([0x2002, 0, 0, 0], 16),
    ipv6([0x2620, 0x4f, 0x8000, 0], 48),
    ipv6([0x3fff, 0, 0, 0], 20),
];
/// A network without IPv4 reaches an IPv4 address through this prefix; the last 32 bits are the address.
const NAT64: Ipv6Net = ipv6([0x64, 0xff9b, 0, 0], 96);

const fn ipv4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn ipv6([a, b, c, d]: [u16; 4], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_IPV4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            if NAT64.contains(&address) || address.to_ipv4_mapped().is_some() {
                return is_public(Ipv4Addr::new(a, b, c, d).into());
            }
            GLOBAL_IPV6.contains(&address) && !SPECIAL_IPV6.iter().any(|net| net.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests;

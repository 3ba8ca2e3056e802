//! Keeps webhooks out of the networks that Orderly itself is in.
//!
//! Whoever subscribes says where requests go. Without a guard they could go to the metadata service of a cloud, to
//! databases, or to Orderly itself. A URL is checked when it is given, and the address that is really connected to is
//! checked at each connection: what a name stands for may have changed in between.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

const URL_CHARS_MAX: usize = 2_048;
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(5);

/// Who knows the addresses of names.
#[async_trait]
pub trait Names: Send + Sync + 'static {
    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Names as this machine knows them.
#[derive(Debug, Clone, Copy)]
pub struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Says where webhooks may be sent.
#[derive(Clone)]
pub struct Guard {
    allow_private: bool,
    names: Arc<dyn Names>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("allow_private", &self.allow_private).finish_non_exhaustive()
    }
}

/// Why nothing is sent to a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedUrl {
    #[error("it is no absolute URL of at most {URL_CHARS_MAX} characters")]
    NotAUrl,
    #[error("it must begin with https://")]
    NotEncrypted,
    #[error("it must begin with https:// or http://")]
    OtherScheme,
    #[error("it must hold no user name and no password")]
    Credentials,
    #[error("the name of its host cannot be resolved")]
    UnknownHost,
    #[error("its host is, or resolves to, an address that is not of the public Internet")]
    NotPublic,
}

impl Guard {
    /// `allow_private`: any address, and requests that are not encrypted; for development.
    pub fn new(allow_private: bool) -> Self {
        Self::with_names(allow_private, Arc::new(SystemNames))
    }

    pub fn with_names(allow_private: bool, names: Arc<dyn Names>) -> Self {
        Self { allow_private, names }
    }

    /// Checks a URL that somebody wants to be told of events at: each address that its host has now.
    pub async fn check(&self, url: &str) -> Result<(), RefusedUrl> {
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

    /// Checks all of a URL but what the name of its host stands for.
    pub(super) fn parse(&self, url: &str) -> Result<Url, RefusedUrl> {
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
        // Addresses are not looked up, so the resolver never sees them.
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

/// Gives a connection only addresses that it may go to.
impl Resolve for Guard {
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

/// The address that a URL gives instead of a name. However it is written there: the parser has normalised it.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// What is not reached over the public Internet, by the registries of special-purpose addresses
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>), multicast and reserved space included.
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
    // Public by its number, and yet the service that Azure's machines ask about themselves.
    ipv4([168, 63, 129, 16], 32),
];
/// Of IPv6 only this is assigned to the public Internet.
const GLOBAL_IPV6: Ipv6Net = ipv6([0x2000, 0, 0, 0], 3);
/// And in it not this (<https://www.iana.org/assignments/iana-ipv6-special-registry>).
const SPECIAL_IPV6: &[Ipv6Net] = &[
    ipv6([0x2001, 0, 0, 0], 23),
    ipv6([0x2001, 0xdb8, 0, 0], 32),
    ipv6([0x2002, 0, 0, 0], 16),
    ipv6([0x2620, 0x4f, 0x8000, 0], 48),
    ipv6([0x3fff, 0, 0, 0], 20),
];
/// Stands for the IPv4 address in its last bits, where a network has only IPv6.
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

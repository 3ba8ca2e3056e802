//! The rule for the `Host` header.
//!
//! A page on the Internet can make its own name resolve to 127.0.0.1 (DNS rebinding). The browser of an
//! operator then sends the page's requests to this server, and shows the answers to the page. Such a request
//! names the page's host. So a server on a loopback address answers only to addresses and to names that it
//! knows.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use http::{Request, Version, header, uri::Authority};

use super::{Code, Problem};

/// Names under which clients may address a server, besides `localhost` and IP addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(Arc<[HostName]>);

impl FromIterator<HostName> for AllowedHosts {
    fn from_iter<I: IntoIterator<Item = HostName>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}

/// A host name in lower case, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

/// Why a text is not a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a host name without scheme, port and path, such as shop.example")]
pub struct InvalidHostName;

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, InvalidHostName> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let is_name = text.len() <= 253 && text.split('.').all(is_label);
        if is_name { Ok(Self(text.to_ascii_lowercase())) } else { Err(InvalidHostName) }
    }
}

/// Which hosts a server answers to.
#[derive(Debug)]
pub(super) struct HostRule {
    names: AllowedHosts,
    checks_names: bool,
}

impl HostRule {
    /// `address`: what the server listens on. A server on other addresses than loopback answers to every name
    /// unless names are given: only its operator knows them.
    pub(super) fn new(names: AllowedHosts, address: Option<SocketAddr>) -> Self {
        let checks_names = !names.0.is_empty() || address.is_none_or(|address| address.ip().is_loopback());
        Self { names, checks_names }
    }

    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let mut headers = request.headers().get_all(header::HOST).iter();
        let named = match (headers.next(), headers.next()) {
            (Some(host), None) => Some(parse(host.as_bytes())?),
            // HTTP/1.0 does not know the header.
            (None, _) if request.version() < Version::HTTP_11 => None,
            (None, _) => return Err(Problem::invalid_parameter("Host", "is missing")),
            (Some(_), Some(_)) => return Err(Problem::invalid_parameter("Host", "is given more than once")),
        };
        // The URL of a request to a proxy takes precedence over the header.
        let host = request.uri().authority().cloned().or(named);
        match host {
            Some(host) if self.checks_names && !self.allows(host.host()) => {
                let detail = "this server does not answer to the host of the request; its operator can allow a \
                              name with ORDERLY_ALLOWED_HOSTS";
                Err(Problem::new(Code::WrongHost).detail(detail))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn allows(&self, host: &str) -> bool {
        let without_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if without_brackets.unwrap_or(host).parse::<IpAddr>().is_ok() {
            return true;
        }
        // A name may end with the dot of the root domain.
        let host = host.strip_suffix('.').unwrap_or(host);
        host.eq_ignore_ascii_case("localhost")
            || self.names.0.iter().any(|name| host.eq_ignore_ascii_case(&name.0))
    }
}

fn parse(host: &[u8]) -> Result<Authority, Problem> {
    let authority = Authority::try_from(host).ok().filter(|authority| !authority.as_str().contains('@'));
    authority.ok_or_else(|| Problem::invalid_parameter("Host", "expected HOST or HOST:PORT"))
}

#[cfg(test)]
mod tests;

//! The rule for the `Host` and `Origin` headers.
//!
//! A page on the Internet can make its own name resolve to 127.0.0.1 (DNS rebinding). The browser of an
//! operator then sends the page's requests to this server, and shows the answers to the page. Such a request
//! names the page's host. So a server on a loopback address answers only to addresses and to names that it
//! knows.
//!
//! A page can also send a request to 127.0.0.1 itself. The browser hides the answer from the page, but the
//! request takes effect. It names the page's site as its origin, so such a server accepts only origins on this
//! machine, of a name that it knows, of a site that its operator allows, or of the host that the request names.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use http::{HeaderValue, Request, Version, header, uri::Authority};

use super::{Code, Problem, cors::AllowedOrigins};

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
    origins: AllowedOrigins,
    checks_names: bool,
}

impl HostRule {
    /// `address`: what the server listens on. A server on other addresses than loopback answers to every name
    /// unless names are given: only its operator knows them.
    pub(super) fn new(names: AllowedHosts, origins: AllowedOrigins, address: Option<SocketAddr>) -> Self {
        let checks_names = !names.0.is_empty() || address.is_none_or(|address| address.ip().is_loopback());
        Self { names, origins, checks_names }
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
            Some(host) if self.checks_names && !self.allows_host(host.host()) => {
                let detail = "this server does not answer to the host of the request; its operator can allow a \
                              name with ORDERLY_ALLOWED_HOSTS";
                Err(Problem::new(Code::WrongHost).detail(detail))
            }
            host if self.checks_names => self.check_origins(request, host.as_ref()),
            Some(_) | None => Ok(()),
        }
    }

    /// `host`: that of the request. A program names no origin.
    fn check_origins<B>(&self, request: &Request<B>, host: Option<&Authority>) -> Result<(), Problem> {
        let is_allowed = |origin: &HeaderValue| {
            let site = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            let site = site.and_then(|(_, site)| Authority::try_from(site).ok());
            self.origins.contain(origin)
                || site.is_some_and(|site| Some(&site) == host || self.allows_origin(site.host()))
        };
        if request.headers().get_all(header::ORIGIN).iter().all(is_allowed) {
            return Ok(());
        }
        let detail = "the request names another site as its origin; the operator of this server can allow a name with \
                      ORDERLY_ALLOWED_HOSTS, or an origin with ORDERLY_CORS_ORIGINS";
        Err(Problem::new(Code::WrongOrigin).detail(detail))
    }

    fn allows_host(&self, host: &str) -> bool {
        address(host).is_some() || self.allows_name(host)
    }

    /// Any site can have an address on the Internet, so only those of this machine are allowed.
    fn allows_origin(&self, host: &str) -> bool {
        address(host).is_some_and(|address| address.is_loopback()) || self.allows_name(host)
    }

    fn allows_name(&self, host: &str) -> bool {
        // A name may end with the dot of the root domain.
        let host = host.strip_suffix('.').unwrap_or(host);
        host.eq_ignore_ascii_case("localhost")
            || self.names.0.iter().any(|name| host.eq_ignore_ascii_case(&name.0))
    }
}

fn address(host: &str) -> Option<IpAddr> {
    let without_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    without_brackets.unwrap_or(host).parse().ok()
}

fn parse(host: &[u8]) -> Result<Authority, Problem> {
    let authority = Authority::try_from(host).ok().filter(|authority| !authority.as_str().contains('@'));
    authority.ok_or_else(|| Problem::invalid_parameter("Host", "expected HOST or HOST:PORT"))
}

#[cfg(test)]
mod tests;

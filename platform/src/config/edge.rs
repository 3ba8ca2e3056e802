//! Settings of the servers of both APIs: certificate, proxies, sites, and the limits of clients.

use std::{fmt, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use command_api::CommandApiOptions;
use infra::http::{
    ServerOptions,
    cors::Origin,
    peer::ProxyNetwork,
    rate_limit::{Rate, RateLimits, Rates},
    slots::{SlotLimits, Slots},
    tls::TlsFiles,
};

use super::duration::{friendly, parse_duration};

/// Settings of the servers of both APIs.
#[derive(Debug, Clone, Args)]
pub struct EdgeSettings {
    /// Certificate of the APIs in PEM, followed by the chain to its authority. With it the APIs speak TLS 1.2 and 1.3
    /// only. Changed files are read within 10 s.
    #[arg(long, env = "ORDERLY_TLS_CERTIFICATE", value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,

    /// Key of the certificate, in PEM.
    #[arg(long, env = "ORDERLY_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Addresses of the proxies before the APIs, for example `10.0.0.0/8`. Their `X-Forwarded-For` names the clients, and
    /// they may open any number of connections.
    #[arg(long, env = "ORDERLY_TRUSTED_PROXIES", value_name = "NETWORK,…", value_delimiter = ',')]
    pub trusted_proxies: Vec<ProxyNetwork>,

    /// Sites whose pages may send requests (CORS), for example `https://shop.example`.
    #[arg(long, env = "ORDERLY_CORS_ORIGINS", value_name = "ORIGIN,…", value_delimiter = ',')]
    pub cors_origins: Vec<Origin>,

    /// Reads of each principal: so many a second, and so many at once. Without authentication, of each address that is
    /// not on this machine.
    #[arg(long, env = "ORDERLY_RATE_LIMIT_READS", value_name = "RATE:BURST", default_value = RateSetting::NONE)]
    pub rate_limit_reads: RateSetting,

    /// Commands of each principal, as for reads.
    #[arg(long, env = "ORDERLY_RATE_LIMIT_WRITES", value_name = "RATE:BURST", default_value = RateSetting::NONE)]
    pub rate_limit_writes: RateSetting,

    /// Requests of each customer, and requests without a valid credential of each address that is not on this machine.
    #[arg(long, env = "ORDERLY_RATE_LIMIT_PUBLIC", value_name = "RATE:BURST", default_value = "20:100")]
    pub rate_limit_public: RateSetting,

    /// Reads that this process works on at the same time. Further ones wait for at most 100 ms, and then get 503.
    #[arg(
        long,
        env = "ORDERLY_CONCURRENT_READS",
        value_name = "REQUESTS",
        value_parser = count,
        default_value_t = SlotLimits::REQUESTS_MAX
    )]
    pub concurrent_reads: usize,

    /// Commands that this process works on at the same time, as for reads.
    #[arg(
        long,
        env = "ORDERLY_CONCURRENT_WRITES",
        value_name = "REQUESTS",
        value_parser = count,
        default_value_t = SlotLimits::REQUESTS_MAX
    )]
    pub concurrent_writes: usize,

    /// Connections of each address to each API. Further ones are closed.
    #[arg(
        long,
        env = "ORDERLY_CONNECTIONS_PER_ADDRESS",
        value_name = "CONNECTIONS",
        value_parser = count,
        default_value_t = ServerOptions::CONNECTIONS_PER_ADDRESS_MAX
    )]
    pub connections_per_address: usize,

    /// Time limit for the head of a request, from its first byte.
    #[arg(
        long,
        env = "ORDERLY_HEAD_TIMEOUT",
        value_name = "DURATION",
        default_value_t = ClientTimeout(ServerOptions::HEAD_READ_TIMEOUT)
    )]
    pub head_timeout: ClientTimeout,

    /// Time limit for the body of a request.
    #[arg(
        long,
        env = "ORDERLY_BODY_TIMEOUT",
        value_name = "DURATION",
        default_value_t = ClientTimeout(CommandApiOptions::BODY_READ_TIMEOUT)
    )]
    pub body_timeout: ClientTimeout,

    /// Time limit for a client to read an answer; a large answer has 1 s more for each 64 KiB.
    #[arg(
        long,
        env = "ORDERLY_ANSWER_TIMEOUT",
        value_name = "DURATION",
        default_value_t = ClientTimeout(ServerOptions::ANSWER_WRITE_TIMEOUT)
    )]
    pub answer_timeout: ClientTimeout,

    /// Time limit for a connection without a request. Longer than that of a proxy before the APIs.
    #[arg(
        long,
        env = "ORDERLY_IDLE_TIMEOUT",
        value_name = "DURATION",
        default_value_t = ClientTimeout(ServerOptions::IDLE_TIMEOUT)
    )]
    pub idle_timeout: ClientTimeout,
}

/// The servers of a process, checked.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    settings: EdgeSettings,
    /// `None`: the APIs speak plain HTTP.
    pub tls: Option<TlsFiles>,
}

/// Settings of the servers that are incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{given} is set, but {missing} is not: TLS needs a certificate and its key")]
pub struct EdgeSettingsError {
    given: &'static str,
    missing: &'static str,
}

impl EdgeSettings {
    pub fn checked(&self) -> Result<EdgeConfig, EdgeSettingsError> {
        const NAMES: (&str, &str) = ("ORDERLY_TLS_CERTIFICATE", "ORDERLY_TLS_KEY");
        let tls = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                Some(TlsFiles { certificate: certificate.clone(), key: key.clone() })
            }
            (Some(_), None) => return Err(EdgeSettingsError { given: NAMES.0, missing: NAMES.1 }),
            (None, Some(_)) => return Err(EdgeSettingsError { given: NAMES.1, missing: NAMES.0 }),
            (None, None) => None,
        };
        Ok(EdgeConfig { settings: self.clone(), tls })
    }
}

impl EdgeConfig {
    pub fn body_timeout(&self) -> Duration {
        self.settings.body_timeout.0
    }

    /// The limits of callers.
    pub fn rate_limits(&self) -> RateLimits {
        let EdgeSettings { rate_limit_reads, rate_limit_writes, rate_limit_public, .. } = &self.settings;
        let rates =
            Rates { reads: rate_limit_reads.0, writes: rate_limit_writes.0, public: rate_limit_public.0 };
        RateLimits::new(rates, self.settings.trusted_proxies.iter().copied().collect())
    }

    /// The slots that both APIs of a process share.
    pub fn slots(&self) -> Slots {
        Slots::new(SlotLimits {
            writes_max: self.settings.concurrent_writes,
            reads_max: self.settings.concurrent_reads,
        })
    }

    /// The options of a server with these settings.
    pub fn apply(&self, options: ServerOptions) -> ServerOptions {
        let settings = &self.settings;
        ServerOptions {
            connections_per_address_max: settings.connections_per_address,
            head_read_timeout: settings.head_timeout.0,
            idle_timeout: settings.idle_timeout.0,
            answer_write_timeout: settings.answer_timeout.0,
            allowed_origins: settings.cors_origins.iter().cloned().collect(),
            trusted_proxies: settings.trusted_proxies.iter().copied().collect(),
            ..options
        }
    }
}

/// A rate, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateSetting(pub Option<Rate>);

impl RateSetting {
    const NONE: &str = "none";
}

impl FromStr for RateSetting {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == Self::NONE { Ok(Self(None)) } else { text.parse().map(Some).map(Self) }
    }
}

/// A time limit for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTimeout(pub Duration);

impl ClientTimeout {
    const BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
}

impl fmt::Display for ClientTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&friendly(self.0))
    }
}

impl FromStr for ClientTimeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_duration(text, &Self::BOUNDS).map(Self)
    }
}

/// Parses a limit. With 0, an API could answer nobody.
fn count(text: &str) -> Result<usize, String> {
    const BOUNDS: RangeInclusive<usize> = 1..=1_000_000;
    let parsed = text.parse().ok().filter(|count| BOUNDS.contains(count));
    parsed.ok_or_else(|| format!("expected a whole number from {} to {}", BOUNDS.start(), BOUNDS.end()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Configured {
        #[command(flatten)]
        edge: EdgeSettings,
    }

    fn parse(arguments: &[&str]) -> Result<EdgeSettings, String> {
        let parsed = Configured::try_parse_from(["test"].iter().chain(arguments));
        parsed.map(|configured| configured.edge).map_err(|error| error.to_string())
    }

    #[test]
    fn a_certificate_needs_its_key() {
        assert!(parse(&[]).unwrap().checked().unwrap().tls.is_none());
        let both = ["--tls-certificate", "a.pem", "--tls-key", "b.pem"];
        assert!(parse(&both).unwrap().checked().unwrap().tls.is_some());
        for (alone, missing) in
            [(&both[..2], "ORDERLY_TLS_KEY is not"), (&both[2..], "ORDERLY_TLS_CERTIFICATE is not")]
        {
            let error = parse(alone).unwrap().checked().unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn a_wrong_limit_is_refused_by_name() {
        let settings = parse(&["--rate-limit-reads", "50", "--rate-limit-public", "none"]).unwrap();
        assert_eq!(settings.rate_limit_reads.0.map(|rate| rate.to_string()), Some("50:100".to_owned()));
        assert_eq!(settings.rate_limit_public.0, None);
        for (setting, value) in [
            ("--rate-limit-writes", "0"),
            ("--trusted-proxies", "proxy.example"),
            ("--cors-origins", "*"),
            ("--concurrent-reads", "0"),
            ("--connections-per-address", "many"),
            ("--head-timeout", "0s"),
            ("--idle-timeout", "2h"),
        ] {
            let error = parse(&[setting, value]).err().unwrap_or_default();
            assert!(error.contains(setting), "{setting} {value}: {error}");
        }
    }
}

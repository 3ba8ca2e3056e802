//! The URLs that choose the stores, the bus and the payment provider.

use std::{ffi::OsStr, fmt, marker::PhantomData, path::PathBuf, str::FromStr};

use clap::{Arg, Command, Error, builder::TypedValueParser, error::ErrorKind};
use http::HeaderValue;
use infra::{
    event_store::eventstoredb::EventStoreDbConfig, kafka::KafkaConfig, postgres::PostgresOptions,
    signature::SigningSecret,
};

/// Which event store keeps the events.
#[derive(Debug, Clone)]
pub enum EventStoreUrl {
    /// A file on this machine.
    Sqlite(PathBuf),
    EventStoreDb(Box<EventStoreDbConfig>),
}

impl EventStoreUrl {
    /// True if only one process at a time may write to the store and follow it.
    pub fn has_one_owner(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::EventStoreDb(_) => false,
        }
    }
}

/// How events reach their consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusUrl {
    /// Consumers follow the event store.
    Direct,
    /// The relay publishes events, and consumers follow topics.
    Kafka(KafkaConfig),
}

/// Which database keeps the read models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadModelsUrl {
    /// A file on this machine.
    Sqlite(PathBuf),
    Postgres(Box<PostgresOptions>),
}

impl ReadModelsUrl {
    /// True if only one process at a time may write to the read models and the operational state beside them.
    pub fn has_one_owner(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(_) => false,
        }
    }
}

/// A replica of the Postgres database of the read models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaUrl(pub Box<PostgresOptions>);

impl FromStr for ReplicaUrl {
    type Err = UnsupportedUrl;

    fn from_str(url: &str) -> Result<Self, UnsupportedUrl> {
        let options = url.parse().map(Box::new).map(Self);
        options.map_err(|error| UnsupportedUrl::new("ORDERLY_READ_MODELS_REPLICA", &error))
    }
}

impl fmt::Display for ReplicaUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which payment provider charges customers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentProviderUrl {
    /// No provider: payments are recorded by hand.
    None,
    /// The sandbox of this process, if it has that role.
    Sandbox,
    /// The sandbox of another process.
    SandboxAt(ApiUrl),
    /// Its settings are [`super::StripeSettings`].
    Stripe,
}

/// A URL that a setting does not accept. Its text never shows the URL, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct UnsupportedUrl {
    setting: &'static str,
    problem: String,
}

impl UnsupportedUrl {
    pub(super) fn new(setting: &'static str, problem: &impl ToString) -> Self {
        Self { setting, problem: problem.to_string() }
    }
}

/// Parses a URL that may hold a password. clap's own error would show the refused value; this one does not.
#[derive(Debug)]
pub struct SecretUrlParser<T>(PhantomData<fn() -> T>);

impl<T> SecretUrlParser<T> {
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for SecretUrlParser<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T: FromStr<Err = UnsupportedUrl> + Clone + Send + Sync + 'static> TypedValueParser
    for SecretUrlParser<T>
{
    type Value = T;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        let url = value.to_str().ok_or_else(|| "the URL is not UTF-8".to_owned());
        let parsed = url.and_then(|url| url.parse().map_err(|error: UnsupportedUrl| error.to_string()));
        let refused = |problem| Error::raw(ErrorKind::ValueValidation, format!("{problem}\n"));
        parsed.map_err(|problem| refused(problem).with_cmd(command))
    }
}

impl FromStr for EventStoreUrl {
    type Err = UnsupportedUrl;

    fn from_str(url: &str) -> Result<Self, UnsupportedUrl> {
        const SETTING: &str = "ORDERLY_EVENT_STORE";
        if url.starts_with("esdb") {
            let config = url.parse().map(Box::new).map(Self::EventStoreDb);
            return config.map_err(|error| UnsupportedUrl::new(SETTING, &error));
        }
        let expected = "expected sqlite:FILE, for example sqlite:data/events.db, or esdb://HOST:PORT";
        sqlite_file(url).map(Self::Sqlite).ok_or_else(|| UnsupportedUrl::new(SETTING, &expected))
    }
}

impl FromStr for BusUrl {
    type Err = UnsupportedUrl;

    fn from_str(url: &str) -> Result<Self, UnsupportedUrl> {
        const SETTING: &str = "ORDERLY_BUS";
        if url == "direct" {
            return Ok(Self::Direct);
        }
        if !url.starts_with(KafkaConfig::SCHEME) {
            return Err(UnsupportedUrl::new(SETTING, &"expected `direct` or kafka://HOST:PORT,…"));
        }
        url.parse().map(Self::Kafka).map_err(|error| UnsupportedUrl::new(SETTING, &error))
    }
}

impl FromStr for ReadModelsUrl {
    type Err = UnsupportedUrl;

    fn from_str(url: &str) -> Result<Self, UnsupportedUrl> {
        const SETTING: &str = "ORDERLY_READ_MODELS";
        if url.starts_with("postgres") {
            let options = url.parse().map(Box::new).map(Self::Postgres);
            return options.map_err(|error| UnsupportedUrl::new(SETTING, &error));
        }
        let expected = "expected sqlite:FILE, for example sqlite:data/read-models.db, or \
                        postgres://USER:PASSWORD@HOST:PORT/DATABASE";
        sqlite_file(url).map(Self::Sqlite).ok_or_else(|| UnsupportedUrl::new(SETTING, &expected))
    }
}

impl FromStr for PaymentProviderUrl {
    type Err = UnsupportedUrl;

    fn from_str(url: &str) -> Result<Self, UnsupportedUrl> {
        const SETTING: &str = "ORDERLY_PAYMENT_PROVIDER";
        match url.split_once(':') {
            None if url == "none" => Ok(Self::None),
            None if url == "sandbox" => Ok(Self::Sandbox),
            None if url == "stripe" => Ok(Self::Stripe),
            Some(("sandbox", url)) => {
                url.parse().map(Self::SandboxAt).map_err(|error| UnsupportedUrl::new(SETTING, &error))
            }
            None | Some(_) => {
                let expected = "expected `sandbox`, sandbox:http://HOST:PORT for the sandbox of another process, \
                                `stripe`, or `none`";
                Err(UnsupportedUrl::new(SETTING, &expected))
            }
        }
    }
}

/// Prints the URL without credentials and parameters.
impl fmt::Display for EventStoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::EventStoreDb(config) => write!(f, "esdb://{}", config.servers()),
        }
    }
}

impl fmt::Display for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Kafka(config) => write!(f, "{}{}", KafkaConfig::SCHEME, config.brokers()),
        }
    }
}

/// Prints the URL without the password and parameters.
impl fmt::Display for ReadModelsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(options) => write!(f, "{options}"),
        }
    }
}

impl fmt::Display for PaymentProviderUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Sandbox => f.write_str("sandbox"),
            Self::SandboxAt(url) => write!(f, "sandbox:{}", url.as_str()),
            Self::Stripe => f.write_str("stripe"),
        }
    }
}

/// True if a URL has neither credentials nor a parameter that may be one.
pub(super) fn holds_no_secret(url: &str) -> bool {
    const HARMLESS: &[&str] = &[
        "connect_timeout",
        "min_insync",
        "partitions",
        "prefix",
        "replication",
        "sasl",
        "sslcert",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "tls",
        "tlsCAFile",
        "tlsVerifyCert",
        "tls_ca_file",
        "tls_certificate_file",
        "tls_key_file",
    ];
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let name = |parameter: &str| parameter.split('=').next().unwrap_or_default().to_owned();
    let mut names = parameters.split('&').filter(|parameter| !parameter.is_empty()).map(name);
    !url.contains('@') && names.all(|name| HARMLESS.contains(&name.as_str()))
}

/// The secret that platform and sandbox share. `Debug` does not show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSecret(pub SigningSecret);

impl FromStr for SandboxSecret {
    type Err = UnsupportedUrl;

    fn from_str(text: &str) -> Result<Self, UnsupportedUrl> {
        SigningSecret::parse(text)
            .map(Self)
            .map_err(|error| UnsupportedUrl::new("ORDERLY_SANDBOX_SECRET", &error))
    }
}

/// What a command sends to the APIs to authenticate itself. `Debug` does not show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential(HeaderValue);

impl Credential {
    /// The value of the `Authorization` header.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl FromStr for Credential {
    type Err = UnsupportedUrl;

    fn from_str(text: &str) -> Result<Self, UnsupportedUrl> {
        let expected = "expected an API key of `orderly keys create`, or a token";
        let unsupported = |_| UnsupportedUrl::new("ORDERLY_API_KEY", &expected);
        let mut header = HeaderValue::try_from(format!("Bearer {text}")).map_err(unsupported)?;
        header.set_sensitive(true);
        Ok(Self(header))
    }
}

/// The URL of a server without TLS, on this machine or in a private network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl(String);

impl ApiUrl {
    /// Has no slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ApiUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected http://HOST:PORT, for example http://127.0.0.1:8080";
        web_url(url, &["http"], EXPECTED).map(Self)
    }
}

/// The URL of an API, plain or encrypted. Encrypted ones must have a certificate that this machine trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientUrl(String);

impl ClientUrl {
    /// Has no slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        const EXPECTED: &str =
            "expected http://HOST:PORT or https://HOST:PORT, for example http://127.0.0.1:8080";
        web_url(url, &["http", "https"], EXPECTED).map(Self)
    }
}

fn web_url(url: &str, schemes: &[&str], expected: &str) -> Result<String, String> {
    let parsed: http::Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
    if parsed.host().is_none() || !parsed.scheme_str().is_some_and(|scheme| schemes.contains(&scheme)) {
        return Err(expected.to_owned());
    }
    // No server behind these URLs uses credentials, and the URLs are printed.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let has_plain_host = parsed.authority().is_some_and(|authority| authority.as_str().chars().all(is_plain));
    // The parser leaves a fragment out.
    if !has_plain_host || parsed.query().is_some() || url.contains('#') {
        return Err(format!("{expected}, without credentials and parameters"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn sqlite_file(url: &str) -> Option<PathBuf> {
    url.strip_prefix("sqlite:").filter(|path| !path.is_empty()).map(PathBuf::from)
}

//! The URLs that choose the parts of Orderly.

use std::{ffi::OsStr, marker::PhantomData, path::PathBuf, str::FromStr};

use clap::{Arg, Command, Error, builder::TypedValueParser, error::ErrorKind};
use infra::{
    event_store::eventstoredb::EventStoreDbConfig, kafka::KafkaConfig, postgres::PostgresOptions,
    signature::Secret,
};

/// Where events are kept.
#[derive(Debug, Clone)]
pub enum EventStoreUrl {
    /// A file of this machine.
    Sqlite(PathBuf),
    EventStoreDb(Box<EventStoreDbConfig>),
}

/// How events reach those who follow them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusUrl {
    /// Consumers follow the event store itself.
    Direct,
    /// The relay publishes events, and consumers follow topics.
    Kafka(KafkaConfig),
}

/// Where read models are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadModelsUrl {
    /// A file of this machine.
    Sqlite(PathBuf),
    Postgres(Box<PostgresOptions>),
}

/// Who is asked for money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentProviderUrl {
    /// Nobody: what comes in is recorded by hand.
    None,
    /// The sandbox of this process, if it has that role.
    Sandbox,
    /// A sandbox that another process runs.
    SandboxAt(ApiUrl),
    /// With what is in the environment: see [`super::stripe_options`].
    Stripe,
}

/// A URL that a setting does not accept. Does not show it: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct UnsupportedUrl {
    setting: &'static str,
    problem: String,
}

impl UnsupportedUrl {
    fn new(setting: &'static str, problem: &impl ToString) -> Self {
        Self { setting, problem: problem.to_string() }
    }
}

/// Parses a URL that may hold a password. What clap itself says of a refused value shows the value.
#[derive(Debug)]
pub struct Unshown<T>(PhantomData<fn() -> T>);

impl<T> Unshown<T> {
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for Unshown<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T: FromStr<Err = UnsupportedUrl> + Clone + Send + Sync + 'static> TypedValueParser for Unshown<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        let url = value.to_str().ok_or_else(|| "a URL that is no UTF-8".to_owned());
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
            Some(("sandbox", elsewhere)) => {
                elsewhere.parse().map(Self::SandboxAt).map_err(|error| UnsupportedUrl::new(SETTING, &error))
            }
            None | Some(_) => {
                let expected = "expected `sandbox`, sandbox:http://HOST:PORT for one of another process, `stripe`, or `none`";
                Err(UnsupportedUrl::new(SETTING, &expected))
            }
        }
    }
}

/// What platform and sandbox share. `Debug` does not show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSecret(pub Secret);

impl FromStr for SandboxSecret {
    type Err = UnsupportedUrl;

    fn from_str(text: &str) -> Result<Self, UnsupportedUrl> {
        Secret::parse(text).map(Self).map_err(|error| UnsupportedUrl::new("ORDERLY_SANDBOX_SECRET", &error))
    }
}

/// Where an HTTP API is. Plain HTTP: TLS ends at a proxy before the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl(String);

impl ApiUrl {
    /// Without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ApiUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let parsed: http::Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
        if parsed.scheme_str() != Some("http") || parsed.host().is_none() {
            return Err("expected http://HOST:PORT, for example http://127.0.0.1:8080".to_owned());
        }
        Ok(Self(url.trim_end_matches('/').to_owned()))
    }
}

fn sqlite_file(url: &str) -> Option<PathBuf> {
    url.strip_prefix("sqlite:").filter(|path| !path.is_empty()).map(PathBuf::from)
}

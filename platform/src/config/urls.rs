//! The URLs that choose the parts of Orderly.

use std::{path::PathBuf, str::FromStr};

use infra::{event_store::eventstoredb::EventStoreDbConfig, kafka::KafkaConfig, postgres::PostgresOptions};

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

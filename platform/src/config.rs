//! The one place where settings are read: flags and environment variables, parsed and checked in `main`,
//! passed on as values.

use std::{collections::BTreeSet, fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};
use infra::telemetry::LogFormat;

/// What every command of the binary can be told. Each setting is a flag and an environment variable.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// Where the embedded files live.
    #[arg(long, env = "ORDERLY_DATA_DIR", value_name = "DIR", default_value = "data", global = true)]
    pub data_dir: PathBuf,

    /// Where events are kept: `sqlite:FILE` [default: sqlite:DATA_DIR/events.db]
    #[arg(long, env = "ORDERLY_EVENT_STORE", value_name = "URL", global = true)]
    event_store: Option<EventStoreUrl>,

    /// How events reach projectors: `direct` (they follow the event store itself).
    #[arg(long, env = "ORDERLY_BUS", value_name = "URL", default_value = "direct", global = true)]
    pub bus: BusUrl,

    /// Where read models are kept: `sqlite:FILE` [default: sqlite:DATA_DIR/read-models.db]
    #[arg(long, env = "ORDERLY_READ_MODELS", value_name = "URL", global = true)]
    read_models: Option<ReadModelsUrl>,

    /// Which log lines to write to standard error, in the syntax of `RUST_LOG`.
    #[arg(long, env = "ORDERLY_LOG", value_name = "FILTER", default_value = "info", global = true)]
    pub log: String,

    /// How log lines are written.
    #[arg(
        long,
        env = "ORDERLY_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "text",
        global = true
    )]
    log_format: LogFormatName,
}

impl Settings {
    pub fn event_store(&self) -> EventStoreUrl {
        self.event_store.clone().unwrap_or_else(|| EventStoreUrl::Sqlite(self.data_dir.join("events.db")))
    }

    pub fn read_models(&self) -> ReadModelsUrl {
        let default = || ReadModelsUrl::Sqlite(self.data_dir.join("read-models.db"));
        self.read_models.clone().unwrap_or_else(default)
    }

    pub fn log_format(&self) -> LogFormat {
        match self.log_format {
            LogFormatName::Text => LogFormat::Text,
            LogFormatName::Json => LogFormat::Json,
        }
    }
}

/// Where `serve` listens and which parts of Orderly it runs.
#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
    /// Address of the command API. Port 0: any free one, printed at start.
    #[arg(long, env = "ORDERLY_COMMAND_LISTEN", value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    pub command_listen: SocketAddr,

    /// Address of the query API. Port 0: any free one, printed at start.
    #[arg(long, env = "ORDERLY_QUERY_LISTEN", value_name = "IP:PORT", default_value = "127.0.0.1:8081")]
    pub query_listen: SocketAddr,

    /// The roles of this process.
    #[arg(
        long,
        env = "ORDERLY_ROLES",
        value_name = "ROLE,…",
        value_enum,
        value_delimiter = ',',
        default_value = "command-api,process-manager,projectors,query-api"
    )]
    pub roles: Vec<Role>,
}

/// A part of Orderly that a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// Takes commands over HTTP.
    CommandApi,
    /// Does what follows from events.
    ProcessManager,
    /// Keep the read models up to date.
    Projectors,
    /// Answers queries over HTTP.
    QueryApi,
}

impl Role {
    /// The roles that write to the event store, or follow it as it grows. An embedded event store has one
    /// owning process, so these run together or not at all.
    const OWNERS: [Self; 3] = [Self::CommandApi, Self::ProcessManager, Self::Projectors];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandApi => "command-api",
            Self::ProcessManager => "process-manager",
            Self::Projectors => "projectors",
            Self::QueryApi => "query-api",
        })
    }
}

/// The roles of one process, checked to fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Command API, process manager and projectors.
    pub owner: bool,
    pub query_api: bool,
}

impl Roles {
    pub const ALL: Self = Self { owner: true, query_api: true };
}

/// Roles that cannot run apart from one another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "ORDERLY_ROLES: {given} cannot run without {missing}: with an embedded event store and the direct bus, \
     command-api, process-manager and projectors share one process; only query-api may run apart"
)]
pub struct RolesApart {
    given: String,
    missing: String,
}

impl TryFrom<&[Role]> for Roles {
    type Error = RolesApart;

    fn try_from(roles: &[Role]) -> Result<Self, RolesApart> {
        let (given, missing): (BTreeSet<Role>, BTreeSet<Role>) =
            Role::OWNERS.iter().partition(|role| roles.contains(role));
        if !given.is_empty() && !missing.is_empty() {
            return Err(RolesApart { given: names(&given), missing: names(&missing) });
        }
        Ok(Self { owner: missing.is_empty(), query_api: roles.contains(&Role::QueryApi) })
    }
}

fn names(roles: &BTreeSet<Role>) -> String {
    roles.iter().map(Role::to_string).collect::<Vec<_>>().join(" and ")
}

/// Where events are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventStoreUrl {
    /// A file of this machine.
    Sqlite(PathBuf),
}

/// How events reach those who follow them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusUrl {
    /// Consumers follow the event store itself.
    Direct,
}

/// Where read models are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadModelsUrl {
    /// A file of this machine.
    Sqlite(PathBuf),
}

/// A URL that a setting does not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} accepts {accepted}")]
pub struct UnsupportedUrl {
    setting: &'static str,
    accepted: &'static str,
}

impl FromStr for EventStoreUrl {
    type Err = UnsupportedUrl;

    fn from_str(url: &str) -> Result<Self, UnsupportedUrl> {
        let accepted = "sqlite:FILE, for example sqlite:data/events.db";
        let unsupported = UnsupportedUrl { setting: "ORDERLY_EVENT_STORE", accepted };
        sqlite_file(url).map(Self::Sqlite).ok_or(unsupported)
    }
}

impl FromStr for BusUrl {
    type Err = UnsupportedUrl;

    fn from_str(url: &str) -> Result<Self, UnsupportedUrl> {
        match url {
            "direct" => Ok(Self::Direct),
            _ => Err(UnsupportedUrl { setting: "ORDERLY_BUS", accepted: "direct" }),
        }
    }
}

impl FromStr for ReadModelsUrl {
    type Err = UnsupportedUrl;

    fn from_str(url: &str) -> Result<Self, UnsupportedUrl> {
        let accepted = "sqlite:FILE, for example sqlite:data/read-models.db";
        let unsupported = UnsupportedUrl { setting: "ORDERLY_READ_MODELS", accepted };
        sqlite_file(url).map(Self::Sqlite).ok_or(unsupported)
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormatName {
    Text,
    Json,
}

#[cfg(test)]
mod tests;

//! Reads all settings: flags, environment variables and a file. `main` parses and checks them once and passes them
//! on as values.

mod auth;
mod backup;
mod duration;
mod edge;
mod file;
mod given;
mod instance;
mod listen;
mod log_filter;
mod nearest;
pub mod reference;
mod roles;
mod stripe;
mod traces;
mod urls;
mod variables;

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use infra::{http::hosts::HostName, telemetry::LogFormat};
use sandbox::SandboxScript;

pub(crate) use self::listen::listen_address;
use self::urls::SecretUrlParser;
pub use self::{
    auth::{AuthConfig, AuthMode, AuthSettings, AuthSettingsError, TokenKeys},
    backup::BackupSettings,
    duration::{PaymentDueAfter, parse_duration},
    edge::{EdgeConfig, EdgeSettings, EdgeSettingsError},
    given::{Given, ReadError, SettingValue, ValueOrigin, read},
    instance::InstanceName,
    log_filter::LogFilter,
    roles::{Role, Roles, RolesError},
    stripe::{StripeSettings, StripeSettingsError},
    traces::{OtlpEndpoint, SampleRatio, TraceSettings},
    urls::{
        ApiUrl, BusUrl, ClientUrl, Credential, EventStoreUrl, PaymentProviderUrl, ReadModelsUrl, ReplicaUrl,
        SandboxSecret, UnsupportedUrl,
    },
};

/// Settings of every command. Each is a flag, an environment variable and a name in the file.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// TOML file with settings of `serve`. Their names are those of the flags, without `--`. Flags and environment
    /// take precedence.
    #[arg(long, env = "ORDERLY_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Directory of the embedded files.
    #[arg(long, env = "ORDERLY_DATA_DIR", value_name = "DIR", default_value = "data", global = true)]
    pub data_dir: PathBuf,

    /// Event store: `sqlite:FILE` or `esdb://HOST:PORT` [default: sqlite:DATA_DIR/events.db]
    #[arg(
        long,
        env = "ORDERLY_EVENT_STORE",
        value_name = "URL",
        value_parser = SecretUrlParser::<EventStoreUrl>::new(),
        hide_env_values = true,
        global = true
    )]
    event_store: Option<EventStoreUrl>,

    /// How events reach projectors and process manager: `direct` (they follow the event store) or
    /// `kafka://HOST:PORT,…` (the relay publishes events to Kafka, and they follow topics).
    #[arg(
        long,
        env = "ORDERLY_BUS",
        value_name = "URL",
        value_parser = SecretUrlParser::<BusUrl>::new(),
        hide_env_values = true,
        default_value = "direct",
        global = true
    )]
    pub bus: BusUrl,

    /// Read models: `sqlite:FILE` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE` [default:
    /// sqlite:DATA_DIR/read-models.db]
    #[arg(
        long,
        env = "ORDERLY_READ_MODELS",
        value_name = "URL",
        value_parser = SecretUrlParser::<ReadModelsUrl>::new(),
        hide_env_values = true,
        global = true
    )]
    read_models: Option<ReadModelsUrl>,

    /// Filter for log lines on standard error, in the syntax of `RUST_LOG`, for example `info,requests=debug`.
    #[arg(long, env = "ORDERLY_LOG", value_name = "FILTER", default_value = "info", global = true)]
    pub log: LogFilter,

    /// Format of log lines.
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

/// How a command that speaks HTTP authenticates itself.
#[derive(Debug, Clone, Args)]
pub struct CallerSettings {
    /// API key or token, for a platform that authenticates its callers.
    #[arg(
        long,
        env = "ORDERLY_API_KEY",
        value_name = "KEY",
        value_parser = SecretUrlParser::<Credential>::new(),
        hide_env_values = true
    )]
    pub api_key: Option<Credential>,
}

/// From nothing to 10 minutes.
const DRAIN_DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(10);

/// Settings of `serve`: addresses, payments, roles.
#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
    /// Address of the command API. Port 0: any free one, printed at start.
    #[arg(
        long,
        env = "ORDERLY_COMMAND_LISTEN",
        value_name = "HOST:PORT",
        value_parser = listen_address,
        default_value = "127.0.0.1:8080"
    )]
    pub command_listen: SocketAddr,

    /// Address of the query API. Port 0: any free one, printed at start.
    #[arg(
        long,
        env = "ORDERLY_QUERY_LISTEN",
        value_name = "HOST:PORT",
        value_parser = listen_address,
        default_value = "127.0.0.1:8081"
    )]
    pub query_listen: SocketAddr,

    /// Command API to which the pages of the query API send what people do, for example `https://commands.shop.example`
    /// [default: the command API of this process, unless it has a certificate]
    #[arg(long, env = "ORDERLY_COMMAND_URL", value_name = "URL")]
    pub command_url: Option<ClientUrl>,

    /// Address of `/metrics`, the measurements of this process in the text format of Prometheus, and of `/livez`,
    /// `/readyz` and `/version`. Port 0: any free one, printed at start [default: none]
    #[arg(long, env = "ORDERLY_ADMIN_LISTEN", value_name = "HOST:PORT", value_parser = listen_address)]
    pub admin_listen: Option<SocketAddr>,

    /// Replica of the Postgres database of the read models, from which the query API reads:
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE` [default: it reads from ORDERLY_READ_MODELS]
    #[arg(
        long,
        env = "ORDERLY_READ_MODELS_REPLICA",
        value_name = "URL",
        value_parser = SecretUrlParser::<ReplicaUrl>::new(),
        hide_env_values = true
    )]
    pub read_models_replica: Option<ReplicaUrl>,

    #[command(flatten)]
    pub provider: ProviderSettings,

    /// Names under which clients address the APIs, for example `shop.example`. By default an API that listens
    /// on 127.0.0.1 answers to `localhost` and IP addresses only, and an API on another address to every name.
    #[arg(long, env = "ORDERLY_ALLOWED_HOSTS", value_name = "HOST,…", value_delimiter = ',')]
    pub allowed_hosts: Vec<HostName>,

    #[command(flatten)]
    pub edge: EdgeSettings,

    #[command(flatten)]
    pub auth: AuthSettings,

    #[command(flatten)]
    pub sandbox: SandboxSettings,

    /// Time from the recording of an order until it expires unpaid, for example `45m` or `1h 30m`. An order
    /// may set its own due time.
    #[arg(
        long,
        env = "ORDERLY_PAYMENT_DUE_AFTER",
        value_name = "DURATION",
        default_value_t = PaymentDueAfter::DEFAULT
    )]
    pub payment_due_after: PaymentDueAfter,

    /// Roles of this process [default: all; `relay` only with Kafka, `sandbox` only if it is the payment
    /// provider]
    #[arg(long, env = "ORDERLY_ROLES", value_name = "ROLE,…", value_enum, value_delimiter = ',')]
    pub roles: Vec<Role>,

    /// Name of this process, of which no other process has the same, and which it keeps over restarts. With Kafka its
    /// partitions then wait for up to 10 s until it is back. Without a name, a process that stops gives them to the others.
    #[arg(long, env = "ORDERLY_INSTANCE", value_name = "NAME")]
    pub instance: Option<InstanceName>,

    /// Allow webhooks to private addresses and over plain HTTP; for development.
    #[arg(
        long,
        env = "ORDERLY_WEBHOOKS_ALLOW_PRIVATE",
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub webhooks_allow_private: bool,

    /// File with the keys that seal the secrets of webhooks in the operational state, the base64 of 32 bytes on each
    /// line. The first key seals, and all of them open. Without it, these secrets are stored in plain text. The keys also
    /// seal the sessions of the pages; without them, a restart ends these.
    #[arg(long, env = "ORDERLY_SECRETS_KEY_FILE", value_name = "FILE")]
    pub secrets_key_file: Option<PathBuf>,

    #[command(flatten)]
    pub traces: TraceSettings,

    #[command(flatten)]
    pub backup: BackupSettings,

    /// Time from the signal to stop until the APIs accept no further connections. `/readyz` answers 503 from the signal
    /// on, so a proxy or Kubernetes sends its requests elsewhere meanwhile.
    #[arg(
        long,
        env = "ORDERLY_DRAIN_DELAY",
        value_name = "DURATION",
        default_value = "0s",
        value_parser = |text: &str| parse_duration(text, &DRAIN_DELAY)
    )]
    pub drain_delay: Duration,
}

/// The payment provider, of every command that calls it.
#[derive(Debug, Clone, Args)]
pub struct ProviderSettings {
    /// Payment provider: `sandbox` (of the server on this machine; moves no money), `sandbox:http://HOST:PORT` (of
    /// another process), `stripe` (its secrets ORDERLY_STRIPE_SECRET_KEY and ORDERLY_STRIPE_WEBHOOK_SECRET have no
    /// flags) or `none` (payments are recorded by hand).
    #[arg(
        long,
        visible_alias = "provider",
        env = "ORDERLY_PAYMENT_PROVIDER",
        value_name = "URL",
        value_parser = SecretUrlParser::<PaymentProviderUrl>::new(),
        hide_env_values = true,
        default_value = "sandbox"
    )]
    pub payment_provider: PaymentProviderUrl,

    /// Address of the sandbox of the server on this machine. Port 0: any free one, printed at start.
    #[arg(
        long,
        env = "ORDERLY_SANDBOX_LISTEN",
        value_name = "HOST:PORT",
        value_parser = listen_address,
        default_value = "127.0.0.1:8082"
    )]
    pub sandbox_listen: SocketAddr,

    /// Secret shared by platform and sandbox, `whsec_` and base64 [default: from DATA_DIR/sandbox.secret,
    /// made at the first start]
    #[arg(
        long,
        env = "ORDERLY_SANDBOX_SECRET",
        value_name = "SECRET",
        value_parser = SecretUrlParser::<SandboxSecret>::new(),
        hide_env_values = true
    )]
    pub sandbox_secret: Option<SandboxSecret>,

    #[command(flatten)]
    pub stripe: StripeSettings,
}

/// Settings of the sandbox that a process runs. It is a payment provider that moves no money.
#[derive(Debug, Clone, Args)]
pub struct SandboxSettings {
    /// Faults of the sandbox, for example `declines=0.2,lost_answers=0.2,seed=7`.
    #[arg(
        long = "sandbox-script",
        env = "ORDERLY_SANDBOX_SCRIPT",
        value_name = "NAME=VALUE,…",
        default_value = "",
        hide_default_value = true
    )]
    pub script: SandboxScript,

    /// Receiver of the sandbox's webhooks [default: the command API of this process]
    #[arg(long = "sandbox-webhook-url", env = "ORDERLY_SANDBOX_WEBHOOK_URL", value_name = "URL")]
    pub webhook_url: Option<ApiUrl>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormatName {
    Text,
    Json,
}

#[cfg(test)]
mod tests;

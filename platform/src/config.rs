//! The one place where settings are read: flags and environment variables, parsed and checked in `main`,
//! passed on as values.

mod roles;
mod stripe;
mod urls;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use infra::{payment_provider::sandbox::script::Script, telemetry::LogFormat};

use self::urls::Unshown;
pub use self::{
    roles::{Role, Roles, RolesError},
    stripe::{StripeSettingsError, stripe_options},
    urls::{ApiUrl, BusUrl, EventStoreUrl, PaymentProviderUrl, ReadModelsUrl, SandboxSecret, UnsupportedUrl},
};

/// What every command of the binary can be told. Each setting is a flag and an environment variable.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// Where the embedded files live.
    #[arg(long, env = "ORDERLY_DATA_DIR", value_name = "DIR", default_value = "data", global = true)]
    pub data_dir: PathBuf,

    /// Where events are kept: `sqlite:FILE` or `esdb://HOST:PORT` [default: sqlite:DATA_DIR/events.db]
    #[arg(
        long,
        env = "ORDERLY_EVENT_STORE",
        value_name = "URL",
        value_parser = Unshown::<EventStoreUrl>::new(),
        hide_env_values = true,
        global = true
    )]
    event_store: Option<EventStoreUrl>,

    /// How events reach projectors and process manager: `direct` (they follow the event store itself) or
    /// `kafka://HOST:PORT,…` (the relay publishes them there).
    #[arg(long, env = "ORDERLY_BUS", value_name = "URL", default_value = "direct", global = true)]
    pub bus: BusUrl,

    /// Where read models are kept: `sqlite:FILE` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE` [default:
    /// sqlite:DATA_DIR/read-models.db]
    #[arg(
        long,
        env = "ORDERLY_READ_MODELS",
        value_name = "URL",
        value_parser = Unshown::<ReadModelsUrl>::new(),
        hide_env_values = true,
        global = true
    )]
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

    /// Who is asked for money: `sandbox` (the one of this process, for tests), `sandbox:http://HOST:PORT` (one of
    /// another process), `stripe` (whose settings are in the environment only: ORDERLY_STRIPE_SECRET_KEY,
    /// ORDERLY_STRIPE_WEBHOOK_SECRET) or `none`.
    #[arg(long, env = "ORDERLY_PAYMENT_PROVIDER", value_name = "URL", default_value = "sandbox")]
    pub payment_provider: PaymentProviderUrl,

    #[command(flatten)]
    pub sandbox: SandboxSettings,

    /// The roles of this process [default: all of them; `relay` only with Kafka, `sandbox` only where it is the payment
    /// provider]
    #[arg(long, env = "ORDERLY_ROLES", value_name = "ROLE,…", value_enum, value_delimiter = ',')]
    pub roles: Vec<Role>,

    /// Webhooks may go to private addresses, and unencrypted; for development.
    #[arg(
        long,
        env = "ORDERLY_WEBHOOKS_ALLOW_PRIVATE",
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub webhooks_allow_private: bool,
}

/// The sandbox: a payment provider that moves no money.
#[derive(Debug, Clone, Args)]
pub struct SandboxSettings {
    /// Address of the sandbox. Port 0: any free one, printed at start.
    #[arg(
        long = "sandbox-listen",
        env = "ORDERLY_SANDBOX_LISTEN",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:8082"
    )]
    pub listen: SocketAddr,

    /// What goes wrong in the sandbox, for example `declines=0.2,lost_answers=0.2,seed=7`.
    #[arg(
        long = "sandbox-script",
        env = "ORDERLY_SANDBOX_SCRIPT",
        value_name = "NAME=VALUE,…",
        default_value = "",
        hide_default_value = true
    )]
    pub script: Script,

    /// What platform and sandbox share, `whsec_` and base64 [default: the one in DATA_DIR/sandbox.secret, made at the
    /// first start]
    #[arg(
        long = "sandbox-secret",
        env = "ORDERLY_SANDBOX_SECRET",
        value_name = "SECRET",
        value_parser = Unshown::<SandboxSecret>::new(),
        hide_env_values = true
    )]
    pub secret: Option<SandboxSecret>,

    /// Where the sandbox sends its webhooks [default: the command API of this process]
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

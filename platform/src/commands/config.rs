//! `orderly config`: checks and shows the settings of `serve`.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use infra::{http::tls::Tls, sealing::SecretKeys};
use rustix::fs::{Access, access};
use sandbox::secret_file;
use serde_json::Value;

use super::{Failure, empty_table};
use crate::{
    config::{
        EventStoreUrl, Given, PaymentProviderUrl, ReadModelsUrl, ReplicaUrl, Roles, ServeOptions,
        SettingValue, Settings, ValueOrigin,
    },
    serve::{Addresses, SECRET_FILE, ServeConfig, ServeConfigError, StartLine},
    stores::{self, Views},
};

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the settings, and the files that they name, as `serve` does at its start. Starts nothing, changes
    /// nothing, and connects to no server.
    Check(Box<ServeOptions>),
    /// Print every setting of `serve` with its value and where the value comes from. Shows no secret.
    Show(Box<ShowOptions>),
}

#[derive(Debug, Args)]
pub struct ShowOptions {
    #[command(flatten)]
    pub serve: ServeOptions,

    /// `toml`: as a settings file. Values that hold a secret are left out.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Toml,
}

/// Why the command does not succeed.
#[derive(Debug)]
pub enum ConfigError {
    /// Settings that contradict each other, or that are missing.
    Settings(ServeConfigError),
    Failed(Failure),
}

impl<F: Into<Failure>> From<F> for ConfigError {
    fn from(failure: F) -> Self {
        Self::Failed(failure.into())
    }
}

pub async fn run(settings: &Settings, command: ConfigCommand, given: &Given) -> Result<(), ConfigError> {
    let text = match command {
        ConfigCommand::Check(options) => {
            let config = ServeConfig::new(settings, &options).map_err(ConfigError::Settings)?;
            check_files(&config).await?;
            let line = StartLine::new(&config, Addresses::default());
            format!("The settings are right. No server was contacted.\n{}\n", line.parts())
        }
        ConfigCommand::Show(options) => {
            // Settings that contradict each other are shown, too.
            let roles = ServeConfig::new(settings, &options.serve).ok().map(|config| config.roles);
            let values = with_computed_defaults(given.values(), settings, roles.as_ref());
            match options.format {
                Format::Table => table(&values),
                Format::Toml => toml(&values),
            }
        }
    };
    // A caller that has read enough may have closed the pipe.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// Checks the files that exist. `serve` makes the others at its first start.
async fn check_files(config: &ServeConfig) -> Result<(), Failure> {
    check_directory(&config.data_dir)?;
    match &config.event_store {
        EventStoreUrl::Sqlite(path) if path.exists() => drop(stores::open_log(&config.event_store).await?),
        EventStoreUrl::Sqlite(_) => {}
        EventStoreUrl::EventStoreDb(server) => server.check_certificates()?,
    }
    match &config.read_models {
        ReadModelsUrl::Sqlite(path) if path.exists() => drop(Views::open(&config.read_models).await?),
        ReadModelsUrl::Sqlite(_) => {}
        ReadModelsUrl::Postgres(options) => options.check_certificates()?,
    }
    if let Some(ReplicaUrl(options)) = &config.read_models_replica {
        options.check_certificates()?;
    }
    if let Some(files) = config.edge.tls.clone() {
        drop(Tls::open(files)?);
    }
    if let Some(path) = &config.secrets_key_file {
        SecretKeys::read(path)?;
    }
    let uses_secret_file = config.provider.sandbox_secret.is_none();
    match &config.provider.payment_provider {
        PaymentProviderUrl::Sandbox | PaymentProviderUrl::SandboxAt(_) if uses_secret_file => {
            secret_file::read(&config.data_dir.join(SECRET_FILE))?;
        }
        PaymentProviderUrl::Sandbox
        | PaymentProviderUrl::SandboxAt(_)
        | PaymentProviderUrl::None
        | PaymentProviderUrl::Stripe => {}
    }
    Ok(())
}

/// The directory must be writable, or else the nearest one above it that exists, in which it would be made.
fn check_directory(path: &Path) -> Result<(), Failure> {
    let path = if path.is_relative() { PathBuf::from(".").join(path) } else { path.to_owned() };
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(&path);
    let usable = || -> io::Result<()> {
        let _entries = fs::read_dir(existing)?;
        Ok(access(existing, Access::WRITE_OK | Access::EXEC_OK)?)
    };
    Ok(usable().map_err(|source| stores::data_dir_error(&path, source))?)
}

/// Fills in the values that depend on other settings.
fn with_computed_defaults(
    mut values: Vec<SettingValue>,
    settings: &Settings,
    roles: Option<&Roles>,
) -> Vec<SettingValue> {
    for value in values.iter_mut().filter(|value| value.shown.is_none()) {
        value.shown = match value.name.as_str() {
            "event-store" => Some(settings.event_store().to_string()),
            "read-models" => Some(settings.read_models().to_string()),
            "roles" => roles.map(Roles::to_string),
            _ => None,
        };
    }
    values
}

fn table(values: &[SettingValue]) -> String {
    let mut table = empty_table(&["SETTING", "VALUE", "FROM"]);
    for SettingValue { name, shown, origin, .. } in values {
        table.add_row([name.as_str(), shown.as_deref().unwrap_or("-"), origin_name(*origin)]);
    }
    format!("{table}\n")
}

fn origin_name(origin: ValueOrigin) -> &'static str {
    match origin {
        ValueOrigin::Flag => "flag",
        ValueOrigin::Environment => "environment",
        ValueOrigin::File => "file",
        ValueOrigin::Default => "default",
    }
}

/// A settings file that gives the same values. Defaults and secrets are comments.
fn toml(values: &[SettingValue]) -> String {
    let mut text = String::new();
    for value in values {
        let SettingValue { name, shown, is_complete, origin, .. } = value;
        let Some(shown) = shown else { continue };
        let comment = if *origin == ValueOrigin::Default || !is_complete { "# " } else { "" };
        let note = if *is_complete { "" } else { ", shown without its secret" };
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "{comment}{name} = {} # {}{note}", toml_value(value, shown), origin_name(*origin));
    }
    text
}

/// The value as JSON, which is TOML too for texts, lists of texts, and `true` or `false`.
fn toml_value(value: &SettingValue, shown: &str) -> Value {
    if value.is_switch {
        return Value::from(shown == "true");
    }
    if value.is_list {
        return shown.split(',').map(str::trim).collect();
    }
    Value::from(shown)
}

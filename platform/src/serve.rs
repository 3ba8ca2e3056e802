//! `orderly serve`: opens the stores, starts the roles of this process, and stops them on a signal.

mod access;
mod admin;
mod audit;
mod backups;
mod edge;
mod followers;
mod guard;
mod listeners;
mod measuring;
mod pages;
mod parts;
mod progress;
mod relay;
mod running_roles;
mod samples;
mod start_line;

use std::{future::Future, io, io::Write, net::SocketAddr, path::PathBuf, process, time::Duration};

use infra::{
    event_store::ReadError,
    http::AllowedHosts,
    kafka::KafkaError,
    log_guard::GuardError,
    operations::OperationsError,
    payment_provider::stripe::StripeOptions,
    read_models::{BindError, ReadModelError},
    relay::RelayError,
    sealing::SecretKeysError,
    telemetry::LogFormat,
    traces::{TraceExportError, TraceExportOptions},
};
use sandbox::{LedgerOpenError, secret_file::SecretFileError};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use webhooks::SenderSetUpError;

pub(crate) use self::{
    backups::made_by,
    parts::{SECRET_FILE, url_to},
};
pub use self::{
    running_roles::RunningRoles,
    start_line::{Addresses, StartLine},
};
use crate::{
    commands::Failure,
    config::{
        AuthConfig, AuthSettingsError, BackupSettings, BusUrl, ClientUrl, EdgeConfig, EdgeSettingsError,
        EventStoreUrl, InstanceName, PaymentDueAfter, PaymentProviderUrl, ProviderSettings, ReadModelsUrl,
        ReplicaUrl, Role, Roles, RolesError, SandboxSettings, ServeOptions, Settings, StripeSettingsError,
    },
    stores::{self, StoreError},
};

/// What to serve, from which stores, and where.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    pub roles: Roles,
    pub instance: Option<InstanceName>,
    pub event_store: EventStoreUrl,
    pub bus: BusUrl,
    pub read_models: ReadModelsUrl,
    /// From which the query API reads. Set only if this process has that role.
    pub read_models_replica: Option<ReplicaUrl>,
    pub provider: ProviderSettings,
    /// Set if Stripe is the payment provider and a role of this process calls it.
    pub stripe: Option<StripeOptions>,
    pub sandbox: SandboxSettings,
    pub payment_due_after: PaymentDueAfter,
    /// Directory of snapshots and operational state.
    pub data_dir: PathBuf,
    pub command_listen: SocketAddr,
    pub query_listen: SocketAddr,
    /// To which the pages send commands. Without one, to the command API of this process.
    pub command_url: Option<ClientUrl>,
    /// Without one, the process serves no measurements.
    pub admin_listen: Option<SocketAddr>,
    pub webhooks_allow_private: bool,
    /// The keys of the secrets of webhooks, and of the sessions of pages. Set only if a role of this process uses them.
    pub secrets_key_file: Option<PathBuf>,
    pub allowed_hosts: AllowedHosts,
    pub edge: EdgeConfig,
    pub auth: AuthConfig,
    /// Without them, the process exports no spans.
    pub traces: Option<TraceExportOptions>,
    pub backup: BackupSettings,
    pub drain_delay: Duration,
}

/// Settings that contradict each other, or that are missing.
#[derive(Debug, thiserror::Error)]
pub enum ServeConfigError {
    #[error(transparent)]
    Roles(#[from] RolesError),
    #[error(transparent)]
    Stripe(#[from] StripeSettingsError),
    #[error(transparent)]
    Auth(#[from] AuthSettingsError),
    #[error(transparent)]
    Edge(#[from] EdgeSettingsError),
    #[error(
        "ORDERLY_READ_MODELS_REPLICA is set, but the read models are a file: set ORDERLY_READ_MODELS to the database that \
         is replicated, postgres://…"
    )]
    ReplicaOfFile,
    #[error("ORDERLY_BACKUP_URL: there is nothing to back up here: {0}")]
    NothingToBackUp(String),
}

impl ServeConfig {
    pub fn new(settings: &Settings, options: &ServeOptions) -> Result<Self, ServeConfigError> {
        let (event_store, read_models) = (settings.event_store(), settings.read_models());
        let roles =
            Roles::new(&options.roles, &event_store, &settings.bus, &options.provider.payment_provider)?
                .with_read_models(&read_models)?;
        if options.read_models_replica.is_some() && read_models.has_one_owner() {
            return Err(ServeConfigError::ReplicaOfFile);
        }
        let replica = options.read_models_replica.clone().filter(|_| roles.has(Role::QueryApi));
        let calls_provider = roles.has(Role::CommandApi) || roles.has(Role::ProcessManager);
        let stripe = match &options.provider.payment_provider {
            PaymentProviderUrl::Stripe if calls_provider => Some(options.provider.stripe.options()?),
            PaymentProviderUrl::Stripe
            | PaymentProviderUrl::None
            | PaymentProviderUrl::Sandbox
            | PaymentProviderUrl::SandboxAt(_) => None,
        };
        let traces = options.traces.export(&roles);
        let uses_secrets =
            [Role::CommandApi, Role::Webhooks, Role::QueryApi].iter().any(|role| roles.has(*role));
        let sources = stores::backup_sources(&event_store, &read_models, &settings.data_dir);
        if options.backup.backup_url.is_some() && sources.is_empty() {
            return Err(ServeConfigError::NothingToBackUp(sources.elsewhere.join("; ")));
        }
        Ok(Self {
            roles,
            instance: options.instance.clone(),
            event_store,
            bus: settings.bus.clone(),
            read_models,
            read_models_replica: replica,
            provider: options.provider.clone(),
            stripe,
            sandbox: options.sandbox.clone(),
            payment_due_after: options.payment_due_after,
            data_dir: settings.data_dir.clone(),
            command_listen: options.command_listen,
            query_listen: options.query_listen,
            command_url: options.command_url.clone(),
            admin_listen: options.admin_listen,
            webhooks_allow_private: options.webhooks_allow_private,
            secrets_key_file: options.secrets_key_file.clone().filter(|_| uses_secrets),
            allowed_hosts: options.allowed_hosts.iter().cloned().collect(),
            edge: options.edge.checked()?,
            auth: options.auth.checked()?,
            traces,
            backup: options.backup.clone(),
            drain_delay: options.drain_delay,
        })
    }
}

/// Runs until a signal arrives or a role fails. Prints the addresses in the format of the log.
pub async fn run(config: ServeConfig, format: LogFormat) -> Result<(), Failure> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    tokio::spawn(ignore_hangups()?);
    let running = tokio::select! {
        started = RunningRoles::start(config) => started?,
        // Exits at once: the start only reads and checks, and the check of a large event store takes minutes.
        _ = interrupts.recv() => process::exit(1),
        _ = terminations.recv() => process::exit(1),
    };
    // Ignores the error: a caller that has read the addresses may have closed the pipe.
    let _ = writeln!(io::stdout(), "{}", running.start_line().banner(format));
    tell_supervisor(NotifyState::Ready);

    let failed = tokio::select! {
        _ = interrupts.recv() => false,
        _ = terminations.recv() => false,
        () = running.failed() => true,
    };
    tell_supervisor(NotifyState::Stopping);
    tracing::info!("Stopping: finishing the work under way; a second signal exits at once");
    tokio::select! {
        () = running.stop() => {}
        _ = interrupts.recv() => process::exit(1),
        _ = terminations.recv() => process::exit(1),
    }
    tracing::info!("Stopped");
    if failed { Err(Failure::new("a role has failed; the log shows the cause")) } else { Ok(()) }
}

/// Reports to systemd, if it started this process with `Type=notify`.
fn tell_supervisor(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "Cannot report to the service manager in NOTIFY_SOCKET");
    }
}

/// Keeps the process from ending by SIGHUP, which says that a terminal was closed, or asks for a reload. Nothing is
/// reloaded: the settings of a process are those of its start.
fn ignore_hangups() -> io::Result<impl Future<Output = ()>> {
    let mut hangups = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangups.recv().await.is_some() {
            tracing::info!("SIGHUP is ignored; restart the process to apply changed settings");
        }
    })
}

/// Why a process cannot start its roles.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Relay(#[from] RelayError),
    #[error(transparent)]
    ReadModelsOfAnotherLog(#[from] BindError),
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    #[error(transparent)]
    LogGuard(#[from] GuardError),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(transparent)]
    Operations(#[from] OperationsError),
    #[error(transparent)]
    Sandbox(#[from] LedgerOpenError),
    #[error(transparent)]
    SandboxSecret(#[from] SecretFileError),
    #[error("Stripe cannot be the payment provider: {0}")]
    Stripe(#[from] infra::payment_provider::stripe::StripeOptionsError),
    #[error(
        "ORDERLY_SANDBOX_SECRET is not set: set it to the secret of the other process, which is in the file \
         sandbox.secret of its data directory"
    )]
    NoSandboxSecret,
    #[error(
        "{setting}: cannot listen on {address} ({source}): choose another address, or port 0 for any free port"
    )]
    Listen { setting: &'static str, address: SocketAddr, source: io::Error },
    #[error(
        "{setting}: {address} can be reached from other machines, and there is no API key and no issuer of tokens: run \
         `orderly keys create`, or set ORDERLY_JWT_ISSUER, or let every caller do everything with ORDERLY_AUTH=off"
    )]
    NotAuthenticated { setting: &'static str, address: SocketAddr },
    #[error(
        "{setting}: {address} can be reached from other machines, where ORDERLY_JWT_DEVELOPMENT_SECRET is not safe: use \
         the keys of an issuer, ORDERLY_JWT_KEYS"
    )]
    DevelopmentSecret { setting: &'static str, address: SocketAddr },
    #[error("ORDERLY_JWT_KEYS: {0}")]
    TokenKeys(#[from] infra::auth::KeySetError),
    #[error(transparent)]
    Tls(#[from] infra::http::tls::TlsError),
    #[error(transparent)]
    SecretKeys(#[from] SecretKeysError),
    #[error(transparent)]
    Webhooks(#[from] SenderSetUpError),
    #[error(transparent)]
    Traces(#[from] TraceExportError),
    #[error("a task of the start has failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

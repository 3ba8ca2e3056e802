//! Opens the stores, event sources and payment provider of a process. Opens only what its roles need.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::future::try_join_all;
use infra::{
    clock::Clock,
    event_source::{
        EventSource,
        direct::DirectSource,
        kafka::{KafkaSource, KafkaSourceOptions},
        layout::SourceLayout,
    },
    event_store::{EventLog, ReadError},
    health::Health,
    kafka::Topic,
    payment_provider::{PaymentProvider, stripe::StripeProvider},
    read_models::{Queries, ReadModels},
    sealing::SecretKeys,
    signature::SigningSecret,
    snapshots::SnapshotStore,
};
use query_api::LogAccess;
use sandbox::{Sandbox, SandboxOptions, SandboxProvider, secret_file};
use tokio::task::spawn_blocking;
use uuid::Uuid;
use webhooks::{UrlGuard, Webhooks};

use super::{ServeConfig, StartError};
use crate::{
    config::{BusUrl, PaymentProviderUrl, ReadModelsUrl, ReplicaUrl, Role, SandboxSecret},
    stores::{self, Views, WritableEventStore, WritableViews},
};

/// The most events of one batch of an event source.
const BATCH_EVENTS_MAX: usize = 2_000;
/// Projectors of one process; they share its partitions. Postgres commits them side by side.
const PROJECTORS_WITH_POSTGRES: usize = 4;

/// File of the sandbox's secret, in the data directory.
pub(crate) const SECRET_FILE: &str = "sandbox.secret";

/// The event store and its snapshots, for roles that write events or follow the embedded store.
pub(super) struct WriteSide {
    pub events: WritableEventStore,
    pub snapshots: Arc<SnapshotStore>,
}

/// The read models. `models` is set if this process runs projectors.
pub(super) struct ReadSide {
    pub views: Views,
    pub models: Option<Arc<dyn ReadModels>>,
}

impl WriteSide {
    /// `None` if no role of this process needs it.
    pub async fn open(
        config: &ServeConfig,
        clock: &Clock,
        health: &Health,
    ) -> Result<Option<Self>, StartError> {
        let writes = [Role::CommandApi, Role::ProcessManager, Role::Relay];
        let follows: &[Role] = match &config.bus {
            BusUrl::Direct => &[Role::Projectors, Role::Webhooks],
            BusUrl::Kafka(_) => &[],
        };
        if !writes.iter().chain(follows).any(|role| config.roles.has(*role)) {
            return Ok(None);
        }
        stores::make_data_dir(&config.data_dir)?;
        let events = WritableEventStore::open(&config.event_store, clock.clone(), health).await?;
        let snapshots =
            SnapshotStore::open(&config.data_dir.join("snapshots"), events.store.log().store_id());
        let snapshots = snapshots.map_err(|source| stores::data_dir_error(&config.data_dir, source))?;
        Ok(Some(Self { events, snapshots: Arc::new(snapshots) }))
    }
}

/// The event log, for projectors that retry parked streams and for webhooks. Reuses the writable store if it
/// is open.
pub(super) async fn open_log(
    config: &ServeConfig,
    write_side: Option<&WriteSide>,
    health: &Health,
) -> Result<Option<Arc<dyn EventLog>>, StartError> {
    if let Some(write_side) = write_side {
        return Ok(Some(write_side.events.store.log()));
    }
    if !config.roles.has(Role::Projectors) && !config.roles.has(Role::Webhooks) {
        return Ok(None);
    }
    Ok(Some(stores::open_log_of_role(&config.event_store, health).await?))
}

/// The event log, for timelines. Opened at the first use if no other role needs it, so the query API serves
/// its read models while the event store is down.
pub(super) fn log_access(config: &ServeConfig, log: Option<&Arc<dyn EventLog>>) -> LogAccess {
    if let Some(log) = log {
        return LogAccess::of(Arc::clone(log));
    }
    let event_store = config.event_store.clone();
    LogAccess::opened_by(move || {
        let event_store = event_store.clone();
        async move {
            stores::open_log(&event_store)
                .await
                .map_err(|error| ReadError::Unavailable(error.to_string().into()))
        }
    })
}

impl ReadSide {
    /// `None` if no role of this process needs it.
    pub async fn open(config: &ServeConfig) -> Result<Option<Self>, StartError> {
        let projects = config.roles.has(Role::Projectors);
        if !projects && !config.roles.has(Role::ProcessManager) && !config.roles.has(Role::QueryApi) {
            return Ok(None);
        }
        match &config.read_models {
            ReadModelsUrl::Sqlite(_) => stores::make_data_dir(&config.data_dir)?,
            ReadModelsUrl::Postgres(_) => {}
        }
        let (views, models) = if projects {
            let WritableViews { views, models } = WritableViews::open(&config.read_models).await?;
            (views, Some(models))
        } else {
            (Views::open(&config.read_models).await?, None)
        };
        let Some(ReplicaUrl(replica)) = &config.read_models_replica else {
            return Ok(Some(Self { views, models }));
        };
        let mut views = views.with_replica(replica).await?;
        if config.roles.iter().all(|role| role == Role::QueryApi) {
            // What this process shows of its health is about the rows that it serves.
            views.projections = Arc::<dyn Queries>::clone(&views.queries);
        }
        Ok(Some(Self { views, models }))
    }
}

/// One event source for each projector of this process.
pub(super) async fn projector_sources(
    config: &ServeConfig,
    write_side: Option<&WriteSide>,
    store_id: Uuid,
) -> Result<Vec<Box<dyn EventSource>>, StartError> {
    let projectors = match (&config.bus, &config.read_models) {
        // The embedded log is one partition.
        (BusUrl::Direct, ReadModelsUrl::Sqlite(_) | ReadModelsUrl::Postgres(_))
        // A SQLite file takes one commit at a time.
        | (BusUrl::Kafka(_), ReadModelsUrl::Sqlite(_)) => 1,
        (BusUrl::Kafka(_), ReadModelsUrl::Postgres(_)) => PROJECTORS_WITH_POSTGRES,
    };
    // Together, so that a process that restarts is back soon.
    let opening = (0..projectors)
        .map(|number| source(config, write_side, store_id, ("projectors", number), &Topic::ALL));
    try_join_all(opening).await
}

/// The event source of the process manager. It includes stock: that topic has the receipts of several SKUs.
pub(super) fn process_manager_source<'a>(
    config: &'a ServeConfig,
    write_side: &'a WriteSide,
) -> impl Future<Output = Result<Box<dyn EventSource>, StartError>> + 'a {
    let store_id = write_side.events.store.log().store_id();
    source(config, Some(write_side), store_id, ("process-manager", 0), &Topic::ALL)
}

/// The event source of webhooks. It leaves stock out: no webhook reports a stock event.
pub(super) fn webhooks_source<'a>(
    config: &'a ServeConfig,
    write_side: Option<&'a WriteSide>,
    store_id: Uuid,
) -> impl Future<Output = Result<Box<dyn EventSource>, StartError>> + 'a {
    source(config, write_side, store_id, ("webhooks", 0), &[Topic::Orders, Topic::Payments])
}

/// Webhook subscriptions. `None` unless this process delivers webhooks, or accepts subscriptions whose
/// webhooks another process can deliver.
pub(super) async fn webhooks(
    config: &ServeConfig,
    read_side: Option<&ReadSide>,
    log: Option<&Arc<dyn EventLog>>,
    clock: &Clock,
    health: &Health,
) -> Result<Option<Webhooks>, StartError> {
    let Some(log) = log else { return Ok(None) };
    let delivers = config.roles.has(Role::Webhooks);
    let log_is_shared = match &config.bus {
        BusUrl::Direct => !config.event_store.has_one_owner(),
        BusUrl::Kafka(_) => true,
    };
    let another_process_may_deliver = log_is_shared && !config.read_models.has_one_owner();
    let accepts = config.roles.has(Role::CommandApi) && another_process_may_deliver;
    if !delivers && !accepts {
        return Ok(None);
    }
    let views = read_side.map(|read_side| &read_side.views);
    let keys = secret_keys(config).await?;
    let store = stores::open_webhooks(keys, &config.read_models, views, &config.data_dir)?;
    let guard = UrlGuard::new(config.webhooks_allow_private);
    let webhooks = Webhooks::new(store, Arc::clone(log), guard, clock.clone(), health.clone());
    if delivers && config.read_models.has_one_owner() {
        // The first time rewrites the file, which then must not be in use.
        webhooks.seal_secrets().await;
    }
    Ok(Some(webhooks))
}

/// The keys of the secrets of webhooks.
async fn secret_keys(config: &ServeConfig) -> Result<SecretKeys, StartError> {
    if let Some(path) = config.secrets_key_file.clone() {
        return Ok(spawn_blocking(move || SecretKeys::read(&path)).await??);
    }
    tracing::warn!(
        "The secrets of webhooks are stored in plain text; set ORDERLY_SECRETS_KEY_FILE to a file with the output of \
         `openssl rand -base64 32` to seal them"
    );
    Ok(SecretKeys::default())
}

/// The group, and the number of the source among those of this process.
async fn source(
    config: &ServeConfig,
    write_side: Option<&WriteSide>,
    store_id: Uuid,
    (group, number): (&str, usize),
    topics: &[Topic],
) -> Result<Box<dyn EventSource>, StartError> {
    match (&config.bus, write_side) {
        (BusUrl::Kafka(kafka), _) => {
            let options = KafkaSourceOptions {
                topics: topics.to_vec(),
                instance: config.instance.as_ref().map(|name| name.of_consumer(number)),
                ..KafkaSourceOptions::new(group, BATCH_EVENTS_MAX)
            };
            Ok(Box::new(KafkaSource::open(kafka.clone(), options, store_id).await?))
        }
        (BusUrl::Direct, Some(write_side)) => {
            Ok(Box::new(DirectSource::new(Arc::clone(&write_side.events.store), BATCH_EVENTS_MAX)))
        }
        (BusUrl::Direct, None) => unreachable!("a role that follows the event store has opened it"),
    }
}

/// Reads where partitions end. `None` if this process has no access to them.
pub(super) fn layout(config: &ServeConfig, log: Option<&Arc<dyn EventLog>>) -> Option<Arc<dyn SourceLayout>> {
    match &config.bus {
        BusUrl::Kafka(kafka) => Some(Arc::new(kafka.clone())),
        BusUrl::Direct => log.map(|log| stores::source_layout(&config.bus, log)),
    }
}

/// Pause between small batches of events. Each commit of the event store wakes its followers, so a pause lets
/// several commits share a batch. 0 with Kafka: webhooks get its partitions one after another, so their pauses would
/// add up, and projectors join what has arrived.
pub(super) fn batch_every(bus: &BusUrl) -> Duration {
    match bus {
        BusUrl::Direct => Duration::from_millis(10),
        BusUrl::Kafka(_) => Duration::ZERO,
    }
}

/// The payment provider of the roles that charge. `sandbox_address` is set if this process runs the sandbox.
pub(super) async fn payment_provider(
    config: &ServeConfig,
    sandbox_address: Option<SocketAddr>,
    clock: &Clock,
) -> Result<Option<Arc<dyn PaymentProvider>>, StartError> {
    if !config.roles.has(Role::CommandApi) && !config.roles.has(Role::ProcessManager) {
        return Ok(None);
    }
    match &config.provider.payment_provider {
        PaymentProviderUrl::None => Ok(None),
        PaymentProviderUrl::Sandbox => {
            let Some(address) = sandbox_address else { return Ok(None) };
            let secret = sandbox_secret(config).await?;
            Ok(Some(Arc::new(SandboxProvider::new(&url_to(address), secret))))
        }
        PaymentProviderUrl::SandboxAt(url) => {
            let secret = if let Some(SandboxSecret(secret)) = &config.provider.sandbox_secret {
                secret.clone()
            } else {
                let path = config.data_dir.join(SECRET_FILE);
                let read = spawn_blocking(move || secret_file::read(&path)).await??;
                read.ok_or(StartError::NoSandboxSecret)?
            };
            Ok(Some(Arc::new(SandboxProvider::new(url.as_str(), secret))))
        }
        PaymentProviderUrl::Stripe => match &config.stripe {
            Some(options) => Ok(Some(Arc::new(StripeProvider::new(options.clone(), clock.clone())?))),
            None => Ok(None),
        },
    }
}

/// Opens the sandbox. Its webhooks go to the command API of this process unless a setting names another.
pub(super) async fn sandbox(
    config: &ServeConfig,
    command_address: Option<SocketAddr>,
    clock: Clock,
) -> Result<Sandbox, StartError> {
    stores::make_data_dir(&config.data_dir)?;
    if config.edge.tls.is_some() && config.sandbox.webhook_url.is_none() {
        tracing::warn!(
            "The sandbox cannot encrypt, so it sends no webhooks to the command API: payments are looked up instead"
        );
    }
    let command_address = command_address.filter(|_| config.edge.tls.is_none());
    let to_this_process =
        || command_address.map(|address| format!("{}/v1/webhooks/{}", url_to(address), sandbox::NAME));
    let notice_url = config.sandbox.webhook_url.as_ref().map(|url| url.as_str().to_owned());
    let options = SandboxOptions {
        secret: sandbox_secret(config).await?,
        ledger: config.data_dir.join("sandbox.db"),
        script: config.sandbox.script,
        // Both URLs parse: the setting was checked, and the other is built from an address.
        notice_url: notice_url.or_else(to_this_process).and_then(|url| url.parse().ok()),
        clock,
    };
    Ok(spawn_blocking(move || Sandbox::open(options)).await??)
}

/// The secret from the settings, or else from the data directory. Makes the file if it is missing.
async fn sandbox_secret(config: &ServeConfig) -> Result<SigningSecret, StartError> {
    if let Some(SandboxSecret(secret)) = &config.provider.sandbox_secret {
        return Ok(secret.clone());
    }
    let path = config.data_dir.join(SECRET_FILE);
    Ok(spawn_blocking(move || secret_file::read_or_make(&path)).await??)
}

/// The URL of a server on this machine. A server that listens on every address is reached over loopback.
pub(crate) fn url_to(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

//! What the roles of a process work on. Only what they need is opened.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use command_api::WebhookAdmin;
use infra::{
    clock::Clock,
    event_source::{
        EventSource,
        direct::DirectSource,
        kafka::{self, KafkaSource},
        layout::{SourceLayout, WholeLog},
    },
    event_store::{
        EventLog, EventStore, ReadError,
        eventstoredb::{self, EventStoreDb, EventStoreDbLog},
        sqlite::{self, SqliteEventLog, SqliteEventStore},
    },
    kafka::Topic,
    operations::{Positions, postgres::PostgresOperations, sqlite::SqliteOperations, webhooks::Webhooks},
    payment_provider::{
        PaymentProvider,
        sandbox::{self, Sandbox, SandboxOptions, SandboxProvider, secret_file},
        stripe::StripeProvider,
    },
    postgres::Database,
    read_models::{
        Queries, ReadModels,
        postgres::{PostgresQueries, PostgresReadModels},
        sqlite::{SqliteQueries, SqliteReadModels},
    },
    signature::Secret,
    snapshots::SnapshotStore,
    webhooks::guard::Guard,
};
use query_api::LogAccess;
use tokio::{sync::Notify, task::spawn_blocking};
use uuid::Uuid;

use super::{ServeConfig, StartError};
use crate::config::{
    BusUrl, EventStoreUrl, PaymentProviderUrl, ReadModelsUrl, Role, SandboxSecret, stripe_options,
};

/// Events that a follower of the log takes in at a time.
const BATCH_EVENTS_MAX: usize = 2_000;
/// Projectors of one process, each with a share of the partitions. Postgres takes their commits side by side; a SQLite
/// file has one writer, and the log itself is one partition.
const PROJECTORS_WITH_POSTGRES: usize = 4;

/// What the sandbox shares with who asks it, in the data directory.
const SECRET_FILE: &str = "sandbox.secret";

/// The event store, for those who write to it or follow it as it grows.
pub(super) struct Writable {
    pub store: Arc<dyn EventStore>,
    pub snapshots: Arc<SnapshotStore>,
    /// Where this process owns it, and has to close it.
    pub owned: Option<Arc<SqliteEventStore>>,
}

/// The read side of the read models, and the write side where this process projects.
pub(super) struct Views {
    pub queries: Arc<dyn Queries>,
    pub models: Option<Arc<dyn ReadModels>>,
    database: Option<Database>,
}

impl Writable {
    /// None where no role of this process needs it.
    pub async fn open(config: &ServeConfig) -> Result<Option<Self>, StartError> {
        let followers = [Role::Projectors, Role::Webhooks];
        let follows_it =
            config.bus == BusUrl::Direct && followers.into_iter().any(|role| config.roles.has(role));
        let owners = [Role::CommandApi, Role::ProcessManager, Role::Relay];
        if !follows_it && !owners.into_iter().any(|role| config.roles.has(role)) {
            return Ok(None);
        }
        make_dir(&config.data_dir)?;
        let (store, owned): (Arc<dyn EventStore>, _) = match &config.event_store {
            EventStoreUrl::Sqlite(path) => {
                let path = path.clone();
                let opening =
                    spawn_blocking(move || SqliteEventStore::open(&path, sqlite::Options::default()));
                let store = Arc::new(opening.await??);
                (store.clone(), Some(store))
            }
            EventStoreUrl::EventStoreDb(server) => {
                let options = eventstoredb::Options::default();
                (Arc::new(EventStoreDb::open(*server.clone(), options).await?), None)
            }
        };
        let snapshots = SnapshotStore::open(&config.data_dir.join("snapshots"), store.store_id());
        let snapshots = snapshots.map_err(|source| unusable(&config.data_dir, source))?;
        Ok(Some(Self { store, snapshots: Arc::new(snapshots), owned }))
    }
}

/// The event log, for projectors that retry parked streams and for webhooks: the writable one where this process has it.
pub(super) async fn open_log(
    config: &ServeConfig,
    writable: Option<&Writable>,
) -> Result<Option<Arc<dyn EventLog>>, StartError> {
    if let Some(writable) = writable {
        return Ok(Some(writable.store.clone()));
    }
    if !config.roles.has(Role::Projectors) && !config.roles.has(Role::Webhooks) {
        return Ok(None);
    }
    open_read_only(&config.event_store).await.map(Some)
}

/// The event log, for timelines: the one that is open already, else opened when it is first asked for. The query API
/// serves its read models also where the event store cannot be reached.
pub(super) fn log_access(config: &ServeConfig, log: Option<&Arc<dyn EventLog>>) -> LogAccess {
    if let Some(log) = log {
        return LogAccess::of(Arc::clone(log));
    }
    let event_store = config.event_store.clone();
    LogAccess::opened_by(move || {
        let event_store = event_store.clone();
        async move {
            open_read_only(&event_store)
                .await
                .map_err(|error| ReadError::Unavailable(error.to_string().into()))
        }
    })
}

async fn open_read_only(event_store: &EventStoreUrl) -> Result<Arc<dyn EventLog>, StartError> {
    match event_store {
        EventStoreUrl::Sqlite(path) => {
            let path = path.clone();
            let log = spawn_blocking(move || SqliteEventLog::open_read_only(&path)).await??;
            Ok(Arc::new(log))
        }
        EventStoreUrl::EventStoreDb(server) => {
            let options = eventstoredb::Options::default();
            Ok(Arc::new(EventStoreDbLog::open_read_only(*server.clone(), options).await?))
        }
    }
}

impl Views {
    /// None where no role of this process needs them.
    pub async fn open(config: &ServeConfig) -> Result<Option<Self>, StartError> {
        let projects = config.roles.has(Role::Projectors);
        if !projects && !config.roles.has(Role::ProcessManager) && !config.roles.has(Role::QueryApi) {
            return Ok(None);
        }
        match &config.read_models {
            ReadModelsUrl::Sqlite(path) => {
                make_dir(&config.data_dir)?;
                let path = path.clone();
                spawn_blocking(move || Self::open_file(&path, projects)).await?.map(Some)
            }
            ReadModelsUrl::Postgres(options) => {
                let database = Database::connect(*options.clone()).await?;
                let models: Option<Arc<dyn ReadModels>> = if projects {
                    Some(Arc::new(PostgresReadModels::open(database.clone()).await?))
                } else {
                    None
                };
                let queries = Arc::new(PostgresQueries::open(database.clone()).await?);
                Ok(Some(Self { queries, models, database: Some(database) }))
            }
        }
    }

    fn open_file(path: &Path, projects: bool) -> Result<Self, StartError> {
        if !projects {
            let queries = Arc::new(SqliteQueries::open_read_only(path)?);
            return Ok(Self { queries, models: None, database: None });
        }
        let models = SqliteReadModels::open(path)?;
        Ok(Self { queries: Arc::new(models.queries()), models: Some(Arc::new(models)), database: None })
    }

    /// The process manager's positions: in the database of the read models, else in a file of the data directory.
    pub fn positions(&self, data_dir: &Path) -> Result<Arc<dyn Positions>, StartError> {
        match &self.database {
            Some(database) => Ok(Arc::new(PostgresOperations::new(database.clone()))),
            None => Ok(Arc::new(SqliteOperations::open(&data_dir.join("operations.db"))?)),
        }
    }
}

/// Where projectors take their events from, one source for each of them.
pub(super) async fn projector_sources(
    config: &ServeConfig,
    writable: Option<&Writable>,
    store_id: Uuid,
) -> Result<Vec<Box<dyn EventSource>>, StartError> {
    let (BusUrl::Kafka(_), ReadModelsUrl::Postgres(_)) = (&config.bus, &config.read_models) else {
        return Ok(vec![source(config, writable, store_id, "projectors", &Topic::ALL).await?]);
    };
    let mut sources = Vec::new();
    for _ in 0..PROJECTORS_WITH_POSTGRES {
        sources.push(source(config, writable, store_id, "projectors", &Topic::ALL).await?);
    }
    Ok(sources)
}

/// Where the process manager takes its events from. Nothing follows from an event of stock.
pub(super) fn process_manager_source<'a>(
    config: &'a ServeConfig,
    writable: &'a Writable,
) -> impl Future<Output = Result<Box<dyn EventSource>, StartError>> + 'a {
    let store_id = writable.store.store_id();
    source(config, Some(writable), store_id, "process-manager", &[Topic::Orders, Topic::Payments])
}

/// How that source divides the log.
pub(super) fn process_manager_layout(config: &ServeConfig, writable: &Writable) -> Arc<dyn SourceLayout> {
    match &config.bus {
        BusUrl::Kafka(kafka) => Arc::new(kafka.clone()),
        BusUrl::Direct => Arc::new(WholeLog(writable.store.clone())),
    }
}

/// Where webhooks take their events from. Nobody is told of stock.
pub(super) fn webhooks_source<'a>(
    config: &'a ServeConfig,
    writable: Option<&'a Writable>,
    store_id: Uuid,
) -> impl Future<Output = Result<Box<dyn EventSource>, StartError>> + 'a {
    source(config, writable, store_id, "webhooks", &[Topic::Orders, Topic::Payments])
}

/// Subscriptions and their deliveries, where this process takes or serves them. A command API that has nobody beside it
/// who could deliver takes none.
pub(super) fn webhooks(
    config: &ServeConfig,
    views: Option<&Views>,
) -> Result<Option<WebhookAdmin>, StartError> {
    let here = config.roles.has(Role::Webhooks);
    let followed_here =
        matches!(config.event_store, EventStoreUrl::Sqlite(_)) && config.bus == BusUrl::Direct;
    let store: Arc<dyn Webhooks> =
        match (&config.read_models, views.and_then(|views| views.database.as_ref())) {
            _ if !here && !config.roles.has(Role::CommandApi) => return Ok(None),
            (ReadModelsUrl::Postgres(_), _) if !here && followed_here => return Ok(None),
            (ReadModelsUrl::Sqlite(_), _) if !here => return Ok(None),
            (ReadModelsUrl::Postgres(_), Some(database)) => {
                Arc::new(PostgresOperations::new(database.clone()))
            }
            (ReadModelsUrl::Postgres(options), None) => {
                Arc::new(PostgresOperations::connecting_when_used(*options.clone()))
            }
            (ReadModelsUrl::Sqlite(_), _) => {
                Arc::new(SqliteOperations::open(&config.data_dir.join("operations.db"))?)
            }
        };
    let guard = Guard::new(config.webhooks_allow_private);
    Ok(Some(WebhookAdmin { store, guard, due: Arc::new(Notify::new()) }))
}

async fn source(
    config: &ServeConfig,
    writable: Option<&Writable>,
    store_id: Uuid,
    group: &str,
    topics: &[Topic],
) -> Result<Box<dyn EventSource>, StartError> {
    match (&config.bus, writable) {
        (BusUrl::Kafka(kafka), _) => {
            let options =
                kafka::Options { topics: topics.to_vec(), ..kafka::Options::new(group, BATCH_EVENTS_MAX) };
            Ok(Box::new(KafkaSource::open(kafka.clone(), options, store_id).await?))
        }
        (BusUrl::Direct, Some(writable)) => {
            Ok(Box::new(DirectSource::new(Arc::clone(&writable.store), BATCH_EVENTS_MAX)))
        }
        (BusUrl::Direct, None) => unreachable!("whoever follows the event store itself has opened it"),
    }
}

/// How the query API learns where partitions end; none where this process cannot look there.
pub(super) fn layout(config: &ServeConfig, log: Option<&Arc<dyn EventLog>>) -> Option<Arc<dyn SourceLayout>> {
    match &config.bus {
        BusUrl::Kafka(kafka) => Some(Arc::new(kafka.clone())),
        BusUrl::Direct => log.map(|log| -> Arc<dyn SourceLayout> { Arc::new(WholeLog(Arc::clone(log))) }),
    }
}

/// Who is asked for money by the roles of this process. `sandbox_address`: of the sandbox that it runs itself.
pub(super) async fn payment_provider(
    config: &ServeConfig,
    sandbox_address: Option<SocketAddr>,
) -> Result<Option<Arc<dyn PaymentProvider>>, StartError> {
    if !config.roles.has(Role::CommandApi) && !config.roles.has(Role::ProcessManager) {
        return Ok(None);
    }
    match &config.payment_provider {
        PaymentProviderUrl::None => Ok(None),
        PaymentProviderUrl::Sandbox => {
            let Some(address) = sandbox_address else { return Ok(None) };
            let secret = sandbox_secret(config).await?;
            Ok(Some(Arc::new(SandboxProvider::new(&url_to(address), secret))))
        }
        PaymentProviderUrl::SandboxAt(url) => {
            let secret = if let Some(SandboxSecret(secret)) = &config.sandbox.secret {
                secret.clone()
            } else {
                let path = config.data_dir.join(SECRET_FILE);
                let read = spawn_blocking(move || secret_file::read(&path)).await??;
                read.ok_or(StartError::NoSandboxSecret)?
            };
            Ok(Some(Arc::new(SandboxProvider::new(url.as_str(), secret))))
        }
        PaymentProviderUrl::Stripe => {
            let provider = StripeProvider::new(stripe_options()?, Clock::system())?;
            Ok(Some(Arc::new(provider)))
        }
    }
}

/// The sandbox, which tells the command API of this process what happens unless it is set to tell another.
pub(super) async fn sandbox(
    config: &ServeConfig,
    command_address: Option<SocketAddr>,
) -> Result<Sandbox, StartError> {
    let to_this_process =
        || command_address.map(|address| format!("{}/v1/webhooks/{}", url_to(address), sandbox::NAME));
    let webhook_url = config.sandbox.webhook_url.as_ref().map(|url| url.as_str().to_owned());
    let options = SandboxOptions {
        secret: sandbox_secret(config).await?,
        ledger: config.data_dir.join("sandbox.db"),
        script: config.sandbox.script,
        // Both are URLs: one was parsed as such, the other is made of an address.
        webhook_url: webhook_url.or_else(to_this_process).and_then(|url| url.parse().ok()),
        clock: Clock::system(),
    };
    Ok(spawn_blocking(move || Sandbox::open(options)).await??)
}

/// The one that is set, or else the one in the data directory.
async fn sandbox_secret(config: &ServeConfig) -> Result<Secret, StartError> {
    if let Some(SandboxSecret(secret)) = &config.sandbox.secret {
        return Ok(secret.clone());
    }
    make_dir(&config.data_dir)?;
    let path = config.data_dir.join(SECRET_FILE);
    Ok(spawn_blocking(move || secret_file::read_or_make(&path)).await??)
}

/// How a server of this machine is reached. One that listens on every address is reached on the machine's own.
fn url_to(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

fn make_dir(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path).map_err(|source| unusable(path, source))
}

fn unusable(path: &Path, source: std::io::Error) -> StartError {
    StartError::DataDir { path: path.to_owned(), source }
}

//! Opens the stores that the settings name. No other module turns a store URL into a store.
//!
//! Each `match` lists every kind of store, so a new kind does not compile before every function here opens
//! it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use backups::Sources;
use infra::{
    clock::Clock,
    event_source::layout::{SourceLayout, WholeLog},
    event_store::{
        EventLog, EventStore,
        eventstoredb::{EventStoreDb, EventStoreDbLog, EventStoreDbOpenError, EventStoreDbOptions},
        sqlite::{SqliteEventLog, SqliteEventStore, SqliteEventStoreOptions, SqliteOpenError},
    },
    health::Health,
    operations::{
        OperationsError, Positions, api_keys::ApiKeys, parked::ParkedReactions, postgres::PostgresOperations,
        reconciliations::Reconciliations, sqlite::SqliteOperations, webhooks::WebhookStore,
    },
    postgres::{Database, PostgresOptions},
    private_files,
    read_models::{
        OverdueQueries, ProjectionQueries, Queries, ReadModels,
        audit::{Audit, Rebuild},
        postgres::{PostgresQueries, PostgresReadModels, PostgresRebuild},
        sqlite::{SqliteQueries, SqliteReadModels, SqliteRebuild},
    },
    sealing::SecretKeys,
};
use projectors::replay::Workspace;
use tokio::task::spawn_blocking;

use crate::config::{BusUrl, EventStoreUrl, ReadModelsUrl};

/// Why a store cannot be opened. Each text names the store and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the directory {} (ORDERLY_DATA_DIR) cannot be used: {source}", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error(transparent)]
    SqliteEventStore(#[from] SqliteOpenError),
    #[error(transparent)]
    EventStoreDb(#[from] EventStoreDbOpenError),
    #[error(transparent)]
    SqliteReadModels(#[from] infra::read_models::sqlite::ReadModelsOpenError),
    #[error("ORDERLY_READ_MODELS: {0}")]
    Postgres(#[from] infra::postgres::PostgresOpenError),
    #[error("ORDERLY_READ_MODELS_REPLICA: {0}")]
    Replica(infra::postgres::PostgresOpenError),
    #[error("the operational state cannot be opened: {0}")]
    Operations(#[from] OperationsError),
    #[error("a task that opens a store has failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// An event store that this process may write to.
#[derive(Clone)]
pub struct WritableEventStore {
    pub store: Arc<dyn EventStore>,
    /// Set for a store that this process owns and has to close.
    owned: Option<Arc<SqliteEventStore>>,
}

impl fmt::Debug for WritableEventStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WritableEventStore").field("owned", &self.owned).finish_non_exhaustive()
    }
}

impl WritableEventStore {
    /// `clock` gives an embedded store the times of new events. A server has its own, and its connections report
    /// to `health`.
    pub async fn open(url: &EventStoreUrl, clock: Clock, health: &Health) -> Result<Self, StoreError> {
        match url {
            EventStoreUrl::Sqlite(path) => {
                let path = path.clone();
                let options = SqliteEventStoreOptions { clock, ..Default::default() };
                let opening = spawn_blocking(move || SqliteEventStore::open(&path, options));
                let store = Arc::new(opening.await??);
                Ok(Self { store: store.clone(), owned: Some(store) })
            }
            EventStoreUrl::EventStoreDb(server) => {
                let options = EventStoreDbOptions { health: health.clone(), ..Default::default() };
                let store = EventStoreDb::open(*server.clone(), options).await?;
                Ok(Self { store: Arc::new(store), owned: None })
            }
        }
    }

    /// Looks for damaged events in an embedded store, beside the other work. A server checks its own files.
    pub fn check_in_background(&self, health: &Health) {
        if let Some(store) = &self.owned {
            store.check_in_background(health.clone());
        }
    }

    /// Waits until an embedded store has written everything and released its file. Does nothing for a server.
    pub async fn close(self) {
        if let Some(store) = self.owned {
            // The store has logged a panic of its writer already.
            let _ = spawn_blocking(move || store.close()).await;
        }
    }
}

/// [`open_log_of_role`] for a command, which has no `/readyz`.
pub async fn open_log(url: &EventStoreUrl) -> Result<Arc<dyn EventLog>, StoreError> {
    open_log_of_role(url, &Health::default()).await
}

/// Opens the event log to read it. Works beside a server that owns the store. Connections to an event store on
/// another machine report to `health`.
pub async fn open_log_of_role(url: &EventStoreUrl, health: &Health) -> Result<Arc<dyn EventLog>, StoreError> {
    match url {
        EventStoreUrl::Sqlite(path) => {
            let path = path.clone();
            let log = spawn_blocking(move || SqliteEventLog::open_read_only(&path)).await??;
            Ok(Arc::new(log))
        }
        EventStoreUrl::EventStoreDb(server) => {
            let options = EventStoreDbOptions { health: health.clone(), ..Default::default() };
            Ok(Arc::new(EventStoreDbLog::open_read_only(*server.clone(), options).await?))
        }
    }
}

/// How the bus divides the log into partitions.
pub fn source_layout(bus: &BusUrl, log: &Arc<dyn EventLog>) -> Arc<dyn SourceLayout> {
    match bus {
        BusUrl::Direct => Arc::new(WholeLog(Arc::clone(log))),
        BusUrl::Kafka(kafka) => Arc::new(kafka.clone()),
    }
}

/// The read models, open to read.
#[derive(Clone)]
pub struct Views {
    /// For the query API.
    pub queries: Arc<dyn Queries>,
    /// For the process manager.
    pub overdue: Arc<dyn OverdueQueries>,
    /// For commands of operators.
    pub projections: Arc<dyn ProjectionQueries>,
    pub audit: Arc<dyn Audit>,
    operations: OperationsPlace,
}

/// The read models, open to read and to write.
pub struct WritableViews {
    pub views: Views,
    pub models: Arc<dyn ReadModels>,
}

/// Where operational state is kept beside these read models.
#[derive(Clone)]
enum OperationsPlace {
    DataDir,
    /// In the database of these read models.
    Database(Arc<PostgresQueries>),
}

impl Views {
    pub async fn open(url: &ReadModelsUrl) -> Result<Self, StoreError> {
        match url {
            ReadModelsUrl::Sqlite(path) => {
                let path = path.clone();
                let queries = spawn_blocking(move || SqliteQueries::open_read_only(&path)).await??;
                Ok(Self::in_file(queries))
            }
            ReadModelsUrl::Postgres(options) => {
                Self::in_database(Database::connect(*options.clone()).await?).await
            }
        }
    }

    fn in_file(queries: SqliteQueries) -> Self {
        Self::over(Arc::new(queries), OperationsPlace::DataDir)
    }

    async fn in_database(database: Database) -> Result<Self, StoreError> {
        let queries = Arc::new(PostgresQueries::open(database).await?);
        Ok(Self::over(Arc::clone(&queries), OperationsPlace::Database(queries)))
    }

    /// Lets the query API read from a replica of the database. Other parts read what was just written, so they stay
    /// with the database.
    pub async fn with_replica(self, options: &PostgresOptions) -> Result<Self, StoreError> {
        let OperationsPlace::Database(primary) = &self.operations else { return Ok(self) };
        let replica = Database::connect_to_replica(options.clone()).await.map_err(StoreError::Replica)?;
        let queries = Arc::new(primary.reading_from(replica).await.map_err(StoreError::Replica)?);
        Ok(Self { queries, ..self })
    }

    fn over<Q>(queries: Arc<Q>, operations: OperationsPlace) -> Self
    where
        Q: Queries + OverdueQueries + Audit,
    {
        Self {
            queries: queries.clone(),
            overdue: queries.clone(),
            projections: queries.clone(),
            audit: queries,
            operations,
        }
    }
}

impl WritableViews {
    /// Creates the read models if they are missing.
    pub async fn open(url: &ReadModelsUrl) -> Result<Self, StoreError> {
        match url {
            ReadModelsUrl::Sqlite(path) => {
                let path = path.clone();
                let models = spawn_blocking(move || SqliteReadModels::open(&path)).await??;
                Ok(Self { views: Views::in_file(models.queries()), models: Arc::new(models) })
            }
            ReadModelsUrl::Postgres(options) => {
                let database = Database::connect(*options.clone()).await?;
                let models = Arc::new(PostgresReadModels::open(database.clone()).await?);
                Ok(Self { views: Views::in_database(database).await?, models })
            }
        }
    }
}

/// Opens the read models for a rebuild, which replaces them. Also accepts read models that are
/// damaged or have another schema version.
pub async fn open_rebuild(url: &ReadModelsUrl) -> Result<Box<dyn Rebuild>, StoreError> {
    match url {
        ReadModelsUrl::Sqlite(path) => Ok(Box::new(SqliteRebuild::new(path))),
        ReadModelsUrl::Postgres(options) => {
            Ok(Box::new(PostgresRebuild::new(Database::connect(*options.clone()).await?)))
        }
    }
}

/// Where a rebuild and a verification sort: beside an embedded file of read models, else in the directory for
/// temporary files.
pub fn workspace(url: &ReadModelsUrl) -> Workspace {
    let beside = match url {
        ReadModelsUrl::Sqlite(path) => path.parent().filter(|parent| !parent.as_os_str().is_empty()),
        ReadModelsUrl::Postgres(_) => None,
    };
    Workspace::new(beside.map_or_else(std::env::temp_dir, Path::to_owned))
}

/// The ports of the operational state, over one store.
#[derive(Clone)]
pub struct Operations {
    pub positions: Arc<dyn Positions>,
    pub parked: Arc<dyn ParkedReactions>,
    pub webhooks: Arc<dyn WebhookStore>,
    pub api_keys: Arc<dyn ApiKeys>,
    pub reconciliations: Arc<dyn Reconciliations>,
}

impl Operations {
    fn over(store: Arc<impl Positions + ParkedReactions + WebhookStore + ApiKeys + Reconciliations>) -> Self {
        Self {
            positions: store.clone(),
            parked: store.clone(),
            webhooks: store.clone(),
            api_keys: store.clone(),
            reconciliations: store,
        }
    }
}

/// Opens the operational state without the keys of secrets. Shares the database of `views` if the process has it
/// open; otherwise connects at the first use, so a command API starts while Postgres is down.
pub fn open_operations(
    read_models: &ReadModelsUrl,
    views: Option<&Views>,
    data_dir: &Path,
) -> Result<Operations, StoreError> {
    open_operations_with(SecretKeys::default(), read_models, views, data_dir)
}

/// Opens the webhooks of the operational state, as [`open_operations`] does.
pub fn open_webhooks(
    keys: SecretKeys,
    read_models: &ReadModelsUrl,
    views: Option<&Views>,
    data_dir: &Path,
) -> Result<Arc<dyn WebhookStore>, StoreError> {
    Ok(open_operations_with(keys, read_models, views, data_dir)?.webhooks)
}

fn open_operations_with(
    keys: SecretKeys,
    read_models: &ReadModelsUrl,
    views: Option<&Views>,
    data_dir: &Path,
) -> Result<Operations, StoreError> {
    match read_models {
        ReadModelsUrl::Sqlite(_) => {
            let store = SqliteOperations::open(&data_dir.join("operations.db"))?;
            Ok(Operations::over(Arc::new(store.with_secret_keys(keys))))
        }
        ReadModelsUrl::Postgres(options) => {
            let store = match views.map(|views| &views.operations) {
                Some(OperationsPlace::Database(queries)) => {
                    PostgresOperations::new(queries.database().clone())
                }
                Some(OperationsPlace::DataDir) | None => {
                    PostgresOperations::connecting_when_used(*options.clone())
                }
            };
            Ok(Operations::over(Arc::new(store.with_secret_keys(keys))))
        }
    }
}

/// What these stores keep in files of this machine and cannot rebuild, and what else belongs to the installation.
pub fn backup_sources(event_store: &EventStoreUrl, read_models: &ReadModelsUrl, data_dir: &Path) -> Sources {
    let mut elsewhere = Vec::new();
    let log = match event_store {
        EventStoreUrl::Sqlite(path) => Some(path.clone()),
        EventStoreUrl::EventStoreDb(_) => {
            elsewhere.push(
                "ORDERLY_EVENT_STORE is an EventStoreDB server: back it up with its own tools, after this backup"
                    .to_owned(),
            );
            None
        }
    };
    let operations = match read_models {
        ReadModelsUrl::Sqlite(_) => Some(data_dir.join("operations.db")),
        ReadModelsUrl::Postgres(_) => {
            elsewhere.push(
                "ORDERLY_READ_MODELS is a Postgres database: back up its schema `orderly` with pg_dump, before the event \
                 store"
                    .to_owned(),
            );
            None
        }
    };
    Sources { log, operations, data_dir: data_dir.to_owned(), elsewhere }
}

/// Creates the directory if it is missing, and closes it to other users.
pub fn make_data_dir(path: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(path).map_err(|source| data_dir_error(path, source))?;
    private_files::restrict(path);
    Ok(())
}

pub fn data_dir_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::DataDir { path: path.to_owned(), source }
}

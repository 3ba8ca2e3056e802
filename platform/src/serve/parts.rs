//! What the roles of a process work on. Only what they need is opened.

use std::{future::Future, path::Path, sync::Arc};

use infra::{
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
    operations::{Positions, postgres::PostgresOperations, sqlite::SqliteOperations},
    postgres::Database,
    read_models::{
        Queries, ReadModels,
        postgres::{PostgresQueries, PostgresReadModels},
        sqlite::{SqliteQueries, SqliteReadModels},
    },
    snapshots::SnapshotStore,
};
use query_api::LogAccess;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{ServeConfig, StartError};
use crate::config::{BusUrl, EventStoreUrl, ReadModelsUrl, Role};

/// Events that a follower of the log takes in at a time.
const BATCH_EVENTS_MAX: usize = 2_000;
/// Projectors of one process, each with a share of the partitions. Postgres takes their commits side by side; a SQLite
/// file has one writer, and the log itself is one partition.
const PROJECTORS_WITH_POSTGRES: usize = 4;

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
        let follows_it = config.bus == BusUrl::Direct && config.roles.has(Role::Projectors);
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

/// The event log, for projectors that retry parked streams: the writable one where this process has it.
pub(super) async fn open_log(
    config: &ServeConfig,
    writable: Option<&Writable>,
) -> Result<Option<Arc<dyn EventLog>>, StartError> {
    if let Some(writable) = writable {
        return Ok(Some(writable.store.clone()));
    }
    if !config.roles.has(Role::Projectors) {
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

fn make_dir(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path).map_err(|source| unusable(path, source))
}

fn unusable(path: &Path, source: std::io::Error) -> StartError {
    StartError::DataDir { path: path.to_owned(), source }
}

//! The stores that commands look into, beside the servers that may be at work on them.

use std::sync::Arc;

use infra::{
    event_source::layout::{SourceLayout, WholeLog},
    event_store::{
        EventLog,
        eventstoredb::{self, EventStoreDbLog},
        sqlite::SqliteEventLog,
    },
    postgres::Database,
    read_models::{
        Queries, ReadModels,
        audit::{Audit, Rebuild},
        postgres::{PostgresQueries, PostgresReadModels, PostgresRebuild},
        sqlite::{SqliteQueries, SqliteReadModels, SqliteRebuild},
    },
};

use super::Failure;
use crate::config::{BusUrl, EventStoreUrl, ReadModelsUrl, Settings};

/// The event store, to read.
pub(super) async fn open_log(settings: &Settings) -> Result<Arc<dyn EventLog>, Failure> {
    match settings.event_store() {
        EventStoreUrl::Sqlite(path) => {
            let opening = tokio::task::spawn_blocking(move || SqliteEventLog::open_read_only(&path));
            Ok(Arc::new(opening.await??))
        }
        EventStoreUrl::EventStoreDb(server) => {
            let options = eventstoredb::Options::default();
            Ok(Arc::new(EventStoreDbLog::open_read_only(*server, options).await?))
        }
    }
}

/// How the source of the projectors divides the log.
pub(super) fn layout(settings: &Settings, log: &Arc<dyn EventLog>) -> Arc<dyn SourceLayout> {
    match &settings.bus {
        BusUrl::Direct => Arc::new(WholeLog(Arc::clone(log))),
        BusUrl::Kafka(kafka) => Arc::new(kafka.clone()),
    }
}

/// The read models, to read.
pub(super) struct Views {
    pub queries: Arc<dyn Queries>,
    pub rows: Arc<dyn Audit>,
}

pub(super) async fn open_views(settings: &Settings) -> Result<Views, Failure> {
    match settings.read_models() {
        ReadModelsUrl::Sqlite(path) => {
            let views = Arc::new(SqliteQueries::open_read_only(&path)?);
            Ok(Views { queries: views.clone(), rows: views })
        }
        ReadModelsUrl::Postgres(options) => {
            let views = Arc::new(PostgresQueries::open(Database::connect(*options).await?).await?);
            Ok(Views { queries: views.clone(), rows: views })
        }
    }
}

/// The read models, to write.
pub(super) async fn open_read_models(settings: &Settings) -> Result<Arc<dyn ReadModels>, Failure> {
    match settings.read_models() {
        ReadModelsUrl::Sqlite(path) => Ok(Arc::new(SqliteReadModels::open(&path)?)),
        ReadModelsUrl::Postgres(options) => {
            Ok(Arc::new(PostgresReadModels::open(Database::connect(*options).await?).await?))
        }
    }
}

/// The read models, to be made anew, whether or not what is there can be used.
pub(super) async fn open_rebuild(settings: &Settings) -> Result<Box<dyn Rebuild>, Failure> {
    match settings.read_models() {
        ReadModelsUrl::Sqlite(path) => Ok(Box::new(SqliteRebuild::new(&path))),
        ReadModelsUrl::Postgres(options) => {
            Ok(Box::new(PostgresRebuild::new(Database::connect(*options).await?)))
        }
    }
}

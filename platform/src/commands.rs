//! The commands of the binary besides `serve`.

pub mod audit;
pub mod backup;
pub mod bench;
pub mod import;
pub mod projections;

use std::{fmt, sync::Arc};

use infra::{
    event_store::{EventLog, sqlite::SqliteEventLog},
    read_models::sqlite::SqliteQueries,
};

use crate::config::{EventStoreUrl, ReadModelsUrl, Settings};

/// Why a command failed, for the person who gave it. Shown once, by `main`.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Not an [`std::error::Error`] itself, so that `?` turns every error into one.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Opens the event store to read, beside the server that may own it.
fn open_log(settings: &Settings) -> Result<Arc<dyn EventLog>, Failure> {
    match settings.event_store() {
        EventStoreUrl::Sqlite(path) => Ok(Arc::new(SqliteEventLog::open_read_only(&path)?)),
    }
}

/// Opens the read models to read, beside the server that may be writing them.
fn open_queries(settings: &Settings) -> Result<SqliteQueries, Failure> {
    let ReadModelsUrl::Sqlite(path) = settings.read_models();
    Ok(SqliteQueries::open_read_only(&path)?)
}

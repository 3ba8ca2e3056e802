//! Operational state in a SQLite file of its own.

mod parked;
mod webhooks;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use domain::Position;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{OperationsError, Positions};
use crate::{event_source::Partition, private_files};

const SCHEMA: &str = include_str!("../sql/sqlite/operations.sql");
/// Integer columns that the first version of a table did not have.
const LATER_COLUMNS: [(&str, &str); 3] = [
    ("webhook_subscriptions", "failing_since"),
    ("webhook_subscriptions", "behind_after"),
    ("webhook_subscriptions", "skipped_to"),
];

/// Implements [`Positions`], [`super::parked::ParkedReactions`] and [`super::webhooks::WebhookStore`]. Only changes of subscriptions wait for the
/// disk: a power cut may undo other writes, and then reactions and deliveries are repeated, which is
/// harmless.
#[derive(Debug, Clone)]
pub struct SqliteOperations {
    connection: Arc<Mutex<Connection>>,
}

impl SqliteOperations {
    /// Opens the file. Creates it if it does not exist.
    pub fn open(path: &Path) -> Result<Self, OperationsError> {
        let describe =
            |error: rusqlite::Error| OperationsError(format!("{}: {error}", path.display()).into());
        private_files::restrict_database(path);
        let connection = Connection::open(path).map_err(describe)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(describe)?;
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(describe)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.execute_batch(SCHEMA).map_err(describe)?;
        add_columns(&connection).map_err(describe)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    async fn with<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OperationsError> {
        let connection = Arc::clone(&self.connection);
        let running = tokio::task::spawn_blocking(move || {
            run(&connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match running.await {
            Ok(outcome) => outcome.map_err(|error| OperationsError(error.to_string().into())),
            Err(error) => Err(OperationsError(error.to_string().into())),
        }
    }
}

/// Adds the columns that a file of an earlier build lacks.
fn add_columns(connection: &Connection) -> rusqlite::Result<()> {
    const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2)";
    for (table, column) in LATER_COLUMNS {
        if !connection.query_row(EXISTS, params![table, column], |row| row.get::<_, bool>(0))? {
            connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} INTEGER"))?;
        }
    }
    Ok(())
}

#[async_trait]
impl Positions for SqliteOperations {
    async fn load(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
    ) -> Result<Option<Position>, OperationsError> {
        const SELECT: &str =
            "SELECT position FROM reactor_positions WHERE reactor = ?1 AND store_id = ?2 AND partition = ?3";
        let key = (reactor.to_owned(), store_id, partition.0.clone());
        let position = self.with(move |connection| {
            connection.query_row(SELECT, params![key.0, key.1, key.2], |row| row.get::<_, i64>(0)).optional()
        });
        Ok(position.await?.and_then(|position| Position::try_from(position).ok()))
    }

    async fn save(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
        position: Position,
    ) -> Result<(), OperationsError> {
        const UPSERT: &str = "INSERT INTO reactor_positions (reactor, store_id, partition, position)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (reactor, partition) DO UPDATE SET store_id = ?2, position = ?4";
        let key = (reactor.to_owned(), store_id, partition.0.clone());
        let position = i64::try_from(position).map_err(|error| OperationsError(error.to_string().into()))?;
        self.with(move |connection| connection.execute(UPSERT, params![key.0, key.1, key.2, position]))
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_position_survives_a_restart_and_belongs_to_one_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operations.db");
        let (log, partition) = (Uuid::from_u128(1), Partition::whole_log());
        let operations = SqliteOperations::open(&path).unwrap();
        assert_eq!(operations.load("pm", log, &partition).await.unwrap(), None);
        operations.save("pm", log, &partition, 7).await.unwrap();
        operations.save("pm", log, &partition, 9).await.unwrap();
        drop(operations);

        let reopened = SqliteOperations::open(&path).unwrap();
        assert_eq!(reopened.load("pm", log, &partition).await.unwrap(), Some(9));
        assert_eq!(reopened.load("pm", Uuid::from_u128(2), &partition).await.unwrap(), None);
        assert_eq!(reopened.load("other", log, &partition).await.unwrap(), None);
    }
}

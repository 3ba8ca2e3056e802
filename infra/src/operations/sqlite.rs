//! Operational state in a SQLite file of its own.

mod api_keys;
mod parked;
mod reconciliations;
mod webhooks;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use domain::Position;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{OperationsError, Positions, SavedPosition, webhooks::rules::REPLACE_CURSOR_OF_ANOTHER_LOG};
use crate::{
    event_source::{Partition, Reached},
    event_store::EventMark,
    private_files,
    sealing::SecretKeys,
    sqlite::Worker,
};

/// Size that the file of the write-ahead log keeps, for example after a backup: 16 MiB.
const LOG_BYTES_KEPT: i64 = 16 << 20;
const SCHEMA: &str = include_str!("../sql/sqlite/operations.sql");
/// Columns that the first version of a table did not have: table, name, type.
const LATER_COLUMNS: [(&str, &str, &str); 5] = [
    ("webhook_subscriptions", "failing_since", "INTEGER"),
    ("webhook_subscriptions", "behind_after", "INTEGER"),
    ("webhook_subscriptions", "skipped_to", "INTEGER"),
    ("reactor_positions", "last_event", "TEXT"),
    ("webhook_deliveries", "actor", "TEXT"),
];

/// Implements [`Positions`], [`super::parked::ParkedReactions`], [`super::webhooks::WebhookStore`],
/// [`super::api_keys::ApiKeys`] and [`super::reconciliations::Reconciliations`]. Only changes of subscriptions and keys,
/// and comparisons, wait for the disk: a power cut may undo other writes, and then reactions and deliveries are repeated, which is
/// harmless.
#[derive(Debug, Clone)]
pub struct SqliteOperations {
    worker: Arc<Worker<Connection>>,
    /// Of the secrets of webhooks.
    secret_keys: SecretKeys,
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
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT).map_err(describe)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.execute_batch(SCHEMA).map_err(describe)?;
        add_columns(&connection).map_err(describe)?;
        let worker = Worker::start("operations", connection)
            .map_err(|error| OperationsError(format!("a thread cannot be started: {error}").into()))?;
        Ok(Self { worker: Arc::new(worker), secret_keys: SecretKeys::default() })
    }

    /// Seals the secrets that it stores from now on, and opens those under one of these keys.
    #[must_use]
    pub fn with_secret_keys(self, secret_keys: SecretKeys) -> Self {
        Self { secret_keys, ..self }
    }

    async fn with<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OperationsError> {
        match self.worker.run(|connection| run(connection)).await {
            Some(outcome) => outcome.map_err(|error| OperationsError(error.to_string().into())),
            None => Err(OperationsError("the work on the operational state has panicked".into())),
        }
    }
}

/// Adds the columns that a file of an earlier build lacks.
fn add_columns(connection: &Connection) -> rusqlite::Result<()> {
    const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2)";
    for (table, column, column_type) in LATER_COLUMNS {
        if !connection.query_row(EXISTS, params![table, column], |row| row.get::<_, bool>(0))? {
            connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {column_type}"))?;
        }
    }
    Ok(())
}

/// Reads a position and the mark in the column after it.
fn reached(row: &Row<'_>, column: usize) -> rusqlite::Result<Reached> {
    let last_event: Option<String> = row.get(column + 1)?;
    Ok(Reached {
        position: row.get::<_, i64>(column)?.cast_unsigned(),
        last_event: last_event.as_deref().and_then(EventMark::from_json),
    })
}

/// Moves a position on from `known`. False if the stored position is another one.
fn move_position(
    connection: &Connection,
    reactor: &str,
    store_id: Uuid,
    partition: &Partition,
    known: Option<Position>,
    reached: &Reached,
) -> rusqlite::Result<bool> {
    const MOVE: &str = "UPDATE reactor_positions SET position = ?4, last_event = ?5
         WHERE reactor = ?1 AND partition = ?2 AND store_id = ?3 AND position = ?6";
    let position = reached.position.cast_signed();
    let last_event = reached.last_event.as_ref().map(EventMark::to_json);
    let moved = if let Some(known) = known {
        let values = params![reactor, partition.0, store_id, position, last_event, known.cast_signed()];
        connection.execute(MOVE, values)?
    } else {
        let begin = format!(
            "INSERT INTO reactor_positions (reactor, partition, store_id, position, last_event)
             VALUES (?1, ?2, ?3, ?4, ?5) {REPLACE_CURSOR_OF_ANOTHER_LOG}"
        );
        connection.execute(&begin, params![reactor, partition.0, store_id, position, last_event])?
    };
    Ok(moved == 1)
}

#[async_trait]
impl Positions for SqliteOperations {
    async fn load(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
    ) -> Result<Option<Reached>, OperationsError> {
        const SELECT: &str = "SELECT position, last_event FROM reactor_positions
             WHERE reactor = ?1 AND store_id = ?2 AND partition = ?3";
        let key = (reactor.to_owned(), store_id, partition.0.clone());
        self.with(move |connection| {
            connection.query_row(SELECT, params![key.0, key.1, key.2], |row| reached(row, 0)).optional()
        })
        .await
    }

    async fn save(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
        known: Option<Position>,
        reached: &Reached,
    ) -> Result<bool, OperationsError> {
        let (reactor, partition, reached) = (reactor.to_owned(), partition.clone(), reached.clone());
        self.with(move |connection| {
            move_position(connection, &reactor, store_id, &partition, known, &reached)
        })
        .await
    }

    async fn saved(&self, store_id: Uuid) -> Result<Vec<SavedPosition>, OperationsError> {
        const SELECT: &str = "SELECT reactor, partition, position, last_event FROM reactor_positions
             WHERE store_id = ?1 ORDER BY reactor, partition";
        self.with(move |connection| {
            let saved = |row: &Row<'_>| {
                let (reactor, partition) = (row.get(0)?, Partition(row.get(1)?));
                Ok(SavedPosition { reactor, partition, reached: reached(row, 2)? })
            };
            connection.prepare(SELECT)?.query_map([store_id], saved)?.collect()
        })
        .await
    }

    async fn forget(&self, reactor: &str, partition: &Partition) -> Result<(), OperationsError> {
        const DELETE: &str = "DELETE FROM reactor_positions WHERE reactor = ?1 AND partition = ?2";
        let key = (reactor.to_owned(), partition.0.clone());
        self.with(move |connection| connection.execute(DELETE, params![key.0, key.1])).await.map(drop)
    }
}

//! Operational state in the Postgres database of the read models. A rebuild of the read models does not touch
//! it.

mod api_keys;
mod parked;
mod reconciliations;
mod webhooks;

use std::sync::Arc;

use async_trait::async_trait;
use deadpool_postgres::GenericClient;
use domain::Position;
use postgres_types::ToSql;
use tokio::sync::OnceCell;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{OperationsError, Positions, SavedPosition, webhooks::rules::REPLACE_CURSOR_OF_ANOTHER_LOG};
use crate::{
    event_source::{Partition, Reached},
    event_store::EventMark,
    postgres::{Database, Fault, PostgresOptions},
    sealing::SecretKeys,
};

/// Implements [`Positions`], [`super::parked::ParkedReactions`], [`super::webhooks::WebhookStore`],
/// [`super::api_keys::ApiKeys`] and [`super::reconciliations::Reconciliations`]. A crash of the server may undo a position.
/// Then reactions and deliveries are repeated, which is harmless.
#[derive(Debug, Clone)]
pub struct PostgresOperations {
    database: Arc<OnceCell<Database>>,
    /// The database to connect to at the first use.
    options: Option<Arc<PostgresOptions>>,
    /// Of the secrets of webhooks.
    secret_keys: SecretKeys,
}

impl PostgresOperations {
    pub fn new(database: Database) -> Self {
        let database = Arc::new(OnceCell::new_with(Some(database)));
        Self { database, options: None, secret_keys: SecretKeys::default() }
    }

    /// Connects at the first use, for a process that must start without the database.
    pub fn connecting_when_used(options: PostgresOptions) -> Self {
        let options = Some(Arc::new(options));
        Self { database: Arc::default(), options, secret_keys: SecretKeys::default() }
    }

    /// Seals the secrets that it stores from now on, and opens those under one of these keys.
    #[must_use]
    pub fn with_secret_keys(self, secret_keys: SecretKeys) -> Self {
        Self { secret_keys, ..self }
    }

    async fn database(&self) -> Result<&Database, OperationsError> {
        let connect = async || {
            let unset = || OperationsError("no database is configured".into());
            let options = self.options.as_deref().ok_or_else(unset)?;
            Database::connect(options.clone())
                .await
                .map_err(|error| OperationsError(error.to_string().into()))
        };
        self.database.get_or_try_init(connect).await
    }
}

/// Reads a position and the mark in the column after it.
fn reached(row: &Row, column: usize) -> Result<Reached, Fault> {
    let last_event: Option<&str> = row.try_get(column + 1)?;
    Ok(Reached {
        position: row.try_get::<_, i64>(column)?.cast_unsigned(),
        last_event: last_event.and_then(EventMark::from_json),
    })
}

/// Moves a position on from `known`. False if the stored position is another one.
async fn move_position(
    client: &impl GenericClient,
    reactor: &str,
    store_id: Uuid,
    partition: &Partition,
    known: Option<Position>,
    reached: &Reached,
) -> Result<bool, tokio_postgres::Error> {
    const MOVE: &str = "UPDATE reactor_positions SET position = $4, last_event = $5
         WHERE reactor = $1 AND partition = $2 AND store_id = $3 AND position = $6";
    let begin = format!(
        "INSERT INTO reactor_positions (reactor, partition, store_id, position, last_event)
         VALUES ($1, $2, $3, $4, $5) {REPLACE_CURSOR_OF_ANOTHER_LOG}"
    );
    let position = reached.position.cast_signed();
    let last_event = reached.last_event.as_ref().map(EventMark::to_json);
    let known = known.map(Position::cast_signed);
    let mut values: Vec<&(dyn ToSql + Sync)> =
        vec![&reactor, &partition.0, &store_id, &position, &last_event];
    let moved = if let Some(known) = &known {
        values.push(known);
        client.execute(&client.prepare_cached(MOVE).await?, &values).await?
    } else {
        client.execute(&client.prepare_cached(&begin).await?, &values).await?
    };
    Ok(moved == 1)
}

#[async_trait]
impl Positions for PostgresOperations {
    async fn load(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
    ) -> Result<Option<Reached>, OperationsError> {
        const SELECT: &str = "SELECT position, last_event FROM reactor_positions
             WHERE reactor = $1 AND partition = $2 AND store_id = $3";
        let select = async |client: &mut deadpool_postgres::Object| {
            let statement = client.prepare_cached(SELECT).await?;
            let row = client.query_opt(&statement, &[&reactor, &partition.0, &store_id]).await?;
            row.map(|row| reached(&row, 0)).transpose()
        };
        Ok(self.database().await?.run(select).await?)
    }

    async fn save(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
        known: Option<Position>,
        reached: &Reached,
    ) -> Result<bool, OperationsError> {
        let save = async |client: &mut deadpool_postgres::Object| {
            Ok::<_, Fault>(move_position(&*client, reactor, store_id, partition, known, reached).await?)
        };
        Ok(self.database().await?.run(save).await?)
    }

    async fn saved(&self, store_id: Uuid) -> Result<Vec<SavedPosition>, OperationsError> {
        const SELECT: &str = "SELECT reactor, partition, position, last_event FROM reactor_positions
             WHERE store_id = $1 ORDER BY reactor, partition";
        let select = async |client: &mut deadpool_postgres::Object| {
            let saved = |row: &Row| {
                let (reactor, partition) = (row.try_get(0)?, Partition(row.try_get(1)?));
                Ok::<_, Fault>(SavedPosition { reactor, partition, reached: reached(row, 2)? })
            };
            client.query(SELECT, &[&store_id]).await?.iter().map(saved).collect::<Result<Vec<_>, _>>()
        };
        Ok(self.database().await?.run(select).await?)
    }

    async fn forget(&self, reactor: &str, partition: &Partition) -> Result<(), OperationsError> {
        const DELETE: &str = "DELETE FROM reactor_positions WHERE reactor = $1 AND partition = $2";
        let delete = async |client: &mut deadpool_postgres::Object| {
            client.execute(DELETE, &[&reactor, &partition.0]).await?;
            Ok::<_, Fault>(())
        };
        Ok(self.database().await?.run(delete).await?)
    }
}

impl From<Fault> for OperationsError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(text) | Fault::Corrupt(text) | Fault::Refused(text) => Self(text),
        }
    }
}

//! Operational state in the Postgres database of the read models. A rebuild of the read models does not touch
//! it.

mod parked;
mod webhooks;

use std::sync::Arc;

use async_trait::async_trait;
use domain::Position;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{OperationsError, Positions};
use crate::{
    event_source::Partition,
    postgres::{Database, Fault, PostgresOptions},
};

/// Implements [`Positions`], [`super::parked::ParkedReactions`] and [`super::webhooks::WebhookStore`]. A crash of the server may undo a position.
/// Then reactions and deliveries are repeated, which is harmless.
#[derive(Debug, Clone)]
pub struct PostgresOperations {
    database: Arc<OnceCell<Database>>,
    /// The database to connect to at the first use.
    options: Option<Arc<PostgresOptions>>,
}

impl PostgresOperations {
    pub fn new(database: Database) -> Self {
        Self { database: Arc::new(OnceCell::new_with(Some(database))), options: None }
    }

    /// Connects at the first use, for a process that must start without the database.
    pub fn connecting_when_used(options: PostgresOptions) -> Self {
        Self { database: Arc::default(), options: Some(Arc::new(options)) }
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

#[async_trait]
impl Positions for PostgresOperations {
    async fn load(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
    ) -> Result<Option<Position>, OperationsError> {
        const SELECT: &str = "SELECT position FROM reactor_positions
             WHERE reactor = $1 AND partition = $2 AND store_id = $3";
        let select = async |client: &mut deadpool_postgres::Object| {
            let statement = client.prepare_cached(SELECT).await?;
            let row = client.query_opt(&statement, &[&reactor, &partition.0, &store_id]).await?;
            row.map(|row| row.try_get::<_, i64>(0)).transpose().map_err(Fault::from)
        };
        Ok(self.database().await?.run(select).await?.map(i64::cast_unsigned))
    }

    async fn save(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
        position: Position,
    ) -> Result<(), OperationsError> {
        const UPSERT: &str = "INSERT INTO reactor_positions (reactor, partition, store_id, position)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (reactor, partition) DO UPDATE
             SET store_id = excluded.store_id, position = excluded.position";
        let position = position.cast_signed();
        let upsert = async |client: &mut deadpool_postgres::Object| {
            let statement = client.prepare_cached(UPSERT).await?;
            client.execute(&statement, &[&reactor, &partition.0, &store_id, &position]).await?;
            Ok::<_, Fault>(())
        };
        Ok(self.database().await?.run(upsert).await?)
    }
}

impl From<Fault> for OperationsError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(text) | Fault::Corrupt(text) | Fault::Refused(text) => Self(text),
        }
    }
}

//! All rows anew: copied in order into a schema of their own, indexed last, then put in the place of the old ones.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::Position;
use tokio::time::Instant;
use tokio_postgres::{Client, error::SqlState};

use super::{audit, copy, schema, write::CHANGES_CHANNEL};
use crate::{
    event_source::Partition,
    postgres::{Database, Fault},
    read_models::{
        ReadModelError,
        audit::{AllRows, Audit, Rebuild, Staged, Stored},
    },
};

/// Where rows wait, and where they go when others have taken their place.
const STAGED: &str = "orderly_rebuild";
const REPLACED: &str = "orderly_replaced";
/// Names the lock that keeps a second rebuild away; it ends with its connection.
const REBUILD_LOCK: i64 = 0x4f72_6465_726c_7902;
/// How long publishing waits for commits, or for a verification, of other processes.
const PUBLISH_PATIENCE: Duration = Duration::from_mins(1);
/// How long it makes commits wait meanwhile, and how long it then lets them pass.
const PUBLISH_ATTEMPT: &str = "SET LOCAL lock_timeout = '500ms'";
const PUBLISH_PAUSE: Duration = Duration::from_millis(500);

/// Makes the read models of a database anew, whether or not what is there now can be used.
#[derive(Debug, Clone)]
pub struct PostgresRebuild {
    database: Database,
}

impl PostgresRebuild {
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl Rebuild for PostgresRebuild {
    async fn stage(
        &self,
        positions: &[(Partition, Option<Position>)],
        rows: Arc<AllRows>,
    ) -> Result<Box<dyn Staged>, ReadModelError> {
        let mut client = self.database.session().await?;
        let locked = client.query_one("SELECT pg_try_advisory_lock($1)", &[&REBUILD_LOCK]).await?;
        if !locked.try_get::<_, bool>(0)? {
            return Err(ReadModelError::Unavailable(
                "another rebuild of these read models is under way".into(),
            ));
        }
        // Left over by a rebuild that was killed.
        drop_schemas(&client).await?;
        let transaction = client.transaction().await?;
        schema::create_tables(&transaction, STAGED).await?;
        copy::write_rows(&transaction, positions, &rows).await?;
        schema::create_indexes(&transaction).await?;
        transaction.commit().await?;
        Ok(Box::new(StagedSchema { database: self.database.clone(), client: Some(client) }))
    }
}

/// A finished schema beside the one in use.
#[derive(Debug)]
struct StagedSchema {
    database: Database,
    /// Holds the lock.
    client: Option<Client>,
}

#[async_trait]
impl Audit for StagedSchema {
    async fn stored(&self) -> Result<Stored, ReadModelError> {
        audit::stored(&self.database, STAGED).await
    }
}

#[async_trait]
impl Staged for StagedSchema {
    async fn publish(mut self: Box<Self>) -> Result<(), ReadModelError> {
        let Some(client) = &mut self.client else { return Ok(()) };
        let give_up = Instant::now() + PUBLISH_PATIENCE;
        while !swap(client).await? {
            if Instant::now() > give_up {
                return Err(ReadModelError::Unavailable("another process keeps the read models busy".into()));
            }
            tokio::time::sleep(PUBLISH_PAUSE).await;
        }
        if let Err(fault) = drop_schemas(client).await {
            // Queries that began before may still read it. The next rebuild drops it.
            tracing::warn!(error = ?fault, "The schema {REPLACED} of replaced read models is left behind");
        }
        // The server notices the end of a connection a moment later: a rebuild that follows at once shall not meet it.
        client.execute("SELECT pg_advisory_unlock($1)", &[&REBUILD_LOCK]).await?;
        self.client = None;
        Ok(())
    }
}

impl Drop for StagedSchema {
    fn drop(&mut self) {
        if let (Some(client), Ok(runtime)) = (self.client.take(), tokio::runtime::Handle::try_current()) {
            // The next rebuild does it, where the process ends before.
            runtime.spawn(async move { drop_schemas(&client).await });
        }
    }
}

async fn drop_schemas(client: &Client) -> Result<(), Fault> {
    let drop = format!("DROP SCHEMA IF EXISTS {STAGED} CASCADE; DROP SCHEMA IF EXISTS {REPLACED} CASCADE");
    Ok(client.batch_execute(&drop).await?)
}

/// False: somebody is at work on the rows, and has to be let finish.
async fn swap(client: &mut Client) -> Result<bool, ReadModelError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(PUBLISH_ATTEMPT).await?;
    let in_use = schema::IN_USE;
    let exist = "SELECT to_regnamespace($1) IS NOT NULL, to_regclass($1 || '.log') IS NOT NULL";
    let exist = transaction.query_one(exist, &[&in_use]).await?;
    if exist.try_get(1)? {
        // Whoever uses several tables in a transaction has read this one first.
        let lock = format!("LOCK TABLE {in_use}.log IN ACCESS EXCLUSIVE MODE");
        match transaction.batch_execute(&lock).await {
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => return Ok(false),
            locked => locked?,
        }
    }
    if exist.try_get(0)? {
        transaction.batch_execute(&format!("ALTER SCHEMA {in_use} RENAME TO {REPLACED}")).await?;
    }
    transaction.batch_execute(&format!("ALTER SCHEMA {STAGED} RENAME TO {in_use}")).await?;
    transaction.execute("SELECT pg_notify($1, '')", &[&CHANGES_CHANNEL]).await?;
    transaction.commit().await?;
    Ok(true)
}

//! Rebuilds: rows are copied in order into a new schema, indexed last, and the schema replaces the one in
//! use.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_postgres::{Client, error::SqlState};

use super::{CHANGES_CHANNEL, audit, copy_rows, ended_orders, projections, schema};
use crate::{
    postgres::{Database, Fault},
    read_models::{
        ReadModelError,
        audit::{Audit, Rebuild, RebuiltFrom, Staged, Staging, Stored},
        encoded::EncodedRows,
    },
};

/// The schema of rows that are not published yet.
const STAGED: &str = "orderly_rebuild";
/// The schema of rows that a rebuild has replaced.
const REPLACED: &str = "orderly_replaced";
/// The advisory lock that excludes a second rebuild. It ends with its connection.
const REBUILD_LOCK: i64 = 0x4f72_6465_726c_7902;
/// Time limit for publishing, which waits for the commits, or a verification, of other processes.
const PUBLISH_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest time for which one attempt to publish blocks commits.
const PUBLISH_ATTEMPT: &str = "SET LOCAL lock_timeout = '500ms'";
/// Pause between two attempts, in which commits continue.
const PUBLISH_PAUSE: Duration = Duration::from_millis(500);

/// Replaces the read models of a database, even those of another schema version.
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
    async fn begin(&self) -> Result<Box<dyn Staging>, ReadModelError> {
        let client = self.database.session().await?;
        let locked = client.query_one("SELECT pg_try_advisory_lock($1)", &[&REBUILD_LOCK]).await?;
        if !locked.try_get::<_, bool>(0)? {
            return Err(ReadModelError::Unavailable(
                "another rebuild of these read models is running; wait until it ends".into(),
            ));
        }
        // A killed rebuild leaves its schemas behind.
        drop_schemas(&client).await?;
        // One transaction creates and fills the tables, which lets COPY skip a second write of each page.
        client.batch_execute("BEGIN").await?;
        schema::create_tables(&client, STAGED).await?;
        Ok(Box::new(OpenSchema { database: self.database.clone(), client }))
    }
}

/// A schema that is being filled. Dropping it closes the connection, and so rolls back.
struct OpenSchema {
    database: Database,
    client: Client,
}

#[async_trait]
impl Staging for OpenSchema {
    async fn write(&mut self, rows: EncodedRows) -> Result<(), ReadModelError> {
        copy_rows(&self.client, &rows).await
    }

    async fn finish(self: Box<Self>, progress: RebuiltFrom) -> Result<Box<dyn Staged>, ReadModelError> {
        let Self { database, client } = *self;
        projections::copy(&client, &progress).await?;
        schema::create_indexes(&client).await?;
        ended_orders::mark_all(&client).await?;
        client.batch_execute("COMMIT").await?;
        Ok(Box::new(StagedSchema { database, client: Some(client) }))
    }
}

/// A finished schema beside the one in use.
#[derive(Debug)]
struct StagedSchema {
    database: Database,
    /// Holds the advisory lock. `None` once published.
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
        let give_up = Instant::now() + PUBLISH_TIMEOUT;
        while !swap(client).await? {
            if Instant::now() > give_up {
                return Err(ReadModelError::Unavailable(
                    "another process keeps the read models locked; try again".into(),
                ));
            }
            tokio::time::sleep(PUBLISH_PAUSE).await;
        }
        if let Err(fault) = drop_schemas(client).await {
            // Queries that began before may still read it.
            tracing::warn!(error = ?fault, "Cannot drop the schema {REPLACED}; the next rebuild drops it");
        }
        // The server releases the lock of a closed connection with a delay. Unlocking lets another rebuild
        // start at once.
        client.execute("SELECT pg_advisory_unlock($1)", &[&REBUILD_LOCK]).await?;
        self.client = None;
        Ok(())
    }
}

impl Drop for StagedSchema {
    fn drop(&mut self) {
        if let (Some(client), Ok(runtime)) = (self.client.take(), tokio::runtime::Handle::try_current()) {
            // If the process ends first, the next rebuild drops them.
            runtime.spawn(async move { drop_schemas(&client).await });
        }
    }
}

async fn drop_schemas(client: &Client) -> Result<(), Fault> {
    let drop = format!("DROP SCHEMA IF EXISTS {STAGED} CASCADE; DROP SCHEMA IF EXISTS {REPLACED} CASCADE");
    Ok(client.batch_execute(&drop).await?)
}

/// False if another transaction uses the rows. Let it finish and try again.
async fn swap(client: &mut Client) -> Result<bool, ReadModelError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(PUBLISH_ATTEMPT).await?;
    let in_use = schema::IN_USE;
    let exist = "SELECT to_regnamespace($1) IS NOT NULL, to_regclass($1 || '.log') IS NOT NULL";
    let exist = transaction.query_one(exist, &[&in_use]).await?;
    if exist.try_get(1)? {
        // Every transaction that uses several tables reads this one first.
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

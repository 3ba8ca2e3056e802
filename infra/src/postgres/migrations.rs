//! The tables that outlive rebuilds, brought to this program's version at start.

use tokio_postgres::{Client, Transaction};

use super::{Fault, OpenError};

/// In order, each once and never edited. The read models have no migrations: another schema is a rebuild.
const MIGRATIONS: &[&str] =
    &[include_str!("../sql/postgres/0001_begin.sql"), include_str!("../sql/postgres/0002_webhooks.sql")];

/// Names the lock under which anything in the database is made; "Orderly" and a number of our own.
const MAKING_LOCK: i64 = 0x004f_7264_6572_6c79;

/// Any number of processes may start at the same time: one migrates, the others wait for it.
pub(super) async fn migrate(client: &mut Client) -> Result<(), OpenError> {
    if applied(client).await? == MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(Fault::from)?;
    lock(&transaction).await?;
    create_table(&transaction).await?;
    let applied = applied(transaction.client()).await?;
    if applied > MIGRATIONS.len() {
        return Err(OpenError::Newer { found: applied, supported: MIGRATIONS.len() });
    }
    for (version, migration) in (1_i32..).zip(MIGRATIONS).skip(applied) {
        apply(&transaction, version, migration).await?;
    }
    Ok(transaction.commit().await.map_err(Fault::from)?)
}

/// Keeps other processes from making anything until the transaction ends.
pub(crate) async fn lock(transaction: &Transaction<'_>) -> Result<(), Fault> {
    // A migration of another process may take long.
    transaction.batch_execute("SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '60s'").await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MAKING_LOCK]).await?;
    // Which schemas there are is kept in memory, and what others have made meanwhile is only taken in with a lock on
    // some table.
    transaction.execute("SELECT count(*) FROM pg_namespace", &[]).await?;
    Ok(())
}

async fn create_table(transaction: &Transaction<'_>) -> Result<(), Fault> {
    const CREATE: &str = "
        CREATE SCHEMA IF NOT EXISTS orderly;
        CREATE TABLE IF NOT EXISTS orderly.migrations (
            version    integer PRIMARY KEY,
            applied_at timestamptz NOT NULL DEFAULT now()
        );
        SET LOCAL search_path = orderly";
    Ok(transaction.batch_execute(CREATE).await?)
}

async fn apply(transaction: &Transaction<'_>, version: i32, migration: &str) -> Result<(), Fault> {
    transaction.batch_execute(migration).await?;
    transaction.execute("INSERT INTO orderly.migrations (version) VALUES ($1)", &[&version]).await?;
    tracing::info!(migration = version, "The Postgres database is at this version of Orderly's tables");
    Ok(())
}

/// How many migrations the database has.
async fn applied(client: &Client) -> Result<usize, Fault> {
    let exists = client.query_one("SELECT to_regclass('orderly.migrations') IS NOT NULL", &[]).await?;
    if !exists.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let row = client.query_one("SELECT count(*) FROM orderly.migrations", &[]).await?;
    Ok(usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(usize::MAX))
}

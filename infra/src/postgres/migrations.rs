//! Migrations of the tables that rebuilds keep. They run at start.

use tokio_postgres::{Client, Transaction};

use super::{Fault, PostgresOpenError};

/// Applied in order, each once. Never edit one that was released. The read models have no migrations: a new
/// version of their schema needs a rebuild.
const MIGRATIONS: &[&str] = &[
    include_str!("../sql/postgres/0001_begin.sql"),
    include_str!("../sql/postgres/0002_webhooks.sql"),
    include_str!("../sql/postgres/0003_webhook_lanes.sql"),
    include_str!("../sql/postgres/0004_parked_reactions.sql"),
    include_str!("../sql/postgres/0005_event_marks.sql"),
    include_str!("../sql/postgres/0006_quarter_hours.sql"),
    include_str!("../sql/postgres/0007_api_keys.sql"),
];

/// The advisory lock under which tables are created: the bytes of "Orderly".
const CREATE_LOCK: i64 = 0x004f_7264_6572_6c79;

/// Several processes may start at once: one migrates, the others wait for it.
pub(super) async fn migrate(client: &mut Client) -> Result<(), PostgresOpenError> {
    if applied(client).await? == MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(Fault::from)?;
    lock(&transaction).await?;
    create_table(&transaction).await?;
    let found = applied(transaction.client()).await?;
    if found > MIGRATIONS.len() {
        return Err(PostgresOpenError::Newer { found, supported: MIGRATIONS.len() });
    }
    for (version, migration) in (1_i32..).zip(MIGRATIONS).skip(found) {
        apply(&transaction, version, migration).await?;
    }
    Ok(transaction.commit().await.map_err(Fault::from)?)
}

/// Takes the lock under which tables are created, until the transaction ends. Other processes wait.
pub(crate) async fn lock(transaction: &Transaction<'_>) -> Result<(), Fault> {
    // The migration of another process may take this long.
    transaction.batch_execute("SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '60s'").await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&CREATE_LOCK]).await?;
    // The session caches which schemas exist. A lock on a table makes the session drop that cache, so that
    // it finds schemas that other processes have created meanwhile.
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
    tracing::info!(migration = version, "Migrated the Postgres database");
    Ok(())
}

/// The number of migrations that the database has.
async fn applied(client: &Client) -> Result<usize, Fault> {
    let exists = client.query_one("SELECT to_regclass('orderly.migrations') IS NOT NULL", &[]).await?;
    if !exists.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let row = client.query_one("SELECT count(*) FROM orderly.migrations", &[]).await?;
    Ok(usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(usize::MAX))
}

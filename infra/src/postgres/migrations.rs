//! Migrations of the tables that rebuilds keep. They run at start.

use std::collections::HashSet;

use tokio_postgres::{Client, Transaction};

use super::{Fault, PostgresOpenError};

/// Changes that earlier builds cannot work with: they refuse a database with more of these than they know, so all
/// processes have to stop for one. Applied in order, each once. Never edit one that was released. The read models
/// have no migrations: a new version of their schema needs a rebuild.
const MIGRATIONS: &[&str] = &[
    include_str!("../sql/postgres/0001_begin.sql"),
    include_str!("../sql/postgres/0002_webhooks.sql"),
    include_str!("../sql/postgres/0003_webhook_lanes.sql"),
    include_str!("../sql/postgres/0004_parked_reactions.sql"),
    include_str!("../sql/postgres/0005_event_marks.sql"),
    include_str!("../sql/postgres/0006_quarter_hours.sql"),
];

/// Changes that earlier builds work with, because they only add tables, or columns that may be NULL. So a newer
/// process may start beside earlier ones. Applied in order after the migrations, each once. Never edit or rename one
/// that was released.
const ADDITIONS: &[(&str, &str)] = &[
    ("api_keys", include_str!("../sql/postgres/api_keys.sql")),
    ("reconciliations", include_str!("../sql/postgres/reconciliations.sql")),
];

/// The advisory lock under which tables are created: the bytes of "Orderly".
const CREATE_LOCK: i64 = 0x004f_7264_6572_6c79;

/// Several processes may start at once: one migrates, the others wait for it.
pub(super) async fn migrate(client: &mut Client) -> Result<(), PostgresOpenError> {
    if Applied::read(client).await?.is_complete() {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(Fault::from)?;
    lock(&transaction).await?;
    create_tables(&transaction).await?;
    let found = Applied::read(transaction.client()).await?;
    if found.migrations > MIGRATIONS.len() {
        return Err(PostgresOpenError::Newer { found: found.migrations, supported: MIGRATIONS.len() });
    }
    for (version, migration) in (1_i32..).zip(MIGRATIONS).skip(found.migrations) {
        apply_migration(&transaction, version, migration).await?;
    }
    for (name, addition) in ADDITIONS.iter().filter(|(name, _)| !found.additions.contains(*name)) {
        apply_addition(&transaction, name, addition).await?;
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

async fn create_tables(transaction: &Transaction<'_>) -> Result<(), Fault> {
    const CREATE: &str = "
        CREATE SCHEMA IF NOT EXISTS orderly;
        CREATE TABLE IF NOT EXISTS orderly.migrations (
            version    integer PRIMARY KEY,
            applied_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE TABLE IF NOT EXISTS orderly.additions (
            name       text        COLLATE \"C\" PRIMARY KEY,
            applied_at timestamptz NOT NULL DEFAULT now()
        );
        SET LOCAL search_path = orderly";
    Ok(transaction.batch_execute(CREATE).await?)
}

async fn apply_migration(transaction: &Transaction<'_>, version: i32, migration: &str) -> Result<(), Fault> {
    transaction.batch_execute(migration).await?;
    transaction.execute("INSERT INTO orderly.migrations (version) VALUES ($1)", &[&version]).await?;
    tracing::info!(migration = version, "Migrated the Postgres database");
    Ok(())
}

async fn apply_addition(transaction: &Transaction<'_>, name: &str, addition: &str) -> Result<(), Fault> {
    transaction.batch_execute(addition).await?;
    transaction.execute("INSERT INTO orderly.additions (name) VALUES ($1)", &[&name]).await?;
    tracing::info!(addition = name, "Added to the Postgres database");
    Ok(())
}

/// What the database has.
#[derive(Default)]
struct Applied {
    /// The number of migrations.
    migrations: usize,
    /// The names of additions, those of newer builds included.
    additions: HashSet<String>,
}

impl Applied {
    async fn read(client: &Client) -> Result<Self, Fault> {
        // Earlier builds made the first table alone.
        const TABLES: &str = "SELECT to_regclass('orderly.migrations') IS NOT NULL,
             to_regclass('orderly.additions') IS NOT NULL";
        let exist = client.query_one(TABLES, &[]).await?;
        let mut found = Self::default();
        if exist.try_get(0)? {
            let row = client.query_one("SELECT count(*) FROM orderly.migrations", &[]).await?;
            found.migrations = usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(usize::MAX);
        }
        if exist.try_get(1)? {
            let rows = client.query("SELECT name FROM orderly.additions", &[]).await?;
            found.additions = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        }
        Ok(found)
    }

    fn is_complete(&self) -> bool {
        let has_additions = ADDITIONS.iter().all(|(name, _)| self.additions.contains(*name));
        self.migrations == MIGRATIONS.len() && has_additions
    }
}

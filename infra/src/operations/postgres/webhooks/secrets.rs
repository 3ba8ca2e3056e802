//! Seals stored secrets, and removes what the table's file keeps of the earlier ones.

use deadpool_postgres::Object;
use tokio_postgres::GenericClient;

use super::{DURABLY, PostgresOperations, columns::cell};
use crate::{
    operations::{
        OperationsError,
        webhooks::{
            SubscriptionId,
            rules::{STORED_SECRETS, SealedAgain},
        },
    },
    postgres::Fault,
    sealing::SecretKeys,
};

pub(super) async fn seal(operations: &PostgresOperations) -> Result<usize, OperationsError> {
    let keys = &operations.secret_keys;
    if keys.is_empty() {
        return Ok(0);
    }
    Ok(operations.database().await?.run(async |client| seal_rows(client, keys).await).await?)
}

async fn seal_rows(client: &mut Object, keys: &SecretKeys) -> Result<usize, Fault> {
    // Before the rewrite, so that no transaction holds a lock that it would have to raise.
    const LOCK: &str = "LOCK TABLE webhook_subscriptions IN ACCESS EXCLUSIVE MODE";
    const UPDATE: &str = "UPDATE webhook_subscriptions
         SET secret = coalesce($2, secret), previous_secret = coalesce($3, previous_secret) WHERE id = $1";
    // The expression makes the server write the table anew, with the current rows only. VACUUM FULL keeps the old
    // versions of rows as long as any transaction of the server is older.
    const REWRITE: &str =
        "ALTER TABLE webhook_subscriptions ALTER COLUMN secret TYPE text USING secret || ''";
    if rows_to_seal(&***client, keys).await?.is_empty() {
        return Ok(0);
    }
    let transaction = client.transaction().await?;
    transaction.batch_execute(DURABLY).await?;
    transaction.batch_execute(LOCK).await?;
    let rows = rows_to_seal(&*transaction, keys).await?;
    for row in &rows {
        transaction.execute(UPDATE, &[&row.id.0, &row.secret, &row.previous]).await?;
    }
    transaction.batch_execute(REWRITE).await?;
    transaction.commit().await?;
    Ok(rows.len())
}

async fn rows_to_seal(client: &impl GenericClient, keys: &SecretKeys) -> Result<Vec<SealedAgain>, Fault> {
    let mut rows = Vec::new();
    for row in client.query(STORED_SECRETS, &[]).await? {
        let (secret, previous): (&str, Option<&str>) = (cell(&row, 1)?, cell(&row, 2)?);
        rows.extend(SealedAgain::new(SubscriptionId(cell(&row, 0)?), secret, previous, keys));
    }
    Ok(rows)
}

//! Seals stored secrets, and removes what the table's file keeps of plain ones.

use deadpool_postgres::Object;

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
    let database = operations.database().await?;
    let sealed = database.run(async |client| seal_rows(client, keys).await).await?;
    database.run(async |client| remove_plain_ones(client).await).await?;
    Ok(sealed)
}

async fn seal_rows(client: &mut Object, keys: &SecretKeys) -> Result<usize, Fault> {
    const UPDATE: &str = "UPDATE webhook_subscriptions
         SET secret = coalesce($2, secret), previous_secret = coalesce($3, previous_secret) WHERE id = $1";
    // A process that is killed before it removes the plain secrets leaves this to the next one.
    const HAD_PLAIN_SECRETS: &str = "COMMENT ON TABLE webhook_subscriptions IS 'had plain secrets'";
    let transaction = client.transaction().await?;
    transaction.batch_execute(DURABLY).await?;
    let mut rows = Vec::new();
    for row in transaction.query(&format!("{STORED_SECRETS} ORDER BY number FOR UPDATE"), &[]).await? {
        let (secret, previous): (&str, Option<&str>) = (cell(&row, 1)?, cell(&row, 2)?);
        rows.extend(SealedAgain::new(SubscriptionId(cell(&row, 0)?), secret, previous, keys));
    }
    for row in &rows {
        transaction.execute(UPDATE, &[&row.id.0, &row.secret, &row.previous]).await?;
    }
    if rows.iter().any(|row| row.was_plain) {
        transaction.batch_execute(HAD_PLAIN_SECRETS).await?;
    }
    transaction.commit().await?;
    Ok(rows.len())
}

/// Writes the table anew without its unused bytes. It has a row for each subscription, so that takes milliseconds.
/// The write-ahead log of the server keeps plain secrets until it is overwritten.
async fn remove_plain_ones(client: &mut Object) -> Result<(), Fault> {
    const HAD: &str = "SELECT obj_description('webhook_subscriptions'::regclass, 'pg_class') IS NOT NULL";
    if !cell::<bool>(&client.query_one(HAD, &[]).await?, 0)? {
        return Ok(());
    }
    client.batch_execute("VACUUM (FULL) webhook_subscriptions").await?;
    client.batch_execute("COMMENT ON TABLE webhook_subscriptions IS NULL").await?;
    Ok(())
}

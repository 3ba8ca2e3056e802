//! Seals stored secrets, and removes what the file keeps of plain ones.

use rusqlite::{Connection, Transaction, params};

use super::SqliteOperations;
use crate::{
    operations::{
        OperationsError,
        webhooks::{
            SubscriptionId,
            rules::{STORED_SECRETS, SealedAgain},
        },
    },
    sealing::SecretKeys,
};

/// The `user_version` of a file whose unused bytes may hold plain secrets. Written with the sealed ones, so a process
/// that is killed before it removes them leaves this to the next one.
const HAD_PLAIN_SECRETS: i64 = 1;

pub(super) async fn seal(operations: &SqliteOperations) -> Result<usize, OperationsError> {
    let keys = operations.secret_keys.clone();
    if keys.is_empty() {
        return Ok(0);
    }
    let sealed = operations.durably(move |transaction| seal_rows(transaction, &keys)).await?;
    operations.with(remove_plain_ones).await?;
    Ok(sealed)
}

fn seal_rows(transaction: &Transaction<'_>, keys: &SecretKeys) -> rusqlite::Result<usize> {
    const UPDATE: &str = "UPDATE webhook_subscriptions
         SET secret = coalesce(?2, secret), previous_secret = coalesce(?3, previous_secret) WHERE id = ?1";
    let mut rows = Vec::new();
    let mut statement = transaction.prepare(STORED_SECRETS)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let (secret, previous): (String, Option<String>) = (row.get(1)?, row.get(2)?);
        rows.extend(SealedAgain::new(SubscriptionId(row.get(0)?), &secret, previous.as_deref(), keys));
    }
    for row in &rows {
        transaction.execute(UPDATE, params![row.id.0, row.secret, row.previous])?;
    }
    if rows.iter().any(|row| row.was_plain) {
        transaction.pragma_update(None, "user_version", HAD_PLAIN_SECRETS)?;
    }
    Ok(rows.len())
}

/// Writes the file anew without its unused bytes, and empties the write-ahead log. Takes some seconds for each
/// gigabyte, once. Another connection that reads the log puts this off until the next call.
fn remove_plain_ones(connection: &Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version != HAD_PLAIN_SECRETS {
        return Ok(());
    }
    connection.execute_batch("VACUUM")?;
    let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy {
        return Ok(());
    }
    connection.pragma_update(None, "user_version", 0)
}

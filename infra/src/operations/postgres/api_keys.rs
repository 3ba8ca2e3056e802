//! API keys in the Postgres database of the read models.

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use domain::Timestamp;
use postgres_types::ToSql;
use tokio_postgres::Row;

use super::{
    PostgresOperations,
    webhooks::{
        DURABLY,
        columns::{cell, corrupt, optional_time, time},
    },
};
use crate::{
    auth::{
        Principal,
        api_key::{KeyId, SecretHash},
    },
    operations::{
        OperationsError,
        api_keys::{API_KEYS_MAX, AddKeyOutcome, ApiKey, ApiKeys, USE_WRITTEN_EVERY},
    },
    postgres::{Fault, Timestamptz},
};

const COLUMNS: &str = "id, principal, scopes, secret_hash, created_at, expires_at, revoked_at, last_used_at";

#[async_trait]
impl ApiKeys for PostgresOperations {
    async fn add(&self, key: &ApiKey) -> Result<AddKeyOutcome, OperationsError> {
        let add = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            transaction.batch_execute(DURABLY).await?;
            let outcome = insert(&transaction, key).await?;
            transaction.commit().await?;
            Ok::<_, Fault>(outcome)
        };
        Ok(self.database().await?.run(add).await?)
    }

    async fn replace(
        &self,
        id: &KeyId,
        until: Timestamp,
        successor: &ApiKey,
    ) -> Result<AddKeyOutcome, OperationsError> {
        const END: &str = "UPDATE api_keys SET expires_at = least(coalesce(expires_at, $2), $2)
             WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)";
        let replace = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            transaction.batch_execute(DURABLY).await?;
            let (until, now) = (Timestamptz::from(until), Timestamptz::from(successor.created_at));
            if transaction.execute(END, &[&id.to_string(), &until, &now]).await? == 0 {
                return Ok(AddKeyOutcome::NoSuchKey);
            }
            let outcome = insert(&transaction, successor).await?;
            if outcome == AddKeyOutcome::Added {
                transaction.commit().await?;
            }
            Ok::<_, Fault>(outcome)
        };
        Ok(self.database().await?.run(replace).await?)
    }

    async fn revoke(&self, id: &KeyId, now: Timestamp) -> Result<bool, OperationsError> {
        const REVOKE: &str = "UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
        let revoke = async |client: &mut Object| {
            let transaction = client.transaction().await?;
            transaction.batch_execute(DURABLY).await?;
            let revoked = transaction.execute(REVOKE, &[&id.to_string(), &Timestamptz::from(now)]).await?;
            transaction.commit().await?;
            Ok::<_, Fault>(revoked == 1)
        };
        Ok(self.database().await?.run(revoke).await?)
    }

    async fn keys(&self, valid_at: Option<Timestamp>) -> Result<Vec<ApiKey>, OperationsError> {
        let select = format!(
            "SELECT {COLUMNS} FROM api_keys WHERE $1::timestamptz IS NULL
                 OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1))
             ORDER BY created_at, id"
        );
        let valid_at = valid_at.map(Timestamptz::from);
        let read = async |client: &mut Object| {
            let statement = client.prepare_cached(&select).await?;
            let rows = client.query(&statement, &[&valid_at]).await?;
            rows.iter().map(key).collect::<Result<Vec<_>, Fault>>()
        };
        Ok(self.database().await?.run(read).await?)
    }

    async fn note_use(&self, id: &KeyId, now: Timestamp) -> Result<(), OperationsError> {
        const UPDATE: &str = "UPDATE api_keys SET last_used_at = $2
             WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)";
        let written_before = Timestamptz::from(now - USE_WRITTEN_EVERY);
        let update = async |client: &mut Object| {
            let values: [&(dyn ToSql + Sync); 3] =
                [&id.to_string(), &Timestamptz::from(now), &written_before];
            client.execute(UPDATE, &values).await.map_err(Fault::from)
        };
        self.database().await?.run(update).await?;
        Ok(())
    }
}

async fn insert(transaction: &Transaction<'_>, key: &ApiKey) -> Result<AddKeyOutcome, Fault> {
    const COUNT: &str = "SELECT count(*) FROM api_keys
         WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)";
    let created_at = Timestamptz::from(key.created_at);
    let valid: i64 = cell(&transaction.query_one(COUNT, &[&created_at]).await?, 0)?;
    if usize::try_from(valid).is_ok_and(|valid| valid >= API_KEYS_MAX) {
        return Ok(AddKeyOutcome::TooMany);
    }
    let insert = format!("INSERT INTO api_keys ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    let values: [&(dyn ToSql + Sync); 8] = [
        &key.id.to_string(),
        &key.principal.as_str(),
        &serde_json::to_string(&key.scopes).expect("scopes are texts"),
        &key.secret_hash.as_bytes().as_slice(),
        &created_at,
        &key.expires_at.map(Timestamptz::from),
        &key.revoked_at.map(Timestamptz::from),
        &key.last_used_at.map(Timestamptz::from),
    ];
    transaction.execute(&insert, &values).await?;
    Ok(AddKeyOutcome::Added)
}

fn key(row: &Row) -> Result<ApiKey, Fault> {
    let hash: &[u8] = cell(row, 3)?;
    Ok(ApiKey {
        id: cell::<&str>(row, 0)?.parse().map_err(|error| corrupt(&error))?,
        principal: Principal::of_keys(cell(row, 1)?).map_err(|error| corrupt(&error))?,
        scopes: serde_json::from_str(cell(row, 2)?).map_err(|error| corrupt(&error))?,
        secret_hash: SecretHash::of_bytes(hash.try_into().map_err(|error| corrupt(&error))?),
        created_at: time(row, 4)?,
        expires_at: optional_time(row, 5)?,
        revoked_at: optional_time(row, 6)?,
        last_used_at: optional_time(row, 7)?,
    })
}
